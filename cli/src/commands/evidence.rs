//! `sluice evidence …`

use contracts::{
    api::{SweepEvidence, SweptEvidence},
    size::show,
};

use super::connect;
use crate::{
    args,
    exit::Exit,
    report::{Report, ask, plain},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Evidence) -> anyhow::Result<Report> {
    let args::Evidence::Sweep { older_than, dry_run, yes } = args;
    let client = connect(connection)?;
    let sweep = |dry_run| SweepEvidence { older_than: older_than.clone(), dry_run };
    let told = client.sweep_evidence(&sweep(true)).await?;
    if *dry_run {
        return Report::new(Exit::Yes, &told, plain(&describe(&told, "would be removed")));
    }
    let question = format!("{}\nRemove them?", describe(&told, "would be removed"));
    if told.removed > 0 && !yes && !ask(&plain(&question))? {
        return Report::new(Exit::No, &told, "nothing was removed".to_owned());
    }
    let swept = client.sweep_evidence(&sweep(false)).await?;
    Report::new(Exit::Yes, &swept, plain(&describe(&swept, "were removed")))
}

fn describe(swept: &SweptEvidence, what: &str) -> String {
    let SweptEvidence { old, named, removed, bytes, digests } = swept;
    let mut text = format!("of {old} old files {named} are named and stay, {removed} {what} ({})", show(*bytes));
    for digest in digests {
        text.push_str(&format!("\n  {digest}"));
    }
    if (digests.len() as u64) < *removed {
        text.push_str("\n  and others");
    }
    text
}
