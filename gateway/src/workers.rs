//! A bounded number of threads for what takes the processor for long: verifying, compiling, evaluating.
//!
//! A rule that cannot be interrupted keeps its place until it ends. Others then wait and run into their own
//! deadlines, which is "could not decide", instead of taking every thread of the process.

use std::{num::NonZeroUsize, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The threads. Clones share them.
#[derive(Debug, Clone)]
pub struct Workers {
    places: Arc<Semaphore>,
}

/// The work did not come to its end.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the work was interrupted: {reason}")]
pub struct WorkError {
    reason: String,
}

impl Default for Workers {
    /// Two places for each processor.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        Self::new(processors.saturating_mul(2))
    }
}

impl Workers {
    /// So many places, at least one.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.max(1))) }
    }

    /// Waits for a place, and runs the work there. Work that began runs to its end also when the caller no longer
    /// waits for it, and keeps its place until then.
    ///
    /// # Errors
    /// When the work panicked or the process is ending.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkError> {
        self.place().await?.run(work).await
    }

    /// Waits for a place. Whoever holds one must not wait for another.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn place(&self) -> Result<Place, WorkError> {
        let held = Arc::clone(&self.places).acquire_owned().await;
        Ok(Place { held: held.map_err(|e| WorkError { reason: e.to_string() })? })
    }
}

/// A place for one piece of work; dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    held: OwnedSemaphorePermit,
}

impl Place {
    /// Runs the work, as [`Workers::run`] does.
    ///
    /// # Errors
    /// When the work panicked or the process is ending.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkError> {
        let running = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(self.held);
            done
        });
        running.await.map_err(|e| WorkError { reason: e.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn abandoned_work_keeps_its_place_until_it_ends() {
        let workers = Workers::new(1);
        let (release, held) = mpsc::channel::<()>();
        let abandoned = tokio::time::timeout(Duration::from_millis(50), workers.run(move || held.recv()));
        assert!(abandoned.await.is_err());
        let waiting = tokio::time::timeout(Duration::from_millis(50), workers.run(|| ()));
        assert!(waiting.await.is_err());
        release.send(()).unwrap();
        assert_eq!(workers.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_gives_the_place_back() {
        let workers = Workers::new(1);
        assert!(workers.run(|| panic!("a rule")).await.is_err());
        assert_eq!(workers.run(|| 7).await.unwrap(), 7);
    }
}
