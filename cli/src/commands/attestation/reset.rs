//! `sluice attestation reset`: the pipeline will push nothing. The gateway is told, so that the run does not look as if
//! it were still going on.

use anyhow::Context;
use contracts::api::{EndRun, RunOutcome};
use serde_json::json;

use crate::{
    args::{self, Trigger},
    client::ClientError,
    commands::connect,
    desk::Desk,
    exit::Exit,
    report::{Report, plain},
};

pub async fn run(
    connection: &args::Connection,
    desk: &mut Desk,
    args: &args::AttestationReset,
) -> anyhow::Result<Report> {
    let session = desk.open().await?;
    let (outcome, word) = match args.trigger {
        Trigger::Failure => (RunOutcome::Failed, "failed"),
        Trigger::Cancellation => (RunOutcome::Cancelled, "cancelled"),
    };
    let pushed = session.signed.as_ref().is_some_and(|signed| signed.received);
    let mut note = None;
    let mut told = false;
    if !session.dry_run && !pushed {
        let end = EndRun { outcome, reason: args.reason.clone() };
        match connect(connection)?.end_run(&session.run.id, &end).await {
            Ok(_) => told = true,
            // The gateway knows better how it ended, or nothing of it.
            Err(ClientError::Refused { status: 404 | 409, message, .. }) => note = Some(message),
            Err(error) => {
                return Err(error).context(
                    "the gateway could not be told, and the session is kept (`sluice attestation init --replace` begins \
                     anew without telling it)",
                );
            }
        }
    }
    desk.close()?;
    let data = json!({"dropped": true, "run": session.run.id, "state": told.then_some(word)});
    let text = if told {
        format!("the run {} is marked as {word}, and the session is dropped", session.run.id)
    } else {
        "the session is dropped".to_owned()
    };
    let report = Report::new(Exit::Yes, &data, text)?;
    Ok(match note {
        Some(note) => report.note(plain(&note)),
        None => report,
    })
}

/// There was no session.
pub fn nothing() -> anyhow::Result<Report> {
    Report::new(Exit::Yes, &json!({"dropped": false}), "there was no session")
}
