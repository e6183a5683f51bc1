//! Manifests kept in memory, so that a hot image costs its registry nothing. A manifest never changes under its
//! digest; it is handed out against a permit only, as from the registry itself.

use std::time::Duration;

use contracts::Digest;
use moka::sync::Cache;

use super::{Manifest, remote::Room, share::Share};

/// Bytes of manifests kept, over all upstreams.
const MANIFESTS: u64 = 64 * 1024 * 1024;
/// How long a manifest is served without asking its registry whether it still has it.
const KEPT: Duration = Duration::from_secs(300);
/// Manifests whose being evidence only is remembered; likewise that they are there.
const JUDGED: u64 = 20_000;

/// What the streams of all upstreams hold of what they read, about, and what one reads at a time. Of each there are two or
/// three pieces: one that was read, one on its way, one being sent.
const PASSING: u64 = 16 * 1024 * 1024;
const PIECE: (u64, u64) = (16 * 1024, 512 * 1024);

/// (upstream, repository path, digest): what one upstream has says nothing about another.
type Key = (usize, String, Digest);

/// What one upstream's answers are remembered in; all upstreams share its bound.
#[derive(Clone)]
pub(super) struct Memory {
    upstream: usize,
    manifests: Cache<Key, Manifest>,
    evidence: Cache<Key, bool>,
    there: Cache<Key, ()>,
    share: Share,
    room: Room,
}

impl Default for Memory {
    fn default() -> Self {
        let weight = |key: &Key, manifest: &Manifest| {
            let overhead = key.1.len() + manifest.children.len() * 32 + 256;
            u32::try_from(manifest.bytes.len() + overhead).unwrap_or(u32::MAX)
        };
        Self {
            upstream: 0,
            manifests: Cache::builder().max_capacity(MANIFESTS).weigher(weight).time_to_live(KEPT).build(),
            evidence: Cache::new(JUDGED),
            there: Cache::builder().max_capacity(JUDGED).time_to_live(KEPT).build(),
            share: Share::new(PASSING, PIECE),
            room: Room::default(),
        }
    }
}

impl Memory {
    /// The same memory for another upstream.
    pub(super) fn scoped(&self, upstream: usize) -> Self {
        Self { upstream, ..self.clone() }
    }

    /// What each of the streams of all upstreams may hold.
    pub(super) fn share(&self) -> Share {
        self.share.clone()
    }

    /// Where blobs are held that several ask for at once, of all upstreams.
    pub(super) fn room(&self) -> Room {
        self.room.clone()
    }

    pub(super) fn manifest(&self, path: &str, digest: Digest) -> Option<Manifest> {
        self.manifests.get(&(self.upstream, path.to_owned(), digest))
    }

    pub(super) fn keep(&self, path: &str, manifest: &Manifest) {
        self.manifests.insert((self.upstream, path.to_owned(), manifest.digest), manifest.clone());
    }

    /// Whether a manifest was seen to be there lately.
    pub(super) fn is_there(&self, path: &str, digest: Digest) -> bool {
        let key = (self.upstream, path.to_owned(), digest);
        self.there.contains_key(&key) || self.manifests.contains_key(&key)
    }

    pub(super) fn saw(&self, path: &str, digest: Digest) {
        self.there.insert((self.upstream, path.to_owned(), digest), ());
    }

    /// Whether a manifest was found to carry evidence only.
    pub(super) fn is_evidence(&self, path: &str, digest: Digest) -> Option<bool> {
        self.evidence.get(&(self.upstream, path.to_owned(), digest))
    }

    pub(super) fn judged(&self, path: &str, digest: Digest, evidence: bool) {
        self.evidence.insert((self.upstream, path.to_owned(), digest), evidence);
    }
}
