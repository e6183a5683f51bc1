//! `sluice attestation remove`: what was added by mistake goes out of the session again, and nothing else does. Nothing was
//! signed with it yet, so nothing is lost; the file itself is left alone.

use std::collections::BTreeSet;

use anyhow::bail;
use contracts::contract::Contract;

use super::{shape, status};
use crate::{
    args,
    desk::{Desk, Kept},
    exit::Exit,
    report::{Report, plain},
    state::Session,
};

/// How often it is tried again when another job changed the attestation meanwhile.
const TRIES: u32 = 60;

pub async fn run(desk: &mut Desk, args: &args::AttestationRemove) -> anyhow::Result<Report> {
    let names: BTreeSet<&String> = args.names.iter().collect();
    for round in 0..TRIES {
        let mut session = desk.open().await?;
        session.refuse_when_pushed()?;
        // All or nothing.
        if let Some(unknown) = names.iter().find(|name| !session.materials.contains_key(**name)) {
            bail!(not_there(&session, unknown));
        }
        session.materials.retain(|name, _| !names.contains(name));
        // Nothing goes anywhere; but what is signed at the gateway is not changed any more.
        desk.carry(&mut session, &[]).await?;
        // What was signed before says something else now.
        session.signed = None;
        match desk.keep(&session).await? {
            Kept::Yes => return tell(&session, &names),
            Kept::Changed => desk.pause(round).await,
        }
    }
    bail!("other jobs keep changing this attestation: try again")
}

fn tell(session: &Session, names: &BTreeSet<&String>) -> anyhow::Result<Report> {
    let contract = session.contract()?;
    let left = shape::materials(session, &contract);
    let lines: Vec<String> = names.iter().map(|name| format!("`{name}` is removed from the attestation")).collect();
    let report = Report::new(Exit::Yes, &left, plain(&lines.join("\n")))?;
    let missing = wanted(session, &contract, names);
    if missing.is_empty() {
        return Ok(report);
    }
    Ok(report.note(format!("the contract asks for it:{}", status::next(&contract, &missing))))
}

/// Of what was removed, what the contract requires.
fn wanted(session: &Session, contract: &Contract, names: &BTreeSet<&String>) -> Vec<String> {
    let mut missing = status::missing(session, contract);
    missing.retain(|name| names.contains(name));
    missing
}

fn not_there(session: &Session, name: &str) -> String {
    let there: Vec<String> = session.materials.keys().map(|name| format!("`{name}`")).collect();
    match there.is_empty() {
        true => format!("there is no `{name}`: nothing was added yet"),
        false => format!("there is no `{name}`; what was added is {}", there.join(", ")),
    }
}
