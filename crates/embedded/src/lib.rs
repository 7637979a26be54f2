//! Kinesis and DynamoDB endpoints inside the process
