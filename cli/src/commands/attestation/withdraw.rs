//! `sluice attestation withdraw`, `restore` and `withdrawn`: an operator's, and of no session.

use contracts::api::{NewWithdrawal, WithdrawalInfo};

use crate::{
    args,
    commands::connect,
    exit::Exit,
    report::{Report, plain, table},
};

pub async fn withdraw(connection: &args::Connection, args: &args::AttestationWithdraw) -> anyhow::Result<Report> {
    let new = NewWithdrawal { reason: args.reason.clone() };
    let info = connect(connection)?.withdraw(&args.attestation, &new).await?;
    let told = format!(
        "{} counts no more from now on, in whichever bundle it comes again; `sluice attestation restore` takes that back",
        named(&info)
    );
    Report::new(Exit::Yes, &info, plain(&told))
}

pub async fn restore(connection: &args::Connection, attestation: &str) -> anyhow::Result<Report> {
    let info = connect(connection)?.restore(attestation).await?;
    Report::new(Exit::Yes, &info, plain(&format!("{} counts again, as what it says is judged", named(&info))))
}

pub async fn list(connection: &args::Connection) -> anyhow::Result<Report> {
    let list = connect(connection)?.withdrawals().await?;
    let rows = list.iter().map(|info| {
        [
            info.attestation.to_string(),
            info.run.clone().unwrap_or_default(),
            info.workflow.clone().unwrap_or_default(),
            info.withdrawn.reason.clone(),
            table::moment(info.withdrawn.withdrawn_at),
            info.withdrawn.by.clone(),
        ]
    });
    let text = table::table(["attestation", "run", "workflow", "reason", "since", "by"], rows);
    Report::new(Exit::Yes, &list, text)
}

/// `the attestation sha256:… of the run X of p/w`
fn named(info: &WithdrawalInfo) -> String {
    let attestation = format!("the attestation {}", info.attestation);
    match (&info.run, &info.workflow) {
        (Some(run), Some(workflow)) => format!("{attestation} of the run {run} of {workflow}"),
        _ => attestation,
    }
}
