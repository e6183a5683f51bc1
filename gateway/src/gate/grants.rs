//! What is reachable from an image. That a manifest refers to a child never stops being true, so nothing here
//! expires; whether the image may be served is decided anew each time.

use std::sync::Arc;

use contracts::{Digest, Hasher, PinnedRef, Repository};
use moka::sync::Cache;

use crate::{
    names::Name,
    store::{Grant, Store, StoreError},
};

/// Children whose image is remembered, and lists of children that are known to be stored.
const REMEMBERED: u64 = 100_000;

pub(super) struct Grants {
    store: Arc<dyn Store>,
    /// The image that permitted a child last.
    last: Cache<Digest, Digest>,
    /// Lists that were stored.
    stored: Cache<Digest, ()>,
}

impl Grants {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, last: Cache::new(REMEMBERED), stored: Cache::new(REMEMBERED) }
    }

    /// The image that permitted this child last.
    pub(super) fn last(&self, organization: &Name, child: &PinnedRef) -> Option<Digest> {
        self.last.get(&key(organization, &child.repository, [&child.digest]))
    }

    pub(super) fn permitted(&self, organization: &Name, child: &PinnedRef, root: Digest) {
        self.last.insert(key(organization, &child.repository, [&child.digest]), root);
    }

    /// Every image that this child is reachable from.
    pub(super) async fn roots(&self, organization: &Name, child: &PinnedRef) -> Result<Vec<Digest>, StoreError> {
        self.store.roots(organization, &child.repository, child.digest).await
    }

    /// Remembers that the children are reachable from the image.
    pub(super) async fn put(
        &self,
        organization: &Name,
        repository: &Repository,
        root: Digest,
        children: &[Digest],
    ) -> Result<(), StoreError> {
        let list = key(organization, repository, std::iter::once(&root).chain(children));
        if children.is_empty() || self.stored.contains_key(&list) {
            return Ok(());
        }
        let grants = children.iter().map(|child| Grant { root, child: *child }).collect();
        self.store.put_grants(organization, repository, grants).await?;
        for child in children {
            self.last.insert(key(organization, repository, [child]), root);
        }
        self.stored.insert(list, ());
        Ok(())
    }
}

fn key<'d>(organization: &Name, repository: &Repository, digests: impl IntoIterator<Item = &'d Digest>) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update_framed(organization.as_str().as_bytes());
    hasher.update_framed(repository.host().as_bytes());
    hasher.update_framed(repository.path().as_bytes());
    for digest in digests {
        hasher.update_framed(digest.as_bytes());
    }
    hasher.finish()
}
