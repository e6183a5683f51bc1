//! Nothing crosses an organization.

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::site;

#[tokio::test]
async fn a_token_of_another_organization_sees_nothing() {
    let site = site().await;
    site.contract("release").await;
    site.workflow("skynet", "release", "release").await;
    let run = json!({"project": "skynet", "workflow": "release"});
    let started = site.by(&site.admin, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap();
    let started: contracts::api::StartedRun = started.json().await.unwrap();
    let digest = contracts::Digest::of(b"sbom");
    let evidence = format!("/api/v1/evidence/{digest}");
    let put = site.by(&site.admin, Method::PUT, &evidence).body("sbom").send().await.unwrap();
    assert_eq!(put.status(), 201);

    let other = site.organization("other").await;
    for path in [
        "/api/v1/contracts/release",
        "/api/v1/workflows/skynet/release",
        &format!("/api/v1/runs/{}", started.id),
        &evidence,
    ] {
        assert!(site.get(&site.admin, path).await.starts_with("200"), "{path}");
        assert!(site.get(&other, path).await.starts_with("404"), "{path}");
    }
    for path in ["/api/v1/contracts", "/api/v1/workflows", "/api/v1/runs"] {
        let rows: Vec<Value> = site.by(&other, Method::GET, path).send().await.unwrap().json().await.unwrap();
        assert_eq!(rows.len(), 0, "{path}");
    }
    assert_snapshot!(site.get(&other, "/api/v1/organization").await, @r#"
    200 OK
    {
      "default_signers": [],
      "unmatched": "deny"
    }
    "#);
    assert_snapshot!(site.send(&other, Method::POST, "/api/v1/runs", &run).await, @r#"
    404 Not Found
    {
      "error": {
        "code": "not-found",
        "message": "there is no workflow `skynet/release`: name the contract that it is made with (`--contract NAME`), or correct the name"
      }
    }
    "#);
    let mine = site.token("read", None).await;
    let revoke = site.by(&other, Method::DELETE, &format!("/api/v1/tokens/{}", mine.token.id)).send().await.unwrap();
    assert_eq!(revoke.status(), 404);
    assert!(site.get(&mine.secret, "/api/v1/organization").await.starts_with("200"));
    let log = site.by(&other, Method::GET, "/api/v1/audit").send().await.unwrap();
    let log: Vec<contracts::api::AuditEntry> = log.json().await.unwrap();
    let events: Vec<_> = log.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(events, ["organization-created", "token-created"]);
}

#[tokio::test]
async fn organizations_are_the_operators_to_make() {
    let site = site().await;
    let made = site.send(&site.admin, Method::POST, "/api/v1/organizations", &json!({"name": "acme"})).await;
    assert_snapshot!(made, @r#"
    201 Created
    {
      "token": {
        "id": "[id]",
        "name": "first admin",
        "role": "admin",
        "created_at": "[instant]"
      },
      "secret": "[secret]"
    }
    "#);
    let again = site.send(&site.admin, Method::POST, "/api/v1/organizations", &json!({"name": "acme"})).await;
    assert_snapshot!(again, @r#"
    409 Conflict
    {
      "error": {
        "code": "organization-exists",
        "message": "there is an organization `acme` already: choose another name"
      }
    }
    "#);
    let wrong = site.send(&site.admin, Method::POST, "/api/v1/organizations", &json!({"name": "../acme"})).await;
    assert_snapshot!(wrong, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "`../acme` is not a name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends"
      }
    }
    "#);
    let other = site.organization("other").await;
    let theirs = site.send(&other, Method::POST, "/api/v1/organizations", &json!({"name": "third"})).await;
    assert_snapshot!(theirs, @r#"
    403 Forbidden
    {
      "error": {
        "code": "forbidden",
        "message": "only the token of the installation's operator makes organizations"
      }
    }
    "#);
}
