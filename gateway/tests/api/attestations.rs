//! What intake and check refuse at the edge, before the gate is asked.

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::json;

use crate::support::{show, site};

#[tokio::test]
async fn bodies_that_are_not_read() {
    let site = site().await;
    let post = |path: &str| site.by(&site.admin, Method::POST, path);
    let path = "/api/v1/attestations?project=skynet&workflow=release";
    let no_type = post(path).body("{}").send().await.unwrap();
    assert_snapshot!(show(no_type).await, @r#"
    415 Unsupported Media Type
    {
      "error": {
        "code": "content-type",
        "message": "the content type `none` is not read here: send `application/vnd.dev.sigstore.bundle.v0.3+json`"
      }
    }
    "#);
    let tar = post(path).header("content-type", "application/x-tar").body("{}").send().await.unwrap();
    assert_snapshot!(show(tar).await, @r#"
    415 Unsupported Media Type
    {
      "error": {
        "code": "content-type",
        "message": "the content type `application/x-tar` is not read here: send `application/vnd.dev.sigstore.bundle.v0.3+json`"
      }
    }
    "#);
    let bundle = "application/vnd.dev.sigstore.bundle+json;version=0.3";
    let big = post(path).header("content-type", bundle).body(vec![b' '; 4 * 1024 * 1024 + 1]).send().await.unwrap();
    assert_snapshot!(show(big).await, @r#"
    413 Payload Too Large
    {
      "error": {
        "code": "body-too-large",
        "message": "the body is larger than 4194304 bytes, the most that is taken here"
      }
    }
    "#);
    let text = post("/api/v1/check").header("content-type", "text/plain").body("{}").send().await.unwrap();
    assert_snapshot!(show(text).await, @r#"
    415 Unsupported Media Type
    {
      "error": {
        "code": "content-type",
        "message": "the content type `text/plain` is not read here: send `application/json`"
      }
    }
    "#);
    let big = post("/api/v1/check").header("content-type", "application/json");
    let big = big.body(vec![b' '; 8 * 1024 * 1024 + 1]).send().await.unwrap();
    assert_snapshot!(show(big).await, @r#"
    413 Payload Too Large
    {
      "error": {
        "code": "body-too-large",
        "message": "the body is larger than 262144 bytes, the most that is taken here"
      }
    }
    "#);
    let unnamed = post("/api/v1/attestations").header("content-type", bundle).body("{}").send().await.unwrap();
    assert_snapshot!(show(unnamed).await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "name the project and the workflow: your token is not bound to one"
      }
    }
    "#);
}

#[tokio::test]
async fn json_that_says_two_things_or_none() {
    let site = site().await;
    let mut answers = Vec::new();
    for body in [
        "",
        "{\"image\": \"r.dev/a:1\"",
        "{\"image\": \"r.dev/a:1\", \"image\": \"r.dev/b:1\"}",
        "{\"image\": \"r.dev/a:1\", \"force\": true}",
        "{\"image\": \"r.dev/a:1\"} {}",
        "{\"image\": 7}",
        "{\"image\": \"r.dev/../a:1\"}",
        "[\"r.dev/a:1\"]",
    ] {
        let request = site.by(&site.admin, Method::POST, "/api/v1/check").header("content-type", "application/json");
        answers.push(show(request.body(body).send().await.unwrap()).await);
    }
    assert_snapshot!(answers.join("\n"), @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: not valid JSON at line 1, column 0: EOF while parsing a value"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: not valid JSON at line 1, column 21: EOF while parsing an object"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: the key `image` is given twice in one object"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: unknown field `force`, expected one of `image`, `artifact`, `contracts`, `vsa` at line 1 column 30"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: not valid JSON at line 1, column 24: trailing characters"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: invalid type: integer `7`, expected a string at line 1 column 11"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "`../a` is not a repository name: use lower-case letters, digits, `.`, `_`, `-` between slashes"
      }
    }
    404 Not Found
    {
      "error": {
        "code": "upstream-unknown",
        "message": "this gateway has no upstream `r.dev`: name the image by its digest, or configure the registry under `[[upstreams]]`"
      }
    }
    "#);
    let twice = r#"{"contract": "a", "files": {"a": "1", "a": "2"}}"#;
    let request = site.by(&site.admin, Method::PUT, "/api/v1/contracts/a").header("content-type", "application/json");
    assert_snapshot!(show(request.body(twice).send().await.unwrap()).await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-json",
        "message": "the body is not what this route reads: the key `a` is given twice in one object"
      }
    }
    "#);
}

#[tokio::test]
async fn a_tag_is_only_resolved_at_a_configured_registry() {
    let site = site().await;
    let check = json!({"image": "169.254.169.254/latest/meta-data:v1"});
    assert_snapshot!(site.send(&site.admin, Method::POST, "/api/v1/check", &check).await, @r#"
    404 Not Found
    {
      "error": {
        "code": "upstream-unknown",
        "message": "this gateway has no upstream `169.254.169.254`: name the image by its digest, or configure the registry under `[[upstreams]]`"
      }
    }
    "#);
}
