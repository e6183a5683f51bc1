//! The attestations that a registry has beside an image. Anyone who may push can put them there: they are handed on
//! unverified, and what does not hold together is passed over. A registry that does not answer is an error.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use contracts::{
    Bundle, Digest,
    bundle::{AttestationLayer, attestation_tag},
    json::parse_unverified,
    limits,
};
use futures::TryStreamExt;
use oci_client::{
    Client, Reference, RegistryOperation,
    errors::{OciDistributionError, OciErrorCode},
    manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor},
    secrets::RegistryAuth,
};
use serde_json::Value;

use crate::{
    args,
    image::{self, Resolved},
};

/// What was found.
pub struct Found {
    /// The attestations, each once.
    pub bundles: Vec<Bundle>,
    /// Whether that is all there is.
    pub complete: bool,
}

/// Looks under what refers to the image and under cosign's tag for it.
///
/// # Errors
/// When the registry does not answer, or not as registries do.
pub async fn look(
    resolved: &Resolved,
    args: &args::Registry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Found> {
    let repository = &resolved.reference.repository;
    let (client, auth) = image::registry(repository.host(), args, variable)?;
    let (host, path) = (repository.host().to_owned(), repository.path().to_owned());
    let pinned = Reference::with_digest(host.clone(), path.clone(), resolved.digest.to_string());
    let mut look =
        Look { client, auth, subject: resolved.digest, left: limits::DISCOVERED_BYTES, bundles: BTreeMap::new() };
    look.client.auth(&pinned, &look.auth, RegistryOperation::Pull).await.map_err(told)?;

    let mut listed = look.client.pull_referrers(&pinned, None).await.map_err(told)?.manifests;
    // What says that it is a bundle first, so that other referrers do not use the bounds up.
    listed.sort_by_key(|one| !one.artifact_type.as_deref().is_some_and(AttestationLayer::is_bundle_artifact));
    let mut complete = listed.len() <= limits::ATTESTATIONS_PER_SUBJECT;
    for one in listed.into_iter().take(limits::ATTESTATIONS_PER_SUBJECT) {
        let reference = Reference::with_digest(host.clone(), path.clone(), one.digest);
        complete &= look.manifest(&reference, true).await?;
    }
    let tagged = Reference::with_tag(host, path, attestation_tag(&resolved.digest));
    complete &= look.manifest(&tagged, false).await?;
    Ok(Found { bundles: look.bundles.into_values().collect(), complete })
}

struct Look {
    client: Client,
    auth: RegistryAuth,
    subject: Digest,
    /// Bytes that may still be read.
    left: u64,
    bundles: BTreeMap<Digest, Bundle>,
}

impl Look {
    /// Reads what a manifest carries; whether that was all of it. A referrer must name the image itself.
    async fn manifest(&mut self, reference: &Reference, referrer: bool) -> anyhow::Result<bool> {
        let asked = self.client.pull_manifest_raw(reference, &self.auth, &[OCI_IMAGE_MEDIA_TYPE]).await;
        let bytes = match asked {
            Ok((bytes, _)) => bytes,
            Err(error) if is_missing(&error) => return Ok(true),
            Err(error) => return Err(told(error)),
        };
        let Ok(document) = parse_unverified(&bytes, limits::MANIFEST_BYTES) else { return Ok(true) };
        let subject = document.pointer("/subject/digest").and_then(Value::as_str);
        if referrer && subject != Some(self.subject.to_string().as_str()) {
            return Ok(true);
        }
        let layers = document.get("layers").and_then(Value::as_array).cloned().unwrap_or_default();
        for layer in &layers {
            let Some((kind, descriptor, annotations)) = attestation(layer) else { continue };
            let size = u64::try_from(descriptor.size).unwrap_or(u64::MAX);
            let room = self.bundles.len() < limits::ATTESTATIONS_PER_SUBJECT && size <= limits::BUNDLE_BYTES as u64;
            match self.left.checked_sub(size).filter(|_| room) {
                None => return Ok(false),
                Some(left) => self.left = left,
            }
            let bytes = self.blob(reference, &descriptor).await?;
            if let Some(bundle) = bytes.and_then(|bytes| kind.read(&bytes, &annotations)) {
                self.bundles.insert(bundle.id(), bundle);
            }
        }
        Ok(true)
    }

    /// The bytes of a layer; `None` when they are not those that the manifest names.
    async fn blob(&self, reference: &Reference, descriptor: &OciDescriptor) -> anyhow::Result<Option<Vec<u8>>> {
        let most = usize::try_from(descriptor.size).unwrap_or_default();
        let mut stream = match self.client.pull_blob_stream(reference, descriptor).await {
            Ok(sized) => sized.stream,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(told(error)),
        };
        let mut bytes = Vec::new();
        // Bytes with another digest end the stream with an error as well.
        while let Some(piece) = stream.try_next().await.context("the registry broke off")? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > most {
                return Ok(None);
            }
        }
        Ok((Digest::of(&bytes).to_string() == descriptor.digest).then_some(bytes))
    }
}

/// A layer that is an attestation, with its annotations.
fn attestation(layer: &Value) -> Option<(AttestationLayer, OciDescriptor, BTreeMap<String, String>)> {
    let text = |name: &str| layer.get(name).and_then(Value::as_str);
    let kind = AttestationLayer::of(text("mediaType")?)?;
    let descriptor = OciDescriptor {
        media_type: text("mediaType")?.to_owned(),
        digest: text("digest")?.to_owned(),
        size: layer.get("size").and_then(Value::as_i64)?,
        ..OciDescriptor::default()
    };
    let annotations = layer.get("annotations").and_then(Value::as_object).into_iter().flatten();
    let annotations = annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    Some((kind, descriptor, annotations))
}

fn is_missing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) | OciDistributionError::ServerError { code: 404, .. } => {
            true
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let missing = [OciErrorCode::ManifestUnknown, OciErrorCode::NotFound, OciErrorCode::BlobUnknown];
            !envelope.errors.is_empty() && envelope.errors.iter().all(|error| missing.contains(&error.code))
        }
        _ => false,
    }
}

/// The innermost cause: it says what happened.
fn told(error: OciDistributionError) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    anyhow!("the registry does not tell what it has beside the image: {cause}")
}

#[cfg(test)]
mod tests {
    use contracts::{SigningKey, Statement, Subject};
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A registry that has these paths, and answers 404 or what it is told to any other.
    async fn registry(answers: BTreeMap<String, (&'static str, Vec<u8>)>, otherwise: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split([' ', '?']).nth(1).unwrap_or_default();
                let (status, kind, body) = match answers.get(path) {
                    Some((kind, body)) => ("200 OK", *kind, body.clone()),
                    None if path == "/v2/" => ("200 OK", "text/plain", Vec::new()),
                    None => (
                        otherwise,
                        "application/json",
                        br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":""}]}"#.to_vec(),
                    ),
                };
                let digest = Digest::of(&body);
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
            }
        });
        host
    }

    #[tokio::test]
    async fn what_names_the_image_is_found_and_what_names_another_is_not() {
        let image = Digest::of(b"manifest");
        let statement = Statement::new(vec![Subject::sha256("app", image)], "https://example.com/p", json!({}));
        let bundle = SigningKey::generate_p256().unwrap().sign(&statement).unwrap();
        let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let layer = json!({"mediaType": kind, "digest": bundle.id().to_string(), "size": bundle.bytes().len()});
        let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}").to_string(), "size": 2});
        let manifest = |subject: Digest| {
            json!({"schemaVersion": 2, "mediaType": OCI_IMAGE_MEDIA_TYPE, "artifactType": kind, "config": config,
                "layers": [layer], "subject": {"mediaType": OCI_IMAGE_MEDIA_TYPE, "digest": subject.to_string(), "size": 1}})
            .to_string()
            .into_bytes()
        };
        let found = async |subject: Digest, bytes: &[u8]| {
            let manifest = manifest(subject);
            let digest = Digest::of(&manifest);
            let listed = json!({"mediaType": OCI_IMAGE_MEDIA_TYPE, "digest": digest.to_string(), "size": manifest.len(), "artifactType": kind});
            let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [listed]});
            let host = registry(
                BTreeMap::from([
                    (
                        format!("/v2/shop/app/referrers/{image}"),
                        ("application/vnd.oci.image.index.v1+json", index.to_string().into_bytes()),
                    ),
                    (format!("/v2/shop/app/manifests/{digest}"), (OCI_IMAGE_MEDIA_TYPE, manifest)),
                    (format!("/v2/shop/app/blobs/{}", bundle.id()), ("application/octet-stream", bytes.to_vec())),
                ]),
                "404 Not Found",
            )
            .await;
            let args = args::Registry::default();
            let resolved = image::resolve(&format!("{host}/shop/app@{image}"), &args, &|_| None).await.unwrap();
            look(&resolved, &args, &|_| None).await.map(|found| found.bundles)
        };
        let there = found(image, bundle.bytes()).await.unwrap();
        assert_eq!(there.iter().map(Bundle::id).collect::<Vec<_>>(), [bundle.id()]);
        assert!(found(Digest::of(b"other"), bundle.bytes()).await.unwrap().is_empty());
        assert!(found(image, b"{}").await.is_err(), "other bytes than the manifest names");
    }

    #[tokio::test]
    async fn a_registry_that_does_not_tell_is_an_error() {
        let host = registry(BTreeMap::new(), "503 Service Unavailable").await;
        let args = args::Registry::default();
        let text = format!("{host}/shop/app@{}", Digest::of(b"manifest"));
        let resolved = image::resolve(&text, &args, &|_| None).await.unwrap();
        assert!(look(&resolved, &args, &|_| None).await.is_err());
        let host = registry(BTreeMap::new(), "404 Not Found").await;
        let text = format!("{host}/shop/app@{}", Digest::of(b"manifest"));
        let resolved = image::resolve(&text, &args, &|_| None).await.unwrap();
        assert!(look(&resolved, &args, &|_| None).await.unwrap().bundles.is_empty());
    }
}
