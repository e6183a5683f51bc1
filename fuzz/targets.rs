// Every parser that is fed from outside, by name. Two drivers read this file: the bounded, deterministic one of
// `cargo test` (gateway/tests/fuzz_smoke.rs) and cargo-fuzz's (fuzz/fuzz_targets/). A target takes any bytes; it must
// neither panic nor run long, and what it accepts must obey the laws written here. Seeds lie in fuzz/seeds/<name>/.

use std::path::Path;

use contracts::{
    Digest, Reference, Repository,
    bundle::Bundle,
    contract::Contract,
    dsse::Envelope,
    json,
    keys::{PublicKey, SigningKey},
    limits,
    materials::{self, MaterialType, Projection},
    policy::{PolicyDocument, PolicyGroupDocument},
    statement::Statement,
    verify::TrustRoot,
};

/// A parser under test.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("accesschk", |bytes| material(MaterialType::SysinternalsAccesschk, bytes)),
    ("archive", archive),
    ("asyncapi", |bytes| material(MaterialType::AsyncapiSpec, bytes)),
    ("attestation", |bytes| material(MaterialType::Attestation, bytes)),
    ("bundle", bundle),
    ("cobertura", |bytes| material(MaterialType::CoberturaXml, bytes)),
    ("collected", collected),
    ("contract", contract),
    ("csaf", |bytes| material(MaterialType::CsafVex, bytes)),
    ("cyclonedx", |bytes| material(MaterialType::SbomCyclonedxJson, bytes)),
    ("dranzer", |bytes| material(MaterialType::CertccDranzer, bytes)),
    ("dsse", dsse),
    ("evidence", |bytes| material(MaterialType::Evidence, bytes)),
    ("graphql", |bytes| material(MaterialType::GraphqlSpec, bytes)),
    ("jacoco", |bytes| material(MaterialType::JacocoXml, bytes)),
    ("json", json),
    ("junit", |bytes| material(MaterialType::JunitXml, bytes)),
    ("key", key),
    ("openapi", |bytes| material(MaterialType::OpenapiSpec, bytes)),
    ("openvex", |bytes| material(MaterialType::Openvex, bytes)),
    ("policy", policy),
    ("provenance", |bytes| material(MaterialType::SlsaProvenance, bytes)),
    ("public_key", public_key),
    ("radamsa", |bytes| material(MaterialType::RadamsaReport, bytes)),
    ("reference", reference),
    ("sarif", |bytes| material(MaterialType::Sarif, bytes)),
    ("scans", scans),
    ("settings", settings),
    ("sigcheck", |bytes| material(MaterialType::SysinternalsSigcheck, bytes)),
    ("spdx", |bytes| material(MaterialType::SbomSpdxJson, bytes)),
    ("statement", statement),
    ("trufflehog", |bytes| material(MaterialType::TrufflehogJson, bytes)),
    ("trusted_root", trusted_root),
];

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

fn policy(bytes: &[u8]) {
    if let Err(mistakes) = PolicyDocument::parse("policy.yaml", bytes) {
        assert!(mistakes.0.iter().any(|finding| finding.blocks()), "refused without a reason");
    }
    if let Err(mistakes) = PolicyGroupDocument::parse("group.yaml", bytes) {
        assert!(mistakes.0.iter().any(|finding| finding.blocks()), "refused without a reason");
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

fn material(kind: MaterialType, bytes: &[u8]) {
    read_material(kind, bytes);
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

/// Everything that is read out of ZIP and tar.
fn archive(bytes: &[u8]) {
    for kind in [
        MaterialType::HelmChart,
        MaterialType::ZapDastZip,
        MaterialType::JunitXml,
        MaterialType::CertccDranzer,
        MaterialType::RadamsaReport,
        MaterialType::RadamsaCrashes,
    ] {
        read_material(kind, bytes);
    }
    drop(materials::recognise(bytes));
}

/// The reports of scanners in JSON, whose readers differ in their shape alone.
fn scans(bytes: &[u8]) {
    for kind in [
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
    ] {
        read_material(kind, bytes);
    }
    drop(materials::recognise(bytes));
}

/// What Chainloop's tools collect about a run; likewise.
fn collected(bytes: &[u8]) {
    for kind in [
        MaterialType::ChainloopRunnerContext,
        MaterialType::ChainloopPrInfo,
        MaterialType::ChainloopAiAgentConfig,
        MaterialType::ChainloopAiCodingSession,
    ] {
        read_material(kind, bytes);
    }
    drop(materials::recognise(bytes));
}

fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(gateway::config::Settings::parse("sluice.toml", text, Path::new(".")));
}
