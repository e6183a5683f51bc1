//! The store in one redb file. Reads run where they are asked for when they touch one record, and on a blocking
//! thread when they touch many; writes go to one thread that commits them together (see `writer`).
//!
//! This module must not decide anything about attestations; it keeps what it is given.

mod access;
mod audit;
mod claims;
mod content;
mod denials;
mod exemptions;
mod file;
mod memory;
mod named;
mod pulls;
mod read;
mod sessions;
mod tables;
#[cfg(test)]
mod tests;
mod withdrawals;
mod write;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use contracts::{
    Digest, Repository, Verdict, VerdictSubject,
    api::{EndRun, OrganizationSettings, PullInfo, PulledImage, RevisionFiles, Withdrawn},
};
use jiff::Timestamp;

pub use self::tables::{FORMAT as LAYOUT, OLDEST as OLDEST_LAYOUT};
use self::{
    claims::Claim,
    file::Opened,
    memory::Memory,
    tables::META,
    writer::{Done, Writer},
};
use super::{
    AttestationFacts, AttestationName, AttestationRecord, AuditEntry, By, DenialPut, DenialRecord, Discovery, Ending,
    ExemptionPut, ExemptionRecord, Grant, PushedAbout, Receipt, Removal, RevisionRecord, Revocation, RunPage,
    RunRecord, RunSession, Said, SessionKept, Store, StoreError, Stored, TokenRecord, Via, WithdrawalRecord,
    Withdrawing, WorkflowRecord,
};
use crate::names::{Name, WorkflowName};

/// Durable state in one file, which this process alone has open. What a call has answered for survives
/// `kill -9`; dropping the store writes what waits and closes the file.
pub struct RedbStore {
    memory: Arc<Memory>,
    file: Arc<Opened>,
    writer: Writer,
}

impl RedbStore {
    /// Opens the state file, made with mode 0600 when it is not there. After a crash this repairs it, which
    /// takes longer the larger it is.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open; otherwise when it cannot be read or made.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::over(Opened::at(path)?)
    }
}

impl Store for RedbStore {
    fn is_empty(&self) -> Stored<'_, bool> {
        Box::pin(ready(Ok(self.memory.no_tokens())))
    }

    fn ready(&self) -> Stored<'_, ()> {
        if !self.writer.alive() {
            let reason = "the thread that writes it has stopped".to_owned();
            return Box::pin(ready(Err(StoreError::Failed { doing: "written", reason })));
        }
        self.read(|tx| tx.open_table(META).map(drop).map_err(tables::unread))
    }

    fn create_organization<'a>(&'a self, organization: &'a Name, token: TokenRecord, by: By) -> Stored<'a, bool> {
        let organization = organization.clone();
        self.write(move |tx| write::create_organization(tx, &organization, &token, &by))
    }

    fn settings<'a>(&'a self, organization: &'a Name) -> Stored<'a, OrganizationSettings> {
        self.read(|tx| read::settings(tx, organization))
    }

    fn put_settings<'a>(&'a self, organization: &'a Name, settings: OrganizationSettings, by: By) -> Stored<'a, ()> {
        let organization = organization.clone();
        self.write(move |tx| write::put_settings(tx, &organization, &settings, &by))
    }

    fn said<'a>(&'a self, organization: &'a Name) -> Stored<'a, Said> {
        let organization = organization.clone();
        self.read_many(move |tx| {
            Ok(Said {
                settings: read::settings(tx, &organization)?,
                workflows: read::workflows(tx, &organization)?,
                contracts: read::contracts(tx, &organization)?,
                exemptions: exemptions::all(tx, &organization)?,
            })
        })
    }

    fn only_organization(&self) -> Stored<'_, Option<Name>> {
        self.read(read::only_organization)
    }

    fn token_by_secret(&self, secret: Digest) -> Stored<'_, Option<TokenRecord>> {
        Box::pin(ready(Ok(self.memory.token(&secret))))
    }

    fn add_token(&self, token: TokenRecord, by: By) -> Stored<'_, ()> {
        self.write(move |tx| write::add_token(tx, &token, &by))
    }

    fn tokens<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<TokenRecord>> {
        let organization = organization.clone();
        self.read_many(move |tx| read::tokens(tx, &organization))
    }

    fn token_used(&self, token: &TokenRecord, now: Timestamp) {
        let (secret, used) = (token.secret, TokenRecord::used(now));
        if !self.memory.first_use(&secret, used) {
            return;
        }
        let (organization, id) = (token.organization.clone(), token.id.clone());
        if !self.writer.offer(move |tx| write::token_used(tx, &organization, &id, used)) {
            self.memory.not_noted(&secret);
        }
    }

    fn revoke_token<'a>(&'a self, organization: &'a Name, id: &'a str, by: By) -> Stored<'a, Revocation> {
        let (organization, id) = (organization.clone(), id.to_owned());
        self.write(move |tx| write::revoke_token(tx, &organization, &id, &by))
    }

    fn apply_revision<'a>(
        &'a self,
        organization: &'a Name,
        contract: &'a Name,
        digest: Digest,
        files: RevisionFiles,
        by: By,
    ) -> Stored<'a, (RevisionRecord, bool)> {
        let (organization, contract) = (organization.clone(), contract.clone());
        self.write(move |tx| write::apply_revision(tx, &organization, &contract, digest, &files, &by))
    }

    fn revision<'a>(
        &'a self,
        organization: &'a Name,
        contract: &'a Name,
        number: Option<u32>,
    ) -> Stored<'a, Option<RevisionRecord>> {
        self.read(|tx| read::revision(tx, organization, contract, number))
    }

    fn contracts<'a>(&'a self, organization: &'a Name) -> Stored<'a, BTreeMap<Name, RevisionRecord>> {
        let organization = organization.clone();
        self.read_many(move |tx| read::contracts(tx, &organization))
    }

    fn last_number<'a>(&'a self, organization: &'a Name, contract: &'a Name) -> Stored<'a, u32> {
        self.read(|tx| read::last_number(tx, organization, contract))
    }

    fn remove_contract<'a>(
        &'a self,
        organization: &'a Name,
        contract: &'a Name,
        revision: u32,
        by: By,
    ) -> Stored<'a, Removal> {
        let (organization, contract) = (organization.clone(), contract.clone());
        self.write(move |tx| write::remove_contract(tx, &organization, &contract, revision, &by))
    }

    fn put_workflow<'a>(&'a self, organization: &'a Name, workflow: WorkflowRecord, by: By) -> Stored<'a, ()> {
        let organization = organization.clone();
        self.write(move |tx| write::put_workflow(tx, &organization, &workflow, &by))
    }

    fn workflow<'a>(&'a self, organization: &'a Name, name: &'a WorkflowName) -> Stored<'a, Option<WorkflowRecord>> {
        self.read(|tx| read::workflow(tx, organization, name))
    }

    fn workflows<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<WorkflowRecord>> {
        let organization = organization.clone();
        self.read_many(move |tx| read::workflows(tx, &organization))
    }

    fn start_run<'a>(&'a self, organization: &'a Name, run: RunRecord, by: By) -> Stored<'a, bool> {
        let organization = organization.clone();
        self.write(move |tx| write::start_run(tx, &organization, &run, &by))
    }

    fn end_run<'a>(&'a self, organization: &'a Name, id: &'a str, end: EndRun, by: By) -> Stored<'a, Ending> {
        let (organization, id) = (organization.clone(), id.to_owned());
        self.write(move |tx| write::end_run(tx, &organization, &id, &end, &by))
    }

    fn keep_session<'a>(
        &'a self,
        organization: &'a Name,
        id: &'a str,
        bytes: Bytes,
        before: Option<Digest>,
        now: Timestamp,
    ) -> Stored<'a, SessionKept> {
        let (organization, id) = (organization.clone(), id.to_owned());
        // Hashed here: the one thread that writes is everyone's.
        let session = RunSession { mark: Digest::of(&bytes), bytes };
        self.write(move |tx| sessions::keep(tx, &organization, &id, &session, before, now))
    }

    fn session<'a>(&'a self, organization: &'a Name, id: &'a str) -> Stored<'a, Option<RunSession>> {
        let (organization, id) = (organization.clone(), id.to_owned());
        self.read_many(move |tx| sessions::read(tx, &organization, &id))
    }

    fn run<'a>(&'a self, organization: &'a Name, id: &'a str) -> Stored<'a, Option<RunRecord>> {
        self.read(|tx| read::run(tx, organization, id))
    }

    fn claim_run<'a>(
        &'a self,
        organization: &'a Name,
        id: &'a str,
        workflow: &'a WorkflowName,
        signed: Digest,
    ) -> Stored<'a, bool> {
        Box::pin(async move {
            let claim = Claim { workflow: workflow.clone(), signed };
            // Nearly always it is claimed since long, and nothing is to be written.
            if let Some(known) = self.file.read(|tx| claims::known(tx, organization, id))? {
                return Ok(known == claim);
            }
            let (organization, id) = (organization.clone(), id.to_owned());
            self.write(move |tx| claims::claim(tx, &organization, &id, &claim)).await
        })
    }

    fn run_claimed<'a>(
        &'a self,
        organization: &'a Name,
        id: &'a str,
        workflow: &'a WorkflowName,
        signed: Digest,
    ) -> Stored<'a, bool> {
        let claim = Claim { workflow: workflow.clone(), signed };
        self.read(|tx| Ok(claims::known(tx, organization, id)? == Some(claim)))
    }

    fn runs<'a>(
        &'a self,
        organization: &'a Name,
        workflow: Option<&'a WorkflowName>,
        after: Option<&'a RunRecord>,
        limit: usize,
    ) -> Stored<'a, RunPage> {
        let (organization, workflow, after) = (organization.clone(), workflow.cloned(), after.cloned());
        self.read_many(move |tx| read::runs(tx, &organization, workflow.as_ref(), after.as_ref(), limit))
    }

    fn receive<'a>(
        &'a self,
        organization: &'a Name,
        attestation: AttestationRecord,
        run: RunRecord,
    ) -> Stored<'a, Receipt> {
        let organization = organization.clone();
        self.write(move |tx| write::receive(tx, &organization, &attestation, &run))
    }

    fn discovered<'a>(&'a self, organization: &'a Name, found: Vec<Discovery>) -> Stored<'a, Vec<Digest>> {
        let organization = organization.clone();
        self.write(move |tx| write::discovered(tx, &organization, &found))
    }

    fn wrapping<'a>(
        &'a self,
        organization: &'a Name,
        signed: Digest,
        speaks_for: Digest,
    ) -> Stored<'a, Option<Digest>> {
        self.read(|tx| read::wrapping(tx, organization, signed, speaks_for))
    }

    fn audit<'a>(
        &'a self,
        organization: &'a Name,
        event: &'a str,
        detail: serde_json::Value,
        now: Timestamp,
    ) -> Stored<'a, ()> {
        let (organization, event) = (organization.clone(), event.to_owned());
        self.write(move |tx| {
            audit::append(tx, &organization, &event, detail.clone(), now)?;
            Ok(Done::unchanged(()))
        })
    }

    fn audit_log<'a>(&'a self, organization: &'a Name, from: u64, limit: usize) -> Stored<'a, Vec<AuditEntry>> {
        let organization = organization.clone();
        self.read_many(move |tx| read::audit_log(tx, &organization, from, limit))
    }

    fn attestation<'a>(&'a self, organization: &'a Name, id: Digest) -> Stored<'a, Option<AttestationRecord>> {
        let organization = organization.clone();
        self.read_many(move |tx| read::attestation(tx, &organization, id))
    }

    fn attestation_facts<'a>(&'a self, organization: &'a Name, id: Digest) -> Stored<'a, Option<AttestationFacts>> {
        self.read(|tx| read::attestation_facts(tx, organization, id))
    }

    fn named<'a>(&'a self, organization: &'a Name, digests: BTreeSet<Digest>) -> Stored<'a, BTreeSet<Digest>> {
        let organization = organization.clone();
        self.read_many(move |tx| named::among(tx, &organization, &digests))
    }

    fn pushed_about<'a>(&'a self, organization: &'a Name, subject: &'a VerdictSubject) -> Stored<'a, PushedAbout> {
        let (organization, subject) = (organization.clone(), subject.clone());
        self.read_many(move |tx| read::pushed_about(tx, &organization, &subject))
    }

    fn anything_pushed_about<'a>(&'a self, organization: &'a Name, image: Digest) -> Stored<'a, bool> {
        self.read(|tx| read::anything_pushed_about(tx, organization, image))
    }

    fn put_exemption<'a>(
        &'a self,
        organization: &'a Name,
        record: ExemptionRecord,
        by: By,
    ) -> Stored<'a, ExemptionPut> {
        let organization = organization.clone();
        self.write(move |tx| exemptions::put(tx, &organization, &record, &by))
    }

    fn withdraw_exemption<'a>(
        &'a self,
        organization: &'a Name,
        name: &'a str,
        by: By,
    ) -> Stored<'a, Option<ExemptionRecord>> {
        let (organization, name) = (organization.clone(), name.to_owned());
        self.write(move |tx| exemptions::withdraw(tx, &organization, &name, &by))
    }

    fn exemptions<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<ExemptionRecord>> {
        let organization = organization.clone();
        self.read_many(move |tx| exemptions::all(tx, &organization))
    }

    fn put_denial<'a>(&'a self, organization: &'a Name, record: DenialRecord, by: By) -> Stored<'a, DenialPut> {
        let organization = organization.clone();
        self.write(move |tx| denials::put(tx, &organization, &record, &by))
    }

    fn remove_denial<'a>(&'a self, organization: &'a Name, digest: Digest, by: By) -> Stored<'a, Option<DenialRecord>> {
        let organization = organization.clone();
        self.write(move |tx| denials::remove(tx, &organization, digest, &by))
    }

    fn denials<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<DenialRecord>> {
        let organization = organization.clone();
        self.read_many(move |tx| denials::all(tx, &organization))
    }

    fn withdraw_attestation<'a>(
        &'a self,
        organization: &'a Name,
        name: &'a AttestationName,
        withdrawn: Withdrawn,
        by: By,
    ) -> Stored<'a, Withdrawing> {
        let (organization, name) = (organization.clone(), name.clone());
        self.write(move |tx| withdrawals::withdraw(tx, &organization, &name, &withdrawn, &by))
    }

    fn restore_attestation<'a>(
        &'a self,
        organization: &'a Name,
        name: &'a AttestationName,
        by: By,
    ) -> Stored<'a, Option<WithdrawalRecord>> {
        let (organization, name) = (organization.clone(), name.clone());
        self.write(move |tx| withdrawals::restore(tx, &organization, &name, &by))
    }

    fn withdrawals<'a>(&'a self, organization: &'a Name) -> Stored<'a, Vec<WithdrawalRecord>> {
        let organization = organization.clone();
        self.read_many(move |tx| withdrawals::all(tx, &organization))
    }

    fn withdrawn_about<'a>(&'a self, organization: &'a Name, subject: Digest) -> Stored<'a, Vec<AttestationFacts>> {
        self.read(|tx| withdrawals::about(tx, organization, subject))
    }

    fn put_pulls<'a>(&'a self, organization: &'a Name, pulls: Vec<PullInfo>) -> Stored<'a, ()> {
        let organization = organization.clone();
        self.write_soon(move |tx| pulls::put(tx, &organization, &pulls))
    }

    fn pulls<'a>(
        &'a self,
        organization: &'a Name,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Stored<'a, Vec<PullInfo>> {
        let organization = organization.clone();
        self.read_many(move |tx| pulls::newest(tx, &organization, since, limit))
    }

    fn pulled_images<'a>(
        &'a self,
        organization: &'a Name,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Stored<'a, Vec<PulledImage>> {
        let organization = organization.clone();
        self.read_many(move |tx| pulls::images(tx, &organization, since, limit))
    }

    fn verdict<'a>(&'a self, organization: &'a Name, key: Digest) -> Stored<'a, Option<Verdict>> {
        self.read(|tx| read::verdict(tx, organization, key))
    }

    fn put_verdict<'a>(&'a self, organization: &'a Name, key: Digest, verdict: Verdict) -> Stored<'a, ()> {
        let organization = organization.clone();
        self.write_soon(move |tx| write::put_verdict(tx, &organization, key, &verdict))
    }

    fn put_grants<'a>(
        &'a self,
        organization: &'a Name,
        repository: &'a Repository,
        grants: Vec<Grant>,
    ) -> Stored<'a, ()> {
        let (organization, repository) = (organization.clone(), repository.clone());
        self.write_soon(move |tx| write::put_grants(tx, &organization, &repository, &grants, write::GRANTS_KEPT))
    }

    fn ways<'a>(&'a self, organization: &'a Name, repository: &'a Repository, child: Digest) -> Stored<'a, Vec<Via>> {
        self.read(|tx| read::ways(tx, organization, repository, child))
    }

    fn grants_forgotten(&self) -> u64 {
        self.memory.grants()
    }

    fn rules_changed(&self, organization: &Name) -> u64 {
        self.memory.rules(organization)
    }

    fn evidence_changed(&self, organization: &Name, subject: &Digest) -> u64 {
        self.memory.evidence(organization, subject)
    }

    fn backup<'a>(&'a self, to: &'a Path) -> Stored<'a, ()> {
        let (file, to) = (Arc::clone(&self.file), to.to_owned());
        self.blocking("copied", move || file::copy(&file, &to))
    }
}
