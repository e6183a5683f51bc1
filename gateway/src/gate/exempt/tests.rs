use contracts::{
    Severity, SigningKey,
    api::{ExemptionSettings, Unmatched},
    exemption::{ApprovalRules, RuleNames, exemptable},
};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::trial::{acme, image};

const RULES: [&str; 3] = ["material-note", "material-sbom", "max-age"];

fn noon() -> Timestamp {
    testdata::noon()
}

fn at(hours: i64) -> Timestamp {
    noon().checked_add(SignedDuration::from_hours(hours)).unwrap()
}

/// An exemption of a rule for all images, from and until these hours after noon.
fn approved(key: &SigningKey, rule: &str, from: i64, until: i64) -> Arc<Approved> {
    let document = format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: an-exemption, organization: acme}}\nspec: {{scope: {{rule: {rule}, repositories: [\"**\"]}}, reason: r, from: \"{}\", until: \"{}\"}}",
        at(from),
        at(until)
    );
    let settings = ExemptionSettings { approvers: vec![key.public().to_pem().into()], ..ExemptionSettings::default() };
    let rules = ApprovalRules::new("acme", &settings, &RuleNames::default()).unwrap();
    let nobody = contracts::TrustRoot::new(Vec::new(), None).unwrap();
    Arc::new(rules.approve(&key.approve(document.as_bytes()).unwrap().into(), &nobody, noon()).unwrap())
}

fn rules(exemptions: Vec<Arc<Approved>>) -> OrganizationRules {
    OrganizationRules {
        changed: 0,
        unmatched: Unmatched::Deny,
        contracts: BTreeMap::new(),
        unusable: BTreeMap::new(),
        workflows: BTreeMap::new(),
        exemptions,
        void_exemptions: BTreeMap::new(),
        denials: crate::denials::Denials::default(),
    }
}

fn place() -> Place {
    Place::of_pull(&acme(), &image("app"))
}

fn ask(
    exemptions: &Exemptions,
    answer: Result<Vec<Finding>, Vec<Finding>>,
) -> (Result<Vec<Finding>, Vec<Finding>>, Used) {
    let (place, mut used) = (place(), Used::default());
    let repository = place.subject.image().map(|image| &image.repository);
    let matter =
        Matter { repository, digest: place.subject.digest(), contract: "release", workflow: Some("skynet/build") };
    let answer = exemptions.apply(&matter, answer, &mut used);
    (answer, used)
}

fn finding(code: Code, rule: &str) -> Finding {
    Finding::error(code, "m").by_rule(rule)
}

#[test]
fn a_denial_without_a_reason_stays_one() {
    let key = SigningKey::generate_ed25519().unwrap();
    let exemptions = Exemptions::about(&rules(vec![approved(&key, RULES[0], -1, 1)]), &place(), noon());
    let rejected = Finding::error(Code::RunRejected, "m");
    for reasons in [vec![], vec![rejected.clone()], vec![Finding::warning(Code::PolicyViolation, "m")]] {
        let (answer, used) = ask(&exemptions, Err(reasons.clone()));
        assert_eq!((answer, used), (Err(reasons), Used::default()));
    }
    let covered = finding(Code::MaterialMissing, RULES[0]);
    let (answer, used) = ask(&exemptions, Err(vec![rejected.clone(), covered.clone()]));
    assert!(answer.unwrap().iter().all(|f| !f.blocks() && f.exempted.is_some()));
    assert_eq!(used.until(), Some(at(1)));
    // A rule of that id that gave no answer, and a finding that is of no rule.
    for open in [finding(Code::RuleError, RULES[0]), Finding::error(Code::MaterialMissing, "m")] {
        let (answer, _) = ask(&exemptions, Err(vec![rejected.clone(), covered.clone(), open]));
        let told = answer.unwrap_err();
        assert!(told[0].blocks() && !told[1].blocks() && told[2].blocks(), "{told:?}");
    }
}

#[test]
fn every_code_is_exempted_or_not_on_purpose() {
    let exempted: Vec<&str> =
        Code::ALL.iter().filter(|(code, ..)| exemptable(*code)).map(|(_, text, _)| *text).collect();
    insta::assert_snapshot!(exempted.join("\n"), @r#"
    material-missing
    material-type
    material-malformed
    material-schema
    material-unknown
    annotation-missing
    runner-mismatch
    evidence-too-old
    policy-violation
    policy-skipped
    rule-failed
    "#);
}

fn codes() -> impl Strategy<Value = Code> {
    proptest::sample::select(Code::ALL.iter().map(|(code, ..)| *code).collect::<Vec<_>>())
}

proptest! {
    /// What is allowed is covered, each by an exemption that is in force, and nothing holds longer than what it used.
    #[test]
    fn nothing_outlives_what_it_used(
        exempted in prop::collection::vec((0_usize..3, -5_i64..5, 1_i64..6), 0..6),
        found in prop::collection::vec((codes(), 0_usize..3, any::<bool>()), 0..5),
        now in -6_i64..12,
    ) {
        let key = SigningKey::generate_ed25519().unwrap();
        let exempted: Vec<(usize, i64, i64)> = exempted.into_iter().map(|(rule, from, lasts)| (rule, from, from + lasts)).collect();
        let all = exempted.iter().map(|(rule, from, until)| approved(&key, RULES[*rule], *from, *until)).collect();
        let exemptions = Exemptions::about(&rules(all), &place(), at(now));
        let findings: Vec<Finding> = found.iter().map(|(code, rule, blocks)| {
            let severity = if *blocks { Severity::Error } else { Severity::Warning };
            Finding { severity, ..finding(*code, RULES[*rule]) }
        }).collect();
        let (answer, used) = ask(&exemptions, Err(findings.clone()));
        let in_force = |rule: usize| exempted.iter().filter(move |(of, from, until)| *of == rule && *from <= now && now < *until);
        let blocking: Vec<_> = found.iter().filter(|(code, _, blocks)| *blocks && *code != Code::RunRejected).collect();
        let covered = blocking.iter().filter(|(code, rule, _)| exemptable(*code) && in_force(*rule).count() > 0).count();
        prop_assert_eq!(answer.is_ok(), !blocking.is_empty() && covered == blocking.len());
        let told = match answer { Ok(told) | Err(told) => told };
        prop_assert_eq!(told.len(), findings.len());
        for finding in told.iter().filter_map(|finding| finding.exempted.as_ref()) {
            prop_assert!(at(now) < finding.until);
            prop_assert!(used.until().is_some_and(|until| until <= finding.until));
        }
        let next = exempted.iter().filter(|(_, from, until)| *from > now && now < *until).map(|(_, from, _)| at(*from)).min();
        prop_assert_eq!(exemptions.next, next);
        let again = Exemptions::about(&rules(Vec::new()), &place(), at(now));
        prop_assert_eq!(ask(&again, Err(findings.clone())).0, Err(findings));
    }
}
