//! An upstream with the cache before it.

use std::sync::Arc;

use contracts::{Digest, PinnedRef, Repository, Tag};
use futures::FutureExt;

use super::{
    Cache, Joined, Opened,
    fetch::Progress,
    folder::{Key, Kind, Media, Place, Short, short},
    index::Looked,
    read::{Reading, Source},
};
use crate::{
    gate::Permit,
    metrics::CacheAnswer,
    upstream::{
        Asked, Blob, ByteRange, Found, Manifest, Referrer, Upstream, UpstreamError, UpstreamSettings,
        manifest::{Document, parsed},
        memory::Memory,
    },
};

/// How far ahead of what is here a part of a blob may begin for whoever asks to wait for it.
const NEAR: u64 = 8 * 1024 * 1024;

/// An upstream whose content is kept. What is not content (tags, and what speaks about an image) it is asked for.
pub(in crate::upstream) struct Cached {
    inner: Arc<dyn Upstream>,
    /// The same that the upstream looks into first.
    memory: Memory,
    cache: Arc<Cache>,
    source: Short,
    host: Arc<str>,
}

impl Cached {
    pub(in crate::upstream) fn new(
        inner: Arc<dyn Upstream>,
        memory: Memory,
        cache: &Arc<Cache>,
        settings: &UpstreamSettings,
    ) -> Self {
        // Another registry, or another user of it, may have another answer.
        let shown = |file: &Option<std::path::PathBuf>| file.as_ref().map(|file| file.display().to_string());
        let told = [
            Some(settings.host.clone()),
            settings.url.clone(),
            settings.username.clone(),
            shown(&settings.token_file),
            settings.credential_helper.clone(),
            shown(&settings.docker_config),
        ];
        let told = told.iter().map(|text| text.as_deref().unwrap_or_default());
        let source = short(told.chain(settings.organizations.iter().map(|name| name.as_str())));
        Self { inner, memory, cache: Arc::clone(cache), source, host: settings.host.as_str().into() }
    }

    fn place(&self, permit: &Permit) -> Place {
        Place { source: self.source, path: short([permit.pinned().repository.path()]) }
    }

    async fn cached_manifest(&self, permit: &Permit) -> Result<Manifest, UpstreamError> {
        let PinnedRef { repository, digest } = permit.pinned();
        if let Some(manifest) = self.memory.manifest(repository.path(), *digest) {
            return Ok(manifest);
        }
        let place = self.place(permit);
        if let Some(manifest) = self.kept_manifest(*digest, place).await {
            self.memory.keep(repository.path(), &manifest);
            self.cache.metrics.cache_asked(CacheAnswer::Hit);
            return Ok(manifest);
        }
        self.cache.metrics.cache_asked(CacheAnswer::Miss);
        let manifest = self.inner.manifest(permit).await?;
        tokio::spawn(Arc::clone(&self.cache).put_manifest(manifest.clone(), place));
        Ok(manifest)
    }

    async fn kept_manifest(&self, digest: Digest, place: Place) -> Option<Manifest> {
        for media in Media::ALL {
            let key = Key { digest, kind: Kind::Manifest(media) };
            let Looked::Here(_held) = self.cache.look(key, place) else { continue };
            match self.cache.read_manifest(key).await {
                Ok(Some(bytes)) => {
                    let read = bytes.clone();
                    let document = parsed(read, move |bytes| Document::parse(bytes, Some(media.media_type()))).await;
                    return document.ok().map(|document| document.served(bytes, digest));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, %digest, "a cached manifest could not be read"),
            }
        }
        None
    }

    async fn cached_blob(&self, permit: &Permit, range: Option<ByteRange>) -> Result<Blob, UpstreamError> {
        let (digest, place) = (permit.pinned().digest, self.place(permit));
        // A part from the middle is no reason to fetch the whole.
        let begins = range.is_none_or(|range| range.first == 0 && range.last.is_none());
        loop {
            if let Some(answer) = self.kept_blob(permit, place, range).await {
                return answer;
            }
            let joined = if begins {
                let Some(joined) = self.cache.fetch(place, digest, self.ask(permit)) else { continue };
                joined
            } else {
                let near = |joined: &Joined| range.is_none_or(|range| joined.is_near(range.first));
                match self.cache.joined(self.source, digest).filter(near) {
                    Some(joined) => joined,
                    None => {
                        self.cache.metrics.cache_asked(CacheAnswer::Part);
                        return self.inner.blob(permit, range).await;
                    }
                }
            };
            return self.follow(permit, place, range, joined).await;
        }
    }

    /// What is in the folder, if this repository has it. `None`: ask the upstream.
    async fn kept_blob(
        &self,
        permit: &Permit,
        place: Place,
        range: Option<ByteRange>,
    ) -> Option<Result<Blob, UpstreamError>> {
        let key = Key::blob(permit.pinned().digest);
        let held = match self.cache.look(key, place) {
            Looked::Missing => return None,
            Looked::Here(held) => held,
            Looked::Beside(held) => {
                match self.inner.blob_length(permit).await {
                    Ok(length) if length == held.length => self.cache.mark(key, place),
                    Ok(_) => return Some(Err(self.lied("it tells two lengths of one blob"))),
                    Err(error) => return Some(Err(error)),
                }
                held
            }
        };
        let file = match self.cache.open_file(key, &held).await {
            Ok(Opened::File(file)) => file,
            Ok(Opened::Damaged) => return None,
            Err(error) => {
                tracing::warn!(%error, digest = %key.digest, "a cached blob could not be opened");
                return Some(self.inner.blob(permit, range).await);
            }
        };
        self.cache.metrics.cache_asked(CacheAnswer::Hit);
        let extent = match Extent::of(held.length, range) {
            Ok(extent) => extent,
            Err(error) => return Some(Err(error)),
        };
        let mut reading = self.reading(Source::File(file), &extent);
        reading.uses = Some(held.uses);
        Some(Ok(extent.blob(reading)))
    }

    /// What is on its way.
    async fn follow(
        &self,
        permit: &Permit,
        place: Place,
        range: Option<ByteRange>,
        joined: Joined,
    ) -> Result<Blob, UpstreamError> {
        let Joined { fetch, mut progress, began } = joined;
        self.cache.metrics.cache_asked(if began { CacheAnswer::Miss } else { CacheAnswer::Joined });
        let own = fetch.place == place;
        if !own {
            // It is on its way for another repository: this one has to have it too.
            self.inner.blob_length(permit).await?;
        }
        let answered = progress.wait_for(|progress| !matches!(progress, Progress::Asking)).await;
        let answered = answered.map(|progress| progress.clone()).map_err(|_| self.unavailable("it was not asked"))?;
        let (total, source) = match answered {
            Progress::Failed(error) if own => return Err(error),
            Progress::Growing { total, .. } => (total, Source::Fetch(fetch, progress)),
            Progress::Passing { total, written: 0, .. } => match fetch.take_rest() {
                Some(rest) => (total, Source::Rest(rest, 0)),
                None => return self.inner.blob(permit, range).await,
            },
            Progress::Asking | Progress::Passing { .. } | Progress::Failed(_) => {
                return self.inner.blob(permit, range).await;
            }
        };
        let extent = Extent::of(total, range)?;
        let mut reading = self.reading(source, &extent);
        reading.again = Some(Box::new(self.ask(permit)));
        Ok(extent.blob(reading))
    }

    /// Asks the upstream for all of it.
    fn ask(&self, permit: &Permit) -> impl Fn() -> Asked<'static, Blob> + Send + 'static {
        let (inner, permit) = (Arc::clone(&self.inner), permit.clone());
        move || {
            let (inner, permit) = (Arc::clone(&inner), permit.clone());
            async move { inner.blob(&permit, None).await }.boxed()
        }
    }

    fn reading(&self, source: Source, extent: &Extent) -> Reading {
        Reading::new(&self.cache.readers, source, (extent.first, extent.end), &self.host)
    }

    async fn length(&self, permit: &Permit) -> Result<u64, UpstreamError> {
        let known = self.cache.index().length(Key::blob(permit.pinned().digest), self.place(permit));
        match known {
            Some(length) => Ok(length),
            None => self.inner.blob_length(permit).await,
        }
    }

    fn unavailable(&self, reason: &str) -> UpstreamError {
        UpstreamError::Unavailable { host: self.host.to_string(), reason: reason.to_owned() }
    }

    fn lied(&self, reason: &str) -> UpstreamError {
        UpstreamError::Lied { host: self.host.to_string(), reason: reason.to_owned() }
    }
}

impl Joined {
    /// Whether the bytes from there on are here, or will soon be.
    fn is_near(&self, first: u64) -> bool {
        match &*self.progress.borrow() {
            Progress::Growing { total, written, .. } => first <= written.saturating_add(NEAR) || first >= *total,
            _ => false,
        }
    }
}

/// The bytes asked for of a blob.
struct Extent {
    total: u64,
    first: u64,
    /// After the last.
    end: u64,
    part: bool,
}

impl Extent {
    fn of(total: u64, range: Option<ByteRange>) -> Result<Self, UpstreamError> {
        let Some(ByteRange { first, last }) = range else {
            return Ok(Self { total, first: 0, end: total, part: false });
        };
        let end = last.map_or(total, |last| last.saturating_add(1).min(total));
        if first < end { Ok(Self { total, first, end, part: true }) } else { Err(UpstreamError::Range { total }) }
    }

    fn blob(&self, reading: Reading) -> Blob {
        let range = self.part.then(|| (self.first, self.end.saturating_sub(1)));
        Blob { total: self.total, range, body: reading.stream() }
    }
}

impl Upstream for Cached {
    fn resolve<'a>(&'a self, repository: &'a Repository, tag: &'a Tag) -> Asked<'a, Digest> {
        self.inner.resolve(repository, tag)
    }

    fn tags<'a>(&'a self, repository: &'a Repository) -> Asked<'a, Arc<[String]>> {
        self.inner.tags(repository)
    }

    fn has<'a>(&'a self, pinned: &'a PinnedRef) -> Asked<'a, bool> {
        self.inner.has(pinned)
    }

    fn elsewhere<'a>(&'a self, permit: &'a Permit) -> Asked<'a, Option<String>> {
        // What is here goes out from here.
        let here = self.cache.index().length(Key::blob(permit.pinned().digest), self.place(permit)).is_some();
        if here { std::future::ready(Ok(None)).boxed() } else { self.inner.elsewhere(permit) }
    }

    fn manifest<'a>(&'a self, permit: &'a Permit) -> Asked<'a, Manifest> {
        self.cached_manifest(permit).boxed()
    }

    fn blob<'a>(&'a self, permit: &'a Permit, range: Option<ByteRange>) -> Asked<'a, Blob> {
        self.cached_blob(permit, range).boxed()
    }

    fn blob_length<'a>(&'a self, permit: &'a Permit) -> Asked<'a, u64> {
        self.length(permit).boxed()
    }

    fn discover<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Found> {
        self.inner.discover(subject, limit)
    }

    fn referrers<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Vec<Referrer>> {
        self.inner.referrers(subject, limit)
    }
}
