//! Contracts and the workflows that they judge.

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::json;

use crate::support::{contract, files, site};

const RELEASE: &str = "/api/v1/contracts/release";

#[tokio::test]
#[ignore = "contracts cannot be compiled yet"]
async fn a_contract_is_tried_applied_changed_and_read() {
    let site = site().await;
    let put = |path: &'static str, text: String| {
        let site = &site;
        async move { site.send(&site.admin, Method::PUT, path, &files(&text)).await }
    };
    // Nobody signs for it yet.
    assert_snapshot!(put(RELEASE, contract("release", "image")).await, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "contract-invalid",
        "message": "the contract has one mistake: see the findings",
        "findings": [
          {
            "code": "policy-compile",
            "severity": "error",
            "message": "contracts cannot be compiled yet",
            "origin": {
              "file": "contract.yaml",
              "line": 1,
              "column": 1
            }
          }
        ]
      }
    }
    "#);
    site.contract("base").await;
    assert_snapshot!(put("/api/v1/contracts/release?dry-run=true", contract("release", "image")).await, @"");
    assert_snapshot!(site.get(&site.admin, RELEASE).await, @"");
    assert_snapshot!(put(RELEASE, contract("release", "image")).await, @"");
    let same = put(RELEASE, contract("release", "image")).await;
    assert!(same.starts_with("200") && same.contains("\"changed\": false"), "{same}");
    let second = put(RELEASE, contract("release", "other-image")).await;
    assert!(second.starts_with("200") && second.contains("\"revision\": 2"), "{second}");
    assert_snapshot!(site.get(&site.admin, "/api/v1/contracts/release?revision=1").await, @"");
    assert_snapshot!(site.get(&site.admin, "/api/v1/contracts/release?revision=3").await, @"");
    site.workflow("skynet", "release", "release").await;
    assert_snapshot!(site.get(&site.admin, "/api/v1/contracts").await, @"");
    // The contract names no signers, so the default ones have to stay.
    assert_snapshot!(site.send(&site.admin, Method::PUT, "/api/v1/organization", &json!({})).await, @"");
}

#[tokio::test]
#[ignore = "contracts cannot be compiled yet"]
async fn every_mistake_of_a_contract_is_told() {
    let site = site().await;
    site.contract("base").await;
    let text = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  material: []\n  materials:\n    - {name: image, type: CONTAINER_IMAGES}\n";
    assert_snapshot!(site.send(&site.admin, Method::PUT, RELEASE, &files(text)).await, @"");
    let named = site.send(&site.admin, Method::PUT, RELEASE, &files(&contract("other", "image"))).await;
    assert_snapshot!(named, @"");
    let missing = json!({"contract": "contract.yaml", "files": {}});
    assert_snapshot!(site.send(&site.admin, Method::PUT, RELEASE, &missing).await, @"");
    let trial = "/api/v1/contracts/release?dry-run=yes";
    assert_snapshot!(site.send(&site.admin, Method::PUT, trial, &files(&contract("release", "image"))).await, @"");
    let trial = "/api/v1/contracts/release?dryrun=true";
    assert_snapshot!(site.send(&site.admin, Method::PUT, trial, &files(&contract("release", "image"))).await, @"");
    assert!(site.get(&site.admin, RELEASE).await.starts_with("404"));
}

#[tokio::test]
#[ignore = "contracts cannot be compiled yet"]
async fn a_workflow_has_a_contract_and_runs() {
    let site = site().await;
    let workflow = json!({"project": "skynet", "name": "release", "team": "core", "contract": "release"});
    assert_snapshot!(site.send(&site.admin, Method::POST, "/api/v1/workflows", &workflow).await, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "contract-unknown",
        "message": "there is no contract `release`: apply it first"
      }
    }
    "#);
    site.contract("release").await;
    assert_snapshot!(site.send(&site.admin, Method::POST, "/api/v1/workflows", &workflow).await, @"");
    let changed = json!({"project": "skynet", "name": "release", "team": "edge", "contract": "release"});
    let changed = site.send(&site.admin, Method::POST, "/api/v1/workflows", &changed).await;
    assert!(changed.starts_with("200") && changed.contains("edge"), "{changed}");

    let push = site.token("push", Some("skynet/release")).await.secret;
    assert_snapshot!(site.send(&push, Method::POST, "/api/v1/runs", &json!({})).await, @"");
    assert_snapshot!(site.get(&push, "/api/v1/workflows/skynet/release").await, @"");
    assert_snapshot!(site.get(&push, "/api/v1/runs?limit=0").await, @"");
    assert_snapshot!(site.get(&push, "/api/v1/runs/none").await, @"");
    let half = json!({"project": "skynet"});
    assert_snapshot!(site.send(&site.admin, Method::POST, "/api/v1/runs", &half).await, @"");
}

#[tokio::test]
async fn default_signers_are_keys() {
    let site = site().await;
    let put = |settings: serde_json::Value| {
        let site = &site;
        async move { site.send(&site.admin, Method::PUT, "/api/v1/organization", &settings).await }
    };
    let private = contracts::keys::SigningKey::generate_p256().unwrap().to_pkcs8_pem().to_string();
    let refused = put(json!({"default_signers": [private]})).await;
    assert!(!refused.contains("BEGIN"), "{refused}");
    assert_snapshot!(refused, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "default-signers-invalid",
        "message": "the key number 1 under `default_signers` cannot be used: the file holds `PRIVATE KEY`, not a public key"
      }
    }
    "#);
    assert_snapshot!(put(json!({"default_signers": [""]})).await, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "default-signers-invalid",
        "message": "the key number 1 under `default_signers` cannot be used: this is not a PEM file: a key begins with `-----BEGIN` and ends with the same words after `-----END`"
      }
    }
    "#);
    assert_snapshot!(put(json!({"unmatched": "maybe"})).await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: unknown variant `maybe`, expected `deny` or `allow` at line 1 column 20"
      }
    }
    "#);
}
