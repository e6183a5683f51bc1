//! What `add` takes, and what it and `status` foresee: offline, by the rules that the gateway will ask.

use std::fs;

use contracts::Digest;

use crate::scene::Scene;

const CONTRACT: &str = r#"
apiVersion: chainloop.dev/v1
kind: Contract
metadata: {name: release}
spec:
  materials:
    - {name: image, type: CONTAINER_IMAGE, output: true}
    - {name: sbom, type: SBOM_CYCLONEDX_JSON}
    - {name: tests, type: JUNIT_XML}
  policies:
    materials: [{ref: "sluice://tests-pass", gate: true}]
  signers: {any: [{publicKey: "file://keys/release.pub"}]}
"#;

fn begun() -> (Scene, crate::scene::Serving) {
    let scene = Scene::new("", CONTRACT);
    scene.write("reports/good.xml", br#"<testsuite tests="1"><testcase classname="a" name="b"/></testsuite>"#);
    scene.write(
        "reports/bad.xml",
        br#"<testsuite tests="1" failures="1"><testcase classname="a" name="b"><failure message="no"/></testcase></testsuite>"#,
    );
    scene.write("sbom.json", &testdata::cyclonedx_named("app", 3));
    let serving = scene.serve();
    scene.apply();
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
    (scene, serving)
}

#[test]
fn what_would_be_denied_is_told_at_once_and_mended_before_the_push() {
    let (scene, _serving) = begun();
    let told = scene.sluice(&["attestation", "status"], 0);
    assert!(
        told.contains("still missing:") && told.contains("sluice attestation add --name sbom --value FILE"),
        "{told}"
    );
    assert!(!told.contains("would deny"), "{told}");
    let told = scene.sluice(&["attestation", "add", "--name", "tests", "--value", "reports/bad.xml"], 0);
    assert!(told.contains("the gateway would deny this") && told.contains("tests-pass"), "{told}");
    let told = scene.sluice(&["attestation", "status"], 0);
    assert!(told.contains("the gateway would deny this"), "{told}");
    let told = scene.sluice(&["attestation", "add", "--name", "tests", "--value", "reports/good.xml"], 0);
    assert!(told.contains("is replaced") && !told.contains("would deny"), "{told}");
    let image = format!("registry.example.test/shop/app@{}", Digest::of(b"image"));
    scene.sluice(&["attestation", "add", "--value", &image], 0);
    scene.sluice(&["attestation", "add", "--value", "sbom.json"], 0);
    let told = scene.sluice(&["attestation", "status"], 0);
    assert!(told.contains("nothing is missing: sluice attestation push"), "{told}");
    let told = scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
    assert!(told.contains("accepted"), "{told}");
}

#[test]
fn a_name_that_the_contract_does_not_have_is_compared_with_what_is_open() {
    let (scene, _serving) = begun();
    let told = scene.sluice(&["attestation", "add", "--name", "sbm", "--value", "sbom.json"], 0);
    assert!(told.contains("did you mean `sbom`?") && told.contains("attestation remove --name sbm"), "{told}");
    scene.sluice(&["attestation", "add", "--name", "sbom", "--value", "sbom.json"], 0);
    let told = scene.sluice(&["attestation", "add", "--name", "another", "--value", "sbom.json"], 0);
    assert!(told.contains("does not ask for `another`") && !told.contains("did you mean"), "{told}");
}

#[test]
fn what_was_added_by_mistake_is_taken_out_again_and_nothing_else() {
    let (scene, _serving) = begun();
    let remove = |names: &[&str], exit| {
        let names = names.iter().flat_map(|name| ["--name", name]);
        scene.sluice(&[&["attestation", "remove"][..], &names.collect::<Vec<_>>()].concat(), exit)
    };
    insta::assert_snapshot!(remove(&["sbom"], 2), @"error: there is no `sbom`: nothing was added yet");
    scene.sluice(&["attestation", "add", "--name", "sbm", "--value", "sbom.json"], 0);
    scene.sluice(&["attestation", "add", "--name", "sbom", "--value", "sbom.json"], 0);
    scene.sluice(&["attestation", "add", "--name", "tests", "--value", "reports/good.xml"], 0);
    // One mistake, and nothing is removed.
    insta::assert_snapshot!(remove(&["tests", "sbn"], 2), @"error: there is no `sbn`; what was added is `sbm`, `sbom`, `tests`");
    insta::assert_snapshot!(remove(&["sbm"], 0), @"`sbm` is removed from the attestation");
    insta::assert_snapshot!(remove(&["tests"], 0), @r"
    `tests` is removed from the attestation
    the contract asks for it:
      tests (JUNIT_XML): sluice attestation add --name tests --value FILE
    ");
    let status = scene.sluice(&["attestation", "status", "-o", "json"], 0);
    let status: serde_json::Value = serde_json::from_str(status.split("\nstill missing").next().unwrap()).unwrap();
    let there: Vec<_> = status["materials"].as_array().unwrap().iter().filter(|m| m["Set"] == true).collect();
    assert_eq!(there.len(), 1, "{status:#}");
    assert_eq!(there[0]["name"], "sbom");
    let image = format!("registry.example.test/shop/app@{}", Digest::of(b"image"));
    scene.sluice(&["attestation", "add", "--value", &image], 0);
    scene.sluice(&["attestation", "add", "--value", "reports/good.xml"], 0);
    scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
    // The session ended with the push.
    assert!(remove(&["sbom"], 2).contains("no attestation is open"));
}

/// A token ran out between `init` and `push`: that is no question of roles.
#[test]
fn a_push_says_what_is_wrong_with_the_token() {
    let (scene, _serving) = begun();
    scene.sluice(&["attestation", "add", "--name", "tests", "--value", "reports/good.xml"], 0);
    let push = ["attestation", "push", "--key", "keys/release.key", "--force"];
    let told = scene.sluice_on(&[("SLUICE_TOKEN", "mistyped")], &push, 2);
    assert!(told.contains("mistyped or revoked") && told.contains("token-unknown"), "{told}");
    let told = scene.sluice_on(&[("SLUICE_TOKEN", "")], &push, 2);
    assert!(told.contains("token-missing"), "{told}");
    let made = scene.sluice(&["token", "create", "--name", "r", "--role", "read", "-o", "json"], 0);
    let secret = made.split("\"secret\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let told = scene.sluice_on(&[("SLUICE_TOKEN", secret)], &push, 2);
    assert!(told.contains("needs a token of role `push`; yours has `read` (forbidden)"), "{told}");
    // Another protocol at the address than was named.
    let told = scene.sluice(&["run", "list", "--gateway", &scene.url().replace("http:", "https:")], 2);
    let there = format!("it speaks plain HTTP there: type `export SLUICE_GATEWAY={}/`", scene.url());
    assert!(told.contains(&there), "{told}");
}

/// What is typed next, whatever was typed before.
#[test]
fn whoever_went_wrong_is_told_what_to_type() {
    let (scene, _serving) = begun();
    let elsewhere = scene.url().replace("127.0.0.1", "localhost");
    let push = ["attestation", "push", "--key", "keys/release.key", "--force", "--gateway", &elsewhere];
    let told = scene.sluice(&push, 2).replace(&scene.address().port().to_string(), "PORT");
    insta::assert_snapshot!(told, @"error: the run was begun at `http://127.0.0.1:PORT/`, and the gateway is `http://localhost:PORT/` now: go on with `export SLUICE_GATEWAY=http://127.0.0.1:PORT/`, or begin anew there with `sluice attestation init --replace`");
    // What speaks HTTP there is none of ours.
    let registry = guarded_registry(Digest::of(b"x"), String::new());
    let told = scene.sluice(&["run", "list", "--gateway", &format!("http://{registry}")], 2);
    insta::assert_snapshot!(told.replace(&registry.to_string(), "HOST"), @"error: `http://HOST/` answered with HTTP 404, but not as a Sluice gateway does: something else listens there, or a proxy on the way answered; name the gateway with `export SLUICE_GATEWAY=URL`");
    // An image is more than its digest.
    let digest = format!("sha256:{}", "1".repeat(64));
    let told = scene.sluice(&["check", &digest], 2);
    assert!(told.contains(&format!("sluice check REPOSITORY@{digest}")), "{told}");
    let told = scene.sluice(&["check", &digest, "--contract", "release"], 1);
    assert!(told.contains(&format!("sluice check REPOSITORY@{digest}")), "{told}");
}

/// What a run pushed is what its contract is tried on next time.
#[test]
fn a_run_is_saved_as_files_that_contracts_are_tested_with() {
    let (scene, _serving) = begun();
    let image = format!("registry.example.test/shop/app@{}", Digest::of(b"image"));
    scene.sluice(&["attestation", "add", "--value", &image], 0);
    scene.sluice(&["attestation", "add", "--value", "sbom.json"], 0);
    scene.sluice(&["attestation", "add", "--value", "reports/good.xml"], 0);
    let pushed = scene.sluice(&["attestation", "push", "--key", "keys/release.key", "-o", "json"], 0);
    let pushed: serde_json::Value =
        serde_json::Deserializer::from_str(&pushed).into_iter::<serde_json::Value>().next().unwrap().unwrap();
    let run = pushed["attestationID"].as_str().unwrap();
    let saved = scene.sluice(&["run", "save", run, "--to", "bundles/allow"], 0);
    insta::assert_snapshot!(saved.replace(run, "RUN"), @r"
    bundle: bundles/allow/RUN.json
    sbom: bundles/allow/RUN/sbom-sbom.json
    tests: bundles/allow/RUN/tests-good.xml
    ");
    let told = scene.sluice(&["contract", "test", "contract.yaml", "bundles"], 0);
    assert!(told.contains("1 bundle, 0 failed") && !told.contains("could not be judged"), "{told}");
    // Without one of the files it is said which.
    fs::remove_file(scene.path(&format!("bundles/allow/{run}/sbom-sbom.json"))).unwrap();
    let told = scene.sluice(&["contract", "test", "contract.yaml", "bundles"], 1);
    let digest = Digest::of(&fs::read(scene.path("sbom.json")).unwrap()).to_string();
    insta::assert_snapshot!(told.replace(run, "RUN").replace(&digest, "sha256:DIGEST"), @r"
    ┌─────────────────────────────────────────────┬──────────┬──────┬─────────────────────────────────────────────────────────────────────────────┐
    │ bundle                                      ┆ expected ┆      ┆ what is wrong                                                               │
    ╞═════════════════════════════════════════════╪══════════╪══════╪═════════════════════════════════════════════════════════════════════════════╡
    │ allow/RUN.json ┆ allow    ┆ FAIL ┆ the file of the material `sbom` is not in `bundles` (material-bytes-absent) │
    └─────────────────────────────────────────────┴──────────┴──────┴─────────────────────────────────────────────────────────────────────────────┘
    1 bundle, 1 failed
    the material `sbom` could not be judged: put the file with sha256:DIGEST (`sbom.json` when it was added) into `bundles`, under any name
    ");
}

/// The copy of a state is without the key: a gateway that comes up without it signs as somebody else.
#[test]
fn a_key_that_was_left_behind_is_told() {
    let (scene, mut serving) = begun();
    let told = scene.sluice(&["backup", "--output", "copy.redb"], 0);
    assert!(told.contains("signing.key") && told.contains("`evidence`"), "{told}");
    assert!(!scene.log().contains("a new signing key"), "{}", scene.log());
    serving.kill();
    fs::remove_file(scene.path("state/signing.key")).unwrap();
    let _serving = scene.serve();
    assert!(scene.log().contains("a new signing key was made for a state that is not new"), "{}", scene.log());
}

/// Nobody would ever ask, and the one who knows is the gateway.
#[test]
fn a_registry_that_the_gateway_does_not_pull_from_is_warned_of() {
    let scene = Scene::new(
        "[[upstreams]]\nhost = \"registry.example.test\"\nlayout = \"images\"\naliases = [\"mirror.example.test\"]\n",
        &format!(
            "{CONTRACT}  admission:\n    repositories: [\"registry.exmaple.test/**\", \"registry.example.test/shop/**\", \
             \"mirror.example.test/x\", \"quay.io/**\", \"*.example.test/y\"]\n"
        ),
    );
    testdata::Layout::create(scene.path("images"));
    let _serving = scene.serve();
    let told = scene.sluice(&["contract", "apply", "contract.yaml", "--dry-run"], 0);
    let digest = told.split("sha256:").nth(1).unwrap().split(')').next().unwrap().to_owned();
    insta::assert_snapshot!(told.replace(&digest, "DIGEST"), @r"
    contract release would become revision 1 with 12 rules (sha256:DIGEST)
    warning: contract.yaml:14:20: this gateway has no upstream `registry.exmaple.test`, so nothing is pulled from there through it (document-reference); did you mean `registry.example.test`?
    warning: contract.yaml:14:81: this gateway has no upstream `mirror.example.test`, so nothing is pulled from there through it (document-reference); `mirror.example.test` is another name of `registry.example.test`: write that
    warning: contract.yaml:14:106: this gateway has no upstream `quay.io`, so nothing is pulled from there through it (document-reference); have the operator name it under `[[upstreams]]` in sluice.toml
    ");
}

/// Nothing could ever satisfy such a contract, and the one who knows is the gateway.
#[test]
fn signers_that_no_authority_vouches_for_are_warned_of() {
    let (scene, _serving) = begun();
    let identity = "{issuer: \"https://accounts.google.com\", identity: \"ann@acme.dev\"}";
    scene.write("contract.yaml", CONTRACT.replace("{publicKey: \"file://keys/release.pub\"}", identity).as_bytes());
    let told = scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    assert!(told.contains("nothing can satisfy the contract") && told.contains("trusted_root"), "{told}");
}

#[test]
fn what_status_foresees_is_what_the_gateway_says() {
    let (scene, _serving) = begun();
    let image = format!("registry.example.test/shop/app@{}", Digest::of(b"image"));
    scene.sluice(&["attestation", "add", "--value", &image], 0);
    scene.sluice(&["attestation", "add", "--value", "sbom.json"], 0);
    scene.sluice(&["attestation", "add", "--name", "tests", "--value", "reports/bad.xml"], 0);
    let first =
        |told: &str| serde_json::Deserializer::from_str(told).into_iter::<serde_json::Value>().next().unwrap().unwrap();
    let codes = |body: &serde_json::Value| {
        let findings = body["findings"].as_array().unwrap().iter();
        findings.map(|finding| (finding["code"].clone(), finding["message"].clone())).collect::<Vec<_>>()
    };
    let status = first(&scene.sluice(&["attestation", "status", "-o", "json"], 0));
    let pushed = first(&scene.sluice(&["attestation", "push", "--key", "keys/release.key", "-o", "json"], 4));
    assert_eq!(pushed["decision"], "deny");
    assert_eq!(codes(&status), codes(&pushed));
    assert!(!codes(&status).is_empty());
}

#[test]
fn files_are_added_by_pattern_and_by_manifest_and_images_from_folders() {
    let (scene, _serving) = begun();
    let told =
        scene.sluice(&["attestation", "add", "--name", "scans", "--kind", "EVIDENCE", "--value", "reports/*.xml"], 0);
    assert!(told.contains("scans-bad: EVIDENCE") && told.contains("scans-good: EVIDENCE"), "{told}");
    let told = scene.sluice(&["attestation", "add", "--value", "reports/*.txt"], 2);
    assert!(told.contains("no file matches `reports/*.txt`"), "{told}");
    let told = scene.sluice(&["attestation", "add"], 2);
    assert!(told.contains(".sluice.yml"), "{told}");

    let image = testdata::Image::new("app");
    testdata::Layout::create(scene.path("out/app")).add("v1", &image);
    scene.write(
        ".sluice.yml",
        b"projectVersion: 1.10\nmaterials:\n  image: out/app\n  sbom: sbom.json\n  tests: {value: reports/g*.xml, annotations: {suite: unit}}\n",
    );
    let told = scene.sluice(&["attestation", "add"], 0);
    assert!(told.contains(&format!("image: CONTAINER_IMAGE {}", image.digest())), "{told}");
    let told = scene.sluice(&["attestation", "status", "--full"], 0);
    assert!(told.contains("localhost/app") && told.contains("good.xml"), "{told}");
    // One mistake, and nothing of it is added.
    scene.write(".sluice.yml", b"materials: {extra: sbom.json, other: none.json}\n");
    let told = scene.sluice(&["attestation", "add"], 2);
    let manifest = scene.path(".sluice.yml").canonicalize().unwrap().display().to_string();
    insta::assert_snapshot!(told.replace(&manifest, ".sluice.yml"), @"error: the material `other` of `.sluice.yml`: there is no file `none.json`, and it is no image with a registry, a tag or a digest; if it is a text, say --kind STRING; if it is an image, say --kind CONTAINER_IMAGE");
    let told = scene.sluice(&["attestation", "status"], 0);
    assert!(!told.contains("extra"), "{told}");
    scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
    fs::write(scene.path(".sluice.yml"), "material: x\n").unwrap();
    let told = scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 2);
    assert!(told.contains(".sluice.yml` is not right"), "{told}");
}

/// A registry that knows one tag, and wants to know who asks.
#[cfg(unix)]
pub fn guarded_registry(digest: Digest, authorization: String) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
            let known = request.contains(&format!("authorization: {}", authorization.to_ascii_lowercase()));
            let answer = match (known, request.split(' ').nth(1)) {
                (true, Some("/v2/shop/app/manifests/v1")) => format!("200 OK\r\nDocker-Content-Digest: {digest}\r\n"),
                (true, Some("/v2/")) => "200 OK\r\n".to_owned(),
                (false, _) => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\n".to_owned(),
                _ => "404 Not Found\r\n".to_owned(),
            };
            let whole = format!("HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let _gone = stream.write_all(whole.as_bytes());
        }
    });
    address
}

#[cfg(unix)]
#[test]
fn a_tag_is_resolved_with_what_a_credential_helper_knows() {
    use std::os::unix::fs::PermissionsExt;

    use base64::{Engine, engine::general_purpose::STANDARD};
    let (scene, _serving) = begun();
    let digest = Digest::of(b"the image");
    let registry = guarded_registry(digest, format!("Basic {}", STANDARD.encode("jo:from the helper")));
    let image = format!("{registry}/shop/app:v1");
    let add = ["attestation", "add", "--name", "image", "--value", &image];
    let told = scene.sluice(&add, 2);
    assert!(told.contains("could not be found out"), "{told}");

    let helper = format!(
        "#!/bin/sh\n[ \"$1 $(cat)\" = 'get {registry}' ] && echo '{{\"Username\":\"jo\",\"Secret\":\"from the helper\"}}'\n"
    );
    scene.write("bin/docker-credential-scene", helper.as_bytes());
    fs::set_permissions(scene.path("bin/docker-credential-scene"), fs::Permissions::from_mode(0o755)).unwrap();
    scene.write("docker/config.json", format!("{{\"credHelpers\":{{\"{registry}\":\"scene\"}}}}").as_bytes());
    let path = format!("{}:{}", scene.path("bin").display(), std::env::var("PATH").unwrap());
    let docker = scene.path("docker").display().to_string();
    let told = scene.sluice_on(&[("PATH", path.as_str()), ("DOCKER_CONFIG", docker.as_str())], &add, 0);
    assert!(told.contains(&digest.to_string()), "{told}");
    // The variables that Chainloop's command line reads.
    let user = [("CHAINLOOP_REGISTRY_USERNAME", "jo"), ("CHAINLOOP_REGISTRY_PASSWORD", "from the helper")];
    scene.sluice_on(&user, &add, 0);
    let elsewhere = [user[0], user[1], ("CHAINLOOP_REGISTRY_SERVER", "other.example.test")];
    scene.sluice_on(&elsewhere, &add, 2);
}
