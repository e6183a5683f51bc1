//! The real program, without a gateway: exit code, standard output and standard error of the commands that need none.
#![cfg(test)]

mod program;
mod serve;

use std::collections::BTreeSet;

use contracts::{SigningKey, Statement, Subject, digest::Digest};
use serde_json::{Value, json};

use program::Folder;

const CONTRACT: &str = "\
apiVersion: chainloop.dev/v1
kind: Contract
metadata:
  name: shop-release
spec:
  materials:
    - name: image
      type: CONTAINER_IMAGE
      output: true
    - name: sbom
      type: SBOM_CYCLONEDX_JSON
  policies:
    materials:
      - ref: file://policies/named.yaml
        gate: true
  signers:
    any:
      - publicKey: file://build.pub
";

const POLICY: &str = r#"
apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: named}
spec:
  policies:
    - kind: SBOM_CYCLONEDX_JSON
      embedded: |
        package main

        import rego.v1

        result := {"skipped": false, "violations": violations, "skip_reason": "", "ignore": false}

        violations contains msg if {
          some component in input.components
          not component.name
          msg := "a component has no name"
        }
"#;

fn with_contract() -> Folder {
    let folder = Folder::new();
    folder.write("contract.yaml", CONTRACT);
    folder.write("policies/named.yaml", POLICY);
    folder.write("build.pub", &SigningKey::generate_p256().unwrap().public().to_pem());
    folder
}

#[test]
fn lint_tells_every_mistake_at_once_where_it_is() {
    let folder = with_contract();
    let broken = CONTRACT
        .replace("materials:\n    - name: image", "materails: []\n  materials:\n    - name: image")
        .replace("CONTAINER_IMAGE", "CONTAINER_IMAG")
        .replace("named.yaml", "gone.yaml");
    folder.write("contract.yaml", &broken);
    insta::assert_snapshot!(folder.sluice(&["contract", "lint", "contract.yaml"]));

    let shown = folder.sluice(&["contract", "lint", "contract.yaml", "--output", "json"]);
    let answer: Value = serde_json::from_str(&shown.stdout).unwrap();
    let mut codes: Vec<_> =
        answer["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["document-invalid-value", "document-reference", "document-unknown-key"]);
    assert_eq!((shown.exit, shown.stderr.as_str()), (1, ""));
}

#[test]
fn a_good_contract_has_no_mistakes_and_compiles_to_the_rules_that_are_printed() {
    let folder = with_contract();
    let lint = folder.sluice(&["contract", "lint", "contract.yaml"]);
    assert_eq!((lint.exit, lint.stderr.as_str()), (0, ""), "{lint}");
    assert!(lint.stdout.starts_with("contract.yaml: no mistakes, "), "{lint}");

    let json = folder.sluice(&["contract", "compile", "contract.yaml", "--output", "json"]);
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    let rules = answer["rules"].as_array().unwrap();
    assert_eq!(json.exit, 0);
    let human = folder.sluice(&["contract", "compile", "contract.yaml"]);
    assert_eq!(human.exit, 0);
    for rule in rules {
        assert!(human.stdout.contains(rule["id"].as_str().unwrap()), "{} in\n{human}", rule["id"]);
        let first = rule["source"].as_str().unwrap().lines().next().unwrap();
        assert!(human.stdout.contains(first), "{first} in\n{human}");
    }
    for engine in ["CEL", "REGO"] {
        let of = rules.iter().filter(|rule| rule["engine"].as_str().unwrap().eq_ignore_ascii_case(engine)).count();
        assert!(of > 0, "no rule in {engine}: {}", json.stdout);
    }
    // What does not compile is not applied, and is told without a gateway.
    folder
        .write("policies/named.yaml", &POLICY.replace("violations contains msg if {", "violations contains msg if ("));
    for command in [["contract", "compile", "contract.yaml"], ["contract", "apply", "contract.yaml"]] {
        let refused = folder.sluice(&command);
        assert_eq!(refused.exit, 1, "{refused}");
        assert!(refused.stdout.contains("policy-compile"), "{refused}");
    }
}

#[test]
fn keys_are_written_once_encrypted_and_for_their_owner() {
    let folder = Folder::new();
    let unset = folder.sluice(&["key", "generate", "--output", "build"]);
    assert_eq!(unset.exit, 2);
    assert!(unset.stderr.contains("SLUICE_KEY_PASSWORD"), "{unset}");
    assert!(!folder.path("build.key").exists());

    let password = [("SLUICE_KEY_PASSWORD", "hunter2")];
    for (prefix, scheme) in [("build", "ecdsa-p256"), ("ed", "ed25519")] {
        let made = folder.sluice_with(&["key", "generate", "--output", prefix, "--scheme", scheme], &password);
        assert_eq!((made.exit, made.stderr.as_str()), (0, ""), "{made}");
        let private = folder.read(&format!("{prefix}.key"));
        let key = SigningKey::from_pem(&private, Some(b"hunter2")).unwrap();
        assert!(SigningKey::from_pem(&private, Some(b"hunter3")).is_err());
        assert_eq!(key.public().to_pem().trim(), folder.read(&format!("{prefix}.pub")).trim());
        assert!(made.stdout.contains(&key.public().id().to_string()), "{made}");
        assert!(!made.stdout.contains("PRIVATE"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| folder.path(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("build.key"), mode("build.pub")), (0o600, 0o644));
    }
    let before = folder.read("build.key");
    let again = folder.sluice_with(&["key", "generate", "--output", "build"], &password);
    assert_eq!(again.exit, 2);
    assert!(again.stderr.contains("never replaced"), "{again}");
    assert_eq!(folder.read("build.key"), before);
}

/// How it ended, and all that it said.
fn run(folder: &Folder, arguments: &[&str]) -> (i32, String) {
    let told = folder.sluice(arguments);
    (told.exit, told.to_string())
}

/// What a Chainloop server's own authority vouches for (`testdata/own-ca`).
#[test]
fn verify_takes_an_authority_of_ones_own_with_whom_it_has_to_name() {
    let folder = Folder::new();
    for name in ["ca.pem", "tsa-chain.pem", "timestamped.json", "timestamped-twice.json", "expired.json"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/own-ca").join(name);
        folder.write(name, &std::fs::read_to_string(path).unwrap());
    }
    let organization = "O=18c3f782-4936-4630-ab8d-20b511366699";
    let verify = |bundle: &str, identity: &str, more: &[&str]| {
        let own = ["attestation", "verify", bundle, "--ca-roots", "ca.pem", "--certificate-identity", identity];
        run(&folder, &[&own[..], more].concat())
    };
    let timed = ["--timestamp-certificate-chain", "tsa-chain.pem"];
    for bundle in ["timestamped.json", "timestamped-twice.json"] {
        assert_eq!(verify(bundle, organization, &timed).0, 0, "{bundle}");
    }
    for (bundle, identity, more, why) in [
        ("timestamped.json", "O=another", &timed[..], "not who was asked for"),
        ("timestamped.json", "18c3f782-4936-4630-ab8d-20b511366699", &timed, "not who was asked for"),
        ("timestamped.json", organization, &[], "--timestamp-certificate-chain"),
        ("expired.json", organization, &timed, "carries none"),
        (
            "timestamped.json",
            organization,
            &[timed[0], timed[1], "--certificate-oidc-issuer", "https://i"],
            "not who was",
        ),
    ] {
        let (code, told) = verify(bundle, identity, more);
        assert!(code == 1 && told.contains(why), "{bundle} {identity}: {code} {told}");
    }
    let (code, told) = run(&folder, &["attestation", "verify", "timestamped.json", "--ca-roots", "ca.pem"]);
    assert!(code == 2 && told.contains("--certificate-identity"), "{told}");
    let (code, told) = verify("timestamped.json", organization, &["--ca-intermediates", "timestamped.json"]);
    assert!(code == 2 && told.contains("`timestamped.json` cannot be used"), "{told}");
}

#[test]
fn keys_that_stay_elsewhere_are_named_as_not_there() {
    let folder = Folder::new();
    folder.write("b.json", "{}");
    for key in [
        "pkcs11:token=a;object=b?pin-value=1234",
        "awskms:///alias/x",
        "gcpkms://p",
        "azurekms://v/k",
        "hashivault://k",
        "k8s://ns/s",
    ] {
        let (code, told) = run(&folder, &["attestation", "verify", "b.json", "--key", key]);
        assert!(code == 2 && told.contains("are not used here") && !told.contains("1234"), "{key}: {told}");
    }
}

#[test]
fn verify_says_no_to_every_other_key_byte_and_digest() {
    let folder = Folder::new();
    let image = Digest::of(b"image");
    let key = SigningKey::generate_p256().unwrap();
    let subject = Subject::sha256("registry.shop.example/app", image);
    let bundle = key.sign(&Statement::new(vec![subject], "https://example.com/p", json!({}))).unwrap();
    folder.write("key.pub", &key.public().to_pem());
    folder.write("other.pub", &SigningKey::generate_ed25519().unwrap().public().to_pem());
    let text = String::from_utf8(bundle.bytes().to_vec()).unwrap();
    folder.write("bundle.json", &text);
    let payload_at = text.find("payload\":").unwrap() + 20;
    let mut altered = text.clone().into_bytes();
    altered[payload_at] = if altered[payload_at] == b'A' { b'B' } else { b'A' };
    folder.write("altered.json", &String::from_utf8(altered).unwrap());
    folder.write("garbage.json", "{}");
    // A file that is called like an image is not taken for what was verified of the image.
    let named = format!("registry.shop.example/app@{image}");
    folder.write(&named, &text);

    let (image, other) = (image.to_string(), Digest::of(b"other").to_string());
    for (arguments, exit) in [
        (&["bundle.json", "--key", "key.pub"][..], 0),
        (&["bundle.json", "--key", "other.pub", "--key", "key.pub"], 0),
        (&["bundle.json", "--key", "key.pub", "--digest", &image], 0),
        (&["bundle.json", "--key", "key.pub", "--digest", &other], 1),
        (&["bundle.json", "--key", "other.pub"], 1),
        (&["altered.json", "--key", "key.pub"], 1),
        (&["garbage.json", "--key", "key.pub"], 1),
        (&["gone.json", "--key", "key.pub"], 2),
        (&[&named, "--key", "key.pub"], 2),
        (&["--bundle", &named, "--key", "key.pub"], 0),
        (&["bundle.json", "--key", "bundle.json"], 2),
        (&["bundle.json"], 2),
    ] {
        let told = folder.sluice(&[&["attestation", "verify"], arguments].concat());
        assert_eq!(told.exit, exit, "{arguments:?}\n{told}");
        assert_eq!(told.stdout.is_empty(), exit == 2, "{told}");
    }
    let json = folder.sluice(&["attestation", "verify", "bundle.json", "--key", "key.pub", "--output", "json"]);
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(answer["genuine"], json!(true));
    assert_eq!(answer["attestation"], json!(bundle.id()));
}

#[test]
fn what_cannot_be_told_ends_with_2_and_says_why_on_standard_error_alone() {
    let folder = Folder::new();
    folder.write("table.toml", "[upstreams]\nhost = \"docker.io\"\n");
    for (arguments, environment, why) in [
        (&["contract", "lint", "gone.yaml"][..], &[][..], "`gone.yaml` cannot be read"),
        (&["contract", "lint", "."], &[], "it is a folder"),
        (&["check", "r.dev/a:v1"], &[("SLUICE_GATEWAY", "http://127.0.0.1:1")], "does not answer"),
        (&["check", "r.dev/a:v1"], &[("SLUICE_GATEWAY", "sluice.acme.dev")], "write `https://sluice.acme.dev`"),
        (&["check", "r.dev/a:v1"], &[("SLUICE_GATEWAY", "127.0.0.1:15880")], "or `http://127.0.0.1:15880`"),
        (&["check", "r.dev/a:v1"], &[("SLUICE_TOKEN", "s3cret"), ("SLUICE_TOKEN_FILE", "t")], "are both set"),
        (
            &["check", "r.dev/a:v1"],
            &[("SLUICE_GATEWAY", "http://sluice.example"), ("SLUICE_TOKEN", "s3cret")],
            "anyone on the way could read the token",
        ),
        (&["check", "r.dev/A:v1"], &[], "is not a repository name"),
        (&["attestation", "status"], &[], "start with `sluice attestation init --project PROJECT --workflow WORKFLOW`"),
        (
            &["attestation", "push", "--key", "k"],
            &[],
            "start with `sluice attestation init --project PROJECT --workflow WORKFLOW`",
        ),
        (
            &["attestation", "add", "--value", "x"],
            &[],
            "start with `sluice attestation init --project PROJECT --workflow WORKFLOW`",
        ),
        (&["workflow", "list", "--token-file", "gone"], &[], "`gone` cannot be read"),
        (&["workflow", "list", "--client-config", "gone.toml"], &[], "`gone.toml` cannot be read"),
        (&["serve", "--config", "gone.toml"], &[], "an empty file is a configuration"),
        (&["serve", "--config", "table.toml"], &[], "in two brackets, as `[[upstreams]]`"),
        (&["run", "list", "--workflow", "release"], &[], "--workflow PROJECT/release"),
        (&["backup", "--output", "."], &[], "`.` is there already: name another file"),
        (&["backup", "--output", "gone/b"], &[], "the folder `gone` is not there"),
        (&["frobnicate"], &[], "unrecognized subcommand"),
    ] {
        let told = folder.sluice_with(arguments, environment);
        assert_eq!((told.exit, told.stdout.as_str()), (2, ""), "{arguments:?}\n{told}");
        assert!(told.stderr.contains(why), "{arguments:?}: {why} in\n{told}");
        assert!(!told.stderr.contains("s3cret"), "{told}");
    }
}

#[test]
fn the_quickstart_goes_on_in_its_own_folder_and_touches_no_other() {
    let folder = Folder::new();
    for round in ["first", "second"] {
        let told = folder.sluice(&["quickstart", "--exit", "--dir", "tour"]);
        assert_eq!(told.exit, 0, "{round}: {told}");
        for part in ["HTTP 200", "HTTP 403", "agpl-3.0-only", "blob sha256:"] {
            assert!(told.stdout.contains(part), "{round}: {part} in\n{told}");
        }
    }
    folder.write("mine/notes.txt", "mine");
    let refused = folder.sluice(&["quickstart", "--exit", "--dir", "mine"]);
    assert_eq!(refused.exit, 2, "{refused}");
    assert!(refused.stderr.contains("not a quickstart's"), "{refused}");
    assert_eq!(folder.path("mine").read_dir().unwrap().count(), 1);
}

#[test]
fn every_contract_of_the_test_data_is_printed_as_the_rules_that_run() {
    let folder = Folder::new();
    let contracts = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/contracts");
    let files: Vec<_> = std::fs::read_dir(contracts).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<_> = files.iter().filter(|path| path.is_file()).filter_map(|path| path.to_str()).collect();
    assert!(files.len() >= 7, "{files:?}");
    let mut engines = BTreeSet::new();
    for file in files {
        let json = folder.sluice(&["contract", "compile", file, "--output", "json"]);
        assert_eq!((json.exit, json.stderr.as_str()), (0, ""), "{file}: {json}");
        let answer: Value = serde_json::from_str(&json.stdout).unwrap();
        let human = folder.sluice(&["contract", "compile", file]);
        assert_eq!(human.exit, 0, "{file}: {human}");
        for rule in answer["rules"].as_array().unwrap() {
            let (id, origin) = (rule["id"].as_str().unwrap(), &rule["origin"]);
            let place = format!("{}:{}:{}", origin["file"].as_str().unwrap(), origin["line"], origin["column"]);
            let head = human.stdout.lines().find(|line| line.split_whitespace().next() == Some(id));
            assert!(head.is_some_and(|head| head.ends_with(&place)), "{file}: {id} at {place} in\n{human}");
            let printed = |line: &str| human.stdout.lines().any(|shown| shown.trim() == line.trim());
            let missing: Vec<_> = rule["source"].as_str().unwrap().lines().filter(|line| !printed(line)).collect();
            assert!(missing.is_empty(), "{file}: {missing:?} of {id} in\n{human}");
            engines.insert(rule["engine"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(engines.into_iter().collect::<Vec<_>>(), ["CEL", "Rego"]);
}

const FETCHED: &str = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: fetched}\nspec:\n  policies:\n  - {kind: SBOM_CYCLONEDX_JSON, path: scripts/named.rego}\n";
const SCRIPT: &str =
    "package main\n\nimport rego.v1\n\nviolations contains \"no name\" if not input.metadata.component.name\n";

#[test]
fn policies_are_fetched_only_from_hosts_that_are_allowed() {
    let address = serve::serve(&[
        ("/p/fetched.yaml", "200 OK", FETCHED),
        ("/p/scripts/named.rego", "200 OK", SCRIPT),
        ("/page.yaml", "200 OK", "<!DOCTYPE html>"),
        ("/moved.yaml", "302 Found\r\nlocation: http://acme.invalid/p.yaml", ""),
    ]);
    let folder = with_contract();
    // The exit code, and each finding as its code, message and mend.
    let lint = |path: &str, allow: Option<&str>| {
        let reference = format!("http://{address}{path}");
        folder.write("contract.yaml", &CONTRACT.replace("file://policies/named.yaml", &reference));
        let mut args = vec!["contract", "lint", "contract.yaml", "--output", "json"];
        args.extend(allow.into_iter().flat_map(|host| ["--allow-host", host]));
        let shown = folder.sluice(&args);
        let answer: Value = serde_json::from_str(&shown.stdout).unwrap();
        let told = answer["findings"].as_array().unwrap().iter();
        let told: Vec<_> = told.map(|f| format!("{} {} {}", f["code"], f["message"], f["mend"])).collect();
        (shown.exit, told.join("\n"))
    };
    for allow in [None, Some("acme.dev")] {
        let (exit, told) = lint("/p/fetched.yaml", allow);
        assert!(exit == 1 && told.contains("--allow-host 127.0.0.1"), "{told}");
    }
    let (exit, told) = lint("/p/fetched.yaml", Some("127.0.0.1"));
    assert!(exit == 0 && told.starts_with("\"reference-unpinned\""), "{told}");
    let pin = told.split("@sha256:").nth(1).and_then(|rest| rest.get(..64)).unwrap().to_owned();
    let pinned = lint(&format!("/p/fetched.yaml@sha256:{pin}"), Some(&address.to_string()));
    assert_eq!(pinned, (0, String::new()));

    for (path, why) in [("/gone.yaml", "HTTP 404"), ("/page.yaml", "a web page"), ("/moved.yaml", "somewhere else")] {
        let (exit, told) = lint(path, Some("127.0.0.1"));
        assert!(exit == 1 && told.contains(why), "{told}");
    }
}

#[test]
fn a_policy_of_the_library_is_named() {
    let folder = with_contract();
    let shipped = CONTRACT.replace(
        "ref: file://policies/named.yaml",
        "ref: sluice://banned-licenses\n        with: {licenses: AGPL-3.0-only}",
    );
    folder.write("contract.yaml", &shipped);
    let lint = folder.sluice(&["contract", "lint", "contract.yaml"]);
    assert!(lint.exit == 0 && lint.stdout.contains("no mistakes"), "{lint}");
    folder.write("contract.yaml", &shipped.replace("banned-licenses", "no-such-policy"));
    let lint = folder.sluice(&["contract", "lint", "contract.yaml"]);
    assert!(lint.exit == 1 && lint.stdout.contains("the library has"), "{lint}");
}

/// People read the logs of CI systems, where no terminal says how wide a line may be.
#[test]
fn tables_are_wrapped_where_there_is_no_terminal() {
    let folder = Folder::new();
    for (columns, widest) in [("", 120), ("80", 80), ("no number", 120)] {
        let told = folder.sluice_with(&["policy", "list"], &[("COLUMNS", columns)]);
        let wide = told.stdout.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(wide <= widest && wide > widest - 20, "{columns}: {wide}\n{told}");
    }
    // What programs read is not.
    let json = |columns| folder.sluice_with(&["policy", "list", "-o", "json"], &[("COLUMNS", columns)]).stdout;
    assert_eq!(json("40"), json("4000"));
}
