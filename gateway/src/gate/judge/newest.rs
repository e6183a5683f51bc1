//! Which runs speak for their workflows.

use std::collections::BTreeMap;

use super::Candidate;
use crate::names::WorkflowName;

/// The newest of each workflow; several when they are of the same instant. The newest workflow is first.
pub(super) fn newest(candidates: Vec<Candidate<'_>>) -> Vec<Vec<Candidate<'_>>> {
    let mut by_workflow: BTreeMap<WorkflowName, Vec<Candidate<'_>>> = BTreeMap::new();
    for candidate in candidates {
        let newest = by_workflow.entry(candidate.workflow.clone()).or_default();
        match newest.first().map(|other| candidate.facts.at().cmp(&other.facts.at())) {
            Some(std::cmp::Ordering::Less) => {}
            Some(std::cmp::Ordering::Equal) => newest.push(candidate),
            Some(std::cmp::Ordering::Greater) | None => *newest = vec![candidate],
        }
    }
    let mut runs: Vec<_> = by_workflow.into_values().collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.first().map(|candidate| candidate.facts.at())));
    runs
}
