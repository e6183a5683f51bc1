//! Keeps who vouches for certificates fresh, from a TUF repository: asks its mirror now and then, keeps what was verified
//! beside the state, and puts a newer trust root in the place of the older one.
//!
//! This module must not judge a file of the repository: `contracts::verify::tuf` does. What is not kept yet is not used
//! yet, so that no start ever goes back behind what decided before.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use contracts::{
    Digest, TrustRoot, limits,
    verify::tuf::{Current, KnownRepository, TufError, Versions},
};
use jiff::Timestamp;
use reqwest::{StatusCode, Url};
use tokio::sync::watch;

use crate::{
    documents::{Answer, Reader},
    evidence::sync_folder,
    http::clock,
    metrics::{Metrics, Refreshed},
    rules::Rules,
};

/// How long a mirror may take for one file.
const FILE: Duration = Duration::from_secs(30);
/// How long a start waits for a mirror, when nothing usable is kept.
const FIRST: Duration = Duration::from_secs(10);
/// How soon it is asked again after it failed, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60 * 60));

/// It is not asked more often than that because what counts ends.
const SOON: Duration = Duration::from_secs(30);

/// `[tuf]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TufSettings {
    /// The repository's address, without a slash at its end.
    pub mirror: String,
    /// The file of a root that the operator has from elsewhere.
    pub root: PathBuf,
    /// The name of the trust root in the repository.
    pub target: String,
    /// How often the mirror is asked.
    pub refresh: Duration,
    /// How long what expired counts still.
    pub grace: Duration,
    /// Authorities of the mirror's TLS, in PEM; without it those of the system.
    pub ca_file: Option<PathBuf>,
    /// Where what was verified is kept.
    pub kept: PathBuf,
}

/// How things stand, for those who look.
#[derive(Debug, Default)]
pub struct Standing(RwLock<Option<Stands>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stands {
    /// What is believed; `None`: nothing yet.
    target: Option<Digest>,
    /// Until when.
    until: Option<Timestamp>,
    /// Why the mirror gave nothing the last time.
    trouble: Option<String>,
}

impl Standing {
    /// How things stand, in one line. It names no address: anybody may read it.
    #[must_use]
    pub fn line(&self, now: Timestamp) -> String {
        match self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Stands { until: Some(until), .. }) if now >= *until => {
                format!("trust root: too old since {until}, certificates are not believed")
            }
            Some(Stands { until: Some(until), trouble, .. }) => {
                let failing = if trouble.is_some() { ", refreshing it fails" } else { "" };
                format!("trust root: counts until {until}{failing}")
            }
            _ => "trust root: not there yet, certificates are not believed".to_owned(),
        }
    }
}

/// What refreshes.
pub(crate) struct Refresher {
    settings: TufSettings,
    base: Url,
    reader: Reader,
    repository: KnownRepository,
    /// What is used: of the repository only what is kept.
    used: Option<Current>,
    /// Whether the mirror was asked to the end since the start.
    asked: bool,
    /// What lies in the file.
    saved: Vec<u8>,
    /// How often the mirror failed on end.
    failures: u32,
    standing: Arc<Standing>,
    metrics: Arc<Metrics>,
}

/// Why nothing came of asking.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the mirror does not give `{file}`: {reason}")]
    Mirror { file: String, reason: String },
    #[error(transparent)]
    Refused(#[from] TufError),
    #[error("what was verified cannot be kept in `{path}`, so that it is not used: {reason}")]
    Disk { path: String, reason: String },
}

impl Refresher {
    /// Reads the root and what is kept. Nothing is asked yet.
    pub(crate) fn open(settings: &TufSettings, metrics: &Arc<Metrics>) -> Result<Self, String> {
        let told = |path: &Path, reason: String| format!("`{}`: {reason}", path.display());
        let root = bounded(&settings.root, limits::TUF_ROOT_BYTES);
        let root = root.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let mend = "it is not there: put a `root.json` of the repository there that you have from elsewhere";
                told(&settings.root, mend.to_owned())
            }
            _ => told(&settings.root, error.to_string()),
        })?;
        let kept = match bounded(&settings.kept, limits::TUF_KEPT_BYTES) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(told(&settings.kept, error.to_string())),
        };
        let (repository, trouble) = KnownRepository::open(&root, &settings.target, kept.as_deref())
            .map_err(|error| told(&settings.root, error.to_string()))?;
        if let Some(reason) = trouble {
            tracing::error!(
                file = %settings.kept.display(), %reason,
                "what was kept of the TUF repository is not used: an older version of it may not be noticed"
            );
        }
        let base = Url::parse(&format!("{}/", settings.mirror)).map_err(|error| format!("`mirror`: {error}"))?;
        let reader = Reader::new(settings.ca_file.as_deref())?;
        let (settings, metrics) = (settings.clone(), Arc::clone(metrics));
        let saved = kept.unwrap_or_default();
        let standing = Arc::default();
        let used = repository.current().cloned();
        let refresher =
            Self { settings, base, reader, repository, used, asked: false, saved, failures: 0, standing, metrics };
        refresher.show(None);
        Ok(refresher)
    }

    /// How things stand, now and later.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// Who vouches for certificates, as of what is known.
    pub(crate) fn roots(&self) -> TrustRoot {
        let mirror = &self.settings.mirror;
        let stands = self.standing.0.read().unwrap_or_else(PoisonError::into_inner);
        let trouble = stands.as_ref().and_then(|stands| stands.trouble.clone());
        match (&self.used, self.until()) {
            (Some(current), Some(until)) => {
                let asked = trouble.unwrap_or_else(|| "nothing newer is there".to_owned());
                let since = current.refreshed_at();
                current
                    .root()
                    .clone()
                    .until(until, format!("it was last refreshed from `{mirror}` at {since:.0}; asked again, {asked}"))
            }
            _ => {
                let asked = trouble.unwrap_or_else(|| "it is being asked".to_owned());
                TrustRoot::awaited(format!("it comes from `{mirror}`; asked, {asked}"))
            }
        }
    }

    /// Asks the mirror before anything is decided, when there is nothing that could be decided by. It does not take long.
    pub(crate) async fn begin(&mut self, rules: &Rules) {
        if self.until().is_none_or(|until| clock::now() >= until) {
            let waited = tokio::time::timeout(FIRST, self.refresh(rules)).await;
            if waited.is_err() {
                tracing::warn!(mirror = %self.settings.mirror, "the TUF repository takes long: nothing waits for it");
            }
        }
    }

    /// Asks the mirror for as long as the gateway runs.
    pub(crate) async fn run(mut self, rules: Arc<Rules>, mut stop: watch::Receiver<bool>) {
        loop {
            let wait = if self.asked { self.pause() } else { Duration::ZERO };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(wait) => {}
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = self.refresh(&rules) => {}
            }
        }
    }

    /// How long to wait before it is asked again. When what counts ends before, it is asked then.
    fn pause(&self) -> Duration {
        let (first, last) = AGAIN;
        let pause = match self.failures {
            0 => self.settings.refresh,
            n => first.saturating_mul(1 << n.saturating_sub(1).min(10)).min(last).min(self.settings.refresh),
        };
        let left = self.until().map(|until| until.duration_since(clock::now()));
        match left.and_then(|left| Duration::try_from(left).ok()).filter(|left| !left.is_zero()) {
            // Well before its end, so that there is time for a mirror that fails; and at its end.
            Some(left) => pause.min((left / 2).max(SOON)).min(left),
            None => pause,
        }
    }

    async fn refresh(&mut self, rules: &Rules) {
        let walked = self.walk().await;
        let kept = self.keep().await;
        self.asked = true;
        let before = self.used.as_ref().map(|current| (current.target(), current.versions()));
        // What is not kept is not used; but what is disowned is not used either, kept or not.
        if kept.is_ok() || self.repository.current().is_none() {
            self.used = self.repository.current().cloned();
        }
        let outcome = walked.and(kept);
        self.tell(&outcome, before);
        self.failures = if outcome.is_ok() { 0 } else { self.failures.saturating_add(1) };
        if self.show(outcome.err().map(|trouble| trouble.to_string())) {
            rules.replace_authorities(self.roots());
        }
    }

    async fn walk(&mut self) -> Result<(), Trouble> {
        let mut walk = self.repository.walk(clock::now());
        while let Some(ask) = walk.ask() {
            let failed = |reason: String| Trouble::Mirror { file: ask.path.clone(), reason };
            let uri = self.base.join(&ask.path).map_err(|error| failed(error.to_string()))?;
            let got = tokio::time::timeout(FILE, self.reader.get(uri, ask.max)).await;
            let got = got.map_err(|_| failed(format!("it takes longer than {} s", FILE.as_secs())))?;
            match got.map_err(failed)? {
                Answer::Document(bytes) => walk.answer(Some(bytes.as_ref()))?,
                Answer::TooLong => return Err(TufError::TooLong { file: ask.path, max: ask.max }.into()),
                Answer::Status(StatusCode::NOT_FOUND) => walk.answer(None)?,
                // Stores of objects say so of what is not there.
                Answer::Status(StatusCode::FORBIDDEN) if ask.optional => walk.answer(None)?,
                Answer::Status(status) => return Err(failed(format!("it answers with HTTP {}", status.as_u16()))),
            }
        }
        Ok(())
    }

    /// Writes what was verified, if it is new.
    async fn keep(&mut self) -> Result<(), Trouble> {
        let bytes = self.repository.kept();
        if bytes == self.saved {
            return Ok(());
        }
        let (path, written) = (self.settings.kept.clone(), bytes.clone());
        let done = tokio::task::spawn_blocking(move || write(&path, &written)).await;
        let done = done.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        done.map_err(|error| Trouble::Disk {
            path: self.settings.kept.display().to_string(),
            reason: error.to_string(),
        })?;
        self.saved = bytes;
        Ok(())
    }

    fn tell(&self, outcome: &Result<(), Trouble>, before: Option<(Digest, Versions)>) {
        let after = self.used.as_ref().map(|current| (current.target(), current.versions()));
        let mirror = &self.settings.mirror;
        let refreshed = match outcome {
            Ok(()) if before == after => {
                tracing::debug!(%mirror, "the trust root is the newest still");
                Refreshed::Unchanged
            }
            Ok(()) => {
                let versions = after.map(|(_, versions)| versions);
                tracing::info!(%mirror, ?versions, "the trust root was refreshed");
                Refreshed::Renewed
            }
            Err(Trouble::Refused(reason)) if reason.is_alarming() => {
                tracing::error!(
                    %mirror, %reason,
                    "the mirror of the trust root shows what its repository did not sign, or replaced: what is known stays"
                );
                Refreshed::Refused
            }
            Err(reason) => {
                tracing::warn!(%mirror, %reason, "the trust root could not be refreshed");
                Refreshed::Unavailable
            }
        };
        self.metrics.refreshed(refreshed);
        if let Some(until) = self.until().filter(|until| clock::now() >= *until) {
            tracing::error!(%mirror, %until, "the trust root is too old: certificates are not believed");
        }
    }

    fn until(&self) -> Option<Timestamp> {
        let current = self.used.as_ref()?;
        Some(current.expires().checked_add(self.settings.grace).unwrap_or(Timestamp::MAX))
    }

    /// Shows how things stand now; whether those who decide have to be told. While certificates are believed, why the mirror
    /// fails is nothing to them but once.
    fn show(&self, trouble: Option<String>) -> bool {
        let until = self.until();
        let new = Stands { target: self.used.as_ref().map(Current::target), until, trouble };
        let refreshed_at = self.used.as_ref().map(Current::refreshed_at);
        self.metrics.trust_root(refreshed_at, until);
        let known = self.standing.0.write().unwrap_or_else(PoisonError::into_inner).replace(new.clone());
        let Some(known) = known else { return true };
        let believed = until.is_some_and(|until| clock::now() < until);
        let failing = |stands: &Stands| stands.trouble.is_some();
        (known.target, known.until) != (new.target, new.until)
            || failing(&known) != failing(&new)
            || (!believed && known.trouble != new.trouble)
    }
}

fn bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file that is the old one or the new one, whole, whatever happens.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}
