//! What an organization's operators deny by digest.
//!
//! Pure: whether a denial is in force is told for an instant that the caller names. It must not read the store.

use std::collections::BTreeMap;

use contracts::{Code, Digest, Finding, Repository, pattern::RepositoryPattern};
use jiff::Timestamp;

use crate::store::DenialRecord;

/// The denials of an organization, as of one moment.
#[derive(Debug, Default)]
pub struct Denials(BTreeMap<Digest, Denial>);

/// One denial, its patterns read.
#[derive(Debug)]
pub struct Denial {
    record: DenialRecord,
    id: Digest,
    /// None: any repository.
    repositories: Option<Vec<RepositoryPattern>>,
}

impl Denials {
    /// Reads what the store has. A pattern that cannot be read makes its denial one for any repository: an operator's
    /// word is not lost because another version of the gateway took it.
    #[must_use]
    pub fn new(records: Vec<DenialRecord>) -> Self {
        Self(records.into_iter().map(|record| (record.digest, Denial::new(record))).collect())
    }

    /// Whether nothing is denied at this instant.
    #[must_use]
    pub fn none_at(&self, now: Timestamp) -> bool {
        !self.0.values().any(|denial| denial.record.in_force(now))
    }

    /// The denial of a digest in a repository at this instant.
    #[must_use]
    pub fn of(&self, repository: &Repository, digest: &Digest, now: Timestamp) -> Option<&Denial> {
        self.0.get(digest).filter(|denial| denial.covers(repository) && denial.record.in_force(now))
    }

    /// The denial of a digest that was asked about without a repository: any that is in force.
    #[must_use]
    pub fn anywhere(&self, digest: &Digest, now: Timestamp) -> Option<&Denial> {
        self.0.get(digest).filter(|denial| denial.record.in_force(now))
    }

    /// All that are in force in a repository at this instant.
    pub fn in_force<'d>(&'d self, repository: &'d Repository, now: Timestamp) -> impl Iterator<Item = &'d Denial> {
        self.0.values().filter(move |denial| denial.covers(repository) && denial.record.in_force(now))
    }
}

impl Denial {
    fn new(record: DenialRecord) -> Self {
        let read: Result<Vec<RepositoryPattern>, _> = record.repositories.iter().map(|text| text.parse()).collect();
        let repositories = read.ok().filter(|patterns| !patterns.is_empty());
        Self { id: record.id(), record, repositories }
    }

    fn covers(&self, repository: &Repository) -> bool {
        self.repositories.as_ref().is_none_or(|all| all.iter().any(|pattern| pattern.matches(repository)))
    }

    /// The digest over the denial.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// What is denied.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.record.digest
    }

    /// From then on it does not deny any more.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.record.until
    }

    /// Why something is not let through that is denied, or that holds what is.
    #[must_use]
    pub fn finding(&self, about: &Digest) -> Finding {
        let DenialRecord { digest, reason, until, .. } = &self.record;
        let what = match digest == about {
            true => format!("an operator denied `{digest}`: {reason}"),
            false => format!("it holds `{digest}`, which an operator denied: {reason}"),
        };
        let mend = match until {
            Some(until) => format!("use another image, or ask who keeps this gateway; the denial ends at {until}"),
            None => "use another image, or ask who keeps this gateway".to_owned(),
        };
        Finding::error(Code::DeniedByOperator, what).mend(mend)
    }
}
