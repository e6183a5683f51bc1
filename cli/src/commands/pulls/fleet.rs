//! What runs: a list of references, or the pods of a cluster as `kubectl get pods -A -o json` prints them.

use std::{io::Read, path::Path};

use anyhow::{Context, bail};
use contracts::{PinnedRef, json};
use serde_json::Value;

use super::Running;
use crate::files;

/// A cluster's pods in JSON.
const BYTES: usize = 256 * 1024 * 1024;
/// What container runtimes put in front of a reference.
const SCHEMES: [&str; 3] = ["docker-pullable://", "docker://", "containerd://"];

/// Reads a file, or standard input for `-`.
pub(super) fn read(file: &Path) -> anyhow::Result<Running> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(BYTES as u64 + 1).read_to_end(&mut bytes);
        read.context("standard input cannot be read")?;
        if bytes.len() > BYTES {
            bail!("standard input is larger than {BYTES} bytes");
        }
        bytes
    } else {
        files::read(file, BYTES)?
    };
    if bytes.trim_ascii_start().starts_with(b"{") { pods(&bytes) } else { list(&bytes) }
}

fn list(bytes: &[u8]) -> anyhow::Result<Running> {
    let text = std::str::from_utf8(bytes).context("the list is not text in UTF-8")?;
    let mut running = Running::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let image: PinnedRef =
            line.parse().with_context(|| format!("line {} names no image with a digest", number + 1))?;
        running.images.entry(image.to_string()).or_default();
    }
    Ok(running)
}

fn pods(bytes: &[u8]) -> anyhow::Result<Running> {
    let value = json::parse_strict(bytes, BYTES).context("the list of pods cannot be read")?;
    let one = [value.clone()];
    let pods = match value.get("items") {
        Some(Value::Array(items)) => items.as_slice(),
        _ => one.as_slice(),
    };
    let mut running = Running::default();
    for pod in pods {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/kind") != "Pod" {
            bail!("this is no list of pods: `kubectl get pods -A -o json` prints one");
        }
        let place = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        // What has ended runs no more.
        if matches!(text("/status/phase"), "Succeeded" | "Failed") {
            continue;
        }
        for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
            let statuses = pod.pointer(&format!("/status/{list}")).and_then(Value::as_array);
            for status in statuses.into_iter().flatten() {
                let of = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default();
                let place = format!("{place} {}", of("name"));
                match image(of("imageID"), of("image")) {
                    Some(image) => running.images.entry(image.to_string()).or_default().push(place),
                    None if of("imageID").is_empty() => {}
                    None => running.unclear.push(place),
                }
            }
        }
    }
    Ok(running)
}

/// The image that a container runs, by what its runtime says; else by its own name, if that has a digest.
fn image(id: &str, name: &str) -> Option<PinnedRef> {
    let id = SCHEMES.iter().find_map(|scheme| id.strip_prefix(scheme)).unwrap_or(id);
    id.parse().ok().or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_says_what_runs_in_several_ways() {
        let digest = format!("sha256:{}", "11".repeat(32));
        let named = format!("registry.acme.dev/app@{digest}");
        let read = |id: &str, name: &str| image(id, name).map(|image| image.to_string());
        assert_eq!(read(&named, "registry.acme.dev/app:v1"), Some(named.clone()));
        assert_eq!(read(&format!("docker-pullable://{named}"), ""), Some(named.clone()));
        assert_eq!(read(&format!("nginx@{digest}"), ""), Some(format!("docker.io/library/nginx@{digest}")));
        // The digest of a configuration, which is no image's.
        assert_eq!(read(&digest, "registry.acme.dev/app:v1"), None);
        assert_eq!(read(&digest, &named), Some(named));
    }

    #[test]
    fn pods_and_lists_are_read_and_nothing_else() {
        let digest = format!("sha256:{}", "11".repeat(32));
        let pod = |phase: &str, id: &str| {
            serde_json::json!({
                "kind": "Pod", "metadata": {"namespace": "shop", "name": phase},
                "status": {"phase": phase, "containerStatuses": [{"name": "web", "image": "app:v1", "imageID": id}]}
            })
        };
        let items = [
            pod("Running", &format!("r.dev/a@{digest}")),
            pod("Running", &digest),
            pod("Failed", &digest),
            pod("Pending", ""),
        ];
        let read = pods(serde_json::json!({"kind": "List", "items": items}).to_string().as_bytes()).unwrap();
        assert_eq!(read.images.keys().collect::<Vec<_>>(), [&format!("r.dev/a@{digest}")]);
        assert_eq!(read.unclear, ["shop/Running web"]);
        assert!(pods(br#"{"kind": "List", "items": [{"kind": "Node"}]}"#).is_err());
        let listed = list(format!("# fleet\n\n r.dev/a@{digest} \n").as_bytes()).unwrap();
        assert_eq!(listed.images.len(), 1);
        assert_eq!(list(b"r.dev/a:v1").unwrap_err().to_string(), "line 1 names no image with a digest");
    }
}
