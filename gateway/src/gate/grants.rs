//! What is reachable from an image, and by which manifests. That a manifest refers to a child never stops being true,
//! so nothing here expires (the store forgets the oldest when there are too many); whether the image and what lies between may be served is decided anew each time.

use std::sync::Arc;

use contracts::{Digest, Hasher, PinnedRef, Repository};
use moka::sync::Cache;

use crate::{
    names::Name,
    store::{Grant, Store, StoreError, Via},
};

/// Children whose image is remembered, and lists of children that are known to be stored.
const REMEMBERED: u64 = 100_000;
/// Manifests between an image and what it leads to, on a way that is remembered.
const BETWEEN: usize = 8;

pub(super) struct Grants {
    store: Arc<dyn Store>,
    /// The way by which a child was permitted last.
    last: Cache<Digest, Via>,
    /// Of a child and an image, the manifest that leads to the child.
    parents: Cache<Digest, Digest>,
    /// Lists that were stored, with the store's number before: what it has forgotten since may be among them.
    stored: Cache<Digest, u64>,
}

impl Grants {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (last, parents, stored) = (Cache::new(REMEMBERED), Cache::new(REMEMBERED), Cache::new(REMEMBERED));
        Self { store, last, parents, stored }
    }

    /// The image that permitted this child last, and the manifests between the two; none when it refers to the child
    /// itself. Read from memory.
    pub(super) fn last(&self, organization: &Name, child: &PinnedRef) -> Option<(Digest, Vec<Digest>)> {
        let Via { root, parent } = self.last.get(&key(organization, &child.repository, [&child.digest]))?;
        let (mut between, mut at) = (Vec::new(), parent);
        while at != root {
            if between.len() == BETWEEN {
                return None;
            }
            between.push(at);
            at = self.parents.get(&key(organization, &child.repository, [&at, &root]))?;
        }
        Some((root, between))
    }

    /// Remembers the way by which something was permitted.
    pub(super) fn permitted(&self, organization: &Name, child: &PinnedRef, via: Via) {
        self.remember(organization, &child.repository, child.digest, via);
    }

    fn remember(&self, organization: &Name, repository: &Repository, child: Digest, via: Via) {
        self.last.insert(key(organization, repository, [&child]), via);
        self.parents.insert(key(organization, repository, [&child, &via.root]), via.parent);
    }

    /// Every last step to this child, those of one image together.
    pub(super) async fn ways(&self, organization: &Name, child: &PinnedRef) -> Result<Vec<Via>, StoreError> {
        self.store.ways(organization, &child.repository, child.digest).await
    }

    /// Remembers that the children are reachable by this way.
    pub(super) async fn put(
        &self,
        organization: &Name,
        repository: &Repository,
        via: Via,
        children: &[Digest],
    ) -> Result<(), StoreError> {
        let list = key(organization, repository, [&via.root, &via.parent].into_iter().chain(children));
        let forgotten = self.store.grants_forgotten();
        if children.is_empty() || self.stored.get(&list) == Some(forgotten) {
            return Ok(());
        }
        let grants = children.iter().map(|child| Grant { via, child: *child }).collect();
        self.store.put_grants(organization, repository, grants).await?;
        for child in children {
            self.remember(organization, repository, *child, via);
        }
        self.stored.insert(list, forgotten);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RedbStore;

    #[tokio::test]
    async fn what_the_store_has_forgotten_is_put_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(RedbStore::open(&folder.path().join("s.redb")).unwrap());
        let grants = Grants::new(Arc::<RedbStore>::clone(&store));
        let (acme, repository): (Name, Repository) = ("acme".parse().unwrap(), "r.dev/a".parse().unwrap());
        let (root, layer) = (Digest::of(b"image"), Digest::of(b"layer"));
        let via = Via { root, parent: root };
        let child = PinnedRef { repository: repository.clone(), digest: layer };
        grants.put(&acme, &repository, via, &[layer]).await.unwrap();
        assert_eq!(grants.ways(&acme, &child).await.unwrap(), [via]);
        store.forget_grants().await;
        assert_eq!(grants.ways(&acme, &child).await.unwrap(), []);
        // As when its image is asked for again.
        grants.put(&acme, &repository, via, &[layer]).await.unwrap();
        assert_eq!(grants.ways(&acme, &child).await.unwrap(), [via]);
    }
}
