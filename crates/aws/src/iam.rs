//! What each program may do in AWS, as IAM policies: exactly the APIs that its code uses.

/// A program that has a role of its own in AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Makes, reshapes and deletes streams and tables, and writes orders to workers.
    Operator,
    /// Reads a stream and keeps leases. The tables are there.
    Consumer,
    /// Writes to a stream.
    Producer,
}

/// What a policy is limited to. Every part may be a pattern with `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `aws`, `aws-cn`, `aws-us-gov` ...
    pub partition: String,
    /// The region.
    pub region: String,
    /// The account.
    pub account: String,
    /// The name of the stream.
    pub stream: String,
    /// The application: the name of its table of leases.
    pub application: String,
}

/// A part of a policy: allowed actions on resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it is for.
    pub id: &'static str,
    /// `kinesis:GetRecords`, ...
    pub actions: Vec<String>,
    /// ARNs.
    pub resources: Vec<String>,
}

const STREAM: &str = "KinexStream";
const TABLES: &str = "KinexTables";
const CREATE: &str = "KinexCreate";
const DELETE: &str = "KinexDelete";

/// Statement, service and APIs of a role.
fn allowed(role: Role) -> &'static [(&'static str, &'static str, &'static [&'static str])] {
    match role {
        Role::Operator => &[
            (
                STREAM,
                "kinesis",
                &[
                    "DescribeStreamSummary",
                    "ListShards",
                    "MergeShards",
                    "SplitShard",
                    "UpdateShardCount",
                ],
            ),
            (
                TABLES,
                "dynamodb",
                &["DeleteItem", "DescribeTable", "GetItem", "Query", "Scan", "UpdateItem"],
            ),
            (CREATE, "kinesis", &["CreateStream"]),
            (CREATE, "dynamodb", &["CreateTable"]),
            (DELETE, "kinesis", &["DeleteStream"]),
            (DELETE, "dynamodb", &["DeleteTable"]),
        ],
        Role::Consumer => &[
            (
                STREAM,
                "kinesis",
                &["DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards"],
            ),
            (
                TABLES,
                "dynamodb",
                &[
                    "BatchWriteItem",
                    "DeleteItem",
                    "DescribeTable",
                    "GetItem",
                    "Query",
                    "Scan",
                    "UpdateItem",
                ],
            ),
        ],
        Role::Producer => &[
            (STREAM, "kinesis", &["ListShards", "PutRecords"]),
            (TABLES, "dynamodb", &["GetItem", "UpdateItem"]),
        ],
    }
}

/// The names of the APIs that a role uses, sorted, as AWS spells them.
pub fn apis(role: Role) -> Vec<&'static str> {
    let mut apis: Vec<_> = allowed(role).iter().flat_map(|(_, _, apis)| *apis).copied().collect();
    apis.sort_unstable();
    apis
}

/// The statements of a role's policy. Creating and deleting are statements of their own, to be left out where nothing of
/// the kind is wanted.
///
/// The resources that each action accepts:
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonkinesisdatastreams.html>,
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html>
pub fn statements(role: Role, scope: &Scope) -> Vec<Statement> {
    let Scope {
        partition,
        region,
        account,
        stream,
        application,
    } = scope;
    let mut statements: Vec<Statement> = Vec::new();
    for (id, service, apis) in allowed(role) {
        let actions = apis.iter().map(|api| format!("{service}:{api}"));
        let place = format!("arn:{partition}:{service}:{region}:{account}");
        let resources = match *service {
            "kinesis" => vec![format!("{place}:stream/{stream}")],
            _ => [application.clone(), format!("{application}-workers")]
                .map(|table| format!("{place}:table/{table}"))
                .to_vec(),
        };
        match statements.iter_mut().find(|statement| statement.id == *id) {
            Some(statement) => {
                statement.actions.extend(actions);
                statement.resources.extend(resources);
            }
            None => statements.push(Statement {
                id,
                actions: actions.collect(),
                resources,
            }),
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_the_stream_and_both_tables_and_nothing_else() {
        let scope = Scope {
            partition: "aws".to_owned(),
            region: "eu-west-1".to_owned(),
            account: "123456789012".to_owned(),
            stream: "orders".to_owned(),
            application: "reader".to_owned(),
        };
        let statements = statements(Role::Operator, &scope);
        let ids: Vec<_> = statements.iter().map(|statement| statement.id).collect();
        assert_eq!(ids, [STREAM, TABLES, CREATE, DELETE]);
        assert_eq!(
            statements[3],
            Statement {
                id: DELETE,
                actions: vec!["kinesis:DeleteStream".to_owned(), "dynamodb:DeleteTable".to_owned()],
                resources: vec![
                    "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".to_owned(),
                    "arn:aws:dynamodb:eu-west-1:123456789012:table/reader".to_owned(),
                    "arn:aws:dynamodb:eu-west-1:123456789012:table/reader-workers".to_owned(),
                ],
            }
        );
    }
}
