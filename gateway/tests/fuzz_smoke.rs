//! Every parser that is fed from outside, against hostile input: seeds from git, changed by a fixed sequence, so that
//! a failure repeats. `SLUICE_FUZZ_CASES` says how many inputs each parser gets; coverage-guided fuzzing of the same
//! targets is in fuzz/README.md.
#![cfg(test)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use contracts::{
    MaterialType,
    cases::PolicyCases,
    contract::Contract,
    materials,
    policy::{PolicyDocument, PolicyGroupDocument},
};
use testdata::{Mutator, deep};

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Longer than any seed.
const INPUT_BYTES: usize = 64 * 1024;
/// How long one input may take, in a build without optimizations on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn no_parser_panics_hangs_or_breaks_its_laws() {
    let cases = std::env::var("SLUICE_FUZZ_CASES").map_or(2_000, |text| text.parse().unwrap());
    for (name, target) in targets::TARGETS {
        let seeds = seeds(name);
        for seed in &seeds {
            attempt(name, *target, seed);
        }
        for input in [vec![], vec![0], vec![0xff; 4096], deep("[", 50_000), deep("{\"a\":", 50_000), deep("- ", 20_000)]
        {
            attempt(name, *target, &input);
        }
        for input in [deep("<a>", 50_000), deep("{a: ", 10_000), deep("&a [*a, ", 2_000)] {
            attempt(name, *target, &input);
        }
        let mut mutator = Mutator::new(1);
        for _ in 0..cases {
            attempt(name, *target, &mutator.next(&seeds, INPUT_BYTES));
        }
    }
}

/// Whether bytes are a document of a kind.
type IsOne = fn(&[u8]) -> bool;

/// A parser that refuses every seed at its first key is not reached by what is made of them.
#[test]
fn every_kind_of_document_and_of_material_has_a_target_with_a_seed_that_is_one() {
    let is_target = |name: &str| targets::TARGETS.iter().any(|(target, _)| *target == name);
    let documents: [(&str, IsOne); 4] = [
        ("contract", |seed| Contract::parse("contract.yaml", seed).is_ok()),
        ("policy", |seed| PolicyDocument::parse("policy.yaml", seed).is_ok()),
        ("policy_group", |seed| PolicyGroupDocument::parse("group.yaml", seed).is_ok()),
        ("policy_test", |seed| PolicyCases::parse("p.test.yaml", seed).is_ok()),
    ];
    for (name, is_one) in documents {
        assert!(is_target(name) && seeds(name).iter().any(|seed| is_one(seed)), "{name}");
    }
    for (name, kinds) in targets::MATERIALS {
        assert!(is_target(name), "`{name}` is no target");
        let seeds = seeds(name);
        for kind in *kinds {
            let taken = seeds.iter().any(|seed| materials::read(*kind, seed).is_ok());
            assert!(taken, "no seed of `{name}` is a {kind}");
        }
    }
    for kind in MaterialType::ALL {
        let read = targets::MATERIALS.iter().any(|(_, kinds)| kinds.contains(kind));
        assert!(read, "no target reads {kind}: add it to `MATERIALS` in fuzz/targets.rs, with seeds");
    }
}

fn attempt(name: &str, target: fn(&[u8]), input: &[u8]) {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    let (took, held) = (begun.elapsed(), outcome.is_ok());
    if !held || took > PATIENCE {
        let kept = std::env::temp_dir().join(format!("sluice-fuzz-{name}"));
        fs::write(&kept, input).unwrap();
        panic!("`{name}` {} on the input kept in {}", if held { "ran long" } else { "failed" }, kept.display());
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no seeds", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}
