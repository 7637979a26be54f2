//! KinesisExperiment: wire types, validation rules, conversion
