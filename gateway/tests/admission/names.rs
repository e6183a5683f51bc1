//! A name means one repository, whoever asks: whoever pulls it, `POST /api/v1/judge`, `POST /api/v1/check` and a cluster.

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::api::JudgedImage;
use gateway::{config::HostSettings, upstream::UpstreamSettings};
use reqwest::{Method, header};
use serde_json::{Value, json};
use testdata::Image;

use crate::{
    fake::Fake,
    site::{HOST, REPOSITORY, Site, site_with},
};

/// The gateway is `sluice.test`, `second.gw.test` for one upstream, `plain.gw.test` for any, and `acme.gw.test` for another
/// organization. Names that say no registry mean `registry.test`.
async fn named() -> (Site, Fake) {
    let second = Fake::start().await;
    let other = UpstreamSettings { url: Some(second.url()), plain_http: true, ..UpstreamSettings::new("second.test") };
    let site = site_with(|settings| {
        settings.external_url = Some("https://sluice.test".to_owned());
        settings.upstreams[0].default = true;
        settings.upstreams.push(other);
        let host = |name: &str, upstream: Option<&str>, organization: Option<&str>| HostSettings {
            name: name.to_owned(),
            upstream: upstream.map(str::to_owned),
            organization: organization.map(|name| name.parse().unwrap()),
            anonymous_pull: false,
        };
        settings.hosts = vec![
            host("second.gw.test", Some("second.test"), None),
            host("plain.gw.test", None, None),
            host("acme.gw.test", None, Some("acme")),
        ];
    })
    .await;
    (site, second)
}

fn review(image: &str) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "shop",
        "object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": image}]}}
    }})
}

impl Site {
    /// What a client is answered that pulls a name: it asks the host in it for the rest.
    async fn pulled(&self, name: &str, target: &str) -> (u16, String) {
        let (host, path) = name.split_once('/').unwrap();
        let request = self.by(&self.pull, Method::GET, &format!("/v2/{path}/manifests/{target}"));
        let answer = request.header(header::HOST, host).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
        (status, body["errors"][0]["message"].as_str().unwrap_or_default().to_owned())
    }

    async fn reviewed(&self, way: &str, image: &str) -> Value {
        let asked = self.by(&self.pull, Method::POST, &format!("/k8s/{way}")).json(&review(image));
        let mut answer: Value = asked.send().await.unwrap().json().await.unwrap();
        answer["response"].take()
    }

    async fn judged(&self, image: &str) -> JudgedImage {
        let asked = self.by(&self.pull, Method::POST, "/api/v1/judge").json(&json!({"images": [image]}));
        asked.send().await.unwrap().json::<Vec<JudgedImage>>().await.unwrap().remove(0)
    }
}

#[tokio::test]
async fn a_name_through_the_gateway_means_the_same_to_all() {
    let (site, second) = named().await;
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    second.image(REPOSITORY, "v1", &image);
    let digest = image.digest();
    site.release(digest, true).await;
    // A contract of a registry that the names below do not mean: it would let everything through.
    site.apply("open", "open/**", "    enforcement: warn\n").await;
    for (name, status, why) in [
        ("sluice.test/app/web", 200, ""),
        ("sluice.test:443/app/web", 200, ""),
        ("SLUICE.test/registry.test/app/web", 200, ""),
        ("sluice.test/second.test/app/web", 403, "answers for `second.test/app/web`"),
        ("second.gw.test/app/web", 403, "answers for `second.test/app/web`"),
        ("Second.gw.test:8443/app/web", 403, "answers for `second.test/app/web`"),
        ("plain.gw.test/app/web", 200, ""),
        ("plain.gw.test/second.test/app/web", 403, "answers for `second.test/app/web`"),
        ("sluice.test/third.test/app/web", 404, "this gateway has no upstream `third.test`"),
        ("acme.gw.test/registry.test/app/web", 403, "another organization"),
    ] {
        let pulled = site.pulled(name, &digest.to_string()).await;
        assert_eq!((pulled.0, pulled.1.contains(why)), (status, true), "{name}: {pulled:?}");

        let written = format!("{name}@{digest}");
        let reviewed = site.reviewed("validate", &written).await;
        assert_eq!(reviewed["allowed"], json!(status == 200), "{name}: {reviewed}");
        let said = reviewed["status"]["message"].as_str().unwrap_or_default();
        assert!(said.contains(why), "{name}: {said}");

        let judged = site.judged(&written).await;
        let decided = judged.decision.map(|decision| decision == contracts::Decision::Allow);
        assert_eq!(decided == Some(true), status == 200, "{name}: {judged:?}");
        assert_eq!((judged.image.as_str(), judged.reason.contains(why)), (written.as_str(), true), "{judged:?}");

        let asked = site.by(&site.pull, Method::POST, "/api/v1/check").json(&json!({"image": written}));
        let checked = asked.send().await.unwrap().text().await.unwrap();
        assert_eq!(checked.contains("\"decision\":\"allow\""), status == 200, "{name}: {checked}");
        assert!(checked.contains(why), "{name}: {checked}");

        // The very verdict, wherever there is one.
        if why.contains("answers for") {
            let key = judged.verdict.unwrap().to_string();
            assert!(pulled.1.contains(&key) && said.contains(&key) && checked.contains(&key), "{name}");
        }
    }
    // Names that do not go by way of the gateway are read as ever.
    for (name, allowed) in [(format!("{HOST}/{REPOSITORY}"), true), ("app/web".to_owned(), false)] {
        assert_eq!(site.reviewed("validate", &format!("{name}@{digest}")).await["allowed"], json!(allowed), "{name}");
    }
}

#[tokio::test]
async fn a_tag_through_the_gateway_is_the_one_that_a_pull_gets() {
    let (site, second) = named().await;
    let (one, two) = (Image::new("one"), Image::new("two"));
    site.fake.image(REPOSITORY, "v1", &one);
    second.image(REPOSITORY, "v1", &two);
    for (name, digest) in [
        ("sluice.test/app/web", one.digest()),
        ("sluice.test/second.test/app/web", two.digest()),
        ("second.gw.test/app/web", two.digest()),
        ("plain.gw.test/registry.test/app/web", one.digest()),
    ] {
        let patch = site.reviewed("mutate", &format!("{name}:v1")).await["patch"].take();
        let patch = STANDARD.decode(patch.as_str().unwrap()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(patch[0]["value"], json!(format!("{name}@{digest}")));
    }
}
