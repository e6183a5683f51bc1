//! Signatures between programs: what `sluice` signs verifies with cosign, with PyPI's sigstore and with npm's, and what
//! they sign verifies with `sluice`. Sigstore's services run on loopback (`tests/sigstore/services.cjs`).
//!
//! Runs with `SLUICE_REAL_CLIENTS=1`, node and cosign on the path, npm's packages in the folder that `SLUICE_SIGSTORE_JS`
//! names and PyPI's program in `SLUICE_SIGSTORE_PY` (`.ci/run` installs them); passes without having looked otherwise,
//! says so, and fails with `CI=true`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::scene::{Scene, both, free_address};

const ISSUER: &str = "https://token.actions.githubusercontent.com";
const IDENTITY: &str = "https://github.com/acme/skynet/.github/workflows/release.yml@refs/heads/main";
const PREDICATE: &str = "chainloop.dev/attestation/v0.2";

#[test]
fn signatures_verify_whichever_program_made_them() {
    let Some(programs) = Programs::find() else { return };
    let world = World::start(&programs);
    keyless(&world);
    keyed(&world);
    foreign(&world);
    approvals(&world);
}

/// What is signed without a key is accepted by the gateway and verifies everywhere.
fn keyless(world: &World) {
    let scene = &world.scene;
    world.craft();
    let token = world.token();
    let sign = ["attestation", "push", "--signing-config", "sigstore/signing_config.json", "--trusted-root"];
    let sign =
        [&sign[..], &["sigstore/trusted_root.json", "--identity-token", &token, "--bundle", "keyless.json"]].concat();
    let pushed = scene.sluice(&sign, 0);
    assert!(pushed.contains("accepted"), "{pushed}");
    let run = scene.sluice(&["run", "list", "--output", "json"], 0);
    let run: Value = serde_json::from_str(&run).unwrap();
    let run = scene.sluice(&["run", "describe", run[0]["id"].as_str().unwrap()], 0);
    assert!(run.contains("accepted"), "{run}");

    let who = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER];
    let root = ["--trusted-root", "sigstore/trusted_root.json"];
    let with = |before: &[&str], after: &[&str]| {
        let all: Vec<String> = [before, &who, &root, after].concat().into_iter().map(str::to_owned).collect();
        all
    };
    let cosign = with(&["verify-blob-attestation", "--bundle", "keyless.json", "--type", PREDICATE], &["app.bin"]);
    world.succeeds("cosign", &cosign);
    let trust =
        ["--trust-config", "sigstore/client_trust_config.json", "verify", "identity", "--bundle", "keyless.json"];
    let python = [&trust[..], &["--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER, "app.bin"]].concat();
    world.succeeds(&world.programs.python, &python);
    world.node(&["verify", "keyless.json", "sigstore/trusted_root.json", IDENTITY, ISSUER], true);
    let stranger = IDENTITY.replace("acme", "evil");
    world.node(&["verify", "keyless.json", "sigstore/trusted_root.json", &stranger, ISSUER], false);

    let ours = with(&["attestation", "verify", "keyless.json"], &["--type", "chainloop"]);
    scene.sluice(&ours.iter().map(String::as_str).collect::<Vec<_>>(), 0);
    let evil = ["attestation", "verify", "keyless.json", "--certificate-identity", &stranger];
    scene.sluice(&[&evil[..], &["--certificate-oidc-issuer", ISSUER], &root].concat(), 1);
    scene.sluice(&["attestation", "verify", "gone.json", "--key", "keys/release.pub"], 2);
}

/// What is signed with a key, with a log's entry and a timestamp beside it, verifies everywhere that takes keys.
fn keyed(world: &World) {
    let scene = &world.scene;
    scene.write("contract.yaml", world.contract("{publicKey: \"file://keys/release.pub\"}").as_bytes());
    scene.apply();
    world.craft();
    let sign = ["attestation", "push", "--key", "keys/release.key", "--signing-config", "sigstore/signing_config.json"];
    scene.sluice(&[&sign[..], &["--bundle", "keyed.json"]].concat(), 0);
    scene.sluice(&["attestation", "verify", "keyed.json", "--key", "keys/release.pub"], 0);
    let arguments =
        ["verify-blob-attestation", "--bundle", "keyed.json", "--key", "keys/release.pub", "--type", PREDICATE];
    let root = ["--trusted-root", "sigstore/trusted_root.json", "app.bin"];
    world.succeeds("cosign", &[&arguments[..], &root].concat());
    world.node(&["verify-key", "keyed.json", "keys/release.pub", "sigstore/trusted_root.json"], true);

    // Without any service, as cosign verifies it offline.
    world.craft();
    scene.sluice(&["attestation", "push", "--key", "keys/release.key", "--bundle", "alone.json"], 0);
    let alone = ["verify-blob-attestation", "--bundle", "alone.json", "--key", "keys/release.pub", "--type", PREDICATE];
    world.succeeds("cosign", &[&alone[..], &["--insecure-ignore-tlog", "app.bin"]].concat());
}

/// What others sign verifies here.
fn foreign(world: &World) {
    let scene = &world.scene;
    let digest = contracts::Digest::of(&fs::read(scene.path("app.bin")).unwrap());
    let predicate = json!({"buildDefinition": {"buildType": "https://example.com/b", "externalParameters": {}},
        "runDetails": {"builder": {"id": "https://example.com/b"}}});
    let statement = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": "app.bin", "digest": {"sha256": digest.hex()}}], "predicate": predicate});
    scene.write("predicate.json", predicate.to_string().as_bytes());
    scene.write("statement.json", statement.to_string().as_bytes());

    let token = world.token();
    world.node(&["sign", "statement.json", &token, &world.services, "npm.json"], true);
    let text = fs::read_to_string(scene.path(&token)).unwrap();
    let trust = ["--trust-config", "sigstore/client_trust_config.json", "attest", "--rekor-version", "1"];
    let what =
        ["--predicate", "predicate.json", "--predicate-type", "https://slsa.dev/provenance/v1", "--bundle", "py.json"];
    world.succeeds(&world.programs.python, &[&trust[..], &["--identity-token", &text], &what, &["app.bin"]].concat());
    let attest =
        ["attest-blob", "--yes", "--predicate", "predicate.json", "--type", "slsaprovenance1", "--identity-token"];
    let how = ["--signing-config", "sigstore/signing_config.json", "--trusted-root", "sigstore/trusted_root.json"];
    world.succeeds("cosign", &[&attest[..], &[&text], &how, &["--bundle", "cosign.json", "app.bin"]].concat());

    let digest = digest.to_string();
    for bundle in ["npm.json", "py.json", "cosign.json"] {
        let verify = ["attestation", "verify", bundle, "--certificate-identity", IDENTITY, "--certificate-oidc-issuer"];
        let rest = ["--trusted-root", "sigstore/trusted_root.json", "--type", "slsaprovenance1", "--digest", &digest];
        scene.sluice(&[&verify[..], &[ISSUER], &rest].concat(), 0);
        let mut changed: Value = serde_json::from_slice(&fs::read(scene.path(bundle)).unwrap()).unwrap();
        let signature = changed.pointer_mut("/dsseEnvelope/signatures/0/sig").unwrap();
        let mut bytes = STANDARD.decode(signature.as_str().unwrap()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        *signature = json!(STANDARD.encode(bytes));
        scene.write("changed.json", changed.to_string().as_bytes());
        let verify = ["attestation", "verify", "changed.json", "--certificate-identity", IDENTITY];
        scene.sluice(&[&verify[..], &["--certificate-oidc-issuer", ISSUER], &rest].concat(), 1);
    }
}

/// Approvals of an exemption that `cosign`, npm's client and `sluice` sign without a key. Two of the organization's approvers
/// must.
fn approvals(world: &World) {
    const CAROL: &str = "https://acme.dev/people/carol";
    const DAVE: &str = "https://acme.dev/people/dave";
    const MALLORY: &str = "https://acme.dev/people/mallory";
    let scene = &world.scene;
    let approvers =
        [CAROL, DAVE].map(|identity| format!("{{issuer: \"{ISSUER}\", identity: \"{identity}\"}}")).join(", ");
    let settings = format!("exemptions:\n  approvers: [{approvers}]\n  threshold: 2\n");
    scene.write("organization.yaml", settings.as_bytes());
    scene.sluice(&["organization", "apply", "organization.yaml"], 0);
    let contract = world.contract("{publicKey: \"file://keys/release.pub\"}");
    let contract = contract.replace("  signers:", "    - {name: note, type: STRING}\n  signers:");
    scene.write("contract.yaml", contract.as_bytes());
    scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    world.craft();
    scene.sluice(&["attestation", "push", "--key", "keys/release.key", "--force"], 4);
    let denied = scene.sluice(&["check", "app.bin", "--contract", "release"], 1);
    assert!(denied.contains("material-note"), "{denied}");

    let digest = contracts::Digest::of(&fs::read(scene.path("app.bin")).unwrap());
    let (from, until) = (day(-1), day(7));
    let document = format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: note, organization: default}}\nspec:\n  scope: {{rule: material-note, digest: \"{digest}\"}}\n  reason: the note comes on Monday\n  from: {from}\n  until: {until}\n"
    );
    scene.write("note.yaml", document.as_bytes());
    scene.write("approval.json", b"{}");
    let services = ["--signing-config", "sigstore/signing_config.json", "--trusted-root", "sigstore/trusted_root.json"];
    // As docs/exemptions.md tells people; the rest names the services.
    let cosign = |identity: &str, bundle: &str| {
        let token = fs::read_to_string(scene.path(&world.token_of(identity))).unwrap();
        let approve = ["attest-blob", "note.yaml", "--predicate", "approval.json", "--type"];
        let rest =
            ["https://sluice.dev/exemption-approval/v1", "--bundle", bundle, "--yes", "--identity-token", &token];
        world.succeeds("cosign", &[&approve[..], &rest, &services].concat());
    };
    let add = |file: &str, bundle: &str, to: &str| {
        scene.sluice(&["exemption", "sign", file, "--add-bundle", bundle, "--to", to], 0);
    };
    cosign(CAROL, "carol.json");
    cosign(MALLORY, "mallory.json");
    add("note.yaml", "carol.json", "carol.signed.json");
    // One of two; a stranger beside the one; and the one twice.
    add("carol.signed.json", "mallory.json", "stranger.signed.json");
    add("carol.signed.json", "carol.json", "twice.signed.json");
    for file in ["carol.signed.json", "stranger.signed.json", "twice.signed.json"] {
        let told = scene.sluice(&["exemption", "apply", file], 2);
        assert!(
            told.contains("1 of the organization's approvers signed") && told.contains("2 distinct ones"),
            "{told}"
        );
    }
    // A signature of another document does not come along with its certificate.
    let mut moved: Value = serde_json::from_slice(&fs::read(scene.path("carol.signed.json")).unwrap()).unwrap();
    moved["payload"] = json!(STANDARD.encode(document.replace("Monday", "Tuesday")));
    scene.write("moved.signed.json", moved.to_string().as_bytes());
    let told = scene.sluice(&["exemption", "apply", "moved.signed.json"], 2);
    assert!(told.contains("approves of another document"), "{told}");
    scene.sluice(&["check", "app.bin", "--contract", "release"], 1);

    // The second signs with `sluice`, and the same with npm's client.
    let token = world.token_of(DAVE);
    let sign = ["exemption", "sign", "carol.signed.json", "--to", "both.signed.json", "--identity-token", &token];
    scene.sluice(&[&sign[..], &services].concat(), 0);
    let statement = contracts::exemption::Approvals::none_of(document.into_bytes()).statement("note.yaml");
    scene.write("statement.json", &statement.to_json_bytes());
    world.node(&["sign", "statement.json", &world.token_of(DAVE), &world.services, "dave.json"], true);
    add("carol.signed.json", "dave.json", "npm.signed.json");
    for file in ["npm.signed.json", "both.signed.json"] {
        scene.sluice(&["exemption", "apply", file], 0);
        let listed = scene.sluice(&["exemption", "list"], 0);
        assert!(listed.contains("in force") && listed.contains(CAROL) && listed.contains(DAVE), "{listed}");
        let told = scene.sluice(&["check", "app.bin", "--contract", "release"], 0);
        assert!(told.contains("by exemption alone"), "{told}");
    }
    // Who is no approver any more approves of nothing.
    scene.write("organization.yaml", settings.replace("dave", "erin").as_bytes());
    scene.sluice(&["organization", "apply", "organization.yaml"], 0);
    let listed = scene.sluice(&["exemption", "list"], 0);
    assert!(listed.contains("void"), "{listed}");
    scene.sluice(&["check", "app.bin", "--contract", "release"], 1);
}

#[expect(clippy::disallowed_methods, reason = "the gateway under test reads the same clock")]
fn day(from_now: i64) -> String {
    jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(24 * from_now)).unwrap().to_string()
}

/// The programs of others.
struct Programs {
    modules: PathBuf,
    python: String,
}

impl Programs {
    fn find() -> Option<Self> {
        let missing = |what: &str| {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}");
            println!("not run: {what}");
            None
        };
        if std::env::var_os("SLUICE_REAL_CLIENTS").is_none() {
            println!("not run: SLUICE_REAL_CLIENTS is not set");
            return None;
        }
        let Some(modules) = std::env::var_os("SLUICE_SIGSTORE_JS").map(PathBuf::from).filter(|folder| folder.is_dir())
        else {
            return missing("SLUICE_SIGSTORE_JS names no folder with npm's packages");
        };
        let Some(python) = std::env::var("SLUICE_SIGSTORE_PY").ok().filter(|file| Path::new(file).is_file()) else {
            return missing("SLUICE_SIGSTORE_PY names no program");
        };
        for program in ["node", "cosign"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if found.is_err() {
                return missing(&format!("`{program}` is not on the path"));
            }
        }
        Some(Self { modules, python })
    }
}

/// Sigstore's services, and a gateway that trusts them.
struct World<'p> {
    programs: &'p Programs,
    scene: Scene,
    services: String,
    child: Child,
    _serving: crate::scene::Serving,
}

impl<'p> World<'p> {
    fn start(programs: &'p Programs) -> Self {
        let signer = format!("{{issuer: \"{ISSUER}\", identity: \"{IDENTITY}\"}}");
        let scene = Scene::new("trusted_root = \"sigstore/trusted_root.json\"\n", &contract(&signer));
        scene.write("app.bin", b"an application");
        let address = free_address();
        let mut child = Command::new("node")
            .args([&script("services.cjs"), &address.port().to_string(), "sigstore"])
            .env("NODE_PATH", &programs.modules)
            .current_dir(scene.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said.trim(), "listening");
        let serving = scene.serve();
        scene.apply();
        Self { programs, scene, services: format!("http://{address}"), child, _serving: serving }
    }

    fn contract(&self, signer: &str) -> String {
        contract(signer)
    }

    /// A file with a fresh token as GitHub Actions gives it. Nobody checks its signature here.
    fn token(&self) -> String {
        self.token_of(IDENTITY)
    }

    /// The same of another identity.
    fn token_of(&self, identity: &str) -> String {
        #[expect(clippy::disallowed_methods, reason = "the services read the same clock")]
        let now = jiff::Timestamp::now().as_second();
        let mut claims = testdata::github_claims();
        for (name, value) in [
            ("iss", json!(ISSUER)),
            ("aud", json!("sigstore")),
            ("sub", json!(identity)),
            ("iat", json!(now)),
            ("nbf", json!(now - 5)),
            ("exp", json!(now + 600)),
            ("server_url", json!("https://github.com")),
        ] {
            claims[name] = value;
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "RS256", "typ": "JWT"});
        let token = format!("{}.{}.{}", part(&header), part(&claims), URL_SAFE_NO_PAD.encode([7; 64]));
        self.scene.write("token.jwt", token.as_bytes());
        "token.jwt".to_owned()
    }

    /// A run with everything that the contract asks for.
    fn craft(&self) {
        self.scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
        self.scene.sluice(&["attestation", "add", "--name", "app", "--value", "app.bin"], 0);
    }

    fn node(&self, arguments: &[&str], well: bool) {
        let output = Command::new("node")
            .arg(script("client.cjs"))
            .args(arguments)
            .env("NODE_PATH", &self.programs.modules)
            .current_dir(self.scene.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.success(), well, "client.cjs {arguments:?}:\n{}", both(&output));
    }

    fn succeeds(&self, program: &str, arguments: &[impl AsRef<std::ffi::OsStr>]) {
        let output: Output = Command::new(program)
            .args(arguments)
            .current_dir(self.scene.path(""))
            .env("HOME", self.scene.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}:\n{}", both(&output));
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn script(name: &str) -> String {
    format!("{}/tests/sigstore/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn contract(signer: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: app, type: ARTIFACT, output: true}}\n  signers: {{any: [{signer}]}}\n  admission:\n    repositories: [\"registry.acme.dev/**\"]\n"
    )
}
