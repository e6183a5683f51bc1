//! Where images come from: a remote registry, or an OCI image layout folder.
//!
//! An upstream may lie. Whatever it returns is hashed here before anyone else sees it; a blob whose bytes are
//! not its digest ends its stream with an error, never with a clean end.

mod beside;
mod cache;
mod layout;
mod manifest;
mod memory;
mod remote;
mod settings;
mod share;
mod stream;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use contracts::{Digest, PinnedRef, Repository, Tag};
use futures::{future::BoxFuture, stream::BoxStream};

pub use cache::{Cache, CacheError, CacheSettings};
pub use settings::{Redirects, UpstreamSettings, UpstreamSettingsError};
pub use table::{CanonicalError, Upstreams};

pub(crate) use manifest::{OCI_INDEX, OCI_MANIFEST, is_index};
pub(crate) use remote::{Resolver, is_forbidden_host};
use settings::canonical_host;

use crate::gate::Permit;

/// A manifest or index: its own bytes, hashed.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The bytes as the upstream has them.
    pub bytes: Bytes,
    /// Their digest, computed here.
    pub digest: Digest,
    /// The media type that the bytes and the upstream agree on.
    pub media_type: String,
    /// What belongs to it: the manifests of an index, the configuration and layers of a manifest.
    pub children: Arc<[Digest]>,
}

impl Manifest {
    /// Reads a manifest or index that came from outside as of the media type `said`.
    ///
    /// # Errors
    /// Why it is not served, as a sentence: it is none, or two clients could read it as two things.
    pub fn read(bytes: Bytes, said: Option<&str>) -> Result<Self, String> {
        let digest = Digest::of(&bytes);
        Ok(manifest::Document::parse(&bytes, said)?.served(bytes, digest))
    }
}

/// A manifest that speaks about an image and carries evidence only: documents, nothing that could be run. So it may
/// be served while the image may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// What kind of evidence it says it is.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Cosign's tag, when that is what ties it to the image, instead of a `subject`.
    pub tag: Option<Tag>,
}

/// The bytes asked for of a blob: `first..=last`, both from 0; `last` open to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// Last byte, inclusive.
    pub last: Option<u64>,
}

/// A blob on its way. A whole blob's stream ends with an error when the bytes do not have the digest asked
/// for. A range cannot be checked on the way; clients check the blob they put together.
pub struct Blob {
    /// The whole blob's length in bytes.
    pub total: u64,
    /// The range served, first and last byte, when one was asked for.
    pub range: Option<(u64, u64)>,
    /// The bytes.
    pub body: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

/// The answer of every upstream call.
pub type Asked<'a, T> = BoxFuture<'a, Result<T, UpstreamError>>;

/// Attestations found beside an image, unverified. `complete` is false when there were more than `limit`.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Sigstore bundles, as bytes; cosign's older DSSE layers are wrapped into bundles.
    pub bundles: Vec<Bytes>,
    /// Whether that is all there was.
    pub complete: bool,
}

/// A source of images. See the module for what holds of every call.
pub trait Upstream: Send + Sync + 'static {
    /// The digest that a tag points at now. Nothing else of the manifest leaves this call.
    fn resolve<'a>(&'a self, repository: &'a Repository, tag: &'a Tag) -> Asked<'a, Digest>;
    /// The names of the tags of a repository, in lexical order. Not what they point at.
    fn tags<'a>(&'a self, repository: &'a Repository) -> Asked<'a, Arc<[String]>>;
    /// Whether it has this manifest. Nothing of the manifest leaves this call.
    fn has<'a>(&'a self, pinned: &'a PinnedRef) -> Asked<'a, bool>;
    /// The manifest that the permit is for.
    fn manifest<'a>(&'a self, permit: &'a Permit) -> Asked<'a, Manifest>;
    /// The blob that the permit is for.
    fn blob<'a>(&'a self, permit: &'a Permit, range: Option<ByteRange>) -> Asked<'a, Blob>;
    /// Where the registry has the blob that the permit is for, when it sends elsewhere for it and the settings say that
    /// clients follow. Other upstreams never send anywhere.
    fn elsewhere<'a>(&'a self, _permit: &'a Permit) -> Asked<'a, Option<String>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// The length of the blob that the permit is for.
    fn blob_length<'a>(&'a self, permit: &'a Permit) -> Asked<'a, u64>;
    /// The attestations that the registry has beside an image: referrers API, the fallback tag
    /// `sha256-<hex>`, and cosign's tags `.att`. Evidence only: nothing found here is served to a client.
    fn discover<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Found>;
    /// The manifests that speak *about* an image (referrers and cosign's tags) and may inherit its grant: whoever
    /// may push can make a manifest speak about an image, so one that carries more than documents is not among them.
    fn referrers<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Vec<Referrer>>;
}

/// Why an upstream did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// It says that there is no such manifest, tag or blob.
    #[error("`{what}` is not there")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It cannot be reached, is overloaded, or took too long. Trying again may help; nothing is remembered.
    #[error("the registry `{host}` did not answer: {reason}")]
    Unavailable {
        /// Which.
        host: String,
        /// What happened.
        reason: String,
    },
    /// It asks to be left alone for a while. Nothing is remembered.
    #[error("the registry `{host}` takes no more requests for now: try again in {seconds} s")]
    Throttled {
        /// Which.
        host: String,
        /// For how long.
        seconds: u64,
    },
    /// It refused our credentials.
    #[error("the registry `{host}` refused the gateway's credentials")]
    Refused {
        /// Which.
        host: String,
    },
    /// It answered with something that is not what was asked for.
    #[error("the registry `{host}` answered with something else than was asked for: {reason}")]
    Lied {
        /// Which.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// It has only a form of the image that is not served.
    #[error(
        "`{what}` is in Docker's schema 1, which names no configuration and cannot be judged: build it again, or copy it with `skopeo copy --format v2s2`"
    )]
    Outdated {
        /// What was asked for.
        what: String,
    },
    /// The range lies outside the blob.
    #[error("the range lies outside the blob of {total} bytes")]
    Range {
        /// The blob's length.
        total: u64,
    },
}
