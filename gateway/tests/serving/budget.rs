//! A policy that comes to no answer denies what it was asked about, and nothing else.

use contracts::{Code, api::CheckAnswer};
use reqwest::Method;
use serde_json::json;
use testdata::{Image, endless_policy};

use crate::site::{failed, is, site};

#[tokio::test]
async fn a_policy_without_end_denies_the_pull_that_it_was_asked_about() {
    let site = site().await;
    let contract = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: slow}\nspec:\n  materials: [{name: sbom, type: SBOM_CYCLONEDX_JSON}]\n  policies:\n    materials: [{ref: \"file://endless.yaml\", gate: true}]\n  admission: {repositories: [\"registry.test/slow/**\"]}\n";
    site.apply(&site.admin, "slow", contract, &[("endless.yaml", endless_policy("SBOM_CYCLONEDX_JSON"))]).await;
    let (slow, other) = (Image::new("slow"), Image::new("other"));
    site.attested("slow/app", "v1", &slow);
    site.attested("skynet/app", "v1", &other);
    let path = format!("registry.test/slow/app/manifests/{}", slow.digest());
    for path in [&path, "registry.test/slow/app/manifests/v1"] {
        assert_eq!(failed(site.get(path).await).await, is(403, "DENIED"));
    }
    for blob in slow.blobs() {
        let blob = site.get(&format!("registry.test/slow/app/blobs/{}", blob.digest)).await;
        assert_eq!(failed(blob).await, is(403, "DENIED"));
    }
    let asked = json!({"image": format!("registry.test/slow/app@{}", slow.digest())});
    let check = site.by(&site.pull, Method::POST, "/api/v1/check").json(&asked).send().await.unwrap();
    assert_eq!(check.status(), 200);
    let check: CheckAnswer = check.json().await.unwrap();
    let codes: Vec<_> = check.verdict.findings.iter().filter(|f| f.blocks()).map(|f| f.code).collect();
    assert_eq!(codes, [Code::RuleBudget]);
    assert_eq!(site.status("registry.test/skynet/app/manifests/v1").await, 200);
}
