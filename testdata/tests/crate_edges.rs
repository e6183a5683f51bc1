//! The import graph, held: which crate of this workspace may name which other, and which outside crates stay behind
//! one crate's wall. A new edge is a decision: change the table here and say why in docs/decisions.
#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Edges that ship.
const EDGES: &[(&str, &[&str])] = &[
    ("contracts", &[]),
    ("policies", &["contracts"]),
    ("gateway", &["policies", "contracts"]),
    ("cli", &["gateway", "policies", "contracts"]),
    ("testdata", &["contracts"]),
    ("bench", &["gateway", "policies", "contracts", "testdata"]),
];

/// Crates that only the named crate may depend on; a prefix ends in `-*`. Tests are held to it too.
const WALLS: &[(&str, &[&str])] = &[
    ("contracts", &["sigstore-*", "saphyr-*", "crypto_secretbox", "scrypt", "quick-xml"]),
    ("policies", &["regorus", "cel"]),
    ("gateway", &["axum", "redb", "moka"]),
    ("cli", &["clap", "miette", "textwrap", "indicatif", "comfy-table", "oci-client"]),
];

/// What the pure crates may never name: I/O, async, a clock's or a process's company.
const PURE: &[&str] = &["contracts", "policies"];
const IMPURE: &[&str] = &["tokio", "reqwest", "hyper", "futures", "tempfile", "tracing", "axum", "oci-client"];

#[derive(Default)]
struct Crate {
    ships: BTreeSet<String>,
    tests: BTreeSet<String>,
}

#[test]
fn only_the_drawn_edges_exist() {
    let crates = workspace();
    let drawn: BTreeSet<_> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(crates.keys().cloned().collect::<BTreeSet<_>>(), drawn, "a crate came or went");
    for (name, allowed) in EDGES {
        let allowed: BTreeSet<_> = allowed.iter().map(|to| (*to).to_owned()).collect();
        let ours: BTreeSet<_> = crates[*name].ships.intersection(&drawn).cloned().collect();
        assert!(ours.is_subset(&allowed), "`{name}` names {ours:?}; drawn are {allowed:?}");
        let in_tests: BTreeSet<_> = crates[*name].tests.intersection(&drawn).cloned().collect();
        let allowed_in_tests = &allowed | &BTreeSet::from(["testdata".to_owned()]);
        assert!(in_tests.is_subset(&allowed_in_tests), "the tests of `{name}` name {in_tests:?}");
    }
}

#[test]
fn engines_servers_and_signatures_stay_behind_their_walls() {
    let crates = workspace();
    for (owner, walled) in WALLS {
        let inside = &crates[*owner];
        for pattern in *walled {
            let used = inside.ships.iter().any(|name| matches(pattern, name));
            assert!(used, "`{owner}` no longer uses `{pattern}`: take it out of the table");
            for (name, other) in crates.iter().filter(|(name, _)| name != owner) {
                let all = other.ships.union(&other.tests);
                let trespass: Vec<_> = all.filter(|dependency| matches(pattern, dependency)).collect();
                assert!(trespass.is_empty(), "`{name}` names {trespass:?}, which only `{owner}` may");
            }
        }
    }
}

#[test]
fn the_pure_crates_do_no_input_or_output() {
    let crates = workspace();
    for name in PURE {
        let found: Vec<_> = IMPURE.iter().filter(|impure| crates[*name].ships.contains(**impure)).collect();
        assert!(found.is_empty(), "`{name}` names {found:?}");
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// Each crate by its folder's name, as cargo reads the manifests. Names of this workspace's crates are given
/// without `sluice-`, as the code spells them.
fn workspace() -> BTreeMap<String, Crate> {
    let cargo = std::env::var("CARGO").unwrap();
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut crates = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let mut found = Crate::default();
        for dependency in package["dependencies"].as_array().unwrap() {
            let kind = if dependency["kind"] == "dev" { &mut found.tests } else { &mut found.ships };
            kind.insert(short(&dependency["name"]));
        }
        crates.insert(short(&package["name"]), found);
    }
    crates
}

fn short(name: &Value) -> String {
    let name = name.as_str().unwrap();
    name.strip_prefix("sluice-").unwrap_or(name).to_owned()
}
