//! `sluice attestation push`

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::bail;
use contracts::{
    Decision, Digest, Finding,
    api::{NewEmergency, ReceivedAttestation, RunInfo, RunState},
    contract::Contract,
};

use super::{craft, foresee, shape, signing, status};
use crate::{
    args,
    client::{Client, ClientError},
    clock,
    commands::{connect, run::state_name},
    desk::{Desk, Kept},
    exit::Exit,
    files::{self, Readers},
    report::{Crafted, Report, plain, table},
    state::{Session, Signed},
    upload::Sent,
};

/// How long is waited at most for a gateway that starts anew, before the last try.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

pub async fn run(
    connection: &args::Connection,
    desk: &mut Desk,
    args: &args::AttestationPush,
) -> anyhow::Result<Report> {
    let Some(mut session) = desk.load().await? else {
        // Pushed already, by this or by another job that did not hear the answer.
        return match (desk.ended().await?, &args.emergency) {
            (Some(run), Some(reason)) if run.state == RunState::Rejected => {
                emergency(&connect(connection)?, desk, &run.id, reason, table::findings(&run.findings)).await
            }
            (Some(run), _) => told_before(&run),
            (None, _) => Err(desk.open().await.err().unwrap_or_else(|| anyhow::anyhow!("try again"))),
        };
    };
    if let (Some(reason), Some(_)) = (&args.emergency, session.signed.as_ref().filter(|signed| signed.received)) {
        // Pushed and blocked before; the run is what it is about.
        return emergency(&connect(connection)?, desk, &session.run.id, reason, String::new()).await;
    }
    session.refuse_when_pushed()?;
    if session.signed.is_none() && !args.force && args.emergency.is_none() {
        let contract = session.contract()?;
        let missing = status::missing(&session, &contract);
        if !missing.is_empty() {
            return incomplete(&session, &contract, &missing);
        }
    }
    if session.dry_run {
        return dry(desk, &session, args).await;
    }
    let client = connect(connection)?;
    if client.gateway().as_str() != session.gateway {
        bail!(
            "the run was begun at `{0}`, and the gateway is `{1}` now: go on with `export SLUICE_GATEWAY={0}`, or begin anew \
             there with `sluice attestation init --replace`",
            session.gateway,
            client.gateway()
        );
    }
    // A push that failed on the way is repeated with the same bytes, so that it is the same attestation.
    let evidence = to_send(&session);
    let bundle = match &session.signed {
        Some(signed) => {
            upload(&client, &evidence).await?;
            desk.bundle(signed)?
        }
        // The evidence does not depend on the signature. Whichever fails first ends both.
        None => tokio::try_join!(sign(desk, &mut session, args), upload(&client, &evidence))?.0,
    };
    if let Some(path) = &args.bundle {
        files::replace(path, &bundle, Readers::Everyone)?;
    }
    let crafted = Crafted::of(&bundle);
    let received = match push(&client, &session, &bundle).await {
        Ok(received) => received,
        Err(error) => return refused(desk, session, error).await,
    };
    if let (Some(reason), Decision::Deny) = (&args.emergency, received.decision) {
        received_by(desk, &mut session)?;
        let told = table::findings(&received.run.findings);
        return emergency(&client, desk, &session.run.id, reason, told).await;
    }
    Ok(conclude(desk, session, &received).await?.crafted(crafted))
}

/// Tries again while the gateway cannot be reached, or cannot decide yet (it hashes what is large): the same bytes are
/// the same attestation, however often they come.
async fn push(client: &Client, session: &Session, bundle: &[u8]) -> Result<ReceivedAttestation, ClientError> {
    let mut pause = Duration::from_millis(500);
    loop {
        let pushed = client.push_attestation(&session.run.project, &session.run.workflow, bundle.to_vec()).await;
        match pushed {
            Err(ClientError::Unreachable { .. } | ClientError::Refused { status: 503, .. })
                if pause <= LONGEST_PAUSE =>
            {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answered => return answered,
        }
    }
}

/// Of a dry run nothing is sent. It is signed when there is a key, so that the bundle can be looked at.
async fn dry(desk: &Desk, session: &Session, args: &args::AttestationPush) -> anyhow::Result<Report> {
    let contract = session.contract()?;
    let annotations = craft::annotations(session, &contract, args.annotations.iter().flatten())?;
    let statement = craft::craft(session, annotations, clock::now()).statement();
    let mut made = Crafted { statement: Some(statement.raw.clone()), bundle: None };
    if signing::has_key(&args.signing) {
        let bundle = signing::sign(&args.signing, &statement).await?;
        if let Some(path) = &args.bundle {
            files::replace(path, bundle.bytes(), Readers::Everyone)?;
        }
        made = Crafted::of(bundle.bytes());
    }
    let findings = foresee::whole(session, &contract)?;
    desk.close()?;
    let data = shape::session(session, &contract, &[], &findings);
    let blocked = findings.iter().any(Finding::blocks);
    let text = format!("this was a dry run: nothing was sent\n{}", foresee::told(&findings));
    let report = Report::new(if blocked { Exit::Blocked } else { Exit::Yes }, &data, text.trim_end())?;
    Ok(report.crafted(made))
}

/// Nothing is signed nor sent: a run counts once, and this one would be blocked.
fn incomplete(session: &Session, contract: &Contract, missing: &[String]) -> anyhow::Result<Report> {
    let mut text = "not pushed: the contract requires what was not added yet".to_owned();
    text.push_str(&status::next(contract, missing));
    let report = Report::new(Exit::Blocked, &shape::session(session, contract, missing, &[]), text)?;
    Ok(report.add("add these and push again; --force pushes what there is, and the gateway judges it"))
}

/// Writes the statement, signs it, and keeps the bundle.
async fn sign(desk: &mut Desk, session: &mut Session, args: &args::AttestationPush) -> anyhow::Result<Vec<u8>> {
    let contract = session.contract()?;
    let annotations = craft::annotations(session, &contract, args.annotations.iter().flatten())?;
    let statement = craft::craft(session, annotations, clock::now()).statement();
    let bundle = signing::sign(&args.signing, &statement).await?;
    session.signed = Some(Signed { attestation: bundle.id(), received: false });
    match desk.keep_signed(session, bundle.bytes()).await? {
        Kept::Yes => Ok(bundle.bytes().to_vec()),
        Kept::Changed => bail!("another job added to the attestation while it was signed: push it again"),
    }
}

/// A file that the statement names.
struct Evidence {
    name: String,
    path: PathBuf,
    digest: Digest,
}

/// The files that go to the gateway, each digest once.
fn to_send(session: &Session) -> Vec<Evidence> {
    let mut seen = BTreeSet::new();
    let wanted = session.materials.values().filter(|added| !added.material.skip_upload);
    let files = wanted.filter_map(|added| Some((&added.material, added.path.clone()?)));
    files
        .filter(|(material, _)| seen.insert(material.digest))
        .map(|(material, path)| Evidence { name: material.name.clone(), path, digest: material.digest })
        .collect()
}

/// Uploads what the gateway does not have yet.
async fn upload(client: &Client, evidence: &[Evidence]) -> anyhow::Result<()> {
    for Evidence { name, path, digest } in evidence {
        Sent { name, path, digest: *digest }.to(client).await?;
    }
    Ok(())
}

/// The gateway did not take it as an attestation of this run. With reasons, or as unprocessable, it is about the
/// attestation: another one has to be made. All else is about the request, and the same one can be sent again.
async fn refused(desk: &mut Desk, mut session: Session, error: ClientError) -> anyhow::Result<Report> {
    let (status, code, message, findings) = match error {
        ClientError::Refused { status, code, message, findings } if status == 422 || !findings.is_empty() => {
            (status, code, message, findings)
        }
        other => return Err(other.into()),
    };
    // A run that is used stays used; otherwise the next push signs anew.
    session.signed = session.signed.filter(|_| status == 409).map(|signed| Signed { received: true, ..signed });
    // A run that has ended keeps no session.
    if status != 409 || matches!(desk, Desk::Local { .. }) {
        let _changed = desk.keep(&session).await?;
    }

    let data = serde_json::json!({"error": {"code": code, "message": message, "findings": findings}});
    let mut text = plain(&format!("refused: {message} ({code})"));
    if !findings.is_empty() {
        text.push('\n');
        text.push_str(&table::findings(&findings));
    }
    Report::new(Exit::Blocked, &data, text)
}

/// Asks the gateway to let a rejected run's images through for a while. Whether the caller may is for the gateway to say.
async fn emergency(client: &Client, desk: &Desk, run: &str, reason: &str, told: String) -> anyhow::Result<Report> {
    let request = NewEmergency { reason: reason.to_owned(), run: Some(run.to_owned()), ..NewEmergency::default() };
    match client.declare_emergency(&request).await {
        Ok(exemption) => {
            desk.close()?;
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

/// Takes note that the run is used. At the gateway its session has ended with it.
fn received_by(desk: &Desk, session: &mut Session) -> anyhow::Result<()> {
    if let Some(signed) = &mut session.signed {
        signed.received = true;
    }
    if let Desk::Local { bench, .. } = desk {
        bench.save(session)?;
    }
    Ok(())
}

async fn conclude(desk: &mut Desk, mut session: Session, received: &ReceivedAttestation) -> anyhow::Result<Report> {
    let findings = &received.run.findings;
    let mut text = match received.decision {
        Decision::Allow => format!("accepted: attestation {}", received.attestation),
        Decision::Deny => format!("blocked: attestation {} does not satisfy its contract", received.attestation),
    };
    if !findings.is_empty() {
        text.push('\n');
        text.push_str(&table::findings(findings));
    }
    if let Some(signed) = &mut session.signed {
        signed.received = true;
    }
    let contract = session.contract()?;
    let mut data = shape::session(&session, &contract, &[], findings);
    if let Some(data) = data.as_object_mut() {
        data.insert("attestation".to_owned(), serde_json::json!(received.attestation));
        data.insert("decision".to_owned(), serde_json::json!(received.decision));
        data.insert("run".to_owned(), serde_json::json!(received.run));
    }
    match received.decision {
        Decision::Allow => {
            desk.close()?;
            Report::new(Exit::Yes, &data, text)
        }
        Decision::Deny => {
            received_by(desk, &mut session)?;
            let run = &session.run;
            let again = format!(
                "mend what blocks, then begin another run: sluice attestation init --project {} --workflow {}",
                run.project, run.workflow
            );
            Ok(Report::new(Exit::Blocked, &data, text)?.add(&plain(&again)))
        }
    }
}

/// What was said of a run that was pushed before.
fn told_before(run: &RunInfo) -> anyhow::Result<Report> {
    let (exit, word) = match run.state {
        RunState::Accepted => (Exit::Yes, "accepted"),
        RunState::Rejected => (Exit::Blocked, "blocked"),
        RunState::Withdrawn => (Exit::Blocked, "withdrawn by an operator since it was pushed"),
        state => bail!("the run `{}` has {} already", run.id, state_name(state)),
    };
    let id = run.attestation.map(|id| id.to_string()).unwrap_or_default();
    let mut text = format!("{word} before: attestation {id}");
    if !run.findings.is_empty() {
        text.push('\n');
        text.push_str(&table::findings(&run.findings));
    }
    Report::new(exit, &serde_json::json!({"attestationID": run.id, "digest": id, "isPushed": true, "run": run}), text)
}
