//! Who is believed to have built: the certificate of what signed, before the token of who pushed.

use testdata::Sigstore;

use super::*;

const WORKFLOW: &str = "https://github.com/acme/skynet/.github/workflows/release.yml@refs/heads/main";
const COMMIT: &str = "78ac366c9e8a300d51808d581422ca61f7b5b721";
const OTHER: &str = "0000000000000000000000000000000000000000";
/// What a certificate says of the job that `github_claims` are of, by the numbers of Fulcio's extensions.
const SAME: [(u64, &str); 4] = [
    (HOSTED, "github-hosted"),
    (REPOSITORY, "https://github.com/acme/skynet"),
    (SHA, COMMIT),
    (RUN, "https://github.com/acme/skynet/actions/runs/4711/attempts/1"),
];
const HOSTED: u64 = 11;
const REPOSITORY: u64 = 12;
const SHA: u64 = 13;
const RUN: u64 = 21;

/// A gateway that takes GitHub's tokens, for a contract that its workflow signs for, with a key or with a certificate.
struct Built {
    site: Site,
    issuer: TokenIssuer,
    sigstore: Sigstore,
    key: Minter,
    _server: Server,
}

async fn built() -> Built {
    let server = Server::start().await;
    let (issuer, sigstore, key) = (TokenIssuer::new(GITHUB), Sigstore::new(now()), Minter::fresh());
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("trusted_root.json");
    std::fs::write(&root, sigstore.trusted_root()).unwrap();
    let site = federated_with(&server, &issuer, |settings| settings.trusted_root = Some(root)).await;
    let contract = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n  signers: {{any: [{{publicKey: \"file://key.pub\"}}, {{issuer: \"{GITHUB}\", identity: \"{WORKFLOW}\"}}]}}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n    rules: [{{name: production, cel: \"run.identity.environment == 'production'\", message: deploy}}]\n"
    );
    let mut revision = files(&contract);
    revision["files"]["key.pub"] = json!(key.public_pem());
    let applied = site.send(&site.admin, Method::PUT, "/api/v1/contracts/release", &revision).await;
    assert!(applied.starts_with("200"), "{applied}");
    Built { site, issuer, sigstore, key, _server: server }
}

impl Built {
    fn token(&self, environment: &str) -> String {
        self.issuer.token(AUDIENCE, now(), &claims(|all| all["runner_environment"] = json!(environment)))
    }

    /// Pushes a run that says that it built the commit: its id, the status, and the codes.
    async fn push(&self, token: &str, certificate: Option<&[(u64, &str)]>) -> (String, u16, String) {
        let begun = json!({"project": "skynet", "workflow": "release"});
        let run = self.site.by(token, Method::POST, "/api/v1/runs").json(&begun).send().await.unwrap();
        let run: contracts::api::StartedRun = run.json().await.unwrap();
        let image = Material::image("image", "registry.acme.dev/skynet/app", contracts::Digest::of(b"image")).output();
        let mut raw = testdata::statement(&run, &[image]).raw;
        raw["subject"].as_array_mut().unwrap().push(json!({"name": "git.head", "digest": {"sha1": COMMIT}}));
        let statement = contracts::Statement::parse(raw.to_string().as_bytes()).unwrap();
        let bundle = match certificate {
            None => self.key.sign(&statement),
            Some(build) => self.sigstore.attest_build(&statement, WORKFLOW, GITHUB, build, now()),
        };
        let path = "/api/v1/attestations?project=skynet&workflow=release";
        let sent = self.site.by(token, Method::POST, path).header("content-type", "application/json");
        let pushed = sent.body(bundle.bytes().to_vec()).send().await.unwrap();
        let status = pushed.status().as_u16();
        let body: Value = pushed.json().await.unwrap();
        let codes = body.pointer("/run/findings").and_then(Value::as_array).into_iter().flatten();
        let codes: Vec<String> = codes.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect();
        (run.id, status, codes.join(" "))
    }

    /// The level, the builder, and whether it is said that the source is the job's word.
    async fn provenance(&self, run: &str) -> (String, String, bool) {
        let path = format!("/api/v1/runs/{run}/provenance");
        let signed = self.site.by(&self.site.admin, Method::GET, &path).send().await.unwrap().bytes().await.unwrap();
        let envelope = contracts::Bundle::parse(&signed).unwrap().envelope().payload.clone();
        let predicate = contracts::Statement::parse(&envelope).unwrap().predicate;
        let extension = &predicate["https://sluice.dev/provenance/v1"];
        let level = extension["buildLevel"].as_str().unwrap().to_owned();
        let asserted = extension["asserted"].to_string().contains("source");
        (level, predicate["runDetails"]["builder"]["id"].as_str().unwrap().to_owned(), asserted)
    }
}

fn with(number: u64, text: &'static str) -> Vec<(u64, &'static str)> {
    SAME.iter().map(|(known, told)| (*known, if *known == number { text } else { told })).collect()
}

#[tokio::test]
async fn what_signed_and_who_pushed_are_of_one_build() {
    let built = built().await;
    let token = built.token("github-hosted");
    let codes = async |certificate: &[(u64, &str)]| {
        let (_, status, codes) = built.push(&token, Some(certificate)).await;
        format!("{status} {codes}")
    };
    assert_eq!(codes(&SAME).await, "200 ");
    let body = json!({"image": format!("registry.acme.dev/skynet/app@{}", contracts::Digest::of(b"image"))});
    let checked = built.site.send(&built.site.admin, Method::POST, "/api/v1/check", &body).await;
    assert!(checked.contains("\"decision\": \"allow\""), "what the token adds is there: {checked}");
    let again = with(RUN, "https://github.com/acme/skynet/actions/runs/4711/attempts/2");
    assert_eq!(codes(&again).await, "200 ", "another attempt of the same run");
    for (number, text) in [
        (REPOSITORY, "https://github.com/acme/other"),
        (RUN, "https://github.com/acme/skynet/actions/runs/4712/attempts/1"),
        (HOSTED, "self-hosted"),
    ] {
        assert_eq!(codes(&with(number, text)).await, "422 identity-mismatch", "{text}");
    }
    // The token proves the commit that the attestation names, and what signed was another one.
    assert_eq!(codes(&with(SHA, OTHER)).await, "422 identity-mismatch commit-mismatch");
    // Without a token the certificate speaks alone, and without a certificate the token does.
    let secret = built.site.token("push", None).await.secret;
    assert_eq!(built.push(&secret, Some(&SAME)).await.1, 200);
    assert_eq!(built.push(&secret, Some(&with(SHA, OTHER))).await.2, "commit-mismatch");
    assert_eq!(built.push(&token, None).await.1, 200);
    let other = built.issuer.token(AUDIENCE, now(), &claims(|all| all["sha"] = json!(OTHER)));
    assert_eq!(built.push(&other, None).await.2, "commit-mismatch");
}

#[tokio::test]
async fn the_level_of_a_build_is_that_of_what_signed() {
    let built = built().await;
    let level = |n: u8| format!("SLSA_BUILD_LEVEL_{n}");
    let hosted = built.push(&built.token("github-hosted"), Some(&SAME)).await.0;
    let own = built.push(&built.token("self-hosted"), Some(&with(HOSTED, "self-hosted"))).await.0;
    let named = built.push(&built.token("acme-hosted"), Some(&with(HOSTED, "acme-hosted"))).await.0;
    let pushed = built.push(&built.token("github-hosted"), None).await.0;
    assert_eq!(built.provenance(&hosted).await, (level(2), GITHUB.to_owned(), false));
    assert_eq!(built.provenance(&own).await, (level(1), GITHUB.to_owned(), false));
    assert_eq!(built.provenance(&named).await, (level(1), GITHUB.to_owned(), false));
    let path = "/api/v1/organization";
    let site = &built.site;
    let mut settings: Value = site.by(&site.admin, Method::GET, path).send().await.unwrap().json().await.unwrap();
    settings["isolated_builders"] = json!([{"issuer": GITHUB, "identity": WORKFLOW}]);
    let put = site.send(&site.admin, Method::PUT, path, &settings).await;
    assert!(put.starts_with("200"), "{put}");
    assert_eq!(built.provenance(&hosted).await, (level(3), WORKFLOW.to_owned(), false));
    assert_eq!(built.provenance(&own).await, (level(1), GITHUB.to_owned(), false));
    // A token of that very pipeline proves who pushed; a key signed, which may be anybody's.
    let (of_key, builder, asserted) = built.provenance(&pushed).await;
    assert_eq!((of_key, asserted), (level(1), true));
    assert!(builder.ends_with("/builders/unverified"), "{builder}");
}
