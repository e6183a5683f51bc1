//! Bearer tokens for registry clients: what they are given for, what they open, and when they end.

use contracts::api::CreatedToken;
use reqwest::{Method, header};
use serde_json::{Value, json};
use testdata::Image;

use crate::site::{Site, failed, header_of, is, site};

/// A bearer token for repositories, as Docker asks for it.
async fn bearer(site: &Site, secret: &str, repositories: &[&str]) -> String {
    let scopes: String = repositories.iter().map(|name| format!("&scope=repository:{name}:pull")).collect();
    let request = site.client.get(site.url(&format!("/token?service=gw{scopes}")));
    let answer = request.basic_auth("anyone", Some(secret)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header_of(&answer, "cache-control")), (200, Some("no-store")));
    let body: Value = answer.json().await.unwrap();
    assert_eq!((&body["token"], &body["expires_in"]), (&body["access_token"], &json!(300)));
    assert!(body["issued_at"].is_string());
    body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_has_no_token_is_told_where_to_get_one_and_for_what() {
    let site = site().await;
    let address = site.running.address();
    let ask = async |path: &str| site.client.get(site.url(path)).send().await.unwrap();
    let ping = ask("/v2/").await;
    let realm = format!("Bearer realm=\"http://{address}/token\",service=\"{address}\"");
    assert_eq!(header_of(&ping, "www-authenticate"), Some(realm.as_str()));
    assert_eq!(failed(ping).await, is(401, "UNAUTHORIZED"));
    let scoped = format!("{realm},scope=\"repository:registry.test/open/app:pull\"");
    let manifest = ask("/v2/registry.test/open/app/manifests/v1").await;
    assert_eq!(header_of(&manifest, "www-authenticate"), Some(scoped.as_str()));
    // What a person reads whose client shows the body.
    let told = async |secret: Option<&str>| {
        let asked = site.client.get(site.url("/v2/"));
        let asked = secret.into_iter().fold(asked, |asked, secret| asked.basic_auth("me", Some(secret)));
        asked.send().await.unwrap().text().await.unwrap().replace(&address.to_string(), "gateway.test")
    };
    insta::assert_snapshot!(told(None).await, @r#"{"errors":[{"code":"UNAUTHORIZED","message":"this needs a token; log in with `docker login gateway.test`: any user, the token as password"}]}"#);
    insta::assert_snapshot!(told(Some("sluice_wrong")).await, @r#"{"errors":[{"code":"UNAUTHORIZED","message":"the token is not known here, or was revoked; log in with `docker login gateway.test`: any user, the token as password"}]}"#);
    // What a client says about where the gateway is has no part in it.
    let forged = site.client.get(site.url("/v2/")).header("x-forwarded-host", "evil.test").header("host", "evil.test");
    assert_eq!(header_of(&forged.send().await.unwrap(), "www-authenticate"), Some(realm.as_str()));

    let nobody = ask("/token?scope=repository:a:pull").await;
    assert_eq!(header_of(&nobody, "www-authenticate"), Some("Basic realm=\"sluice\""));
    assert_eq!(failed(nobody).await, is(401, "UNAUTHORIZED"));
    for (secret, answer) in
        [("sluice_wrong", is(401, "UNAUTHORIZED")), (&site.token(&site.admin, "push").await, is(403, "DENIED"))]
    {
        let answered = site.client.get(site.url("/token")).basic_auth("me", Some(secret)).send().await.unwrap();
        assert_eq!(failed(answered).await, answer);
    }
}

#[tokio::test]
async fn a_bearer_token_pulls_what_it_was_asked_for_and_nothing_else() {
    let site = site().await;
    let image = Image::new("app");
    site.fake.image("open/app", "v1", &image);
    site.fake.image("open/other", "v1", &image);
    let token = bearer(&site, &site.pull, &["registry.test/open/app", "open/app"]).await;
    let get = async |token: &str, path: &str| site.by(token, Method::GET, path).send().await.unwrap();
    for path in [
        "/v2/".to_owned(),
        "/v2/registry.test/open/app/manifests/v1".to_owned(),
        "/v2/open/app/manifests/v1?ns=registry.test".to_owned(),
        format!("/v2/registry.test/open/app/blobs/{}", image.layers[1].digest),
    ] {
        assert_eq!(get(&token, &path).await.status(), 200, "{path}");
    }
    let other = get(&token, "/v2/registry.test/open/other/manifests/v1").await;
    let challenge = header_of(&other, "www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"repository:registry.test/open/other:pull\",error=\"insufficient_scope\""));
    assert_eq!(failed(other).await, is(401, "UNAUTHORIZED"));
    // `docker login` asks for nothing, and may see only that it is let in.
    let login = bearer(&site, &site.pull, &[]).await;
    assert_eq!(get(&login, "/v2/").await.status(), 200);
    assert_eq!(get(&login, "/v2/registry.test/open/app/manifests/v1").await.status(), 401);

    // It is good for pulling alone, and not for another one.
    assert_eq!(get(&token, "/api/v1/organization").await.status(), 401);
    let again = site.client.get(site.url("/token")).basic_auth("me", Some(&token)).send().await.unwrap();
    assert_eq!(failed(again).await, is(401, "UNAUTHORIZED"));
    let as_password = site.client.get(site.url("/v2/")).basic_auth("me", Some(&token)).send().await.unwrap();
    assert_eq!(as_password.status(), 401);
    let changed = format!("{}0", &token[..token.len() - 1]);
    let changed = if changed == token { format!("{}1", &token[..token.len() - 1]) } else { changed };
    let unknown = get(&changed, "/v2/").await;
    assert!(header_of(&unknown, "www-authenticate").unwrap().ends_with("error=\"invalid_token\""));

    // Another organization's opens nothing of this one.
    let admin = site.organization("other").await;
    site.by(&site.admin, Method::GET, "/v2/registry.test/open/app/manifests/v1").send().await.unwrap();
    let theirs = bearer(&site, &admin, &["registry.test/open/app"]).await;
    let blob = format!("/v2/registry.test/open/app/blobs/{}", image.layers[1].digest);
    assert_eq!(get(&theirs, &blob).await.status(), 403, "its manifest was not pulled there");
}

#[tokio::test]
async fn a_bearer_token_ends_with_the_token_that_it_was_given_for() {
    let site = site().await;
    site.fake.image("open/app", "v1", &Image::new("app"));
    let body = json!({"name": "robot", "role": "pull"});
    let made = site.by(&site.admin, Method::POST, "/api/v1/tokens").json(&body).send().await.unwrap();
    let robot: CreatedToken = made.json().await.unwrap();
    let token = bearer(&site, &robot.secret, &["registry.test/open/app"]).await;
    let pull = async || {
        let path = "/v2/registry.test/open/app/manifests/v1";
        site.by(&token, Method::GET, path).send().await.unwrap().status().as_u16()
    };
    assert_eq!(pull().await, 200);
    let path = format!("/api/v1/tokens/{}", robot.token.id);
    let revoked = site.by(&site.admin, Method::DELETE, &path).send().await.unwrap();
    assert!(revoked.status().is_success(), "{}", revoked.status());
    assert_eq!(pull().await, 401, "the next request");
}

#[tokio::test]
async fn a_form_is_taken_as_containerd_and_docker_send_it() {
    let site = site().await;
    site.fake.image("open/app", "v1", &Image::new("app"));
    let post = async |form: String| {
        let request = site.client.post(site.url("/token")).body(form);
        request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap()
    };
    let scope = "service=gw&client_id=containerd-client&scope=repository%3Aopen%2Fapp%3Apull";
    for secret in [
        format!("grant_type=password&username=any&password={}", site.pull),
        format!("grant_type=refresh_token&refresh_token={}", site.pull),
    ] {
        let answer: Value = post(format!("{scope}&{secret}")).await.json().await.unwrap();
        assert_eq!(answer["scope"], "repository:open/app:pull");
        let token = answer["access_token"].as_str().unwrap();
        let pulled = site.by(token, Method::GET, "/v2/open/app/manifests/v1?ns=registry.test").send().await.unwrap();
        assert_eq!(pulled.status(), 200);
    }
    let wrong = post(format!("{scope}&grant_type=password&username=any&password=sluice_x")).await;
    assert_eq!(failed(wrong).await, is(401, "UNAUTHORIZED"));
    for bad in [
        format!("{scope}&grant_type=client_credentials&password={}", site.pull),
        format!("{scope}&grant_type=password"),
        format!("grant_type=password&password={0}&password={0}", site.pull),
        format!("grant_type=password&password={}", "x".repeat(100_000)),
    ] {
        assert_eq!(failed(post(bad).await).await, is(400, "UNSUPPORTED"));
    }
}
