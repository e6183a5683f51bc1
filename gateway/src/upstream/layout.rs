//! An OCI image layout folder as a source of images (OCI image specification, "Image Layout").
//!
//! The folder is read, never written. It is believed no more than a registry: what is served has its digest. A
//! blob is served under a repository only when something named in that repository leads to it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use contracts::{Digest, PinnedRef, Repository, Tag, Target, limits::MANIFEST_BYTES};
use futures::FutureExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    Asked, Blob, ByteRange, Found, Manifest, Referrer, Upstream, UpstreamError, UpstreamSettings,
    UpstreamSettingsError,
    beside::{self, Read, Reader},
    manifest::{Descriptor, Document},
    memory::Memory,
    settings::{Redirects, canonical_host},
    stream::{Expected, checked, collect},
};
use crate::gate::Permit;

/// How a layout names what is in it.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Manifests of one layout.
const MANIFESTS: usize = 10_000;
/// A local disk that stands still for so long is broken.
const IDLE: Duration = Duration::from_secs(30);

/// One layout folder.
pub(super) struct Layout {
    folder: PathBuf,
    /// The host that it stands for, for messages and as a prefix of names.
    host: String,
    repository: Option<String>,
    memory: Memory,
    contents: Mutex<Option<Arc<Contents>>>,
}

/// What the folder holds, as of one `index.json`.
struct Contents {
    index: Digest,
    repositories: HashMap<String, Listing>,
}

/// What is in one repository.
#[derive(Default)]
struct Listing {
    tags: HashMap<String, Digest>,
    manifests: HashMap<Digest, Arc<(Bytes, Document)>>,
    blobs: HashSet<Digest>,
}

/// An entry of `index.json`.
struct Entry {
    digest: Digest,
    media_type: Option<String>,
    name: Option<String>,
}

impl Layout {
    pub(super) fn new(
        settings: &UpstreamSettings,
        folder: &Path,
        memory: Memory,
    ) -> Result<Self, UpstreamSettingsError> {
        let remote = settings.username.is_some()
            || settings.password_file.is_some()
            || settings.token_file.is_some()
            || settings.credential_helper.is_some()
            || settings.docker_config.is_some()
            || settings.ca_file.is_some()
            || settings.plain_http
            || !settings.realm_hosts.is_empty()
            || !settings.redirect_hosts.is_empty()
            || settings.redirects != Redirects::Follow;
        if remote {
            return Err(settings.invalid("credentials, certificates and hosts go with `url`, not with `layout`"));
        }
        let host = canonical_host(&settings.host).unwrap_or_else(|| settings.host.clone());
        if let Some(path) = &settings.repository {
            Repository::new(&host, path).map_err(|error| settings.invalid(&error.to_string()))?;
        }
        let repository = settings.repository.clone();
        Ok(Self { folder: folder.to_owned(), host, repository, memory, contents: Mutex::new(None) })
    }

    /// The folder's contents, read again when `index.json` is another one.
    async fn contents(&self) -> Result<Arc<Contents>, UpstreamError> {
        let index = self.small(&self.folder.join("index.json")).await?;
        let index = index.ok_or_else(|| self.unavailable("it has no `index.json`"))?;
        let digest = Digest::of(&index);
        let known = self.contents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.index == digest) {
            return Ok(known);
        }
        let contents = Arc::new(self.load(digest, &index).await?);
        *self.contents.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&contents));
        Ok(contents)
    }

    async fn load(&self, index: Digest, bytes: &[u8]) -> Result<Contents, UpstreamError> {
        let entries = entries(bytes).map_err(|reason| self.lied(&reason))?;
        let mut contents = Contents { index, repositories: HashMap::new() };
        let mut nameless = Vec::new();
        for entry in &entries {
            match entry.name.as_deref().and_then(|name| self.place(name)) {
                Some((path, tag)) => {
                    let listing = contents.repositories.entry(path).or_default();
                    self.add(listing, entry.digest, entry.media_type.clone()).await?;
                    listing.tags.insert(tag, entry.digest);
                }
                None => nameless.push(entry),
            }
        }
        if let Some(path) = &self.repository {
            contents.repositories.entry(path.clone()).or_default();
        }
        for entry in nameless {
            let Some((_, document)) = self.stored(entry.digest, entry.media_type.as_deref()).await? else { continue };
            for (path, listing) in &mut contents.repositories {
                let own = self.repository.as_ref() == Some(path);
                let about = document.subject.is_some_and(|subject| listing.manifests.contains_key(&subject));
                if own || about {
                    self.add(listing, entry.digest, entry.media_type.clone()).await?;
                }
            }
        }
        Ok(contents)
    }

    /// The repository and tag that a name in the layout means.
    fn place(&self, name: &str) -> Option<(String, String)> {
        let name = name.strip_prefix(&self.host).and_then(|name| name.strip_prefix('/')).unwrap_or(name);
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) => (path.to_owned(), tag),
            None => (self.repository.clone()?, name),
        };
        Repository::new(&self.host, &path).ok()?;
        tag.parse::<Tag>().ok()?;
        Some((path, tag.to_owned()))
    }

    /// Adds a manifest with all that it leads to. What the folder does not have is left out.
    async fn add(
        &self,
        listing: &mut Listing,
        digest: Digest,
        media_type: Option<String>,
    ) -> Result<(), UpstreamError> {
        let mut open = vec![(digest, media_type)];
        while let Some((digest, media_type)) = open.pop() {
            if listing.manifests.contains_key(&digest) || listing.manifests.len() >= MANIFESTS {
                continue;
            }
            let Some((bytes, document)) = self.stored(digest, media_type.as_deref()).await? else { continue };
            open.extend(document.manifests.iter().map(|one| (one.digest, Some(one.media_type.clone()))));
            listing.blobs.extend(document.config.iter().chain(&document.layers).map(|one| one.digest));
            listing.manifests.insert(digest, Arc::new((bytes, document)));
        }
        Ok(())
    }

    /// A manifest from the folder, if it has that one and it is one.
    async fn stored(
        &self,
        digest: Digest,
        media_type: Option<&str>,
    ) -> Result<Option<(Bytes, Document)>, UpstreamError> {
        let Some(bytes) = self.small(&self.blob_file(digest)).await? else { return Ok(None) };
        let document = match Document::parse(&bytes, media_type.filter(|text| !text.is_empty())) {
            Ok(document) if Digest::of(&bytes) == digest => document,
            Ok(_) => {
                tracing::warn!(layout = %self.folder.display(), %digest, "left out a manifest that is not its digest");
                return Ok(None);
            }
            Err(reason) => {
                tracing::debug!(layout = %self.folder.display(), %digest, reason, "left out what is no image");
                return Ok(None);
            }
        };
        Ok(Some((bytes, document)))
    }

    /// A file no larger than a manifest may be; `None` when it is not there.
    async fn small(&self, file: &Path) -> Result<Option<Bytes>, UpstreamError> {
        let opened = match tokio::fs::File::open(file).await {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unavailable(&error.to_string())),
        };
        let mut bytes = Vec::new();
        let read = opened.take(MANIFEST_BYTES as u64 + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| self.unavailable(&error.to_string()))?;
        if bytes.len() > MANIFEST_BYTES {
            return Err(self.lied(&format!("`{}` is longer than {MANIFEST_BYTES} bytes", file.display())));
        }
        Ok(Some(bytes.into()))
    }

    fn blob_file(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs").join("sha256").join(digest.hex())
    }

    async fn manifest_of(&self, path: &str, digest: Digest) -> Result<Manifest, UpstreamError> {
        if let Some(manifest) = self.memory.manifest(path, digest) {
            return Ok(manifest);
        }
        let contents = self.contents().await?;
        let held = contents.repositories.get(path).and_then(|listing| listing.manifests.get(&digest));
        let held = held.ok_or_else(|| self.missing(path, &digest.to_string()))?;
        let manifest = held.1.served(held.0.clone(), digest);
        self.memory.keep(path, &manifest);
        Ok(manifest)
    }

    async fn open(&self, path: &str, digest: Digest) -> Result<(tokio::fs::File, u64), UpstreamError> {
        let contents = self.contents().await?;
        let reachable = contents.repositories.get(path).is_some_and(|listing| listing.blobs.contains(&digest));
        let file = match tokio::fs::File::open(self.blob_file(digest)).await {
            Ok(file) if reachable => file,
            Ok(_) => return Err(self.missing(path, &digest.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.missing(path, &digest.to_string()));
            }
            Err(error) => return Err(self.unavailable(&error.to_string())),
        };
        let total = file.metadata().await.map_err(|error| self.unavailable(&error.to_string()))?.len();
        Ok((file, total))
    }

    async fn blob_of(&self, path: &str, digest: Digest, range: Option<ByteRange>) -> Result<Blob, UpstreamError> {
        let (mut file, total) = self.open(path, digest).await?;
        let expected = |length, digest| Expected { host: self.host.clone(), length, digest, idle: IDLE };
        let Some(range) = range else {
            let body = checked(ReaderStream::with_capacity(file, 64 * 1024), expected(total, Some(digest)));
            return Ok(Blob { total, range: None, body });
        };
        let end = total.checked_sub(1).filter(|end| range.first <= *end).ok_or(UpstreamError::Range { total })?;
        let last = range.last.map_or(end, |last| last.min(end));
        let length = last.checked_sub(range.first).ok_or(UpstreamError::Range { total })? + 1;
        let seek = file.seek(io::SeekFrom::Start(range.first)).await;
        seek.map_err(|error| self.unavailable(&error.to_string()))?;
        let part = ReaderStream::with_capacity(file.take(length), 64 * 1024);
        Ok(Blob { total, range: Some((range.first, last)), body: checked(part, expected(length, None)) })
    }

    fn missing(&self, path: &str, what: &str) -> UpstreamError {
        let mark = if what.starts_with("sha256:") { '@' } else { ':' };
        UpstreamError::NotFound { what: format!("{}/{path}{mark}{what}", self.host) }
    }

    fn unavailable(&self, reason: &str) -> UpstreamError {
        let reason = format!("the layout `{}`: {reason}", self.folder.display());
        UpstreamError::Unavailable { host: self.host.clone(), reason }
    }

    fn lied(&self, reason: &str) -> UpstreamError {
        let reason = format!("the layout `{}`: {reason}", self.folder.display());
        UpstreamError::Lied { host: self.host.clone(), reason }
    }
}

impl Reader for Layout {
    async fn referring(
        &self,
        path: &str,
        subject: Digest,
        limit: usize,
    ) -> Result<(Vec<Descriptor>, bool), UpstreamError> {
        let contents = self.contents().await?;
        let Some(listing) = contents.repositories.get(path) else { return Ok((Vec::new(), true)) };
        let about = listing.manifests.iter().filter(|(_, held)| held.1.subject == Some(subject));
        let mut found: Vec<_> = about
            .map(|(digest, held)| Descriptor {
                media_type: held.1.media_type.clone(),
                digest: *digest,
                size: held.0.len() as u64,
                artifact_type: held.1.artifact_type.clone(),
                cosign: BTreeMap::new(),
            })
            .collect();
        found.sort_by_key(|one| one.digest);
        let complete = found.len() <= limit;
        Ok((found, complete))
    }

    async fn read(&self, path: &str, target: &Target, most: usize) -> Result<Option<Read>, UpstreamError> {
        let contents = self.contents().await?;
        let Some(listing) = contents.repositories.get(path) else { return Ok(None) };
        let digest = match target {
            Target::Digest(digest) => Some(digest),
            Target::Tag(tag) => listing.tags.get(tag.as_str()),
        };
        Ok(digest.and_then(|digest| {
            let held = listing.manifests.get(digest).filter(|held| held.0.len() <= most)?;
            Some(Read { digest: *digest, size: held.0.len() as u64, document: held.1.clone() })
        }))
    }

    async fn document(&self, path: &str, descriptor: &Descriptor) -> Result<Bytes, UpstreamError> {
        let blob = self.blob_of(path, descriptor.digest, None).await?;
        if blob.total != descriptor.size {
            return Err(self.lied("a blob has another length than its manifest says"));
        }
        collect(blob.body, blob.total).await
    }
}

impl Upstream for Layout {
    fn resolve<'a>(&'a self, repository: &'a Repository, tag: &'a Tag) -> Asked<'a, Digest> {
        async move {
            let contents = self.contents().await?;
            let listing = contents.repositories.get(repository.path());
            let digest = listing.and_then(|listing| listing.tags.get(tag.as_str())).copied();
            digest.ok_or_else(|| self.missing(repository.path(), tag.as_str()))
        }
        .boxed()
    }

    fn tags<'a>(&'a self, repository: &'a Repository) -> Asked<'a, Arc<[String]>> {
        async move {
            let contents = self.contents().await?;
            let listing = contents.repositories.get(repository.path());
            let listing = listing.ok_or_else(|| UpstreamError::NotFound { what: repository.to_string() })?;
            let mut tags: Vec<_> = listing.tags.keys().cloned().collect();
            tags.sort_unstable();
            Ok(tags.into())
        }
        .boxed()
    }

    fn has<'a>(&'a self, pinned: &'a PinnedRef) -> Asked<'a, bool> {
        async move {
            let contents = self.contents().await?;
            let listing = contents.repositories.get(pinned.repository.path());
            Ok(listing.is_some_and(|listing| listing.manifests.contains_key(&pinned.digest)))
        }
        .boxed()
    }

    fn manifest<'a>(&'a self, permit: &'a Permit) -> Asked<'a, Manifest> {
        self.manifest_of(permit.pinned().repository.path(), permit.pinned().digest).boxed()
    }

    fn blob<'a>(&'a self, permit: &'a Permit, range: Option<ByteRange>) -> Asked<'a, Blob> {
        self.blob_of(permit.pinned().repository.path(), permit.pinned().digest, range).boxed()
    }

    fn blob_length<'a>(&'a self, permit: &'a Permit) -> Asked<'a, u64> {
        let pinned = permit.pinned();
        async move { Ok(self.open(pinned.repository.path(), pinned.digest).await?.1) }.boxed()
    }

    fn discover<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Found> {
        beside::discover(self, subject, limit).boxed()
    }

    fn referrers<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Vec<Referrer>> {
        beside::referrers(self, &self.memory, subject, limit).boxed()
    }
}

/// The entries of `index.json`. Entries under another algorithm are left out.
fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("its `index.json` is no JSON: {error}"))?;
    let manifests = value.get("manifests").and_then(Value::as_array);
    let manifests = manifests.ok_or("its `index.json` has no `manifests`")?;
    Ok(manifests
        .iter()
        .filter_map(|one| {
            let text = |key: &str| one.get(key).and_then(Value::as_str);
            Some(Entry {
                digest: text("digest")?.parse().ok()?,
                media_type: text("mediaType").map(str::to_owned),
                name: one.get("annotations").and_then(|all| all.get(NAME)).and_then(Value::as_str).map(str::to_owned),
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use testdata::{Attached, Image, Index, Layout as Minted};

    use super::*;

    fn upstream(folder: &Path, repository: Option<&str>) -> Layout {
        let settings = UpstreamSettings {
            layout: Some(folder.to_owned()),
            repository: repository.map(str::to_owned),
            ..UpstreamSettings::new("registry.test")
        };
        Layout::new(&settings, folder, Memory::default()).unwrap()
    }

    async fn bytes(blob: Result<Blob, UpstreamError>) -> Result<Vec<u8>, UpstreamError> {
        let add = |mut all: Vec<u8>, piece: Bytes| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        };
        blob?.body.try_fold(Vec::new(), add).await
    }

    fn missing<T>(answer: &Result<T, UpstreamError>) -> bool {
        matches!(answer, Err(UpstreamError::NotFound { .. }))
    }

    #[tokio::test]
    async fn serves_what_names_lead_to_in_their_repository_only() {
        let folder = testdata::scratch();
        let (plain, named, lost) = (Image::new("plain"), Index::new("named"), Image::new("lost"));
        let mut minted = Minted::create(folder.path());
        minted.add("v1", &plain).add_index("other/app:v2", &named);
        let layer = &plain.layers[1];
        let upstream = upstream(folder.path(), Some("skynet/app"));

        let repository = testdata::repository("registry.test/skynet/app");
        let resolved = upstream.resolve(&repository, &"v1".parse().unwrap()).await.unwrap();
        assert_eq!(resolved, plain.digest());
        assert!(missing(&upstream.resolve(&repository, &"v2".parse().unwrap()).await));
        assert_eq!(*upstream.tags(&repository).await.unwrap(), ["v1".to_owned()]);
        assert!(missing(&upstream.tags(&testdata::repository("registry.test/no/app")).await));
        assert_eq!(upstream.manifest_of("skynet/app", resolved).await.unwrap().bytes, plain.manifest.bytes);
        let child = &named.images[1];
        assert_eq!(upstream.manifest_of("other/app", child.digest()).await.unwrap().bytes, child.manifest.bytes);
        assert!(missing(&upstream.manifest_of("skynet/app", child.digest()).await));
        assert!(missing(&upstream.blob_of("other/app", layer.digest, None).await));

        assert_eq!(bytes(upstream.blob_of("skynet/app", layer.digest, None).await).await.unwrap(), layer.bytes);
        let range = Some(ByteRange { first: 3, last: Some(9) });
        let part = upstream.blob_of("skynet/app", layer.digest, range).await.unwrap();
        assert_eq!(part.range, Some((3, 9)));
        assert_eq!(bytes(Ok(part)).await.unwrap(), layer.bytes[3..=9]);
        let outside = Some(ByteRange { first: layer.bytes.len() as u64, last: None });
        let outside = upstream.blob_of("skynet/app", layer.digest, outside).await;
        assert!(matches!(outside, Err(UpstreamError::Range { .. })));

        // A tag that appears is seen.
        assert!(missing(&upstream.resolve(&repository, &"v3".parse().unwrap()).await));
        minted.add("v3", &lost);
        assert_eq!(upstream.resolve(&repository, &"v3".parse().unwrap()).await.unwrap(), lost.digest());
    }

    #[tokio::test]
    async fn bytes_that_are_not_their_digest_are_not_served() {
        let folder = testdata::scratch();
        let image = Image::with_payload("app", 300_000);
        let other = Image::new("other");
        let mut minted = Minted::create(folder.path());
        minted.add("v1", &image).add("v2", &other);
        let layer = &image.layers[1];
        let mut tampered = layer.bytes.clone();
        tampered[9] ^= 1;
        minted.corrupt(layer, &tampered).corrupt(&other.manifest, &image.manifest.bytes);
        let upstream = upstream(folder.path(), Some("skynet/app"));
        let blob = bytes(upstream.blob_of("skynet/app", layer.digest, None).await).await;
        assert!(matches!(blob, Err(UpstreamError::Lied { .. })), "{blob:?}");
        assert!(missing(&upstream.manifest_of("skynet/app", other.digest()).await));
    }

    #[tokio::test]
    async fn attestations_lie_beside_images_here_too() {
        let folder = testdata::scratch();
        let image = Image::new("app");
        let bundle: &[u8] = br#"{"a":"bundle"}"#;
        let mut minted = Minted::create(folder.path());
        minted.add("v1", &image).attach(&Attached::bundles(&image.manifest, &[bundle]));
        let upstream = upstream(folder.path(), Some("skynet/app"));
        let repository = testdata::repository("registry.test/skynet/app");
        let subject = PinnedRef { repository, digest: image.digest() };
        let found = upstream.discover(&subject, 8).await.unwrap();
        assert_eq!((found.bundles, found.complete), (vec![Bytes::from_static(bundle)], true));
        assert_eq!(upstream.referrers(&subject, 8).await.unwrap().len(), 1);
    }
}
