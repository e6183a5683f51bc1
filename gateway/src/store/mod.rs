//! What the gateway remembers, behind one trait: redb on one machine, a database server when one is not enough.
//!
//! Every write that a caller is told about is durable before the call returns. Every call names the
//! organization first; nothing is found across organizations. The store holds no policy: it never decides.

mod attestation;
mod denial;
mod exemption;
mod redb;
mod runs;
mod token;
mod withdrawal;

pub use attestation::{AttestationFacts, AttestationRecord, Discovery, PushedAbout};
pub use denial::{DenialPut, DenialRecord};
pub use exemption::{ExemptionBody, ExemptionPut, ExemptionRecord};
pub use redb::{LAYOUT, OLDEST_LAYOUT, RedbStore};
pub use runs::{Ending, RunPage, RunRecord, RunSession, SessionKept};
pub use token::{Revocation, TokenRecord};
pub use withdrawal::{AttestationName, WithdrawalRecord, Withdrawing};

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use contracts::{
    Digest, Repository, RunnerIdentity, Verdict, VerdictSubject,
    api::{EndRun, OrganizationSettings, PullInfo, PulledImage, RevisionFiles, Withdrawn},
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::{Name, WorkflowName};

/// One revision of a contract, immutable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// The contract's name.
    pub contract: Name,
    /// From 1, without gaps.
    pub number: u32,
    /// Over all files.
    pub digest: Digest,
    /// The files as they were uploaded.
    pub files: RevisionFiles,
    /// When it was applied.
    pub applied_at: Timestamp,
}

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRecord {
    /// Its name.
    pub name: WorkflowName,
    /// Who owns it.
    pub team: String,
    /// The contract it is bound to.
    pub contract: Name,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How an attestation came here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "lowercase")]
pub enum Source {
    /// Pushed for a run of a workflow.
    Pushed {
        /// The workflow that the token named.
        workflow: WorkflowName,
        /// The run.
        run: String,
        /// The contract that judged it at intake.
        contract: Name,
        /// Its revision then.
        revision: u32,
        /// Whether it satisfied that revision.
        accepted: bool,
        /// The images that it was made for, under which it is found. It can name others as its subjects.
        made_for: Vec<Digest>,
        /// The artifacts that are no images and that it was made for. It is found under these when one of them is asked
        /// about, and never when an image is.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        artifacts: Vec<Digest>,
        /// Who was proven to have pushed it: part of the evidence, as what was signed cannot say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<Box<RunnerIdentity>>,
    },
    /// Found beside an image in its registry, and verified.
    Discovered {
        /// Where.
        repository: Repository,
    },
    /// Among the evidence of a run, where an operator withdrew it. Not verified before it was stored.
    Material,
}

/// What `receive` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// Stored, indexed, audited, durable.
    Stored,
    /// These very bytes were there already; nothing changed. The first receipt's run is given.
    Same(Box<RunRecord>),
    /// The run id belongs to other signed content or to another workflow; nothing was stored.
    RunUsed,
    /// The pipeline said that the run failed or was cancelled; nothing was stored.
    RunEnded,
    /// The same signed content was found beside an image, and an operator withdrew it; nothing was stored.
    Withdrawn(Box<Withdrawn>),
}

/// What `remove_contract` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The contract decides nothing any more.
    Removed,
    /// There is no such contract, or not any more.
    Unknown,
    /// Another revision is current, this one; nothing changed.
    Changed(u32),
}

/// That a manifest, configuration or layer is reachable from an image, so that it may be served while the image and the
/// manifests between them may. Kept per organization and repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grant {
    /// By which way.
    pub via: Via,
    /// What is reachable by it.
    pub child: Digest,
}

/// A way to a manifest, configuration or layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via {
    /// The image (or index) that was asked the gate about.
    pub root: Digest,
    /// The manifest that refers to it: the image's own, or one that the image leads to.
    pub parent: Digest,
}

/// Who changes something and when, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The id of the token that asked for it, or what did it on its own.
    pub who: String,
    /// When.
    pub at: Timestamp,
}

impl By {
    /// By a token, by its id.
    pub fn new(who: impl Into<String>, at: Timestamp) -> Self {
        Self { who: who.into(), at }
    }
}

/// One entry of an organization's audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// From 1, without gaps.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, kebab-case.
    pub event: String,
    /// To what, by whom.
    pub detail: serde_json::Value,
    /// The digest of the entry before.
    pub previous: Option<Digest>,
    /// The digest of this entry as it is written.
    pub digest: Digest,
}

/// All that an organization has said about what is let through, read as of one moment: what was changed together counts
/// together.
#[derive(Debug, Clone)]
pub struct Said {
    /// The settings; the defaults when none were ever put.
    pub settings: OrganizationSettings,
    /// Its workflows.
    pub workflows: Vec<WorkflowRecord>,
    /// The current revision of every contract, by name.
    pub contracts: BTreeMap<Name, RevisionRecord>,
    /// Its exemptions, by name.
    pub exemptions: Vec<ExemptionRecord>,
}

/// The answer of every store call.
pub type Stored<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Durable state. See the module for what holds of every call.
pub trait Store: Send + Sync + 'static {
    /// Whether the installation has any token at all.
    fn is_empty(&self) -> Stored<'_, bool>;
    /// Whether state can be read now.
    fn ready(&self) -> Stored<'_, ()>;

    /// Makes an organization with its first admin token. False: the name is taken, nothing changed.
    fn create_organization<'a>(&'a self, organization: &'a Name, token: TokenRecord, by: By) -> Stored<'a, bool>;
    /// The settings; the defaults when none were ever put.
    fn settings<'a>(&'a self, organization: &'a Name) -> Stored<'a, OrganizationSettings>;
    /// Replaces the settings.
    fn put_settings<'a>(&'a self, organization: &'a Name, settings: OrganizationSettings, by: By) -> Stored<'a, ()>;

    /// All that an organization has said, as of one moment.
    fn said<'a>(&'a self, organization: &'a Name) -> Stored<'a, Said>;
    /// The organization, when there is no other one.
    fn only_organization(&self) -> Stored<'_, Option<Name>>;

    /// The token with this secret's digest, revoked or not.
    fn token_by_secret(&self, secret: Digest) -> Stored<'_, Option<TokenRecord>>;
    /// Adds a token.
    fn add_token(&self, token: TokenRecord, by: By) -> Stored<'_, ()>;
    /// All tokens of an organization, oldest first.
    fn tokens<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<TokenRecord>>;
    /// Notes that a token was used, once an hour at most. Does not wait, and may be lost.
    fn token_used(&self, token: &TokenRecord, now: Timestamp);
    /// Revokes a token, unless no token of role `admin` would be left that lasts.
    fn revoke_token<'a>(&'a self, organization: &'a Name, id: &'a str, by: By) -> Stored<'a, Revocation>;

    /// Adds a revision unless the current one has the same digest; answers with the revision that is current
    /// after the call and whether it is new.
    fn apply_revision<'a>(
        &'a self,
        organization: &'a Name,
        contract: &'a Name,
        digest: Digest,
        files: RevisionFiles,
        by: By,
    ) -> Stored<'a, (RevisionRecord, bool)>;
    /// A revision. Without a number the current one: none when the contract was removed, whose revisions are still there.
    fn revision<'a>(
        &'a self,
        organization: &'a Name,
        contract: &'a Name,
        number: Option<u32>,
    ) -> Stored<'a, Option<RevisionRecord>>;
    /// The current revision of every contract, by name.
    fn contracts<'a>(&'a self, organization: &'a Name) -> Stored<'a, BTreeMap<Name, RevisionRecord>>;

    /// The number of the last revision that was ever applied, also of a contract that was removed; 0: there was none.
    fn last_number<'a>(&'a self, organization: &'a Name, contract: &'a Name) -> Stored<'a, u32>;
    /// Removes a contract, when this is its current revision. What was judged by it keeps its revisions, which can be read
    /// by their numbers. Applied again, the name gets the next number.
    fn remove_contract<'a>(
        &'a self,
        organization: &'a Name,
        contract: &'a Name,
        revision: u32,
        by: By,
    ) -> Stored<'a, Removal>;

    /// Makes or changes a workflow.
    fn put_workflow<'a>(&'a self, organization: &'a Name, workflow: WorkflowRecord, by: By) -> Stored<'a, ()>;
    /// One workflow.
    fn workflow<'a>(&'a self, organization: &'a Name, name: &'a WorkflowName) -> Stored<'a, Option<WorkflowRecord>>;
    /// All workflows, by name.
    fn workflows<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<WorkflowRecord>>;

    /// Begins a run. False: the id is taken, or claimed by another workflow.
    fn start_run<'a>(&'a self, organization: &'a Name, run: RunRecord, by: By) -> Stored<'a, bool>;
    /// Ends a run that has no attestation: nothing is taken for it any more. One that has ended keeps how it did.
    fn end_run<'a>(&'a self, organization: &'a Name, id: &'a str, end: EndRun, by: By) -> Stored<'a, Ending>;
    /// Keeps the session of a run that has not ended, in place of the one with this mark, or as the first when none is
    /// given. What rested for [`contracts::limits::RUN_STATE_AGE`] is dropped on the way.
    fn keep_session<'a>(
        &'a self,
        organization: &'a Name,
        id: &'a str,
        bytes: Bytes,
        before: Option<Digest>,
        now: Timestamp,
    ) -> Stored<'a, SessionKept>;
    /// The session of a run. It ends with the run.
    fn session<'a>(&'a self, organization: &'a Name, id: &'a str) -> Stored<'a, Option<RunSession>>;
    /// One run.
    fn run<'a>(&'a self, organization: &'a Name, id: &'a str) -> Stored<'a, Option<RunRecord>>;
    /// Claims a run id for what a workflow signed, wherever that was found. What was received has claimed its own.
    /// False: the id was begun by or is claimed for another workflow, or for other content. A claim never changes: the
    /// same question has the same answer for good.
    fn claim_run<'a>(
        &'a self,
        organization: &'a Name,
        id: &'a str,
        workflow: &'a WorkflowName,
        signed: Digest,
    ) -> Stored<'a, bool>;
    /// Whether a run id is claimed so, by [`Store::claim_run`] or by a push. Claims nothing.
    fn run_claimed<'a>(
        &'a self,
        organization: &'a Name,
        id: &'a str,
        workflow: &'a WorkflowName,
        signed: Digest,
    ) -> Stored<'a, bool>;
    /// Runs, newest first, after one of the list: at most `limit`, and no more than [`contracts::limits::LISTED_BYTES`] take.
    fn runs<'a>(
        &'a self,
        organization: &'a Name,
        workflow: Option<&'a WorkflowName>,
        after: Option<&'a RunRecord>,
        limit: usize,
    ) -> Stored<'a, RunPage>;

    /// Takes a pushed attestation and the run as it stands after it, in one transaction with the audit entry.
    fn receive<'a>(
        &'a self,
        organization: &'a Name,
        attestation: AttestationRecord,
        run: RunRecord,
    ) -> Stored<'a, Receipt>;
    /// Takes attestations found upstream; those that are there already keep their first receipt. Answers with the id
    /// of the one that stands for each: its own, or that of the first of its wrappings.
    fn discovered<'a>(&'a self, organization: &'a Name, found: Vec<Discovery>) -> Stored<'a, Vec<Digest>>;
    /// The attestation found upstream that stands for all wrappings of the same signed content which speak for the
    /// same.
    fn wrapping<'a>(&'a self, organization: &'a Name, signed: Digest, speaks_for: Digest)
    -> Stored<'a, Option<Digest>>;
    /// Writes an audit entry for what left nothing else behind (a refused signature).
    fn audit<'a>(
        &'a self,
        organization: &'a Name,
        event: &'a str,
        detail: serde_json::Value,
        now: Timestamp,
    ) -> Stored<'a, ()>;
    /// The audit log from an entry on, at most `limit` entries and no more than [`contracts::limits::LISTED_BYTES`] take, each
    /// proven to follow on the one before it.
    fn audit_log<'a>(&'a self, organization: &'a Name, from: u64, limit: usize) -> Stored<'a, Vec<AuditEntry>>;
    /// One attestation.
    fn attestation<'a>(&'a self, organization: &'a Name, id: Digest) -> Stored<'a, Option<AttestationRecord>>;
    /// The same without its bytes, which can be many.
    fn attestation_facts<'a>(&'a self, organization: &'a Name, id: Digest) -> Stored<'a, Option<AttestationFacts>>;
    /// Which of these digests are named by anything that is kept: by an attestation, however it came, or by the session of a
    /// run. Reads all of them.
    fn named<'a>(&'a self, organization: &'a Name, digests: BTreeSet<Digest>) -> Stored<'a, BTreeSet<Digest>>;
    /// What was pushed for an image or another artifact, as far as it may decide. What was found upstream is not among
    /// it, nor what only names the subject, nor what was made for one of the other kind with the same digest. So no
    /// amount of that, nor of other workflows' runs, hides a run.
    fn pushed_about<'a>(&'a self, organization: &'a Name, subject: &'a VerdictSubject) -> Stored<'a, PushedAbout>;
    /// Whether that is anything at all, of an image.
    fn anything_pushed_about<'a>(&'a self, organization: &'a Name, image: Digest) -> Stored<'a, bool>;

    /// Stores an exemption, unless its bytes were withdrawn or replaced before.
    fn put_exemption<'a>(&'a self, organization: &'a Name, record: ExemptionRecord, by: By)
    -> Stored<'a, ExemptionPut>;
    /// Takes an exemption back, for good. `None`: there is none of that name.
    fn withdraw_exemption<'a>(
        &'a self,
        organization: &'a Name,
        name: &'a str,
        by: By,
    ) -> Stored<'a, Option<ExemptionRecord>>;
    /// All exemptions, by name, also those that are over or were withdrawn.
    fn exemptions<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<ExemptionRecord>>;

    /// Denies a digest, in the place of the denial of it that is there. Those that have ended are dropped on the way.
    fn put_denial<'a>(&'a self, organization: &'a Name, record: DenialRecord, by: By) -> Stored<'a, DenialPut>;
    /// Ends a denial. `None`: the digest is not denied.
    fn remove_denial<'a>(&'a self, organization: &'a Name, digest: Digest, by: By) -> Stored<'a, Option<DenialRecord>>;
    /// All denials, by digest, some that have ended among them.
    fn denials<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<DenialRecord>>;

    /// Withdraws what an attestation signed, in whichever bytes it came or comes: it is marked, and nothing is removed.
    fn withdraw_attestation<'a>(
        &'a self,
        organization: &'a Name,
        name: &'a AttestationName,
        withdrawn: Withdrawn,
        by: By,
    ) -> Stored<'a, Withdrawing>;
    /// Takes a withdrawal back, as if it had not been. `None`: no such attestation is withdrawn.
    fn restore_attestation<'a>(
        &'a self,
        organization: &'a Name,
        name: &'a AttestationName,
        by: By,
    ) -> Stored<'a, Option<WithdrawalRecord>>;
    /// All withdrawals, by what was signed.
    fn withdrawals<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<WithdrawalRecord>>;
    /// What is withdrawn and names a subject, but for what was pushed ([`Store::pushed_about`] has that), by id. It is
    /// there until it is restored, whatever lies in a registry. [`Store::evidence_changed`] tells when it changes.
    fn withdrawn_about<'a>(&'a self, organization: &'a Name, subject: Digest) -> Stored<'a, Vec<AttestationFacts>>;

    /// Appends to the log of pulls, which keeps the newest [`contracts::limits::PULLS`] of what clients were let pull, and
    /// apart from them the newest of the others; may be lost in a crash.
    fn put_pulls<'a>(&'a self, organization: &'a Name, pulls: Vec<PullInfo>) -> Stored<'a, ()>;
    /// The log of pulls from an instant on, newest first, at most `limit` entries.
    fn pulls<'a>(&'a self, organization: &'a Name, since: Option<Timestamp>, limit: usize)
    -> Stored<'a, Vec<PullInfo>>;
    /// The images that were let through from an instant on, each with its newest entry, newest first, at most `limit`. No
    /// more than these is held in memory; the whole log may be read for it.
    fn pulled_images<'a>(
        &'a self,
        organization: &'a Name,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Stored<'a, Vec<PulledImage>>;

    /// A remembered verdict. What cannot be read is `None`: it can be computed again.
    fn verdict<'a>(&'a self, organization: &'a Name, key: Digest) -> Stored<'a, Option<Verdict>>;
    /// Remembers a verdict; may be lost in a crash.
    fn put_verdict<'a>(&'a self, organization: &'a Name, key: Digest, verdict: Verdict) -> Stored<'a, ()>;
    /// Remembers grants; may be lost in a crash (the client asks for the manifest again), and the oldest are forgotten when
    /// there are too many.
    fn put_grants<'a>(
        &'a self,
        organization: &'a Name,
        repository: &'a Repository,
        grants: Vec<Grant>,
    ) -> Stored<'a, ()>;
    /// The last steps of the ways by which a child is reachable, those of one image together.
    fn ways<'a>(&'a self, organization: &'a Name, repository: &'a Repository, child: Digest) -> Stored<'a, Vec<Via>>;

    /// A number that differs after grants were forgotten: what was put before may have to be put again.
    fn grants_forgotten(&self) -> u64;

    /// A number that differs after any change to an organization's contracts, workflows, exemptions, denials or settings.
    /// Read from memory; it is raised before the change is acknowledged.
    fn rules_changed(&self, organization: &Name) -> u64;
    /// The same for attestations about a subject. Other subjects may share it.
    fn evidence_changed(&self, organization: &Name, subject: &Digest) -> u64;

    /// Writes a consistent copy of the whole state to a new file at this path.
    fn backup<'a>(&'a self, to: &'a std::path::Path) -> Stored<'a, ()>;
}

/// Why a store call failed. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the state file open.
    #[error(
        "the state file `{path}` is in use by another process: stop that gateway first, or name another file under `state`"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// There is no room left on the disk.
    #[error("there is no room left for the state")]
    Full,
    /// The disk, the file or the database failed.
    #[error("the state could not be {doing}: {reason}")]
    Failed {
        /// `read`, `written`, `opened`.
        doing: &'static str,
        /// What the layer below said.
        reason: String,
    },
    /// The file has a layout that this version does not read.
    #[error(
        "the state file `{path}` has the layout {found}{}, and this program (sluice {}) reads {OLDEST_LAYOUT} to {LAYOUT}: {}",
        by.as_ref().map(|by| format!(" of sluice {by}")).unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        layout_mend(*found)
    )]
    Layout {
        /// The file.
        path: String,
        /// Its layout.
        found: u64,
        /// The version that wrote it, where the file tells.
        by: Option<String>,
    },
    /// A record is not what this version writes.
    #[error("the state holds a record of `{table}` that this version cannot read: {reason}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

fn layout_mend(found: u64) -> &'static str {
    if found > LAYOUT {
        "start the newer version that wrote it, put back the backup from before the upgrade, or name another file under `state`"
    } else {
        "start the version that wrote it, one from before the first release, or name another file under `state` and apply the contracts \
         and settings to it (docs/upgrading.md)"
    }
}
