//! Who gets in, and with what.

use insta::assert_snapshot;
use reqwest::Method;

use crate::support::{show, site, site_with};

#[tokio::test]
async fn without_a_token_nothing_is_told() {
    let site = site().await;
    let get = |path| site.client.get(site.url(path));
    assert_snapshot!(show(get("/api/v1/organization").send().await.unwrap()).await, @r#"
    401 Unauthorized
    www-authenticate: Bearer realm="sluice"
    {
      "error": {
        "code": "token-missing",
        "message": "this needs a token: send it as `Authorization: Bearer …`"
      }
    }
    "#);
    assert_snapshot!(site.get("sluice_00", "/api/v1/organization").await, @r#"
    401 Unauthorized
    www-authenticate: Bearer realm="sluice"
    {
      "error": {
        "code": "token-unknown",
        "message": "the token is not known here, or was revoked"
      }
    }
    "#);
    let digest = get("/api/v1/organization").header("authorization", "Digest x").send().await.unwrap();
    assert_snapshot!(show(digest).await, @r#"
    401 Unauthorized
    www-authenticate: Bearer realm="sluice"
    {
      "error": {
        "code": "token-malformed",
        "message": "the `Authorization` header cannot be read: send `Bearer` and a token, or `Basic` with the token as password"
      }
    }
    "#);
    let password = get("/api/v1/organization").basic_auth("anyone", Some(&site.admin)).send().await.unwrap();
    assert_snapshot!(show(password).await, @r#"
    200 OK
    {
      "default_signers": [],
      "unmatched": "deny"
    }
    "#);
    // The token is asked for before anything is read of the request.
    let big = site.client.post(site.url("/api/v1/check")).body(vec![b' '; 64]).send().await.unwrap();
    assert_eq!(big.status(), 401);
}

#[tokio::test]
async fn what_watches_the_gateway() {
    let site = site().await;
    let get = |path| site.client.get(site.url(path)).send();
    assert_snapshot!(show(get("/healthz").await.unwrap()).await, @r#"
    200 OK
    content-type: text/plain; charset=utf-8
    content-length: 3
    ok
    "#);
    assert_snapshot!(show(get("/readyz").await.unwrap()).await, @r#"
    200 OK
    content-type: text/plain; charset=utf-8
    content-length: 6
    ready
    "#);
    assert_eq!(get("/metrics").await.unwrap().status(), 401);
    let read = site.token("read", None).await.secret;
    let metrics = site.by(&read, Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let counted = r#"sluice_http_requests_total{method="GET",route="/metrics",status="401"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");

    let open = site_with(|s| s.metrics_anonymous = true).await;
    assert_eq!(open.client.get(open.url("/metrics")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn ways_that_do_not_exist() {
    let site = site().await;
    assert_snapshot!(site.get(&site.admin, "/api/v1/nothing").await, @r#"
    404 Not Found
    {
      "error": {
        "code": "no-such-route",
        "message": "there is nothing at `/api/v1/nothing`"
      }
    }
    "#);
    let patch = site.by(&site.admin, Method::PATCH, "/api/v1/organization").send().await.unwrap();
    assert_snapshot!(show(patch).await, @r#"
    405 Method Not Allowed
    allow: GET,HEAD,PUT
    {
      "error": {
        "code": "method-not-allowed",
        "message": "`/api/v1/organization` does not take `PATCH`"
      }
    }
    "#);
}

/// Every route, and the least that it asks for.
const ROUTES: &[(&str, &str, &[&str])] = &[
    ("GET", "/api/v1/organization", &["admin", "push", "pull", "read"]),
    ("PUT", "/api/v1/organization", &["admin"]),
    ("POST", "/api/v1/organizations", &["admin"]),
    ("GET", "/api/v1/tokens", &["admin"]),
    ("POST", "/api/v1/tokens", &["admin"]),
    ("DELETE", "/api/v1/tokens/none", &["admin"]),
    ("GET", "/api/v1/contracts", &["admin", "push", "pull", "read"]),
    ("GET", "/api/v1/contracts/none", &["admin", "push", "pull", "read"]),
    ("PUT", "/api/v1/contracts/none", &["admin"]),
    ("PUT", "/api/v1/contracts/none?dry-run=true", &["admin", "push"]),
    ("GET", "/api/v1/workflows", &["admin", "push", "pull", "read"]),
    ("POST", "/api/v1/workflows", &["admin"]),
    ("GET", "/api/v1/workflows/a/b", &["admin", "push", "pull", "read"]),
    ("GET", "/api/v1/runs", &["admin", "push", "pull", "read"]),
    ("POST", "/api/v1/runs", &["admin", "push"]),
    ("GET", "/api/v1/runs/none", &["admin", "push", "pull", "read"]),
    ("PUT", "/api/v1/evidence/none", &["admin", "push"]),
    ("GET", "/api/v1/evidence/none", &["admin", "push", "read"]),
    ("POST", "/api/v1/attestations", &["admin", "push"]),
    ("GET", "/api/v1/attestations/none", &["admin", "push", "pull", "read"]),
    ("POST", "/api/v1/check", &["admin", "push", "pull"]),
    ("GET", "/api/v1/audit", &["admin"]),
    // Another organization's admin is no operator.
    ("GET", "/api/v1/backup", &[]),
];

#[tokio::test]
async fn each_role_opens_its_own_doors_and_no_others() {
    let site = site().await;
    let mut tokens = vec![("admin", site.organization("other").await)];
    for role in ["push", "pull", "read"] {
        tokens.push((role, site.token(role, None).await.secret));
    }
    for (method, path, allowed) in ROUTES {
        for (role, token) in &tokens {
            let response = site.by(token, method.parse().unwrap(), path).body("not json").send().await.unwrap();
            let (status, body) = (response.status(), response.text().await.unwrap());
            // An organization is the operator's to make, whoever asks.
            let may = allowed.contains(role) && *path != "/api/v1/organizations";
            assert_eq!(status != 403, may, "{role} {method} {path}: {status} {body}");
            assert!(!status.is_server_error(), "{role} {method} {path}: {status} {body}");
        }
    }
}

#[tokio::test]
async fn heads_are_bounded() {
    let site = site().await;
    let health = |value: String| site.client.get(site.url("/healthz")).header("x-filler", value).send();
    assert_eq!(health("x".repeat(30_000)).await.unwrap().status(), 200);
    assert_eq!(health("x".repeat(70_000)).await.unwrap().status(), 431);
    let mut many = site.client.get(site.url("/healthz"));
    for n in 0..120 {
        many = many.header(format!("x-{n}"), "x");
    }
    assert_eq!(many.send().await.unwrap().status(), 431);
}
