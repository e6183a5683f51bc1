//! What a token that is bound to one workflow sees of a verdict: the decision, and why as far as it is about that workflow.
//!
//! A verdict about an image is made of what every workflow has pushed about it, and messages of policies may repeat any
//! part of that evidence.

use std::{collections::BTreeMap, sync::Arc};

use contracts::{Finding, Verdict};

use crate::{
    app::App,
    gate::Remembered,
    http::{auth::Caller, error::ApiError},
    store::Source,
};

/// The verdict as this caller may see it. What is about runs of other workflows keeps its code and the rule.
pub(super) async fn by(app: &App, caller: &Caller, made: Arc<Remembered>) -> Result<Arc<Remembered>, ApiError> {
    let Some(bound) = &caller.workflow else { return Ok(made) };
    let mut others = BTreeMap::new();
    let about = |finding: &Finding| finding.evidence.as_ref().and_then(|place| place.attestation);
    for id in made.verdict.findings.iter().filter_map(about) {
        if others.contains_key(&id) {
            continue;
        }
        let facts = app.store.attestation_facts(&caller.organization, id).await?;
        let other = match facts.map(|facts| facts.source) {
            Some(Source::Pushed { workflow, .. }) => workflow != *bound,
            // What lies beside the image in its registry can be read there.
            Some(Source::Discovered { .. } | Source::Material) | None => false,
        };
        others.insert(id, other);
    }
    let hidden = |finding: &Finding| about(finding).and_then(|id| others.get(&id)).copied().unwrap_or(false);
    if !made.verdict.findings.iter().any(hidden) {
        return Ok(made);
    }
    let shown = |finding: &Finding| {
        if !hidden(finding) {
            return finding.clone();
        }
        let message = format!("this is about a run of another workflow than `{bound}`, which this token is bound to");
        let mend = "ask with a token that is bound to that workflow, or to none".to_owned();
        Finding { message, mend: Some(mend), evidence: None, details: None, ..finding.clone() }
    };
    let findings = made.verdict.findings.iter().map(shown).collect();
    Ok(Arc::new(Remembered::new(made.key, Verdict { findings, ..made.verdict.clone() })))
}
