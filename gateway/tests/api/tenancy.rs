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

#[tokio::test]
async fn a_token_bound_to_a_workflow_is_told_nothing_of_the_runs_of_others() {
    let scene = crate::scene::scene().await;
    let site = &scene.site;
    site.workflow("skynet", "nightly", "release").await;
    let image = contracts::Digest::of(b"image");
    let run = scene.release(image, false).await.run.id;
    let (own, other) = (
        site.token("push", Some("skynet/release")).await.secret,
        site.token("push", Some("skynet/nightly")).await.secret,
    );
    let body = json!({"image": format!("{}@{image}", crate::scene::REPOSITORY), "vsa": true});
    let asked = async |token: &str| {
        let answer = site.by(token, Method::POST, "/api/v1/check").json(&body).send().await.unwrap();
        let answer: contracts::api::CheckAnswer = answer.json().await.unwrap();
        let bundle = contracts::Bundle::parse(answer.vsa.as_ref().unwrap().to_string().as_bytes()).unwrap();
        let again = site.get(token, &format!("/api/v1/verdicts/{}", answer.key)).await;
        let signed = site.by(token, Method::GET, &format!("/api/v1/verdicts/{}/vsa", answer.key)).send().await.unwrap();
        let signed = contracts::Bundle::parse(&signed.bytes().await.unwrap()).unwrap();
        let statement = |bundle: &contracts::Bundle| String::from_utf8(bundle.envelope().payload.clone()).unwrap();
        let all = [json!(answer.verdict).to_string(), again, statement(&bundle), statement(&signed)];
        (answer.verdict, all)
    };
    let (verdict, all) = asked(&own).await;
    assert!(all.iter().all(|text| text.contains(&run) && text.contains("`note`")), "{all:?}");
    let (hidden, all) = asked(&other).await;
    assert!(all.iter().all(|text| !text.contains(&run) && !text.contains("`note`")), "{all:?}");
    let told = |verdict: &contracts::Verdict| {
        (verdict.decision, verdict.findings.iter().map(|f| (f.code, f.rule.clone())).collect::<Vec<_>>())
    };
    assert_eq!(told(&hidden), told(&verdict), "what was decided is the same");
    assert_snapshot!(hidden.findings[0].message, @"this is about a run of another workflow than `skynet/nightly`, which this token is bound to");
}
