//! What each organization's contracts say, compiled once.
//!
//! This module must not evaluate anything.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use contracts::{
    Code, Diagnostics, Digest, Enforcement, Finding, Hasher, Repository, TrustRoot,
    api::{OrganizationSettings, RevisionFiles, Unmatched},
    contract::{BreakGlass, Contract},
    exemption::{ApprovalRules, Approvals, Approved, RuleNames},
    pattern::RepositoryPattern,
    revision::Revision,
    vsa::VerifierDemand,
};
use moka::sync::Cache;
use policies::RuleSet;

use crate::{
    denials::Denials,
    gate::GateError,
    names::{Name, WorkflowName},
    store::{ExemptionBody, ExemptionRecord, RevisionRecord, Said, Store},
    trust::{Trust, Verifications},
    workers::Workers,
};

/// Compiled revisions that are remembered.
const COMPILED: u64 = 1024;

/// A revision, compiled, with who may speak for it.
#[derive(Debug)]
pub struct Compiled {
    revision: Revision,
    rules: RuleSet,
    /// Or why there is none.
    trust: Result<Trust, String>,
    verifiers: Vec<TrustedVerifier>,
}

/// Another verifier that a contract asks, with those who sign for it.
#[derive(Debug)]
pub struct TrustedVerifier {
    /// What its summary has to be.
    pub demand: VerifierDemand,
    /// Who signs it.
    pub trust: Trust,
}

impl Compiled {
    /// Reads and compiles a revision. `settings` say who signs where the contract does not. A contract that nobody
    /// may sign for is not refused here: signers can go missing after it was applied, when the organization's
    /// default ones are removed. It allows nothing.
    ///
    /// # Errors
    /// Every mistake in the documents.
    pub fn new(files: &RevisionFiles, settings: &OrganizationSettings, roots: &TrustRoot) -> Result<Self, Diagnostics> {
        let (revision, _) = Revision::from_files(files)?;
        let rules = policies::compile(&revision)?;
        // One contract whose signers cannot be used must not keep the others from being asked.
        let trust = Trust::of(&revision, settings, roots)
            .and_then(|trust| trust.ok_or_else(|| "neither the contract nor the organization names any".to_owned()));
        let mut verifiers = Vec::new();
        for demand in revision.verifiers() {
            // Without its signer nobody speaks for it, and the contract allows nothing.
            if let Ok(trust) = Trust::by(demand.signer.clone(), roots) {
                verifiers.push(TrustedVerifier { demand: demand.clone(), trust });
            }
        }
        Ok(Self { revision, rules, trust, verifiers })
    }

    /// The other verifiers whose summaries count.
    #[must_use]
    pub fn verifiers(&self) -> &[TrustedVerifier] {
        &self.verifiers
    }

    /// That nobody can sign for the contract, so that it allows nothing.
    #[must_use]
    pub fn nobody_may_sign(&self) -> Finding {
        let reason = self.trust.as_ref().err().map_or("", String::as_str);
        Finding::error(Code::SignersMissing, format!("nobody can sign for the contract: {reason}"))
            .at(self.revision.contract().origin.clone())
            .mend("add `signers` to the contract, or give the organization default signers")
    }

    /// The documents.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Who may speak for the contract; `None`: nobody.
    #[must_use]
    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref().ok()
    }

    /// Whether the contract answers for pulls of this repository.
    #[must_use]
    pub fn answers_for(&self, repository: &Repository) -> bool {
        let admission = self.revision.contract().admission.as_ref();
        admission.is_some_and(|a| a.repositories.iter().any(|pattern| pattern.value.matches(repository)))
    }

    /// Who may let an image through in an emergency.
    #[must_use]
    pub fn break_glass(&self) -> Option<&BreakGlass> {
        self.revision.contract().admission.as_ref().and_then(|admission| admission.break_glass.as_ref())
    }

    /// Whether its deny blocks a pull.
    #[must_use]
    pub fn enforcement(&self) -> Enforcement {
        self.revision.contract().admission.as_ref().map(|a| a.enforcement).unwrap_or_default()
    }
}

/// A contract at its current revision.
#[derive(Debug, Clone)]
pub struct CurrentContract {
    /// Its name.
    pub name: Name,
    /// The revision's number.
    pub revision: u32,
    /// What it says.
    pub compiled: Arc<Compiled>,
}

/// A contract whose current revision this version cannot use.
#[derive(Debug, Clone)]
pub struct Unusable {
    /// What is wrong.
    pub error: GateError,
    /// What it answers for; `None` when not even that can be read: then it may be any image.
    repositories: Option<Vec<RepositoryPattern>>,
}

impl Unusable {
    fn new(files: &RevisionFiles, error: GateError) -> Self {
        let text = files.files.get(&files.contract).map(String::as_bytes).unwrap_or_default();
        let contract = Contract::parse(&files.contract, text).ok().map(|(contract, _)| contract);
        let patterns = |contract: Contract| {
            contract.admission.into_iter().flat_map(|admission| admission.repositories).map(|p| p.value).collect()
        };
        Self { error, repositories: contract.map(patterns) }
    }

    fn may_answer_for(&self, repository: &Repository) -> bool {
        self.repositories.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(repository)))
    }
}

/// All that an organization has said, as of one moment.
#[derive(Debug)]
pub struct OrganizationRules {
    /// The number of [`Rules::changed`], read before anything else was.
    pub changed: u64,
    /// What happens to images that no contract answers for.
    pub unmatched: Unmatched,
    /// The contracts, by name.
    pub contracts: BTreeMap<Name, Arc<CurrentContract>>,
    /// The contracts that cannot be used. What they answer for cannot be decided; all else can.
    pub unusable: BTreeMap<Name, Unusable>,
    /// Which contract each workflow is bound to.
    pub workflows: BTreeMap<WorkflowName, Name>,
    /// The exemptions that the organization's approvers, or its contracts in an emergency, approve of as they are now.
    pub exemptions: Vec<Arc<Approved>>,
    /// Those that were taken and do not count now, and why.
    pub void_exemptions: BTreeMap<Digest, String>,
    /// What operators deny.
    pub denials: Denials,
}

impl OrganizationRules {
    /// The contracts that answer for a repository, by name.
    ///
    /// # Errors
    /// When one that answers for it, or may do so, cannot be used.
    pub fn answering(&self, repository: &Repository) -> Result<Vec<Arc<CurrentContract>>, GateError> {
        match self.unusable.values().find(|unusable| unusable.may_answer_for(repository)) {
            Some(unusable) => Err(unusable.error.clone()),
            None => Ok(self.contracts.values().filter(|c| c.compiled.answers_for(repository)).cloned().collect()),
        }
    }

    /// A contract by its name; `None` when it was never applied.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn contract(&self, name: &Name) -> Result<Option<&Arc<CurrentContract>>, GateError> {
        match self.unusable.get(name) {
            Some(unusable) => Err(unusable.error.clone()),
            None => Ok(self.contracts.get(name)),
        }
    }

    /// Who may let an image through in an emergency, by a contract's current revision; `None`: nobody.
    ///
    /// # Errors
    /// When the contract cannot be used.
    pub fn break_glass(&self, contract: &Name) -> Result<Option<&BreakGlass>, GateError> {
        Ok(self.contract(contract)?.and_then(|contract| contract.compiled.break_glass()))
    }

    /// The rules of all contracts, by what people may call them.
    #[must_use]
    pub fn rule_names(&self) -> RuleNames {
        let rules = self.contracts.values().flat_map(|contract| contract.compiled.rules().rules());
        rules.map(|rule| (rule.id.as_str(), rule.names())).collect()
    }

    /// Why an exemption from a rule covers nothing, in words; of one contract when it is named.
    #[must_use]
    pub fn unknown_rule(&self, rule: &str, contract: Option<&str>) -> Option<String> {
        let about = self.contracts.iter().filter(|(name, _)| contract.is_none_or(|wanted| name.as_str() == wanted));
        let rules = about.flat_map(|(_, contract)| contract.compiled.rules().rules());
        rules.map(|rule| (rule.id.as_str(), rule.names())).collect::<RuleNames>().unknown(rule)
    }

    /// Whether a workflow is bound to a contract.
    #[must_use]
    pub fn bound(&self, workflow: &WorkflowName, contract: &Name) -> bool {
        self.workflows.get(workflow) == Some(contract)
    }
}

/// Compiled contracts of all organizations. What it gives is never older than the last acknowledged change.
pub struct Rules {
    store: Arc<dyn Store>,
    workers: Workers,
    /// The authorities that certificates are checked against; no keys.
    roots: RwLock<TrustRoot>,
    /// How often they were replaced.
    replaced: AtomicU64,
    verifications: Arc<Verifications>,
    /// By revision, default signers and the number of the authorities.
    compiled: Cache<Digest, Arc<Compiled>>,
    organizations: RwLock<BTreeMap<Name, Arc<Organization>>>,
}

#[derive(Default)]
struct Organization {
    current: RwLock<Option<Arc<OrganizationRules>>>,
    /// One caller loads; the others wait for it.
    loading: tokio::sync::Mutex<()>,
}

impl Organization {
    fn as_of(&self, changed: u64) -> Option<Arc<OrganizationRules>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|rules| rules.changed == changed).cloned()
    }
}

impl Rules {
    /// Rules over a store. `roots` are the authorities that vouch for certificates, without any key.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, workers: Workers, roots: TrustRoot) -> Self {
        Self {
            store,
            workers,
            roots: RwLock::new(roots),
            replaced: AtomicU64::default(),
            verifications: Arc::default(),
            compiled: Cache::new(COMPILED),
            organizations: RwLock::default(),
        }
    }

    /// Puts other authorities in the place of those that there are. Every question that is asked from now on is answered by
    /// these.
    pub fn replace_authorities(&self, roots: TrustRoot) {
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = roots;
        // After it: whoever sees the number sees the roots.
        self.replaced.fetch_add(1, Ordering::Release);
    }

    /// A number that grows with every change of what is said about an organization: by its own people, as the store counts
    /// it, or of who vouches for certificates. What was read before is old when it is another one.
    #[must_use]
    pub fn changed(&self, organization: &Name) -> u64 {
        // Neither ever falls, so the sum stays the same only when both do.
        self.store.rules_changed(organization).wrapping_add(self.replaced.load(Ordering::Acquire))
    }

    /// What an organization's contracts, workflows and settings say now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn current(&self, organization: &Name) -> Result<Arc<OrganizationRules>, GateError> {
        let slot = self.slot(organization);
        if let Some(rules) = slot.as_of(self.changed(organization)) {
            return Ok(rules);
        }
        let _loading = slot.loading.lock().await;
        // Read before anything else is: a change while loading makes what is loaded old at once.
        let changed = self.changed(organization);
        if let Some(rules) = slot.as_of(changed) {
            return Ok(rules);
        }
        let rules = Arc::new(self.load(organization, changed).await?);
        *slot.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&rules));
        Ok(rules)
    }

    /// A revision that is only tried: nothing of it is kept, and its number is 0.
    ///
    /// # Errors
    /// When it cannot be read or compiled now; every mistake in the documents is an answer.
    pub async fn tried(
        &self,
        organization: &Name,
        name: &Name,
        files: RevisionFiles,
    ) -> Result<Result<Arc<CurrentContract>, Diagnostics>, GateError> {
        let (settings, roots) = (self.store.settings(organization).await?, self.authorities());
        let compiled = self.workers.run(move || Compiled::new(&files, &settings, &roots)).await?;
        let contract = |compiled| CurrentContract { name: name.clone(), revision: 0, compiled: Arc::new(compiled) };
        Ok(compiled.map(|compiled| Arc::new(contract(compiled))))
    }

    /// The authorities that certificates are checked against, without any key.
    #[must_use]
    pub fn authorities(&self) -> TrustRoot {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was verified already, for all who verify.
    #[must_use]
    pub fn verifications(&self) -> &Arc<Verifications> {
        &self.verifications
    }

    fn slot(&self, organization: &Name) -> Arc<Organization> {
        let known = self.organizations.read().unwrap_or_else(PoisonError::into_inner).get(organization).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.organizations.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(organization.clone()).or_default())
        })
    }

    async fn load(&self, organization: &Name, changed: u64) -> Result<OrganizationRules, GateError> {
        let Said { settings, workflows, contracts: applied, exemptions } = self.store.said(organization).await?;
        let (mut contracts, mut unusable) = (BTreeMap::new(), BTreeMap::new());
        for (name, record) in applied {
            let (number, files) = (record.number, record.files.clone());
            match self.compile(record, &settings).await {
                Ok(compiled) => {
                    let contract = CurrentContract { name: name.clone(), revision: number, compiled };
                    contracts.insert(name, Arc::new(contract));
                }
                // One contract must not keep the others from being asked.
                Err(error @ GateError::Contract { .. }) => {
                    tracing::error!(%organization, contract = %name, revision = number, %error, "a contract cannot be used");
                    unusable.insert(name, Unusable::new(&files, error));
                }
                Err(passing) => return Err(passing),
            }
        }
        let workflows = workflows.into_iter().map(|w| (w.name, w.contract)).collect();
        let mut rules = OrganizationRules {
            changed,
            unmatched: settings.unmatched,
            contracts,
            unusable,
            workflows,
            exemptions: Vec::new(),
            void_exemptions: BTreeMap::new(),
            denials: Denials::new(self.store.denials(organization).await?),
        };
        self.exempt(organization, &settings, exemptions, &mut rules).await?;
        Ok(rules)
    }

    /// Approves the exemptions anew, by who may approve now.
    async fn exempt(
        &self,
        organization: &Name,
        settings: &OrganizationSettings,
        mut records: Vec<ExemptionRecord>,
        rules: &mut OrganizationRules,
    ) -> Result<(), GateError> {
        records.retain(|record| record.withdrawn_at.is_none() && !record.ended);
        if records.is_empty() {
            return Ok(());
        }
        let approval = ApprovalRules::new(organization.as_str(), &settings.exemptions, &rules.rule_names());
        let approval = approval.map_err(|reason| GateError::Trust { reason })?;
        let clauses: BTreeMap<String, BreakGlass> = rules
            .contracts
            .iter()
            .filter_map(|(name, contract)| Some((name.to_string(), contract.compiled.break_glass()?.clone())))
            .collect();
        let authorities = self.authorities();
        let work = move || {
            let approved = |record| approved(record, &approval, &clauses, &authorities);
            records.iter().map(|record| (record.digest, approved(record))).collect()
        };
        let found: Vec<(Digest, Result<Approved, String>)> = self.workers.run(work).await?;
        for (digest, result) in found {
            match result {
                Ok(approved) => rules.exemptions.push(Arc::new(approved)),
                Err(reason) => {
                    tracing::warn!(%organization, exemption = %digest, reason, "an exemption does not count any more");
                    rules.void_exemptions.insert(digest, reason);
                }
            }
        }
        Ok(())
    }

    async fn compile(
        &self,
        record: RevisionRecord,
        settings: &OrganizationSettings,
    ) -> Result<Arc<Compiled>, GateError> {
        let key = compiled_key(&record, settings, self.replaced.load(Ordering::Acquire));
        if let Some(compiled) = self.compiled.get(&key) {
            return Ok(compiled);
        }
        let RevisionRecord { contract, number, files, .. } = record;
        let (settings, roots) = (settings.clone(), self.authorities());
        let work = move || Compiled::new(&files, &settings, &roots);
        let compiled = self.workers.run(work).await?.map_err(|reason| GateError::Contract {
            contract: contract.to_string(),
            revision: number,
            reason,
        })?;
        let compiled = Arc::new(compiled);
        self.compiled.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }
}

fn approved(
    record: &ExemptionRecord,
    approval: &ApprovalRules,
    clauses: &BTreeMap<String, BreakGlass>,
    authorities: &TrustRoot,
) -> Result<Approved, String> {
    let approved = match &record.body {
        ExemptionBody::Signed(envelope) => {
            let approvals = Approvals::parse(envelope.to_string().as_bytes()).map_err(|e| e.to_string())?;
            // What was proven when it came stays proven.
            approval.approve(&approvals, authorities, record.applied_at)
        }
        ExemptionBody::Emergency(emergency) => approval.emergency(emergency, clauses.get(&emergency.contract)),
    };
    let approved = approved.map_err(|e| e.to_string())?;
    // What is withdrawn is told by this digest.
    if approved.exemption().digest == record.digest {
        Ok(approved)
    } else {
        Err("its bytes are not those that were applied".to_owned())
    }
}

fn compiled_key(record: &RevisionRecord, settings: &OrganizationSettings, replaced: u64) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update_framed(&replaced.to_be_bytes());
    hasher.update_framed(record.digest.as_bytes());
    for pem in &settings.default_signers {
        hasher.update_framed(pem.as_bytes());
    }
    hasher.finish()
}
