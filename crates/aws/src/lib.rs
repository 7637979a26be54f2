//! The ports of kinex-kcl on Amazon Kinesis and DynamoDB
