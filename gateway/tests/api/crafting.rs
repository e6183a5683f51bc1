//! What pipelines keep at the gateway while they craft: uploads in pieces, and sessions that jobs share.

use contracts::{Digest, api::StartedRun};
use reqwest::{Method, Response};
use serde_json::json;

use crate::support::{Site, site};

async fn told(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let offset = answer.headers().get("upload-offset").map(|value| value.to_str().unwrap().to_owned());
    let body: serde_json::Value = answer.json().await.unwrap_or_default();
    (status, offset.unwrap_or_else(|| body["error"]["code"].as_str().unwrap_or_default().to_owned()))
}

fn is(status: u16, what: &str) -> (u16, String) {
    (status, what.to_owned())
}

#[tokio::test]
async fn an_upload_in_pieces_is_its_uploaders_alone() {
    let site = site().await;
    site.contract("release").await;
    site.workflow("skynet", "release", "release").await;
    let digest = Digest::of(b"abcdef");
    let upload = format!("/api/v1/evidence/{digest}/upload");
    let piece = |token: &str, offset: u64, bytes: &'static str| {
        site.by(token, Method::PATCH, &format!("{upload}?offset={offset}")).body(bytes).send()
    };
    let ask = |token: &str, method: Method| site.by(token, method, &upload).send();
    let admin = site.admin.clone();
    assert_eq!(told(ask(&admin, Method::GET).await.unwrap()).await, is(200, "0"));
    assert_eq!(told(piece(&admin, 0, "abc").await.unwrap()).await, is(200, "3"));
    assert_eq!(told(piece(&admin, 0, "abc").await.unwrap()).await, is(409, "upload-offset"));
    assert_eq!(told(ask(&admin, Method::HEAD).await.unwrap()).await, is(200, "3"));

    // Another token, one bound to a workflow, another organization: they begin their own.
    let push = site.token("push", None).await.secret;
    let bound = site.token("push", Some("skynet/release")).await.secret;
    let other = site.organization("other").await;
    for stranger in [&push, &bound, &other] {
        assert_eq!(told(ask(stranger, Method::GET).await.unwrap()).await, is(200, "0"));
        assert_eq!(told(piece(stranger, 3, "def").await.unwrap()).await, is(409, "upload-offset"));
        assert_eq!(told(ask(stranger, Method::POST).await.unwrap()).await, is(404, "upload-unknown"));
    }
    let read = site.token("read", None).await.secret;
    assert_eq!(told(ask(&read, Method::GET).await.unwrap()).await, is(403, "forbidden"));

    assert_eq!(told(piece(&bound, 0, "abcdeX").await.unwrap()).await, is(200, "6"));
    assert_eq!(told(ask(&bound, Method::POST).await.unwrap()).await, is(400, "digest-mismatch"));
    assert_eq!(told(ask(&bound, Method::GET).await.unwrap()).await, is(200, "0"));
    assert_eq!(told(piece(&admin, 3, "def").await.unwrap()).await, is(200, "6"));
    assert_eq!(told(ask(&admin, Method::POST).await.unwrap()).await, is(201, ""));
    assert!(site.get(&admin, &format!("/api/v1/evidence/{digest}")).await.starts_with("200"));
    assert!(site.get(&other, &format!("/api/v1/evidence/{digest}")).await.starts_with("404"));
    piece(&push, 0, "ab").await.unwrap();
    assert_eq!(told(ask(&push, Method::DELETE).await.unwrap()).await, is(204, ""));
    assert_eq!(told(ask(&push, Method::GET).await.unwrap()).await, is(200, "0"));
}

async fn begin(site: &Site) -> String {
    let run = json!({"project": "skynet", "workflow": "release"});
    let started = site.by(&site.admin, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap();
    format!("/api/v1/runs/{}", started.json::<StartedRun>().await.unwrap().id)
}

#[tokio::test]
async fn a_session_is_overwritten_only_by_who_has_read_it() {
    let site = site().await;
    site.contract("release").await;
    site.workflow("skynet", "release", "release").await;
    site.workflow("skynet", "other", "release").await;
    let run = begin(&site).await;
    let path = format!("{run}/state");
    let put = |token: &str, condition: (&'static str, String), body: &'static str| {
        let request = site.by(token, Method::PUT, &path).header(condition.0, condition.1);
        request.header("content-type", "application/json").body(body).send()
    };
    let first = ("if-none-match", "*".to_owned());
    let after = |bytes: &str| ("if-match", format!("\"{}\"", Digest::of(bytes.as_bytes()).hex()));
    let admin = site.admin.clone();
    assert!(site.get(&admin, &path).await.contains("run-state-unknown"));
    assert_eq!(
        told(put(&admin, ("x-none", "1".to_owned()), "{}").await.unwrap()).await,
        is(428, "precondition-required")
    );
    assert_eq!(told(put(&admin, first.clone(), "{}").await.unwrap()).await, is(204, ""));
    assert_eq!(told(put(&admin, first.clone(), "{}").await.unwrap()).await, is(412, "run-state-changed"));
    assert_eq!(told(put(&admin, after("{}"), "{\"a\":1}").await.unwrap()).await, is(204, ""));
    assert_eq!(told(put(&admin, after("{}"), "{\"b\":1}").await.unwrap()).await, is(412, "run-state-changed"));
    let read = site.by(&admin, Method::GET, &path).send().await.unwrap();
    assert_eq!(read.headers()["etag"], after("{\"a\":1}").1);
    assert_eq!(read.text().await.unwrap(), "{\"a\":1}");

    let other = site.organization("other").await;
    let elsewhere = site.token("push", Some("skynet/other")).await.secret;
    for stranger in [&other, &elsewhere] {
        assert!(site.get(stranger, &path).await.starts_with("404"));
        assert_eq!(told(put(stranger, first.clone(), "{}").await.unwrap()).await, is(404, "not-found"));
        let end = site.by(stranger, Method::POST, &format!("{run}/end")).json(&json!({"outcome": "failed"}));
        assert_eq!(told(end.send().await.unwrap()).await, is(404, "not-found"));
    }
    let reader = site.token("read", None).await.secret;
    assert!(site.get(&reader, &path).await.starts_with("403"));

    // It ends with the run.
    let end =
        site.by(&admin, Method::POST, &format!("{run}/end")).json(&json!({"outcome": "cancelled", "reason": "by jo"}));
    let ended: serde_json::Value = end.send().await.unwrap().json().await.unwrap();
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("cancelled"), &json!("by jo")));
    assert!(site.get(&admin, &path).await.contains("run-state-unknown"));
    assert_eq!(told(put(&admin, first, "{}").await.unwrap()).await, is(409, "run-already-used"));
    // A run that has ended stays as it did.
    let again = site.by(&admin, Method::POST, &format!("{run}/end")).json(&json!({"outcome": "failed"}));
    let again: serde_json::Value = again.send().await.unwrap().json().await.unwrap();
    assert_eq!(again["state"], "cancelled");
}

#[tokio::test]
async fn a_workflow_is_made_with_a_run_by_who_may_make_it() {
    let site = site().await;
    site.contract("release").await;
    let run = json!({"project": "skynet", "workflow": "new", "contract": "release", "version": "v1"});
    let push = site.token("push", None).await.secret;
    let start = |token: &str, query: &str, body: &serde_json::Value| {
        site.by(token, Method::POST, &format!("/api/v1/runs{query}")).json(body).send()
    };
    let refused = start(&push, "", &run).await.unwrap();
    assert_eq!(told(refused).await, is(403, "forbidden"));
    let unknown = json!({"project": "skynet", "workflow": "new", "contract": "none"});
    assert_eq!(told(start(&site.admin, "", &unknown).await.unwrap()).await, is(422, "contract-unknown"));
    let dry: StartedRun = start(&site.admin, "?dry-run=true", &run).await.unwrap().json().await.unwrap();
    assert_eq!((dry.id.as_str(), dry.created), ("dry-run", false));
    assert!(site.get(&site.admin, "/api/v1/workflows/skynet/new").await.starts_with("404"));
    let begun: StartedRun = start(&site.admin, "", &run).await.unwrap().json().await.unwrap();
    assert!(begun.created && begun.current_revision == 1);
    let missing = json!({"project": "skynet", "workflow": "new", "contract_revision": 7});
    assert_eq!(told(start(&site.admin, "", &missing).await.unwrap()).await, is(404, "not-found"));
    let long = json!({"project": "skynet", "workflow": "new", "version": "v".repeat(201)});
    assert_eq!(told(start(&site.admin, "", &long).await.unwrap()).await, is(400, "invalid-request"));
}
