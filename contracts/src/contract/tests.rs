use super::*;

/// Every finding on a line: place, code, message, mend. Warnings too.
fn show(text: &str) -> String {
    let (verdict, findings) = match Contract::parse("c.yaml", text.as_bytes()) {
        Ok((_, warnings)) => ("READ\n", warnings),
        Err(diagnostics) => ("", diagnostics.0),
    };
    let line = |f: &Finding| {
        let origin = f.origin.as_ref().map(|o| format!("{}:{}", o.line, o.column)).unwrap_or_default();
        let warning = if f.blocks() { "" } else { "warning " };
        format!("{origin} {warning}{} {}; {}\n", f.code, f.message, f.mend.as_deref().unwrap_or("-"))
    };
    findings.iter().map(line).fold(verdict.to_owned(), |all, line| all + &line)
}

/// A current contract with this under `spec`, which begins on line 4 in column 1.
fn spec(text: &str) -> String {
    let indented: String = text.lines().map(|line| format!(" {line}\n")).collect();
    format!("apiVersion: chainloop.dev/v1\nkind: Contract\nmetadata: {{name: c}}\nspec:\n{indented}")
}

fn read(text: &str) -> Contract {
    match Contract::parse("c.yaml", text.as_bytes()) {
        Ok((contract, _)) => contract,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

const CLAUSES: &str = r#"materials:
- {name: image, type: CONTAINER_IMAGE, output: true, annotations: [{name: component, value: api}, {name: asset}]}
- {name: rootfs, type: ARTIFACT, optional: true, skip_upload: true}
- {name: approval, type: EVIDENCE, skipUpload: false}
envAllowList: [BUILD_ID, 42]
runner: {type: GITHUB_ACTION}
annotations: [{name: version, value: 1.0}, {name: channel}]
policies:
  materials:
  - {ref: "file://p.yaml", gate: true, selector: {name: appro, match_mode: PREFIX}, with: {days: 30, strict: yes}}
  attestation:
  - {ref: "./q.yaml", gate: false}
"#;

/// Places are different in different spellings of one contract.
fn without_places(contract: &Contract) -> String {
    let shown = format!("{contract:?}");
    let mut pieces = shown.split("Origin {");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |all, piece| all + "@" + piece.split_once('}').map_or("", |(_, rest)| rest))
}

#[test]
fn both_shapes_and_both_spellings_are_one_contract() {
    let clauses = CLAUSES.replace("./q.yaml", "file://q.yaml");
    let current = read(&spec(&clauses));
    let legacy = read(&format!("schemaVersion: v1\n{clauses}"));
    assert_eq!(legacy.name, None);
    assert_eq!(without_places(&Contract { name: None, ..current.clone() }), without_places(&legacy));
    let snake = clauses.replace("envAllowList", "env_allow_list").replace("skipUpload", "skip_upload");
    let snake = snake.replace("match_mode", "matchMode");
    let snake = spec(&snake).replace("apiVersion: chainloop", "api_version: sluice");
    assert_eq!(without_places(&current), without_places(&read(&snake)));
    let json = yaml::parse("c", spec(&clauses).as_bytes()).unwrap().to_json().unwrap();
    let json = serde_json::to_string_pretty(&json).unwrap();
    assert_eq!(without_places(&current), without_places(&read(&json)));
    insta::assert_snapshot!(without_places(&current), @r#"Contract { name: Some("c"), description: None, labels: {}, organization: None, materials: [MaterialClause { name: "image", kind: ContainerImage, optional: false, output: true, skip_upload: false, annotations: [AnnotationClause { name: "component", value: Some("api"), origin: @ }, AnnotationClause { name: "asset", value: None, origin: @ }], group: None, effective_from: None, schema: None, origin: @ }, MaterialClause { name: "rootfs", kind: Artifact, optional: true, output: false, skip_upload: true, annotations: [], group: None, effective_from: None, schema: None, origin: @ }, MaterialClause { name: "approval", kind: Evidence, optional: false, output: false, skip_upload: false, annotations: [], group: None, effective_from: None, schema: None, origin: @ }], annotations: [AnnotationClause { name: "version", value: Some("1.0"), origin: @ }, AnnotationClause { name: "channel", value: None, origin: @ }], runner: Some(Spanned { value: GithubAction, origin: @ }), env_allow_list: ["BUILD_ID", "42"], policies: Policies { materials: [PolicyAttachment { source: File(FileReference { reference: "file://p.yaml", path: "p.yaml", otherwise: None, digest: None, origin: @ }), selector: Some(Selector { name: "appro", mode: Prefix, origin: @ }), disabled: false, with: {"days": Spanned { value: "30", origin: @ }, "strict": Spanned { value: "yes", origin: @ }}, requirements: [], gate: Some(true), effective_from: None, origin: @ }], attestation: [PolicyAttachment { source: File(FileReference { reference: "file://q.yaml", path: "q.yaml", otherwise: None, digest: None, origin: @ }), selector: None, disabled: false, with: {}, requirements: [], gate: Some(false), effective_from: None, origin: @ }] }, policy_groups: [], signers: None, admission: None, origin: @ }"#);
}

#[test]
fn the_clauses_of_sluice_are_read() {
    let contract = read(&spec(
        r#"materials:
- {name: base, type: CONTAINER_IMAGE, effectiveFrom: 2027-01-01}
- {name: scan, type: SARIF, effective_from: "2027-01-01T09:00:00+01:00"}
- {name: approval, type: EVIDENCE, schema: {type: object, required: [approver]}}
signers:
  threshold: 2
  any:
  - {publicKey: "file://keys/release.pub"}
  - {issuer: "https://token.actions.githubusercontent.com", identity: "https://github.com/acme/skynet/.github/workflows/r.yml@refs/heads/main"}
admission:
  repositories: ["registry.acme.dev/skynet/**"]
  enforcement: warn
  maxAge: 90d
  rules:
  - {name: fresh, cel: "age < duration('24h')", message: build again}
  - name: signed
    cel: |
      signers.size() > 0
"#,
    ));
    let times: Vec<_> = contract.materials.iter().map(|m| m.effective_from.map(|t| t.to_string())).collect();
    assert_eq!(times, [Some("2027-01-01T00:00:00Z".to_owned()), Some("2027-01-01T08:00:00Z".to_owned()), None]);
    let schema = contract.materials[2].schema.as_ref().unwrap();
    assert_eq!(schema, &serde_json::json!({"type": "object", "required": ["approver"]}));
    let signers = contract.signers.unwrap();
    assert_eq!((signers.threshold, signers.any.len()), (2, 2));
    let admission = contract.admission.unwrap();
    assert_eq!(admission.enforcement, Enforcement::Warn);
    assert_eq!(admission.max_age.unwrap().value, SignedDuration::from_hours(90 * 24));
    let rules: Vec<_> = admission.rules.iter().map(|r| (r.message.as_str(), r.cel.origin.to_string())).collect();
    assert_eq!(
        rules,
        [
            ("build again", "c.yaml:19:26".to_owned()),
            ("admission rule `signed` is not satisfied", "c.yaml:22:8".to_owned())
        ]
    );
}

#[test]
fn a_policy_without_a_gate_is_advisory_and_says_so() {
    let attach = |text: &str| spec(&format!("policies: {{attestation: [{{ref: 'file://p.yaml'{text}}}]}}"));
    for (text, gate, warnings) in [("", false, 1), (", gate: false", false, 0), (", gate: true", true, 0)] {
        let (contract, findings) = Contract::parse("c.yaml", attach(text).as_bytes()).unwrap();
        assert_eq!(
            (contract.policies.attestation[0].gate.unwrap_or(false), findings.len()),
            (gate, warnings),
            "{text}"
        );
        assert!(findings.iter().all(|finding| finding.code == Code::PolicyAdvisory));
    }
}

#[test]
fn every_mistake_of_a_document_is_told_at_once() {
    let text = "\
apiVersion: chainloop.dev/v1
kind: Contract
metadata: {name: Skynet Release, labels: {}}
materials: []
spec:
  material: []
  runner: {type: GITHUB_ACTIONS}
  annotations: [{name: a-b}, {name: x}, {name: x, vale: 1}]
  envAllowList: CUSTOM
  policyGroups: [{ref: slsa}]
  materials:
    - {name: sbom, type: SBOM_CYCLONEDX, optional: yes}
    - {name: sbom, type: SARIF}
    - {name: vex, type: OPENVEX}
    - {type: SARIF, group: g}
    - {name: Up_Per, type: STRING, skip_upload: true, skipUpload: true}
    - {name: dated, type: STRING, effectiveFrom: 2027-1-1}
    - {name: null-date, type: STRING, effectiveFrom: }
    - just-a-name
    - {name: hidden, type: EVIDENCE, skipUpload: true, schema: {type: object}}
    - {name: listed, type: SARIF, schema: {type: object}}
    - {name: wrong, type: EVIDENCE, schema: {type: objekt}}
    - {name: remote, type: EVIDENCE, schema: {properties: {a: {$ref: 'https://acme.dev/s.json'}}}}
    - {name: local, type: EVIDENCE, schema: {$ref: '#/$defs/gone'}}
    - {name: infinite, type: EVIDENCE, schema: {maximum: .inf}}
  policies:
    attestations: []
    materials:
      - {ref: source-commit, gate: true}
      - {ref: 'https://acme.dev/p.yaml', gate: true}
      - {ref: 'file:///etc/p.yaml', gate: true}
      - {ref: 'file://../p.yaml', gate: true}
      - {ref: 'file://p.yaml@sha256:00', gate: true}
      - {ref: 'file://p.yaml', gate: 'true'}
      - {ref: 'file://p.yaml', gate: true, selector: {name: sbon}}
      - {ref: 'file://p.yaml', gate: true, selector: {name: zebra, matchMode: PREFIX}}
      - {ref: 'file://p.yaml', gate: true, selector: {name: hidden, matchMode: SUFFIX}}
      - {ref: 'file://p.yaml', gate: true, with: {licenses: [AGPL, GPL], days: }}
      - {ref: 'file://p.yaml', gate: true, requirements: [soc2]}
      - {gate: true}
      - {ref: 'file://p.yaml', embedded: {}, gate: true}
      - {embedded: {kind: Policy}, gate: true}
    attestation:
      - {ref: 'file://p.yaml', selector: {name: sbom}}
";
    insta::assert_snapshot!(show(text), @r#"
    3:18 document-invalid-value `Skynet Release` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
    3:34 document-unknown-key `metadata` has no key `labels`; known keys: `name`, `description`, `annotations`, `organization`, `findingType`
    4:1 document-unknown-key a contract has no key `materials` of its own; move it under `spec`
    6:3 document-unknown-key the `spec` of a contract has no key `material`; did you mean `materials`?
    7:18 document-invalid-value `GITHUB_ACTIONS` is not a runner: did you mean `GITHUB_ACTION`?; -
    8:24 document-invalid-value `a-b` is not the name of an annotation; use letters, digits and underscores
    8:48 document-duplicate annotation `x` appears twice; -
    8:51 document-unknown-key an annotation has no key `vale`; did you mean `value`?
    9:17 document-invalid-value `envAllowList` is a list, not a single value; start each item with `- `
    10:24 document-unsupported `slsa` is the name of a policy on a Chainloop server, and only files are read; copy the policy next to the contract and write `file://` and its path, or `sluice://slsa` if the shipped library has it
    12:26 document-invalid-value `SBOM_CYCLONEDX` is not a material type: did you mean `SBOM_CYCLONEDX_JSON`?; -
    12:52 document-invalid-value `optional` is `true` or `false`, not `yes`; write true or false without quotes
    13:14 document-duplicate material `sbom` appears twice, first on line 12; -
    15:7 document-missing-key a material needs `name`; -
    16:14 document-invalid-value `Up_Per` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
    16:55 document-duplicate `skip_upload` and `skipUpload` are the same key; keep one of the two
    17:50 document-invalid-value `2027-1-1` is not a date; write a date such as 2027-01-01 (midnight UTC), or an instant such as 2027-01-01T09:00:00Z
    18:39 document-missing-key `effectiveFrom` is written without a value; -
    19:7 document-invalid-value a material is a map of keys, not a single value; -
    20:64 document-invalid-value a `schema` reads the material's bytes, which `skipUpload: true` keeps away; leave out `skipUpload`
    21:43 document-invalid-value only materials of type EVIDENCE have a `schema`; leave it out, or use type EVIDENCE
    22:45 document-invalid-value this is not a valid JSON Schema: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword; -
    23:46 document-invalid-value the schema refers to `https://acme.dev/s.json`, and nothing is fetched: write it into `$defs` and refer to `#/$defs/…`; -
    24:45 document-invalid-value this is not a valid JSON Schema: Pointer '/$defs/gone' does not exist; -
    25:58 document-invalid-value `.inf` is not a JSON number; -
    27:5 document-unknown-key `policies` has no key `attestations`; did you mean `attestation`?
    29:15 document-unsupported `source-commit` is the name of a policy on a Chainloop server, and only files are read; copy the policy next to the contract and write `file://` and its path, or `sluice://source-commit` if the shipped library has it
    31:15 document-reference `file:///etc/p.yaml` is an absolute path: write it relative to the file that names it; -
    32:15 document-reference `file://../p.yaml` leads out of the contract's folder: a contract and all that it refers to live in one folder; -
    33:15 document-invalid-value `00` is not 64 lower-case hexadecimal digits; -
    34:38 document-invalid-value `gate` is `true` or `false`, not the text `true`; write true or false without quotes
    37:80 document-invalid-value `SUFFIX` is not a way to match: write EXACT or PREFIX; -
    38:51 document-invalid-value `licenses` is one text, not a list; write several values as one text, separated by commas or line ends
    38:74 document-invalid-value `days` is written without a value; write "" for an empty text, or leave the key out
    39:59 document-invalid-value `soc2` is not a requirement; write framework/requirement, with organization/ in front or @version behind if you need them
    40:9 document-missing-key an attached policy needs `ref` or `embedded`; write `ref: file://` and the policy's file
    41:42 document-duplicate `ref` and `embedded` are two ways to give the same; keep one of the two
    42:20 document-missing-key a policy needs `apiVersion`; -
    42:20 document-missing-key a policy needs `metadata`; -
    42:20 document-missing-key a policy needs `spec`; -
    44:9 warning policy-advisory the policy does not block: its violations are only shown; add gate: true to block, or gate: false to keep it so
    44:42 document-invalid-value a policy on the attestation selects no material; leave out `selector`, or attach the policy under `policies.materials`
    "#);
}

#[test]
fn signers_that_let_in_more_than_they_seem_to_are_refused() {
    let signers = |text: &str| show(&spec(&format!("signers: {text}")));
    let all: String = [
        "",
        "{}",
        "[]",
        "{any: []}",
        "{threshold: 0, any: [{publicKey: 'file://k.pub'}]}",
        "{threshold: -1, any: [{publicKey: 'file://k.pub'}]}",
        "{threshold: , any: [{publicKey: 'file://k.pub'}]}",
        "{threshold: 2, any: [{publicKey: 'file://k.pub'}]}",
        "{threshold: 2, any: [{publicKey: 'file://k.pub'}, {public_key: 'file://./k.pub'}]}",
        "{any: [{}]}",
        "{any: [{publicKey: '-----BEGIN PUBLIC KEY-----'}]}",
        "{any: [{publicKey: 'file://k.pub', identity: a@acme.dev}]}",
        "{any: [{issuer: 'https://acme.dev'}]}",
        "{any: [{issuer: '', identity: ' '}]}",
        "{any: [{issuer: 'https://*', identity: 'https://github.com/acme/.*'}]}",
        "{any: [{issuer: 'https://acme.dev', identity: 'bot?@acme.dev'}]}",
        "{any: [{issuer: acme.dev, identity: 'a b'}]}",
        "{any: [{issuer: 'https://acme.dev', identity: a@acme.dev}], treshold: 1}",
    ]
    .iter()
    .map(|text| format!("{text:?}\n{}", signers(text)))
    .collect();
    insta::assert_snapshot!(all, @r#"
    ""
    5:2 document-missing-key `signers` is written without a value; -
    "{}"
    5:11 signers-missing `signers` names nobody; list at least one signer under `any`, or leave `signers` out to use the organization's
    "[]"
    5:11 document-invalid-value `signers` is a map of keys, not a list; -
    "{any: []}"
    5:17 signers-missing `signers` names nobody; list at least one signer under `any`, or leave `signers` out to use the organization's
    "{threshold: 0, any: [{publicKey: 'file://k.pub'}]}"
    5:23 document-invalid-value a `threshold` of 0 would let everyone in; write 1 or more
    "{threshold: -1, any: [{publicKey: 'file://k.pub'}]}"
    5:23 document-invalid-value `-1` is not a number of signers: write 1 or more; -
    "{threshold: , any: [{publicKey: 'file://k.pub'}]}"
    5:12 document-missing-key `threshold` is written without a value; -
    "{threshold: 2, any: [{publicKey: 'file://k.pub'}]}"
    5:23 document-invalid-value `threshold` is 2, but only 1 can sign, so nothing would ever pass; lower it, or name more signers under `any`
    "{threshold: 2, any: [{publicKey: 'file://k.pub'}, {public_key: 'file://./k.pub'}]}"
    5:61 document-duplicate this signer is named twice; -
    "{any: [{}]}"
    5:18 document-missing-key a signer needs `publicKey`, or `issuer` and `identity`; -
    "{any: [{publicKey: '-----BEGIN PUBLIC KEY-----'}]}"
    5:30 document-unsupported `publicKey` is a file next to the contract; put the key in PEM into a file and write `file://` and its path
    "{any: [{publicKey: 'file://k.pub', identity: a@acme.dev}]}"
    5:46 document-invalid-value a signer is the holder of a key or an identity, not both at once; make two items of it
    "{any: [{issuer: 'https://acme.dev'}]}"
    5:18 document-missing-key a signer needs `identity`; -
    "{any: [{issuer: '', identity: ' '}]}"
    5:27 pattern-too-wide `issuer` is empty, which names nobody; -
    5:41 pattern-too-wide `identity` is empty, which names nobody; -
    "{any: [{issuer: 'https://*', identity: 'https://github.com/acme/.*'}]}"
    5:27 pattern-too-wide `https://*` has a wildcard, but an `issuer` is compared letter by letter; write it in full; name several signers one by one
    5:50 pattern-too-wide `https://github.com/acme/.*` has a wildcard, but an `identity` is compared letter by letter; write it in full; name several signers one by one
    "{any: [{issuer: 'https://acme.dev', identity: 'bot?@acme.dev'}]}"
    5:57 pattern-too-wide `bot?@acme.dev` has a wildcard, but an `identity` is compared letter by letter; write it in full; name several signers one by one
    "{any: [{issuer: acme.dev, identity: 'a b'}]}"
    5:27 document-invalid-value `acme.dev` is not the address of an issuer; write it in full, for example https://token.actions.githubusercontent.com
    5:47 document-invalid-value `identity` has spaces or line ends in it; -
    "{any: [{issuer: 'https://acme.dev', identity: a@acme.dev}], treshold: 1}"
    5:71 document-unknown-key `signers` has no key `treshold`; did you mean `threshold`?
    "#);
}

#[test]
fn admission_that_answers_for_more_or_less_than_it_seems_to_is_refused() {
    let admission = |text: &str| show(&spec(&format!("admission: {text}")));
    let long = format!("{{repositories: [r.dev/a], rules: [{{name: long, cel: '{}'}}]}}", "a".repeat(2049));
    let all: String = [
        "",
        "{}",
        "{repositories: []}",
        "{repositories: r.dev/a}",
        "{repositories: [r.dev/a, r.dev/a, '', [x]]}",
        "{repositories: ['*/skynet/**', skynet/**]}",
        "{repositories: [r.dev/a], enforcement: block}",
        "{repositories: [r.dev/a], enforcement: }",
        "{repositories: [r.dev/a], maxAge: 0d}",
        "{repositories: [r.dev/a], maxAge: 3 months}",
        "{repositories: [r.dev/a], max_age: }",
        "{repositories: [r.dev/a], rules: [{name: a}, {cel: b}, {name: a, cel: ''}, {name: A B, cel: 'true'}]}",
        &long,
    ]
    .iter()
    .map(|text| format!("{:?}\n{}", text.chars().take(100).collect::<String>(), admission(text)))
    .collect();
    insta::assert_snapshot!(all, @r#"
    ""
    5:2 document-missing-key `admission` is written without a value; -
    "{}"
    5:13 document-missing-key `admission` names no repository, so it would answer for nothing; list patterns under `repositories`, for example registry.acme.dev/skynet/**
    "{repositories: []}"
    5:28 document-missing-key `admission` names no repository, so it would answer for nothing; list patterns under `repositories`, for example registry.acme.dev/skynet/**
    "{repositories: r.dev/a}"
    5:28 document-invalid-value `repositories` is a list, not a single value; start each item with `- `
    "{repositories: [r.dev/a, r.dev/a, '', [x]]}"
    5:38 document-duplicate `r.dev/a` appears twice; -
    5:47 document-invalid-value `` is not a pattern of repositories: it is empty or longer than 255 bytes; -
    5:51 document-invalid-value a pattern of repositories is one text, not a list; -
    "{repositories: ['*/skynet/**', skynet/**]}"
    5:29 pattern-too-wide `*` would match registries that are not yours: name the host, or write `*.` and a domain in front of the path; -
    5:44 document-invalid-value `skynet/**` names no registry: write the host too, for example `registry.acme.dev/skynet/**`; -
    "{repositories: [r.dev/a], enforcement: block}"
    5:52 document-invalid-value `block` is not an enforcement: write enforce or warn; -
    "{repositories: [r.dev/a], enforcement: }"
    5:39 document-missing-key `enforcement` is written without a value; -
    "{repositories: [r.dev/a], maxAge: 0d}"
    5:47 document-invalid-value `0d` is no time at all: write at least `1s`; -
    "{repositories: [r.dev/a], maxAge: 3 months}"
    5:47 document-invalid-value `3 months` is not a span of time: write a number and one of `d`, `h`, `m`, `s`, for example `90d`; -
    "{repositories: [r.dev/a], max_age: }"
    5:39 document-missing-key `max_age` is written without a value; -
    "{repositories: [r.dev/a], rules: [{name: a}, {cel: b}, {name: a, cel: ''}, {name: A B, cel: 'true'}]"
    5:47 document-missing-key a rule needs `cel`; -
    5:58 document-missing-key a rule needs `name`; -
    5:75 document-duplicate rule `a` appears twice; -
    5:83 document-invalid-value `cel` is empty; -
    5:95 document-invalid-value `A B` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
    "{repositories: [r.dev/a], rules: [{name: long, cel: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    5:65 document-too-large the condition has 2049 bytes; at most 2048 are read; make several rules of it
    "#);
}

#[test]
fn the_shape_of_a_contract_must_be_said() {
    let all: String = [
        "a: b",
        "[]",
        "just text",
        "schemaVersion: v2",
        "schemaVersion: v1\nkind: Contract",
        "schemaVersion: v1\nsigners: {}\nadmission: {}",
        "kind: Contract",
        "apiVersion: v1\nkind: Policy\nmetadata: {}\nspec: []",
        "apiVersion: chainloop.dev/v1\nkind: Contract\nmetadata: {name: c}\nspec:",
    ]
    .iter()
    .map(|text| format!("{text:?}\n{}", show(text)))
    .collect();
    insta::assert_snapshot!(all, @r#"
    "a: b"
    1:1 document-missing-key the document does not say what it is; begin it with `apiVersion: chainloop.dev/v1` and `kind: Contract`
    "[]"
    1:1 document-missing-key the document does not say what it is; begin it with `apiVersion: chainloop.dev/v1` and `kind: Contract`
    "just text"
    1:1 document-missing-key the document does not say what it is; begin it with `apiVersion: chainloop.dev/v1` and `kind: Contract`
    "schemaVersion: v2"
    1:16 document-invalid-value `v2` is not a version of this document: write `v1`; -
    "schemaVersion: v1\nkind: Contract"
    1:16 document-duplicate `schemaVersion` and `kind` belong to two shapes of contract; keep `apiVersion`, `kind`, `metadata` and `spec`
    "schemaVersion: v1\nsigners: {}\nadmission: {}"
    2:1 document-unknown-key a contract of the legacy shape has no `signers`; write it with `apiVersion: chainloop.dev/v1`, `kind: Contract`, `metadata` and `spec`
    3:1 document-unknown-key a contract of the legacy shape has no `admission`; write it with `apiVersion: chainloop.dev/v1`, `kind: Contract`, `metadata` and `spec`
    "kind: Contract"
    1:1 document-missing-key a contract needs `apiVersion`; -
    1:1 document-missing-key a contract needs `metadata`; -
    1:1 document-missing-key a contract needs `spec`; -
    "apiVersion: v1\nkind: Policy\nmetadata: {}\nspec: []"
    1:13 document-invalid-value `v1` is not a version of this document; write `apiVersion: chainloop.dev/v1`; also read: `sluice.dev/v1`
    2:7 document-invalid-value this is a `Policy`; a `Contract` is needed here; -
    "apiVersion: chainloop.dev/v1\nkind: Contract\nmetadata: {name: c}\nspec:"
    READ
    "#);
}

#[test]
fn a_flood_of_mistakes_is_cut_short_and_stays_an_error() {
    let many = spec(&format!("materials:\n{}", "- {}\n".repeat(250)));
    let findings = Contract::parse("c.yaml", many.as_bytes()).unwrap_err().0;
    assert_eq!(findings.len(), crate::limits::DOCUMENT_FINDINGS + 1);
    assert_eq!(findings.last().unwrap().message, "400 more mistakes are not shown");
    let long = spec(&format!("materials:\n{}", "- {}\n".repeat(257)));
    assert_eq!(Contract::parse("c.yaml", long.as_bytes()).unwrap_err().0[0].code, Code::DocumentTooLarge);
    // Warnings that fill the room do not hide the error that comes last.
    let attachments = "  - {ref: 'file://p.yaml'}
"
    .repeat(200);
    let late = spec(&format!(
        "policies:
  attestation:
{attachments}
signers: {{}}"
    ));
    assert!(show(&late).contains("signers-missing"));
}
