//! Pulling: resolve a tag once, ask the gate, remember what the manifest leads to, hand out bytes.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use contracts::{Decision, Digest, PinnedRef, Repository, Tag, Target, limits::ATTESTATIONS_PER_SUBJECT};
use jiff::Timestamp;
use serde_json::json;

use super::{
    answer::{DIGEST, OciError, denied_head, etag},
    told::Told,
};
use crate::{
    gate::{Gate, Outcome, Permit, Remembered},
    metrics::{Metrics, Way},
    names::Name,
    upstream::{ByteRange, Manifest, OCI_INDEX, Referrer, Upstream, UpstreamError},
};

/// One request to pull something from a repository.
pub(super) struct Pull {
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) organization: Name,
    pub(super) repository: Repository,
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) told: Told,
    /// For links in messages.
    pub(super) external_url: Option<String>,
    pub(super) head: bool,
    pub(super) now: Timestamp,
}

impl Pull {
    /// `…/manifests/REFERENCE`
    pub(super) async fn manifest(&self, target: Target) -> Result<Response, OciError> {
        let digest = match target {
            Target::Digest(digest) => digest,
            Target::Tag(tag) => {
                if let Some(response) = self.speaking_about(&tag).await? {
                    return Ok(response);
                }
                self.upstream.resolve(&self.repository, &tag).await.map_err(manifest_error)?
            }
        };
        match self.admit(digest).await? {
            Outcome::Permit(permit) => self.serve(&permit).await,
            Outcome::Deny(verdict) => self.deny(&verdict),
        }
    }

    /// `…/blobs/DIGEST`
    pub(super) async fn blob(&self, digest: Digest, range: Option<ByteRange>) -> Result<Response, OciError> {
        let permit = self.gate.permit_blob(&self.organization, &self.pinned(digest), self.now).await?;
        let permit = permit.ok_or_else(|| {
            let again = self.told.again(&self.organization, digest);
            again.unwrap_or_else(|| OciError::no_grant(&self.repository, digest))
        })?;
        let mut headers = naming(digest);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if self.head {
            let length = self.upstream.blob_length(&permit).await.map_err(blob_error)?;
            headers.insert(header::CONTENT_LENGTH, length.into());
            return Ok((StatusCode::OK, headers).into_response());
        }
        let blob = self.upstream.blob(&permit, range).await.map_err(blob_error)?;
        let (status, length) = match blob.range {
            Some((first, last)) => {
                let range = HeaderValue::from_str(&format!("bytes {first}-{last}/{}", blob.total));
                headers.extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
                (StatusCode::PARTIAL_CONTENT, last - first + 1)
            }
            None => (StatusCode::OK, blob.total),
        };
        headers.insert(header::CONTENT_LENGTH, length.into());
        Ok((status, headers, Body::from_stream(blob.body)).into_response())
    }

    /// `…/referrers/DIGEST`: what speaks about an image that may be pulled.
    pub(super) async fn referrers(&self, subject: Digest) -> Result<Response, OciError> {
        match self.admit(subject).await? {
            Outcome::Permit(permit) => Ok(index(&self.inherit(&permit, None).await?)),
            Outcome::Deny(verdict) => self.deny(&verdict),
        }
    }

    /// The tags by which clients look for what speaks about an image: `sha256-HEX`, and cosign's with an ending. They
    /// are answered only with what may inherit the image's grant. `None`: an ordinary tag.
    async fn speaking_about(&self, tag: &Tag) -> Result<Option<Response>, OciError> {
        let Some((subject, ending)) = about(tag) else { return Ok(None) };
        let permit = match self.admit(subject).await? {
            Outcome::Permit(permit) => permit,
            Outcome::Deny(verdict) => return self.deny(&verdict).map(Some),
        };
        if ending.is_empty() {
            return match self.inherit(&permit, None).await?.as_slice() {
                [] => Err(OciError::unknown_manifest(tag.as_str())),
                all => Ok(Some(index(all))),
            };
        }
        let Some(one) = self.inherit(&permit, Some(tag)).await?.pop() else { return Ok(None) };
        match self.gate.permit_child(&self.organization, &self.pinned(one.digest), self.now).await? {
            Some(permit) => self.serve(&permit).await.map(Some),
            None => Ok(None),
        }
    }

    /// What speaks about the image under this tag (without one: as its subject), granted.
    async fn inherit(&self, permit: &Permit, tag: Option<&Tag>) -> Result<Vec<Referrer>, OciError> {
        let all = self.upstream.referrers(permit.pinned(), ATTESTATIONS_PER_SUBJECT).await.map_err(manifest_error)?;
        let all: Vec<_> = all.into_iter().filter(|one| one.tag.as_ref() == tag).collect();
        let digests: Vec<_> = all.iter().map(|one| one.digest).collect();
        if !digests.is_empty() {
            self.gate.grant(permit, &digests).await?;
        }
        Ok(all)
    }

    /// May this be served: because an allowed image leads to it, or because it is allowed itself. The first is asked
    /// first: the parts of an index need no decision, and no look at what is beside them, of their own. But no index
    /// opens what was rejected itself, nor what only such parts lead to.
    async fn admit(&self, digest: Digest) -> Result<Outcome, OciError> {
        let outcome = self.outcome(digest).await;
        match &outcome {
            Ok(Outcome::Permit(permit)) => {
                self.metrics.verdict(Way::Pull, &permit.verdict().verdict);
            }
            Ok(Outcome::Deny(_)) => self.metrics.decided(Way::Pull, Decision::Deny, true),
            Err(_) => self.metrics.could_not_decide(Way::Pull),
        }
        outcome
    }

    async fn outcome(&self, digest: Digest) -> Result<Outcome, OciError> {
        let pinned = self.pinned(digest);
        let child = self.gate.permit_child(&self.organization, &pinned, self.now).await;
        if let Ok(Some(permit)) = child {
            return Ok(Outcome::Permit(permit));
        }
        match self.gate.decide(&self.organization, &pinned, self.now).await? {
            Outcome::Permit(permit) => Ok(Outcome::Permit(permit)),
            // When it is not known whether an image that leads to it is allowed, this is not yet a denial.
            Outcome::Deny(verdict) => child.map(|_| Outcome::Deny(verdict)).map_err(OciError::from),
        }
    }

    async fn serve(&self, permit: &Permit) -> Result<Response, OciError> {
        let manifest = self.upstream.manifest(permit).await.map_err(manifest_error)?;
        if !self.head {
            self.gate.grant(permit, &manifest.children).await?;
        }
        let Manifest { bytes, digest, media_type, .. } = manifest;
        Ok(document(digest, &media_type, bytes))
    }

    fn deny(&self, verdict: &Remembered) -> Result<Response, OciError> {
        if self.head {
            return Ok(denied_head());
        }
        let denial = OciError::verdict(verdict, self.external_url.as_deref());
        self.told.tell(&self.organization, &denial);
        Err(denial)
    }

    fn pinned(&self, digest: Digest) -> PinnedRef {
        PinnedRef { repository: self.repository.clone(), digest }
    }
}

fn index(referrers: &[Referrer]) -> Response {
    let entry = |one: &Referrer| {
        let mut entry = json!({"mediaType": one.media_type, "digest": one.digest, "size": one.size});
        if let Some(fields) = entry.as_object_mut() {
            fields.extend(one.artifact_type.as_ref().map(|kind| ("artifactType".to_owned(), json!(kind))));
            if !one.annotations.is_empty() {
                fields.insert("annotations".to_owned(), json!(one.annotations));
            }
        }
        entry
    };
    let manifests: Vec<_> = referrers.iter().map(entry).collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string();
    document(Digest::of(index.as_bytes()), OCI_INDEX, index.into())
}

/// A manifest's bytes. For a HEAD the server leaves them out and keeps their length.
fn document(digest: Digest, media_type: &str, bytes: Bytes) -> Response {
    let mut headers = naming(digest);
    headers.extend(HeaderValue::from_str(media_type).ok().map(|kind| (header::CONTENT_TYPE, kind)));
    (StatusCode::OK, headers, Body::from(bytes)).into_response()
}

fn naming(digest: Digest) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_str(&digest.to_string()).ok().map(|value| (DIGEST, value)));
    headers.extend(HeaderValue::from_str(&etag(digest)).ok().map(|value| (header::ETAG, value)));
    headers
}

/// The image that a tag speaks about by its name, and the tag's ending.
fn about(tag: &Tag) -> Option<(Digest, &str)> {
    let (hex, ending) = tag.as_str().strip_prefix("sha256-")?.split_at_checked(64)?;
    let known = matches!(ending, "" | ".sig" | ".att" | ".sbom");
    known.then(|| Digest::from_hex(hex).ok()).flatten().map(|digest| (digest, ending))
}

fn manifest_error(error: UpstreamError) -> OciError {
    OciError::upstream(&error, "MANIFEST_UNKNOWN")
}

fn blob_error(error: UpstreamError) -> OciError {
    OciError::upstream(&error, "BLOB_UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_speak_about_an_image_are_known() {
        let digest = Digest::of(b"x");
        let read = |text: String| about(&text.parse().unwrap()).map(|(digest, ending)| (digest, ending.to_owned()));
        assert_eq!(read(format!("sha256-{}", digest.hex())), Some((digest, String::new())));
        assert_eq!(read(format!("sha256-{}.att", digest.hex())), Some((digest, ".att".to_owned())));
        for ordinary in [format!("sha256-{}.exe", digest.hex()), format!("sha256-{}x", digest.hex()), "v1".to_owned()] {
            assert_eq!(read(ordinary), None);
        }
    }
}
