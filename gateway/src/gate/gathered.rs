//! What is at hand about an image or another artifact: the runs that were pushed for it, and what its registry has beside
//! it.

use contracts::{Digest, Hasher, VerdictSubject, api::Unmatched};

use super::{decide::Question, discovery::Look, memory::Place};
use crate::{
    denials::Denial,
    names::{Name, WorkflowName},
    rules::CurrentContract,
    store::{AttestationFacts, AttestationRecord, Source, Store, StoreError},
};

/// What goes into every verdict's key, raised when the gate itself comes to decide otherwise.
const GATE_VERSION: &[u8] = b"sluice.dev/verdict/v6";

/// An attestation that was pushed for a run. Its bytes are read when it is judged.
#[derive(Debug, Clone)]
pub(super) struct Pushed {
    pub(super) facts: AttestationFacts,
    pub(super) workflow: WorkflowName,
    pub(super) run: String,
    pub(super) contract: Name,
    pub(super) accepted: bool,
}

/// The evidence about one subject, as of one moment.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The newest run that was pushed of each workflow under each contract.
    pub(super) pushed: Vec<Pushed>,
    /// Whether there are more workflows than are examined. One whose run was rejected can be among them, so nothing
    /// that lies in a registry counts then.
    pub(super) crowded: bool,
    /// What the registry has beside the image and the gateway verified, as of the last look; what is known for longest
    /// first, whatever order the registry gives it in.
    pub(super) beside: Vec<AttestationRecord>,
    /// What operators withdrew that was not pushed and names the subject, by id, whether it lies beside it still or not.
    pub(super) withdrawn: Vec<AttestationFacts>,
    /// Whether the registry was looked at.
    pub(super) looked: bool,
    /// Whether that is all there is.
    pub(super) complete: bool,
    /// How many attestations the registry had that nobody trusted signed.
    pub(super) ignored: usize,
}

impl Gathered {
    /// Reads what the store has about a subject, and what it has of the last look.
    pub(super) async fn read(
        store: &dyn Store,
        organization: &Name,
        subject: &VerdictSubject,
        look: Option<&Look>,
    ) -> Result<Self, StoreError> {
        let about = store.pushed_about(organization, subject).await?;
        let crowded = !about.complete;
        let complete = about.complete && look.is_none_or(|look| look.complete);
        let mut pushed = Vec::new();
        for facts in about.newest {
            if let Source::Pushed { workflow, run, contract, accepted, .. } = facts.source.clone() {
                pushed.push(Pushed { facts, workflow, run, contract, accepted });
            }
        }
        let withdrawn = store.withdrawn_about(organization, *subject.digest()).await?;
        let mut beside = Vec::new();
        for id in look.iter().flat_map(|look| &look.ids) {
            // One that was pushed since counts as pushed: when it was rejected, it stays so.
            if let Some(record) = store.attestation(organization, *id).await?
                && !matches!(record.facts.source, Source::Pushed { .. })
            {
                beside.push(record);
            }
        }
        beside.sort_by_key(|record| (record.facts.known_since(), record.facts.signed, record.facts.id));
        let (looked, ignored) = (look.is_some(), look.map_or(0, |look| look.ignored));
        Ok(Self { pushed, crowded, beside, withdrawn, looked, complete, ignored })
    }

    /// The key of the verdict: a digest over all that it is computed from but `now`.
    pub(super) fn key(&self, question: &Question, contracts: &[std::sync::Arc<CurrentContract>]) -> Digest {
        let Question { place, rules, exemptions, unmatched, .. } = question;
        let mut key = begun(place);
        key.update_framed(&[u8::from(*unmatched)]);
        key.update_framed(b"exemptions");
        for approved in exemptions.in_force.values() {
            key.update_framed(approved.digest().as_bytes());
            // It may end before its own end, with those who vouch for its approvers.
            key.update_framed(approved.until().to_string().as_bytes());
        }
        for contract in contracts {
            key.update_framed(contract.name.as_str().as_bytes());
            key.update_framed(&contract.revision.to_be_bytes());
            key.update_framed(contract.compiled.revision().digest().as_bytes());
            key.update_framed(contract.compiled.rules().digest().as_bytes());
            key.update_framed(format!("{:?}", contract.compiled.enforcement()).as_bytes());
            match contract.compiled.trust() {
                Some(trust) => key.update_framed(trust.key(question.now).as_bytes()),
                None => key.update_framed(b"nobody"),
            }
        }
        key.update_framed(b"evidence");
        key.update_framed(&[u8::from(self.looked), u8::from(self.complete), u8::from(self.crowded)]);
        key.update_framed(&self.ignored.to_be_bytes());
        for pushed in &self.pushed {
            record(&mut key, &pushed.facts);
            key.update_framed(pushed.workflow.to_string().as_bytes());
            key.update_framed(pushed.contract.as_str().as_bytes());
            let bound = rules.bound(&pushed.workflow, &pushed.contract);
            key.update_framed(&[u8::from(pushed.accepted), u8::from(bound)]);
        }
        key.update_framed(b"beside");
        for beside in &self.beside {
            record(&mut key, &beside.facts);
        }
        key.update_framed(b"withdrawn");
        for facts in &self.withdrawn {
            record(&mut key, facts);
        }
        // What is or was beside an image can be a run of any of these.
        let any = !self.beside.is_empty() || !self.withdrawn.is_empty();
        for (workflow, contract) in rules.workflows.iter().filter(|_| any) {
            key.update_framed(workflow.to_string().as_bytes());
            key.update_framed(contract.as_str().as_bytes());
        }
        key.finish()
    }
}

/// The key where no contract answers.
pub(super) fn unmatched_key(place: &Place, unmatched: Unmatched) -> Digest {
    let mut key = begun(place);
    key.update_framed(match unmatched {
        Unmatched::Deny => b"unmatched: deny",
        Unmatched::Allow => b"unmatched: allow",
    });
    key.finish()
}

/// The key where an operator's denials decide. Those of an index that is not looked through may be none.
pub(super) fn denied_key(place: &Place, denials: &[&Denial]) -> Digest {
    let mut key = begun(place);
    key.update_framed(b"denied");
    for denial in denials {
        key.update_framed(denial.id().as_bytes());
    }
    key.finish()
}

fn begun(Place { organization, subject, named }: &Place) -> Hasher {
    let mut key = Hasher::default();
    key.update_framed(GATE_VERSION);
    key.update_framed(policies::ENGINE_VERSION.as_bytes());
    key.update_framed(organization.as_str().as_bytes());
    match subject {
        VerdictSubject::Image(pinned) => {
            key.update_framed(b"image");
            key.update_framed(pinned.repository.host().as_bytes());
            key.update_framed(pinned.repository.path().as_bytes());
        }
        VerdictSubject::Artifact(_) => key.update_framed(b"artifact"),
    }
    key.update_framed(subject.digest().as_bytes());
    key.update_framed(&named.len().to_be_bytes());
    for name in named {
        key.update_framed(name.as_str().as_bytes());
    }
    key
}

fn record(key: &mut Hasher, record: &AttestationFacts) {
    key.update_framed(record.id.as_bytes());
    key.update_framed(&record.received_at.as_nanosecond().to_be_bytes());
    key.update_framed(&record.known_since().as_nanosecond().to_be_bytes());
    if let Source::Pushed { identity: Some(identity), .. } = &record.source {
        key.update_framed(format!("{identity:?}").as_bytes());
    }
    if let Some(withdrawn) = &record.withdrawn {
        key.update_framed(format!("{withdrawn:?}").as_bytes());
    }
}
