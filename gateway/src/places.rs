//! Places for work that waits for registries: bounded in all, as each piece of it may hold what a registry sent, and for
//! each registry, so that one that hangs keeps nobody from what lies in others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places, by the names of registries. There are only as many names as upstreams.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    each: usize,
    of: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A place, until it is dropped.
pub(crate) struct Held {
    _of_all: OwnedSemaphorePermit,
    _of_one: OwnedSemaphorePermit,
}

impl Places {
    /// So many in all, and of them so many for one registry.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, of: Mutex::default() }
    }

    /// Waits for a place. `None` never happens while the gateway runs: nothing closes them.
    pub(crate) async fn take(&self, registry: &str) -> Option<Held> {
        let one = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            match of.get(registry) {
                Some(one) => Arc::clone(one),
                None => {
                    Arc::clone(of.entry(registry.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
                }
            }
        };
        // That of the registry first: who waits for it takes nothing from the others.
        let _of_one = one.acquire_owned().await.ok()?;
        let _of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Held { _of_all, _of_one })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_registry_takes_its_own_places_only() {
        let places = Places::new(3, 2);
        let soon = async |registry: &str| tokio::time::timeout(Duration::from_millis(30), places.take(registry)).await;
        let (first, second) = (soon("hangs.dev").await.unwrap(), soon("hangs.dev").await.unwrap());
        assert!(soon("hangs.dev").await.is_err());
        let other = soon("other.dev").await.unwrap();
        assert!(other.is_some());
        assert!(soon("third.dev").await.is_err(), "there are three in all");
        drop(first);
        assert!(soon("third.dev").await.is_ok());
        drop((second, other));
        assert!(soon("hangs.dev").await.is_ok());
    }
}
