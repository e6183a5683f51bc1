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
