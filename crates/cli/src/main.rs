//! The `kinex` command: arguments in, one command run, an exit code out.

/// As the macro of the same name, except that a stderr which is closed or full is no reason to panic: the exit code says
/// how a command ended, whoever reads along.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($text)*);
    }};
}

mod args;
mod endpoint;
mod exit;
mod output;
mod run;
mod screen;
mod tools;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors: clap prints them to stdout and exits 0, everything else exits 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match args.command.run(args.output) {
        Ok(code) => code.into(),
        Err(error) if exit::is_closed_pipe(&error) => exit::Code::Done.into(),
        Err(error) => exit::report(&error).into(),
    }
}
