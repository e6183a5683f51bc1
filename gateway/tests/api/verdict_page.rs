//! The page that the message of a denial leads to.

use contracts::Digest;
use insta::assert_snapshot;
use reqwest::header;

use crate::{scene::scene, support::site};

#[tokio::test]
async fn whoever_has_a_token_of_the_organization_reads_what_was_decided() {
    let scene = scene().await;
    let image = Digest::of(b"image");
    scene.release(image, false).await;
    let denied = scene.check(image).await;
    let (site, url) = (&scene.site, format!("/verdicts/{}", denied.key));

    // A browser is asked for the token.
    let stranger = site.client.get(site.url(&url)).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    assert!(stranger.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
    assert!(!stranger.text().await.unwrap().contains("skynet"));

    let pull = site.token("pull", None).await.secret;
    let page = site.client.get(site.url(&url)).basic_auth("anyone", Some(pull)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = page.text().await.unwrap();
    let (_, main) = page.split_once("<main>").unwrap();
    let changing = |text: &str| text.contains("<dt>decided") || text.contains("<dt>verdict");
    let kept: Vec<&str> = main.lines().filter(|line| !changing(line)).collect();
    // Runs have names that are made up on the spot.
    let run = |word: &&str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let page = kept.join("\n");
    let run = page.split('`').find(run).unwrap();
    assert_snapshot!(page.replace(run, "[run]"));

    // To another organization there is no such verdict.
    let other = site.organization("other").await;
    let foreign = site.get(&other, &url).await;
    assert!(foreign.starts_with("404") && !foreign.contains("skynet"), "{foreign}");
}

#[tokio::test]
async fn what_is_no_verdict_has_a_page_that_says_so() {
    let site = site().await;
    for key in [Digest::of(b"x").to_string(), "..%2f..%2fetc".to_owned(), "<b>".to_owned()] {
        let page = site.get(&site.admin, &format!("/verdicts/{key}")).await;
        assert!(page.starts_with("404") && page.contains("sluice check IMAGE"), "{page}");
        assert!(!page.contains("<b>"), "{page}");
    }
}
