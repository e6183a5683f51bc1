use insta::assert_snapshot;

use super::*;
use crate::{Envelope, SigningKey, TrustRoot, api::ExemptionSettings, dsse::EnvelopeSignature};

const GOOD: &str = "apiVersion: sluice.dev/v1
kind: Exemption
metadata: {name: log4j, organization: acme}
spec:
  scope:
    repositories: [\"registry.acme.dev/skynet/**\"]
    rule: no-critical-vulnerabilities
    workflow: skynet/release
    contract: release
  reason: the fixed version is tested on Monday
  from: 2026-12-24
  until: 2026-12-28T09:00:00+01:00
";

fn nobody_vouches() -> TrustRoot {
    TrustRoot::new(Vec::new(), None).unwrap()
}

fn now() -> Timestamp {
    "2026-12-25T00:00:00Z".parse().unwrap()
}

fn mistakes(text: &str) -> String {
    let diagnostics = Exemption::parse("exemption.yaml", text.as_bytes()).unwrap_err();
    let line = |finding: &Finding| {
        let (place, mend) = (finding.origin.as_ref().unwrap(), finding.mend.as_deref().unwrap_or("-"));
        format!("{}:{} {} {}; {mend}", place.line, place.column, finding.code, finding.message)
    };
    diagnostics.0.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_good_one_is_read_as_it_is_written() {
    let (exemption, warnings) = Exemption::parse("exemption.yaml", GOOD.as_bytes()).unwrap();
    assert_eq!(warnings, []);
    assert_eq!((exemption.name.as_str(), exemption.organization.as_str()), ("log4j", "acme"));
    assert_eq!(exemption.digest, Digest::of(GOOD.as_bytes()));
    assert_eq!(exemption.from, "2026-12-24T00:00:00Z".parse().unwrap());
    assert_eq!(exemption.until, "2026-12-28T08:00:00Z".parse().unwrap());
    let scope = &exemption.scope;
    assert_eq!(
        (scope.rule.as_deref(), scope.workflow.as_deref()),
        (Some("no-critical-vulnerabilities"), Some("skynet/release"))
    );
    let repository = "registry.acme.dev/skynet/app".parse().unwrap();
    assert!(exemption.concerns(Some(&repository), &Digest::of(b"any")));
    assert!(!exemption.concerns(Some(&"registry.acme.dev/other/app".parse().unwrap()), &Digest::of(b"any")));
    assert!(!exemption.concerns(None, &Digest::of(b"any")), "an artifact is in no repository");
    let at = |text: &str| exemption.in_force(text.parse().unwrap());
    assert!(!at("2026-12-23T23:59:59Z") && at("2026-12-24T00:00:00Z"));
    assert!(at("2026-12-28T07:59:59Z") && !at("2026-12-28T08:00:00Z"));
}

#[test]
fn every_mistake_is_told_at_once() {
    let bad = "apiVersion: sluice.dev/v1
kind: Exemption
metadata: {name: Log4J}
spec:
  scope:
    rules: x
    workflow: release
    contract: a/b
    digest: sha1:00
    repositories: [\"*/app\"]
  raison: x
  reason: \" \"
  from: soon
  until: 2026-12-24
";
    assert_snapshot!(mistakes(bad), @r#"
    3:11 document-missing-key `metadata` needs `organization`; name the organization whose approvers sign it: it counts in that one alone
    3:18 document-invalid-value `Log4J` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
    6:5 document-unknown-key `scope` has no key `rules`; did you mean `rule`?
    6:5 document-missing-key `scope` needs `rule`; -
    7:15 document-invalid-value `release` does not name a workflow: write `project/workflow`; -
    8:15 document-invalid-value `a/b` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
    9:13 document-invalid-value digest algorithm `sha1` is not supported: only sha256 is; -
    10:20 pattern-too-wide `*` would match registries that are not yours: name the host, or write `*.` and a domain in front of the path; -
    11:3 document-unknown-key the `spec` of an exemption has no key `raison`; did you mean `reason`?
    12:11 document-invalid-value `reason` is empty; say why, for whoever reads the audit log in a year
    13:9 document-invalid-value `soon` is not a date; write a date such as 2027-01-01 (midnight UTC), or an instant such as 2027-01-01T09:00:00Z
    "#);
    assert_snapshot!(mistakes(&GOOD.replace("until: 2026-12-28T09:00:00+01:00", "until: 2026-12-24")), @"12:10 document-invalid-value it ends at 2026-12-24T00:00:00Z, which is not after its begin, 2026-12-24T00:00:00Z; -");
    assert_snapshot!(mistakes(&GOOD.replace("    repositories: [\"registry.acme.dev/skynet/**\"]\n", "")), @"6:5 document-missing-key `scope` names no image, so it would exempt every image; add `repositories`, or the `digest` of one image, or both");
    assert_snapshot!(mistakes(&GOOD.replace("[\"registry.acme.dev/skynet/**\"]", "[]")), @"6:19 document-invalid-value `repositories` is empty, which would exempt every repository; name one, or leave it out");
    assert_snapshot!(mistakes(&GOOD.replace("kind: Exemption", "kind: Contract")), @"2:7 document-invalid-value this is a `Contract`; an `Exemption` is needed here; -");
    assert_snapshot!(mistakes(&GOOD.replace("name: log4j", "name: emergency-1")), @"3:11 document-invalid-value names that begin with `emergency` are for those that a gateway makes itself; choose another name");
    assert_snapshot!(mistakes(&GOOD.replace("the fixed", &"x".repeat(2001))), @"10:11 document-too-large `reason` has 2029 bytes; at most 2000 are read; -");
}

fn settings(keys: &[&SigningKey], threshold: u32) -> ExemptionSettings {
    let approvers = keys.iter().map(|key| key.public().to_pem().into()).collect();
    ExemptionSettings { approvers, threshold, ..ExemptionSettings::default() }
}

fn refused(rules: &ApprovalRules, envelope: &Envelope) -> &'static str {
    rules.approve(&envelope.clone().into(), &nobody_vouches(), now()).map(|_| ()).unwrap_err().code()
}

#[test]
fn approvers_are_counted_by_who_they_are() {
    let (ann, bob) = (SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap());
    let rules = ApprovalRules::new("acme", &settings(&[&ann, &bob, &ann], 2), &RuleNames::default()).unwrap();
    let one = ann.approve(GOOD.as_bytes()).unwrap();
    let both = bob.approve_too(&one).unwrap();
    assert_eq!(rules.approve(&both.clone().into(), &nobody_vouches(), now()).unwrap().approvers().len(), 2);
    let mut named_twice = ann.approve_too(&one).unwrap();
    named_twice.signatures[1].keyid = Some(bob.public().id().to_string());
    for envelope in [&one, &named_twice] {
        assert_eq!(refused(&rules, envelope), "exemption-not-approved");
    }
    // A signature over the same bytes as something else is none.
    let statement =
        crate::Statement::new(vec![crate::Subject::sha256("a", Digest::of(b"a"))], "p", serde_json::json!({}));
    let bundle = ann.sign(&statement).unwrap();
    let mut borrowed = bundle.envelope().clone();
    borrowed.payload_type = PAYLOAD_TYPE.to_owned();
    assert_eq!(refused(&rules, &borrowed), "exemption-not-approved");
    assert_eq!(refused(&rules, bundle.envelope()), "exemption-not-approved");
    let mut changed = both.clone();
    changed.payload.push(b'\n');
    assert_eq!(refused(&rules, &changed), "exemption-not-approved");
    let nobody = ApprovalRules::new("acme", &ExemptionSettings::default(), &RuleNames::default()).unwrap();
    assert_eq!(refused(&nobody, &both), "exemption-not-approved");
    assert_eq!(
        refused(&ApprovalRules::new("other", &settings(&[&ann, &bob], 2), &RuleNames::default()).unwrap(), &both),
        "exemption-of-another-organization"
    );
    let short = ExemptionSettings { longest: "4d".into(), ..settings(&[&ann, &bob], 2) };
    assert_eq!(
        refused(&ApprovalRules::new("acme", &short, &RuleNames::default()).unwrap(), &both),
        "exemption-too-long"
    );
    let never = ExemptionSettings { never: vec!["no-critical-vulnerabilities".into()], ..settings(&[&ann, &bob], 2) };
    assert_eq!(
        refused(&ApprovalRules::new("acme", &never, &RuleNames::default()).unwrap(), &both),
        "exemption-forbidden"
    );
    let full = Envelope { signatures: vec![EnvelopeSignature { keyid: None, sig: vec![1] }; 16], ..both };
    assert!(bob.approve_too(&full).is_err());
    assert!(ann.approve(b"no exemption").is_err());
    assert!(ann.approve_too(bundle.envelope()).is_err());
}

#[test]
fn settings_that_hold_nobody_to_anything_are_refused() {
    let key = SigningKey::generate_p256().unwrap();
    let good = || settings(&[&key], 1);
    for (bad, told) in [
        (ExemptionSettings { threshold: 0, ..good() }, "threshold is 0"),
        (ExemptionSettings { threshold: 0, approvers: Vec::new(), ..good() }, "threshold is 0"),
        (ExemptionSettings { threshold: 2, ..good() }, "only 1 different"),
        (ExemptionSettings { approvers: vec!["x".to_owned().into()], ..good() }, "number 1"),
        (ExemptionSettings { longest: "0d".into(), ..good() }, "longest"),
        (ExemptionSettings { never: vec![" ".into()], ..good() }, "never"),
    ] {
        let error = ApprovalRules::new("acme", &bad, &RuleNames::default()).err().unwrap();
        assert!(error.contains(told), "{error}");
    }
}
