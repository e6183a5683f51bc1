//! Tokens: made, listed, bound, revoked.

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::json;

use crate::support::site;

#[tokio::test]
async fn a_secret_is_shown_once_and_a_revoked_token_is_refused_on_the_next_request() {
    let site = site().await;
    let made = site.send(&site.admin, Method::POST, "/api/v1/tokens", &json!({"name": "ci", "role": "push"})).await;
    assert_snapshot!(made, @r#"
    201 Created
    {
      "token": {
        "id": "[id]",
        "name": "ci",
        "role": "push",
        "created_at": "[instant]"
      },
      "secret": "[secret]"
    }
    "#);
    let token = site.token("read", None).await;
    assert_snapshot!(site.get(&site.admin, "/api/v1/tokens").await, @r#"
    200 OK
    [
      {
        "id": "[id]",
        "name": "operator",
        "role": "admin",
        "operator": true,
        "created_at": "[instant]",
        "last_used_at": "[instant]"
      },
      {
        "id": "[id]",
        "name": "ci",
        "role": "push",
        "created_at": "[instant]"
      },
      {
        "id": "[id]",
        "name": "a test",
        "role": "read",
        "created_at": "[instant]"
      }
    ]
    "#);
    let list = site.by(&site.admin, Method::GET, "/api/v1/tokens").send().await.unwrap().text().await.unwrap();
    assert!(!list.contains("sluice_") && !list.contains(&site.admin), "{list}");

    assert!(site.get(&token.secret, "/api/v1/organization").await.starts_with("200"));
    let path = format!("/api/v1/tokens/{}", token.token.id);
    let revoked = site.by(&site.admin, Method::DELETE, &path).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    assert_snapshot!(site.get(&token.secret, "/api/v1/organization").await, @r#"
    401 Unauthorized
    www-authenticate: Bearer realm="sluice"
    {
      "error": {
        "code": "token-unknown",
        "message": "the token is not known here, or was revoked"
      }
    }
    "#);
    let again = site.by(&site.admin, Method::DELETE, &path).send().await.unwrap();
    let (first, again) = (revoked.text().await.unwrap(), again.text().await.unwrap());
    assert_eq!(first, again);
}

#[tokio::test]
async fn what_is_not_a_token() {
    let site = site().await;
    let mut answers = Vec::new();
    for body in [
        json!({"name": "", "role": "push"}),
        json!({"name": "ci", "role": "owner"}),
        json!({"name": "ci", "role": "push", "workflow": "skynet"}),
        json!({"name": "ci", "role": "push", "workflow": "no/where"}),
        json!({"name": "ci", "role": "admin", "workflow": "no/where"}),
        json!({"name": "ci", "role": "push", "operator": true}),
        json!({"name": "ci", "role": "push", "operators": true}),
        json!({"name": "ci", "role": "push", "expires_at": "2020-01-01T00:00:00Z"}),
    ] {
        answers.push(site.send(&site.admin, Method::POST, "/api/v1/tokens", &body).await);
    }
    assert_snapshot!(answers.join("\n"), @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "a token's `name` is 1 to 100 printable characters: say what it is for"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: unknown variant `owner`, expected one of `admin`, `push`, `pull`, `read` at line 1 column 27"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "`skynet` does not name a workflow: write `project/workflow`"
      }
    }
    404 Not Found
    {
      "error": {
        "code": "not-found",
        "message": "there is no workflow `no/where`: create it first"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "only tokens of role `push` or `read` can be bound to a workflow"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "a token of the operator has the role `admin`"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: unknown field `operators`, expected one of `name`, `role`, `workflow`, `operator`, `expires_at` at line 1 column 38"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "the token would have expired at 2020-01-01T00:00:00Z: name a later instant under `expires_at`"
      }
    }
    "#);
}

#[tokio::test]
async fn a_token_bound_to_a_workflow_acts_on_it_alone() {
    let site = site().await;
    site.contract("release").await;
    site.contract("other").await;
    site.workflow("skynet", "release", "release").await;
    site.workflow("skynet", "nightly", "other").await;
    let bound = site.token("push", Some("skynet/release")).await.secret;
    let free = site.token("push", None).await.secret;

    let own = site.send(&bound, Method::POST, "/api/v1/runs", &json!({})).await;
    assert!(own.starts_with("201"), "{own}");
    let foreign = json!({"project": "skynet", "workflow": "nightly"});
    assert_snapshot!(site.send(&bound, Method::POST, "/api/v1/runs", &foreign).await, @r#"
    403 Forbidden
    {
      "error": {
        "code": "forbidden",
        "message": "your token may only act on the workflow `skynet/release`"
      }
    }
    "#);
    assert_snapshot!(site.send(&free, Method::POST, "/api/v1/runs", &json!({})).await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "name the project and the workflow: your token is not bound to one"
      }
    }
    "#);
    let started = site.by(&free, Method::POST, "/api/v1/runs").json(&foreign).send().await.unwrap();
    let started: contracts::api::StartedRun = started.json().await.unwrap();

    let mut seen = Vec::new();
    for path in [
        "/api/v1/workflows/skynet/nightly".to_owned(),
        "/api/v1/contracts/other".to_owned(),
        format!("/api/v1/runs/{}", started.id),
        "/api/v1/runs?workflow=skynet/nightly".to_owned(),
        "/api/v1/contracts/release?dry-run=true".to_owned(),
    ] {
        assert!(!site.get(&free, &path).await.starts_with("403"), "{path}");
        seen.push(site.get(&bound, &path).await.lines().next().unwrap().to_owned());
    }
    assert_snapshot!(seen.join("\n"), @r#"
    404 Not Found
    404 Not Found
    404 Not Found
    403 Forbidden
    400 Bad Request
    "#);
    for (path, rows) in [("/api/v1/workflows", 1), ("/api/v1/contracts", 1), ("/api/v1/runs", 1)] {
        let list: Vec<serde_json::Value> =
            site.by(&bound, Method::GET, path).send().await.unwrap().json().await.unwrap();
        assert_eq!(list.len(), rows, "{path}");
    }
    let bundle = "/api/v1/attestations?project=skynet&workflow=nightly";
    assert!(site.send(&bound, Method::POST, bundle, &json!({})).await.starts_with("403"));
    let trial = "/api/v1/contracts/release?dry-run=true";
    assert!(site.send(&bound, Method::PUT, trial, &json!({})).await.starts_with("403"));
}

#[tokio::test]
async fn the_last_admin_token_is_not_revoked() {
    let site = site().await;
    let list: Vec<contracts::api::TokenInfo> =
        site.by(&site.admin, Method::GET, "/api/v1/tokens").send().await.unwrap().json().await.unwrap();
    let revoke =
        async |id: &str| site.send(&site.admin, Method::DELETE, &format!("/api/v1/tokens/{id}"), &json!({})).await;
    // Admins of other organizations and other roles do not count.
    site.organization("beta").await;
    site.token("push", None).await;
    assert_snapshot!(revoke(&list[0].id).await, @r#"
    409 Conflict
    {
      "error": {
        "code": "last-admin-token",
        "message": "this is the organization's last admin token that does not expire: make another one with `sluice token create --role admin`, without `--expires-in`, first"
      }
    }
    "#);
    let second = site.token("admin", None).await;
    assert!(revoke(&second.token.id).await.starts_with("200"));
    assert!(revoke(&list[0].id).await.starts_with("409"), "a revoked one does not count");
    let third = site.token("admin", None).await;
    assert!(site.token("admin", None).await.token.revoked_at.is_none());
    assert!(revoke(&third.token.id).await.starts_with("200"));
}

/// Without one nobody could take backups or make organizations, and there would be no way back.
#[tokio::test]
async fn the_last_token_of_the_operator_is_not_revoked_and_makes_another() {
    let site = site().await;
    let list: Vec<contracts::api::TokenInfo> =
        site.by(&site.admin, Method::GET, "/api/v1/tokens").send().await.unwrap().json().await.unwrap();
    let first = format!("/api/v1/tokens/{}", list[0].id);
    let admin = site.token("admin", None).await.secret;
    assert_snapshot!(site.send(&admin, Method::DELETE, &first, &json!({})).await, @r#"
    409 Conflict
    {
      "error": {
        "code": "last-operator-token",
        "message": "this is the last token of the installation's operator that does not expire, and nothing else could take backups or make organizations in the end: make another one with `sluice token create --operator --role admin`, without `--expires-in`, and this token first"
      }
    }
    "#);
    let another = json!({"name": "operator-2", "role": "admin", "operator": true});
    assert_snapshot!(site.send(&admin, Method::POST, "/api/v1/tokens", &another).await, @r#"
    403 Forbidden
    {
      "error": {
        "code": "forbidden",
        "message": "only a token of the installation's operator makes another one"
      }
    }
    "#);
    let made = site.by(&site.admin, Method::POST, "/api/v1/tokens").json(&another).send().await.unwrap();
    let made: contracts::api::CreatedToken = made.json().await.unwrap();
    assert!(made.token.operator);
    assert!(site.send(&admin, Method::DELETE, &first, &json!({})).await.starts_with("200"));
    assert!(site.get(&site.admin, "/api/v1/backup").await.starts_with("401"), "rotated");
    let backup = site.by(&made.secret, Method::GET, "/api/v1/backup").send().await.unwrap();
    assert_eq!(backup.status(), 200);
    let second = format!("/api/v1/tokens/{}", made.token.id);
    assert!(site.send(&admin, Method::DELETE, &second, &json!({})).await.starts_with("409"));
}

#[expect(clippy::disallowed_methods, reason = "the gateway under test reads the real clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// As the API takes it, so long from now.
fn away(seconds: i64) -> String {
    (now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused_on_every_way_in_and_listed_as_such() {
    let site = site().await;
    let body = json!({"name": "ci", "role": "pull", "expires_at": away(2)});
    let made = site.by(&site.admin, Method::POST, "/api/v1/tokens").json(&body).send().await.unwrap();
    let made: contracts::api::CreatedToken = made.json().await.unwrap();
    assert!(site.get(&made.secret, "/api/v1/organization").await.starts_with("200"));
    let told = site.by(&made.secret, Method::GET, "/token?service=sluice").send().await.unwrap();
    let told: serde_json::Value = told.json().await.unwrap();
    let bearer = told["token"].as_str().unwrap();
    assert_eq!(site.by(bearer, Method::GET, "/v2/").send().await.unwrap().status(), 200);

    let end = made.token.expires_at.unwrap();
    while now() <= end {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let refused = site.get(&made.secret, "/api/v1/organization").await;
    assert_snapshot!(refused.replace(&end.to_string(), "[end]"), @r#"
    401 Unauthorized
    www-authenticate: Bearer realm="sluice"
    {
      "error": {
        "code": "token-expired",
        "message": "the token expired at [end]: have an admin make another one with `sluice token create`"
      }
    }
    "#);
    for secret in [&made.secret, bearer] {
        let pull = site.by(secret, Method::GET, "/v2/").send().await.unwrap();
        assert_eq!(pull.status(), 401);
        assert!(pull.text().await.unwrap().contains("the token expired at"), "also when it was exchanged before");
    }
    assert_eq!(site.by(&made.secret, Method::GET, "/token?service=sluice").send().await.unwrap().status(), 401);
    assert_snapshot!(site.get(&site.admin, "/api/v1/tokens").await, @r#"
    200 OK
    [
      {
        "id": "[id]",
        "name": "operator",
        "role": "admin",
        "operator": true,
        "created_at": "[instant]",
        "last_used_at": "[instant]"
      },
      {
        "id": "[id]",
        "name": "ci",
        "role": "pull",
        "created_at": "[instant]",
        "last_used_at": "[instant]",
        "expires_at": "[instant]",
        "expired": true
      }
    ]
    "#);
}

/// Uses are noted once an hour, beside whatever else is written.
#[tokio::test]
async fn when_a_token_was_last_used_is_told_to_the_hour_and_survives_a_restart() {
    let site = site().await;
    let token = site.token("read", None).await;
    for _ in 0..20 {
        assert!(site.get(&token.secret, "/api/v1/organization").await.starts_with("200"));
    }
    let used = async |site: &crate::support::Site| {
        let list = site.by(&site.admin, Method::GET, "/api/v1/tokens").send().await.unwrap();
        let list: Vec<contracts::api::TokenInfo> = list.json().await.unwrap();
        list.into_iter().find(|other| other.id == token.token.id).unwrap().last_used_at
    };
    // What is written next is written behind it.
    site.token("read", None).await;
    let last = used(&site).await.expect("it was used");
    assert_eq!(last.as_second() % 3600, 0);
    assert!((0..7200).contains(&(now().as_second() - last.as_second())), "{last}");
    let site = site.restarted().await;
    assert_eq!(used(&site).await, Some(last));
}

/// The day would come when nobody can administer it.
#[tokio::test]
async fn an_admin_token_that_expires_does_not_stand_in_for_one_that_does_not() {
    let site = site().await;
    let list: Vec<contracts::api::TokenInfo> =
        site.by(&site.admin, Method::GET, "/api/v1/tokens").send().await.unwrap().json().await.unwrap();
    let first = format!("/api/v1/tokens/{}", list[0].id);
    let make = async |body: serde_json::Value| {
        let made = site.by(&site.admin, Method::POST, "/api/v1/tokens").json(&body).send().await.unwrap();
        made.json::<contracts::api::CreatedToken>().await.unwrap()
    };
    let passing = make(json!({"name": "passing", "role": "admin", "operator": true, "expires_at": away(86_400)})).await;
    let refused = site.send(&passing.secret, Method::DELETE, &first, &json!({})).await;
    assert!(refused.starts_with("409") && refused.contains("last-admin-token"), "{refused}");
    make(json!({"name": "lasting", "role": "admin"})).await;
    let refused = site.send(&passing.secret, Method::DELETE, &first, &json!({})).await;
    assert!(refused.starts_with("409") && refused.contains("last-operator-token"), "{refused}");
    let path = format!("/api/v1/tokens/{}", passing.token.id);
    assert!(site.send(&passing.secret, Method::DELETE, &path, &json!({})).await.starts_with("200"), "others last");
    make(json!({"name": "operator", "role": "admin", "operator": true})).await;
    assert!(site.send(&site.admin, Method::DELETE, &first, &json!({})).await.starts_with("200"));
}
