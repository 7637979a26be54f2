//! The consumers' settings file.

use std::fmt::Write;

use k8s_openapi::api::core::v1::ConfigMap;
use kinex_stage::launch;

use super::parts::Parts;
use super::statefulset::{GRACE, RESERVE};

/// The file's name in the ConfigMap.
pub(super) const FILE: &str = "consumer.yaml";

pub(super) fn consumer(parts: &Parts<'_>) -> ConfigMap {
    ConfigMap {
        metadata: parts.metadata(&parts.consumer, "consumer"),
        data: Some([(FILE.to_owned(), file(parts))].into()),
        ..ConfigMap::default()
    }
}

fn file(parts: &Parts<'_>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut lines = vec![
        ("stream", quoted(&parts.spec.stream.name)),
        ("application", quoted(&parts.settings.application(parts.spec))),
    ];
    lines.extend(parts.endpoint.as_deref().map(|url| ("endpoint_url", quoted(url))));
    lines.extend(parts.settings.region.as_deref().map(|name| ("region", quoted(name))));
    lines.extend(launch::consumer_settings(&parts.spec.consumers));
    lines.extend([
        // The operator makes the stream and the tables; a pod that is there before them waits.
        ("create_tables", "false".to_owned()),
        ("wait_for_stream", "true".to_owned()),
        // A pod that comes back takes its own leases again; one that is scaled away hands them on at once.
        ("on_shutdown", "ByOrdinal".to_owned()),
        ("reserve_time_millis", RESERVE.as_millis().to_string()),
        ("grace_period_millis", GRACE.as_millis().to_string()),
    ]);
    lines.into_iter().fold(String::new(), |mut text, (key, value)| {
        writeln!(text, "{key}: {value}").expect("a String takes every text");
        text
    })
}
