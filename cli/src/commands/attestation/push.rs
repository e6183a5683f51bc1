//! `sluice attestation push`

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use contracts::{
    Decision, Digest, MaterialType,
    api::{NewEmergency, ReceivedAttestation},
    contract::Contract,
    crafting::Craft,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::io::{InspectReader, ReaderStream};

use super::{signing, status};
use crate::{
    args,
    client::{Client, ClientError},
    clock,
    commands::connect,
    exit::Exit,
    files::{self, Readers},
    report::{Report, plain, table},
    state::{Collected, Session, Signed, Workbench},
};

/// What is done sooner needs no progress shown.
const PATIENCE: Duration = Duration::from_secs(1);

pub async fn run(
    connection: &args::Connection,
    bench: &Workbench,
    args: &args::AttestationPush,
) -> anyhow::Result<Report> {
    let mut session = bench.open()?;
    if let (Some(reason), Some(_)) = (&args.emergency, session.signed.as_ref().filter(|signed| signed.received)) {
        // Pushed and blocked before; the run is what it is about.
        return emergency(&connect(connection)?, bench, &session, reason, String::new()).await;
    }
    if session.signed.as_ref().is_some_and(|signed| signed.received) {
        bail!("this run was pushed already, and blocked: begin another with `sluice attestation init`");
    }
    if session.signed.is_none() && !args.force && args.emergency.is_none() {
        let contract = session.contract()?;
        let missing = status::missing(&session, &contract);
        if !missing.is_empty() {
            return incomplete(&contract, &missing);
        }
    }
    let client = connect(connection)?;
    if client.gateway().as_str() != session.gateway {
        bail!("the run was begun at `{}`, and the gateway is `{}` now", session.gateway, client.gateway());
    }
    // A push that failed on the way is repeated with the same bytes, so that it is the same attestation.
    let bundle = match &session.signed {
        Some(signed) => bench.load_bundle(signed)?,
        None => sign(bench, &mut session, args).await?,
    };
    if let Some(path) = &args.bundle {
        files::replace(path, &bundle, Readers::Everyone)?;
    }
    upload(&client, &session).await?;
    let pushed = client.push_attestation(&session.run.project, &session.run.workflow, bundle).await;
    let received = match pushed {
        Ok(received) => received,
        Err(error) => return refused(bench, session, error),
    };
    match (&args.emergency, received.decision) {
        (Some(reason), Decision::Deny) => {
            let session = received_by(bench, session)?;
            let told = table::findings(&received.run.findings);
            emergency(&client, bench, &session, reason, told).await
        }
        _ => conclude(bench, session, &received),
    }
}

/// Nothing is signed nor sent: a run counts once, and this one would be blocked.
fn incomplete(contract: &Contract, missing: &[String]) -> anyhow::Result<Report> {
    let mut text = "not pushed: the contract requires what was not added yet".to_owned();
    for clause in contract.materials.iter().filter(|clause| missing.contains(&clause.name)) {
        let value = match clause.kind {
            MaterialType::ContainerImage => "REPOSITORY@sha256:…",
            MaterialType::String => "TEXT",
            _ => "FILE",
        };
        let group =
            clause.group.as_ref().map(|group| format!(", one of `{}` is enough", group.value)).unwrap_or_default();
        let line =
            format!("\n  {} ({}{group}): sluice attestation add --name {0} --value {value}", clause.name, clause.kind);
        text.push_str(&plain(&line));
    }
    let report = Report::new(Exit::Blocked, &serde_json::json!({"pushed": false, "missing": missing}), text)?;
    Ok(report
        .note("the session is kept: add these and push again; --force pushes what there is, and the gateway judges it"))
}

/// Writes the statement, signs it, and keeps the bundle.
async fn sign(bench: &Workbench, session: &mut Session, args: &args::AttestationPush) -> anyhow::Result<Vec<u8>> {
    let contract = session.contract()?;
    let run = &session.run;
    let craft = Craft {
        organization: run.organization.clone(),
        project: run.project.clone(),
        workflow: run.workflow.clone(),
        team: run.team.clone(),
        run_id: run.id.clone(),
        contract_name: run.contract.info.name.clone(),
        contract_revision: run.contract.info.revision,
        runner: session.runner,
        runner_url: session.runner_url.clone(),
        started_at: session.started_at,
        finished_at: clock::now(),
        materials: session.materials.values().map(|added| added.material.clone()).collect(),
        annotations: annotations(&contract, &args.annotations)?,
        env: session.env.clone(),
        git_head: session.git_head.clone(),
    };
    let bundle = signing::sign(&args.signing, &craft.statement()).await?;
    bench.save_bundle(bundle.bytes())?;
    session.signed = Some(Signed { attestation: bundle.id(), received: false });
    bench.save(session)?;
    Ok(bundle.bytes().to_vec())
}

/// The contract's annotations and the caller's. A value that the contract gives stays; what is missing is told by
/// the gateway.
fn annotations(contract: &Contract, given: &[(String, String)]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut annotations: BTreeMap<String, String> = given.iter().cloned().collect();
    for clause in &contract.annotations {
        let Some(fixed) = &clause.value else { continue };
        match annotations.insert(clause.name.clone(), fixed.clone()) {
            Some(other) if other != *fixed => {
                bail!("the contract says that the annotation `{}` is `{fixed}`", clause.name)
            }
            _ => {}
        }
    }
    Ok(annotations)
}

/// Uploads what the gateway does not have yet, each digest once.
async fn upload(client: &Client, session: &Session) -> anyhow::Result<()> {
    let mut done = BTreeSet::new();
    for added in session.materials.values().filter(|added| !added.material.skip_upload) {
        let Some(path) = &added.path else { continue };
        let digest = added.material.digest;
        if !done.insert(digest) || client.has_evidence(&digest).await? {
            continue;
        }
        upload_one(client, added, &digest, path).await?;
    }
    Ok(())
}

async fn upload_one(client: &Client, added: &Collected, digest: &Digest, path: &Path) -> anyhow::Result<()> {
    let (now, length) = files::digest(path)?;
    if now != *digest {
        bail!("`{}` was changed after it was added: add it again, which signs what it is now", path.display());
    }
    let file = tokio::fs::File::open(path).await.with_context(|| format!("`{}` cannot be read", path.display()))?;
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(plain(&format!("uploading {}", added.material.name)));

    let counting = bar.clone();
    let reader = InspectReader::new(file, move |piece| counting.inc(piece.len() as u64));
    let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(reader, 128 * 1024));
    let sending = client.upload_evidence(digest, length, body);
    tokio::pin!(sending);
    let sent = tokio::select! {
        sent = &mut sending => sent,
        () = tokio::time::sleep(PATIENCE) => {
            // Draws on a terminal only.
            bar.set_draw_target(ProgressDrawTarget::stderr());
            sending.await
        }
    };
    bar.finish_and_clear();
    sent.with_context(|| format!("`{}` could not be uploaded", added.material.name))
}

/// The gateway did not take it as an attestation of this run. With reasons, or as unprocessable, it is about the
/// attestation: another one has to be made. All else is about the request, and the same one can be sent again.
fn refused(bench: &Workbench, mut session: Session, error: ClientError) -> anyhow::Result<Report> {
    let (status, code, message, findings) = match error {
        ClientError::Refused { status, code, message, findings } if status == 422 || !findings.is_empty() => {
            (status, code, message, findings)
        }
        other => return Err(other.into()),
    };
    // A run that is used stays used; otherwise the next push signs anew.
    session.signed = session.signed.filter(|_| status == 409).map(|signed| Signed { received: true, ..signed });
    bench.save(&session)?;

    let data = serde_json::json!({"error": {"code": code, "message": message, "findings": findings}});
    let mut text = plain(&format!("refused: {message} ({code})"));
    if !findings.is_empty() {
        text.push('\n');
        text.push_str(&table::findings(&findings));
    }
    Report::new(Exit::Blocked, &data, text)
}

/// Asks the gateway to let a rejected run's images through for a while. Whether the caller may is for the gateway to say.
async fn emergency(
    client: &Client,
    bench: &Workbench,
    session: &Session,
    reason: &str,
    told: String,
) -> anyhow::Result<Report> {
    let run = &session.run.id;
    let request = NewEmergency { reason: reason.to_owned(), run: Some(run.clone()), ..NewEmergency::default() };
    match client.declare_emergency(&request).await {
        Ok(exemption) => {
            bench.drop_session()?;
            let text = format!(
                "{told}\nemergency: the run {run} is rejected, and its images are let through until {} by the exemption {}",
                table::moment(exemption.until),
                exemption.name
            );
            let data = serde_json::json!({"run": run, "emergency": exemption});
            Report::new(Exit::Yes, &data, plain(text.trim_start()))
        }
        Err(ClientError::Refused { code, message, .. }) => {
            let text = plain(&format!("{told}\nblocked: {message} ({code})"));
            let data = serde_json::json!({"run": run, "error": {"code": code, "message": message}});
            Report::new(Exit::Blocked, &data, text.trim_start())
        }
        Err(other) => Err(other.into()),
    }
}

/// Takes note that the run is used.
fn received_by(bench: &Workbench, mut session: Session) -> anyhow::Result<Session> {
    if let Some(signed) = &mut session.signed {
        signed.received = true;
    }
    bench.save(&session)?;
    Ok(session)
}

fn conclude(bench: &Workbench, session: Session, received: &ReceivedAttestation) -> anyhow::Result<Report> {
    let findings = &received.run.findings;
    let mut text = match received.decision {
        Decision::Allow => format!("accepted: attestation {}", received.attestation),
        Decision::Deny => format!("blocked: attestation {} does not satisfy its contract", received.attestation),
    };
    if !findings.is_empty() {
        text.push('\n');
        text.push_str(&table::findings(findings));
    }
    match received.decision {
        Decision::Allow => {
            bench.drop_session()?;
            Report::new(Exit::Yes, received, text)
        }
        Decision::Deny => {
            received_by(bench, session)?;
            let again = "mend what blocks and begin another run with `sluice attestation init`";
            Ok(Report::new(Exit::Blocked, received, text)?.note(again))
        }
    }
}
