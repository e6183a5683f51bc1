//! Verdicts that are remembered in memory, and those that are being computed.
//!
//! A remembered verdict is used while the store's numbers are those that were read before it was computed, and
//! until the first instant at which something that it was computed from may stop being true. Nothing here decides.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use contracts::{Digest, Finding, PinnedRef, Verdict, VerdictSubject, limits};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jiff::Timestamp;
use moka::{Equivalent, sync::Cache};

use super::{GateError, Parts, Remembered};
use crate::names::Name;

/// Memory for verdicts, in bytes as they are guessed.
const VERDICT_BYTES: u64 = 64 * 1024 * 1024;
/// The same for those that are found by their keys.
const NAMED_BYTES: u64 = 16 * 1024 * 1024;

/// The numbers that a verdict hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) rules: u64,
    pub(super) evidence: u64,
}

impl Numbers {
    pub(super) fn now(parts: &Parts, organization: &Name, subject: &Digest) -> Self {
        let evidence = parts.store.evidence_changed(organization, subject);
        Self { rules: parts.rules.changed(organization), evidence }
    }
}

/// A verdict as it is remembered in memory.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) verdict: Arc<Remembered>,
    /// As they were before anything that it was computed from was read.
    pub(super) numbers: Numbers,
    /// From then on it is computed again.
    pub(super) until: Option<Timestamp>,
}

impl Made {
    pub(super) fn holds(&self, numbers: Numbers, now: Timestamp) -> bool {
        self.numbers == numbers && self.lasts(now)
    }

    /// Whether time alone leaves it standing.
    pub(super) fn lasts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until) && not_from_the_future(&self.verdict.verdict, now)
    }

    pub(super) fn weight(&self) -> u32 {
        weight(&self.verdict.verdict)
    }
}

/// A clock that was set back must not keep a verdict alive that was made while it was ahead.
pub(super) fn not_from_the_future(verdict: &Verdict, now: Timestamp) -> bool {
    let ahead = verdict.evaluated_at.duration_since(now);
    ahead <= jiff::SignedDuration::try_from(limits::CLOCK_SKEW).unwrap_or_default()
}

fn weight(verdict: &Verdict) -> u32 {
    let parts = verdict.contracts.len() + verdict.depends_on.len();
    let findings = verdict.findings.iter().map(Finding::weight);
    // Twice over: as it is, and as it is written for those who ask.
    let bytes = parts.saturating_mul(384).saturating_add(findings.sum::<usize>()).saturating_add(1024);
    u32::try_from(bytes.saturating_mul(2)).unwrap_or(u32::MAX)
}

/// Which question a verdict answers: about what, and with which contracts beside those that answer for it. A pull names
/// none, so that what was asked with any is never taken for the answer to a pull.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) organization: Name,
    pub(super) subject: VerdictSubject,
    pub(super) named: BTreeSet<Name>,
}

impl Place {
    /// The question of a pull.
    pub(super) fn of_pull(organization: &Name, pinned: &PinnedRef) -> Self {
        let subject = VerdictSubject::Image(pinned.clone());
        Self { organization: organization.clone(), subject, named: BTreeSet::new() }
    }

    pub(super) fn borrowed(&self) -> PlaceRef<'_> {
        let subject = match &self.subject {
            VerdictSubject::Image(pinned) => SubjectRef::Image(pinned),
            VerdictSubject::Artifact(digest) => SubjectRef::Artifact(digest),
        };
        PlaceRef { organization: &self.organization, subject, named: &self.named }
    }
}

/// The same, borrowed: hashes like a [`Place`].
#[derive(Hash)]
pub(super) struct PlaceRef<'a> {
    organization: &'a Name,
    subject: SubjectRef<'a>,
    named: &'a BTreeSet<Name>,
}

/// Hashes like a [`VerdictSubject`].
#[derive(Hash)]
enum SubjectRef<'a> {
    Image(&'a PinnedRef),
    Artifact(&'a Digest),
}

impl<'a> PlaceRef<'a> {
    /// As [`Place::of_pull`].
    pub(super) fn of_pull(organization: &'a Name, pinned: &'a PinnedRef) -> Self {
        const NONE: &BTreeSet<Name> = &BTreeSet::new();
        Self { organization, subject: SubjectRef::Image(pinned), named: NONE }
    }
}

impl Equivalent<Place> for PlaceRef<'_> {
    fn equivalent(&self, place: &Place) -> bool {
        let same = match (&self.subject, &place.subject) {
            (SubjectRef::Image(one), VerdictSubject::Image(other)) => **one == *other,
            (SubjectRef::Artifact(one), VerdictSubject::Artifact(other)) => **one == *other,
            (SubjectRef::Image(_), VerdictSubject::Artifact(_))
            | (SubjectRef::Artifact(_), VerdictSubject::Image(_)) => false,
        };
        same && *self.organization == place.organization && *self.named == place.named
    }
}

pub(super) struct Memory {
    verdicts: Cache<Place, Arc<Made>>,
    /// What was decided lately, by organization and key: to be shown, never to decide by.
    named: Cache<(Name, Digest), Arc<Remembered>>,
}

impl Default for Memory {
    fn default() -> Self {
        let weigher = |_: &Place, made: &Arc<Made>| made.weight();
        let named = |_: &(Name, Digest), made: &Arc<Remembered>| weight(&made.verdict);
        Self {
            verdicts: Cache::builder().max_capacity(VERDICT_BYTES).weigher(weigher).build(),
            named: Cache::builder().max_capacity(NAMED_BYTES).weigher(named).build(),
        }
    }
}

impl Memory {
    pub(super) fn get(&self, place: &PlaceRef<'_>) -> Option<Arc<Made>> {
        self.verdicts.get(place)
    }

    pub(super) fn named(&self, organization: &Name, key: Digest) -> Option<Arc<Remembered>> {
        self.named.get(&(organization.clone(), key))
    }

    pub(super) fn put(&self, place: Place, made: Arc<Made>) {
        let verdict = Arc::clone(&made.verdict);
        self.named.insert((place.organization.clone(), verdict.key), verdict);
        self.verdicts.insert(place, made);
    }
}

type Answer = Result<Arc<Made>, GateError>;

/// What is being computed, so that equal questions wait for one answer.
#[derive(Default)]
pub(super) struct Flights {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    flights: HashMap<Place, Flight>,
    started: u64,
}

struct Flight {
    number: u64,
    numbers: Numbers,
    answer: Shared<BoxFuture<'static, Answer>>,
}

/// An answer to wait for.
pub(super) struct Waiting {
    pub(super) answer: Shared<BoxFuture<'static, Answer>>,
    /// Whether it was begun for this very caller, with its `now`.
    pub(super) own: bool,
}

impl Flights {
    /// Joins the flight that was begun with these numbers, or begins one. What `begin` returns is run on a task of
    /// its own: it goes on when callers no longer wait.
    pub(super) fn join(
        self: &Arc<Self>,
        place: &Place,
        numbers: Numbers,
        begin: impl FnOnce() -> BoxFuture<'static, Answer>,
    ) -> Waiting {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // One begun before a change that was acknowledged since does not answer for what is now.
        if let Some(flight) = open.flights.get(place).filter(|flight| flight.numbers == numbers) {
            return Waiting { answer: flight.answer.clone(), own: false };
        }
        open.started = open.started.wrapping_add(1);
        let number = open.started;
        let landing = Landing { flights: Arc::clone(self), place: place.clone(), number };
        let computing = begin();
        let task = tokio::spawn(async move {
            let _landing = landing;
            computing.await
        });
        let answer = async move {
            task.await.unwrap_or_else(|stopped| Err(GateError::Evaluation { reason: stopped.to_string() }))
        };
        let answer = answer.boxed().shared();
        open.flights.insert(place.clone(), Flight { number, numbers, answer: answer.clone() });
        Waiting { answer, own: true }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).flights.len()
    }
}

/// Takes a flight off the list when it ends, however it ends.
struct Landing {
    flights: Arc<Flights>,
    place: Place,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut open = self.flights.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.flights.get(&self.place).is_some_and(|flight| flight.number == self.number) {
            open.flights.remove(&self.place);
        }
    }
}
