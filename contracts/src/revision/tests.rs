use super::*;

const POLICY: &str = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: licenses}\nspec:\n  inputs:\n  - {name: licenses, required: true}\n  - {name: days, default: \"30\"}\n  policies:\n  - {kind: SBOM_CYCLONEDX_JSON, path: rego/cdx.rego}\n  - {kind: ATTESTATION, embedded: package here}\n";

/// A revision of a contract with this under `spec`, and some files.
fn revision(spec: &str, files: &[(&str, &str)]) -> Result<(Revision, Vec<Finding>), Diagnostics> {
    let contract = format!("apiVersion: chainloop.dev/v1\nkind: Contract\nmetadata: {{name: c}}\nspec:\n{spec}");
    let mut files: BTreeMap<String, String> =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    files.insert("c.yaml".to_owned(), contract);
    Revision::from_files(&RevisionFiles { contract: "c.yaml".to_owned(), files })
}

fn show(spec: &str, files: &[(&str, &str)]) -> String {
    let (verdict, findings) = match revision(spec, files) {
        Ok((_, warnings)) => ("READ\n", warnings),
        Err(diagnostics) => ("", diagnostics.0),
    };
    let line = |f: &Finding| {
        let origin = f.origin.as_ref().map(ToString::to_string).unwrap_or_default();
        let warning = if f.blocks() { "" } else { "warning " };
        format!("{origin} {warning}{} {}; {}\n", f.code, f.message, f.mend.as_deref().unwrap_or("-"))
    };
    findings.iter().map(line).fold(verdict.to_owned(), |all, line| all + &line)
}

const SBOMS: &str = " materials:\n - {name: a, type: SBOM_CYCLONEDX_JSON}\n - {name: b, type: SARIF}\n - {name: c, type: SBOM_CYCLONEDX_JSON}\n";

#[test]
fn policies_come_with_what_they_read_and_their_arguments() {
    let spec = format!(
        "{SBOMS} policies:\n  materials:\n  - {{ref: \"file://p/l.yaml\", gate: true, with: {{licenses: AGPL-3.0}}}}\n  - {{ref: \"file://p/l.yaml\", disabled: true}}\n  attestation:\n  - {{ref: \"file://p/l.yaml\", gate: true, with: {{licenses: x, days: 7}}}}\n"
    );
    let files = [("p/l.yaml", POLICY), ("p/rego/cdx.rego", "package there")];
    let (revision, warnings) = revision(&spec, &files).unwrap();
    assert_eq!(warnings, []);
    let resolved: Vec<_> = revision
        .attachments()
        .iter()
        .map(|a| {
            let scripts = a.scripts.iter().map(|s| format!("{:?} {} @{}", s.input, s.source, s.origin));
            (format!("{:?}", a.arguments), scripts.collect::<Vec<_>>().join("; "))
        })
        .collect();
    insta::assert_debug_snapshot!(resolved, @r#"
    [
        (
            "{\"days\": \"30\", \"licenses\": \"AGPL-3.0\"}",
            "Materials([\"a\", \"c\"]) package there @p/rego/cdx.rego:1:1",
        ),
        (
            "{\"days\": \"7\", \"licenses\": \"x\"}",
            "Attestation package here @p/l.yaml:10:35",
        ),
    ]
    "#);
}

#[test]
fn what_would_pass_by_being_empty_is_refused() {
    let typed = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: spdx}\nspec: {type: SBOM_SPDX_JSON, embedded: package p}\n";
    let untyped = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: any}\nspec: {policies: [{embedded: package p}]}\n";
    let files = [("t.yaml", typed), ("u.yaml", untyped)];
    let attach = |place: &str, text: &str| format!("{SBOMS} policies:\n  {place}:\n  - {text}\n");
    let mut all = String::new();
    for spec in [
        attach("materials", "{ref: 'file://t.yaml', gate: true}"),
        attach("materials", "{ref: 'file://t.yaml', gate: false}"),
        attach("attestation", "{ref: 'file://t.yaml', gate: true}"),
        attach("materials", "{ref: 'file://u.yaml', gate: true}"),
        attach("materials", "{ref: 'file://u.yaml', gate: true, selector: {name: b}}"),
        attach("materials", "{ref: 'file://t.yaml', gate: true, selector: {name: b}}"),
        attach("attestation", "{ref: 'file://u.yaml', gate: true}"),
        attach("materials", "{ref: 'file://t.yaml', gate: true}").replace("SARIF", "SBOM_SPDX_JSON, skipUpload: true"),
    ] {
        let used = files.iter().copied().filter(|(path, _)| spec.contains(path)).collect::<Vec<_>>();
        all += &format!("{}\n{}", spec.lines().last().unwrap_or_default().trim(), show(&spec, &used));
    }
    insta::assert_snapshot!(all, @"
    - {ref: 'file://t.yaml', gate: true}
    c.yaml:11:5 document-invalid-value policy `spdx` applies to none of the contract's materials; ask for a material of its type
    - {ref: 'file://t.yaml', gate: false}
    READ
    c.yaml:11:5 warning document-invalid-value policy `spdx` applies to none of the contract's materials; ask for a material of its type
    - {ref: 'file://t.yaml', gate: true}
    c.yaml:11:5 document-invalid-value policy `spdx` has no script for attestations; attach it under `policies.materials`
    - {ref: 'file://u.yaml', gate: true}
    c.yaml:11:5 document-invalid-value policy `any` does not say which materials it reads; add a `selector` with a material's name
    - {ref: 'file://u.yaml', gate: true, selector: {name: b}}
    READ
    - {ref: 'file://t.yaml', gate: true, selector: {name: b}}
    c.yaml:11:5 document-invalid-value policy `spdx` applies to none of the contract's materials; ask for a material of its type
    - {ref: 'file://u.yaml', gate: true}
    READ
    - {ref: 'file://t.yaml', gate: true}
    c.yaml:11:5 document-invalid-value policy `spdx` reads the bytes of material `b`, which `skipUpload: true` keeps away; leave out `skipUpload` on the material, or name other materials with a `selector`
    ");
}

#[test]
fn arguments_are_held_against_the_inputs() {
    let files = [("p/l.yaml", POLICY), ("p/rego/cdx.rego", "package there")];
    let with = |text: &str| {
        show(
            &format!("{SBOMS} policies:\n  materials:\n  - {{ref: \"file://p/l.yaml\", gate: true, with: {text}}}\n"),
            &files,
        )
    };
    let all: String = ["{licences: AGPL}", "{licenses: ' '}", "{licenses: x, zebra: y}"].map(with).concat();
    insta::assert_snapshot!(all, @"
    c.yaml:11:5 document-missing-key policy `licenses` needs the argument `licenses`; give it under `with`, as `licenses: …`
    c.yaml:11:49 document-unknown-key policy `licenses` takes no argument `licences`; did you mean `licenses`?
    c.yaml:11:5 document-missing-key policy `licenses` needs the argument `licenses`; give it under `with`, as `licenses: …`
    c.yaml:11:62 document-unknown-key policy `licenses` takes no argument `zebra`; it takes licenses, days
    ");
}

#[test]
fn a_revision_is_closed() {
    let attach = "{ref: 'file://p/l.yaml', gate: true, with: {licenses: x}}";
    let spec = format!("{SBOMS} policies:\n  materials:\n  - {attach}\n");
    let policy = ("p/l.yaml", POLICY);
    let script = ("p/rego/cdx.rego", "package there");
    let mut all = String::new();
    for files in [
        &[][..],
        &[policy],
        &[policy, script, ("p/spare.rego", "package spare")],
        &[policy, script, ("../x", "")],
        &[("p/l.yaml", "kind: Policy"), script],
    ] {
        all += &format!("{:?}\n{}", files.iter().map(|(path, _)| *path).collect::<Vec<_>>(), show(&spec, files));
    }
    let pinned = spec.replace("l.yaml'", &format!("l.yaml@{}'", Digest::of(POLICY.as_bytes())));
    assert!(revision(&pinned, &[policy, script]).is_ok());
    all += &format!("pinned\n{}", show(&pinned, &[("p/l.yaml", &POLICY.replace("30", "90")), script]));
    insta::assert_snapshot!(all, @r#"
    []
    c.yaml:11:5 document-reference `p/l.yaml` cannot be read: it is not among the files given; -
    ["p/l.yaml"]
    p/l.yaml:9:39 document-reference `p/rego/cdx.rego` cannot be read: it is not among the files given; -
    ["p/l.yaml", "p/rego/cdx.rego", "p/spare.rego"]
    p/spare.rego:1:1 document-reference the contract does not refer to `p/spare.rego`; leave the file out
    ["p/l.yaml", "p/rego/cdx.rego", "../x"]
    ../x:1:1 document-reference `../x` is not the path of a file within the contract's folder; -
    ["p/l.yaml", "p/rego/cdx.rego"]
    p/l.yaml:1:1 document-missing-key a policy needs `apiVersion`; -
    p/l.yaml:1:1 document-missing-key a policy needs `metadata`; -
    p/l.yaml:1:1 document-missing-key a policy needs `spec`; -
    pinned
    c.yaml:11:5 document-reference `p/l.yaml` is sha256:b3515b1bf0756e901e1da789485ded5dd7a91855bfb32cf467810491aee3b68c, not the pinned sha256:b3f6594e5fe06809f6449ca67425ddeda1562fd580ce08c6829536c6d755ba09; pin what the file is now, if you reviewed it
    "#);
}

#[test]
fn the_digest_covers_every_path_and_byte() {
    let spec =
        format!("{SBOMS} policies:\n  materials:\n  - {{ref: 'file://p/l.yaml', gate: true, with: {{licenses: x}}}}\n");
    let digest = |spec: &str, policy: &str, script: &str| {
        revision(spec, &[("p/l.yaml", policy), ("p/rego/cdx.rego", script)]).unwrap().0.digest()
    };
    let first = digest(&spec, POLICY, "package there");
    assert_eq!(first, digest(&spec, POLICY, "package there"));
    assert_ne!(first, digest(&spec, POLICY, "package there "));
    assert_ne!(first, digest(&spec, &format!("{POLICY} "), "package there"));
    assert_ne!(first, digest(&format!("{spec} "), POLICY, "package there"));
    // The same texts in the same order under other names, and with another of them the contract.
    let named = |contract: &str, paths: [&str; 2]| {
        let files = paths.into_iter().map(|path| (path.to_owned(), "text".to_owned())).collect();
        digest_of(&RevisionFiles { contract: contract.to_owned(), files })
    };
    assert_ne!(named("a", ["a", "b"]), named("a", ["a", "c"]));
    assert_ne!(named("a", ["a", "b"]), named("b", ["a", "b"]));
}

#[test]
fn collecting_asks_for_each_file_once_and_gives_a_closed_set() {
    let (first, _) = revision(
        &format!("{SBOMS} policies:\n  materials:\n  - {{ref: 'file://p/l.yaml', gate: true, with: {{licenses: x}}}}\n  - {{ref: 'file://./p/l.yaml', gate: true, with: {{licenses: y}}}}\n"),
        &[("p/l.yaml", POLICY), ("p/rego/cdx.rego", "package there")],
    )
    .unwrap();
    let mut asked = Vec::new();
    let collected = collect("c.yaml", &mut |path| {
        asked.push(path.to_owned());
        first.files().files.get(path).map(|text| text.clone().into_bytes()).ok_or("no such file".to_owned())
    })
    .unwrap();
    assert_eq!(asked, ["c.yaml", "p/l.yaml", "p/rego/cdx.rego"]);
    assert_eq!(&collected, first.files());
    let missing = collect("c.yaml", &mut |path| match path {
        "c.yaml" => Ok(first.files().files["c.yaml"].clone().into_bytes()),
        _ => Err("no such file".to_owned()),
    });
    assert_eq!(missing.unwrap_err().to_string(), "c.yaml:11:5: `p/l.yaml` cannot be read: no such file");
    for bad in ["", "a/c.yaml", "../c.yaml", "/c.yaml"] {
        assert!(collect(bad, &mut |_| Ok(Vec::new())).is_err(), "{bad}");
    }
    let binary = collect("c.yaml", &mut |_| Ok(vec![0xff])).unwrap_err();
    assert_eq!(binary.to_string(), "c.yaml:1:1: `c.yaml` cannot be read: it is not UTF-8 text");
}

#[test]
fn signers_come_with_their_keys_or_not_at_all() {
    const P256: &str = include_str!("../../../testdata/contracts/keys/release.pub");
    const ED25519: &str = include_str!("../../../testdata/contracts/keys/security.pub");
    let spec = " signers:\n  threshold: 2\n  any: [{publicKey: 'file://a.pub'}, {publicKey: 'file://b.pub'}]\n";
    let (signed, _) = revision(spec, &[("a.pub", P256), ("b.pub", ED25519)]).unwrap();
    let policy = signed.signer_policy().unwrap();
    assert_eq!((policy.threshold(), policy.allowed().count(), signed.keys().count()), (2, 2, 2));
    let secret = crate::keys::SigningKey::generate_p256().unwrap().to_pkcs8_pem();
    let mut all = String::new();
    for files in [
        [("a.pub", P256), ("b.pub", P256)],
        [("a.pub", P256), ("b.pub", "not a key")],
        [("a.pub", P256), ("b.pub", secret.as_str())],
        [("a.pub", P256), ("c.pub", ED25519)],
    ] {
        all += &format!("{}\n", show(spec, &files));
    }
    insta::assert_snapshot!(all, @"
    c.yaml:7:38 document-duplicate `b.pub` is a key that is named already; -

    c.yaml:7:38 document-invalid-value `b.pub` is not a public key: this is not a PEM file: a key begins with `-----BEGIN` and ends with the same words after `-----END`; -

    c.yaml:7:38 document-invalid-value `b.pub` holds a private key: name the file of the public one; -

    c.yaml:7:38 document-reference `b.pub` cannot be read: it is not among the files given; -
    ");
    // None is written: the organization's count.
    assert_eq!(revision(SBOMS, &[]).unwrap().0.signer_policy(), None);
}
