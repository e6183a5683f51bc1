//! The names of a repository's tags: all of them, page by page, and only to whoever may pull.

use axum::response::IntoResponse;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::site::{Site, failed, header_of, is, site};

/// The tags of an answer, and where it says that there are more.
async fn list(site: &Site, path: &str) -> (Vec<String>, Option<String>) {
    let answer = site.get(path).await;
    assert_eq!(answer.status(), 200, "{path}");
    let link = header_of(&answer, "link").map(str::to_owned);
    let body: Value = answer.json().await.unwrap();
    let asked = path.split("/tags/").next().unwrap();
    assert_eq!(body["name"], asked);
    (serde_json::from_value(body["tags"].clone()).unwrap(), link)
}

/// A registry that lists two pages, the second behind a query of its own.
fn two_pages(site: &Site) {
    site.fake.hook(|asked| {
        if asked.path != "/v2/open/app/tags/list" {
            return None;
        }
        let (tags, link) = match asked.query.as_str() {
            "n=1000" => (json!(["v2", "v10", "../x"]), "</v2/open/app/tags/list?next_page=abc>; rel=\"next\""),
            "next_page=abc" => (json!(["latest", "v1", "v2"]), ""),
            other => panic!("{other}"),
        };
        let link = (!link.is_empty()).then_some([("link", link)]);
        Some((link, axum::Json(json!({"name": "open/app", "tags": tags}))).into_response())
    });
}

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let site = site().await;
    two_pages(&site);
    let all = ["latest", "v1", "v10", "v2"].map(str::to_owned);
    for path in ["registry.test/open/app/tags/list", "open/app/tags/list?ns=registry.test"] {
        assert_eq!(list(&site, path).await, (all.to_vec(), None));
    }
    let head = site.head("registry.test/open/app/tags/list").await;
    assert_eq!(head.status(), 200);

    let first = "open/app/tags/list?n=2&ns=registry.test";
    let (tags, link) = list(&site, first).await;
    assert_eq!(tags, all[..2]);
    let next = "open/app/tags/list?n=2&last=v1&ns=registry.test";
    assert_eq!(link, Some(format!("</v2/{next}>; rel=\"next\"")));
    assert_eq!(list(&site, next).await, (all[2..].to_vec(), None));
    assert_eq!(list(&site, "registry.test/open/app/tags/list?n=0").await, (Vec::new(), None));
    assert_eq!(list(&site, "registry.test/open/app/tags/list?last=v10&n=9").await, (all[3..].to_vec(), None));
    assert_eq!(list(&site, "registry.test/open/app/tags/list?last=zz").await, (Vec::new(), None));
    // One list served them all.
    assert_eq!(site.fake.asked("/tags/list"), 2);
}

#[tokio::test]
async fn a_list_needs_the_right_to_pull_and_a_repository_that_is_there() {
    let site = site().await;
    two_pages(&site);
    let nobody = site.client.get(site.url("/v2/registry.test/open/app/tags/list")).send().await.unwrap();
    assert_eq!(failed(nobody).await, is(401, "UNAUTHORIZED"));
    let push = site.token(&site.admin, "push").await;
    let pushing = site.by(&push, Method::GET, "/v2/registry.test/open/app/tags/list").send().await.unwrap();
    assert_eq!(failed(pushing).await, is(403, "DENIED"));
    let elsewhere = site.get("elsewhere.test/open/app/tags/list").await;
    assert_eq!(failed(elsewhere).await, is(404, "NAME_UNKNOWN"));
    let ungoverned = site.get("registry.test/secret/app/tags/list").await;
    assert_eq!(failed(ungoverned).await, is(403, "DENIED"), "no contract answers for it");
    assert_eq!(site.fake.asked("/tags/list"), 0);
    assert_eq!(failed(site.get("registry.test/open/gone/tags/list").await).await, is(404, "NAME_UNKNOWN"));
    let wrong = site.get("registry.test/open/app/tags/list?n=many").await;
    assert_eq!(failed(wrong).await, is(400, "PAGINATION_NUMBER_INVALID"));
}

#[tokio::test]
async fn half_a_list_is_no_list() {
    let site = site().await;
    let path = "registry.test/open/app/tags/list";
    // A page that is its own next one, a page that is no list, one that never ends, and an outage.
    let own = "</v2/open/app/tags/list?n=1000>; rel=\"next\"";
    site.fake.hook(move |_| Some(([("link", own)], axum::Json(json!({"tags": ["v1"]}))).into_response()));
    assert_eq!(failed(site.get(path).await).await, is(502, "UNAVAILABLE"));
    site.fake.hook(|_| Some("no list".into_response()));
    assert_eq!(failed(site.get(path).await).await, is(502, "UNAVAILABLE"));
    site.fake.hook(|asked| {
        let page: u64 = asked.query.rsplit('=').next()?.parse().ok()?;
        let next = format!("</v2/open/app/tags/list?last={}>; rel=\"next\"", page + 1);
        let tags: Vec<_> = (0..1000).map(|number| format!("t{page}-{number}")).collect();
        Some(([("link", next)], axum::Json(json!({"tags": tags}))).into_response())
    });
    assert_eq!(failed(site.get(path).await).await, is(502, "UNAVAILABLE"));
    let asked = site.fake.asked("/tags/list");
    assert!(asked < 60, "it stops where nobody would read on");
    assert_eq!(failed(site.get(path).await).await, is(502, "UNAVAILABLE"));
    assert_eq!(site.fake.asked("/tags/list"), asked, "that it is too long is known for a while");
    let path = "registry.test/open/other/tags/list";
    site.fake.hook(|_| Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    assert_eq!(failed(site.get(path).await).await, is(503, "UNAVAILABLE"));
    site.fake.hook(|_| Some(axum::Json(json!({"tags": null})).into_response()));
    assert_eq!(list(&site, path).await, (Vec::new(), None), "nothing of it was remembered");
}
