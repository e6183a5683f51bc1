//! Images: from what a person wrote to a digest.

use std::net::IpAddr;

use anyhow::{Context, anyhow, bail};
use contracts::{Digest, Reference, Tag, Target, registry_login::Login};
use oci_client::{
    Client,
    client::{ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    secrets::RegistryAuth,
};

use crate::{args, files, keychain};

const PASSWORD_BYTES: usize = 64 * 1024;

/// An image with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What was written.
    pub reference: Reference,
    /// The tag, when one was written and is what the digest was found by.
    pub tag: Option<Tag>,
    /// The digest.
    pub digest: Digest,
}

/// The digest that a reference names, or that its registry answers for its tag at this moment.
pub async fn resolve(
    text: &str,
    args: &args::Registry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Resolved> {
    let reference: Reference = text.parse()?;
    match reference.target.clone() {
        Target::Digest(digest) => Ok(Resolved { reference, tag: None, digest }),
        Target::Tag(tag) => {
            let digest = ask(&reference, &tag, args, variable)
                .await
                .with_context(|| format!("the digest of `{reference}` could not be found out"))?;
            Ok(Resolved { reference, tag: Some(tag), digest })
        }
    }
}

/// Whether a text is an image with its registry, and no mistyped path.
pub fn names_a_registry(text: &str) -> bool {
    let Some((host, _)) = text.split_once('/') else { return false };
    let hosted = host == "localhost" || host.contains(':') || (host.contains('.') && !host.starts_with('.'));
    hosted && text.parse::<Reference>().is_ok()
}

async fn ask(
    reference: &Reference,
    tag: &Tag,
    args: &args::Registry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Digest> {
    let host = reference.repository.host();
    let (client, auth) = registry(host, args, variable)?;
    let image =
        oci_client::Reference::with_tag(host.to_owned(), reference.repository.path().to_owned(), tag.to_string());
    let digest = client.fetch_manifest_digest(&image, &auth).await;
    Ok(digest.map_err(|error| unknown(&error, host, reference))?.parse()?)
}

/// Why a tag has no digest, and what to do.
fn unknown(error: &OciDistributionError, host: &str, reference: &Reference) -> anyhow::Error {
    use OciErrorCode::{Denied, ManifestUnknown, NameUnknown, NotFound, Unauthorized};
    let pinned = format!("`{}@sha256:…`", reference.repository);
    let says = |codes: &[OciErrorCode]| match error {
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|error| codes.contains(&error.code))
        }
        _ => false,
    };
    let missing = matches!(error, OciDistributionError::ImageManifestNotFoundError(_))
        || matches!(error, OciDistributionError::ServerError { code: 404, .. })
        || says(&[ManifestUnknown, NameUnknown, NotFound]);
    if missing {
        return anyhow!("it is not there: push it first, or name a tag that is there, or write {pinned}");
    }
    if says(&[Unauthorized, Denied])
        || matches!(error, OciDistributionError::UnauthorizedError { .. })
        || matches!(error, OciDistributionError::AuthenticationFailure(_))
    {
        return anyhow!(
            "the registry does not let this caller read it: log in with `docker login {host}`, or say \
             --registry-username and --registry-password-file, or write {pinned}"
        );
    }
    // The innermost cause says what happened: no such name, connection refused.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    anyhow!("{cause}; make it reachable, or write {pinned}")
}

/// A client for a registry, and whom it is to be.
pub fn registry(
    host: &str,
    args: &args::Registry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<(Client, RegistryAuth)> {
    let plain = is_loopback(host) || args.insecure_registry_http.iter().any(|named| named.eq_ignore_ascii_case(host));
    let protocol = if plain { ClientProtocol::HttpsExcept(vec![host.to_owned()]) } else { ClientProtocol::Https };
    let client = Client::try_from(ClientConfig { protocol, ..ClientConfig::default() })?;
    Ok((client, credentials(host, args, variable)?))
}

/// The user of the arguments or the environment, else what `docker login` left for this host, else nobody.
fn credentials(
    host: &str,
    args: &args::Registry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<RegistryAuth> {
    let set = |names: [&str; 2]| names.into_iter().find_map(|name| variable(name).filter(|text| !text.is_empty()));
    let server = args.registry_server.clone().or_else(|| set(["SLUICE_REGISTRY_SERVER", "CHAINLOOP_REGISTRY_SERVER"]));
    let meant = server.is_none_or(|server| server.trim_start_matches("https://").trim_end_matches('/') == host);
    let user =
        args.registry_username.clone().or_else(|| set(["SLUICE_REGISTRY_USERNAME", "CHAINLOOP_REGISTRY_USERNAME"]));
    if let Some(user) = user.filter(|_| meant) {
        let said = args.registry_password.clone();
        let password = match (&args.registry_password_file, said) {
            (Some(path), _) => files::read_text(path, PASSWORD_BYTES)?.trim_end_matches(['\n', '\r']).to_owned(),
            (None, Some(said)) => said,
            (None, None) => set(["SLUICE_REGISTRY_PASSWORD", "CHAINLOOP_REGISTRY_PASSWORD"]).context(
                "--registry-username needs --registry-password-file, SLUICE_REGISTRY_PASSWORD or CHAINLOOP_REGISTRY_PASSWORD",
            )?,
        };
        return Ok(RegistryAuth::Basic(user, password));
    }
    Ok(match keychain::login(host, variable)? {
        Some(Login::Password { user, password }) => RegistryAuth::Basic(user, password.reveal().to_owned()),
        Some(Login::Identity(_)) => bail!(
            "the login for `{host}` is an identity token, which is not taken here: log in with a password or an access token"
        ),
        None => RegistryAuth::Anonymous,
    })
}

fn is_loopback(host: &str) -> bool {
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_in_plain() {
        for (host, plain) in [
            ("127.0.0.1:5010", true),
            ("localhost", true),
            ("localhost.acme.dev", false),
            ("127.0.0.1.acme.dev:5000", false),
            ("registry.acme.dev", false),
        ] {
            assert_eq!(is_loopback(host), plain, "{host}");
        }
    }

    /// A registry that knows one tag, over plain HTTP on this machine.
    async fn registry(digest: Digest) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let answer = match request.split(' ').nth(1) {
                    Some("/v2/") => "200 OK\r\n".to_owned(),
                    Some("/v2/shop/app/manifests/v1") => format!("200 OK\r\nDocker-Content-Digest: {digest}\r\n"),
                    Some("/v2/shop/shut/manifests/v1") => "401 Unauthorized\r\n".to_owned(),
                    _ => "404 Not Found\r\n".to_owned(),
                };
                let whole = format!("HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(whole.as_bytes()).await.unwrap();
            }
        });
        host
    }

    #[tokio::test]
    async fn a_tag_is_resolved_once_and_a_digest_is_taken_as_it_is() {
        let digest = Digest::of(b"manifest");
        let host = registry(digest).await;
        let args = args::Registry::default();
        let tagged = resolve(&format!("{host}/shop/app:v1"), &args, &|_| None).await.unwrap();
        assert_eq!((tagged.digest, tagged.tag.map(|tag| tag.to_string())), (digest, Some("v1".to_owned())));
        let none = resolve(&format!("{host}/shop/app:v2"), &args, &|_| None).await.unwrap_err();
        assert_eq!(
            format!("{none:#}").replace(&host, "HOST"),
            "the digest of `HOST/shop/app:v2` could not be found out: it is not there: push it first, or name a tag that \
             is there, or write `HOST/shop/app@sha256:…`"
        );
        let shut = resolve(&format!("{host}/shop/shut:v1"), &args, &|_| None).await.unwrap_err();
        assert!(format!("{shut:#}").contains(&format!("log in with `docker login {host}`")), "{shut:#}");

        // A registry that is not there: the cause, and the way around it.
        let gone = resolve("127.0.0.1:1/shop/app:v1", &args, &|_| None).await.unwrap_err();
        let told = format!("{gone:#}");
        for part in ["refused", "or write `127.0.0.1:1/shop/app@sha256:…`"] {
            assert!(told.contains(part), "{part} in {told}");
        }

        let other = Digest::of(b"other");
        let pinned = resolve(&format!("registry.invalid/shop/app:v1@{other}"), &args, &|_| None).await.unwrap();
        assert_eq!((pinned.digest, pinned.tag), (other, None));
    }
}
