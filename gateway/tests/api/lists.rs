//! Lists are bounded, and say where they go on.

use contracts::{
    api::{EndRun, RunInfo, RunOutcome},
    limits,
};
use gateway::{
    app::Gateway,
    store::{By, RedbStore, RunRecord, Store},
};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Site, settings, site};

/// All pages of a list, each with its length in bytes.
async fn pages(site: &Site, path: &str) -> Vec<(usize, Vec<Value>)> {
    let (mut pages, mut next) = (Vec::new(), path.to_owned());
    loop {
        let answer = site.by(&site.admin, Method::GET, &next).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{next}");
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let body = answer.bytes().await.unwrap();
        pages.push((body.len(), serde_json::from_slice(&body).unwrap()));
        let Some(link) = link else { return pages };
        next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_take_much_come_on_several_pages() {
    const RUNS: usize = 1500;
    let Site { folder, running, admin, client } = site().await;
    running.stop().await;
    let store = RedbStore::open(&settings(&folder).state).unwrap();
    let (organization, by) = ("default".parse().unwrap(), By::new("test", Timestamp::UNIX_EPOCH));
    let starts = (0..RUNS).map(|n| {
        // Many are of one instant.
        let at = Timestamp::from_second(1_700_000_000 + n as i64 / 7).unwrap();
        let mut run = RunRecord::begun(format!("r{n:04}"), "skynet/release".parse().unwrap(), at);
        run.url = Some("u".repeat(8000));
        store.start_run(&organization, run, by.clone())
    });
    futures::future::join_all(starts).await.into_iter().for_each(|started| assert!(started.unwrap()));
    let end = EndRun { outcome: RunOutcome::Failed, reason: None };
    store.end_run(&organization, "r0003", end, by).await.unwrap();
    drop(store);
    let running = Gateway::start(settings(&folder)).await.unwrap();
    let site = Site { folder, running, admin, client };

    for path in ["/api/v1/runs?limit=1000", "/api/v1/runs?workflow=skynet/release&limit=1000"] {
        let pages = pages(&site, path).await;
        assert!(pages.len() > 1);
        assert!(pages.iter().all(|(bytes, _)| *bytes < limits::LISTED_BYTES + 64 * 1024), "bounded");
        let ids: Vec<&str> = pages.iter().flat_map(|(_, rows)| rows).map(|row| row["id"].as_str().unwrap()).collect();
        let expected: Vec<String> = (0..RUNS).rev().map(|n| format!("r{n:04}")).collect();
        assert_eq!(ids, expected, "each once, the newest first");
    }
    let last: Vec<RunInfo> = site
        .by(&site.admin, Method::GET, "/api/v1/runs?limit=2&after=r0001")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(last.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["r0000"]);
    assert!(site.get(&site.admin, "/api/v1/runs?after=nowhere").await.starts_with("404"));
    let audit = pages(&site, "/api/v1/audit?limit=400").await;
    let numbers: Vec<u64> =
        audit.iter().flat_map(|(_, rows)| rows).map(|row| row["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(numbers.len() > RUNS);
}

#[tokio::test]
async fn other_lists_go_on_where_a_page_ends() {
    let site = site().await;
    site.contract("release").await;
    for (project, name) in [("a-b", "x"), ("a", "x"), ("a", "w"), ("b", "x"), ("a-b", "a")] {
        site.workflow(project, name, "release").await;
    }
    for _ in 0..4 {
        site.token("read", None).await;
    }
    for n in 0..4 {
        let path = format!("/api/v1/denials/{}", contracts::Digest::of(format!("{n}").as_bytes()));
        assert!(site.send(&site.admin, Method::PUT, &path, &json!({"reason": "r"})).await.starts_with("201"));
    }
    for (list, rows) in [("workflows", 5), ("tokens", 5), ("denials", 4), ("contracts", 1), ("exemptions", 0)] {
        let whole = pages(&site, &format!("/api/v1/{list}")).await;
        let [(_, whole)] = whole.as_slice() else { panic!("{list} fits in one answer") };
        assert_eq!(whole.len(), rows, "{list}");
        let pages = pages(&site, &format!("/api/v1/{list}?limit=2")).await;
        assert_eq!(pages.len(), rows.div_ceil(2).max(1), "{list}");
        let told: Vec<Value> = pages.into_iter().flat_map(|(_, rows)| rows).collect();
        assert_eq!(&told, whole, "{list}");
        assert!(site.get(&site.admin, &format!("/api/v1/{list}?limit=0")).await.starts_with("400"), "{list}");
        assert!(site.get(&site.admin, &format!("/api/v1/{list}?page=2")).await.starts_with("400"), "{list}");
    }
}
