//! Evidence that nothing names is swept when an admin asks for it, and nothing else.

use std::{fs, time::Duration};

use contracts::{Digest, api::StartedRun};
use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Material, Minter};

use crate::support::{Site, files, site};

async fn upload(site: &Site, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let path = format!("/api/v1/evidence/{digest}");
    let put = site.by(&site.admin, Method::PUT, &path).body(bytes.to_vec()).send().await.unwrap();
    assert!(put.status().is_success());
    digest
}

/// As if the bytes had been uploaded so many days ago.
fn aged(site: &Site, digest: Digest, days: u64) {
    let path = crate::support::settings(&site.folder).evidence.join("default").join(digest.hex());
    let file = fs::File::options().write(true).open(path).unwrap();
    let now = file.metadata().unwrap().modified().unwrap();
    file.set_modified(now - Duration::from_secs(days * 24 * 60 * 60)).unwrap();
}

async fn there(site: &Site, digest: Digest) -> bool {
    site.by(&site.admin, Method::GET, &format!("/api/v1/evidence/{digest}")).send().await.unwrap().status() == 200
}

async fn sweep(site: &Site, older_than: &str, dry_run: bool) -> Value {
    let body = json!({"older_than": older_than, "dry_run": dry_run});
    let swept = site.by(&site.admin, Method::POST, "/api/v1/evidence/sweep").json(&body).send().await.unwrap();
    assert_eq!(swept.status(), 200);
    swept.json().await.unwrap()
}

#[tokio::test]
async fn what_an_attestation_or_a_session_names_is_never_swept() {
    let (site, build) = (site().await, Minter::fresh());
    let settings = json!({"default_signers": [build.public_pem()], "unmatched": "deny"});
    assert!(site.send(&site.admin, Method::PUT, "/api/v1/organization", &settings).await.starts_with("200"));
    let contract = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n";
    assert!(
        site.send(&site.admin, Method::PUT, "/api/v1/contracts/release", &files(contract)).await.starts_with("201")
    );
    site.workflow("skynet", "release", "release").await;
    let begin = async || {
        let run = json!({"project": "skynet", "workflow": "release"});
        let run = site.by(&site.admin, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap();
        run.json::<StartedRun>().await.unwrap()
    };

    // One accepted, one rejected: both may be asked about later.
    let mut named = Vec::new();
    for (bytes, more) in [(testdata::cyclonedx(1), "accepted"), (testdata::cyclonedx(2), "rejected")] {
        let digest = upload(&site, &bytes).await;
        let name = if more == "accepted" { "sbom" } else { "other" };
        let bundle = build.attest(&begin().await, &[Material::cyclonedx(name, &bytes)]);
        let post = site.by(&site.admin, Method::POST, "/api/v1/attestations?project=skynet&workflow=release");
        let post = post.header("content-type", contracts::bundle::MEDIA_TYPE).body(bundle.bytes().to_vec());
        let answer = post.send().await.unwrap();
        assert_eq!(answer.status(), if more == "accepted" { 200 } else { 422 }, "{}", answer.text().await.unwrap());
        named.push(digest);
    }
    // One that a run in work has added, in a session that the jobs share.
    let (run, added) = (begin().await, upload(&site, b"added").await);
    let state = format!("/api/v1/runs/{}/state", run.id);
    let put = site.by(&site.admin, Method::PUT, &state).header("if-none-match", "*");
    let put = put.json(&json!({"added": added}));
    let kept = put.send().await.unwrap();
    assert!(kept.status().is_success(), "{}", kept.text().await.unwrap());
    named.push(added);
    let (old, asked, new) = (upload(&site, b"old").await, upload(&site, b"asked").await, upload(&site, b"new").await);
    for digest in named.iter().chain([&old, &asked]) {
        aged(&site, *digest, 40);
    }
    aged(&site, new, 29);
    // A pipeline asks whether it has to send it, and does not.
    let path = format!("/api/v1/evidence/{asked}");
    assert_eq!(site.by(&site.admin, Method::HEAD, &path).send().await.unwrap().status(), 200);

    let told = sweep(&site, "30d", true).await;
    assert_eq!(told, json!({"old": 4, "named": 3, "removed": 1, "bytes": 3, "digests": [old]}));
    assert!(there(&site, old).await, "a dry run removes nothing");
    assert_eq!(sweep(&site, "30d", false).await, told);
    assert!(!there(&site, old).await);
    for digest in named.iter().chain([&asked, &new]) {
        assert!(there(&site, *digest).await);
    }
    assert_eq!(sweep(&site, "30d", false).await["removed"], json!(0));
    let log = site.get(&site.admin, "/api/v1/audit?limit=1000").await;
    assert_eq!(log.matches("evidence-swept").count(), 1);
}

#[tokio::test]
async fn only_an_admin_sweeps_and_nothing_that_is_young() {
    let site = site().await;
    let push = site.token("push", None).await.secret;
    let ask = async |token: &str, older_than: &str| {
        let body = json!({"older_than": older_than});
        site.send(token, Method::POST, "/api/v1/evidence/sweep", &body).await
    };
    assert!(ask(&push, "30d").await.starts_with("403"));
    assert_snapshot!([ask(&site.admin, "6d").await, ask(&site.admin, "soon").await].join("\n"), @r#"
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "`older_than` is at least 7d: a pipeline may still be on its way to attest what it uploaded"
      }
    }
    400 Bad Request
    {
      "error": {
        "code": "invalid-request",
        "message": "`older_than`: `soon` is not a span of time: write a number and one of `d`, `h`, `m`, `s`, for example `90d`"
      }
    }
    "#);
}
