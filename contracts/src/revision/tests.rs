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
            "Materials([\"a\", \"c\"]) package there @p/rego/cdx.rego:1:1; Materials([]) package here @p/l.yaml:10:35",
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
    // A pin of the document alone would let another script be put behind it.
    let pinned = |digest: &str| spec.replace("l.yaml'", &format!("l.yaml@{digest}'"));
    let alone = show(&pinned(&Digest::of(POLICY.as_bytes()).to_string()), &[policy, script]);
    let whole = alone.split(" is ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
    assert!(revision(&pinned(&whole), &[policy, script]).is_ok());
    all += &format!("pinned alone\n{alone}");
    all += &format!("another policy\n{}", show(&pinned(&whole), &[("p/l.yaml", &POLICY.replace("30", "90")), script]));
    all += &format!("another script\n{}", show(&pinned(&whole), &[policy, ("p/rego/cdx.rego", "package other")]));
    insta::assert_snapshot!(all, @r#"
    []
    c.yaml:11:5 document-reference `p/l.yaml` cannot be read: it is not among the files given; -
    ["p/l.yaml"]
    p/l.yaml:9:39 document-reference `p/rego/cdx.rego` cannot be read: it is not among the files given; -
    ["p/l.yaml", "p/rego/cdx.rego", "p/spare.rego"]
    p/spare.rego:1:1 document-reference the contract does not refer to `p/spare.rego`; leave the file out
    ["p/l.yaml", "p/rego/cdx.rego", "../x"]
    ../x:1:1 document-reference `../x` is neither the path of a file within the contract's folder nor an address; -
    ["p/l.yaml", "p/rego/cdx.rego"]
    p/l.yaml:1:1 document-missing-key a policy needs `apiVersion`; -
    p/l.yaml:1:1 document-missing-key a policy needs `metadata`; -
    p/l.yaml:1:1 document-missing-key a policy needs `spec`; -
    pinned alone
    c.yaml:11:5 document-reference `p/l.yaml` is sha256:c5520ac72e3b5437543263a3b7a2c04234f077b47b3830c57cc86a67f6df6bfe, not the pinned sha256:b3f6594e5fe06809f6449ca67425ddeda1562fd580ce08c6829536c6d755ba09, which covers the document alone and not the files that it names; pin what it is now, if you reviewed it with all that it refers to
    another policy
    c.yaml:11:5 document-reference `p/l.yaml` is sha256:74b33feb712d29bb76e4bfe3ab85226bd7713ef035ee547bb494b2a145531683, not the pinned sha256:c5520ac72e3b5437543263a3b7a2c04234f077b47b3830c57cc86a67f6df6bfe; pin what it is now, if you reviewed it with all that it refers to
    another script
    c.yaml:11:5 document-reference `p/l.yaml` is sha256:7866357d7f92d139d50f3b94c01f08a0de5b05f7274cac0c039de8f5553c6f3b, not the pinned sha256:c5520ac72e3b5437543263a3b7a2c04234f077b47b3830c57cc86a67f6df6bfe; pin what it is now, if you reviewed it with all that it refers to
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

const GROUP: &str = "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {name: quality}\nspec:\n  inputs:\n  - {name: sbom_name, default: sbom}\n  - {name: banned, required: true}\n  - {name: days}\n  policies:\n    materials:\n    - name: \"{{ inputs.sbom_name }}\"\n      type: SBOM_CYCLONEDX_JSON\n      policies:\n      - {ref: \"file://l.yaml\", with: {licenses: \"{{inputs.banned}}, SSPL-1.0\", days: \"{{ inputs.days }}\"}}\n    - type: SARIF\n      policies: [{ref: \"file://p/any.yaml\", gate: true}]\n    attestation:\n    - {ref: \"file://l.yaml\", gate: false, with: {licenses: x}}\n";
const ANY: &str =
    "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: any}\nspec: {policies: [{embedded: package any}]}\n";

fn group_files() -> Vec<(&'static str, &'static str)> {
    vec![("g/q.yaml", GROUP), ("g/l.yaml", POLICY), ("g/rego/cdx.rego", "package there"), ("p/any.yaml", ANY)]
}

#[test]
fn a_group_brings_its_materials_and_policies() {
    let attach = |text: &str| {
        format!(" materials:\n - {{name: scan, type: SARIF}}\n policyGroups:\n - {{ref: 'file://g/q.yaml', {text}}}\n")
    };
    let mut all = String::new();
    for text in [
        "with: {banned: AGPL}",
        "gate: true, with: {banned: AGPL, sbom_name: bom}, skip: [any]",
        "gate: false, effectiveFrom: 2027-01-01, with: {banned: AGPL, sbom_name: ''}",
    ] {
        let (revision, warnings) = revision(&attach(text), &group_files()).unwrap();
        let materials =
            revision.contract().materials.iter().map(|m| format!("{} {} from {:?}", m.name, m.kind, m.effective_from));
        all += &format!("{text}\nmaterials: {}\n", materials.collect::<Vec<_>>().join(", "));
        for a in revision.attachments() {
            let inputs: Vec<_> = a.scripts.iter().map(|s| format!("{:?}", s.input)).collect();
            let others = a.others.as_ref().map(|o| o.selector.as_ref().map(|s| s.name.clone()));
            all += &format!(
                "{} of {:?} gate {} from {:?} {:?} reads {} others {:?} @{}\n",
                a.document.name,
                a.group,
                a.gate,
                a.effective_from,
                a.arguments,
                inputs.join("; "),
                others,
                a.attachment.origin
            );
        }
        all += &warnings
            .iter()
            .map(|f| format!("{} {}; {}\n", f.code, f.message, f.mend.as_deref().unwrap_or("-")))
            .collect::<String>();
    }
    insta::assert_snapshot!(all, @r#"
    with: {banned: AGPL}
    materials: scan SARIF from None, sbom SBOM_CYCLONEDX_JSON from None
    licenses of Some("quality") gate false from None {"days": "30", "licenses": "AGPL, SSPL-1.0"} reads Materials(["sbom"]); Materials([]) others None @g/q.yaml:14:9
    any of Some("quality") gate true from None {} reads Materials(["scan", "sbom"]) others Some(None) @g/q.yaml:16:18
    licenses of Some("quality") gate false from None {"days": "30", "licenses": "x"} reads Attestation others None @g/q.yaml:18:7
    policy-advisory policies of the group `quality` do not block: their violations are only shown; add gate: true to block, or gate: false to keep it so
    gate: true, with: {banned: AGPL, sbom_name: bom}, skip: [any]
    materials: scan SARIF from None, bom SBOM_CYCLONEDX_JSON from None
    licenses of Some("quality") gate true from None {"days": "30", "licenses": "AGPL, SSPL-1.0"} reads Materials(["bom"]); Materials([]) others None @g/q.yaml:14:9
    licenses of Some("quality") gate true from None {"days": "30", "licenses": "x"} reads Attestation others None @g/q.yaml:18:7
    gate: false, effectiveFrom: 2027-01-01, with: {banned: AGPL, sbom_name: ''}
    materials: scan SARIF from None, sbom SBOM_CYCLONEDX_JSON from Some(2027-01-01T00:00:00Z)
    licenses of Some("quality") gate false from Some(2027-01-01T00:00:00Z) {"days": "30", "licenses": "AGPL, SSPL-1.0"} reads Materials(["sbom"]); Materials([]) others None @g/q.yaml:14:9
    any of Some("quality") gate false from Some(2027-01-01T00:00:00Z) {} reads Materials(["scan", "sbom"]) others Some(None) @g/q.yaml:16:18
    licenses of Some("quality") gate false from Some(2027-01-01T00:00:00Z) {"days": "30", "licenses": "x"} reads Attestation others None @g/q.yaml:18:7
    "#);
}

#[test]
fn a_group_that_does_not_fit_is_a_mistake() {
    let attach = |text: &str| format!(" materials:\n - {{name: scan, type: STRING}}\n policyGroups:\n - {text}\n");
    let mut all = String::new();
    for (text, group) in [
        ("{ref: 'file://g/q.yaml', gate: true}", GROUP.to_owned()),
        ("{ref: 'file://g/q.yaml', gate: true, with: {banned: x, bannned: y}, skip: [licences]}", GROUP.to_owned()),
        ("{ref: 'file://g/q.yaml', gate: true, with: {banned: '{{ inputs.x }}'}}", GROUP.to_owned()),
        ("{ref: 'file://g/q.yaml', gate: true, with: {banned: x, sbom_name: 'Not A Name'}}", GROUP.to_owned()),
        ("{ref: 'file://g/q.yaml', gate: true, with: {banned: x}}", GROUP.replace("inputs.days", "inputs.day")),
        (
            "{ref: 'file://g/q.yaml', gate: true, with: {banned: x}}",
            GROUP.replace("{{ inputs.days }}", "{{ if inputs.days }}"),
        ),
        (
            "{ref: 'file://g/q.yaml', gate: true, with: {banned: x}}",
            GROUP.replace("      type: SBOM_CYCLONEDX_JSON\n", ""),
        ),
        ("{ref: 'file://g/q.yaml', gate: true, with: {banned: x}}", POLICY.to_owned()),
        ("{ref: 'file://g/gone.yaml', gate: true, with: {banned: x}}", GROUP.to_owned()),
        ("{ref: 'sbom-quality'}", GROUP.to_owned()),
        ("{ref: 'chainloop://acme/sbom-quality@sha256:00'}", GROUP.to_owned()),
        ("{ref: 'http://acme.dev/g.yaml'}", GROUP.to_owned()),
        ("{ref: 'file://g/e.yaml', gate: true}", GROUP.to_owned()),
        ("{ref: 'file://g/n.yaml', gate: true}", GROUP.to_owned()),
        ("{ref: 'file://g/off.yaml', gate: true}", GROUP.to_owned()),
    ] {
        let mut files = group_files();
        files[0].1 = &group;
        files.push((
            "g/e.yaml",
            "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {name: e}\nspec: {policies: {}}\n",
        ));
        files.push(("g/off.yaml", "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {name: off}\nspec: {policies: {materials: [{type: STRING, policies: [{ref: 'file://p/any.yaml', disabled: true}]}]}}\n"));
        files.push(("g/n.yaml", "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {name: n}\nspec: {policies: {materials: [{type: SARIF, policies: [{ref: 'file://l.yaml', with: {licenses: x}, selector: {name: q}}]}]}}\n"));
        let told = show(&attach(text), &files);
        // What nothing refers to any more is not what is tried here.
        let told: String =
            told.lines().filter(|line| !line.contains("does not refer to")).map(|line| format!("{line}\n")).collect();
        all += &format!("{text}\n{told}");
    }
    insta::assert_snapshot!(all, @"
    {ref: 'file://g/q.yaml', gate: true}
    c.yaml:8:4 document-missing-key policy group `quality` needs the argument `banned`; give it under `with`, as `banned: …`
    {ref: 'file://g/q.yaml', gate: true, with: {banned: x, bannned: y}, skip: [licences]}
    c.yaml:8:59 document-unknown-key policy group `quality` takes no argument `bannned`; did you mean `banned`?
    c.yaml:8:79 warning document-invalid-value policy group `quality` has no policy `licences` to skip; did you mean `licenses`?
    {ref: 'file://g/q.yaml', gate: true, with: {banned: '{{ inputs.x }}'}}
    c.yaml:8:48 document-invalid-value `banned` has `{{` in it, and only the texts of policy groups have inputs to put there; write the value itself
    {ref: 'file://g/q.yaml', gate: true, with: {banned: x, sbom_name: 'Not A Name'}}
    g/q.yaml:11:13 document-invalid-value `Not A Name` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
    {ref: 'file://g/q.yaml', gate: true, with: {banned: x}}
    g/q.yaml:14:80 document-invalid-value `days`: there is no input `day` to put here; -
    {ref: 'file://g/q.yaml', gate: true, with: {banned: x}}
    g/q.yaml:14:80 document-invalid-value `days`: `{{ if inputs.days }}` is not an input: only `{{ inputs.NAME }}` is read between braces; -
    {ref: 'file://g/q.yaml', gate: true, with: {banned: x}}
    g/q.yaml:11:7 document-missing-key a material with a name needs a `type`; write the type that the contract is to ask for, or leave out `name`
    g/q.yaml:13:9 warning document-invalid-value policy `licenses` applies to none of the contract's materials; ask for a material of its type
    {ref: 'file://g/q.yaml', gate: true, with: {banned: x}}
    g/q.yaml:2:7 document-invalid-value this is a `Policy`; a `PolicyGroup` is needed here; attach policies under `policies`
    {ref: 'file://g/gone.yaml', gate: true, with: {banned: x}}
    c.yaml:8:4 document-reference `g/gone.yaml` cannot be read: it is not among the files given; -
    {ref: 'sbom-quality'}
    c.yaml:8:10 document-unsupported `sbom-quality` is the name of a policy on a Chainloop server, and only files are read; copy the policy next to the contract and write `file://` and its path, or `sluice://sbom-quality` if the shipped library has it
    {ref: 'chainloop://acme/sbom-quality@sha256:00'}
    c.yaml:8:10 document-invalid-value `00` is not 64 lower-case hexadecimal digits; -
    {ref: 'http://acme.dev/g.yaml'}
    c.yaml:8:10 document-reference `http://acme.dev/g.yaml` would be fetched without TLS, so anyone on the way could put another policy in its place: write `https://`; -
    {ref: 'file://g/e.yaml', gate: true}
    g/e.yaml:4:18 document-missing-key the group has neither policies nor materials, so it asks for nothing; attach policies under `policies.materials` or `policies.attestation`
    {ref: 'file://g/n.yaml', gate: true}
    c.yaml:8:4 document-invalid-value no policy of the group `n` applies to what the contract asks for; ask for materials of the types that the group's policies are for
    g/n.yaml:4:117 warning document-unsupported a `selector` says nothing in a group: its policies read what the group's material names; leave it out, and give the group's material a `name`
    {ref: 'file://g/off.yaml', gate: true}
    c.yaml:8:4 document-invalid-value no policy of the group `off` applies to what the contract asks for; ask for materials of the types that the group's policies are for
    ");
}

#[test]
fn what_is_elsewhere_is_part_of_the_closed_set() {
    let spec = " materials:\n - {name: scan, type: SBOM_CYCLONEDX_JSON}\n policies:\n  materials:\n  - {ref: 'https://acme.dev/p/l.yaml', gate: true, with: {licenses: x}}\n  - {ref: 'sluice://banned@1.0', gate: true, with: {licenses: x}}\n";
    let files = [
        ("https://acme.dev/p/l.yaml", POLICY),
        ("https://acme.dev/p/rego/cdx.rego", "package there"),
        ("sluice://banned@1.0", POLICY),
        ("sluice://rego/cdx.rego", "package shipped"),
    ];
    let (revision, warnings) = revision(spec, &files).unwrap();
    let sources: Vec<_> = revision.attachments().iter().map(|a| a.scripts[0].source.clone()).collect();
    assert_eq!(sources, ["package there", "package shipped"]);
    let mend = warnings[0].mend.clone().unwrap();
    assert_eq!((warnings.len(), warnings[0].code), (1, Code::ReferenceUnpinned));
    let pin = mend.trim_start_matches("write `https://acme.dev/p/l.yaml").trim_end_matches('`');
    let pinned = spec.replace("acme.dev/p/l.yaml", &format!("acme.dev/p/l.yaml{pin}"));
    assert_eq!(self::revision(&pinned, &files).unwrap().1, []);
    let mut changed = files;
    changed[1].1 = "package evil";
    let told = self::revision(&pinned, &changed).unwrap_err().to_string();
    assert!(told.contains("not the pinned"), "{told}");
}

#[test]
fn data_is_read_once_and_told_where_it_is_wrong() {
    let policy = "apiVersion: sluice.dev/v1\nkind: Policy\nmetadata: {name: d}\nspec:\n  data: [{name: allowed, ref: allowed.yaml}]\n  policies: [{kind: SARIF, embedded: package d}]\n";
    let spec = " materials:\n - {name: scan, type: SARIF}\n policies:\n  materials:\n  - {ref: 'file://p/d.yaml', gate: true}\n";
    let read = |data: &str| show(spec, &[("p/d.yaml", policy), ("p/allowed.yaml", data)]);
    let (revision, _) = revision(spec, &[("p/d.yaml", policy), ("p/allowed.yaml", "- a\n- {b: 1.5}\n")]).unwrap();
    assert_eq!(revision.attachments()[0].data["allowed"], serde_json::json!(["a", {"b": 1.5}]));
    let all = ["[a, .inf]", "{a: 1, a: 2}", "[a"].map(read).concat();
    insta::assert_snapshot!(all, @"
    p/allowed.yaml:1:5 document-invalid-value `.inf` is not a JSON number; -
    p/allowed.yaml:1:8 document-duplicate key `a` appears twice, first on line 1; -
    p/allowed.yaml:2:1 document-syntax this is not well-formed YAML: while parsing a flow sequence, expected ',' or ']'; -
    ");
    let twice = policy.replace(
        "ref: allowed.yaml}",
        "ref: allowed.yaml}, {name: allowed, ref: x.yaml}, {name: 1, ref: y.yaml}, {name: n}",
    );
    insta::assert_snapshot!(show(spec, &[("p/d.yaml", &twice), ("p/allowed.yaml", "[]")]), @"
    p/d.yaml:5:53 document-duplicate data `allowed` is named twice; -
    p/d.yaml:5:83 document-invalid-value `1` is not the name of a file of data; start with a letter, then use letters, digits and underscores
    p/d.yaml:5:91 document-reference `p/y.yaml` cannot be read: it is not among the files given; -
    p/d.yaml:5:100 document-missing-key a file of data needs `ref`; -
    ");
}

#[test]
fn of_a_group_of_materials_one_is_enough() {
    let spec = " materials:\n - {name: cdx, type: SBOM_CYCLONEDX_JSON, group: sbom}\n - {name: spdx, type: SBOM_SPDX_JSON, group: sbom, optional: true}\n - {name: alone, type: SARIF, group: Sarif}\n - {name: lone, type: SARIF, group: scan}\n - {name: none, type: SARIF, group: ''}\n";
    insta::assert_snapshot!(show(spec, &[]), @"
    c.yaml:7:62 warning document-invalid-value `optional` says nothing here: one material of the `group` must be there, whichever it is; leave out `optional`, or `group`
    c.yaml:8:38 document-invalid-value `Sarif` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
    c.yaml:8:38 warning document-invalid-value the group `Sarif` has one material, so it must be there; give other materials the same `group`, or leave it out
    c.yaml:9:37 warning document-invalid-value the group `scan` has one material, so it must be there; give other materials the same `group`, or leave it out
    ");
}
