//! Contracts are removed: what they answered for falls to the others at once, and what was judged stays readable.

use contracts::{Digest, api::ContractBody};
use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    scene::scene,
    support::{Site, contract, files, show},
};

async fn delete(site: &Site, path: &str) -> String {
    show(site.by(&site.admin, Method::DELETE, path).send().await.unwrap()).await
}

async fn events(site: &Site) -> Vec<Value> {
    let log = site.by(&site.admin, Method::GET, "/api/v1/audit?limit=1000").send().await.unwrap();
    log.json().await.unwrap()
}

#[tokio::test]
async fn what_a_removed_contract_let_through_is_closed_at_once_and_its_runs_stay() {
    let scene = scene().await;
    let (site, image) = (&scene.site, Digest::of(b"an image"));
    let received = scene.release(image, true).await;
    let begun = scene.begin(&site.admin).await;
    assert_eq!(scene.verdict(image).await, "allow");

    let told = delete(site, "/api/v1/contracts/release?dry-run=true").await;
    assert_snapshot!(told.replace(&begun.contract.info.digest.to_string(), "[digest]"), @r#"
    200 OK
    {
      "name": "release",
      "revision": 1,
      "digest": "[digest]",
      "repositories": [
        {
          "pattern": "registry.acme.dev/skynet/**",
          "contracts": [],
          "partly": []
        }
      ],
      "unmatched": "deny",
      "workflows": [
        "skynet/release"
      ]
    }
    "#);
    assert_eq!(scene.verdict(image).await, "allow", "a dry run changes nothing");
    assert_snapshot!(delete(site, "/api/v1/contracts/release?revision=7").await, @r#"
    409 Conflict
    {
      "error": {
        "code": "contract-changed",
        "message": "the contract `release` is at revision 1, not 7: somebody applied another one; look at it and ask again"
      }
    }
    "#);
    assert_eq!(delete(site, "/api/v1/contracts/release?revision=1").await, told);
    assert_eq!(scene.verdict(image).await, "no-contract");
    assert!(delete(site, "/api/v1/contracts/release").await.starts_with("404"));
    let gone = site.get(&site.admin, "/api/v1/contracts/release").await;
    assert!(gone.starts_with("404") && gone.contains("up to 1, can be read by their numbers"), "{gone}");
    let never = site.get(&site.admin, "/api/v1/contracts/never").await;
    assert!(never.contains("there is no contract `never`"), "{never}");
    assert_eq!(site.get(&site.admin, "/api/v1/contracts").await, "200 OK\n[]");
    // By its name it is no more there than one that never was.
    let named = json!({"image": format!("{}@{image}", crate::scene::REPOSITORY), "contracts": ["release"]});
    let named = site.send(&site.admin, Method::POST, "/api/v1/check", &named).await;
    assert!(named.starts_with("422") && named.contains("contract-unknown"), "{named}");

    // What was judged, and by what, can be read.
    let run = site.get(&site.admin, &format!("/api/v1/runs/{}", received.run.id)).await;
    assert!(run.contains("\"accepted\"") && run.contains("\"revision\": 1"), "{run}");
    let revision = site.by(&site.admin, Method::GET, "/api/v1/contracts/release?revision=1").send().await.unwrap();
    let revision: ContractBody = revision.json().await.unwrap();
    assert_eq!((revision.info.revision, revision.info.digest), (1, begun.contract.info.digest));

    // Nothing is begun or taken for its workflow.
    let run = json!({"project": "skynet", "workflow": "release"});
    assert_snapshot!(site.send(&site.admin, Method::POST, "/api/v1/runs", &run).await, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "contract-unknown",
        "message": "the contract `release` of the workflow `skynet/release` was removed: have an admin bind the workflow to another one (`sluice workflow create --project skynet --name release --contract NAME`), or apply it again"
      }
    }
    "#);
    let materials = [
        testdata::Material::image("image", crate::scene::REPOSITORY, image),
        testdata::Material::string("note", "looked at"),
    ];
    let push = site.by(&site.admin, Method::POST, "/api/v1/attestations?project=skynet&workflow=release");
    let push = push.header("content-type", contracts::bundle::MEDIA_TYPE);
    let bundle = scene.build.attest(&begun, &materials).bytes().to_vec();
    assert_snapshot!(show(push.body(bundle).send().await.unwrap()).await, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "no-contract",
        "message": "the contract `release` of the workflow `skynet/release` was never applied, or was removed",
        "findings": [
          {
            "code": "no-contract",
            "severity": "error",
            "message": "the contract `release` of the workflow `skynet/release` was never applied, or was removed",
            "mend": "apply it with `sluice contract apply`, or bind the workflow to another with `sluice workflow create`"
          }
        ]
      }
    }
    "#);

    let events = events(site).await;
    let removed = events.iter().find(|entry| entry["event"] == "contract-removed").unwrap();
    assert_eq!((&removed["detail"]["contract"], &removed["detail"]["revision"]), (&json!("release"), &json!(1)));

    // Applied again it is another revision, also in a dry run, and judges anew.
    let again = site.numbered("release", &begun.contract.files.files["contract.yaml"]).await;
    assert_eq!(again, [2, 2]);
    let check = scene.check(image).await;
    assert_eq!(check.verdict.contracts[0].revision, 2);
    assert_eq!(scene.verdict(image).await, "allow");
}

impl Site {
    /// The numbers that a contract gets: of a dry run, and when it is applied.
    async fn numbered(&self, name: &str, text: &str) -> [u64; 2] {
        let mut numbers = [0; 2];
        for (number, query) in numbers.iter_mut().zip(["?dry-run=true", ""]) {
            let path = format!("/api/v1/contracts/{name}{query}");
            let put = self.by(&self.admin, Method::PUT, &path).json(&files(text)).send().await.unwrap();
            *number = put.json::<Value>().await.unwrap()["revision"].as_u64().unwrap();
        }
        numbers
    }
}

#[tokio::test]
async fn what_others_answer_for_is_told_and_theirs_from_then_on() {
    let scene = scene().await;
    let (site, image) = (&scene.site, Digest::of(b"an image"));
    scene.release(image, true).await;
    // One that answers for all of it and asks for more, and one for a part of it.
    for (name, pattern) in [("wide", "registry.acme.dev/**"), ("narrow", "registry.acme.dev/skynet/app")] {
        let text = contract(name, "image").replace("registry.acme.dev/skynet/**", pattern);
        let put = site.send(&site.admin, Method::PUT, &format!("/api/v1/contracts/{name}"), &files(&text)).await;
        assert!(put.starts_with("201"), "{put}");
    }
    let told = delete(site, "/api/v1/contracts/release?dry-run=true").await;
    let told: Value = serde_json::from_str(told.split_once('\n').unwrap().1).unwrap();
    assert_eq!(
        told["repositories"],
        json!([{"pattern": "registry.acme.dev/skynet/**", "contracts": ["wide"], "partly": ["narrow"]}])
    );
    assert!(delete(site, "/api/v1/contracts/release").await.starts_with("200"));
    let check = scene.check(image).await;
    let answering: Vec<_> = check.verdict.contracts.iter().map(|answer| answer.contract.as_str()).collect();
    assert_eq!(answering, ["narrow", "wide"]);
    // A lowly token removes nothing.
    let push = site.token("push", None).await.secret;
    let refused = site.send(&push, Method::DELETE, "/api/v1/contracts/wide?dry-run=true", &json!({})).await;
    assert!(refused.starts_with("403"), "{refused}");
}
