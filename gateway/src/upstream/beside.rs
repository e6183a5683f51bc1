//! What a registry holds beside an image: the manifests that speak about it, and the attestations they carry.
//!
//! Anyone who may push can put anything here. Nothing is believed: attestations are handed on unverified, and
//! what does not hold together is passed over. Only when the registry does not answer is the answer an error.

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use contracts::{
    Digest, PinnedRef, Target,
    bundle::{AttestationLayer, referrers_tag},
    json,
    limits::{
        BESIDE_MANIFESTS_BYTES, BUNDLE_BYTES, DISCOVERED_BYTES, LOOKS_AT_ONCE, LOOKS_AT_ONE_REGISTRY, MANIFEST_BYTES,
        REFERRER_ANNOTATIONS_BYTES,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value};

use super::{
    Found, Referrer, UpstreamError,
    manifest::{Descriptor, Document, is_of_images, parsed, reads_as},
    memory::Memory,
};
use crate::places::Places;

/// Reads of one answer at a time.
const AT_ONCE: usize = 8;

/// A manifest with its digest and length.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) document: Document,
}

/// What an upstream is read by here. Two exist: a registry and a layout folder.
pub(super) trait Reader: Sync {
    /// The manifests that name the subject, and whether that is all of them. Of each, the digest and what kind of
    /// evidence it is said to be.
    fn referring(
        &self,
        path: &str,
        subject: Digest,
        limit: usize,
    ) -> impl Future<Output = Result<(Vec<Descriptor>, bool), UpstreamError>> + Send;
    /// A manifest, checked; `None` when it is not there. Longer than `most` bytes, it is as if it was not there, or
    /// an error.
    fn read(
        &self,
        path: &str,
        target: &Target,
        most: usize,
    ) -> impl Future<Output = Result<Option<Read>, UpstreamError>> + Send;
    /// The whole of a blob, checked. The descriptor's size is believed only as a bound.
    fn document(
        &self,
        path: &str,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<Bytes, UpstreamError>> + Send;
}

/// The fallback for registries without the referrers API, and the beginning of cosign's tags.
pub(super) fn tag_of(subject: Digest) -> String {
    referrers_tag(&subject)
}

/// The attestations beside an image.
pub(super) async fn discover<R: Reader>(reader: &R, subject: &PinnedRef, limit: usize) -> Result<Found, UpstreamError> {
    let path = subject.repository.path();
    let (manifests, mut complete) = about(reader, subject, limit, &[".att"], Annotations::Dropped).await?;
    let layers = manifests
        .iter()
        .flat_map(|(read, _)| &read.document.layers)
        .filter(|layer| is_attestation(layer) && layer.size <= BUNDLE_BYTES as u64);
    let (mut chosen, mut left) = (Vec::new(), DISCOVERED_BYTES);
    for layer in layers {
        match left.checked_sub(layer.size) {
            Some(rest) if chosen.len() < limit => {
                chosen.push(layer.clone());
                left = rest;
            }
            _ => complete = false,
        }
    }
    let bundles = stream::iter(chosen).map(|layer| async move { bundle(reader, path, &layer).await });
    let bundles: Vec<Option<Bytes>> = bundles.buffered(AT_ONCE).try_collect().await?;
    Ok(Found { bundles: bundles.into_iter().flatten().collect(), complete })
}

/// The manifests beside an image that carry documents only.
pub(super) async fn referrers<R: Reader>(
    reader: &R,
    memory: &Memory,
    subject: &PinnedRef,
    limit: usize,
) -> Result<Vec<Referrer>, UpstreamError> {
    let path = subject.repository.path();
    static LOOKS: LazyLock<Places> = LazyLock::new(|| Places::new(LOOKS_AT_ONCE, LOOKS_AT_ONE_REGISTRY));
    let Some(_place) = LOOKS.take(subject.repository.host()).await else { return Ok(Vec::new()) };
    let endings = [".att", ".sig", ".sbom"];
    let (manifests, _) = about(reader, subject, limit, &endings, Annotations::Kept).await?;
    let judged = stream::iter(manifests).map(|(read, tag)| async move {
        let known = memory.is_evidence(path, read.digest);
        let evidence = match known {
            Some(evidence) => evidence,
            None => {
                let evidence = is_evidence(reader, path, &read).await?;
                memory.judged(path, read.digest, evidence);
                evidence
            }
        };
        Ok(evidence.then(|| referrer(&read, tag.as_deref())))
    });
    let judged: Vec<Option<Referrer>> = judged.buffered(AT_ONCE).try_collect().await?;
    Ok(judged.into_iter().flatten().collect())
}

fn referrer(read: &Read, tag: Option<&str>) -> Referrer {
    let document = &read.document;
    let config = document.config.as_ref().map(|config| config.media_type.clone());
    Referrer {
        digest: read.digest,
        media_type: document.media_type.clone(),
        size: read.size,
        artifact_type: document.artifact_type.clone().or(config),
        annotations: texts(&document.annotations),
        tag: tag.and_then(|tag| tag.parse().ok()),
    }
}

fn texts(annotations: &Map<String, Value>) -> BTreeMap<String, String> {
    annotations.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Whether the manifests' annotations are needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Annotations {
    Dropped,
    /// As far as they are texts and the bound lets them be.
    Kept,
}

fn without_surplus(mut read: Read, annotations: Annotations) -> Read {
    let mut left = match annotations {
        Annotations::Dropped => 0,
        Annotations::Kept => REFERRER_ANNOTATIONS_BYTES,
    };
    let fits = |(key, value): &(String, Value)| {
        let length = value.as_str().map(|text| text.len().saturating_add(key.len()));
        let rest = length.and_then(|length| left.checked_sub(length));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    read.document.annotations = std::mem::take(&mut read.document.annotations).into_iter().filter(fits).collect();
    read
}

/// Manifests whose subject is the image, and those under cosign's tags for it (with the tag).
type About = Vec<(Read, Option<String>)>;

/// The manifests about an image, and whether that is all of them. Together they are no longer than the bound: under
/// cosign's tags each may take its share of a half, those that say that they are bundles come next, short ones first.
/// So neither can use up what the other needs.
async fn about<R: Reader>(
    reader: &R,
    subject: &PinnedRef,
    limit: usize,
    endings: &[&str],
    annotations: Annotations,
) -> Result<(About, bool), UpstreamError> {
    let path = subject.repository.path();
    let (mut listed, mut complete) = reader.referring(path, subject.digest, limit).await?;
    // What says that it is a bundle first, so that other referrers do not use the bounds up.
    let is_bundle = |one: &Descriptor| one.artifact_type.as_deref().is_some_and(AttestationLayer::is_bundle_artifact);
    listed.sort_by_key(|one| !is_bundle(one));
    complete &= listed.len() <= limit;
    listed.truncate(limit);
    listed.sort_by_key(|one| (!is_bundle(one), one.size));
    let (of_tags, mut left) = (BESIDE_MANIFESTS_BYTES / 2, BESIDE_MANIFESTS_BYTES / 2);
    let mut chosen = Vec::with_capacity(listed.len());
    for one in listed {
        let size = usize::try_from(one.size).unwrap_or(usize::MAX);
        match left.checked_sub(size).filter(|_| size <= MANIFEST_BYTES) {
            Some(rest) => {
                chosen.push((one.digest, size));
                left = rest;
            }
            None => complete = false,
        }
    }
    // No longer than it was said to be: otherwise it is not what was listed.
    let referring = stream::iter(chosen).map(|(digest, size)| async move {
        let read = passed_over(reader.read(path, &Target::Digest(digest), size).await)?.flatten();
        let read = read.filter(|read| read.document.subject == Some(subject.digest));
        Ok(read.map(|read| (without_surplus(read, annotations), None)))
    });
    let share = of_tags / endings.len().max(1);
    let tags: Vec<String> = endings.iter().map(|ending| format!("{}{ending}", tag_of(subject.digest))).collect();
    let tagged = stream::iter(tags).map(|tag| async move {
        // The text is a tag's by construction.
        let Ok(target) = tag.parse() else { return Ok(None) };
        let read = passed_over(reader.read(path, &target, share).await)?.flatten();
        Ok(read.map(|read| (without_surplus(read, annotations), Some(tag))))
    });
    let mut found: Vec<Option<(Read, Option<String>)>> = referring.buffered(AT_ONCE).try_collect().await?;
    found.extend(tagged.buffered(AT_ONCE).try_collect::<Vec<_>>().await?);
    let manifests = found.into_iter().flatten().filter(|(read, _)| !read.document.is_index()).collect();
    Ok((manifests, complete))
}

/// What is missing or malformed counts as nothing; what could be there but cannot be had now is an error.
fn passed_over<T>(answer: Result<T, UpstreamError>) -> Result<Option<T>, UpstreamError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(
            error @ (UpstreamError::NotFound { .. }
            | UpstreamError::Lied { .. }
            | UpstreamError::Outdated { .. }
            | UpstreamError::Range { .. }),
        ) => {
            tracing::debug!(%error, "passed over what was found beside an image");
            Ok(None)
        }
        Err(
            error @ (UpstreamError::Unavailable { .. }
            | UpstreamError::Throttled { .. }
            | UpstreamError::Refused { .. }),
        ) => Err(error),
    }
}

fn is_attestation(layer: &Descriptor) -> bool {
    AttestationLayer::of(&layer.media_type).is_some()
}

async fn bundle<R: Reader>(reader: &R, path: &str, layer: &Descriptor) -> Result<Option<Bytes>, UpstreamError> {
    let Some(bytes) = passed_over(reader.document(path, layer).await)? else { return Ok(None) };
    Ok(match AttestationLayer::of(&layer.media_type) {
        // Read when it is verified.
        Some(AttestationLayer::Bundle) => Some(bytes),
        Some(cosign @ AttestationLayer::Cosign) => {
            cosign.read(&bytes, &layer.cosign).map(|bundle| Bytes::copy_from_slice(bundle.bytes()))
        }
        None => None,
    })
}

/// Whether everything that a manifest carries is a JSON document, and none of them could be read as a manifest. So
/// nothing that inherits a grant can be unpacked, or lead to what can.
async fn is_evidence<R: Reader>(reader: &R, path: &str, read: &Read) -> Result<bool, UpstreamError> {
    const CARRIED: usize = 64;
    let parts = || read.document.config.iter().chain(&read.document.layers);
    let small = parts().all(|part| part.size <= BUNDLE_BYTES as u64);
    let bounded = parts().map(|part| part.size).try_fold(0u64, u64::checked_add).is_some_and(|n| n <= DISCOVERED_BYTES);
    if !small || !bounded || parts().count() > CARRIED {
        return Ok(false);
    }
    for part in parts() {
        let Some(bytes) = passed_over(reader.document(path, part).await)? else { return Ok(false) };
        let plain = parsed(bytes, |bytes| Ok(is_plain_document(bytes))).await;
        if plain != Ok(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Keys by which a manifest or an index is known. Not all clients ask for a `schemaVersion`.
const OF_MANIFESTS: [&str; 5] = ["schemaVersion", "manifests", "layers", "fsLayers", "blobs"];

fn is_plain_document(bytes: &[u8]) -> bool {
    let Ok(Value::Object(object)) = json::parse_strict(bytes, BUNDLE_BYTES) else { return false };
    let of_a_manifest = |(key, value): (&String, &Value)| {
        // Bundles have a media type, too. One that is spelled otherwise is read by some clients alone.
        let typed = reads_as(key, "mediaType") && (key != "mediaType" || value.as_str().is_none_or(is_of_images));
        typed || OF_MANIFESTS.iter().any(|name| reads_as(key, name))
    };
    !object.iter().any(of_a_manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_be_run_is_a_plain_document() {
        assert!(is_plain_document(b"{}"));
        assert!(is_plain_document(br#"{"bomFormat":"CycloneDX"}"#));
        let mut tar = b"{}".to_vec();
        tar.resize(1024, 0);
        for bad in [
            &b"\x1f\x8b\x08\x00"[..],
            &tar,
            b"",
            b"[]",
            b"#!/bin/sh",
            br#"{"schemaVersion":2,"layers":[]}"#,
            br#"{"SchemaVersion":2,"manifests":[]}"#,
        ] {
            assert!(!is_plain_document(bad), "{bad:?}");
        }
    }

    #[test]
    fn nothing_that_a_client_could_read_as_a_manifest_is_a_plain_document() {
        // Go's decoder takes `\u{17f}` for `s` and `\u{212a}` for `k`, however it is written.
        for bad in [
            "{\"\u{17f}chemaVersion\":2}",
            "{\"schemaVer\u{17f}ion\":2}",
            r#"{"\u017fchemaVersion":2}"#,
            "{\"LAYER\u{17f}\":[]}",
            r#"{"layers":[]}"#,
            r#"{"Manifests":[]}"#,
            "{\"fsLayer\u{17f}\":[]}",
            "{\"blob\u{17f}\":[]}",
            r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#,
            r#"{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json"}"#,
            r#"{"MediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#,
        ] {
            assert!(!is_plain_document(bad.as_bytes()), "{bad}");
        }
        for good in [
            r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","content":{"layers":[]}}"#,
            r#"{"architecture":"","config":{},"history":[],"os":"","rootfs":{"type":"layers","diff_ids":[]}}"#,
            "{\"na\u{ef}ve\":1,\"sch\u{e9}maVersion\":2}",
        ] {
            assert!(is_plain_document(good.as_bytes()), "{good}");
        }
    }
}
