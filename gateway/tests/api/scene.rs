//! A gateway whose organization has a contract, a workflow bound to it, and a build that pushes runs about one image.

use contracts::{
    Digest,
    api::{CheckAnswer, ReceivedAttestation, StartedRun},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testdata::{Material, Minter};

use crate::support::{Site, files, site};

pub const REPOSITORY: &str = "registry.acme.dev/skynet/app";

pub struct Scene {
    pub site: Site,
    pub build: Minter,
}

/// The contract `release` asks for an image and a note, by the build `skynet/release`.
pub async fn scene() -> Scene {
    scene_in(site().await).await
}

pub async fn scene_in(site: Site) -> Scene {
    let scene = Scene { site, build: Minter::fresh() };
    scene.organization(json!({})).await;
    scene.apply("").await;
    scene.site.workflow("skynet", "release", "release").await;
    scene
}

impl Scene {
    /// Puts settings, with the build's key as the default signer.
    pub async fn organization(&self, more: Value) {
        let mut settings = json!({"default_signers": [self.build.public_pem()], "unmatched": "deny"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let put = self.site.send(&self.site.admin, Method::PUT, "/api/v1/organization", &settings).await;
        assert!(put.starts_with("200"), "{put}");
    }

    /// Applies the contract; `more` goes into its `admission`.
    pub async fn apply(&self, more: &str) {
        let contract = format!(
            "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: note, type: STRING}}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n{more}"
        );
        let path = "/api/v1/contracts/release";
        let applied = self.site.send(&self.site.admin, Method::PUT, path, &files(&contract)).await;
        assert!(applied.starts_with("20"), "{applied}");
    }

    pub async fn begin(&self, token: &str) -> StartedRun {
        let run = json!({"project": "skynet", "workflow": "release"});
        let begun = self.site.by(token, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap();
        assert_eq!(begun.status(), StatusCode::CREATED, "{}", begun.text().await.unwrap());
        begun.json().await.unwrap()
    }

    /// Pushes a run about an image: with the note, which is accepted, or without, which is rejected.
    pub async fn release(&self, image: Digest, complete: bool) -> ReceivedAttestation {
        let run = self.begin(&self.site.admin).await;
        let mut materials = vec![Material::image("image", REPOSITORY, image)];
        if complete {
            materials.push(Material::string("note", "looked at"));
        }
        let path = "/api/v1/attestations?project=skynet&workflow=release";
        let push = self.site.by(&self.site.admin, Method::POST, path);
        let push = push.header("content-type", contracts::bundle::MEDIA_TYPE);
        let answer = push.body(self.build.attest(&run, &materials).bytes().to_vec()).send().await.unwrap();
        let expected = if complete { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
        assert_eq!(answer.status(), expected);
        answer.json().await.unwrap()
    }

    pub async fn check(&self, image: Digest) -> CheckAnswer {
        self.ask(image, &json!({"image": format!("{REPOSITORY}@{image}")})).await
    }

    /// With the gateway's signed word.
    pub async fn check_signed(&self, image: Digest) -> CheckAnswer {
        self.ask(image, &json!({"image": format!("{REPOSITORY}@{image}"), "vsa": true})).await
    }

    async fn ask(&self, image: Digest, body: &Value) -> CheckAnswer {
        let answer = self.site.by(&self.site.admin, Method::POST, "/api/v1/check").json(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: CheckAnswer = answer.json().await.unwrap();
        assert_eq!(*answer.verdict.subject.digest(), image);
        answer
    }

    /// `allow`, or the codes of what blocks.
    pub async fn verdict(&self, image: Digest) -> String {
        let answer = self.check(image).await;
        let blocking = answer.verdict.findings.iter().filter(|f| f.blocks());
        let mut codes: Vec<_> = blocking.map(|f| f.code.as_str()).collect();
        codes.dedup();
        if codes.is_empty() { "allow".to_owned() } else { codes.join(" ") }
    }
}
