//! IAM policies, printed.

use clap::ValueEnum;
use kinex_aws::iam::{Role, Scope, statements};
use serde_json::json;

use crate::exit::Code;
use crate::output::line;

/// `kinex iam`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose policy
    #[arg(value_enum)]
    program: Program,
    /// The stream; a pattern such as team-a-* for several
    #[arg(long, value_name = "NAME", default_value = "*")]
    stream: String,
    /// The application: the name of its lease table; a pattern for several
    #[arg(long, value_name = "NAME", default_value = "*")]
    application: String,
    /// The region
    #[arg(long, value_name = "NAME", default_value = "*", env = "KINEX_REGION")]
    region: String,
    /// The account
    #[arg(long, value_name = "ID", default_value = "*")]
    account: String,
    /// The partition: aws, aws-cn, aws-us-gov ...
    #[arg(long, value_name = "NAME", default_value = "aws")]
    partition: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Program {
    Operator,
    Consumer,
    Producer,
}

/// Prints the policy as JSON.
pub(crate) fn run(args: Args) -> anyhow::Result<Code> {
    let role = match args.program {
        Program::Operator => Role::Operator,
        Program::Consumer => Role::Consumer,
        Program::Producer => Role::Producer,
    };
    let scope = Scope {
        partition: args.partition,
        region: args.region,
        account: args.account,
        stream: args.stream,
        application: args.application,
    };
    let statements: Vec<_> = statements(role, &scope)
        .into_iter()
        .map(|statement| {
            json!({
                "Sid": statement.id, "Effect": "Allow",
                "Action": statement.actions, "Resource": statement.resources,
            })
        })
        .collect();
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    line(&serde_json::to_string_pretty(&policy)?)?;
    Ok(Code::Done)
}
