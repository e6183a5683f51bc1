//! Verify and evaluate without HTTP or a store: what one attestation costs the processor.
#![expect(clippy::expect_used, reason = "a benchmark without its fixture has nothing to measure")]

use std::{collections::BTreeMap, hint::black_box};

use bench::{mint, rules};
use contracts::{
    Digest,
    api::RevisionFiles,
    bundle::Bundle,
    crafting::{self, DeclaredMaterial},
    keys::SigningKey,
    revision::Revision,
    verify::TrustRoot,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use policies::{Attested, Evidence, MaterialEvidence, Phase, RuleSet, compile, evaluate};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// One attestation with its key, as the gateway holds it.
struct Fixture {
    key: SigningKey,
    bundle: Vec<u8>,
    trust: TrustRoot,
    now: Timestamp,
}

impl Fixture {
    fn new() -> Outcome<Self> {
        let key = SigningKey::generate_p256()?;
        let minted = mint::attestations(&key, "five", Digest::of(b"image"), 1)?;
        let bundle = minted.first().ok_or("no attestation")?.bundle.to_vec();
        let trust = TrustRoot::new(vec![key.public().clone()], None)?;
        Ok(Self { key, bundle, trust, now: testdata::noon() })
    }

    fn attested(&self) -> Outcome<(Attested, Vec<DeclaredMaterial>)> {
        let verified = self.trust.verify(&Bundle::parse(&self.bundle)?, self.now)?;
        let run = crafting::read(&verified.statement)?.ok_or("not a crafted run")?;
        Ok((Attested::new(&verified, self.now), run.materials))
    }

    fn compile(&self, files: BTreeMap<String, String>) -> Outcome<RuleSet> {
        let files = RevisionFiles { contract: "contract.yaml".to_owned(), files };
        let (revision, _) = Revision::from_files(&files)?;
        Ok(compile(&revision)?)
    }

    fn rules(&self, policies: usize) -> Outcome<RuleSet> {
        self.compile(rules::contract("five", policies, &self.key.public().to_pem()))
    }

    fn evidence(&self) -> Outcome<Evidence> {
        let (attested, declared) = self.attested()?;
        let materials = declared
            .iter()
            .map(|m| match &m.inline {
                Some(bytes) => MaterialEvidence::from_bytes(m, bytes).map_err(|finding| finding.message),
                None => Ok(MaterialEvidence::reference(m)),
            })
            .collect::<Result<_, _>>()?;
        Ok(Evidence::of_run(attested, materials))
    }
}

fn verify(c: &mut Criterion) {
    let fixture = Fixture::new().expect("a fixture");
    c.bench_function("parse and verify, key-signed", |b| {
        b.iter(|| {
            let bundle = Bundle::parse(black_box(&fixture.bundle)).expect("a bundle");
            fixture.trust.verify(&bundle, fixture.now).expect("a good signature")
        });
    });
}

fn attestation_policies(c: &mut Criterion) {
    let fixture = Fixture::new().expect("a fixture");
    let evidence = fixture.evidence().expect("evidence");
    for policies in [1, 5, 50] {
        let rules = fixture.rules(policies).expect("rules");
        c.bench_function(&format!("evaluate, {policies} policies on one attestation"), |b| {
            b.iter(|| evaluate(&rules, black_box(&evidence), None, Phase::Intake, fixture.now).expect("an answer"));
        });
    }
    let files = rules::contract("five", 50, &fixture.key.public().to_pem());
    c.bench_function("compile a contract with 50 policies", |b| {
        b.iter_batched(|| files.clone(), |files| fixture.compile(files).expect("rules"), BatchSize::SmallInput);
    });
}

fn sboms(c: &mut Criterion) {
    let mut group = c.benchmark_group("one policy on an SBOM");
    group.sample_size(20);
    let fixture = Fixture::new().expect("a fixture");
    let (attested, _) = fixture.attested().expect("an attestation");
    let rules = fixture.compile(rules::sbom(&fixture.key.public().to_pem())).expect("rules");
    for (size, bytes) in [("tiny", 1024), ("200 KB", 200 * 1024), ("5 MB", 5 * 1024 * 1024)] {
        let document = testdata::cyclonedx_of_size(bytes);
        let declared = rules::declared_sbom(&document);
        let read =
            || MaterialEvidence::from_bytes(&declared, black_box(&document)).map_err(|f| f.message).expect("an SBOM");
        group.bench_function(format!("hash, check and parse, {size}"), |b| b.iter(read));
        let evidence = Evidence::of_run(attested.clone(), vec![read()]);
        group.bench_function(format!("evaluate, {size}"), |b| {
            b.iter(|| evaluate(&rules, black_box(&evidence), None, Phase::Intake, fixture.now).expect("an answer"));
        });
    }
}

criterion_group!(benches, verify, attestation_policies, sboms);
criterion_main!(benches);
