//! Exemptions: approved ones are taken, those of emergencies made, all are listed and withdrawn.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::{
    api::{ExemptionInfo, ExemptionState, NewEmergency, Role},
    duration,
    exemption::{ApprovalError, ApprovalRules, Approvals, ApprovalsError, Approved, Emergency, Exemption},
    limits,
};
use jiff::{SignedDuration, Timestamp};

use super::{answer, name, page::Page};
use crate::{
    app::App,
    emergencies::{self, Left},
    http::{auth::Caller, body, clock, error::ApiError, secret::random_id},
    names::WorkflowName,
    rules::OrganizationRules,
    store::{ExemptionBody, ExemptionPut, ExemptionRecord, Source},
};

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let mut page = Page::asked(&uri)?;
    let (rules, now) = (app.rules.current(&caller.organization).await?, clock::now());
    for record in app.store.exemptions(&caller.organization).await? {
        let info = info(record, &rules, now);
        if may_see(&caller, &info) {
            page.add(&info.name, &info)?;
        }
    }
    Ok(page.answer())
}

pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(wanted): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let wanted = name(&wanted)?;
    let (rules, now) = (app.rules.current(&caller.organization).await?, clock::now());
    let records = app.store.exemptions(&caller.organization).await?;
    let record = records.into_iter().find(|record| record.name == wanted.as_str());
    let shown = record.map(|record| info(record, &rules, now)).filter(|info| may_see(&caller, info));
    let shown = shown.ok_or_else(|| ApiError::not_found(format!("there is no exemption `{wanted}`")))?;
    Ok(answer(StatusCode::OK, &shown))
}

/// A token that is bound to a workflow sees what may cover that workflow's runs.
fn may_see(caller: &Caller, info: &ExemptionInfo) -> bool {
    match (&caller.workflow, &info.workflow) {
        (Some(bound), Some(workflow)) => bound.to_string() == *workflow,
        _ => true,
    }
}

/// Takes the document with the approvers' signatures. Whoever brings it need not be one of them: the signatures count.
pub(super) async fn apply(
    State(app): State<App>,
    caller: Caller,
    Path(wanted): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let wanted = name(&wanted)?;
    body::content_type(&headers, None, &["application/json"], "`application/json`")?;
    let bytes = body::whole(body, limits::APPROVALS_BYTES).await?;
    let approvals = Approvals::parse(&bytes).map_err(unreadable)?;
    let settings = app.store.settings(&caller.organization).await?;
    let names = app.rules.current(&caller.organization).await?.rule_names();
    let rules = ApprovalRules::new(caller.organization.as_str(), &settings.exemptions, &names);
    let now = clock::now();
    let approved = rules.map_err(ApiError::internal)?.approve(&approvals, &app.rules.authorities(), now)?;
    let exemption = approved.exemption();
    if exemption.name != wanted.as_str() {
        let message = format!("the exemption's name is `{}`, not `{wanted}`", exemption.name);
        return Err(ApiError::invalid(message));
    }
    if exemption.until <= now {
        let message = format!("the exemption ended at {}: a new one needs new signatures", exemption.until);
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "exemption-over", message));
    }
    let record = record(&approved, ExemptionBody::Signed(approvals.to_value()), now);
    keep(&app, &caller, record, now).await
}

pub(super) async fn withdraw(
    State(app): State<App>,
    caller: Caller,
    Path(wanted): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let (wanted, now) = (name(&wanted)?, clock::now());
    let withdrawn = app.store.withdraw_exemption(&caller.organization, wanted.as_str(), caller.by(now)).await?;
    let record = withdrawn.ok_or_else(|| ApiError::not_found(format!("there is no exemption `{wanted}`")))?;
    tracing::info!(
        organization = %caller.organization, exemption = %wanted, digest = %record.digest, token = %caller.token_id,
        "an exemption was withdrawn"
    );
    let rules = app.rules.current(&caller.organization).await?;
    Ok(answer(StatusCode::OK, &info(record, &rules, now)))
}

/// Makes a short exemption on the caller's word, where the contract says that this caller may.
pub(super) async fn emergency(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Push)?;
    let asked: NewEmergency = body::json(&headers, body).await?;
    let reason = asked.reason.trim();
    if reason.is_empty() || reason.len() > limits::REASON_BYTES {
        let most = limits::REASON_BYTES;
        return Err(ApiError::invalid(format!("say why under `reason`, in at most {most} bytes")));
    }
    let organization = &caller.organization;
    let (workflow, digests) = subject(&app, &caller, &asked).await?;
    let rules = app.rules.current(organization).await?;
    let contract = rules.workflows.get(&workflow);
    let contract = contract.ok_or_else(|| ApiError::not_found(format!("there is no workflow `{workflow}`")))?;
    let clause = rules.break_glass(contract)?;
    let now = clock::now();
    let longest = clause.map(|clause| clause.max_duration.value).unwrap_or_default();
    let until = match &asked.lasting {
        None => now.checked_add(longest),
        Some(text) => {
            let lasting = duration::parse(text).map_err(|e| ApiError::invalid(format!("`for`: {e}")))?;
            now.checked_add(lasting)
        }
    };
    let until = until.map_err(|e| ApiError::invalid(format!("`for`: {e}")))?;
    let id = random_id().map_err(|e| ApiError::internal(format!("no randomness: {e}")))?;
    let bound = caller.workflow.as_ref().map(ToString::to_string);
    let named = |who: &&String| clause.is_some_and(|c| c.callers.iter().any(|caller| caller.value == **who));
    // As the contract names callers: by the workflow that the token is bound to, or by the token's name.
    let who = bound.as_ref().filter(named).unwrap_or(&caller.token_name).clone();
    let mut emergency = Emergency {
        name: format!("emergency-{id}"),
        organization: organization.to_string(),
        contract: contract.to_string(),
        workflow: workflow.to_string(),
        digests,
        reason: reason.to_owned(),
        from: now,
        until,
        caller: who,
    };
    let settings = app.store.settings(organization).await?;
    let approval = ApprovalRules::new(organization.as_str(), &settings.exemptions, &rules.rule_names());
    let approval = approval.map_err(ApiError::internal)?;
    approval.emergency(&emergency, clause)?;
    // Whoever may have none is told that; whoever may is told how much is left.
    emergency.until = bounded(&app, &caller, &emergency, longest, asked.lasting.is_some()).await?;
    let until = emergency.until;
    let approved = approval.emergency(&emergency, clause)?;
    let record = record(&approved, ExemptionBody::Emergency(emergency), now);
    app.metrics.emergency();
    tracing::warn!(
        %organization, %workflow, exemption = record.name, caller = approved.emergency(), token = %caller.token_id,
        %until, reason, "an emergency was declared: an exemption was made without approvers"
    );
    keep(&app, &caller, record, now).await
}

/// When an emergency ends that is one with those before it: at the latest when they have lasted together for what the
/// contract allows.
async fn bounded(
    app: &App,
    caller: &Caller,
    emergency: &Emergency,
    longest: SignedDuration,
    exactly: bool,
) -> Result<Timestamp, ApiError> {
    let records = app.store.exemptions(&caller.organization).await?;
    let (workflow, wanted) = (&emergency.workflow, emergency.until);
    let exhausted = |message| Err(ApiError::new(StatusCode::CONFLICT, "emergency-exhausted", message));
    match emergencies::left(&records, workflow, longest, emergency.from) {
        Left::Until(most) if wanted <= most || !exactly => Ok(wanted.min(most)),
        Left::Until(most) => exhausted(format!(
            "emergencies of `{workflow}` that follow one another last {longest:#} together, so this one ends at {most} at the latest: ask for less, or have an exemption approved"
        )),
        Left::Nothing { again } => exhausted(format!(
            "emergencies of `{workflow}` that follow one another last {longest:#} together, and that is used up: another one can be declared from {again} on; until then have an exemption approved"
        )),
    }
}

/// The workflow and the images and other artifacts that an emergency is about.
async fn subject(
    app: &App,
    caller: &Caller,
    asked: &NewEmergency,
) -> Result<(WorkflowName, BTreeSet<contracts::Digest>), ApiError> {
    let Some(id) = &asked.run else {
        let workflow = caller.workflow_or(asked.project.as_deref(), asked.workflow.as_deref())?;
        let digest = asked.digest.ok_or_else(|| ApiError::invalid("name a `run`, or a workflow and a `digest`"))?;
        return Ok((workflow, BTreeSet::from([digest])));
    };
    let none = || ApiError::not_found("there is no such run");
    let run = app.store.run(&caller.organization, id).await?.filter(|run| caller.may_act_on(&run.workflow));
    let run = run.ok_or_else(none)?;
    if let Some(withdrawn) = &run.withdrawn {
        let message = format!(
            "an operator withdrew the attestation of the run `{id}`, which no emergency opens: {}",
            withdrawn.reason
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "attestation-withdrawn", message));
    }
    let unpushed = || ApiError::invalid(format!("nothing was pushed for the run `{id}` yet"));
    let facts = app.store.attestation_facts(&caller.organization, run.attestation.ok_or_else(unpushed)?).await?;
    let Some(Source::Pushed { made_for, artifacts, .. }) = facts.map(|facts| facts.source) else {
        return Err(unpushed());
    };
    let made_for: BTreeSet<_> = made_for.into_iter().chain(artifacts).collect();
    let digests = match asked.digest {
        None => made_for,
        Some(digest) if made_for.contains(&digest) => BTreeSet::from([digest]),
        Some(digest) => {
            return Err(ApiError::invalid(format!("the run `{id}` was not made for `{digest}`")));
        }
    };
    if digests.is_empty() {
        return Err(ApiError::invalid(format!("the run `{id}` was made for no image or other artifact")));
    }
    Ok((run.workflow, digests))
}

async fn keep(app: &App, caller: &Caller, record: ExemptionRecord, now: Timestamp) -> Result<Response, ApiError> {
    let organization = &caller.organization;
    let (named, digest) = (record.name.clone(), record.digest);
    let emergency = matches!(record.body, ExemptionBody::Emergency(_));
    let conflict = |code, message| Err(ApiError::new(StatusCode::CONFLICT, code, message));
    let status = match app.store.put_exemption(organization, record.clone(), caller.by(now)).await? {
        ExemptionPut::New => StatusCode::CREATED,
        ExemptionPut::Same => StatusCode::OK,
        ExemptionPut::Withdrawn => {
            return conflict(
                "exemption-withdrawn",
                format!(
                    "`{named}` ({digest}) was withdrawn or replaced and does not come back: write it anew, and have it signed again"
                ),
            );
        }
        ExemptionPut::TooMany => {
            let message = if emergency {
                let most = limits::EMERGENCIES_PER_WORKFLOW;
                format!(
                    "there are {most} emergencies of this workflow already, or too many of others: have an exemption approved, or withdraw some first"
                )
            } else {
                let most = limits::EXEMPTIONS;
                format!("there are {most} exemptions already: withdraw some first")
            };
            return conflict("too-many-exemptions", message);
        }
    };
    tracing::info!(%organization, exemption = named, %digest, token = %caller.token_id, "an exemption was applied");
    let rules = app.rules.current(organization).await?;
    Ok(answer(status, &info(record, &rules, now)))
}

fn record(approved: &Approved, body: ExemptionBody, now: Timestamp) -> ExemptionRecord {
    let exemption = approved.exemption();
    ExemptionRecord {
        name: exemption.name.clone(),
        digest: exemption.digest,
        until: exemption.until,
        body,
        applied_at: now,
        withdrawn_at: None,
        ended: false,
    }
}

/// A record as it is shown: what it says, and whether it counts.
fn info(record: ExemptionRecord, rules: &OrganizationRules, now: Timestamp) -> ExemptionInfo {
    let counts = rules.exemptions.iter().find(|approved| approved.exemption().digest == record.digest);
    let problem = rules.void_exemptions.get(&record.digest).cloned();
    let exemption = match &record.body {
        ExemptionBody::Emergency(emergency) => Some(emergency.exemption()),
        ExemptionBody::Signed(value) => Approvals::parse(value.to_string().as_bytes())
            .ok()
            .and_then(|approvals| Exemption::parse("exemption", approvals.document()).ok())
            .map(|(exemption, _)| exemption),
    };
    let (from, until) = exemption.as_ref().map_or((record.applied_at, record.until), |e| (e.from, e.until));
    let state = match (record.withdrawn_at, now >= until, counts) {
        (Some(_), ..) => ExemptionState::Withdrawn,
        (None, true, _) => ExemptionState::Over,
        (None, false, None) => ExemptionState::Void,
        (None, false, Some(_)) if now < from => ExemptionState::Pending,
        (None, false, Some(_)) => ExemptionState::InForce,
    };
    let emergency = match &record.body {
        ExemptionBody::Emergency(emergency) => Some(emergency.caller.clone()),
        ExemptionBody::Signed(_) => None,
    };
    let scope = exemption.as_ref().map(|exemption| exemption.scope.clone()).unwrap_or_default();
    let counting = matches!(state, ExemptionState::Pending | ExemptionState::InForce);
    let rule = scope.rule.as_deref().filter(|_| counting);
    let warning = rule.and_then(|rule| rules.unknown_rule(rule, scope.contract.as_deref()));
    ExemptionInfo {
        name: record.name,
        digest: record.digest,
        state,
        emergency,
        repositories: scope.repositories.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        digests: scope.digests.into_iter().collect(),
        rule: scope.rule,
        workflow: scope.workflow,
        contract: scope.contract,
        reason: exemption.map(|exemption| exemption.reason).unwrap_or_default(),
        from,
        until,
        approvers: counts.map(|approved| approved.approvers().iter().cloned().collect()).unwrap_or_default(),
        applied_at: record.applied_at,
        withdrawn_at: record.withdrawn_at,
        problem: problem.filter(|_| state == ExemptionState::Void),
        warning,
    }
}

fn unreadable(error: ApprovalsError) -> ApiError {
    let message = format!("{error}: send what `sluice exemption sign` wrote");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "exemption-invalid", message)
}

impl From<ApprovalError> for ApiError {
    fn from(error: ApprovalError) -> Self {
        let (message, code) = (error.to_string(), error.code());
        let status = match &error {
            ApprovalError::NobodyApproves
            | ApprovalError::Signature(_)
            | ApprovalError::Bundle { .. }
            | ApprovalError::TooFew { .. }
            | ApprovalError::Never { .. }
            | ApprovalError::NoBreakGlass { .. }
            | ApprovalError::Caller { .. } => StatusCode::FORBIDDEN,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let findings = match error {
            ApprovalError::Document(diagnostics) => diagnostics.0,
            _ => Vec::new(),
        };
        Self::new(status, code, message).with_findings(findings)
    }
}
