//! Why there is nothing to judge: no attestation at all, by nobody who is trusted, only what was withdrawn, or what is
//! of other contracts alone.

use std::collections::BTreeSet;

use contracts::{Code, Finding};

use super::{Beside, Judging};
use crate::gate::gathered::Gathered;

impl Judging<'_> {
    /// Why there is nothing to judge.
    pub(super) fn nothing(&self, beside: &Beside<'_>, gathered: &Gathered) -> Vec<Finding> {
        let subject = &self.question.place.subject;
        let (noun, digest, name) = (subject.noun(), subject.digest(), &self.contract.name);
        // Perhaps what lies there is by the right signers, which nobody can tell now.
        let unbelieved = || self.contract.compiled.trust().and_then(|trust| trust.unbelieved(self.question.now));
        if let Some(unbelieved) = unbelieved().filter(|_| beside.unbelieved) {
            return vec![unbelieved];
        }
        if self.summaries.any() {
            let rule = self.contract.compiled.rules().rules().iter().find(|rule| rule.code == Code::SummaryMissing);
            let message = rule.map_or("no summary says that it passed", |rule| rule.message.as_str());
            let mut finding = Finding::error(Code::SummaryMissing, message);
            if let Some(rule) = rule {
                finding = finding.by_rule(&rule.id).at(rule.origin.clone());
            }
            self.summaries.explain(&mut finding);
            return vec![finding];
        }
        if !beside.withdrawn.is_empty() {
            return beside.withdrawn.iter().filter_map(|facts| self.withdrawn(facts, None)).collect();
        }
        let strangers = beside.untrusted.saturating_add(gathered.ignored);
        if strangers > 0 {
            let message = format!(
                "none of the {strangers} attestations beside the image {digest} is signed by those whom the contract `{name}` trusts"
            );
            let stranger = Finding::error(Code::SignerNotAllowed, message);
            return unbelieved().into_iter().chain([stranger]).collect();
        }
        let elsewhere: BTreeSet<&str> = gathered.pushed.iter().map(|pushed| pushed.contract.as_str()).collect();
        let message = if elsewhere.is_empty() {
            format!("there is no attestation of the {noun} {digest}")
        } else {
            let elsewhere: Vec<&str> = elsewhere.into_iter().collect();
            format!(
                "the {noun} {digest} has attestations for other contracts only ({}), and none for `{name}`",
                elsewhere.join(", ")
            )
        };
        vec![Finding::error(Code::NoEvidence, message)]
    }
}
