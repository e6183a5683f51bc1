//! Where exemptions are applied: once, to what one workflow's run (or other tools' attestations together) has against
//! an image or another artifact under one contract.
//!
//! Pure: the findings and the exemptions in force go in, the answer and those that were used come out. What was used
//! bounds how long the verdict holds ([`Used::until`]).

use std::{collections::BTreeMap, sync::Arc};

use contracts::{
    Code, Digest, Exempted, Finding,
    exemption::{Approved, Matter},
};
use jiff::Timestamp;

use super::memory::Place;
use crate::rules::OrganizationRules;

/// The exemptions that may say something about one subject at one instant.
#[derive(Debug, Default)]
pub(super) struct Exemptions {
    /// Those that are in force, by digest.
    pub(super) in_force: BTreeMap<Digest, Arc<Approved>>,
    /// When the next one begins, which ends a deny.
    pub(super) next: Option<Timestamp>,
}

/// The exemptions that covered something, and the earliest end of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Used(pub(super) BTreeMap<Digest, Timestamp>);

impl Used {
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.0.values().copied().min()
    }
}

impl Exemptions {
    pub(super) fn about(rules: &OrganizationRules, place: &Place, now: Timestamp) -> Self {
        let mut exemptions = Self::default();
        let repository = place.subject.image().map(|image| &image.repository);
        for approved in &rules.exemptions {
            let exemption = approved.exemption();
            if now >= approved.until() || !exemption.concerns(repository, place.subject.digest()) {
                continue;
            }
            if exemption.in_force(now) {
                exemptions.in_force.insert(exemption.digest, Arc::clone(approved));
            } else {
                let next = &mut exemptions.next;
                *next = Some(next.map_or(exemption.from, |known| known.min(exemption.from)));
            }
        }
        exemptions
    }

    /// Applies what is in force to a denial. It becomes an allow when every finding that blocks is covered, each by
    /// one exemption; that the run was rejected ([`Code::RunRejected`]) goes with the reasons that it was rejected
    /// for. What is covered is marked, also when others block still.
    pub(super) fn apply(
        &self,
        matter: &Matter<'_>,
        answer: Result<Vec<Finding>, Vec<Finding>>,
        used: &mut Used,
    ) -> Result<Vec<Finding>, Vec<Finding>> {
        let findings = match answer {
            Err(findings) if !self.in_force.is_empty() => findings,
            other => return other,
        };
        let (mut exempted, mut open) = (None, false);
        let mut told: Vec<Finding> = Vec::with_capacity(findings.len());
        for finding in findings {
            let consequence = finding.code == Code::RunRejected;
            if !finding.blocks() || consequence {
                told.push(finding);
                continue;
            }
            // The one that holds for longest.
            let covering = self.in_force.values().filter(|approved| approved.covers(matter, &finding));
            match covering.max_by_key(|approved| (approved.until(), approved.exemption().digest)) {
                Some(approved) => {
                    let exemption = approved.exemption();
                    used.0.insert(exemption.digest, approved.until());
                    let mark =
                        Exempted { name: exemption.name.clone(), digest: exemption.digest, until: exemption.until };
                    exempted = Some(mark.clone());
                    told.push(finding.exempted(mark));
                }
                None => {
                    open = true;
                    told.push(finding);
                }
            }
        }
        match exempted {
            Some(mark) if !open => {
                let all = told.into_iter();
                Ok(all.map(|finding| if finding.blocks() { finding.exempted(mark.clone()) } else { finding }).collect())
            }
            _ => Err(told),
        }
    }
}

#[cfg(test)]
mod tests;
