//! The keys of one issuer, remembered, and asked for again when a new one seems to be in use.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use contracts::verify::token::Jwks;
use tokio::sync::Mutex;

/// How long keys are used without asking again. A key that its issuer withdrew is believed for that long.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// How long they are still used when the issuer cannot be asked.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How often an issuer is asked within [`WINDOW`], whatever tokens name.
const ASKED: usize = 6;
/// See [`ASKED`].
const WINDOW: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub(super) struct Keys {
    current: RwLock<Option<(Arc<Jwks>, Instant)>>,
    /// When it was asked of late. One asks, the others wait for it.
    asked: Mutex<VecDeque<Instant>>,
}

impl Keys {
    /// The keys; asked for with `fetch` when there are none, they are old, or the wanted one is not among them. Without
    /// the wanted one only when the issuer does not publish it, or was asked too often to be asked again.
    ///
    /// # Errors
    /// With the reason, when it could not be asked and what is known does not hold the wanted key.
    pub(super) async fn with<F>(&self, wanted: &str, fetch: impl FnOnce() -> F) -> Result<Arc<Jwks>, String>
    where
        F: Future<Output = Result<Jwks, String>>,
    {
        if let Some(keys) = self.known(wanted, FRESH) {
            return Ok(keys);
        }
        let mut asked = self.asked.lock().await;
        // Somebody may have asked while this one waited.
        if let Some(keys) = self.known(wanted, FRESH) {
            return Ok(keys);
        }
        let now = Instant::now();
        asked.retain(|at| now.duration_since(*at) < WINDOW);
        if asked.len() >= ASKED {
            // A token that names an invented key must not bring about a request each.
            return self
                .any(FRESH)
                .or_else(|| self.known(wanted, LONGEST))
                .ok_or_else(|| format!("it was asked {ASKED} times within {} s", WINDOW.as_secs()));
        }
        asked.push_back(now);
        match fetch().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(&keys), now));
                Ok(keys)
            }
            Err(reason) => self.known(wanted, LONGEST).ok_or(reason),
        }
    }

    /// The keys that are no older, when the wanted one is among them.
    fn known(&self, wanted: &str, age: Duration) -> Option<Arc<Jwks>> {
        self.any(age).filter(|keys| keys.knows(wanted))
    }

    fn any(&self, age: Duration) -> Option<Arc<Jwks>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|(_, at)| at.elapsed() < age).map(|(keys, _)| Arc::clone(keys))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn set(id: &str) -> Jwks {
        let key = format!(r#"{{"keys":[{{"kid":"{id}","kty":"OKP","crv":"Ed25519","x":"{}"}}]}}"#, "A".repeat(43));
        Jwks::parse(key.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn invented_keys_do_not_bring_about_a_request_each() {
        let (keys, asked) = (Keys::default(), AtomicUsize::new(0));
        let fetch = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(set("a"))
        };
        assert!(keys.with("a", fetch).await.unwrap().knows("a"));
        assert!(keys.with("a", fetch).await.unwrap().knows("a"));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        for n in 0..100 {
            assert!(!keys.with(&format!("invented {n}"), fetch).await.unwrap().knows("invented"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), ASKED);
        assert!(keys.with("a", fetch).await.unwrap().knows("a"), "who has a known key notices nothing");
    }

    #[tokio::test]
    async fn an_issuer_that_is_down_is_no_answer_about_keys_that_are_not_known() {
        let keys = Keys::default();
        let down = || async { Err("down".to_owned()) };
        assert_eq!(keys.with("a", down).await.unwrap_err(), "down");
        assert!(keys.with("a", || async { Ok(set("a")) }).await.is_ok());
        assert!(keys.with("a", down).await.is_ok());
        assert_eq!(keys.with("b", down).await.unwrap_err(), "down");
    }
}
