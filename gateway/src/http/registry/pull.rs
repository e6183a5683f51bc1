//! Pulling: resolve a tag once, ask the gate, remember what the manifest leads to, hand out bytes.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use contracts::{Decision, Digest, Finding, PinnedRef, Repository, Target, api::PullWay};
use jiff::Timestamp;

use super::{
    answer::{DIGEST, OciError, denied_head, denied_head_of, etag, reason},
    conditions, range,
    told::Told,
    words::{Part, Words},
};
use crate::{
    config::DeniedHead,
    gate::{Gate, Outcome, Permit, Remembered},
    metrics::{Metrics, Way},
    names::Name,
    pulls::{Asker, Pulls},
    upstream::{Manifest, OCI_MANIFEST, Upstream, UpstreamError},
    word::Word,
};

/// One request to pull something from a repository.
pub(super) struct Pull {
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) organization: Name,
    pub(super) repository: Repository,
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) word: Arc<Word>,
    pub(super) words: Words,
    pub(super) told: Told,
    /// For links in messages.
    pub(super) external_url: Option<String>,
    pub(super) pulls: Pulls,
    /// The caller's token, by id and by name.
    pub(super) token: (String, String),
    pub(super) denied_head: DeniedHead,
    pub(super) head: bool,
    pub(super) now: Timestamp,
}

impl Pull {
    /// `…/manifests/REFERENCE`
    pub(super) async fn manifest(&self, target: Target) -> Result<Response, OciError> {
        let (digest, by_tag) = match &target {
            Target::Digest(digest) => {
                if let Some((spoken, part @ Part::Manifest)) = self.own_word(*digest).await? {
                    return Ok(document(*digest, OCI_MANIFEST, spoken.bytes(&part)));
                }
                (*digest, false)
            }
            Target::Tag(tag) => {
                if let Some(response) = self.speaking_about(tag).await? {
                    return Ok(response);
                }
                (self.upstream.resolve(&self.repository, tag).await.map_err(manifest_error)?, true)
            }
        };
        let outcome = self.admit(digest).await?;
        let answer = match &outcome {
            Outcome::Permit(permit) => self.serve(permit).await,
            // Nothing speaks for what is not there: a mistyped digest is told so.
            Outcome::Deny(_) if !by_tag && !self.may_be_there(digest).await => {
                Err(OciError::unknown_manifest(&self.pinned(digest).to_string()))
            }
            Outcome::Deny(verdict) => self.deny(verdict),
        };
        // Digests can be made up without end: what is not there was not pulled.
        if !answer.as_ref().is_err_and(|error| error.status() == StatusCode::NOT_FOUND) {
            self.note(digest, &target, &outcome);
        }
        answer
    }

    /// Notes who asked for what. A HEAD too: where the content is there already, it is all that clients send.
    fn note(&self, digest: Digest, target: &Target, outcome: &Outcome) {
        let tag = match target {
            Target::Tag(tag) => Some(tag),
            Target::Digest(_) => None,
        };
        let (by, name) = &self.token;
        let asker = Asker { way: PullWay::Pull, by, name, told_by: None };
        self.pulls.note(&self.organization, asker, &self.pinned(digest), tag, outcome, self.now);
    }

    /// `…/blobs/DIGEST`
    pub(super) async fn blob(&self, digest: Digest, asked: &HeaderMap) -> Result<Response, OciError> {
        let mut headers = naming(digest);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if let Some((spoken, part @ (Part::Bundle | Part::Empty))) = self.own_word(digest).await? {
            return Ok((StatusCode::OK, headers, Body::from(spoken.bytes(&part))).into_response());
        }
        let permit = self.gate.permit_blob(&self.organization, &self.pinned(digest), self.now).await?;
        let Some(permit) = permit else { return Err(self.no_blob(digest).await?) };
        if conditions::has(asked, digest) {
            // The registry need not be asked for what the client has.
            return Ok((StatusCode::OK, headers).into_response());
        }
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if self.head {
            let length = self.upstream.blob_length(&permit).await.map_err(blob_error)?;
            headers.insert(header::CONTENT_LENGTH, length.into());
            return Ok((StatusCode::OK, headers).into_response());
        }
        if let Some(elsewhere) = self.upstream.elsewhere(&permit).await.map_err(blob_error)? {
            let location = HeaderValue::from_str(&elsewhere).map_err(|_| OciError::unsendable())?;
            let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            return Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response());
        }
        let blob = self.upstream.blob(&permit, range::asked(asked, digest)).await.map_err(blob_error)?;
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

    /// Why there is no blob for the client.
    async fn no_blob(&self, digest: Digest) -> Result<OciError, OciError> {
        let denied = self.gate.denied_by_operator(&self.organization, &self.pinned(digest), self.now).await?;
        let told = denied.map(|verdict| OciError::verdict(&verdict, self.external_url.as_deref()));
        let told = told.or_else(|| self.told.again(&self.organization, digest));
        Ok(told.unwrap_or_else(|| OciError::no_grant(&self.repository, digest)))
    }

    /// May this be served ([`Gate::admit`]), counted.
    pub(super) async fn admit(&self, digest: Digest) -> Result<Outcome, OciError> {
        let outcome = self.gate.admit(&self.organization, &self.pinned(digest), self.now).await;
        match &outcome {
            Ok(Outcome::Permit(permit)) => {
                self.metrics.verdict(Way::Pull, &permit.verdict().verdict);
            }
            Ok(Outcome::Deny(_)) => self.metrics.decided(Way::Pull, Decision::Deny, true),
            Err(_) => self.metrics.could_not_decide(Way::Pull),
        }
        Ok(outcome?)
    }

    /// The manifest that a permit is for, with what it leads to granted.
    pub(super) async fn serve(&self, permit: &Permit) -> Result<Response, OciError> {
        let manifest = self.upstream.manifest(permit).await.map_err(manifest_error)?;
        if let Some(verdict) = self.gate.denied_among(permit, &manifest.children, self.now).await? {
            return self.deny(&verdict);
        }
        self.gate.grant(permit, &manifest.children).await?;
        let Manifest { bytes, digest, media_type, .. } = manifest;
        let mut response = document(digest, &media_type, bytes);
        response.headers_mut().extend(warning(permit.verdict()).map(|warning| (header::WARNING, warning)));
        Ok(response)
    }

    pub(super) fn deny(&self, verdict: &Remembered) -> Result<Response, OciError> {
        let denial = OciError::verdict(verdict, self.external_url.as_deref());
        if self.head {
            return Ok(match self.denied_head {
                DeniedHead::WithoutDigest => denied_head(),
                DeniedHead::WithDigest => denied_head_of(*verdict.verdict.subject.digest(), &denial),
            });
        }
        self.told.tell(&self.organization, &denial);
        Err(denial)
    }

    pub(super) fn pinned(&self, digest: Digest) -> PinnedRef {
        PinnedRef { repository: self.repository.clone(), digest }
    }
}

/// A manifest's bytes. For a HEAD the server leaves them out and keeps their length.
pub(super) fn document(digest: Digest, media_type: &str, bytes: Bytes) -> Response {
    let mut headers = naming(digest);
    headers.extend(HeaderValue::from_str(media_type).ok().map(|kind| (header::CONTENT_TYPE, kind)));
    (StatusCode::OK, headers, Body::from(bytes)).into_response()
}

/// What an image that is let through unenforced would have been denied for (RFC 7234, section 5.5).
fn warning(made: &Remembered) -> Option<HeaderValue> {
    const LONGEST: usize = 512;
    let verdict = &made.verdict;
    if verdict.enforced {
        return None;
    }
    let said =
        verdict.findings.first().map_or_else(|| "no contract allows it".to_owned(), |first: &Finding| reason(first));
    let plain = |c: char| if c == '"' || c == '\\' { '\'' } else { c };
    let said: String = said.chars().filter(|c| matches!(c, ' '..='~')).map(plain).take(LONGEST).collect();
    HeaderValue::from_str(&format!("299 sluice \"let through unenforced: {said} (verdict {})\"", made.key)).ok()
}

fn naming(digest: Digest) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_str(&digest.to_string()).ok().map(|value| (DIGEST, value)));
    headers.extend(HeaderValue::from_str(&etag(digest)).ok().map(|value| (header::ETAG, value)));
    headers
}

pub(super) fn manifest_error(error: UpstreamError) -> OciError {
    OciError::upstream(&error, "MANIFEST_UNKNOWN")
}

fn blob_error(error: UpstreamError) -> OciError {
    OciError::upstream(&error, "BLOB_UNKNOWN")
}
