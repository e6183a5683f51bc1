//! Verdicts about what is no image, and contracts that are named.

use contracts::{
    Digest, MaterialType,
    api::{CheckAnswer, StartedRun},
};
use gateway::upstream::UpstreamSettings;
use insta::assert_snapshot;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testdata::{Image, Layout, Material};

use crate::{
    scene::{REPOSITORY, Scene, scene, scene_in},
    support::{files, site_with},
};

const FILES: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: files}\nspec:\n  materials:\n    - {name: binary, type: ARTIFACT, output: true}\n    - {name: note, type: STRING}\n";

/// Applies the contract `files` and binds `skynet/files` to it.
async fn with_files(scene: Scene) -> Scene {
    let admin = &scene.site.admin;
    let applied = scene.site.send(admin, Method::PUT, "/api/v1/contracts/files", &files(FILES)).await;
    assert!(applied.starts_with("201"), "{applied}");
    scene.site.workflow("skynet", "files", "files").await;
    scene
}

impl Scene {
    /// Pushes a run that built a file: with the note, which is accepted, or without.
    async fn built(&self, bytes: &[u8], complete: bool) {
        let (site, admin) = (&self.site, &self.site.admin);
        let run = json!({"project": "skynet", "workflow": "files"});
        let run: StartedRun =
            site.by(admin, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap().json().await.unwrap();
        let upload = site.by(admin, Method::PUT, &format!("/api/v1/evidence/{}", Digest::of(bytes)));
        assert!(upload.body(bytes.to_vec()).send().await.unwrap().status().is_success());
        let mut materials = vec![Material::file("binary", MaterialType::Artifact, "app", bytes).output()];
        if complete {
            materials.push(Material::string("note", "looked at"));
        }
        let push = site.by(admin, Method::POST, "/api/v1/attestations?project=skynet&workflow=files");
        let push = push.header("content-type", contracts::bundle::MEDIA_TYPE);
        let answer = push.body(self.build.attest(&run, &materials).bytes().to_vec()).send().await.unwrap();
        assert_eq!(answer.status().is_success(), complete);
    }

    /// `allow`, or the codes of what blocks; else the error's code.
    async fn told(&self, token: &str, question: Value) -> String {
        let answer = self.site.by(token, Method::POST, "/api/v1/check").json(&question).send().await.unwrap();
        if answer.status() != StatusCode::OK {
            let body: Value = answer.json().await.unwrap();
            return body["error"]["code"].as_str().unwrap().to_owned();
        }
        let answer: CheckAnswer = answer.json().await.unwrap();
        let blocking = answer.verdict.findings.iter().filter(|finding| finding.blocks());
        let mut codes: Vec<_> = blocking.map(|finding| finding.code.as_str()).collect();
        codes.dedup();
        if codes.is_empty() { "allow".to_owned() } else { codes.join(" ") }
    }
}

#[tokio::test]
async fn an_artifact_is_asked_about_with_the_contracts_that_must_allow_it() {
    let scene = with_files(scene().await).await;
    let (site, admin) = (&scene.site, &scene.site.admin);
    let digest = Digest::of(b"binary");
    let question = |contracts: &[&str]| json!({"artifact": digest, "contracts": contracts});
    assert_snapshot!(site.send(admin, Method::POST, "/api/v1/check", &json!({"artifact": digest})).await);
    assert_snapshot!(site.send(admin, Method::POST, "/api/v1/check", &question(&["nope", "files"])).await);
    let denied = site.by(admin, Method::POST, "/api/v1/check").json(&question(&["files"])).send().await.unwrap();
    let denied: Value = denied.json().await.unwrap();
    let told = json!({"subject": denied["subject"], "named": denied["named"], "findings": denied["findings"]});
    assert_snapshot!(serde_json::to_string_pretty(&told).unwrap(), @r#"
    {
      "subject": "sha256:9a3a45d01531a20e89ac6ae10b0b0beb0492acd7216a368aa062d1a5fecaf9cd",
      "named": [
        "files"
      ],
      "findings": [
        {
          "code": "no-evidence",
          "severity": "error",
          "message": "there is no attestation of the artifact sha256:9a3a45d01531a20e89ac6ae10b0b0beb0492acd7216a368aa062d1a5fecaf9cd",
          "mend": "push an attestation of the artifact from the pipeline `skynet/files`, with these very bytes as one of its outputs (`output: true` in the contract)"
        }
      ]
    }
    "#);
    scene.built(b"binary", true).await;
    assert_eq!(scene.told(admin, question(&["files"])).await, "allow");
    assert_eq!(scene.told(admin, question(&["release"])).await, "no-evidence");
    assert_eq!(scene.told(admin, question(&["release", "files"])).await, "no-evidence");
    assert_eq!(scene.told(admin, json!({"artifact": "sha256:00", "contracts": ["files"]})).await, "invalid-json");
    for bad in [
        json!({}),
        json!({"artifact": digest, "image": format!("{REPOSITORY}@{digest}"), "contracts": ["files"]}),
        json!({"artifact": digest, "contracts": vec!["files"; 33]}),
    ] {
        assert_eq!(scene.told(admin, bad.clone()).await, "invalid-request", "{bad}");
    }
}

#[tokio::test]
async fn a_verdict_about_an_artifact_is_signed_as_one() {
    let scene = with_files(scene().await).await;
    let (site, admin) = (&scene.site, &scene.site.admin);
    let digest = Digest::of(b"binary");
    scene.built(b"binary", true).await;
    let question = json!({"artifact": digest, "contracts": ["files"], "vsa": true});
    let answer = site.by(admin, Method::POST, "/api/v1/check").json(&question).send().await.unwrap();
    let answer: CheckAnswer = answer.json().await.unwrap();
    let told = crate::word::believed(site, answer.vsa.as_ref().unwrap().to_string().as_bytes()).await;
    let statement = &told.statement;
    assert_eq!(statement.raw["subject"], json!([{"name": digest, "digest": {"sha256": digest.hex()}}]));
    assert_eq!(statement.predicate["resourceUri"], json!(digest));
    assert_eq!(statement.predicate["verificationResult"], "PASSED");
    assert_eq!(statement.predicate["https://sluice.dev/verdict/v1"]["subject"], json!(digest));
    assert_eq!(statement.predicate["policy"]["digest"]["sha256"], answer.verdict.contracts[0].digest.hex());

    // Found by its key, by those who may name its contracts.
    let path = format!("/api/v1/verdicts/{}", answer.key);
    let bound = site.token("push", Some("skynet/files")).await.secret;
    let elsewhere = site.token("push", Some("skynet/release")).await.secret;
    for (token, status) in [(admin, "200"), (&bound, "200"), (&elsewhere, "404")] {
        for path in [path.clone(), format!("{path}/vsa"), format!("/verdicts/{}", answer.key)] {
            let told = site.by(token, Method::GET, &path).send().await.unwrap().status();
            assert_eq!(told.as_str(), status, "{path}");
        }
    }
    scene.built(b"binary", false).await;
    let overtaken = site.get(admin, &format!("{path}/vsa")).await;
    assert!(overtaken.starts_with("409") && overtaken.contains("verdict-overtaken"), "{overtaken}");
}

#[tokio::test]
async fn who_may_not_ask_a_contract_is_told_nothing_of_it() {
    let scene = with_files(scene().await).await;
    let (site, admin) = (&scene.site, &scene.site.admin);
    let digest = Digest::of(b"binary");
    scene.built(b"binary", true).await;
    let question = |contract: &str| json!({"artifact": digest, "contracts": [contract]});
    let reader = site.token("read", None).await.secret;
    assert_eq!(scene.told(&reader, question("files")).await, "forbidden");
    let puller = site.token("pull", None).await.secret;
    assert_eq!(scene.told(&puller, question("files")).await, "allow");

    // A token that is bound to a workflow: the contract of that one, and the others are as if they were not there.
    let bound = site.token("push", Some("skynet/release")).await.secret;
    assert_eq!(scene.told(&bound, question("release")).await, "no-evidence");
    let other = site.send(&bound, Method::POST, "/api/v1/check", &question("files")).await;
    let none = site.send(&bound, Method::POST, "/api/v1/check", &question("nothere")).await;
    assert_eq!(other.replace("files", "nothere"), none);
    assert_snapshot!(other);
    let image = json!({"image": format!("{REPOSITORY}@{digest}"), "contracts": ["files"]});
    assert_eq!(scene.told(&bound, image.clone()).await, "contract-unknown");
    assert_eq!(scene.told(admin, image).await, "no-evidence");

    // Another organization learns nothing, not even with a contract of the same name.
    let stranger = site.organization("other").await;
    let asked = site.send(&stranger, Method::POST, "/api/v1/check", &question("files")).await;
    assert!(asked.starts_with("422") && asked.contains("there is none yet"), "{asked}");
    let settings = json!({"default_signers": [scene.build.public_pem()]});
    assert!(site.send(&stranger, Method::PUT, "/api/v1/organization", &settings).await.starts_with("200"));
    assert!(site.send(&stranger, Method::PUT, "/api/v1/contracts/files", &files(FILES)).await.starts_with("201"));
    assert_eq!(scene.told(&stranger, question("files")).await, "no-evidence");
}

#[tokio::test]
async fn a_verdict_about_an_artifact_opens_no_pull_of_the_image_with_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let mut layout = Layout::create(folder.path().join("layout"));
    let image = Image::new("app");
    layout.add("v1", &image);
    let site = site_with(|settings| {
        settings.upstreams = vec![UpstreamSettings {
            layout: Some(layout.folder().to_owned()),
            repository: Some("skynet/app".to_owned()),
            ..UpstreamSettings::new("registry.acme.dev")
        }];
    });
    let scene = with_files(scene_in(site.await).await).await;
    let (site, admin) = (&scene.site, &scene.site.admin);
    // The manifest itself, attested as a file.
    let manifest = std::fs::read(layout.folder().join("blobs/sha256").join(image.digest().hex())).unwrap();
    scene.built(&manifest, true).await;
    let about = json!({"artifact": image.digest(), "contracts": ["files"]});
    let path = format!("/v2/registry.acme.dev/skynet/app/manifests/{}", image.digest());
    let pull = async || site.by(admin, Method::GET, &path).send().await.unwrap().status();
    for _ in 0..2 {
        assert_eq!(scene.told(admin, about.clone()).await, "allow");
        assert_eq!(pull().await, StatusCode::FORBIDDEN);
        let image = json!({"image": format!("{REPOSITORY}:v1")});
        assert_eq!(scene.told(admin, image).await, "no-evidence");
    }
    scene.release(image.digest(), true).await;
    assert_eq!(pull().await, StatusCode::OK);
    // And one about the image says nothing of a file.
    let file = json!({"artifact": image.digest(), "contracts": ["release"]});
    assert_eq!(scene.told(admin, file).await, "no-evidence");
    let both = json!({"image": format!("{REPOSITORY}:v1"), "contracts": ["files"]});
    assert_eq!(scene.told(admin, both).await, "no-evidence");
    assert_eq!(pull().await, StatusCode::OK, "what was asked with more contracts is not what a pull asks");
}
