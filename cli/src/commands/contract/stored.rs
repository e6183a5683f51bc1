//! `sluice contract replay --revision`: a proposed contract over what was pushed to the gateway.

use std::path::Path;

use anyhow::Context;
use contracts::Finding;

use super::{bundles::word, connect, open};
use crate::{
    args::{self, ContractReplay},
    exit::Exit,
    report::{Report, plain, table},
};

/// Lets the gateway judge what it has by the proposed contract, and lists what is decided otherwise: exit 0 nothing, 1
/// something, 2 when of any of it that could not be told.
pub async fn replay(
    connection: &args::Connection,
    args: &ContractReplay,
    file: &Path,
    hosts: &[String],
) -> anyhow::Result<Report> {
    let opened = match open(file, hosts).await? {
        Ok(opened) => opened,
        Err(mistakes) => return mistakes.report(),
    };
    let own = opened.revision.contract().name.clone();
    let name = args.name.clone().or(own).context("the contract has no `metadata.name`: say --name")?;
    let replayed =
        connect(connection)?.replay_contract(&name, opened.revision.files(), args.limit.unwrap_or(100)).await?;
    let why = |finding: &Finding| format!("{} ({})", finding.message, finding.code);
    let rows = replayed.flips.iter().map(|flip| {
        let received = flip.received_at.map(table::moment).unwrap_or_default();
        let why = flip.findings.iter().map(why).collect::<Vec<_>>().join("\n");
        let (before, after) = (word(flip.before).to_owned(), word(flip.after).to_owned());
        [flip.run.clone(), flip.workflow.clone(), received, before, after, why]
    });
    let mut text = String::new();
    if !replayed.flips.is_empty() {
        text = table::table(["run", "workflow", "when", "before", "after", "why it is denied"], rows);
        text.push('\n');
    }
    let (flips, judged) = (replayed.flips.len(), replayed.judged);
    text.push_str(&format!("{flips} of {judged} verdicts change"));
    let exit = match (replayed.undecided.is_empty(), flips) {
        (false, _) => Exit::Unknown,
        (true, 0) => Exit::Yes,
        (true, _) => Exit::No,
    };
    let report = Report::new(exit, &replayed, text)?;
    Ok(replayed.undecided.iter().fold(report, |report, one| {
        report.note(plain(&format!("of run {} it could not be told: {}", one.run, one.reason)))
    }))
}
