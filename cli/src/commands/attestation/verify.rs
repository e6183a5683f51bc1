//! `sluice attestation verify`: without the gateway. Says whether an attestation is genuine and by whom it has to be, not
//! whether it satisfies a contract.
//!
//! Exit 0 is only ever answered with a `Verified` statement in hand. What could not be looked at is an error, exit 2.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use contracts::{
    Bundle, Digest, SignerIdentity, Verified,
    dsse::Envelope,
    keys::PublicKey,
    limits,
    statement::Statement,
    verify::{AllowedSigner, OwnAuthority, SignerPolicy, TrustRoot, Verification},
};
use serde_json::{Value, json};

use crate::{
    args, beside, clock,
    commands::{key::refuse_elsewhere, variable},
    exit::Exit,
    files, image,
    report::{Report, plain, table},
};

pub async fn run(args: &args::AttestationVerify) -> anyhow::Result<Report> {
    let wanted = Wanted::of(args)?;
    let path = match (&args.bundle, &args.target) {
        (Some(path), _) => path.as_path(),
        // A file of an image's name must not be taken for the image.
        (None, Some(target)) if Path::new(target).exists() && image::names_a_registry(target) => {
            bail!(
                "`{target}` is a file and reads like an image: say --bundle {target}, or go where there is no such file"
            )
        }
        (None, Some(target)) if Path::new(target).exists() => Path::new(target),
        (None, Some(image)) => return beside_image(&wanted, image, args).await,
        (None, None) => bail!("name a bundle or an image"),
    };
    let bytes = files::read(path, limits::BUNDLE_BYTES)?;
    let read = match Bundle::parse(&bytes) {
        // A bare envelope, as older tools kept them.
        Err(contracts::BundleError::NotABundle) => match Envelope::parse(&bytes) {
            Ok(envelope) => Ok(Bundle::from_envelope(&envelope, None)),
            Err(_) => Err(contracts::BundleError::NotABundle),
        },
        read => read,
    };
    match read.map_err(|error| error.to_string()).and_then(|bundle| wanted.check(&bundle)) {
        Ok(verified) => genuine(&verified),
        Err(reason) => no(&reason),
    }
}

/// What an attestation has to be.
struct Wanted {
    trusted: Trusted,
    digest: Option<Digest>,
    predicate: Option<String>,
}

/// Whom it is checked against.
enum Trusted {
    /// Keys, or the authorities of a trusted root, and who may sign.
    Root(Box<TrustRoot>, SignerPolicy),
    /// Authorities of one's own, and whom their certificate has to name.
    Own { authority: Box<OwnAuthority>, identity: String, issuer: Option<String> },
}

impl Trusted {
    fn own(args: &args::AttestationVerify, roots: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| files::read_text(path, limits::TRUSTED_ROOT_BYTES);
        let (between, timestamps) = (args.ca_intermediates.as_deref(), args.timestamp_certificate_chain.as_deref());
        let texts = (read(roots)?, between.map(read).transpose()?, timestamps.map(read).transpose()?);
        let authority = OwnAuthority::new(&texts.0, texts.1.as_deref(), texts.2.as_deref());
        let authority = authority.map_err(|(which, error)| {
            let path = match which {
                "intermediates" => between,
                "timestamps" => timestamps,
                _ => Some(roots),
            };
            anyhow!("`{}` cannot be used: {error}", path.unwrap_or(roots).display())
        })?;
        let identity =
            args.identity.clone().context("--ca-roots needs --certificate-identity: say who has to have signed")?;
        Ok(Self::Own { authority: Box::new(authority), identity, issuer: args.issuer.clone() })
    }

    /// What the bundle proves, when it is by one of those who may have signed.
    fn check(&self, bundle: &Bundle) -> Result<Verified<Verification>, String> {
        let now = clock::now();
        let (verified, allowed) = match self {
            Self::Root(root, signers) => {
                let verified = root.verify(bundle, now).map_err(|error| error.to_string())?;
                let allowed = signers.satisfied_by(&verified.signers);
                (verified, allowed)
            }
            Self::Own { authority, identity, issuer } => {
                let verified = authority.verify(bundle, now).map_err(|error| error.to_string())?;
                let allowed = verified.signers.iter().all(|signer| match signer {
                    SignerIdentity::Certificate { issuer: by, identity: is } => match issuer {
                        Some(issuer) => issuer == by && identity == is,
                        // Whom a provider vouches for is nobody without the provider.
                        None => identity == is && !by.starts_with("http"),
                    },
                    SignerIdentity::Key { .. } => false,
                });
                (verified, allowed)
            }
        };
        if allowed {
            Ok(verified)
        } else {
            Err(format!("it is signed by {}, which is not who was asked for", signers(&verified)))
        }
    }
}

impl Wanted {
    fn of(args: &args::AttestationVerify) -> anyhow::Result<Self> {
        let trusted = match &args.ca_roots {
            Some(roots) => Trusted::own(args, roots)?,
            None => Self::root(args)?,
        };
        let predicate = args.predicate.as_deref().map(|name| predicate(name).to_owned());
        Ok(Self { trusted, digest: args.digest, predicate })
    }

    fn root(args: &args::AttestationVerify) -> anyhow::Result<Trusted> {
        let mut keys = Vec::new();
        for reference in &args.keys {
            refuse_elsewhere(reference)?;
            let pem = match reference.strip_prefix("env://") {
                Some(name) => variable(name).with_context(|| format!("the variable `{name}` is not set"))?,
                None => files::read_text(Path::new(reference), limits::KEY_BYTES)?,
            };
            keys.push(PublicKey::from_pem(&pem).with_context(|| format!("`{reference}` is not a public key"))?);
        }
        let root = args.trusted_root.as_ref().map(|path| files::read(path, limits::TRUSTED_ROOT_BYTES)).transpose()?;
        let mut allowed: Vec<AllowedSigner> = keys.iter().cloned().map(AllowedSigner::Key).collect();
        if let (Some(issuer), Some(identity)) = (&args.issuer, &args.identity) {
            allowed.push(AllowedSigner::Identity { issuer: issuer.clone(), identity: identity.clone() });
        }
        Ok(Trusted::Root(Box::new(TrustRoot::new(keys, root.as_deref())?), SignerPolicy::new(1, allowed)?))
    }

    /// The statement, when it is genuine, by one of the signers, and about what is asked; else why not.
    fn check(&self, bundle: &Bundle) -> Result<Verified<Verification>, String> {
        let verified = self.trusted.check(bundle)?;
        if let Some(digest) = self.digest.filter(|digest| !verified.statement.names_sha256(digest)) {
            return Err(format!("it does not speak of `{digest}`"));
        }
        let said = &verified.statement.predicate_type;
        if let Some(wanted) = self.predicate.as_ref().filter(|wanted| *wanted != said) {
            return Err(format!("it is a `{said}`, and a `{wanted}` was asked for"));
        }
        Ok(verified)
    }
}

/// cosign's short names of predicates; anything else is the type itself.
fn predicate(name: &str) -> &str {
    match name {
        "slsaprovenance" | "slsaprovenance02" => "https://slsa.dev/provenance/v0.2",
        "slsaprovenance1" => "https://slsa.dev/provenance/v1",
        "spdx" | "spdxjson" => "https://spdx.dev/Document",
        "cyclonedx" => "https://cyclonedx.org/bom",
        "vuln" => "https://cosign.sigstore.dev/attestation/vuln/v1",
        "openvex" => "https://openvex.dev/ns",
        "link" => "https://in-toto.io/Link/v1",
        "chainloop" => contracts::crafting::PREDICATE_TYPE,
        other => other,
    }
}

/// Verifies what the registry has beside an image: one that is genuine is enough.
async fn beside_image(wanted: &Wanted, text: &str, args: &args::AttestationVerify) -> anyhow::Result<Report> {
    if !image::names_a_registry(text) {
        bail!(
            "there is no file `{text}`; to look beside an image in its registry, write `registry/repository@sha256:…`"
        );
    }
    if args.offline {
        bail!("with --offline no registry is asked: name a bundle in a file");
    }
    let resolved = image::resolve(text, &args.registry, &variable).await?;
    let found = beside::look(&resolved, &args.registry, &variable).await?;
    if let Some(digest) = wanted.digest.filter(|digest| *digest != resolved.digest) {
        return no(&format!("the image is `{}`, not `{digest}`", resolved.digest));
    }
    let (mut genuine, mut refused) = (Vec::new(), Vec::new());
    for bundle in &found.bundles {
        match wanted.check(bundle) {
            Ok(verified) if verified.statement.names_sha256(&resolved.digest) => genuine.push(verified),
            Ok(_) => refused.push(json!({"attestation": bundle.id(), "reason": "it does not speak of the image"})),
            Err(reason) => refused.push(json!({"attestation": bundle.id(), "reason": reason})),
        }
    }
    let named = format!("{}@{}", resolved.reference.repository, resolved.digest);
    let data = json!({
        "genuine": !genuine.is_empty(),
        "image": named,
        "attestations": genuine.iter().map(|verified| told(verified)).collect::<Vec<_>>(),
        "refused": refused,
        "complete": found.complete,
    });
    if genuine.is_empty() {
        let mut text = format!("not genuine: none of the {} attestations beside `{named}` is", found.bundles.len());
        for one in &refused {
            let part = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
            text.push_str(&format!("\n  {}: {}", part("attestation"), part("reason")));
        }
        if !found.complete {
            text.push_str("\nthere are more than are looked at");
        }
        return Report::new(Exit::No, &data, plain(&text));
    }
    let cards: Vec<String> = genuine.iter().map(|verified| card(verified)).collect();
    let report = Report::new(Exit::Yes, &data, format!("{}\n{}", plain(&named), cards.join("\n\n")))?;
    Ok(if refused.is_empty() { report } else { report.note(format!("{} more beside it are not", refused.len())) })
}

fn no(reason: &str) -> anyhow::Result<Report> {
    Report::new(Exit::No, &json!({"genuine": false, "reason": reason}), plain(&format!("not genuine: {reason}")))
}

fn genuine(verified: &Verified<Verification>) -> anyhow::Result<Report> {
    let mut data = told(verified);
    if let Some(data) = data.as_object_mut() {
        data.shift_insert(0, "genuine".to_owned(), json!(true));
    }
    Report::new(Exit::Yes, &data, card(verified))
}

fn told(verified: &Verification) -> Value {
    json!({
        "attestation": verified.attestation,
        "signers": verified.signers,
        "signed_at": verified.signed_at,
        "statement": verified.statement.raw,
    })
}

fn signers(verified: &Verification) -> String {
    verified.signers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn card(verified: &Verification) -> String {
    let statement = &verified.statement;
    table::card([
        ("genuine", verified.attestation.to_string()),
        ("signed by", signers(verified)),
        ("proven time", verified.signed_at.map(|at| at.to_string()).unwrap_or_default()),
        ("predicate", statement.predicate_type.clone()),
        ("speaks of", subjects(statement)),
    ])
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
