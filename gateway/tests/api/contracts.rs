//! Contracts and the workflows that they judge.

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::json;

use crate::support::{contract, files, site};

const RELEASE: &str = "/api/v1/contracts/release";

#[tokio::test]
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
            "code": "signers-missing",
            "severity": "error",
            "message": "nobody is named who may sign for this contract",
            "origin": {
              "file": "contract.yaml",
              "line": 1,
              "column": 1
            },
            "mend": "name them under `spec.signers`, or give the organization `default_signers`"
          }
        ]
      }
    }
    "#);
    site.contract("base").await;
    assert_snapshot!(put("/api/v1/contracts/release?dry-run=true", contract("release", "image")).await, @r#"
    200 OK
    {
      "name": "release",
      "revision": 1,
      "digest": "sha256:133e5338d135727acbbcda035c773032e2cbef93a3bead23e6bca9e3864178c1",
      "changed": true,
      "rules": 2
    }
    "#);
    assert_snapshot!(site.get(&site.admin, RELEASE).await, @r#"
    404 Not Found
    {
      "error": {
        "code": "not-found",
        "message": "there is no contract `release`"
      }
    }
    "#);
    assert_snapshot!(put(RELEASE, contract("release", "image")).await, @r#"
    201 Created
    {
      "name": "release",
      "revision": 1,
      "digest": "sha256:133e5338d135727acbbcda035c773032e2cbef93a3bead23e6bca9e3864178c1",
      "changed": true,
      "rules": 2
    }
    "#);
    let same = put(RELEASE, contract("release", "image")).await;
    assert!(same.starts_with("200") && same.contains("\"changed\": false"), "{same}");
    let second = put(RELEASE, contract("release", "other-image")).await;
    assert!(second.starts_with("200") && second.contains("\"revision\": 2"), "{second}");
    assert_snapshot!(site.get(&site.admin, "/api/v1/contracts/release?revision=1").await, @r#"
    200 OK
    {
      "info": {
        "name": "release",
        "revision": 1,
        "digest": "sha256:133e5338d135727acbbcda035c773032e2cbef93a3bead23e6bca9e3864178c1",
        "applied_at": "[instant]",
        "repositories": [
          "registry.acme.dev/skynet/**"
        ],
        "workflows": []
      },
      "files": {
        "contract": "contract.yaml",
        "files": {
          "contract.yaml": "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: image, type: CONTAINER_IMAGE}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n"
        }
      }
    }
    "#);
    assert_snapshot!(site.get(&site.admin, "/api/v1/contracts/release?revision=3").await, @r#"
    404 Not Found
    {
      "error": {
        "code": "not-found",
        "message": "there is no revision 3 of a contract `release`"
      }
    }
    "#);
    site.workflow("skynet", "release", "release").await;
    assert_snapshot!(site.get(&site.admin, "/api/v1/contracts").await, @r#"
    200 OK
    [
      {
        "name": "base",
        "revision": 1,
        "digest": "sha256:c1d8c377f63074945f8f1a1cfcb78d69ac08fe191b20cf8d08a475d07caef71b",
        "applied_at": "[instant]",
        "repositories": [
          "registry.acme.dev/skynet/**"
        ],
        "workflows": []
      },
      {
        "name": "release",
        "revision": 2,
        "digest": "sha256:3b49eba13385bfb5b27a358a60b3b6b2982308f3f122da7c892c2ad7386fe41c",
        "applied_at": "[instant]",
        "repositories": [
          "registry.acme.dev/skynet/**"
        ],
        "workflows": [
          "skynet/release"
        ]
      }
    ]
    "#);
    // The contract names no signers, so the default ones have to stay.
    assert_snapshot!(site.send(&site.admin, Method::PUT, "/api/v1/organization", &json!({})).await, @r#"
    409 Conflict
    {
      "error": {
        "code": "default-signers-needed",
        "message": "these contracts name no signers and need a default one: `base`, `release`: give them `spec.signers` first"
      }
    }
    "#);
}

#[tokio::test]
async fn every_mistake_of_a_contract_is_told() {
    let site = site().await;
    site.contract("base").await;
    let text = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  material: []\n  materials:\n    - {name: image, type: CONTAINER_IMAGES}\n";
    assert_snapshot!(site.send(&site.admin, Method::PUT, RELEASE, &files(text)).await, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "contract-invalid",
        "message": "the contract has 2 mistakes: see the findings",
        "findings": [
          {
            "code": "document-unknown-key",
            "severity": "error",
            "message": "the `spec` of a contract has no key `material`",
            "origin": {
              "file": "contract.yaml",
              "line": 5,
              "column": 3
            },
            "mend": "did you mean `materials`?"
          },
          {
            "code": "document-invalid-value",
            "severity": "error",
            "message": "`CONTAINER_IMAGES` is not a material type: did you mean `CONTAINER_IMAGE`?",
            "origin": {
              "file": "contract.yaml",
              "line": 7,
              "column": 27
            }
          }
        ]
      }
    }
    "#);
    let named = site.send(&site.admin, Method::PUT, RELEASE, &files(&contract("other", "image"))).await;
    assert_snapshot!(named, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "contract-invalid",
        "message": "the contract has one mistake: see the findings",
        "findings": [
          {
            "code": "document-invalid-value",
            "severity": "error",
            "message": "the contract calls itself `other`, but is applied as `release`",
            "origin": {
              "file": "contract.yaml",
              "line": 1,
              "column": 1
            },
            "mend": "apply it under its own name, or change `metadata.name`"
          }
        ]
      }
    }
    "#);
    let missing = json!({"contract": "contract.yaml", "files": {}});
    assert_snapshot!(site.send(&site.admin, Method::PUT, RELEASE, &missing).await, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "contract-invalid",
        "message": "the contract has one mistake: see the findings",
        "findings": [
          {
            "code": "document-reference",
            "severity": "error",
            "message": "`contract.yaml` cannot be read: it is not among the files given",
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
    let trial = "/api/v1/contracts/release?dry-run=yes";
    assert_snapshot!(site.send(&site.admin, Method::PUT, trial, &files(&contract("release", "image"))).await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "the query cannot be read: dry-run: provided string was not `true` or `false`"
      }
    }
    "#);
    let trial = "/api/v1/contracts/release?dryrun=true";
    assert_snapshot!(site.send(&site.admin, Method::PUT, trial, &files(&contract("release", "image"))).await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "the query cannot be read: dryrun: unknown field `dryrun`, expected `dry-run`"
      }
    }
    "#);
    assert!(site.get(&site.admin, RELEASE).await.starts_with("404"));
}

#[tokio::test]
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
    assert_snapshot!(site.send(&site.admin, Method::POST, "/api/v1/workflows", &workflow).await, @r#"
    201 Created
    {
      "project": "skynet",
      "name": "release",
      "team": "core",
      "contract": "release",
      "created_at": "[instant]"
    }
    "#);
    let changed = json!({"project": "skynet", "name": "release", "team": "edge", "contract": "release"});
    let changed = site.send(&site.admin, Method::POST, "/api/v1/workflows", &changed).await;
    assert!(changed.starts_with("200") && changed.contains("edge"), "{changed}");

    let push = site.token("push", Some("skynet/release")).await.secret;
    assert_snapshot!(site.send(&push, Method::POST, "/api/v1/runs", &json!({})).await, @r#"
    201 Created
    {
      "id": "[id]",
      "organization": "default",
      "project": "skynet",
      "workflow": "release",
      "team": "edge",
      "contract": {
        "info": {
          "name": "release",
          "revision": 1,
          "digest": "sha256:133e5338d135727acbbcda035c773032e2cbef93a3bead23e6bca9e3864178c1",
          "applied_at": "[instant]",
          "repositories": [
            "registry.acme.dev/skynet/**"
          ],
          "workflows": [
            "skynet/release"
          ]
        },
        "files": {
          "contract": "contract.yaml",
          "files": {
            "contract.yaml": "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: image, type: CONTAINER_IMAGE}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n"
          }
        }
      },
      "current_revision": 1,
      "created": false
    }
    "#);
    assert_snapshot!(site.get(&push, "/api/v1/workflows/skynet/release").await, @r#"
    200 OK
    {
      "project": "skynet",
      "name": "release",
      "team": "edge",
      "contract": "release",
      "created_at": "[instant]",
      "last_run": {
        "id": "[id]",
        "project": "skynet",
        "workflow": "release",
        "state": "started",
        "started_at": "[instant]"
      }
    }
    "#);
    assert_snapshot!(site.get(&push, "/api/v1/runs?limit=0").await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "`limit=0`: ask for 1 to 1000"
      }
    }
    "#);
    assert_snapshot!(site.get(&push, "/api/v1/runs/none").await, @r#"
    404 Not Found
    {
      "error": {
        "code": "not-found",
        "message": "there is no such run"
      }
    }
    "#);
    let half = json!({"project": "skynet"});
    assert_snapshot!(site.send(&site.admin, Method::POST, "/api/v1/runs", &half).await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "name both the project and the workflow, or neither"
      }
    }
    "#);
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

#[tokio::test]
async fn more_keys_than_are_tried_are_refused_when_they_are_named() {
    let site = site().await;
    site.contract("base").await;
    let key = || contracts::SigningKey::generate_ed25519().unwrap().public().to_pem();
    let keys: Vec<String> = (0..=contracts::limits::TRUSTED_KEYS).map(|_| key()).collect();
    let change = async |keys: &[String]| {
        let settings = json!({"default_signers": keys, "unmatched": "deny"});
        site.send(&site.admin, Method::PUT, "/api/v1/organization", &settings).await
    };
    assert!(change(&keys[1..]).await.starts_with("200"));
    assert_snapshot!(change(&keys).await, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "default-signers-invalid",
        "message": "`default_signers` cannot be used: more than 64 different public keys are trusted at once"
      }
    }
    "#);

    let apply = async |keys: &[String]| {
        let signers: String = (0..keys.len()).map(|n| format!("\n      - {{publicKey: \"file://{n}.pem\"}}")).collect();
        let text = contract("release", "image") + &format!("  signers:\n    any:{signers}\n");
        let mut all = files(&text);
        for (number, key) in keys.iter().enumerate() {
            all["files"][format!("{number}.pem")] = json!(key);
        }
        site.send(&site.admin, Method::PUT, RELEASE, &all).await
    };
    let refused = apply(&keys).await;
    let told = "cannot be used: more than 64 different public keys are trusted at once";
    assert!(refused.starts_with("422") && refused.contains("contract-invalid") && refused.contains(told), "{refused}");
    let applied = apply(&keys[1..]).await;
    assert!(applied.starts_with("201"), "{applied}");
}
