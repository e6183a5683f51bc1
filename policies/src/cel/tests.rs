//! What rules may say, and what stops them.

use std::time::Duration;

use super::*;

fn origin() -> Origin {
    Origin { file: "contract.yaml".to_owned(), line: 20, column: 15 }
}

fn run(source: &str, attestation: &str) -> Result<bool, RunError> {
    let expression = compile(source, &origin()).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{source}"));
    let attestation = Value::from_json_str(attestation).unwrap();
    let null = Value::Null;
    let facts = Facts {
        attestation: &attestation,
        materials: &null,
        subject: &null,
        verifiers: &null,
        signers: &null,
        run: &null,
        signed_at: "2027-01-01T00:00:00Z".parse().unwrap(),
    };
    let bound = facts.bind("2027-01-02T00:00:00Z".parse().unwrap());
    expression.run(&bound, BTreeMap::new(), Instant::now() + Duration::from_secs(20))
}

#[test]
fn documents_behave_like_cel_values() {
    let document = r#"{"n":1,"f":1.5,"big":18446744073709551615,"s":"text","l":[1,2,3],"o":{"a":"x","b":"y"},"e":[],"z":null,
        "subject":[{"name":"app","digest":{"sha256":"00"}},{"name":"git.head","annotations":{"signature":"sig"}}]}"#;
    for source in [
        "attestation.n + 1 == 2 && attestation.n == 1.0 && attestation.f > 1.0",
        "attestation.big == 18446744073709551615u",
        "attestation.s.startsWith('te') && size(attestation.s) == 4 && attestation.s == 'text'",
        "attestation.l == [1, 2, 3] && [1, 2, 3] == attestation.l && attestation.l != [1]",
        "{'a': 'x', 'b': 'y'} == attestation.o && attestation.o == {'b': 'y', 'a': 'x'}",
        "2 in attestation.l && !(4 in attestation.l) && 'a' in attestation.o && !('c' in attestation.o)",
        "size(attestation.l) == 3 && attestation.l.size() == 3 && size(attestation.o) == 2 && attestation.e == []",
        "attestation.l[1] == 2 && attestation['s'] == 'text' && attestation.z == null",
        "has(attestation.s) && !has(attestation.missing) && !has(attestation.o.c)",
        "attestation.o.all(k, k in ['a', 'b']) && attestation.o.map(k, k) == ['a', 'b']",
        "attestation.l.filter(x, x > 1).map(x, x * 2) == [4, 6]",
        "attestation.subject.exists(s, s.name == 'git.head' && has(s.annotations.signature))",
        "attestation.subject.exists_one(s, has(s.digest))",
        "type(attestation.l) == list && type(attestation.o) == map && type(attestation.n) == int",
        "attestation.?missing.orValue('none') == 'none' && attestation.?s.hasValue()",
        "age == duration('24h') && now - signed_at <= duration('90h') && signed_at < now && now.getFullYear() == 2027",
    ] {
        assert_eq!(run(source, document), Ok(true), "{source}");
    }
}

#[test]
fn what_is_not_true_or_false_is_an_error() {
    assert!(matches!(run("attestation.n", "{\"n\":1}"), Err(RunError::Shape(_))));
    assert!(matches!(run("attestation", "{}"), Err(RunError::Shape(_))));
    for source in [
        "attestation.missing == 1",
        "1 / (size(attestation.l) - 1) == 1",
        "attestation.l[7] == 1",
        "attestation < 1",
        "subject.digest == ''",
    ] {
        assert!(matches!(run(source, r#"{"l":[1]}"#), Err(RunError::Error(_))), "{source}");
    }
}

#[test]
fn mistakes_are_found_when_compiling() {
    let long = format!("'{}' == ''", "x".repeat(3000));
    let deep = format!("{}1{} == 1", "(".repeat(300), ")".repeat(300));
    let chain = format!("1{} == 1", "+1".repeat(900));
    for (source, column, part) in [
        ("atestation.n == 1", 15, "not known"),
        ("true && nothing", 23, "not known"),
        ("attestation.l.exists(x, y == 1)", 39, "not known"),
        ("attestation.s.reverse() == ''", 0, "not a function"),
        ("walk(attestation)", 0, "not a function"),
        ("true &&", 0, ""),
        ("attestation.a.all(x, x.all(y, y.all(z, z == 1)))", 0, "nested once"),
        ("attestation.a.map(x, x + x) == []", 0, "`+`"),
        ("attestation.a.all(x, x.all(y, y + y == ''))", 0, "`+`"),
        (long.as_str(), 0, "longer than"),
        (deep.as_str(), 0, ""),
        (chain.as_str(), 0, ""),
        ("Message{a: 1} == 1", 0, ""),
    ] {
        let mistakes = compile(source, &origin()).err().unwrap_or_default();
        let first = mistakes.first().unwrap_or_else(|| panic!("{source}"));
        assert!(first.message.contains(part), "{source}: {}", first.message);
        let place = first.origin.clone().unwrap();
        assert!(column == 0 || (place.line, place.column) == (20, column), "{source}: {place}");
    }
    let second_line = compile("true &&\n  nothing", &origin()).err().unwrap_or_default();
    assert_eq!(second_line.first().and_then(|f| f.origin.clone()).map(|o| o.line), Some(21));
}

#[test]
fn hostile_sources_are_refused_without_taking_the_process_along() {
    let sources = [
        format!("{}true", "!".repeat(2000)),
        format!("{}1 == 1", "-".repeat(2000)),
        format!("{}1{} == 1", "[".repeat(1000), "]".repeat(1000)),
        format!("{}1", "{".repeat(2000)),
        format!("attestation{} == 1", ".a".repeat(1000)),
        format!("attestation{} == 1", "[0]".repeat(650)),
        format!("true{}", " ? true : true".repeat(140)),
        format!("attestation{}", ".all(x, true".repeat(160)),
        format!("attestation{} == 1", ".f()".repeat(500)),
        "true".to_owned() + &" || true".repeat(250),
    ];
    for source in sources {
        match compile(&source, &origin()) {
            Err(mistakes) => assert!(!mistakes.is_empty()),
            // Pairs of `!` and `-` cancel out where they are read.
            Ok(_) => assert!(source.starts_with(['t', '!', '-']), "{source}"),
        }
    }
}

#[test]
fn looking_at_too_much_ends_soon() {
    let items = (0..3000).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>().join(",");
    let document = format!("{{\"a\":[{items}]}}");
    let start = Instant::now();
    let outcome = run("attestation.a.all(x, attestation.a.exists(y, y.n == 2999))", &document);
    assert!(matches!(outcome, Err(RunError::Budget(_))), "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let text = format!("{{\"a\":[{}],\"s\":\"{}\"}}", vec!["1"; 5000].join(","), "x".repeat(1_000_000));
    let outcome = run("attestation.a.all(x, attestation.s != '' )", &text);
    assert!(matches!(outcome, Err(RunError::Budget(_))), "{outcome:?}");
}

#[test]
fn time_is_noticed() {
    assert!(compile("now > timestamp('2027-01-01T00:00:00Z')", &origin()).unwrap().reads_now());
    assert!(compile("age < duration('1h')", &origin()).unwrap().reads_now());
    assert!(!compile("attestation.now == 1", &origin()).unwrap().reads_now());
}

#[test]
fn what_can_never_come_out_true_does_not_compile() {
    for (source, part) in [
        ("1 + 1", "comes out as a number"),
        ("subject", "comes out as a map"),
        ("age < 5", "duration('24h')"),
        ("now > '2027-01-01'", "timestamp('"),
        ("subject.nope == 1", "no `nope` here, only `repository`, `digest`"),
        ("run['runer'] == 'GITHUB_ACTION'", "no `runer`"),
        ("!has(run.runer)", "no `runer`"),
        ("signers.issuer == 'x'", "exists"),
        ("signers.exists(s, s.email == 'x')", "no `email`"),
        ("materials.sbom.size > 3", "no `size`"),
        ("true && age", "not a span of time"),
        ("age + 1 < duration('1h')", "`+` does not take"),
        ("run.annotations.level > 3", "a text is not compared"),
        ("now.startsWith('2027')", "takes a text"),
    ] {
        let mistakes = compile(source, &origin()).err().unwrap_or_else(|| panic!("{source} compiles"));
        assert!(mistakes[0].message.contains(part), "{source}: {}", mistakes[0].message);
        assert!(mistakes[0].mend.is_some() && mistakes[0].origin.is_some(), "{source}");
    }
}

#[test]
fn what_evidence_may_make_true_compiles() {
    for source in [
        "attestation.subject.exists(s, s.name == 'git.head' && has(s.annotations.signature))",
        "attestation.subject.exists_one(subject, subject.nope == 1)",
        "attestation.n + 1 > 2 && attestation.flag",
        "attestation.flag ? attestation.a : attestation.b < 3",
        "materials.sbom.document.components.all(c, c.name.startsWith('a') || c.version > 3)",
        "materials.all(name, materials[name].present) && materials.exists(m, materials[m].type == 'SARIF')",
        "size(signers) >= 2 && signers.filter(s, s.issuer != '').size() > 0 && signers[0].key == ''",
        "signers.map(s, s.identity).exists(i, i.endsWith('@acme.dev'))",
        "run.annotations['channel'] == 'stable' && has(run.runner) && run.?runner.orValue('') != ''",
        "now - signed_at < duration('24h') && signed_at + duration('1h') > now && now.getHours() < 18",
        "int(run.annotations.level) > 3 && string(now).startsWith('2027') && subject.repository.contains('a')",
        "'sbom' in materials && materials['sbom'].filename.endsWith('.json') && 'a' + 'b' == 'ab'",
        "dyn(age) < 5",
    ] {
        assert!(compile(source, &origin()).is_ok(), "{source}: {:?}", compile(source, &origin()).err());
    }
}

fn policy(source: &str, message: Option<&str>, input: &str, data: &str) -> Result<Vec<String>, RunError> {
    let data = Value::from_json_str(data).unwrap();
    let script =
        Script::compile(source, &origin(), &data, message).unwrap_or_else(|found| panic!("{found:?}\n{source}"));
    let asked = crate::policy::Asked {
        input: Value::from_json_str(input).unwrap(),
        bytes: input.len(),
        now: "2027-01-02T00:00:00Z".parse().unwrap(),
        evidence: &crate::evidence::Evidence::nothing(),
    };
    let answer = script.run(&asked, "p", None, Instant::now() + Duration::from_secs(20))?;
    Ok(answer.violations.into_iter().map(|violation| violation.message).collect())
}

#[test]
fn a_policy_is_a_condition_or_a_list_of_violations() {
    let input = r#"{"components":[{"name":"a"},{"name":"b"}],"args":{"names":["b"]}}"#;
    let data = r#"{"banned":["a"]}"#;
    let conditions = "input.components.all(c, !(c.name in data.banned))";
    assert_eq!(policy(conditions, Some("a banned component"), input, data).unwrap(), ["a banned component"]);
    assert_eq!(policy(conditions, None, input, data).unwrap(), ["policy `p` is not satisfied"]);
    assert_eq!(policy(conditions, None, input, r#"{"banned":[]}"#).unwrap(), [""; 0]);
    let texts = "input.components.filter(c, c.name in input.args.names).map(c, c.name)";
    assert_eq!(policy(texts, None, input, data).unwrap(), ["b"]);
    let maps = "input.components.map(c, {'message': c.name, 'suppress': false})";
    assert_eq!(policy(maps, None, input, data).unwrap(), ["a", "b"]);
    assert_eq!(policy("now < timestamp('2028-01-01T00:00:00Z')", None, input, data).unwrap(), [""; 0]);
    for wrong in ["input.components.map(c, 1)", "[input.components]", "input.args"] {
        assert!(matches!(policy(wrong, None, input, data), Err(RunError::Shape(_))), "{wrong}");
    }
    assert!(matches!(policy("input.missing == 1", None, input, data), Err(RunError::Error(_))));
    for mistake in ["attestation.x", "'text'", "1", "[]", "true", "data.banned == data.nothing || true"] {
        assert!(Script::compile(mistake, &origin(), &Value::new_object(), None).is_err(), "{mistake}");
    }
}

#[test]
fn a_rule_that_always_comes_out_the_same_is_a_mistake() {
    for source in [
        "true",
        "!false",
        "age > duration('1h') || true",
        "false && age > duration('1h')",
        "1 == 1",
        "'a' in ['a']",
        "[1, 2].exists(x, x > 1)",
        "age > duration('1h') ? true : true",
    ] {
        let found = compile(source, &origin()).err().unwrap_or_else(|| panic!("{source}"));
        assert_eq!(found[0].code, Code::RuleConstant, "{source}");
    }
    for source in
        ["false", "age > duration('1h') || false", "signers.exists(s, true)", "[1].exists(x, size(signers) == x)"]
    {
        assert!(compile(source, &origin()).is_ok(), "{source}");
    }
}
