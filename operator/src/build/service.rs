//! The headless Service of the consumers.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::parts::{METRICS, METRICS_PORT, Parts};

pub(super) fn consumer(parts: &Parts<'_>) -> Service {
    Service {
        metadata: parts.metadata(&parts.consumer, "consumer"),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            // Workers know each other by the table; one that is not ready can be poked all the same.
            publish_not_ready_addresses: Some(true),
            selector: Some(parts.selector("consumer")),
            ports: Some(vec![ServicePort {
                name: Some(METRICS.to_owned()),
                port: METRICS_PORT,
                target_port: Some(IntOrString::String(METRICS.to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
