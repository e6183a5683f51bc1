//! What a policy may cost. Whatever it does, it ends with a code, and takes nothing along.
//!
//! By hand, with what each takes: `cargo test --release -p sluice-policies --test bounds -- --nocapture --test-threads=1`.

#![cfg(test)]

#[path = "../engine/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the engine, which need more of it")]
mod support;

use std::time::Instant;

use contracts::{Code, Decision, Digest, MaterialType, crafting::DeclaredMaterial};
use policies::MaterialEvidence;
use testdata::Material;

use support::*;

/// The most memory that this process has held so far, in KiB; 0 where that cannot be told.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// Lets the peak be measured anew, where the system can.
fn forget_peak() {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

/// Judges a scan by a policy with this body, tells what it took, and answers with the codes.
fn judged(what: &str, body: &str) -> Vec<String> {
    let policy = policy("p", "SARIF", body);
    let spec = "materials: [{name: scan, type: SARIF}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true, selector: {name: scan}}]}";
    let rules = rules(spec, &[("p.yaml", &policy)]);
    let results: Vec<(String, &str)> = (0..2000).map(|n| (format!("CVE-{n}"), "error")).collect();
    let results: Vec<(&str, &str)> = results.iter().map(|(id, level)| (id.as_str(), *level)).collect();
    let scan = Material::file("scan", MaterialType::Sarif, "scan.sarif", &testdata::sarif(&results));
    let evidence = evidence(&[scan]);
    forget_peak();
    let (before, start) = (peak(), Instant::now());
    let answer = ask(&rules, &evidence);
    let (took, grew) = (start.elapsed(), peak().saturating_sub(before));
    let (decision, codes) = told(&answer);
    println!("{what}: {took:?}, {} MiB more, {codes:?}", grew / 1024);
    assert_eq!(decision, Decision::Deny, "{what}");
    codes
}

#[test]
fn what_never_ends_is_ended() {
    let over = [Code::RuleBudget.to_string()];
    for (what, body) in [
        (
            "an endless loop",
            "violations contains \"x\" if {\n\tsome a in numbers.range(1, 90000)\n\tsome b in numbers.range(1, 90000)\n\ta == b + 100000\n}",
        ),
        (
            "an endless loop in `every`",
            "violations contains \"x\" if {\n\tevery a in numbers.range(1, 90000) { every b in numbers.range(1, 90000) { a + b > 0 } }\n}",
        ),
        (
            "a function called without end",
            "violations contains \"x\" if {\n\tsome a in numbers.range(1, 90000)\n\tsome b in numbers.range(1, 90000)\n\tf(a) == b + 100000\n}\nf(x) := x if true",
        ),
        (
            "patterns without end",
            "violations contains \"x\" if {\n\tsome a in numbers.range(1, 90000)\n\tsome b in numbers.range(1, 90000)\n\tregex.match(sprintf(\"^%d(a|b)*$\", [a]), sprintf(\"%d\", [b]))\n\tfalse\n}",
        ),
    ] {
        assert_eq!(judged(what, body), over, "{what}");
    }
}

#[test]
fn what_grows_without_bound_is_ended() {
    let over = [Code::RuleBudget.to_string()];
    let doubled: String = (0..60).map(|n| format!("x{} := concat(\"\", [x{n}, x{n}])\n", n + 1)).collect();
    let text = format!("x0 := \"abcdefgh\"\n{doubled}violations contains x60");
    let lists: String = (0..60).map(|n| format!("x{} := array.concat(x{n}, x{n})\n", n + 1)).collect();
    let lists = format!("x0 := [1]\n{lists}violations contains \"x\" if count(x60) == 1");
    for (what, body) in [
        ("a text that doubles", text.as_str()),
        ("a list that doubles", lists.as_str()),
        (
            "a gigabyte of violations",
            "violations contains sprintf(\"%d %s\", [a, concat(\"\", [\"x\" | some _ in numbers.range(1, 10000)])]) if some a in numbers.range(1, 99999)",
        ),
        (
            "a gigabyte of findings",
            "result := {\"findings\": [{\"message\": \"x\", \"n\": [a, b, [a, b]]} | some a in numbers.range(1, 90000); some b in numbers.range(1, 90000)]}",
        ),
        (
            "a list of all pairs",
            "violations contains \"x\" if count([[a, b] | some a in numbers.range(1, 90000); some b in numbers.range(1, 90000)]) == 1",
        ),
        (
            "a set of all pairs",
            "violations contains \"x\" if count({[a, b] | some a in numbers.range(1, 90000); some b in numbers.range(1, 90000)}) == 1",
        ),
        (
            "an object of all pairs",
            "violations contains \"x\" if count({[a, b]: {\"a\": a} | some a in numbers.range(1, 90000); some b in numbers.range(1, 90000)}) == 1",
        ),
        (
            "a rule of all pairs",
            "pairs contains {\"a\": a, \"b\": b} if {\n\tsome a in numbers.range(1, 90000)\n\tsome b in numbers.range(1, 90000)\n}\nviolations contains \"x\" if count(pairs) == 1",
        ),
        ("a function that allocates", "violations contains \"x\" if count(numbers.range(1, 1000000000)) == 1"),
        ("a wide number", "violations contains sprintf(\"%900000000d\", [1])"),
        ("a shifted number", "violations contains \"x\" if bits.lsh(1, 4000000000) == 1"),
        (
            "documents parsed again and again",
            "violations contains \"x\" if count([json.unmarshal(json.marshal(input)) | some _ in numbers.range(1, 99999)]) == 1",
        ),
    ] {
        assert_eq!(judged(what, body), over, "{what}");
    }
}

/// A chain of functions as long as a script can be: it is run on the heap, never on the thread's stack.
#[test]
fn what_goes_deep_is_bounded() {
    let chain: String = (0..3000).map(|n| format!("f{n}(x) := f{}(x + 1) if x >= 0\n", n + 1)).collect();
    let body = format!("violations contains sprintf(\"%d\", [f0(0)])\n{chain}f3000(x) := x");
    let codes = judged("a chain of 3,000 functions", &body);
    assert!(["policy-violation", "rule-error", "rule-budget"].contains(&codes[0].as_str()), "{codes:?}");
    let looping = policy("p", "SARIF", "violations contains f(1)\nf(x) := g(x)\ng(x) := f(x)");
    let spec = "materials: [{name: scan, type: SARIF}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true}]}";
    let told = compiled(spec, &[("p.yaml", &looping)]).unwrap_err();
    assert!(told.0.iter().all(|finding| finding.code == Code::PolicyCompile), "{told}");
}

#[test]
fn a_document_that_is_nested_without_end_is_no_document() {
    let deep = 100_000;
    for (what, kind, text) in [
        ("lists", MaterialType::Evidence, format!("{}{}", "[".repeat(deep), "]".repeat(deep))),
        ("objects", MaterialType::Evidence, format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep))),
        (
            "lists in a scan",
            MaterialType::Sarif,
            format!("{{\"version\":\"2.1.0\",\"runs\":{}{}}}", "[".repeat(deep), "]".repeat(deep)),
        ),
    ] {
        let declared = DeclaredMaterial {
            name: "it".to_owned(),
            kind,
            digest: Digest::of(text.as_bytes()),
            filename: None,
            inline: None,
            image: None,
            skip_upload: false,
            output: false,
            annotations: Default::default(),
        };
        forget_peak();
        let (before, start) = (peak(), Instant::now());
        let code = MaterialEvidence::from_bytes(&declared, text.as_bytes()).unwrap_err().code;
        println!("{what}: {:?}, {} MiB more, {code}", start.elapsed(), peak().saturating_sub(before) / 1024);
        assert_eq!(code, Code::MaterialMalformed, "{what}");
    }
}

#[test]
fn conditions_that_look_at_too_much_are_ended() {
    let policy = "apiVersion: sluice.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec: {policies: [{kind: SARIF, cel: \"input.runs.all(r, r.results.all(a, size(r.results) > 0)) && input.runs[0].results.all(a, input.runs[0].results.all(b, a.ruleId != 'x' && b.ruleId != 'y'))\"}]}\n";
    let spec = "materials: [{name: scan, type: SARIF}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true, selector: {name: scan}}]}";
    let rules = rules(spec, &[("p.yaml", policy)]);
    let results: Vec<(String, &str)> = (0..3000).map(|n| (format!("CVE-{n}"), "error")).collect();
    let results: Vec<(&str, &str)> = results.iter().map(|(id, level)| (id.as_str(), *level)).collect();
    let evidence = evidence(&[Material::file("scan", MaterialType::Sarif, "s.sarif", &testdata::sarif(&results))]);
    forget_peak();
    let (before, start) = (peak(), Instant::now());
    let answer = ask(&rules, &evidence);
    println!("CEL over all pairs: {:?}, {} MiB more", start.elapsed(), peak().saturating_sub(before) / 1024);
    assert_eq!(told(&answer), denied(Code::RuleBudget));
}
