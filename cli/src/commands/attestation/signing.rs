//! Signing a statement: with a key, or keyless with an identity token and Sigstore's services.

use std::path::Path;

use anyhow::{Context, bail};
use contracts::{
    Bundle, Secret, Statement, TrustRoot,
    keys::SigningKey,
    limits,
    signing::{Draft, Ephemeral, LogVersion, Services, Transparency},
};

use crate::{
    ambient::{Ambient, Purpose},
    args, clock,
    commands::{key::signing_key, variable},
    files,
    sigstore::Sigstore,
};

/// For whom tokens that Fulcio takes are made.
const AUDIENCE: &str = "sigstore";

/// Signs a statement as the arguments say.
pub async fn sign(args: &args::Signing, statement: &Statement) -> anyhow::Result<Bundle> {
    let Some(reference) = key_of(args) else { return keyless(args, statement).await };
    // What the password's key costs is paid beside what else is under way.
    let key = tokio::task::spawn_blocking(move || signing_key(&reference)).await??;
    let mut draft = Draft::by_key(&key, statement)?;
    let services = Services { authority: None, ..services(args)? };
    if services != Services::default() {
        Sigstore::new(services)?.vouch(&mut draft).await?;
    }
    checked(args, &draft, Some(&key))
}

/// Signs a statement without a key, whatever the environment names.
pub async fn keyless(args: &args::Signing, statement: &Statement) -> anyhow::Result<Bundle> {
    let (services, token) = (services(args)?, identity_token(args).await?);
    let sigstore = Sigstore::new(services)?;
    let mut draft = sigstore.certify(Ephemeral::sign(statement)?, &token).await?;
    sigstore.vouch(&mut draft).await?;
    checked(args, &draft, None)
}

/// Whether a key signs, so that nobody else is asked.
pub fn has_key(args: &args::Signing) -> bool {
    key_of(args).is_some()
}

/// Where the key is: as it was said, else as the environment says, unless another way to sign was said.
fn key_of(args: &args::Signing) -> Option<String> {
    let said = || ["SLUICE_SIGNING_KEY_PATH", "CHAINLOOP_SIGNING_KEY_PATH"].into_iter().find_map(variable);
    let keyless = args.identity_token.is_some();
    args.key.clone().or_else(|| said().filter(|_| !keyless)).filter(|reference| !reference.is_empty())
}

/// The bundle, verified against the trusted root when there is one: what does not verify here verifies nowhere.
fn checked(args: &args::Signing, draft: &Draft, key: Option<&SigningKey>) -> anyhow::Result<Bundle> {
    let bundle = draft.bundle()?;
    if let Some(path) = &args.trusted_root {
        let keys = key.map(|key| key.public().clone()).into_iter().collect();
        let root = TrustRoot::new(keys, Some(&files::read(path, limits::TRUSTED_ROOT_BYTES)?))?;
        root.verify(&bundle, clock::now())
            .with_context(|| format!("what was signed does not verify against `{}`", path.display()))?;
    }
    Ok(bundle)
}

/// What the configuration lists; single services that are named take the place of those.
fn services(args: &args::Signing) -> anyhow::Result<Services> {
    let mut services = match &args.signing_config {
        Some(path) => Services::parse(&files::read(path, limits::TRUSTED_ROOT_BYTES)?, clock::now())
            .with_context(|| format!("`{}` cannot be used", path.display()))?,
        None => Services::default(),
    };
    if let Some(url) = &args.fulcio_url {
        services.authority = Some(url.clone());
    }
    if let Some(url) = &args.rekor_url {
        let version = if args.rekor_version == 2 { LogVersion::V2 } else { LogVersion::V1 };
        services.logs = vec![Transparency { url: url.clone(), version }];
    }
    if !args.timestamp_urls.is_empty() {
        services.timestamps.clone_from(&args.timestamp_urls);
    }
    Ok(services)
}

/// The token that was given, else the CI system's.
async fn identity_token(args: &args::Signing) -> anyhow::Result<Secret> {
    if let Some(given) = &args.identity_token {
        // cosign takes either; whoever sees the list of processes sees a token that is typed.
        let text = if given.starts_with("eyJ") {
            given.clone()
        } else {
            files::read_text(Path::new(given), limits::IDENTITY_TOKEN_BYTES)?
        };
        return Ok(Secret::new(text.trim().to_owned()));
    }
    match Ambient::detect(Purpose::Signing, &variable)? {
        Some(ambient) => {
            let asked = ambient.token(AUDIENCE).await;
            asked.with_context(|| format!("there is no identity token by {}", ambient.described()))
        }
        None => bail!(
            "there is nothing to sign with: say --key KEY, or sign without a key where a CI system gives identity tokens \
             (GitHub Actions: `permissions: {{id-token: write}}`; GitLab: `id_tokens: {{SIGSTORE_ID_TOKEN: {{aud: sigstore}}}}`), \
             or with --identity-token FILE"
        ),
    }
}
