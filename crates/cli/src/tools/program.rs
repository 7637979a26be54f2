//! `kinex operator`, `kinex consumer` and `kinex producer`: the programs, and the watch that ends some of them with their parent.

use std::io::Read;
use std::time::Duration;

use crate::exit::{Code, Stop};

/// A process that was told to leave because its parent has gone gets this long.
const GRACE: Duration = Duration::from_secs(5);

/// Ends the program when its parent is gone.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ParentWatch {
    /// Leave when stdin is closed: when the parent, which holds its other end, has gone
    #[arg(long)]
    exit_with_parent: bool,
    /// Log lines as JSON
    #[arg(long, env = "KINEX_LOG_JSON")]
    log_json: bool,
}

impl ParentWatch {
    fn begin(&self) -> anyhow::Result<()> {
        log(self.log_json)?;
        if self.exit_with_parent {
            std::thread::Builder::new()
                .name("parent-watch".into())
                .spawn(leave_with_parent)?;
        }
        Ok(())
    }
}

fn log(json: bool) -> anyhow::Result<()> {
    let format = if json {
        kinex_telemetry::log::Format::Json
    } else {
        kinex_telemetry::log::Format::Text
    };
    // A filter that cannot be read stays so, however often a runner starts this program.
    kinex_telemetry::log::init(None, format).map_err(|error| {
        Stop::usage("cannot set up the log")
            .next("set RUST_LOG to a filter such as info,kinex_kcl=debug, or unset it")
            .source(error)
            .into()
    })
}

fn leave_with_parent() {
    let mut rest = [0; 64];
    let mut stdin = std::io::stdin().lock();
    while stdin.read(&mut rest).is_ok_and(|n| n > 0) {}
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    std::thread::sleep(GRACE);
    std::process::exit(1);
}

/// `kinex consumer`.
pub(crate) fn consumer(args: kinex_consumer::Args, parent_watch: &ParentWatch) -> anyhow::Result<Code> {
    parent_watch.begin()?;
    let ended = runtime()?.block_on(async { Box::pin(kinex_consumer::run(args)).await });
    ended
        .map(|()| Code::Done)
        .map_err(|error| stop(error.exit_code(), &error))
}

/// `kinex chaos-guard`.
pub(crate) fn chaos_guard() -> anyhow::Result<Code> {
    kinex_consumer::chaos::guard::run().map_err(Stop::usage)?;
    Ok(Code::Done)
}

/// `kinex producer`.
pub(crate) fn producer(args: kinex_producer::Args, parent_watch: &ParentWatch) -> anyhow::Result<Code> {
    parent_watch.begin()?;
    let ended = runtime()?.block_on(async { Box::pin(kinex_producer::run(args)).await });
    ended
        .map(|()| Code::Done)
        .map_err(|error| stop(error.exit_code(), &error))
}

/// `kinex operator`.
pub(crate) fn operator(args: kinex_operator::Args, log_json: bool) -> anyhow::Result<Code> {
    log(log_json)?;
    let ended = runtime()?.block_on(async { Box::pin(kinex_operator::run(args)).await });
    ended
        .map(|()| Code::Done)
        .map_err(|error| stop(error.exit_code(), &error))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // Two threads: a consumer is one of several on its machine, and waits most of the time.
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

fn stop(code: u8, error: &dyn std::error::Error) -> anyhow::Error {
    let code = match code {
        2 => Code::Usage,
        3 => Code::CannotConnect,
        75 => Code::NameInUse,
        _ => Code::VerdictFailed,
    };
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        message += &format!(": {below}");
        cause = below.source();
    }
    Stop::new(code, message).into()
}
