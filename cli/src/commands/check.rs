//! `sluice check`.

use anyhow::Context;
use contracts::{Decision, api::CheckAnswer};

use super::connect;
use crate::{
    args,
    exit::Exit,
    files::{self, Readers},
    report::{Report, table},
};

/// Asks whether an image may be used.
pub async fn run(connection: &args::Connection, args: &args::Check) -> anyhow::Result<Report> {
    // A typing mistake is told here; the gateway resolves the tag.
    args.image.parse::<contracts::Reference>()?;
    let mut answer = connect(connection)?.check(&args.image, args.vsa.is_some()).await?;
    if let Some(path) = &args.vsa {
        let vsa = answer.vsa.take().context("the gateway does not sign verdicts: it is of an older version")?;
        files::replace(path, vsa.to_string().as_bytes(), Readers::Everyone)?;
    }
    let exit = match answer.verdict.decision {
        Decision::Allow => Exit::Yes,
        Decision::Deny => Exit::No,
    };
    Report::new(exit, &answer, describe(&answer))
}

fn describe(answer: &CheckAnswer) -> String {
    let verdict = &answer.verdict;
    let decision = match (verdict.decision, verdict.enforced) {
        (Decision::Allow, true) if verdict.exempted => "allowed, by exemption alone",
        (Decision::Allow, true) => "allowed",
        (Decision::Allow, false) => "let through, although nothing says that it may be (not enforced)",
        (Decision::Deny, _) => "denied",
    };
    let mut text = format!("{}: {decision}", verdict.subject);
    if let Some(until) = verdict.valid_until {
        text.push_str(&format!("\nuntil {until}, if nothing changes before"));
    }
    for contract in &verdict.contracts {
        let answered = match contract.decision {
            Decision::Allow => "allows",
            Decision::Deny => "denies",
        };
        text.push_str(&format!("\ncontract {} revision {}: {answered}", contract.contract, contract.revision));
    }
    if !verdict.findings.is_empty() {
        text.push('\n');
        text.push_str(&table::findings(&verdict.findings));
    }
    text
}
