//! `sluice attestation status`

use contracts::{
    MaterialType,
    contract::{Contract, MaterialClause},
};

use super::{craft, foresee, shape};
use crate::{
    args, clock,
    desk::Desk,
    exit::Exit,
    report::{Crafted, Report, plain, table},
    state::Session,
};

pub async fn run(desk: &mut Desk, args: &args::AttestationStatus) -> anyhow::Result<Report> {
    let session = desk.open().await?;
    let contract = session.contract()?;
    let missing = missing(&session, &contract);
    let findings = match &session.signed {
        None => foresee::whole(&session, &contract)?,
        Some(_) => Vec::new(),
    };
    let data = shape::session(&session, &contract, &missing, &findings);
    let statement = craft::craft(&session, craft::annotations(&session, &contract, &[])?, clock::now()).statement();
    let mut text = describe(&session, &contract, args.full);
    if !missing.is_empty() {
        text.push_str("\nstill missing:");
        text.push_str(&next(&contract, &missing));
    }
    let told = foresee::told(&findings);
    if !told.is_empty() {
        text.push('\n');
        text.push_str(&told);
    } else if missing.is_empty() && session.signed.is_none() {
        text.push_str("\nnothing is missing: sluice attestation push");
    }
    let report = Report::new(Exit::Yes, &data, text)?;
    Ok(report.crafted(Crafted { statement: Some(statement.raw), bundle: None }))
}

/// The names of the required materials that are not there; of a group that has none, all.
pub fn missing(session: &Session, contract: &Contract) -> Vec<String> {
    let filled = |group: &str| {
        let there = |clause: &&MaterialClause| session.materials.contains_key(&clause.name);
        contract.materials.iter().filter(there).any(|clause| clause.group.as_ref().is_some_and(|g| g.value == group))
    };
    let open = session.open_slots(contract).into_iter();
    let required = open.filter(|slot| match &slot.group {
        Some(group) => !filled(&group.value),
        None => !slot.optional,
    });
    required.map(|slot| slot.name.clone()).collect()
}

/// What to type for each of these materials.
pub fn next(contract: &Contract, missing: &[String]) -> String {
    let mut text = String::new();
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
    text
}

/// The session for people.
pub fn describe(session: &Session, contract: &Contract, full: bool) -> String {
    let run = &session.run;
    let version = session.project_version.as_ref().map(|version| match version.prerelease {
        true => format!("{} (not released)", version.name),
        false => version.name.clone(),
    });
    let card = table::card([
        ("run", run.id.clone()),
        ("workflow", format!("{}/{}", run.project, run.workflow)),
        ("version", version.unwrap_or_default()),
        ("contract", format!("{} revision {}", run.contract.info.name, run.contract.info.revision)),
        ("runner", session.runner.map(|runner| runner.to_string()).unwrap_or_default()),
        ("pipeline", session.runner_url.clone().unwrap_or_default()),
        ("commit", session.git_head.as_ref().map(|head| head.sha1.clone()).unwrap_or_default()),
    ]);
    let rows = shape::materials(session, contract).into_iter().map(|slot| {
        let state = match (slot.shown(), slot.required, &slot.group) {
            (Some(value), ..) if full && value != slot.hash && !value.ends_with(&slot.hash) => {
                format!("{value}\n{}", slot.hash)
            }
            (Some(value), ..) => value,
            (None, _, Some(group)) => format!("— one of `{group}`"),
            (None, true, None) => "— missing".to_owned(),
            (None, false, None) => "— optional".to_owned(),
        };
        let name = if slot.output { format!("{} (output)", slot.name) } else { slot.name };
        [name, slot.kind.to_string(), state]
    });
    let mut text = format!("{card}\n{}", table::table(["material", "type", "value"], rows));
    if full && !session.env.is_empty() {
        let rows = session.env.iter().map(|(name, value)| [name.clone(), value.clone()]);
        text.push('\n');
        text.push_str(&table::table(["variable", "value"], rows));
    }
    let annotations: Vec<&str> = contract
        .annotations
        .iter()
        .filter(|clause| clause.value.is_none())
        .map(|clause| clause.name.as_str())
        .collect();
    if !annotations.is_empty() {
        let named = annotations.iter().map(|name| format!("--annotation {name}=…")).collect::<Vec<_>>().join(" ");
        text.push_str(&plain(&format!("\nto be given at push: {named}")));
    }
    match &session.signed {
        Some(signed) if signed.received => text.push_str("\nit was pushed and blocked: begin again with `init`"),
        Some(_) => text.push_str("\nit is signed and not pushed yet"),
        None => {}
    }
    text
}
