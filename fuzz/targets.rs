// Every parser that is fed from outside, by name. Two drivers read this file: the bounded, deterministic one of
// `cargo test` (gateway/tests/fuzz_smoke.rs) and cargo-fuzz's (fuzz/fuzz_targets/). A target takes any bytes; it must
// neither panic nor run long, and what it accepts must obey the laws written here. Seeds lie in fuzz/seeds/<name>/.

use std::path::Path;

use contracts::{
    Digest, Reference, Repository,
    bundle::{AttestationLayer, Bundle},
    cases::PolicyCases,
    contract::Contract,
    dsse::Envelope,
    exemption::{Approvals, Exemption},
    json,
    keys::{PublicKey, SigningKey},
    limits,
    materials::{self, MaterialType, Projection},
    policy::{PolicyDocument, PolicyGroupDocument},
    signing::{Draft, LogVersion, Services},
    statement::{Statement, Subject},
    verify::{
        OwnAuthority, TrustRoot,
        token::{Expectations, Jwks, Token},
        tuf::{KnownRepository, TRUSTED_ROOT},
    },
};

use gateway::{
    kubernetes::{Review, Seen, Templates},
    upstream::Manifest,
};

/// A parser under test.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("accesschk", |bytes| materials_of("accesschk", bytes)),
    ("admission_review", admission_review),
    ("approvals", approvals),
    ("archive", |bytes| materials_of("archive", bytes)),
    ("asyncapi", |bytes| materials_of("asyncapi", bytes)),
    ("attestation", |bytes| materials_of("attestation", bytes)),
    ("bundle", bundle),
    ("cobertura", |bytes| materials_of("cobertura", bytes)),
    ("collected", |bytes| materials_of("collected", bytes)),
    ("contract", contract),
    ("cosign_layer", cosign_layer),
    ("csaf", |bytes| materials_of("csaf", bytes)),
    ("cyclonedx", |bytes| materials_of("cyclonedx", bytes)),
    ("dranzer", |bytes| materials_of("dranzer", bytes)),
    ("dsse", dsse),
    ("evidence", |bytes| materials_of("evidence", bytes)),
    ("exemption", exemption),
    ("graphql", |bytes| materials_of("graphql", bytes)),
    ("identity_token", identity_token),
    ("jacoco", |bytes| materials_of("jacoco", bytes)),
    ("json", json),
    ("junit", |bytes| materials_of("junit", bytes)),
    ("jwks", jwks),
    ("key", key),
    ("manifest", manifest),
    ("openapi", |bytes| materials_of("openapi", bytes)),
    ("openvex", |bytes| materials_of("openvex", bytes)),
    ("own_ca", own_ca),
    ("policy", policy),
    ("policy_group", policy_group),
    ("policy_test", policy_test),
    ("provenance", |bytes| materials_of("provenance", bytes)),
    ("public_key", public_key),
    ("radamsa", |bytes| materials_of("radamsa", bytes)),
    ("reference", reference),
    ("sarif", |bytes| materials_of("sarif", bytes)),
    ("scans", |bytes| materials_of("scans", bytes)),
    ("settings", settings),
    ("sigcheck", |bytes| materials_of("sigcheck", bytes)),
    ("sigstore_answer", sigstore_answer),
    ("signing_config", signing_config),
    ("spdx", |bytes| materials_of("spdx", bytes)),
    ("statement", statement),
    ("trufflehog", |bytes| materials_of("trufflehog", bytes)),
    ("trusted_root", trusted_root),
    ("tuf", tuf),
];

/// Which types of material a target reads. Those whose readers differ in the shape of the document alone share one; a
/// type that may be an archive is also read by `archive`.
pub const MATERIALS: &[(&str, &[MaterialType])] = &[
    ("accesschk", &[MaterialType::SysinternalsAccesschk]),
    (
        "archive",
        &[
            MaterialType::HelmChart,
            MaterialType::ZapDastZip,
            MaterialType::JunitXml,
            MaterialType::CertccDranzer,
            MaterialType::RadamsaReport,
            MaterialType::RadamsaCrashes,
        ],
    ),
    ("asyncapi", &[MaterialType::AsyncapiSpec]),
    ("attestation", &[MaterialType::Attestation]),
    ("cobertura", &[MaterialType::CoberturaXml]),
    // What Chainloop's tools collect about a run.
    (
        "collected",
        &[
            MaterialType::ChainloopRunnerContext,
            MaterialType::ChainloopPrInfo,
            MaterialType::ChainloopAiAgentConfig,
            MaterialType::ChainloopAiCodingSession,
        ],
    ),
    (
        "csaf",
        &[
            MaterialType::CsafVex,
            MaterialType::CsafInformationalAdvisory,
            MaterialType::CsafSecurityAdvisory,
            MaterialType::CsafSecurityIncidentResponse,
        ],
    ),
    ("cyclonedx", &[MaterialType::SbomCyclonedxJson]),
    ("dranzer", &[MaterialType::CertccDranzer]),
    // What is hardly looked into.
    ("evidence", &[MaterialType::Evidence, MaterialType::String, MaterialType::Artifact, MaterialType::ContainerImage]),
    ("graphql", &[MaterialType::GraphqlSpec]),
    ("jacoco", &[MaterialType::JacocoXml]),
    ("junit", &[MaterialType::JunitXml]),
    ("openapi", &[MaterialType::OpenapiSpec]),
    ("openvex", &[MaterialType::Openvex]),
    ("provenance", &[MaterialType::SlsaProvenance]),
    ("radamsa", &[MaterialType::RadamsaReport]),
    ("sarif", &[MaterialType::Sarif]),
    // The reports of scanners in JSON.
    (
        "scans",
        &[
            MaterialType::GitlabSecurityReport,
            MaterialType::BlackduckScaJson,
            MaterialType::TwistcliScanJson,
            MaterialType::GhasCodeScan,
            MaterialType::GhasSecretScan,
            MaterialType::GhasDependencyScan,
            MaterialType::GitleaksJson,
            MaterialType::YelpDetectSecretsBaseline,
            MaterialType::OssfScorecardJson,
            MaterialType::CheckmarxJson,
        ],
    ),
    ("sigcheck", &[MaterialType::SysinternalsSigcheck]),
    ("spdx", &[MaterialType::SbomSpdxJson]),
    ("trufflehog", &[MaterialType::TrufflehogJson]),
];

fn identity_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = Token::parse(text) {
        let expected = Expectations { issuer: token.issuer(), audiences: &["sluice"] };
        let verified = token.verify(&Jwks::default(), &expected, jiff::Timestamp::UNIX_EPOCH);
        assert!(verified.is_err(), "nobody's keys verify nothing");
    }
}

fn jwks(bytes: &[u8]) {
    if let Ok(keys) = Jwks::parse(bytes) {
        assert_eq!(Jwks::parse(bytes), Ok(keys.clone()));
        assert!(!keys.knows(""), "a key without a name is never found");
    }
}

/// What Sigstore's services answer: taken in, it makes a bundle that is read back.
fn sigstore_answer(bytes: &[u8]) {
    let Ok(key) = SigningKey::generate_ed25519() else { return };
    let statement = Statement::new(vec![Subject::sha256("x", Digest::of(b"x"))], "p", serde_json::json!({}));
    let Ok(mut draft) = Draft::by_key(&key, &statement) else { return };
    for version in [LogVersion::V1, LogVersion::V2] {
        drop(draft.logged(version, bytes));
    }
    drop(draft.timestamped(bytes));
    if let Ok(bundle) = draft.bundle() {
        assert!(Bundle::parse(bundle.bytes()).is_ok());
    }
}

fn signing_config(bytes: &[u8]) {
    if let Ok(services) = Services::parse(bytes, jiff::Timestamp::UNIX_EPOCH) {
        assert!(services.logs.len() <= limits::BUNDLE_PROOFS + 1 && services.timestamps.len() <= limits::BUNDLE_PROOFS);
    }
}

fn bundle(bytes: &[u8]) {
    if let Ok(bundle) = Bundle::parse(bytes) {
        assert_eq!(bundle.id(), Digest::of(bytes), "a bundle is named by the bytes that were read");
        assert_eq!(bundle.bytes(), bytes);
        let statement = Statement::parse(&bundle.envelope().payload);
        drop(statement);
    }
}

fn dsse(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert!(!envelope.signatures.is_empty(), "an envelope without signatures was read");
    }
}

fn statement(bytes: &[u8]) {
    if let Ok(statement) = Statement::parse(bytes) {
        assert!(!statement.subjects.is_empty(), "a statement about nothing was read");
        let again = Statement::parse(bytes).is_ok_and(|again| again.image_digests() == statement.image_digests());
        assert!(again, "reading twice gave two answers");
        drop(contracts::crafting::read(&statement));
    }
}

fn json(bytes: &[u8]) {
    if json::parse_strict(bytes, limits::REQUEST_BYTES).is_ok() {
        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok(), "what is no JSON was read");
    }
    assert!(json::parse_strict(bytes, bytes.len().saturating_sub(1)).is_err(), "a bound was not kept");
}

fn contract(bytes: &[u8]) {
    if let Err(mistakes) = Contract::parse("contract.yaml", bytes) {
        assert!(mistakes.0.iter().any(|finding| finding.blocks()), "refused without a reason");
    }
}

fn approvals(bytes: &[u8]) {
    if let Ok(approvals) = Approvals::parse(bytes) {
        assert!(approvals.count() > 0, "a document that nobody signed was read");
        if let Ok(again) = Approvals::parse(approvals.to_value().to_string().as_bytes()) {
            assert_eq!((again.document(), again.count()), (approvals.document(), approvals.count()));
        }
    }
}

fn own_ca(bytes: &[u8]) {
    const ROOT: &str = include_str!("../testdata/own-ca/ca.pem");
    const TIMESTAMPS: &str = include_str!("../testdata/own-ca/tsa-chain.pem");
    let (Ok(bundle), Ok(own)) = (Bundle::parse(bytes), OwnAuthority::new(ROOT, None, Some(TIMESTAMPS))) else { return };
    let later = "2027-06-01T00:00:00Z".parse().expect("an instant");
    if let Ok(verified) = own.verify(&bundle, later) {
        assert!(verified.signed_at.is_some(), "a certificate that is over counted without a time");
    }
}

fn exemption(bytes: &[u8]) {
    match Exemption::parse("exemption.yaml", bytes) {
        Ok((exemption, _)) => {
            let scope = &exemption.scope;
            assert!(exemption.from < exemption.until && exemption.digest == Digest::of(bytes));
            assert!(scope.rule.is_some(), "an exemption of every rule was read");
            assert!(
                !scope.repositories.is_empty() || !scope.digests.is_empty(),
                "an exemption of every image was read"
            );
        }
        Err(mistakes) => assert!(mistakes.0.iter().any(|finding| finding.blocks()), "refused without a reason"),
    }
}

fn policy(bytes: &[u8]) {
    if let Err(mistakes) = PolicyDocument::parse("policy.yaml", bytes) {
        assert!(mistakes.0.iter().any(|finding| finding.blocks()), "refused without a reason");
    }
}

fn policy_group(bytes: &[u8]) {
    match PolicyGroupDocument::parse("group.yaml", bytes) {
        Ok(group) => assert!(
            group.attachments().next().is_some() || group.materials.iter().any(|material| material.name.is_some()),
            "a group that asks for nothing was read"
        ),
        Err(mistakes) => assert!(mistakes.0.iter().any(|finding| finding.blocks()), "refused without a reason"),
    }
}

fn policy_test(bytes: &[u8]) {
    match PolicyCases::parse("p.test.yaml", bytes) {
        Ok(read) => assert!(!read.cases.is_empty(), "cases that are none were read"),
        Err(mistakes) => assert!(mistakes.0.iter().any(|finding| finding.blocks()), "refused without a reason"),
    }
}

fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference), "printing and reading changed it");
        assert!(!reference.repository.to_string().contains(".."), "a path climbs");
    }
    if let Ok(repository) = text.parse::<Repository>() {
        assert_eq!(repository.to_string().parse().as_ref(), Ok(&repository), "printing and reading changed it");
    }
}

fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(SigningKey::from_pem(text, Some(b"password")));
    drop(SigningKey::from_pem(text, None));
}

fn public_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = PublicKey::from_pem(text) {
        let again = PublicKey::from_pem(&key.to_pem()).map(|key| key.id());
        assert!(again.is_ok_and(|id| id == key.id()), "printing and reading changed the key");
    }
}

fn trusted_root(bytes: &[u8]) {
    drop(TrustRoot::new(Vec::new(), Some(bytes)));
}

fn tuf(bytes: &[u8]) {
    let root: &[u8] = include_bytes!("seeds/tuf/root.json");
    // As what is kept, as each file that a mirror shows, and as the root itself.
    let (mut repository, _) = KnownRepository::open(root, TRUSTED_ROOT, Some(bytes)).expect("the seed");
    let known =
        |repository: &KnownRepository| repository.current().map(|current| (current.versions(), current.target()));
    let before = known(&repository);
    if before.is_some() {
        let (again, trouble) = KnownRepository::open(root, TRUSTED_ROOT, Some(&repository.kept())).expect("the seed");
        assert!(trouble.is_none() && known(&again) == before, "keeping changed what is known");
    }
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut walk = repository.walk(now);
    while walk.ask().is_some_and(|_| walk.answer(Some(bytes)).is_ok()) {}
    assert!(before.is_some() || known(&repository).is_none(), "one file passed for all that belong together");
    drop(KnownRepository::open(bytes, TRUSTED_ROOT, None));
}

fn materials_of(target: &str, bytes: &[u8]) {
    let kinds = MATERIALS.iter().find(|(name, _)| *name == target).map(|(_, kinds)| *kinds);
    for kind in kinds.unwrap_or_else(|| panic!("`{target}` reads no material")) {
        read_material(*kind, bytes);
    }
    let found = materials::recognise(bytes);
    let again = materials::recognise(bytes);
    assert_eq!(found, again, "looking twice gave two answers");
}

fn read_material(kind: MaterialType, bytes: &[u8]) {
    let Ok(reading) = materials::read(kind, bytes) else { return };
    if let Projection::Json(json) = &reading.projection {
        assert!(json::parse_strict(json, json.len()).is_ok(), "the projection is no strict JSON");
    }
    for (key, value) in &reading.annotations {
        assert!(materials::is_derived(key), "`{key}` is written by a reader, and an attestation could claim it");
        assert!(value.len() <= limits::ANNOTATION_BYTES, "`{key}` is longer than allowed");
    }
}

fn admission_review(bytes: &[u8]) {
    let Ok(review) = Review::parse(bytes) else { return };
    let Ok(Seen::Images { new, kept }) = review.images(&Templates::new()) else { return };
    let object = serde_json::Value::Object(review.object.unwrap_or_default());
    for image in new.iter().chain(&kept) {
        let there = object.pointer(&image.pointer).and_then(serde_json::Value::as_str);
        assert_eq!(there, Some(image.written.as_str()), "a patch would change something else");
    }
}

fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(gateway::config::Settings::parse("sluice.toml", text, Path::new(".")));
}

/// What is served lists what the least careful of clients finds in it, and nothing else.
fn manifest(bytes: &[u8]) {
    for said in
        [None, Some("application/vnd.oci.image.manifest.v1+json"), Some("application/vnd.oci.image.index.v1+json")]
    {
        let Ok(manifest) = Manifest::read(bytes.to_vec().into(), said) else { continue };
        assert_eq!(manifest.digest, Digest::of(bytes));
        let careless: serde_json::Value = serde_json::from_slice(bytes).expect("what was read is JSON");
        let object = careless.as_object().expect("what was read is an object");
        // As decoders do that match keys in any case.
        let mut found = Vec::new();
        for (key, value) in object {
            match key.to_lowercase().replace('\u{17f}', "s").as_str() {
                "manifests" | "layers" | "fslayers" => found.extend(value.as_array().into_iter().flatten()),
                "config" => found.push(value),
                _ => {}
            }
        }
        let mut found: Vec<_> =
            found.into_iter().map(|one| one["digest"].as_str().expect("a digest").to_owned()).collect();
        let mut listed: Vec<_> = manifest.children.iter().map(ToString::to_string).collect();
        listed.sort();
        found.sort();
        assert_eq!(listed, found, "{said:?}");
    }
}

/// A layer of an `.att` manifest and its annotations: `{"layer": …, "annotations": {…}}`.
fn cosign_layer(bytes: &[u8]) {
    let Ok(value) = json::parse_strict(bytes, limits::REQUEST_BYTES) else { return };
    let annotations = value["annotations"].as_object().into_iter().flatten();
    let annotations = annotations.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))).collect();
    let layer = value["layer"].to_string();
    if let Some(bundle) = AttestationLayer::Cosign.read(layer.as_bytes(), &annotations) {
        let again = Bundle::parse(bundle.bytes()).expect("what was made of a layer is a bundle");
        assert_eq!(again.envelope(), bundle.envelope());
        assert_eq!(Some(bundle.envelope()), Envelope::parse(layer.as_bytes()).ok().as_ref());
    }
}
