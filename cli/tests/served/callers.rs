//! Jobs that call the gateway with the identity token that their CI system gives them, and no secret.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use serde_json::{Value, json};
use testdata::{TokenIssuer, github_claims};

use crate::scene::{Scene, free_address};

const ISSUER: &str = "https://token.actions.githubusercontent.com";

#[test]
fn a_job_needs_no_secret_and_what_its_token_proves_is_kept() {
    let (job, scene) = Job::begin();
    let _serving = scene.serve();
    scene.apply();
    let rule = json!({
        "issuer": ISSUER, "audience": scene.url(), "role": "push", "workflow": "shop/release",
        "claims": {"repository": "acme/skynet", "ref": "refs/heads/main"},
    });
    put(&scene, &json!({"federation": [rule]}));

    let address = job.address;
    let url = format!("http://{address}/token?api-version=2.0");
    let runner = [("SLUICE_TOKEN", ""), ("ACTIONS_ID_TOKEN_REQUEST_URL", &url)];
    let is_github = [("CI", "true"), ("GITHUB_REPOSITORY", "acme/skynet"), ("GITHUB_RUN_ID", "4711")];
    let github = [&runner[..], &is_github, &[("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner")]].concat();
    scene.write("note.txt", b"a note");
    scene.sluice_on(&github, &["attestation", "init"], 0);
    scene.sluice_on(&github, &["attestation", "add", "--name", "note", "--value", "note.txt"], 0);
    scene.sluice_on(&github, &["attestation", "push", "--key", "keys/release.key"], 0);
    let runs: Value = serde_json::from_str(&scene.sluice(&["run", "list", "-o", "json"], 0)).unwrap();
    assert_eq!(runs[0]["identity"]["repository"], "https://github.com/acme/skynet");
    let told = scene.sluice(&["run", "describe", runs[0]["id"].as_str().unwrap()], 0);
    for part in ["accepted", "github", "refs/heads/main", "actions/runs/4711/attempts/1", "github-hosted"] {
        assert!(told.contains(part), "{part}:\n{told}");
    }

    // The runner gives no token, or another one than the gateway takes: nothing is told to be done.
    let refused = [&runner[..], &[("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "other")]].concat();
    let told = scene.sluice_on(&refused, &["run", "list"], 2);
    assert!(told.contains("id-token: write"), "{told}");
    let elsewhere = [&github[..], &[("SLUICE_ID_TOKEN_AUDIENCE", "https://elsewhere.dev")]].concat();
    let told = scene.sluice_on(&elsewhere, &["run", "list"], 2);
    assert!(told.contains("token-audience") && told.contains("https://elsewhere.dev"), "{told}");
    // One that the gateway knows better than this program what is wrong with.
    let old = now().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    let old = job.issuer.token(&scene.url(), old, &github_claims());
    let told = scene.sluice_on(&[("SLUICE_TOKEN", &old)], &["run", "list"], 2);
    assert!(told.contains("token-expired") && told.contains("ask the CI system"), "{told}");
    assert!(!told.contains("mistyped"), "{told}");
    let mut branch = github_claims();
    branch["ref"] = json!("refs/heads/dev");
    let branch = job.issuer.token(&scene.url(), now(), &branch);
    let told = scene.sluice_on(&[("SLUICE_TOKEN", ""), ("SLUICE_ID_TOKEN", &branch)], &["run", "list"], 2);
    assert!(told.contains("identity-not-allowed") && told.contains("refs/heads/dev"), "{told}");
    // Whoever comes with the gateway's own token proves nothing about the runner, which the contract asks for.
    let begin = ["attestation", "init", "--project", "shop", "--workflow", "release"];
    scene.sluice_on(&is_github, &begin, 0);
    scene.sluice(&["attestation", "add", "--name", "note", "--value", "note.txt"], 0);
    let told = scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 4);
    assert!(told.contains("the runner is not proven"), "{told}");
}

/// A runner of GitHub's and the issuer of its tokens, on one address.
struct Job {
    address: SocketAddr,
    issuer: Arc<TokenIssuer>,
}

impl Job {
    fn begin() -> (Self, Scene) {
        let address = free_address();
        let issuer = Arc::new(TokenIssuer::new(ISSUER));
        let listener = TcpListener::bind(address).unwrap();
        let served = Arc::clone(&issuer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &served);
            }
        });
        let settings =
            format!("[[issuers]]\nissuer = \"{ISSUER}\"\njwks_uri = \"http://{address}/keys\"\nplain_http = true\n");
        let contract = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  runner: {type: GITHUB_ACTION}\n  materials:\n    - {name: note, type: ARTIFACT}\n  policies:\n    attestation:\n      - {ref: \"file://proven.yaml\", gate: true}\n  signers: {any: [{publicKey: \"file://keys/release.pub\"}]}\n";
        let scene = Scene::new(&settings, contract);
        let policy = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: proven}\nspec:\n  policies:\n    - kind: ATTESTATION\n      embedded: |\n        package main\n        import rego.v1\n        result := {\"skipped\": false, \"violations\": violations, \"skip_reason\": \"\"}\n        violations contains \"the runner is not proven\" if not input.predicate.runnerAuthenticated\n";
        scene.write("proven.yaml", policy.as_bytes());
        (Self { address, issuer }, scene)
    }
}

/// Tells the keys to anybody, and a token for the audience that is asked for to the runner.
fn answer(mut stream: TcpStream, issuer: &TokenIssuer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut runner) = (String::new(), false);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
            break;
        }
        runner |= line.trim().eq_ignore_ascii_case("authorization: bearer runner");
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path.split_once('?') {
        None => ("200 OK", issuer.jwks()),
        Some((_, query)) if runner => {
            let audience = query.rsplit_once("audience=").unwrap().1.replace("%3A", ":").replace("%2F", "/");
            ("200 OK", json!({"value": issuer.token(&audience, now(), &github_claims())}))
        }
        Some(_) => ("403 Forbidden", json!({})),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
}

/// Changes the organization's settings as its admin.
fn put(scene: &Scene, settings: &Value) {
    let body = settings.to_string();
    let mut stream = TcpStream::connect(scene.address()).unwrap();
    let head = format!(
        "PUT /api/v1/organization HTTP/1.1\r\nHost: sluice\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        scene.token(),
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[expect(clippy::disallowed_methods, reason = "the gateway under test reads the same clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
