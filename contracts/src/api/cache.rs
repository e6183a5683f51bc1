//! What the gateway keeps of what it served.

use serde::{Deserialize, Serialize};

/// The answer to `GET /api/v1/cache`. What is there is there for all organizations; the counts are since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Bytes of the disk that it may take.
    pub size: u64,
    /// Bytes of the disk that it takes.
    pub bytes: u64,
    /// Configurations and layers.
    pub blobs: u64,
    /// Manifests and indexes.
    pub manifests: u64,
    /// Answered from the disk.
    pub hits: u64,
    /// Answered together with others from one download.
    pub joined: u64,
    /// Downloads from registries.
    pub misses: u64,
    /// Parts of what is not there, which were passed on from registries.
    pub parts: u64,
    /// What passed without being kept: it was too large, all there was was in use, or the disk failed.
    pub not_kept: u64,
    /// What was taken away, to make room or because it was asked for.
    pub evictions: u64,
    /// Failures of the disk.
    pub disk_failures: u64,
}

/// `POST /api/v1/cache/prune`. Without anything: all of it. What is being read stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneCache {
    /// Leave so many bytes of what was used last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u64>,
    /// Take away what was not used for so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_seconds: Option<u64>,
}

/// The answer to that: what was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedCache {
    /// Blobs and manifests.
    pub removed: u64,
    /// Bytes of the disk that they took.
    pub bytes: u64,
}
