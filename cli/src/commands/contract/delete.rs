//! `sluice contract delete`

use contracts::api::{ReleasedRepositories, RemovedContract, Unmatched};

use crate::{
    client::Client,
    exit::Exit,
    report::{Report, ask, plain},
};

/// Tells what removing a contract changes, asks where somebody is there to be asked, and removes what was told of.
pub async fn run(client: &Client, name: &str, dry_run: bool, yes: bool) -> anyhow::Result<Report> {
    let told = client.remove_contract(name, None).await?;
    let RemovedContract { name, revision, .. } = &told;
    if dry_run {
        return Report::new(Exit::Yes, &told, plain(&format!("contract {name} would be removed\n{}", describe(&told))));
    }
    let question = format!("contract {name}, revision {revision}:\n{}\nRemove it?", describe(&told));
    if !yes && !ask(&plain(&question))? {
        return Report::new(Exit::No, &told, "nothing was removed".to_owned());
    }
    let removed = client.remove_contract(name, Some(*revision)).await?;
    Report::new(Exit::Yes, &removed, plain(&format!("contract {name} is removed\n{}", describe(&removed))))
}

/// What follows for repositories, workflows and what was judged.
fn describe(removed: &RemovedContract) -> String {
    let mut lines: Vec<String> =
        removed.repositories.iter().map(|released| repositories(released, removed.unmatched)).collect();
    if lines.is_empty() {
        lines.push("it answers for no repositories: what is pulled does not change".to_owned());
    }
    if !removed.workflows.is_empty() {
        lines.push(format!(
            "nothing is taken for {} until bound to another contract (`sluice workflow create`)",
            removed.workflows.join(", ")
        ));
    }
    lines.push(format!(
        "its runs and revisions stay readable; applied again it becomes revision {}",
        removed.revision.saturating_add(1)
    ));
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn repositories(released: &ReleasedRepositories, unmatched: Unmatched) -> String {
    let ReleasedRepositories { pattern, contracts, partly } = released;
    if !contracts.is_empty() {
        return format!("{pattern}: {} answers on", contracts.join(", "));
    }
    let becomes = match unmatched {
        Unmatched::Deny => "denied",
        Unmatched::Allow => "let through, unenforced",
    };
    match partly.as_slice() {
        [] => format!("{pattern}: images that no other contract answers for are {becomes}"),
        some => {
            format!("{pattern}: images that neither {} nor another contract answers for are {becomes}", some.join(", "))
        }
    }
}
