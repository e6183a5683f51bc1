//! `sluice attestation verify`: without the gateway. Says whether a bundle is genuine, not whether it satisfies a
//! contract.

use anyhow::Context;
use contracts::{
    bundle::Bundle,
    keys::PublicKey,
    limits,
    statement::Statement,
    verify::{AllowedSigner, SignerPolicy, TrustRoot, Verification},
};
use serde_json::json;

use crate::{
    args, clock,
    exit::Exit,
    files,
    report::{Report, plain, table},
};

const KEY_BYTES: usize = 64 * 1024;
const TRUSTED_ROOT_BYTES: usize = 1024 * 1024;

pub fn run(args: &args::AttestationVerify) -> anyhow::Result<Report> {
    let bytes = files::read(&args.bundle, limits::BUNDLE_BYTES)?;
    let mut keys = Vec::new();
    for path in &args.keys {
        let pem = files::read_text(path, KEY_BYTES)?;
        keys.push(PublicKey::from_pem(&pem).with_context(|| format!("`{}` is not a public key", path.display()))?);
    }
    let root = args.trusted_root.as_ref().map(|path| files::read(path, TRUSTED_ROOT_BYTES)).transpose()?;
    let mut allowed: Vec<AllowedSigner> = keys.iter().cloned().map(AllowedSigner::Key).collect();
    if let (Some(issuer), Some(identity)) = (&args.issuer, &args.identity) {
        allowed.push(AllowedSigner::Identity { issuer: issuer.clone(), identity: identity.clone() });
    }
    let policy = SignerPolicy::new(1, allowed)?;
    let root = TrustRoot::new(keys, root.as_deref())?;

    let bundle = match Bundle::parse(&bytes) {
        Ok(bundle) => bundle,
        Err(error) => return no(&error.to_string()),
    };
    let verified = match root.verify(&bundle, clock::now()) {
        Ok(verified) => verified,
        Err(error) => return no(&error.to_string()),
    };
    if !policy.satisfied_by(&verified.signers) {
        let signers: Vec<String> = verified.signers.iter().map(ToString::to_string).collect();
        return no(&format!("it is signed by {}, which is not who was asked for", signers.join(", ")));
    }
    if let Some(digest) = args.digest.filter(|digest| !verified.statement.names_sha256(digest)) {
        return no(&format!("it does not speak of `{digest}`"));
    }
    genuine(&verified)
}

fn no(reason: &str) -> anyhow::Result<Report> {
    Report::new(Exit::No, &json!({"genuine": false, "reason": reason}), plain(&format!("not genuine: {reason}")))
}

fn genuine(verified: &Verification) -> anyhow::Result<Report> {
    let statement = &verified.statement;
    let data = json!({
        "genuine": true,
        "attestation": verified.attestation,
        "signers": verified.signers,
        "signed_at": verified.signed_at,
        "statement": statement.raw,
    });
    let signers: Vec<String> = verified.signers.iter().map(ToString::to_string).collect();
    let text = table::card([
        ("genuine", verified.attestation.to_string()),
        ("signed by", signers.join(", ")),
        ("proven time", verified.signed_at.map(|at| at.to_string()).unwrap_or_default()),
        ("predicate", statement.predicate_type.clone()),
        ("speaks of", subjects(statement)),
    ]);
    Report::new(Exit::Yes, &data, text)
}

fn subjects(statement: &Statement) -> String {
    let lines: Vec<String> = statement
        .subjects
        .iter()
        .flat_map(|subject| {
            let name = subject.name.clone().unwrap_or_default();
            subject.digest.iter().map(move |(algorithm, value)| format!("{name} {algorithm}:{value}").trim().to_owned())
        })
        .collect();
    lines.join(", ")
}
