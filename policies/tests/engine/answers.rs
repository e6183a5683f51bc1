//! What satisfies a contract and what does not.

use contracts::{Code, Decision, MaterialType, crafting};
use policies::{Attested, Evidence, MaterialEvidence, Phase, evaluate};
use serde_json::json;
use testdata::{Material, Minter};

use crate::support::*;

const SBOM: &str =
    "materials:\n- {name: image, type: CONTAINER_IMAGE, output: true}\n- {name: sbom, type: SBOM_CYCLONEDX_JSON}";

fn sbom() -> Material {
    Material::cyclonedx("sbom", &testdata::cyclonedx(3))
}

#[test]
fn materials_must_be_there_of_their_type_and_with_their_bytes() {
    let rules = rules(SBOM, &[]);
    assert_eq!(told(&ask(&rules, &evidence(&[sbom()]))), allowed());
    assert_eq!(told(&ask(&rules, &evidence(&[]))), denied(Code::MaterialMissing));
    let other = Material::file("sbom", MaterialType::SbomSpdxJson, "x.json", &testdata::spdx(1));
    assert_eq!(told(&ask(&rules, &evidence(&[other]))), denied(Code::MaterialType));

    let verified = attested(&Minter::fresh(), &[sbom()]);
    let run = crafting::read(&verified.statement).unwrap().unwrap();
    let absent = run.materials.iter().map(MaterialEvidence::absent).collect();
    let without = Evidence::of_run(Attested::new(&verified, testdata::noon()), absent);
    let answer = ask(&rules, &without);
    assert_eq!(told(&answer), denied(Code::MaterialBytesAbsent), "an image needs no bytes");
    let finding = answer.findings.first().unwrap();
    assert_eq!(finding.evidence.as_ref().and_then(|place| place.material.as_deref()), Some("sbom"));
    assert_eq!(finding.origin.as_ref().map(|origin| origin.line), Some(7));

    let optional = SBOM.replace("name: sbom,", "name: sbom, optional: true,");
    let optional = crate::support::rules(&optional, &[]);
    assert_eq!(told(&ask(&optional, &evidence(&[]))), allowed());
    let wrong = Material::string("sbom", "no SBOM");
    assert_eq!(told(&ask(&optional, &evidence(&[wrong]))), denied(Code::MaterialType));
}

#[test]
fn a_policy_whose_material_is_missing_or_mistyped_says_so_itself() {
    let pol = policy("licenses", "SBOM_CYCLONEDX_JSON", "result := {\"violations\": [], \"skipped\": false}");
    let files = [("p.yaml", pol.as_str())];
    let attached = |spec: &str, gate: bool| {
        rules(&format!("{spec}\npolicies:\n  materials:\n  - {{ref: \"file://p.yaml\", gate: {gate}}}"), &files)
    };
    let both = |first: Code| (Decision::Deny, vec![first.to_string(), Code::PolicySkipped.to_string()]);
    let gate = attached(SBOM, true);
    assert_eq!(told(&ask(&gate, &evidence(&[sbom()]))), allowed());
    let missing = ask(&gate, &evidence(&[]));
    assert_eq!(told(&missing), both(Code::MaterialMissing));
    let (material, skipped) = (&missing.findings[0], &missing.findings[1]);
    assert_eq!(skipped.rule.as_deref(), Some("policy-licenses-sbom"));
    assert!(skipped.is_beneath(material), "{skipped:?}");
    assert_eq!(skipped.message, "policy `licenses` could not judge material `sbom`: it is missing");
    let other = Material::file("sbom", MaterialType::SbomSpdxJson, "x.json", &testdata::spdx(1));
    let mistyped = ask(&gate, &evidence(&[other]));
    assert_eq!(told(&mistyped), both(Code::MaterialType));
    let message = "policy `licenses` could not judge material `sbom`: it is of type SBOM_SPDX_JSON";
    assert_eq!(mistyped.findings[1].message, message);
    // Nobody relies on a policy that only warns, or on one for what need not be there.
    assert_eq!(told(&ask(&attached(SBOM, false), &evidence(&[]))), denied(Code::MaterialMissing));
    let optional = SBOM.replace("name: sbom,", "name: sbom, optional: true,");
    assert_eq!(told(&ask(&attached(&optional, true), &evidence(&[]))), allowed());
    let later = SBOM.replace("name: sbom,", "name: sbom, effectiveFrom: 2027-01-01,");
    assert_eq!(told(&ask(&attached(&later, true), &evidence(&[]))), warned(Code::MaterialMissing));
    // Of a group one is enough; without any, all policies of the group were not asked.
    let group = SBOM.replace("name: sbom,", "name: sbom, group: boms,")
        + "\n- {name: other, type: SBOM_CYCLONEDX_JSON, group: boms}";
    let group = attached(&group, true);
    assert_eq!(told(&ask(&group, &evidence(&[sbom()]))), allowed());
    let none = ask(&group, &evidence(&[]));
    let skipped = Code::PolicySkipped.to_string();
    assert_eq!(told(&none), (Decision::Deny, vec![Code::MaterialMissing.to_string(), skipped.clone(), skipped]));
}

#[test]
fn an_image_is_attested_by_what_was_made_for_it() {
    let other = contracts::PinnedRef { digest: contracts::Digest::of(b"other"), ..pinned() };
    let about = |rules: &policies::RuleSet, image: &contracts::PinnedRef, evidence: &Evidence| {
        told(&evaluate(rules, evidence, Some(&image.clone().into()), Phase::Admission, testdata::noon()).unwrap())
    };
    let one = rules(SBOM, &[]);
    let made = evidence(&[sbom()]);
    assert_eq!(about(&one, &pinned(), &made), allowed());
    assert_eq!(about(&one, &other, &made), denied(Code::SubjectMismatch));
    let intake = evaluate(&one, &made, None, Phase::Intake, testdata::noon()).unwrap();
    assert_eq!(told(&intake), allowed(), "which image is asked about is not known yet");

    // One of several is enough, and what is no output of the contract is none.
    let output = "- {name: OTHER, type: CONTAINER_IMAGE, output: true, optional: true}";
    let several =
        rules(&format!("{SBOM}\n{}\n{}", output.replace("OTHER", "debug"), output.replace("OTHER", "base")), &[]);
    let both = evidence(&[sbom(), Material::image("debug", "registry.acme.dev/skynet/app", other.digest)]);
    assert_eq!(about(&several, &pinned(), &both), allowed());
    assert_eq!(about(&several, &other, &both), allowed());
    assert_eq!(about(&several, &other, &made), denied(Code::SubjectMismatch));
    assert_eq!(about(&one, &other, &both), denied(Code::SubjectMismatch));

    // Without any of them, that is what is told.
    let absent = rules("materials:\n- {name: built, type: CONTAINER_IMAGE, output: true}", &[]);
    assert_eq!(about(&absent, &pinned(), &made), denied(Code::MaterialMissing));
    let optional = rules("materials:\n- {name: built, type: CONTAINER_IMAGE, output: true, optional: true}", &[]);
    assert_eq!(about(&optional, &pinned(), &made), allowed());
    let input = rules("materials:\n- {name: image, type: CONTAINER_IMAGE}", &[]);
    assert_eq!(about(&input, &other, &made), allowed(), "a contract without outputs says nothing of it");

    let later =
        rules("materials:\n- {name: image, type: CONTAINER_IMAGE, output: true, effectiveFrom: 2027-01-01}", &[]);
    assert_eq!(about(&later, &other, &made), warned(Code::SubjectMismatch));
}

#[test]
fn other_tools_attestations_have_no_output_image() {
    let minter = Minter::fresh();
    let bom = minter.cosign_cyclonedx("app", image(), &testdata::cyclonedx(2));
    let told_by = |more: &str| {
        let spec = format!(
            "materials:\n- {{name: sbom, type: SBOM_CYCLONEDX_JSON}}\n- {{name: image, type: CONTAINER_IMAGE, output: true{more}}}"
        );
        let rules = rules(&spec, &[]);
        let attested = vec![Attested::new(&verified(&minter, &bom), testdata::noon())];
        told(&ask(&rules, &Evidence::of_foreign(attested, &rules)))
    };
    assert_eq!(told_by(""), denied(Code::MaterialMissing));
    assert_eq!(told_by(", optional: true"), allowed());
}

#[test]
fn bytes_are_held_against_the_digest_and_the_type() {
    let minter = Minter::fresh();
    let garbage = Material::cyclonedx("sbom", b"{\"not\": \"an SBOM\"}");
    let verified = attested(&minter, std::slice::from_ref(&garbage));
    let run = crafting::read(&verified.statement).unwrap().unwrap();
    let declared = run.materials.iter().find(|material| material.name == "sbom").unwrap();
    let code = |bytes: &[u8]| MaterialEvidence::from_bytes(declared, bytes).err().map(|finding| finding.code);
    assert_eq!(code(&testdata::cyclonedx(3)), Some(Code::MaterialDigestMismatch));
    assert_eq!(code(garbage.bytes.as_deref().unwrap()), Some(Code::MaterialMalformed));
}

#[test]
fn a_job_of_one_provider_is_no_runner_of_another() {
    let minter = Minter::fresh();
    let image = [Material::image("image", "registry.acme.dev/skynet/app", image())];
    let told_by = |named: &str, provider: Option<&str>, asked: &str| {
        let mut raw = testdata::statement(&testdata::run("run-1"), &image).raw;
        raw["predicate"]["runnerType"] = json!(named);
        let statement = contracts::Statement::parse(raw.to_string().as_bytes()).unwrap();
        let verified = verified(&minter, &minter.sign(&statement));
        let run = crafting::read(&verified.statement).unwrap().unwrap();
        let identity = |provider| json!({"provider": provider, "issuer": "https://ci.acme.dev", "subject": "x"});
        let identity = provider.map(|provider| serde_json::from_value(identity(provider)).unwrap());
        let attested = Attested::of_run(&verified, testdata::noon(), &run).built_by(identity.as_ref());
        let evidence = Evidence::of_run(attested, run.materials.iter().map(MaterialEvidence::reference).collect());
        let spec = format!("materials: [{{name: image, type: CONTAINER_IMAGE}}]\nrunner: {{type: {asked}}}");
        told(&ask(&rules(&spec, &[]), &evidence))
    };
    assert_eq!(told_by("JENKINS_JOB", None, "JENKINS_JOB"), allowed());
    assert_eq!(told_by("JENKINS_JOB", Some("other"), "JENKINS_JOB"), allowed(), "nobody could prove it");
    assert_eq!(told_by("GITHUB_ACTION", None, "GITHUB_ACTION"), allowed());
    for provider in ["other", "google"] {
        assert_eq!(told_by("GITHUB_ACTION", Some(provider), "GITHUB_ACTION"), denied(Code::RunnerMismatch));
    }
    assert_eq!(told_by("GITHUB_ACTION", Some("buildkite"), "BUILDKITE_PIPELINE"), allowed());
    assert_eq!(told_by("GITHUB_ACTION", Some("gitlab"), "GITHUB_ACTION"), denied(Code::RunnerMismatch));
}

#[test]
fn without_evidence_nothing_passes() {
    let rules = rules(SBOM, &[]);
    assert_eq!(told(&ask(&rules, &Evidence::of_foreign(Vec::new(), &rules))), denied(Code::NoEvidence));
}

#[test]
fn annotations_runner_and_signers_are_asked_for() {
    let minter = Minter::fresh();
    let pem = minter.public_pem();
    let files = [("keys/release.pub", pem.as_str())];
    let evidence = evidence_by(&minter, &[sbom()]);
    let spec = |more: &str| format!("{SBOM}\n{more}");
    let with = |more: &str, files: &[(&str, &str)]| told(&ask(&rules(&spec(more), files), &evidence));
    assert_eq!(with("annotations: [{name: version}]", &[]), denied(Code::AnnotationMissing));
    assert_eq!(with("runner: {type: GITHUB_ACTION}", &[]), denied(Code::RunnerMismatch));
    let signers = "signers: {threshold: 1, any: [{publicKey: 'file://keys/release.pub'}, {issuer: 'https://i.dev', identity: 'o''brien@i.dev'}]}";
    assert_eq!(with(signers, &files), allowed());
    assert_eq!(with(&signers.replace("threshold: 1", "threshold: 2"), &files), denied(Code::SignerNotAllowed));
    let other = Minter::fresh().public_pem();
    assert_eq!(with(signers, &[("keys/release.pub", &other)]), denied(Code::SignerNotAllowed));

    let annotated = SBOM
        .replace("type: SBOM_CYCLONEDX_JSON", "type: SBOM_CYCLONEDX_JSON, annotations: [{name: tool, value: syft}]");
    let annotated = rules(&annotated, &[]);
    assert_eq!(told(&ask(&annotated, &evidence)), denied(Code::AnnotationMissing));
    let with_tool = evidence_by(&minter, &[sbom().annotated("tool", "syft")]);
    assert_eq!(told(&ask(&annotated, &with_tool)), allowed());
}

#[test]
fn custom_evidence_is_held_against_its_schema() {
    let spec = "materials:\n- name: approval\n  type: EVIDENCE\n  schema: {type: object, required: [approver], properties: {approver: {type: string}}}";
    let rules = rules(spec, &[]);
    let approval =
        |text: &str| evidence(&[Material::file("approval", MaterialType::Evidence, "a.json", text.as_bytes())]);
    assert_eq!(told(&ask(&rules, &approval(r#"{"approver":"ann"}"#))), allowed());
    for bad in ["{}", r#"{"approver":1}"#, "[]", "not JSON"] {
        let answer = ask(&rules, &approval(bad));
        assert_eq!(told(&answer), denied(Code::MaterialSchema), "{bad}");
        assert!(answer.findings[0].message.contains(": "), "{}", answer.findings[0].message);
    }
    let digest = |more: &str| crate::support::rules(&spec.replace("approver: {type: string}", more), &[]).digest();
    assert_ne!(
        digest("approver: {type: string}"),
        digest("approver: {type: number}"),
        "the schema is part of the rule"
    );
}

#[test]
fn a_policy_blocks_when_it_is_a_gate() {
    let text = policy(
        "named",
        "SBOM_CYCLONEDX_JSON",
        "violations contains msg if {\n\tsome c in input.components\n\tc.name in bad\n\tmsg := sprintf(\"%s in %s\", [c.name, input.chainloop_metadata.annotations[\"chainloop.material.name\"]])\n}\nbad contains input.args.names if is_string(input.args.names)\nbad contains n if some n in input.args.names",
    );
    let files = [("p.yaml", text.as_str())];
    let spec = |gate: bool, names: &str| {
        format!("{SBOM}\npolicies: {{materials: [{{ref: 'file://p.yaml', gate: {gate}, with: {{names: '{names}'}}}}]}}")
    };
    let evidence = evidence(&[sbom()]);
    assert_eq!(told(&ask(&rules(&spec(true, "nothing"), &files), &evidence)), allowed());
    let answer = ask(&rules(&spec(true, "library-1, library-2"), &files), &evidence);
    assert_eq!(answer.decision, Decision::Deny);
    let messages: Vec<_> = answer.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages, ["library-1 in sbom", "library-2 in sbom"]);
    assert_eq!(told(&ask(&rules(&spec(false, "library-1"), &files), &evidence)), warned(Code::PolicyViolation));
}

#[test]
fn a_policy_that_gives_no_answer_denies() {
    let spec = |gate: bool| format!("{SBOM}\npolicies: {{materials: [{{ref: 'file://p.yaml', gate: {gate}}}]}}");
    for (body, code) in [
        ("violations contains \"x\" if to_number(input.specVersion) > to_number(\"x\")", Code::RuleError),
        ("violations contains \"x\" if count(numbers.range(1, 1000000000)) == 0", Code::RuleBudget),
        ("result := {\"violations\": \"none\"}", Code::RuleResultShape),
        ("result := {\"violations\": []} if input.nothing", Code::RuleResultShape),
        ("valid_input if input.nothing\nviolations contains \"x\" if false", Code::PolicySkipped),
        ("result := {\"violations\": [], \"ignore\": true}", Code::PolicySkipped),
    ] {
        let text = policy("p", "SBOM_CYCLONEDX_JSON", body);
        let files = [("p.yaml", text.as_str())];
        let evidence = evidence(&[sbom()]);
        assert_eq!(told(&ask(&rules(&spec(true), &files), &evidence)), denied(code), "{body}");
        assert_eq!(told(&ask(&rules(&spec(false), &files), &evidence)), warned(code), "{body}");
    }
}

#[test]
fn policies_on_attestations_read_what_was_signed() {
    let text = policy(
        "run",
        "ATTESTATION",
        "violations contains sprintf(\"%s/%s\", [input.predicate.metadata.project, input.chainloop_metadata.project_name]) if input.predicateType == \"chainloop.dev/attestation/v0.2\"",
    );
    let rules = rules(
        &format!("{SBOM}\npolicies: {{attestation: [{{ref: 'file://p.yaml', gate: true}}]}}"),
        &[("p.yaml", &text)],
    );
    let answer = ask(&rules, &evidence(&[sbom()]));
    assert_eq!(told(&answer), denied(Code::PolicyViolation));
    assert_eq!(answer.findings[0].message, "shop/shop");
    assert!(answer.findings[0].evidence.as_ref().is_some_and(|place| place.attestation.is_some()));
}

/// A build says of a scan that nobody can read by which tool it was made and that it is kept.
#[test]
fn what_a_build_says_of_bytes_that_are_not_there_does_not_count() {
    let names = ["chainloop.material.tool.name", "chainloop.material.cas"];
    let body = format!(
        "violations contains key if {{\n\tsome m in input.predicate.materials\n\tsome key in {names:?}\n\tm.annotations[key]\n\tm.annotations[\"chainloop.material.name\"] == \"scan\"\n}}"
    );
    let text = policy("claims", "ATTESTATION", &body);
    let spec = format!("{SBOM}\npolicies: {{attestation: [{{ref: 'file://p.yaml', gate: true}}]}}");
    let rules = rules(&spec, &[("p.yaml", &text)]);
    let scan = Material::file("scan", MaterialType::Sarif, "s.sarif", &testdata::sarif(&[]));
    let scan = scan.annotated("chainloop.material.tool.name", "trusted");
    let told_of = |scan: Material| {
        let answer = ask(&rules, &evidence(&[sbom(), scan]));
        answer.findings.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>()
    };
    let mut elsewhere = scan.clone();
    elsewhere.bytes = None;
    assert_eq!(told_of(elsewhere), Vec::<String>::new());
    assert_eq!(told_of(scan), names.map(str::to_owned).into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn a_gate_does_not_open_to_a_policy_that_had_no_document() {
    let text = policy("approved", "EVIDENCE", "violations contains \"rejected\" if input.approved == false");
    let spec =
        "materials: [{name: approval, type: EVIDENCE}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true}]}";
    let rules = rules(spec, &[("p.yaml", &text)]);
    let of = |bytes: &[u8]| evidence(&[Material::file("approval", MaterialType::Evidence, "a.json", bytes)]);
    assert_eq!(told(&ask(&rules, &of(br#"{"approved": true}"#))), allowed());
    assert_eq!(told(&ask(&rules, &of(br#"{"approved": false}"#))), denied(Code::PolicyViolation));
    // With a byte order mark it is no JSON, and other readers see what it says all the same.
    let marked = [b"\xef\xbb\xbf".as_slice(), br#"{"approved": false}"#].concat();
    assert_eq!(told(&ask(&rules, &of(&marked))), denied(Code::PolicySkipped));
}

#[test]
fn materials_that_are_arrays_or_values_are_wrapped_as_published() {
    let junit = policy("tests", "JUNIT_XML", "violations contains sprintf(\"%d\", [count(input.elements)]) if true");
    let string =
        policy("text", "STRING", "violations contains base64.decode(input.chainloop_metadata.content) if true");
    let spec = "materials:\n- {name: tests, type: JUNIT_XML}\n- {name: approver, type: STRING}\npolicies: {materials: [{ref: 'file://a.yaml', gate: true}, {ref: 'file://b.yaml', gate: true}]}";
    let rules = rules(spec, &[("a.yaml", &junit), ("b.yaml", &string)]);
    let report = testdata::junit(&[("one", testdata::Outcome::Passed)]);
    let materials =
        [Material::file("tests", MaterialType::JunitXml, "t.xml", &report), Material::string("approver", "ann")];
    let answer = ask(&rules, &evidence(&materials));
    let messages: Vec<_> = answer.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages, ["1", "ann"]);
}

#[test]
fn admission_rules_are_asked_at_admission() {
    let spec = |cel: &str| {
        format!(
            "{SBOM}\nadmission:\n  repositories: ['registry.acme.dev/**']\n  rules: [{{name: mine, cel: \"{cel}\", message: not mine}}]"
        )
    };
    let evidence = evidence(&[sbom()]);
    for (cel, expected) in [
        ("subject.repository.startsWith('registry.acme.dev/') && subject.digest.startsWith('sha256:')", allowed()),
        ("materials.sbom.document.components.exists(c, c.name == 'library-2')", allowed()),
        ("attestation.predicate.metadata.project == run.project && run.workflow == 'release'", allowed()),
        ("signers.all(s, s.key != '') && size(attestation.signers) == 1", allowed()),
        ("materials.sbom.document.components.size() > 100", denied(Code::RuleFailed)),
        ("attestation.nothing == 1", denied(Code::RuleError)),
        ("attestation.predicate", denied(Code::RuleResultShape)),
    ] {
        let rules = rules(&spec(cel), &[]);
        assert_eq!(told(&ask(&rules, &evidence)), expected, "{cel}");
        let intake = evaluate(&rules, &evidence, None, Phase::Intake, testdata::noon()).unwrap();
        assert_eq!(told(&intake), allowed(), "{cel}");
    }
}

#[test]
fn other_tools_attestations_fill_slots_together() {
    let rules = rules("materials: [{name: bom, type: SBOM_CYCLONEDX_JSON}]", &[]);
    let minter = Minter::fresh();
    let of = |bundle: contracts::Bundle, at: jiff::Timestamp| Attested::new(&verified(&minter, &bundle), at);
    let cyclonedx = minter.cosign_cyclonedx("app", image(), &testdata::cyclonedx(2));
    let note = minter.cosign("app", image(), "https://example.com/note", &json!({"a": 1}));
    let empty = minter.cosign("app", image(), "https://cyclonedx.org/bom", &json!({}));
    let noon = testdata::noon();
    let answer = |attested: Vec<Attested>| told(&ask(&rules, &Evidence::of_foreign(attested, &rules)));
    assert_eq!(answer(vec![of(note.clone(), noon), of(cyclonedx, noon)]), allowed());
    assert_eq!(answer(vec![of(note, noon)]), denied(Code::MaterialMissing));
    assert_eq!(answer(vec![of(empty, noon)]), denied(Code::MaterialMissing));
}

#[test]
fn the_same_question_has_the_same_answer_and_threads_agree() {
    let text = policy("names", "SBOM_CYCLONEDX_JSON", "violations contains c.name if some c in input.components");
    let spec = format!("{SBOM}\npolicies: {{materials: [{{ref: 'file://p.yaml', gate: true}}]}}");
    let rules = rules(&spec, &[("p.yaml", &text)]);
    assert_eq!(rules.digest(), crate::support::rules(&spec, &[("p.yaml", &text)]).digest());
    let evidence = evidence(&[sbom()]);
    let expected = ask(&rules, &evidence);
    assert_eq!(expected.findings.len(), 3);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(ask(&rules, &evidence), expected)));
        }
    });
}
