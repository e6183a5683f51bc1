//! Real clients pull through the gateway, each in each of its configurations: what is allowed arrives as it is, what is
//! denied does not, and the person is told why. What was seen is the table in `docs/clients.md`.
//!
//! Runs with `SLUICE_REAL_CLIENTS=1` as root. Clients that are not on the path are left out aloud, but not where
//! `CI=true` is set: there they are a failure. `SLUICE_CLIENTS_TABLE=write` writes the table.

mod containerd;
mod containers;
mod cri;
mod docker;
mod look;
mod named;
mod opted;
mod pull;
mod stage;
mod table;

use std::collections::BTreeMap;

use self::{
    pull::{Setup, Store},
    stage::Stage,
    table::Row,
};
use super::real_clients::programs;

#[test]
fn real_clients_get_what_is_allowed_and_are_told_why_the_rest_is_not() {
    let Some(found) = programs(&["docker-registry", "skopeo"]) else { return };
    let mut stage = Stage::new(&found);
    let mut setups = Vec::new();
    named::setups(&stage, &mut setups);
    containers::setups(&stage, &mut setups);
    let _containerds = containerd::setups(&stage, &mut setups, |_| true);
    let _nodes = cri::setups(&stage, &mut setups);
    let _dockers = docker::setups(&stage, &mut setups);

    let mut rows: Vec<Row> = setups.iter().map(|setup| first(&stage, setup)).collect();
    // From here on the contract asks for more than was attested: what clients have is not allowed any more.
    stage.revoke();
    for (setup, row) in setups.iter().zip(&mut rows) {
        row.revoked = revoked(&stage, setup);
    }
    stage.end_gateway();
    for (setup, row) in setups.iter().zip(&mut rows) {
        without_gateway(&stage, setup, row);
    }
    let mut wrong: Vec<String> =
        setups.iter().zip(&rows).filter_map(|(setup, row)| doctor_agrees(setup, row)).collect();
    wrong.extend(table::hold(&rows));
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// An allowed image is pulled, and then one that is denied.
fn first(stage: &Stage, setup: &Setup) -> Row {
    let at = || format!("{} {}, {}", setup.client, setup.version, setup.configuration);
    println!("{}", at());
    let before = stage.mark();
    let pulled = setup.pull("allowed");
    assert!(pulled.worked, "{}: what is allowed does not arrive:\n{}\n{}", at(), pulled.said, stage.log());
    setup.store.holds(&stage.allowed).unwrap_or_else(|missing| panic!("{}: {missing}", at()));
    let around = stage.direct(before);

    let before = stage.mark();
    // First, as it has to be gone again before the client is asked.
    let canary = setup.doctor.as_ref().map(|view| view.canary(stage));
    let pulled = setup.pull("denied");
    let arrived = setup.store.holds(&stage.denied).is_ok();
    assert_eq!(pulled.worked, arrived, "{}: what was said is not what was done:\n{}", at(), pulled.said);
    // Whatever else it asked, the gateway gave it nothing.
    if let Some(answer) = stage.answers(before, "demo/denied").iter().find(|answer| !answer.is_refusal()) {
        panic!("{}: the gateway answered {answer:?}", at());
    }
    let mut row = Row::new(setup, arrived);
    if arrived {
        assert!(!stage.direct(before).is_empty(), "{}: it arrived, and the registry was not asked", at());
    } else {
        setup.store.holds_nothing_of(&stage.denied).unwrap_or_else(|found| panic!("{}: {found}", at()));
        for part in ["no attestation of the image", "what to do: push an attestation", "/verdicts/sha256:"] {
            assert!(pulled.said.contains(part), "{}: `{part}` is not shown:\n{}", at(), pulled.said);
        }
        row.shown = stage.stable(&pulled.reason());
    }
    if let Some(view) = &setup.doctor {
        row.doctor = view.answer(stage);
        let expected = if arrived { "arrived" } else { "refused" };
        assert_eq!(canary.as_deref(), Some(expected), "{}: the canary says otherwise", at());
    }
    let asked: Vec<_> = around.into_iter().chain(stage.direct(before)).collect();
    if row.doctor.starts_with("final") || setup.doctor.is_none() {
        assert!(asked.is_empty(), "{}: the registry was asked: {asked:#?}", at());
    }
    if let (Some(capitals), false) = (&setup.capitals, arrived) {
        let pulled = setup.pull_from(capitals, "denied");
        row.capitals = if pulled.worked { "arrives" } else { "does not arrive" };
    }
    row
}

/// What the client has, and may not have any more, is asked for again.
fn revoked(stage: &Stage, setup: &Setup) -> &'static str {
    let pulled = setup.pull("allowed");
    match pulled.worked {
        true => "arrives",
        false => {
            assert!(pulled.said.contains("material-approval"), "{}: {}\n{}", setup.client, pulled.said, stage.log());
            "refused"
        }
    }
}

/// Nobody answers where the gateway was.
fn without_gateway(stage: &Stage, setup: &Setup, row: &mut Row) {
    let before = stage.mark();
    let pulled = setup.pull("denied");
    if row.doctor.starts_with("final") || setup.doctor.is_none() {
        assert!(stage.direct(before).is_empty(), "{}, {}: the registry was asked", setup.client, setup.configuration);
    }
    row.without_gateway(pulled.worked);
}

/// `final` must be so for every image, whoever answers. What differs between versions is never final to doctor.
fn doctor_agrees(setup: &Setup, row: &Row) -> Option<String> {
    let closed = row.is_final();
    let agrees = match row.doctor.as_str() {
        "—" => closed,
        "final" => closed && row.capitals != "arrives",
        "final as written" => closed && row.capitals != "does not arrive",
        _ => !closed || setup.differs_between_versions,
    };
    (!agrees).then(|| format!("{}, {}: doctor says {}, but: {}", row.client, row.configuration, row.doctor, row.denied))
}

/// The environment of a command, as it is written down.
type Variables = BTreeMap<String, String>;
