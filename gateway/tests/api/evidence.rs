//! Evidence bytes by digest.

use contracts::Digest;
use insta::assert_snapshot;
use reqwest::{Body, Method};

use crate::support::{show, site};

#[tokio::test]
async fn evidence_is_kept_under_its_own_digest_alone() {
    let site = site().await;
    let path = format!("/api/v1/evidence/{}", Digest::of(b"sbom"));
    let put = |bytes: &'static str| site.by(&site.admin, Method::PUT, &path).body(bytes).send();
    assert_snapshot!(site.get(&site.admin, &path).await, @r#"
    404 Not Found
    {
      "error": {
        "code": "not-found",
        "message": "there is no evidence `sha256:98f3ae1ef67113d8140d4f6cb8d2830070e21ea48f091be519659846c771a374`"
      }
    }
    "#);
    assert_snapshot!(show(put("sb0m").await.unwrap()).await, @r#"
    400 Bad Request
    {
      "error": {
        "code": "digest-mismatch",
        "message": "the bytes have the digest `sha256:412ccdd4c46eab1ae7b38fdc7d00fd3420f679fe5158e2c7a1279ab20f54ce3c`, but were sent as `sha256:98f3ae1ef67113d8140d4f6cb8d2830070e21ea48f091be519659846c771a374`: send each file under its own digest"
      }
    }
    "#);
    assert_eq!(site.by(&site.admin, Method::HEAD, &path).send().await.unwrap().status(), 404);
    assert_snapshot!(show(put("sbom").await.unwrap()).await, @"201 Created");
    assert_snapshot!(show(put("sbom").await.unwrap()).await, @r#"
    200 OK
    content-length: 0
    "#);
    assert_snapshot!(show(site.by(&site.admin, Method::HEAD, &path).send().await.unwrap()).await, @r#"
    200 OK
    content-type: application/octet-stream
    content-length: 4
    "#);
    assert_snapshot!(site.get(&site.admin, &path).await, @r#"
    200 OK
    content-type: application/octet-stream
    content-length: 4
    sbom
    "#);
    for wrong in ["sha512:00", "latest", "..%2f..%2fetc", "sha256:00"] {
        let answer = site.get(&site.admin, &format!("/api/v1/evidence/{wrong}")).await;
        assert!(answer.starts_with("400"), "{wrong}: {answer}");
    }
}

#[tokio::test]
async fn too_much_is_refused_before_it_is_sent() {
    let site = site().await;
    let path = format!("/api/v1/evidence/{}", Digest::of(b"x"));
    let request = site.by(&site.admin, Method::PUT, &path).header("content-length", "99000000000");
    let pending = Body::wrap_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_snapshot!(show(request.body(pending).send().await.unwrap()).await, @r#"
    413 Payload Too Large
    {
      "error": {
        "code": "evidence-too-large",
        "message": "the evidence is larger than 68719476736 bytes, the most that is taken"
      }
    }
    "#);
}

#[tokio::test]
async fn bytes_damaged_on_the_disk_never_end_well() {
    let site = site().await;
    let bytes = vec![7; 200_000];
    let digest = Digest::of(&bytes);
    let path = format!("/api/v1/evidence/{digest}");
    let put = site.by(&site.admin, Method::PUT, &path).body(bytes.clone()).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let whole = site.by(&site.admin, Method::GET, &path).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(whole, bytes);
    let place = site.folder.path().join("state/evidence/default").join(digest.hex());
    std::fs::write(&place, vec![8; 200_000]).unwrap();
    let got = site.by(&site.admin, Method::GET, &path).send().await.unwrap();
    assert!(got.bytes().await.is_err());
    // Whoever would spare the upload is told to send it, and then it is whole again.
    let asked = async || site.by(&site.admin, Method::HEAD, &path).send().await.unwrap().status();
    assert_eq!(asked().await, 404);
    let put = site.by(&site.admin, Method::PUT, &path).body(bytes.clone()).send().await.unwrap();
    assert_eq!((put.status().as_u16(), asked().await.as_u16()), (200, 200));
}

#[tokio::test]
async fn who_sees_one_workflow_or_pulls_alone_reads_no_evidence() {
    let site = site().await;
    site.contract("release").await;
    site.workflow("skynet", "release", "release").await;
    let path = format!("/api/v1/evidence/{}", Digest::of(b"sbom"));
    assert_eq!(site.by(&site.admin, Method::PUT, &path).body("sbom").send().await.unwrap().status(), 201);
    let bound = Some("skynet/release");
    let mut answers = Vec::new();
    for (role, workflow) in [("push", None), ("read", None), ("push", bound), ("read", bound), ("pull", None)] {
        let token = site.token(role, workflow).await.secret;
        let get = site.by(&token, Method::GET, &path).send().await.unwrap();
        let head = site.by(&token, Method::HEAD, &path).send().await.unwrap();
        let length = head.headers().get("content-length").map(|v| v.to_str().unwrap().to_owned());
        let length = length.filter(|_| head.status() == 200);
        answers.push((role, workflow.is_some(), get.status().as_u16(), head.status().as_u16(), length));
    }
    let four = Some("4".to_owned());
    assert_eq!(
        answers,
        [
            ("push", false, 200, 200, four.clone()),
            ("read", false, 200, 200, four),
            ("push", true, 403, 200, None),
            ("read", true, 403, 403, None),
            ("pull", false, 403, 403, None),
        ]
    );
    let token = site.token("push", bound).await.secret;
    let missing = format!("/api/v1/evidence/{}", Digest::of(b"other"));
    assert_eq!(site.by(&token, Method::HEAD, &missing).send().await.unwrap().status(), 404);
    assert_snapshot!(site.get(&token, &path).await, @r#"
    403 Forbidden
    {
      "error": {
        "code": "forbidden",
        "message": "your token may only act on the workflow `skynet/release`"
      }
    }
    "#);
}
