//! The keys of one issuer, remembered, and asked for again when a new one seems to be in use.
//!
//! One asks, the others wait for it, each for so long as it wants to ([`WAIT`]). Whoever asks is no request but a task of
//! its own: a caller who goes away neither stops it nor wastes one of the few times that an issuer is asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use contracts::verify::token::Jwks;
use tokio::sync::watch;

/// How long keys are used without asking again. A key that its issuer withdrew is believed for that long.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// How long they are still used when the issuer cannot be asked.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How often an issuer is asked within [`WINDOW`], whatever tokens name.
const ASKED: usize = 6;
/// See [`ASKED`].
const WINDOW: Duration = Duration::from_secs(60);
/// How long a request waits for an issuer's answer, which may come later for others.
const WAIT: Duration = Duration::from_secs(5);

/// What an issuer answered; nothing yet.
type Answered = Option<Result<Arc<Jwks>, String>>;

/// See the module.
#[derive(Default)]
pub(super) struct Keys {
    current: RwLock<Option<(Arc<Jwks>, Instant)>>,
    asking: Mutex<Asking>,
}

#[derive(Default)]
struct Asking {
    /// When it was asked of late.
    asked: VecDeque<Instant>,
    /// The answer that is waited for.
    answer: Option<watch::Receiver<Answered>>,
}

impl Keys {
    /// The keys; asked for with `fetch` when there are none, they are old, or the wanted one is not among them. Without
    /// the wanted one only when the issuer does not publish it, or was asked too often to be asked again. `fetch` must
    /// end by itself.
    ///
    /// # Errors
    /// With the reason, when it could not be asked and what is known does not hold the wanted key.
    pub(super) async fn with<F>(self: &Arc<Self>, wanted: &str, fetch: impl FnOnce() -> F) -> Result<Arc<Jwks>, String>
    where
        F: Future<Output = Result<Jwks, String>> + Send + 'static,
    {
        self.within(WAIT, wanted, fetch).await
    }

    async fn within<F>(
        self: &Arc<Self>,
        wait: Duration,
        wanted: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<Jwks>, String>
    where
        F: Future<Output = Result<Jwks, String>> + Send + 'static,
    {
        if let Some(keys) = self.known(wanted, FRESH) {
            return Ok(keys);
        }
        let Some(mut answer) = self.asking(fetch) else {
            // A token that names an invented key must not bring about a request each.
            return self
                .any(FRESH)
                .or_else(|| self.known(wanted, LONGEST))
                .ok_or_else(|| format!("it was asked {ASKED} times within {} s", WINDOW.as_secs()));
        };
        let told = tokio::time::timeout(wait, answer.wait_for(Option::is_some)).await;
        let told = match told {
            Ok(Ok(told)) => told.clone().unwrap_or_else(|| Err("it gave no answer".to_owned())),
            Ok(Err(_)) => Err("asking it failed".to_owned()),
            Err(_) => Err("it has not answered in time".to_owned()),
        };
        told.or_else(|reason| self.known(wanted, LONGEST).ok_or(reason))
    }

    /// Where the answer will stand: of whoever asks already, else of a task that begins now. `None`: it was asked too
    /// often.
    fn asking<F>(self: &Arc<Self>, fetch: impl FnOnce() -> F) -> Option<watch::Receiver<Answered>>
    where
        F: Future<Output = Result<Jwks, String>> + Send + 'static,
    {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        // Without an answer and with nobody who could give one, asking failed.
        let open = |answer: &&watch::Receiver<Answered>| answer.borrow().is_none() && answer.has_changed().is_ok();
        if let Some(answer) = asking.answer.as_ref().filter(open) {
            return Some(answer.clone());
        }
        let now = Instant::now();
        asking.asked.retain(|at| now.duration_since(*at) < WINDOW);
        if asking.asked.len() >= ASKED {
            return None;
        }
        asking.asked.push_back(now);
        let (tell, answer) = watch::channel(None);
        asking.answer = Some(answer.clone());
        let (keys, fetched) = (Arc::clone(self), fetch());
        tokio::spawn(async move {
            let told = fetched.await.map(Arc::new);
            if let Ok(fresh) = &told {
                *keys.current.write().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(fresh), now));
            }
            tell.send_replace(Some(told));
        });
        Some(answer)
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

    type Answering = std::pin::Pin<Box<dyn Future<Output = Result<Jwks, String>> + Send>>;

    /// An issuer that counts how often it is asked, and answers after a while.
    fn issuer(asked: &Arc<AtomicUsize>, takes: Duration) -> impl Fn() -> Answering + use<> {
        let asked = Arc::clone(asked);
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(takes).await;
                Ok(set("a"))
            })
        }
    }

    #[tokio::test]
    async fn invented_keys_do_not_bring_about_a_request_each() {
        let (keys, asked) = (Arc::new(Keys::default()), Arc::default());
        let fetch = issuer(&asked, Duration::ZERO);
        assert!(keys.with("a", &fetch).await.unwrap().knows("a"));
        assert!(keys.with("a", &fetch).await.unwrap().knows("a"));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        for n in 0..100 {
            assert!(!keys.with(&format!("invented {n}"), &fetch).await.unwrap().knows("invented"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), ASKED);
        assert!(keys.with("a", &fetch).await.unwrap().knows("a"), "who has a known key notices nothing");
    }

    #[tokio::test]
    async fn an_issuer_that_is_down_is_no_answer_about_keys_that_are_not_known() {
        let keys = Arc::new(Keys::default());
        let down = || async { Err("down".to_owned()) };
        assert_eq!(keys.with("a", down).await.unwrap_err(), "down");
        assert!(keys.with("a", || async { Ok(set("a")) }).await.is_ok());
        assert!(keys.with("a", down).await.is_ok());
        assert_eq!(keys.with("b", down).await.unwrap_err(), "down");
    }

    #[tokio::test]
    async fn one_asks_for_all_who_wait_also_when_they_go_away() {
        let (keys, asked) = (Arc::new(Keys::default()), Arc::default());
        let fetch = issuer(&asked, Duration::from_millis(400));
        for _ in 0..20 {
            let gone = tokio::time::timeout(Duration::from_millis(5), keys.with("a", &fetch)).await;
            assert!(gone.is_err());
        }
        assert!(keys.with("a", &fetch).await.unwrap().knows("a"));
        assert_eq!(asked.load(Ordering::Relaxed), 1, "those who went away asked once together");
    }

    #[tokio::test]
    async fn nobody_waits_for_longer_than_it_wants_to_and_what_comes_late_is_kept() {
        let (keys, asked) = (Arc::new(Keys::default()), Arc::default());
        let fetch = issuer(&asked, Duration::from_millis(300));
        let told = keys.within(Duration::from_millis(20), "a", &fetch).await;
        assert_eq!(told.unwrap_err(), "it has not answered in time");
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(keys.known("a", FRESH).is_some());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn asking_that_fails_in_itself_can_be_tried_again() {
        let keys = Arc::new(Keys::default());
        let broken = || async { panic!("a defect of ours") };
        assert_eq!(keys.with("a", broken).await.unwrap_err(), "asking it failed");
        assert!(keys.with("a", || async { Ok(set("a")) }).await.is_ok());
    }
}
