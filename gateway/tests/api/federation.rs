//! Callers with identity tokens: an issuer on loopback, its tokens minted, the front door.

mod builders;

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use gateway::{config::Settings, federation::IssuerSettings};
use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Material, Minter, TokenIssuer, github_claims};

use crate::support::{Site, files, show, site_with};

const AUDIENCE: &str = "https://sluice.acme.dev";
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// What an issuer's server says now, and how often it was asked.
struct Says {
    jwks: Value,
    document: Value,
    status: StatusCode,
    asked: usize,
}

/// An issuer's server.
#[derive(Clone)]
struct Server {
    address: String,
    says: Arc<Mutex<Says>>,
}

impl Server {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({"issuer": address, "jwks_uri": format!("{address}/keys")});
        let says = Says { jwks: json!({"keys": []}), document, status: StatusCode::OK, asked: 0 };
        let says = Arc::new(Mutex::new(says));
        let answer = |what: fn(&Says) -> String| {
            get(move |State(says): State<Arc<Mutex<Says>>>| async move {
                let mut says = says.lock().unwrap_or_else(PoisonError::into_inner);
                says.asked += 1;
                let moved = [("location", "/keys")];
                (says.status, moved, what(&says)).into_response()
            })
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", answer(|says| says.document.to_string()))
            .route("/keys", answer(|says| says.jwks.to_string()))
            .with_state(Arc::clone(&says));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, says }
    }

    fn change(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn asked(&self) -> usize {
        self.says.lock().unwrap_or_else(PoisonError::into_inner).asked
    }
}

/// A gateway that takes tokens of this issuer, read as GitHub's, from the repository `acme/skynet` on `main`.
async fn federated(server: &Server, issuer: &TokenIssuer) -> Site {
    federated_with(server, issuer, |_| {}).await
}

async fn federated_with(server: &Server, issuer: &TokenIssuer, change: impl FnOnce(&mut Settings)) -> Site {
    server.change(|says| says.jwks = issuer.jwks());
    let settings = IssuerSettings {
        provider: Some(contracts::Provider::Github),
        plain_http: true,
        jwks_uri: (issuer.issuer != server.address).then(|| format!("{}/keys", server.address)),
        ..IssuerSettings::new(&issuer.issuer)
    };
    let site = site_with(|gateway| {
        gateway.issuers = vec![settings];
        change(gateway);
    })
    .await;
    site.contract("release").await;
    site.workflow("skynet", "release", "release").await;
    let rule = json!({
        "issuer": issuer.issuer, "audience": AUDIENCE, "role": "push", "workflow": "skynet/release",
        "claims": {"repository": "acme/skynet", "ref": ["refs/heads/main", "refs/heads/next"]},
    });
    put_rules(&site, &[rule]).await;
    site
}

async fn put_rules(site: &Site, rules: &[Value]) {
    let mut settings: Value =
        site.by(&site.admin, Method::GET, "/api/v1/organization").send().await.unwrap().json().await.unwrap();
    settings["federation"] = json!(rules);
    let put = site.send(&site.admin, Method::PUT, "/api/v1/organization", &settings).await;
    assert!(put.starts_with("200"), "{put}");
}

#[expect(clippy::disallowed_methods, reason = "the gateway under test reads the same clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = github_claims();
    change(&mut claims);
    claims
}

/// Status and code of the answer to a request that anyone who is let in may make.
async fn code(site: &Site, token: &str) -> String {
    let response = site.by(token, Method::GET, "/api/v1/workflows").send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    format!("{status} {}", body.pointer("/error/code").and_then(Value::as_str).unwrap_or("let in"))
}

#[tokio::test]
async fn every_way_to_be_nobody_has_its_own_code() {
    let server = Server::start().await;
    let issuer = TokenIssuer::new(&server.address);
    let site = federated(&server, &issuer).await;
    let token = |change: &dyn Fn(&mut Value)| issuer.token(AUDIENCE, now(), &claims(|all| change(all)));
    let good = token(&|_| ());
    let (header, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let all = json!({"iss": issuer.issuer, "aud": AUDIENCE, "exp": now().as_second() + 60, "sub": "x"});
    let hmac = issuer.sign(&json!({"alg": "HS256", "typ": "JWT", "kid": issuer.key_id()}), &all);
    let none = issuer.sign(&json!({"alg": "none", "typ": "JWT", "kid": issuer.key_id()}), &all);
    let other_key = TokenIssuer::new(&server.address).token(AUDIENCE, now(), &github_claims());
    let same_id = TokenIssuer::new(&server.address).sign(&json!({"alg": "ES256", "kid": issuer.key_id()}), &all);
    let now = now().as_second();
    let cases = [
        ("genuine", good.clone()),
        ("another value of the list", token(&|c| c["ref"] = json!("refs/heads/next"))),
        ("wrong audience", token(&|c| c["aud"] = json!("sigstore"))),
        ("no audience", token(&|c| c["aud"] = json!([]))),
        ("wrong issuer", token(&|c| c["iss"] = json!("https://issuer.evil.dev"))),
        ("wrong repository", token(&|c| c["repository"] = json!("acme/other"))),
        ("wrong branch", token(&|c| c["ref"] = json!("refs/heads/main2"))),
        ("no repository", token(&|c| c["repository"] = json!(["acme/skynet"]))),
        ("expired", token(&|c| c["exp"] = json!(now - 61))),
        ("not yet valid", token(&|c| c["nbf"] = json!(now + 120))),
        ("made later", token(&|c| c["iat"] = json!(now + 120))),
        ("long-lived", token(&|c| c["exp"] = json!(now + 100_000))),
        ("unsigned", format!("{header}.{payload}.")),
        ("alg none", none),
        ("HMAC", hmac),
        ("unknown key", other_key),
        ("a key's name on another", same_id),
        (
            "a damaged signature",
            format!("{header}.{payload}.{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]),
        ),
        ("not a token", format!("{header}.{payload}x.{signature}")),
        ("a secret", "sluice_nothing".to_owned()),
    ];
    let mut seen = Vec::new();
    for (name, token) in cases {
        seen.push(format!("{name}: {}", code(&site, &token).await));
    }
    assert_snapshot!(seen.join("\n"));
    // Also where registry clients put it, and with the reason.
    let basic = site.client.get(site.url("/api/v1/workflows")).basic_auth("ci", Some(&good)).send().await.unwrap();
    assert_eq!(basic.status(), 200);
    let refused = token(&|c| c["ref"] = json!("refs/heads/dev"));
    assert_snapshot!(site.get(&refused, "/api/v1/workflows").await.replace(&server.address, "[issuer]"));
    let pulled = site.by(&refused, Method::GET, "/v2/").send().await.unwrap();
    assert_snapshot!(show(pulled).await.replace(&server.address, "[issuer]"));
}

#[tokio::test]
async fn a_caller_may_do_what_its_rule_says_and_no_more() {
    let server = Server::start().await;
    let issuer = TokenIssuer::new(&server.address);
    let site = federated(&server, &issuer).await;
    site.workflow("skynet", "nightly", "release").await;
    let token = issuer.token(AUDIENCE, now(), &github_claims());
    let nightly = json!({"project": "skynet", "workflow": "nightly"});
    assert!(site.send(&token, Method::POST, "/api/v1/runs", &json!({})).await.starts_with("201"));
    assert!(site.send(&token, Method::POST, "/api/v1/runs", &nightly).await.starts_with("403"));
    assert!(site.get(&token, "/api/v1/tokens").await.starts_with("403"));
    let new = json!({"name": "beta"});
    assert!(site.send(&token, Method::POST, "/api/v1/organizations", &new).await.starts_with("403"));
    // Rules that are taken away let in nobody from the next request on.
    put_rules(&site, &[]).await;
    assert_eq!(code(&site, &token).await, "401 token-issuer-unknown");
}

#[tokio::test]
async fn keys_that_an_issuer_changes_are_followed_and_an_issuer_that_is_down_is_no_answer() {
    let server = Server::start().await;
    let (first, second, third) =
        (TokenIssuer::new(&server.address), TokenIssuer::new(&server.address), TokenIssuer::new(&server.address));
    let site = federated(&server, &first).await;
    let token = |issuer: &TokenIssuer| issuer.token(AUDIENCE, now(), &github_claims());

    server.change(|says| says.status = StatusCode::INTERNAL_SERVER_ERROR);
    let down = site.get(&token(&first), "/api/v1/workflows").await.replace(&server.address, "[issuer]");
    assert_snapshot!(down);
    // A redirect is not followed.
    server.change(|says| says.status = StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(code(&site, &token(&first)).await, "503 issuer-unavailable");
    server.change(|says| says.status = StatusCode::OK);
    assert_eq!(code(&site, &token(&first)).await, "200 let in");

    // One that cannot be read beside it takes nothing away.
    let mut jwks = second.jwks();
    jwks["keys"].as_array_mut().unwrap().insert(0, json!({"kid": "damaged", "kty": "RSA", "n": "", "e": "AQAB"}));
    server.change(|says| says.jwks = jwks);
    assert_eq!(code(&site, &token(&second)).await, "200 let in", "a key that is new");
    assert_eq!(code(&site, &token(&first)).await, "401 token-key-unknown", "a key that is gone");
    server.change(|says| says.status = StatusCode::BAD_GATEWAY);
    assert_eq!(code(&site, &token(&third)).await, "503 issuer-unavailable", "whether it is new cannot be told");
    assert_eq!(code(&site, &token(&second)).await, "200 let in", "what is known is known");
    let asked = server.asked();
    for _ in 0..20 {
        code(&site, &token(&TokenIssuer::new(&server.address))).await;
    }
    assert!(server.asked() < asked + 6, "invented keys do not bring about a request each");
}

#[tokio::test]
async fn nothing_is_asked_of_whom_a_token_names() {
    let (server, stranger) = (Server::start().await, Server::start().await);
    let issuer = TokenIssuer::new(&server.address);
    let site = federated(&server, &issuer).await;
    let strange = TokenIssuer::new(&stranger.address);
    stranger.change(|says| says.jwks = strange.jwks());
    assert_eq!(code(&site, &strange.token(AUDIENCE, now(), &github_claims())).await, "401 token-issuer-unknown");
    // What the issuer says of itself leads nowhere else either.
    let cases = [
        json!({"issuer": server.address, "jwks_uri": format!("{}/keys", stranger.address)}),
        json!({"issuer": stranger.address, "jwks_uri": format!("{}/keys", server.address)}),
        json!({"issuer": server.address, "jwks_uri": "http://169.254.169.254/latest/meta-data"}),
    ];
    for document in cases {
        server.change(|says| says.document = document);
        let told = site.get(&issuer.token(AUDIENCE, now(), &github_claims()), "/api/v1/workflows").await;
        assert!(told.starts_with("503"), "{told}");
    }
    assert_eq!(stranger.asked(), 0);
}

#[tokio::test]
async fn rules_that_cannot_be_meant_are_refused_when_they_are_written() {
    let server = Server::start().await;
    let issuer = TokenIssuer::new(&server.address);
    let site = federated(&server, &issuer).await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut rule = json!({"issuer": issuer.issuer, "audience": AUDIENCE, "role": "push", "claims": {"repository": "acme/app"}});
        change(&mut rule);
        json!({"federation": [rule], "unmatched": "deny", "default_signers": []})
    };
    let mut answers = Vec::new();
    for body in [
        with(&|rule| rule["claims"] = json!({})),
        with(&|rule| rule["claims"] = json!({"ref": "refs/heads/main"})),
        with(&|rule| rule["issuer"] = json!("https://gitlab.com")),
        with(&|rule| rule["workflow"] = json!("skynet/none")),
        with(&|rule| rule["workflow"] = json!("skynet")),
        with(&|rule| rule["role"] = json!("owner")),
    ] {
        let answer = site.send(&site.admin, Method::PUT, "/api/v1/organization", &body).await;
        answers.push(answer.replace(&server.address, "[issuer]"));
    }
    assert_snapshot!(answers.join("\n"));
}

#[tokio::test]
async fn what_other_organizations_write_is_nothing_to_a_token_that_names_none() {
    let server = Server::start().await;
    let issuer = TokenIssuer::new(&server.address);
    let site = federated(&server, &issuer).await;
    let token = issuer.token(AUDIENCE, now(), &github_claims());
    assert_eq!(code(&site, &token).await, "200 let in", "the only organization needs no name");
    // Once there is another one, whatever its rules are: it cannot have what comes for somebody else, and cannot disturb it.
    let beta = site.organization("beta").await;
    assert_eq!(code(&site, &token).await, "403 organization-needed");
    let rule = json!({
        "issuer": issuer.issuer, "audience": AUDIENCE, "role": "push", "claims": {"repository": "acme/skynet"},
    });
    let settings = json!({"federation": [rule]});
    assert!(site.send(&beta, Method::PUT, "/api/v1/organization", &settings).await.starts_with("200"));
    put_rules(&site, &[]).await;
    assert_eq!(code(&site, &token).await, "403 organization-needed", "nobody is let into the only one with a rule");
    put_rules(&site, &[rule]).await;
    let named = async |name: &str| {
        let request = site.by(&token, Method::GET, "/api/v1/workflows").header("sluice-organization", name);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap().as_array().map(Vec::len))
    };
    assert_eq!(named("default").await, (200, Some(1)));
    assert_eq!(named("beta").await, (200, Some(0)));
    assert_eq!(named("gamma").await, (401, None));
    assert_eq!(named("Gamma!").await, (401, None));
    // Where registry clients put it.
    for (user, status) in [("organization/default", 200), ("organization/gamma", 401), ("ci", 403)] {
        let asked = site.client.get(site.url("/api/v1/workflows")).basic_auth(user, Some(&token)).send().await.unwrap();
        assert_eq!(asked.status(), status, "{user}");
    }
    let both = site.client.get(site.url("/api/v1/workflows")).basic_auth("organization/default", Some(&token));
    assert_eq!(both.header("sluice-organization", "beta").send().await.unwrap().status(), 401);
    // Also where they exchange it, in a header or in a form.
    let rule = json!({
        "issuer": issuer.issuer, "audience": AUDIENCE, "role": "pull", "claims": {"repository": "acme/skynet"},
    });
    put_rules(&site, &[rule]).await;
    for (user, status) in [("organization/default", 200), ("organization/gamma", 401), ("ci", 403)] {
        let asked = site.client.get(site.url("/token")).basic_auth(user, Some(&token)).send().await.unwrap();
        assert_eq!(asked.status(), status, "{user}");
        let form = format!("grant_type=password&username={}&password={token}", user.replace('/', "%2F"));
        let posted = site.client.post(site.url("/token")).body(form);
        let posted = posted.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert_eq!(posted.status(), status, "{user}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_for_one_organization_names_it() {
    let server = Server::start().await;
    let issuer = TokenIssuer::new(&server.address);
    let only = |settings: &mut Settings| settings.issuers[0].organizations = vec!["default".parse().unwrap()];
    let site = federated_with(&server, &issuer, only).await;
    let beta = site.organization("beta").await;
    let token = issuer.token(AUDIENCE, now(), &github_claims());
    assert_eq!(code(&site, &token).await, "200 let in");
    let rule =
        json!({"issuer": issuer.issuer, "audience": AUDIENCE, "role": "read", "claims": {"repository": "acme/skynet"}});
    let put = site.send(&beta, Method::PUT, "/api/v1/organization", &json!({"federation": [rule]})).await;
    assert!(put.starts_with("422"), "{put}");
    let request = site.by(&token, Method::GET, "/api/v1/workflows").header("sluice-organization", "beta");
    assert_eq!(request.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn what_a_token_proves_stands_in_the_run_and_in_its_evidence() {
    let server = Server::start().await;
    let issuer = TokenIssuer::new(GITHUB);
    let site = federated(&server, &issuer).await;
    let minter = Minter::fresh();
    let contract = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  runner: {type: GITHUB_ACTION}\n  materials:\n    - {name: image, type: CONTAINER_IMAGE, output: true}\n  signers: {any: [{publicKey: \"file://key.pub\"}]}\n  policies:\n    attestation: [{ref: \"file://hosted.yaml\", gate: true}]\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n    rules:\n      - {name: from-main, cel: \"run.authenticated && run.identity.repository == 'https://github.com/acme/skynet' && run.identity.ref == 'refs/heads/main'\", message: \"release from main\"}\n";
    let policy = "apiVersion: workflowcontract.chainloop.dev/v1\nkind: Policy\nmetadata: {name: hosted}\nspec:\n  policies:\n    - kind: ATTESTATION\n      embedded: |\n        package main\n        import rego.v1\n        result := {\"skipped\": false, \"violations\": violations, \"skip_reason\": \"\"}\n        violations contains msg if {\n          not input.predicate.runnerAuthenticated\n          msg := \"the runner is not authenticated\"\n        }\n        violations contains msg if {\n          input.predicate.runnerAuthenticated\n          input.predicate.runnerWorkflowFilePath != \"acme/skynet/.github/workflows/release.yml@refs/heads/main\"\n          msg := \"another workflow\"\n        }\n";
    let mut revision = files(contract);
    revision["files"]["hosted.yaml"] = json!(policy);
    revision["files"]["key.pub"] = json!(minter.public_pem());
    let applied = site.send(&site.admin, Method::PUT, "/api/v1/contracts/release", &revision).await;
    assert!(applied.starts_with("200"), "{applied}");

    let image = contracts::Digest::of(b"image");
    let push = async |token: &str, commit: Option<&str>, forged: bool| {
        let begun = json!({"project": "skynet", "workflow": "release"});
        let run = site.by(token, Method::POST, "/api/v1/runs").json(&begun).send().await.unwrap();
        let run: contracts::api::StartedRun = run.json().await.unwrap();
        let statement =
            testdata::statement(&run, &[Material::image("image", "registry.acme.dev/skynet/app", image).output()]);
        let mut raw = statement.raw;
        if let Some(commit) = commit {
            raw["subject"].as_array_mut().unwrap().push(json!({"name": "git.head", "digest": {"sha1": commit}}));
        }
        if forged {
            raw["predicate"]["runnerAuthenticated"] = json!(true);
            raw["predicate"]["runnerType"] = json!("GITHUB_ACTION");
        }
        let statement = contracts::Statement::parse(raw.to_string().as_bytes()).unwrap();
        let bundle = minter.sign(&statement);
        let path = "/api/v1/attestations?project=skynet&workflow=release";
        let sent = site.by(token, Method::POST, path).header("content-type", "application/json");
        let pushed = sent.body(bundle.bytes().to_vec()).send().await.unwrap();
        let status = pushed.status().as_u16();
        let body: Value = pushed.json().await.unwrap();
        let codes = body.pointer("/run/findings").and_then(Value::as_array).into_iter().flatten();
        let codes: Vec<String> = codes.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect();
        (run.id, status, codes.join(" "))
    };
    let token = issuer.token(AUDIENCE, now(), &github_claims());
    let (run, status, codes) = push(&token, Some("78ac366c9e8a300d51808d581422ca61f7b5b721"), false).await;
    assert_eq!((status, codes.as_str()), (200, ""));
    let described = site.get(&site.admin, &format!("/api/v1/runs/{run}")).await;
    assert_snapshot!(
        described.lines().skip_while(|line| !line.contains("\"identity\"")).collect::<Vec<_>>().join("\n")
    );

    let other = push(&token, Some("0000000000000000000000000000000000000000"), false).await;
    assert_eq!((other.1, other.2.as_str()), (422, "commit-mismatch"));
    // Whoever comes with a secret proves nothing about the runner, whatever the statement says.
    let secret = site.token("push", None).await.secret;
    let forged = push(&secret, None, true).await;
    assert_eq!(forged.1, 422);
    assert!(forged.2.contains("policy-violation"), "{}", forged.2);
    let audit = site.get(&site.admin, "/api/v1/audit").await;
    let caller = "github:token.actions.githubusercontent.com:repo:acme/skynet:ref:refs/heads/main";
    assert!(audit.contains(caller), "{audit}");
}
