//! Until when an answer is true.

use contracts::{Code, Decision};
use jiff::Timestamp;
use testdata::Material;

use crate::support::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_new_demand_warns_until_its_day() {
    let rules = rules("materials: [{name: sbom, type: SBOM_CYCLONEDX_JSON, effectiveFrom: 2027-01-01}]", &[]);
    let evidence = evidence(&[]);
    let before = ask_at(&rules, &evidence, at("2026-12-31T23:59:59Z"));
    assert_eq!(told(&before), warned(Code::MaterialMissing));
    assert_eq!(before.valid_until, Some(at("2027-01-01T00:00:00Z")));
    let from = ask_at(&rules, &evidence, at("2027-01-01T00:00:00Z"));
    assert_eq!((told(&from), from.valid_until), (denied(Code::MaterialMissing), None));
}

#[test]
fn evidence_grows_too_old_at_an_instant() {
    let rules = rules(
        "materials: [{name: image, type: CONTAINER_IMAGE}]\nadmission: {repositories: ['r.dev/**'], maxAge: 90d}",
        &[],
    );
    let evidence = evidence(&[]);
    let end = testdata::noon() + jiff::SignedDuration::from_hours(24 * 90);
    let young = ask_at(&rules, &evidence, end - jiff::SignedDuration::from_nanos(1));
    assert_eq!((told(&young), young.valid_until), (allowed(), Some(end)));
    let old = ask_at(&rules, &evidence, end);
    assert_eq!(told(&old), denied(Code::EvidenceTooOld));
}

#[test]
fn what_is_timestamped_again_is_as_old_as_it_was_first_received() {
    let noon = testdata::noon();
    let sigstore = testdata::Sigstore::new(noon);
    let root = contracts::TrustRoot::new(Vec::new(), Some(&sigstore.trusted_root())).unwrap();
    let statement = testdata::statement(&testdata::run("run-1"), &[Material::image("image", "r.dev/a", image())]);
    let bundle = sigstore.attest(&statement, "https://forge.test/acme/app", "https://issuer.test", noon);
    let verified = root.verify(&bundle, noon).unwrap();
    let rules = rules(
        "materials: [{name: sbom, type: STRING, optional: true}]\nadmission: {repositories: ['r.dev/**'], maxAge: 1h}",
        &[],
    );
    let age = |received: Timestamp| {
        let evidence = policies::Evidence::of_run(policies::Attested::new(&verified, received), Vec::new());
        told(&ask_at(&rules, &evidence, noon))
    };
    let hours = jiff::SignedDuration::from_hours;
    assert_eq!(age(noon + hours(2)), allowed());
    assert_eq!(age(noon - hours(2)), denied(Code::EvidenceTooOld));
}

#[test]
fn what_reads_the_time_is_true_for_its_minute() {
    let cel = "materials: [{name: image, type: CONTAINER_IMAGE}]\nadmission: {repositories: ['r.dev/**'], rules: [{name: hours, cel: 'now.getSeconds() == 0 && now.getMinutes() == 5', message: late}]}";
    let rego =
        policy("clock", "ATTESTATION", "violations contains sprintf(\"%v\", [time.clock(time.now_ns())]) if true");
    let rego_spec = "materials: [{name: image, type: CONTAINER_IMAGE}]\npolicies: {attestation: [{ref: 'file://p.yaml', gate: true}]}";
    let now = at("2026-11-24T12:05:59.9Z");
    let next = Some(at("2026-11-24T12:06:00Z"));
    let by_cel = ask_at(&rules(cel, &[]), &evidence(&[]), now);
    assert_eq!((by_cel.decision, by_cel.valid_until), (Decision::Allow, next));
    let by_rego = ask_at(&rules(rego_spec, &[("p.yaml", &rego)]), &evidence(&[]), now);
    assert_eq!((by_rego.findings[0].message.as_str(), by_rego.valid_until), ("[12, 5, 0]", next));
    let timeless = ask_at(&rules("materials: [{name: image, type: CONTAINER_IMAGE}]", &[]), &evidence(&[]), now);
    assert_eq!(timeless.valid_until, None);
}

#[test]
fn the_earliest_end_counts() {
    let spec = "materials:\n- {name: image, type: CONTAINER_IMAGE}\n- {name: sbom, type: SBOM_CYCLONEDX_JSON, effectiveFrom: 2026-11-30}\nadmission: {repositories: ['r.dev/**'], maxAge: 30d}";
    let answer = ask(&rules(spec, &[]), &evidence(&[Material::string("note", "x")]));
    assert_eq!(answer.valid_until, Some(at("2026-11-30T00:00:00Z")));
}
