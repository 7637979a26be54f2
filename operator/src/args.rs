//! The command line of the operator. Every flag can be given by the environment as well.

/// Reconcile the KinesisExperiments of a cluster
///
/// Exit codes: 0 ended in good order, 1 failed, 2 wrong settings, 3 cannot connect.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Namespace to look after; may be repeated [default: $POD_NAMESPACE, else the kubeconfig's]
    #[arg(
        long = "namespace",
        value_name = "NS",
        env = "KINEX_NAMESPACE",
        value_delimiter = ','
    )]
    pub namespaces: Vec<String>,
    /// Look after every namespace
    #[arg(long, env = "KINEX_ALL_NAMESPACES")]
    pub all_namespaces: bool,

    /// Endpoint of experiments that name none, for anything that speaks the protocols of Kinesis and DynamoDB
    #[arg(long, value_name = "URL", env = "KINEX_ENDPOINT_URL")]
    pub endpoint_url: Option<String>,
    /// Real AWS for experiments that name no endpoint, with the credentials of the environment
    #[arg(long, env = "KINEX_AWS")]
    pub aws: bool,
    /// AWS region
    #[arg(long, value_name = "NAME", env = "KINEX_REGION")]
    pub region: Option<String>,
    /// Endpoint that an experiment may name, such as https://*.example.com; may be repeated
    #[arg(
        long = "allow-endpoint",
        value_name = "URL",
        env = "KINEX_ALLOW_ENDPOINT",
        value_delimiter = ','
    )]
    pub allow_endpoints: Vec<String>,

    /// Image of consumers and producers: normally the operator's own
    #[arg(long, value_name = "IMAGE", env = "KINEX_IMAGE")]
    pub image: Option<String>,
    /// When the kubelet pulls it: Always, IfNotPresent or Never [default: the cluster's]
    #[arg(long, value_name = "POLICY", env = "KINEX_IMAGE_PULL_POLICY")]
    pub image_pull_policy: Option<String>,
    /// Secret for pulling it; may be repeated
    #[arg(
        long = "image-pull-secret",
        value_name = "NAME",
        env = "KINEX_IMAGE_PULL_SECRET",
        value_delimiter = ','
    )]
    pub image_pull_secrets: Vec<String>,
    /// Service account of consumers [default: the namespace's]
    #[arg(long, value_name = "NAME", env = "KINEX_CONSUMER_SERVICE_ACCOUNT")]
    pub consumer_service_account: Option<String>,
    /// Service account of producers [default: the namespace's]
    #[arg(long, value_name = "NAME", env = "KINEX_PRODUCER_SERVICE_ACCOUNT")]
    pub producer_service_account: Option<String>,
    /// Resources of a consumer: {"requests":{"cpu":"100m",..},"limits":{..}}
    #[arg(long, value_name = "JSON", env = "KINEX_CONSUMER_RESOURCES")]
    pub consumer_resources: Option<String>,
    /// Resources of a producer
    #[arg(long, value_name = "JSON", env = "KINEX_PRODUCER_RESOURCES")]
    pub producer_resources: Option<String>,
    /// More of a consumer's pod: {"labels":{..},"annotations":{..},"nodeSelector":{..},"tolerations":[..],"affinity":{..},"env":[..]}
    #[arg(long, value_name = "JSON", env = "KINEX_CONSUMER_POD")]
    pub consumer_pod: Option<String>,
    /// More of a producer's pod
    #[arg(long, value_name = "JSON", env = "KINEX_PRODUCER_POD")]
    pub producer_pod: Option<String>,
    /// Priority class of consumers and producers
    #[arg(long, value_name = "NAME", env = "KINEX_WORKER_PRIORITY_CLASS")]
    pub worker_priority_class: Option<String>,

    /// ConfigMap and key, in the namespace of each experiment, with certificates in PEM that its programs trust besides their
    /// image's: for endpoints with a private CA. The operator's own are those of AWS_CA_BUNDLE
    #[arg(long, value_name = "CONFIGMAP/KEY", env = "KINEX_CA_BUNDLE")]
    pub ca_bundle: Option<String>,

    /// Let experiments crash and freeze consumers from within
    #[arg(long, env = "KINEX_ALLOW_CHAOS")]
    pub allow_chaos: bool,
    /// How the names of streams must begin; may be repeated [default: any name]
    #[arg(
        long = "stream-prefix",
        value_name = "PREFIX",
        env = "KINEX_STREAM_PREFIX",
        value_delimiter = ','
    )]
    pub stream_prefixes: Vec<String>,
    /// What the names of lease tables begin with, before the experiment's name [default: nothing]
    #[arg(long, value_name = "PREFIX", env = "KINEX_TABLE_PREFIX")]
    pub table_prefix: Option<String>,
    /// The most open shards that an experiment may come to [default: 200]
    #[arg(long, value_name = "N", env = "KINEX_MAX_SHARDS")]
    pub max_shards: Option<u32>,
    /// The most workers that an experiment may want [default: 100]
    #[arg(long, value_name = "N", env = "KINEX_MAX_REPLICAS")]
    pub max_replicas: Option<u32>,
    /// The most experiments of a namespace that run at the same time [default: 10]
    #[arg(long, value_name = "N", env = "KINEX_MAX_RUNNING")]
    pub max_running: Option<u32>,
    /// The most records per second that an experiment may send [default: 10000]
    #[arg(long, value_name = "N", env = "KINEX_MAX_RECORDS_PER_SECOND")]
    pub max_records_per_second: Option<u32>,
    /// Label and taint keys of nodes that experiments may name under scheduling, `*` for every key; may be repeated [default: none]
    #[arg(
        long = "allow-node-key",
        value_name = "KEY",
        env = "KINEX_ALLOW_NODE_KEY",
        value_delimiter = ','
    )]
    pub allow_node_keys: Vec<String>,
    /// Priority classes that experiments may name; may be repeated [default: none]
    #[arg(
        long = "allow-priority-class",
        value_name = "NAME",
        env = "KINEX_ALLOW_PRIORITY_CLASS",
        value_delimiter = ','
    )]
    pub allow_priority_classes: Vec<String>,
    /// How long a deleted experiment waits for its stream to be deleted before it is given up [default: 2m]
    #[arg(long, value_name = "TIME", env = "KINEX_CLEANUP_TIMEOUT")]
    pub cleanup_timeout: Option<String>,

    /// Look after experiments with this spec.operatorClass [default: those with none]
    #[arg(long, value_name = "NAME", env = "KINEX_OPERATOR_CLASS")]
    pub operator_class: Option<String>,
    /// Work only while holding the Lease, for more than one replica
    #[arg(long, env = "KINEX_LEADER_ELECTION")]
    pub leader_election: bool,
    /// The Lease, in the operator's own namespace; other operators know this one by it [default: kinex-operator]
    #[arg(long, value_name = "NAME", env = "KINEX_LEASE")]
    pub lease: Option<String>,
    /// Serve /metrics, /livez and /readyz here [default: 0.0.0.0:9090]
    #[arg(long, value_name = "ADDR", env = "KINEX_METRICS_ADDR")]
    pub metrics_addr: Option<String>,
}
