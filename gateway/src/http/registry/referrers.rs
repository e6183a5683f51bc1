//! What speaks about an image: its referrers, cosign's tags for it, and the gateway's own word.

use std::sync::Arc;

use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};
use contracts::{Digest, PinnedRef, Tag, limits::ATTESTATIONS_PER_SUBJECT};
use serde_json::json;

use super::{
    answer::OciError,
    pull::{Pull, document, manifest_error},
    words::{Part, Spoken},
};
use crate::{
    gate::{Outcome, Permit},
    upstream::{OCI_INDEX, Referrer, UpstreamError},
};

/// Says that the list holds only the kind that was asked for.
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Pull {
    /// `…/referrers/DIGEST`: what speaks about an image that may be pulled. About one that is not there nothing does;
    /// about one that is denied, nothing is told but that.
    pub(super) async fn referrers(&self, subject: Digest, wanted: Option<&str>) -> Result<Response, OciError> {
        let mut all = match self.admit(subject).await? {
            Outcome::Permit(permit) => self.speaking(&permit).await?,
            Outcome::Deny(_) if !self.may_be_there(subject).await => Vec::new(),
            Outcome::Deny(verdict) => return self.deny(&verdict),
        };
        let Some(wanted) = wanted else { return Ok(index(&all)) };
        all.retain(|one| one.artifact_type.as_deref() == Some(wanted));
        let mut response = index(&all);
        response.headers_mut().insert(FILTERS, HeaderValue::from_static("artifactType"));
        Ok(response)
    }

    /// The tags by which clients look for what speaks about an image: `sha256-HEX`, and cosign's with an ending. They
    /// are answered only with what may inherit the image's grant. `None`: an ordinary tag.
    pub(super) async fn speaking_about(&self, tag: &Tag) -> Result<Option<Response>, OciError> {
        let Some((subject, ending)) = about(tag) else { return Ok(None) };
        let permit = match self.admit(subject).await? {
            Outcome::Permit(permit) => permit,
            Outcome::Deny(verdict) => return self.deny(&verdict).map(Some),
        };
        if ending.is_empty() {
            return match self.speaking(&permit).await?.as_slice() {
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

    /// A part of the gateway's own word, while it holds.
    pub(super) async fn own_word(&self, digest: Digest) -> Result<Option<(Arc<Spoken>, Part)>, OciError> {
        let Some((spoken, part)) = self.words.of(&self.organization, &self.pinned(digest)) else { return Ok(None) };
        let current = self.gate.decide(&self.organization, &spoken.subject, self.now).await?;
        Ok(spoken.holds(current.verdict(), self.now).then_some((spoken, part)))
    }

    /// Everything that has the image as its subject, the gateway's own word first.
    async fn speaking(&self, permit: &Permit) -> Result<Vec<Referrer>, OciError> {
        let mut all = Vec::new();
        match self.upstream.manifest(permit).await {
            Ok(manifest) => {
                let spoken =
                    self.words.speak(&self.word, permit, &manifest).map_err(|error| OciError::unsigned(&error))?;
                all.extend(spoken.map(|spoken| spoken.referrer()));
            }
            Err(UpstreamError::NotFound { .. }) => {}
            Err(error) => return Err(manifest_error(error)),
        }
        all.extend(self.inherit(permit, None).await?);
        Ok(all)
    }

    /// What the registry has that speaks about the image under this tag (without one: as its subject), granted.
    async fn inherit(&self, permit: &Permit, tag: Option<&Tag>) -> Result<Vec<Referrer>, OciError> {
        let all = self.upstream.referrers(permit.pinned(), ATTESTATIONS_PER_SUBJECT).await.map_err(manifest_error)?;
        let all: Vec<_> = all.into_iter().filter(|one| one.tag.as_ref() == tag).collect();
        let digests: Vec<_> = all.iter().map(|one| one.digest).collect();
        if !digests.is_empty() {
            self.gate.grant(permit, &digests).await?;
        }
        Ok(all)
    }

    /// Whether the registry may have this manifest. Only its own word that it has not counts.
    pub(super) async fn may_be_there(&self, digest: Digest) -> bool {
        let pinned: PinnedRef = self.pinned(digest);
        self.upstream.has(&pinned).await.unwrap_or(true)
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

/// The image that a tag speaks about by its name, and the tag's ending.
fn about(tag: &Tag) -> Option<(Digest, &str)> {
    let (hex, ending) = tag.as_str().strip_prefix("sha256-")?.split_at_checked(64)?;
    let known = matches!(ending, "" | ".sig" | ".att" | ".sbom");
    known.then(|| Digest::from_hex(hex).ok()).flatten().map(|digest| (digest, ending))
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
