//! `sluice attestation status`

use contracts::{
    MaterialType,
    contract::{Contract, MaterialClause},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    exit::Exit,
    report::{Report, plain, table},
    state::{Session, Workbench},
};

/// One line of the status.
#[derive(Debug, Serialize)]
pub struct Slot {
    name: String,
    kind: MaterialType,
    required: bool,
    /// The set of which at least one must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    output: bool,
    /// What was added, if something was.
    value: Option<String>,
}

pub fn run(bench: &Workbench) -> anyhow::Result<Report> {
    let session = bench.open()?;
    let contract = session.contract()?;
    let data = json!({
        "run": session.run.id,
        "project": session.run.project,
        "workflow": session.run.workflow,
        "contract": session.run.contract.info.name,
        "revision": session.run.contract.info.revision,
        "materials": slots(&session, &contract),
        "missing": missing(&session, &contract),
        "signed": session.signed,
    });
    Report::new(Exit::Yes, &data, describe(&session, &contract))
}

/// What the contract asks for and what was added beyond it.
pub fn slots(session: &Session, contract: &Contract) -> Vec<Slot> {
    let asked = contract.materials.iter().map(|clause| Slot {
        name: clause.name.clone(),
        kind: clause.kind,
        required: !clause.optional && clause.group.is_none(),
        group: clause.group.as_ref().map(|group| group.value.clone()),
        output: clause.output,
        value: value(session, &clause.name),
    });
    let beyond = session.materials.values().filter(|added| contract.material(&added.material.name).is_none());
    let beyond = beyond.map(|added| Slot {
        name: added.material.name.clone(),
        kind: added.material.kind,
        required: false,
        group: None,
        output: false,
        value: value(session, &added.material.name),
    });
    asked.chain(beyond).collect()
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

/// The session for people.
pub fn describe(session: &Session, contract: &Contract) -> String {
    let run = &session.run;
    let card = table::card([
        ("run", run.id.clone()),
        ("workflow", format!("{}/{}", run.project, run.workflow)),
        ("contract", format!("{} revision {}", run.contract.info.name, run.contract.info.revision)),
        ("commit", session.git_head.as_ref().map(|head| head.sha1.clone()).unwrap_or_default()),
    ]);
    let rows = slots(session, contract).into_iter().map(|slot| {
        let state = match (&slot.value, slot.required, &slot.group) {
            (Some(value), ..) => value.clone(),
            (None, _, Some(group)) => format!("— one of `{group}`"),
            (None, true, None) => "— missing".to_owned(),
            (None, false, None) => "— optional".to_owned(),
        };
        let name = if slot.output { format!("{} (output)", slot.name) } else { slot.name };
        [name, slot.kind.to_string(), state]
    });
    let mut text = format!("{card}\n{}", table::table(["material", "type", "value"], rows));
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

fn value(session: &Session, name: &str) -> Option<String> {
    let added = session.materials.get(name)?;
    let material = &added.material;
    Some(match (&material.image, &material.value, &material.filename) {
        (Some(image), ..) => match &image.tag {
            Some(tag) => format!("{}:{tag}@{}", image.repository, material.digest),
            None => format!("{}@{}", image.repository, material.digest),
        },
        (None, Some(value), _) => value.clone(),
        (None, None, Some(filename)) => filename.clone(),
        (None, None, None) => material.digest.to_string(),
    })
}
