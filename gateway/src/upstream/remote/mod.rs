//! A registry that speaks the OCI distribution API.
//!
//! What it says is not believed: digests are recomputed, addresses that it names are followed only where the
//! settings allow it, every wait and every body has a bound.

mod auth;
mod client;
mod hosts;
mod keychain;
mod patience;
mod tags;
#[cfg(test)]
mod tests;
mod together;
mod transport;

use std::sync::Arc;

use bytes::Bytes;
use contracts::{Digest, PinnedRef, Repository, Tag, Target, limits::MANIFEST_BYTES};
use futures::FutureExt;
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LINK},
};

pub(crate) use self::hosts::{Resolver, is_forbidden_host};
pub(super) use self::together::Room;
use self::{
    client::{Ask, Wire},
    tags::TagLists,
    together::Together,
    transport::Response,
};
use super::{
    Asked, Blob, ByteRange, Found, Manifest, Referrer, Upstream, UpstreamError, UpstreamSettings,
    UpstreamSettingsError,
    beside::{self, Read, Reader},
    manifest::{ACCEPT, Descriptor, Document, OCI_INDEX, listed, parsed},
    memory::Memory,
    stream::{Expected, checked, collect},
};
use crate::gate::Permit;

/// What Docker's schema 1 is called, signed or not.
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";
/// Pages of a list of referrers.
const PAGES: usize = 8;

/// A part of a list of referrers.
struct Page {
    listed: Vec<Descriptor>,
    next: Option<String>,
    /// Whether it is all that this part holds.
    complete: bool,
}

/// One registry, with one set of credentials.
pub(super) struct Remote {
    wire: Arc<Wire>,
    memory: Memory,
    tags: Arc<TagLists>,
    together: Arc<Together>,
}

impl Remote {
    pub(super) fn new(settings: &UpstreamSettings, memory: Memory) -> Result<Self, UpstreamSettingsError> {
        if settings.repository.is_some() {
            return Err(settings.invalid("`repository` goes with `layout`"));
        }
        let (share, together) = (memory.share(), Together::new(memory.room()));
        Ok(Self { wire: Arc::new(Wire::new(settings, share)?), memory, tags: TagLists::new(), together })
    }

    async fn get_manifest(
        &self,
        path: &str,
        target: &Target,
        most: usize,
    ) -> Result<(Bytes, Digest, Option<String>), UpstreamError> {
        let response = self.wire.ask(&manifest(Method::GET, path, target)).await?;
        let said = digest_of(response.headers());
        let media_type = text(response.headers(), CONTENT_TYPE);
        if media_type.as_deref().is_some_and(|kind| kind.starts_with(DOCKER_SCHEMA_1)) {
            let mark = if matches!(target, Target::Digest(_)) { '@' } else { ':' };
            return Err(UpstreamError::Outdated { what: format!("{}/{path}{mark}{target}", self.wire.host) });
        }
        let bytes = self.wire.body(response, most).await?;
        let digest = Digest::of(&bytes);
        if let Some(said) = said.filter(|said| *said != digest.to_string()) {
            return Err(self.wire.lied(&format!("it calls a manifest `{said}` whose digest is `{digest}`")));
        }
        match target {
            Target::Digest(asked) if *asked != digest => {
                Err(self.wire.lied(&format!("for the manifest `{asked}` it sent one with the digest `{digest}`")))
            }
            _ => Ok((bytes, digest, media_type)),
        }
    }

    async fn parsed(&self, bytes: Bytes, media_type: Option<String>) -> Result<Document, UpstreamError> {
        let read = parsed(bytes, move |bytes| Document::parse(bytes, media_type.as_deref()));
        read.await.map_err(|reason| self.wire.lied(&reason))
    }

    async fn resolved(&self, path: &str, tag: &Tag) -> Result<Digest, UpstreamError> {
        let target = Target::Tag(tag.clone());
        let response = self.wire.ask(&manifest(Method::HEAD, path, &target)).await?;
        match digest_of(response.headers()).and_then(|text| text.parse().ok()) {
            Some(digest) => Ok(digest),
            None => Ok(self.get_manifest(path, &target, MANIFEST_BYTES).await?.1),
        }
    }

    async fn is_there(&self, path: &str, digest: Digest) -> Result<bool, UpstreamError> {
        if self.memory.is_there(path, digest) {
            return Ok(true);
        }
        match self.wire.ask(&manifest(Method::HEAD, path, &Target::Digest(digest))).await {
            Ok(_) => {
                self.memory.saw(path, digest);
                Ok(true)
            }
            Err(UpstreamError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn checked_manifest(&self, path: &str, digest: Digest) -> Result<Manifest, UpstreamError> {
        if let Some(manifest) = self.memory.manifest(path, digest) {
            return Ok(manifest);
        }
        let (bytes, digest, media_type) = self.get_manifest(path, &Target::Digest(digest), MANIFEST_BYTES).await?;
        let document = self.parsed(bytes.clone(), media_type).await?;
        let manifest = document.served(bytes, digest);
        self.memory.keep(path, &manifest);
        Ok(manifest)
    }

    async fn checked_blob(&self, path: &str, digest: Digest, range: Option<ByteRange>) -> Result<Blob, UpstreamError> {
        let response = self.wire.ask(&blob(Method::GET, path, digest, range)).await?;
        let (total, served) = self.extent(&response, range)?;
        let length = served.map_or(total, |(first, last)| last - first + 1);
        // Of nothing at all, no piece can be held back until its digest is known to be right.
        if total == 0 && digest != Digest::of(&[]) {
            return Err(self.wire.lied(&format!("it says that the blob `{digest}` is empty")));
        }
        let expected = Expected {
            host: self.wire.host.clone(),
            length,
            // A part has no digest of its own.
            digest: served.is_none().then_some(digest),
            idle: self.wire.timeouts.idle,
        };
        Ok(Blob { total, range: served, body: checked(response.pieces(), expected) })
    }

    /// The blob's length and the part that the answer holds.
    fn extent(
        &self,
        response: &Response,
        range: Option<ByteRange>,
    ) -> Result<(u64, Option<(u64, u64)>), UpstreamError> {
        let length = text(response.headers(), CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let said = text(response.headers(), CONTENT_RANGE);
        match (response.status(), range) {
            (StatusCode::OK, _) => {
                let total = length.ok_or_else(|| self.wire.lied("it does not say how long a blob is"))?;
                Ok((total, None))
            }
            (StatusCode::PARTIAL_CONTENT, Some(asked)) => {
                let part = said.as_deref().and_then(content_range).filter(|(first, last, total)| {
                    *first == asked.first
                        && last < total
                        && first <= last
                        && asked.last.is_none_or(|asked| *last <= asked)
                        && length.is_none_or(|length| length == last - first + 1)
                });
                let (first, last, total) =
                    part.ok_or_else(|| self.wire.lied("it sent another range than asked for"))?;
                Ok((total, Some((first, last))))
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => {
                let total = said.as_deref().and_then(|text| text.strip_prefix("bytes */")?.parse().ok());
                Err(UpstreamError::Range { total: total.unwrap_or_default() })
            }
            (status, _) => Err(self.wire.lied(&format!("it answered {status}"))),
        }
    }

    async fn length(&self, path: &str, digest: Digest) -> Result<u64, UpstreamError> {
        let response = self.wire.ask(&blob(Method::HEAD, path, digest, None)).await?;
        Ok(self.extent(&response, None)?.0)
    }

    /// One page of the referrers API; `None` when the registry has none.
    async fn page(&self, path: &str, rest: String) -> Result<Option<Page>, UpstreamError> {
        let ask = Ask { method: Method::GET, repository: path, rest, accept: Some(OCI_INDEX), range: None };
        let response = match self.wire.ask(&ask).await {
            Ok(response) => response,
            Err(UpstreamError::NotFound { .. } | UpstreamError::Lied { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let media_type = text(response.headers(), CONTENT_TYPE).unwrap_or_default();
        if !media_type.starts_with(OCI_INDEX) {
            return Ok(None);
        }
        let next = text(response.headers(), LINK).and_then(|link| next_page(&link, path, of_referrers));
        let bytes = match self.wire.body(response, MANIFEST_BYTES).await {
            Ok(bytes) => bytes,
            // More than is read: there is something, and it is not known what.
            Err(UpstreamError::Lied { .. }) => {
                return Ok(Some(Page { listed: Vec::new(), next: None, complete: false }));
            }
            Err(error) => return Err(error),
        };
        let read = parsed(bytes, move |bytes| listed(bytes, Some(&media_type)));
        Ok(read.await.ok().map(|(listed, complete)| Page { listed, next, complete }))
    }
}

impl Reader for Remote {
    async fn referring(
        &self,
        path: &str,
        subject: Digest,
        limit: usize,
    ) -> Result<(Vec<Descriptor>, bool), UpstreamError> {
        let (mut all, mut next) = (Vec::new(), Some(format!("referrers/{subject}")));
        for number in 0..PAGES {
            let Some(rest) = next.take() else { break };
            match self.page(path, rest).await? {
                Some(page) => {
                    all.extend(page.listed);
                    if !page.complete {
                        return Ok((all, false));
                    }
                    next = page.next;
                }
                None if number == 0 => {
                    let Ok(tag) = beside::tag_of(subject).parse() else { break };
                    let index = match self.read(path, &tag, MANIFEST_BYTES).await {
                        Err(UpstreamError::Lied { .. }) => None,
                        answer => answer?,
                    };
                    return Ok((index.map(|index| index.document.manifests).unwrap_or_default(), true));
                }
                None => return Ok((all, false)),
            }
            if all.len() > limit {
                return Ok((all, false));
            }
        }
        Ok((all, next.is_none()))
    }

    async fn read(&self, path: &str, target: &Target, most: usize) -> Result<Option<Read>, UpstreamError> {
        let (bytes, digest, media_type) = match self.get_manifest(path, target, most).await {
            Ok(manifest) => manifest,
            Err(UpstreamError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = bytes.len() as u64;
        let document = self.parsed(bytes, media_type).await?;
        Ok(Some(Read { digest, size, document }))
    }

    async fn document(&self, path: &str, descriptor: &Descriptor) -> Result<Bytes, UpstreamError> {
        let blob = self.checked_blob(path, descriptor.digest, None).await?;
        if blob.total != descriptor.size {
            return Err(self.wire.lied("a blob has another length than its manifest says"));
        }
        let read = collect(blob.body, blob.total);
        match tokio::time::timeout(self.wire.timeouts.answer, read).await {
            Ok(bytes) => bytes,
            Err(_) => Err(self.wire.unavailable("a blob took too long".to_owned())),
        }
    }
}

impl Upstream for Remote {
    fn resolve<'a>(&'a self, repository: &'a Repository, tag: &'a Tag) -> Asked<'a, Digest> {
        self.resolved(repository.path(), tag).boxed()
    }

    fn tags<'a>(&'a self, repository: &'a Repository) -> Asked<'a, Arc<[String]>> {
        self.tags.of(&self.wire, repository.path()).boxed()
    }

    fn has<'a>(&'a self, pinned: &'a PinnedRef) -> Asked<'a, bool> {
        self.is_there(pinned.repository.path(), pinned.digest).boxed()
    }

    fn manifest<'a>(&'a self, permit: &'a Permit) -> Asked<'a, Manifest> {
        self.checked_manifest(permit.pinned().repository.path(), permit.pinned().digest).boxed()
    }

    fn blob<'a>(&'a self, permit: &'a Permit, range: Option<ByteRange>) -> Asked<'a, Blob> {
        let (path, digest) = (permit.pinned().repository.path(), permit.pinned().digest);
        let asked = self.checked_blob(path, digest, range);
        match range {
            None => async move { self.together.blob(path, digest, asked).await }.boxed(),
            Some(_) => asked.boxed(),
        }
    }

    fn elsewhere<'a>(&'a self, permit: &'a Permit) -> Asked<'a, Option<String>> {
        let pinned = permit.pinned();
        async move { self.wire.sent_to(&blob(Method::GET, pinned.repository.path(), pinned.digest, None)).await }
            .boxed()
    }

    fn blob_length<'a>(&'a self, permit: &'a Permit) -> Asked<'a, u64> {
        self.length(permit.pinned().repository.path(), permit.pinned().digest).boxed()
    }

    fn discover<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Found> {
        beside::discover(self, subject, limit).boxed()
    }

    fn referrers<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Vec<Referrer>> {
        beside::referrers(self, &self.memory, subject, limit).boxed()
    }
}

fn manifest<'a>(method: Method, path: &'a str, target: &Target) -> Ask<'a> {
    Ask { method, repository: path, rest: format!("manifests/{target}"), accept: Some(ACCEPT), range: None }
}

fn blob(method: Method, path: &str, digest: Digest, range: Option<ByteRange>) -> Ask<'_> {
    let range = range.map(|range| match range.last {
        Some(last) => format!("bytes={}-{last}", range.first),
        None => format!("bytes={}-", range.first),
    });
    Ask { method, repository: path, rest: format!("blobs/{digest}"), accept: None, range }
}

fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn digest_of(headers: &HeaderMap) -> Option<String> {
    headers.get("docker-content-digest")?.to_str().ok().map(str::to_owned)
}

/// `bytes FIRST-LAST/TOTAL`
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, total.parse().ok()?))
}

/// Whether this is a list of referrers.
fn of_referrers(rest: &str) -> bool {
    rest.strip_prefix("referrers/").is_some_and(|digest| digest.parse::<Digest>().is_ok())
}

/// The next page of a list, as what follows the repository in the address. Only the query is taken from the link.
fn next_page(link: &str, path: &str, known: impl Fn(&str) -> bool) -> Option<String> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !parameters.replace('"', "").contains("rel=next") {
        return None;
    }
    let root = Url::parse("https://registry.invalid").ok()?;
    let url = root.join(target).ok()?;
    let rest = url.path().strip_prefix(&format!("/v2/{path}/"))?;
    known(rest).then(|| format!("{rest}?{}", url.query().unwrap_or_default()))
}
