//! The names of repositories: several upstreams, by their own names, by the name under which the gateway was reached, and
//! by `?ns=`.

use gateway::config::{HostSettings, Network};
use reqwest::{Method, Response, header};
use testdata::Image;

use crate::{
    fake::Fake,
    site::{Site, failed, header_of, is, site_with, upstream},
};

fn host(name: &str, upstream: Option<&str>) -> HostSettings {
    HostSettings {
        name: name.to_owned(),
        upstream: upstream.map(str::to_owned),
        organization: None,
        anonymous_pull: false,
    }
}

/// Two upstreams, and names of the gateway for one of them, for one organization, and for everybody.
async fn two() -> (Site, Fake) {
    let second = Fake::start().await;
    let other = gateway::upstream::UpstreamSettings { host: "second.test".to_owned(), ..upstream(&second) };
    let site = site_with(|settings| {
        settings.upstreams.push(other);
        let open = HostSettings {
            organization: Some("default".parse().unwrap()),
            anonymous_pull: true,
            ..host("open.gw.test", Some("registry.test"))
        };
        let acme = HostSettings { organization: Some("acme".parse().unwrap()), ..host("acme.gw.test", None) };
        settings.hosts = vec![host("first.gw.test", Some("registry.test")), open, acme];
    })
    .await;
    (site, second)
}

async fn under(site: &Site, token: Option<&str>, host: &str, path: &str) -> Response {
    let request = site.client.request(Method::GET, site.url(&format!("/v2/{path}"))).header(header::HOST, host);
    match token {
        Some(token) => request.bearer_auth(token).send().await.unwrap(),
        None => request.send().await.unwrap(),
    }
}

#[tokio::test]
async fn a_name_of_the_gateway_means_the_upstream_that_the_table_says() {
    let (site, second) = two().await;
    let (one, two) = (Image::new("one"), Image::new("two"));
    site.fake.image("open/app", "v1", &one);
    second.image("open/app", "v1", &two);
    let digest = async |host: &str, path: &str| {
        let answer = under(&site, Some(&site.pull), host, path).await;
        let digest = header_of(&answer, "docker-content-digest").map(str::to_owned);
        (answer.status().as_u16(), digest)
    };
    let first = (200, Some(one.digest().to_string()));
    for (host, path) in [
        ("gw.test", "registry.test/open/app/manifests/v1"),
        ("gw.test", "open/app/manifests/v1?ns=registry.test"),
        ("first.gw.test", "open/app/manifests/v1"),
        ("First.GW.test:8443", "open/app/manifests/v1"),
        ("first.gw.test", "open/app/manifests/v1?ns=registry.test"),
        ("first.gw.test", "open/app/manifests/v1?ns=first.gw.test"),
    ] {
        assert_eq!(digest(host, path).await, first, "{host} {path}");
    }
    let answer = under(&site, Some(&site.pull), "first.gw.test", "open/app/manifests/v1?ns=second.test").await;
    assert_eq!(failed(answer).await, is(400, "NAME_INVALID"));
    let answer = under(&site, Some(&site.pull), "first.gw.test", "open/app/manifests/v1?ns=169.254.169.254").await;
    assert_eq!(failed(answer).await, is(404, "NAME_UNKNOWN"));
    // The whole path is a name at this upstream, whatever its first part looks like.
    let answer = under(&site, Some(&site.pull), "first.gw.test", "second.test/open/app/manifests/v1").await;
    assert_eq!(failed(answer).await, is(404, "MANIFEST_UNKNOWN"));
    // The second one has no contract of this organization: its image is there, and is denied.
    let answer = under(&site, Some(&site.pull), "gw.test", "second.test/open/app/manifests/v1").await;
    assert_eq!(failed(answer).await, is(403, "DENIED"));
    assert_eq!(second.asked("/blobs/"), 0);
    assert!(site.fake.log().iter().all(|asked| asked.query.is_empty()), "what a client adds stays here");
    for unknown in ["evil.test", "first.gw.test.evil.test", ""] {
        let answer = under(&site, Some(&site.pull), unknown, "open/app/manifests/v1").await;
        assert_eq!(failed(answer).await, is(404, "NAME_UNKNOWN"), "{unknown}");
    }
}

#[tokio::test]
async fn what_a_client_calls_a_registry_is_never_dialled() {
    let (site, second) = two().await;
    // Somebody listens there, and has the image.
    let elsewhere = Fake::start().await;
    let image = Image::new("app");
    for fake in [&site.fake, &second, &elsewhere] {
        fake.image("open/app", "v1", &image);
    }
    let (address, port) = (elsewhere.address, elsewhere.address.port());
    let digest = image.digest();
    for what in [
        "manifests/v1".to_owned(),
        format!("manifests/{digest}"),
        format!("blobs/{digest}"),
        format!("referrers/{digest}"),
    ] {
        for name in [
            address.to_string(),
            format!("localhost:{port}"),
            format!("http://{address}"),
            "169.254.169.254".to_owned(),
        ] {
            for path in [format!("open/app/{what}?ns={name}"), format!("{name}/open/app/{what}")] {
                let answer = under(&site, Some(&site.pull), "gw.test", &path).await;
                let (status, code) = failed(answer).await;
                assert!(matches!(status, 400 | 404), "{path}: {status}");
                assert!(matches!(code.as_str(), "NAME_UNKNOWN" | "NAME_INVALID"), "{path}: {code}");
            }
        }
        let twice = format!("open/app/{what}?ns=registry.test&ns=registry.test");
        assert_eq!(failed(under(&site, Some(&site.pull), "gw.test", &twice).await).await, is(400, "NAME_INVALID"));
    }
    for fake in [&elsewhere, &second, &site.fake] {
        assert!(fake.log().is_empty(), "{:?}", fake.log());
    }
}

#[tokio::test]
async fn without_a_token_only_what_one_name_opens_is_pulled() {
    let (site, _) = two().await;
    let (open, denied) = (Image::new("open"), Image::new("denied"));
    site.fake.image("open/app", "v1", &open);
    site.fake.image("skynet/app", "v1", &denied);
    let status = async |host: &str, path: &str| under(&site, None, host, path).await.status().as_u16();
    assert_eq!(status("open.gw.test", "").await, 200);
    assert_eq!(status("open.gw.test", "open/app/manifests/v1").await, 200);
    assert_eq!(status("open.gw.test", &format!("open/app/blobs/{}", open.layers[1].digest)).await, 200);
    let answer = under(&site, None, "open.gw.test", "skynet/app/manifests/v1").await;
    assert_eq!(failed(answer).await, is(403, "DENIED"));
    for other in ["gw.test", "first.gw.test", "acme.gw.test"] {
        assert_eq!(status(other, "registry.test/open/app/manifests/v1").await, 401, "{other}");
    }
    let wrong = under(&site, Some("sluice_wrong"), "open.gw.test", "open/app/manifests/v1").await;
    assert_eq!(failed(wrong).await, is(401, "UNAUTHORIZED"));
    let api = site.client.get(site.url("/api/v1/organization")).header(header::HOST, "open.gw.test");
    assert_eq!(api.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_name_of_one_organization_serves_no_other() {
    let (site, _) = two().await;
    site.fake.image("open/app", "v1", &Image::new("app"));
    let acme = site.organization("acme").await;
    let path = "registry.test/open/app/manifests/v1";
    assert_eq!(under(&site, Some(&acme), "acme.gw.test", path).await.status(), 200);
    assert_eq!(failed(under(&site, Some(&site.pull), "acme.gw.test", path).await).await, is(403, "DENIED"));
    let token = site.client.get(site.url("/token")).header(header::HOST, "acme.gw.test");
    let answer = token.basic_auth("me", Some(&site.pull)).send().await.unwrap();
    assert_eq!(failed(answer).await, is(403, "DENIED"));
    // What a client forwards is what it says itself.
    let forged = site.ask(Method::GET, path).header("x-forwarded-host", "acme.gw.test").send().await.unwrap();
    assert_eq!(forged.status(), 200, "the name is not that one");
}

#[tokio::test]
async fn a_trusted_proxy_says_by_which_name_a_client_came() {
    let site = site_with(|settings| {
        settings.hosts = vec![host("first.gw.test", Some("registry.test"))];
        settings.trusted_proxies = vec![Network::parse("127.0.0.0/8").unwrap()];
    })
    .await;
    site.fake.image("open/app", "v1", &Image::new("app"));
    let forwarded = |path: &str| site.client.get(site.url(path)).header("x-forwarded-host", "first.gw.test");
    let pulled = forwarded("/v2/open/app/manifests/v1").bearer_auth(&site.pull).send().await.unwrap();
    assert_eq!(pulled.status(), 200);
    let ping = forwarded("/v2/").header("x-forwarded-proto", "https").send().await.unwrap();
    let challenge = header_of(&ping, "www-authenticate").unwrap();
    assert_eq!(challenge, "Bearer realm=\"https://first.gw.test/token\",service=\"first.gw.test\"");
}
