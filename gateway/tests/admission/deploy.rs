//! The manifests of `gateway/deploy/kubernetes` agree with each other and with the gateway.

use std::{collections::BTreeSet, path::Path};

use contracts::yaml;
use gateway::config::Settings;
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::site;

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn documents(name: &str) -> Vec<Value> {
    let text = read(name);
    let one = |text: &str| yaml::parse(name, text.as_bytes()).unwrap().to_json().unwrap();
    text.split("\n---\n").map(one).collect()
}

fn of_kind(all: &[Value], kind: &str) -> Value {
    let mut found = all.iter().filter(|one| one["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}")).clone();
    assert!(found.next().is_none(), "one {kind}");
    one
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_manifests_are_about_this_gateway() {
    let kustomization = of_kind(&documents("kustomization.yaml"), "Kustomization");
    let files = names(&kustomization["resources"]);
    let all: Vec<Value> = files.iter().flat_map(|file| documents(file)).collect();
    let (namespace, deployment) = (of_kind(&all, "Namespace"), of_kind(&all, "Deployment"));
    let service = of_kind(&all, "Service");
    assert_eq!(namespace["metadata"]["name"], kustomization["namespace"]);

    // The gateway reads its configuration, and listens where the service sends.
    let settings = Settings::parse("sluice.toml", &read("sluice.toml"), Path::new("/etc/sluice")).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(names(&container["args"]), ["serve", "--config", "/etc/sluice/sluice.toml"]);
    let port = &container["ports"][0];
    assert_eq!(port["containerPort"], settings.listen.port());
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(service["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"]);
    assert_eq!(service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]);
    let mounts: Vec<&str> =
        container["volumeMounts"].as_array().unwrap().iter().map(|one| one["mountPath"].as_str().unwrap()).collect();
    let tls = settings.tls.as_ref().unwrap();
    for path in [&tls.certificate, &tls.key, &settings.state, &settings.evidence, &settings.admin_token_file] {
        assert!(mounts.iter().any(|mount| path.starts_with(mount)), "{} lies in no volume", path.display());
    }
    let claims =
        &pod["volumes"].as_array().unwrap().iter().find(|v| v["name"] == "state").unwrap()["persistentVolumeClaim"];
    assert_eq!(claims["claimName"], of_kind(&all, "PersistentVolumeClaim")["metadata"]["name"]);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate", "one process has the state open");
    assert_eq!(settings.kubernetes.anonymous.as_ref(), Some(&settings.organization));

    // Probes and webhooks ask for what is there.
    let site = site().await;
    let url = |path: &str| format!("http://{}{path}", site.running.address());
    for probe in ["livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(site.client.get(url(path)).send().await.unwrap().status(), 200);
    }
    // `pulls.rs` holds that a pod which starts is noted, and one of a dry run is not.
    for (kind, effects) in
        [("ValidatingWebhookConfiguration", "NoneOnDryRun"), ("MutatingWebhookConfiguration", "None")]
    {
        let webhooks = of_kind(&all, kind)["webhooks"].clone();
        assert_eq!(webhooks.as_array().unwrap().len(), 1);
        let webhook = &webhooks[0];
        assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&json!("Fail"), &json!(effects)), "{kind}");
        assert_eq!(names(&webhook["admissionReviewVersions"]), ["v1"]);
        assert!((2..=30).contains(&webhook["timeoutSeconds"].as_u64().unwrap()));
        let client = &webhook["clientConfig"]["service"];
        assert_eq!(client["name"], service["metadata"]["name"]);
        assert_eq!(client["namespace"], namespace["metadata"]["name"]);
        assert_eq!(client["port"], service["spec"]["ports"][0]["port"]);
        let asked = site.by(&site.pull, Method::POST, client["path"].as_str().unwrap()).json(&json!({})).send().await;
        let told: Value = asked.unwrap().json().await.unwrap();
        assert_eq!(told["error"]["code"], "review-version", "{kind}");
        let selector = &webhook["namespaceSelector"]["matchExpressions"][0];
        assert_eq!((&selector["key"], &selector["operator"]), (&json!("kubernetes.io/metadata.name"), &json!("NotIn")));
        assert_eq!(names(&selector["values"]), ["kube-system", namespace["metadata"]["name"].as_str().unwrap()]);
        assert_eq!(sent(webhook), recorded("recorded"), "{kind}");
        assert_eq!(sent(webhook), recorded("recorded-1.36"), "{kind}");
    }
}

/// What a webhook is sent by its rules.
fn sent(webhook: &Value) -> BTreeSet<(String, String)> {
    let mut sent = BTreeSet::new();
    for rule in webhook["rules"].as_array().unwrap() {
        assert_eq!(names(&rule["operations"]), ["CREATE", "UPDATE"]);
        for group in names(&rule["apiGroups"]) {
            sent.extend(names(&rule["resources"]).iter().map(|resource| (group.to_owned(), (*resource).to_owned())));
        }
    }
    sent
}

/// Everything that was recorded of a real API server and can bring images.
fn recorded(folder: &str) -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/kubernetes").join(folder);
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let review: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let request = &review["request"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = match text(&request["subResource"]) {
            part if part.is_empty() => text(&request["resource"]["resource"]),
            part => format!("{}/{part}", text(&request["resource"]["resource"])),
        };
        all.insert((text(&request["resource"]["group"]), resource));
    }
    all.remove(&(String::new(), "configmaps".to_owned()));
    all.remove(&("apps".to_owned(), "deployments/scale".to_owned()));
    all.remove(&(String::new(), "pods/resize".to_owned()));
    all
}
