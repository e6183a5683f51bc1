//! The example contracts, the examples in the documentation, and hostile variations of them.
#![cfg(test)]

use std::{fs, path::PathBuf};

use contracts::{
    Diagnostics, Finding, Severity,
    contract::Contract,
    policy::{PolicyDocument, PolicyGroupDocument},
    revision::{self, Revision},
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/contracts")
}

fn read(contract: &str) -> Result<(Revision, Vec<Finding>), Diagnostics> {
    let mut load = |path: &str| fs::read(folder().join(path)).map_err(|error| error.to_string());
    Revision::from_files(&revision::collect(contract, &mut load)?)
}

#[test]
fn the_examples_are_read() {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut all = String::new();
    for name in names {
        let (revision, warnings) = read(&name).unwrap_or_else(|diagnostics| panic!("{name}: {diagnostics}"));
        let contract = revision.contract();
        let signers = revision.signer_policy().map_or("the organization's".to_owned(), |policy| {
            format!("{} of {}", policy.threshold(), policy.allowed().count())
        });
        all += &format!(
            "{name}: {} materials, {} files, signers {signers}, {} repositories\n",
            contract.materials.len(),
            revision.files().files.len(),
            contract.admission.as_ref().map_or(0, |admission| admission.repositories.len()),
        );
        for attachment in revision.attachments() {
            let inputs: Vec<_> = attachment.scripts.iter().map(|script| format!("{:?}", script.input)).collect();
            all +=
                &format!("  {} on {} with {:?}\n", attachment.document.name, inputs.join(", "), attachment.arguments);
        }
        for warning in warnings {
            all += &format!("  {} {}\n", warning.code, warning.message);
        }
    }
    insta::assert_snapshot!(all, @r#"
    approval.yaml: 2 materials, 1 files, signers 1 of 1, 0 repositories
      approved-by-a-lead on Materials(["approval"]) with {"approvers": "lead@acme.dev, security@acme.dev"}
    legacy-spelling.json: 2 materials, 1 files, signers the organization's, 0 repositories
    legacy.yaml: 3 materials, 1 files, signers the organization's, 0 repositories
    scans.yaml: 4 materials, 2 files, signers the organization's, 0 repositories
      no-errors on Materials(["scan-code", "scan-image"]) with {}
    skynet-release.yaml: 4 materials, 7 files, signers 1 of 2, 1 repositories
      banned-licenses on Materials(["sbom"]) with {"licenses": "AGPL-3.0-only\nSSPL-1.0\n"}
      no-errors on Materials(["scan"]) with {}
      sbom-fresh on Materials(["sbom"]) with {"days": "14"}
      names-commit on Attestation with {}
    two-signers.yaml: 1 materials, 4 files, signers 2 of 3, 2 repositories
    watch.yaml: 2 materials, 2 files, signers 1 of 1, 1 repositories
    "#);
}

#[test]
fn minted_documents_are_read() {
    let contract = testdata::contract("registry.acme.dev/skynet/**");
    assert_eq!(Contract::parse("c.yaml", contract.as_bytes()).unwrap().1, []);
    let policy = testdata::policy_banning_licence("AGPL-3.0");
    assert_eq!(PolicyDocument::parse("p.yaml", policy.as_bytes()).unwrap().name, "banned-licence");
}

/// What the documentation shows as a whole document is one.
#[test]
fn the_documentation_shows_what_is_read() {
    let mut documents = 0;
    for page in ["contract.md", "policy.md"] {
        let text = fs::read_to_string(folder().join("../../docs").join(page)).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let text = block.split("```").next().unwrap_or_default();
            let result = if text.contains("kind: Contract") || text.starts_with("schemaVersion") {
                Contract::parse(page, text.as_bytes()).map(|_| ())
            } else if text.contains("kind: PolicyGroup") {
                PolicyGroupDocument::parse(page, text.as_bytes()).map(|_| ())
            } else if text.contains("kind: Policy") {
                PolicyDocument::parse(page, text.as_bytes()).map(|_| ())
            } else {
                continue;
            };
            documents += 1;
            assert_eq!(result, Ok(()), "{text}");
        }
    }
    assert!(documents >= 4, "only {documents} documents found");
}

/// Whatever is written, reading ends, does not panic, and an error names at least one mistake.
#[test]
fn hostile_documents_are_refused_or_read_but_never_a_surprise() {
    let cases = std::env::var("SLUICE_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let mut seeds = Vec::new();
    for entry in ["skynet-release.yaml", "approval.yaml", "legacy-spelling.json", "policies/no-errors.yaml"] {
        seeds.push(fs::read(folder().join(entry)).unwrap());
    }
    let mut mutator = testdata::Mutator::new(7);
    for _ in 0..cases {
        let bytes = mutator.next(&seeds, 64 * 1024);
        for diagnostics in [
            Contract::parse("c.yaml", &bytes).err(),
            PolicyDocument::parse("p.yaml", &bytes).err(),
            PolicyGroupDocument::parse("g.yaml", &bytes).err(),
            revision::collect("c.yaml", &mut |_| Ok(bytes.clone())).err(),
        ]
        .into_iter()
        .flatten()
        {
            let errors = diagnostics.0.iter().filter(|finding| finding.severity == Severity::Error).count();
            assert!(errors > 0, "refused without a reason: {}", String::from_utf8_lossy(&bytes));
        }
    }
}

/// Nesting and repetition cost no more than their bytes.
#[test]
fn documents_that_grow_are_bounded() {
    let deep = |open: &str| testdata::deep(open, 50_000);
    for bytes in [
        deep("["),
        deep("{a: "),
        deep("- "),
        deep("? "),
        deep("a:\n "),
        "a: b\n".repeat(90_000).into_bytes(),
        "[],".repeat(100_000).into_bytes(),
        "\"".repeat(400_000).into_bytes(),
        "- >\n".repeat(90_000).into_bytes(),
        " ".repeat(500_000).into_bytes(),
        format!("a: {}", "b ".repeat(200_000)).into_bytes(),
        format!("a: \"{}", "b\n\n".repeat(100_000)).into_bytes(),
        format!("a: |\n{}", "  b\n\n".repeat(80_000)).into_bytes(),
        "# comment\n".repeat(50_000).into_bytes(),
        "%TAG !a! b\n".repeat(40_000).into_bytes(),
        format!("{{{}", "a, ".repeat(90_000)).into_bytes(),
    ] {
        let begun = std::time::Instant::now();
        assert!(Contract::parse("c.yaml", &bytes).is_err());
        let took = begun.elapsed();
        assert!(took.as_secs() < 10, "{took:?} for {}", String::from_utf8_lossy(&bytes[..20]));
    }
}
