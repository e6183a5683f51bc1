//! What policies may do, what stops them, and that nothing takes the process along.

use jiff::Timestamp;

use super::*;
use crate::evidence::Evidence;

fn origin() -> Origin {
    Origin { file: "policies/p.yaml".to_owned(), line: 10, column: 7 }
}

fn now() -> Timestamp {
    "2027-01-02T03:04:05Z".parse().unwrap()
}

fn compile(source: &str, origin: &Origin) -> Result<Script, Vec<Finding>> {
    super::compile(source, origin, &Value::new_object())
}

fn ask(script: &Script, input: Value, bytes: usize, deadline: Instant) -> Result<Answer, RunError> {
    script.run(Asked { input, bytes, now: now(), evidence: &Evidence::nothing() }, None, deadline)
}

fn run(source: &str, input: &str) -> Result<Answer, RunError> {
    run_with(source, input, "{}")
}

fn run_with(source: &str, input: &str, data: &str) -> Result<Answer, RunError> {
    let script = super::compile(source, &origin(), &Value::from_json_str(data).unwrap())
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{source}"));
    let deadline = Instant::now() + Duration::from_secs(20);
    ask(&script, Value::from_json_str(input).unwrap(), input.len(), deadline)
}

fn messages(source: &str, input: &str) -> Vec<String> {
    run(source, input).unwrap().violations.into_iter().map(|violation| violation.message).collect()
}

fn mistakes(source: &str) -> Vec<(Code, u32, u32, String)> {
    let place = |finding: &Finding| finding.origin.clone().map_or((0, 0), |origin| (origin.line, origin.column));
    match compile(source, &origin()) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|f| (f.code, place(f).0, place(f).1, f.message.clone())).collect(),
    }
}

const HEAD: &str = "package main\nimport rego.v1\n";

/// A policy whose violations are those of `body`.
fn policy(body: &str) -> String {
    format!("{HEAD}{body}\n")
}

#[test]
fn only_violations_need_to_be_written() {
    let source = policy("violations contains msg if {\n\tinput.bad\n\tmsg := \"it is bad\"\n}");
    assert_eq!(messages(&source, r#"{"bad":true}"#), ["it is bad"]);
    assert_eq!(messages(&source, "{}"), [""; 0]);
    let skipping = policy("valid_input if input.kind == \"x\"\nviolations contains \"never\" if false");
    assert_eq!(run(&skipping, "{}").unwrap().skipped.as_deref(), Some("the file content is not recognized"));
    assert_eq!(run(&skipping, r#"{"kind":"x"}"#).unwrap().skipped, None);
}

#[test]
fn old_and_new_syntax_are_read() {
    for source in [
        "package main\nviolations[msg] {\n\tinput.bad\n\tmsg := \"it is bad\"\n}",
        "package main\nimport future.keywords\nviolations contains msg if {\n\tinput.bad\n\tmsg := \"it is bad\"\n}",
        "package main\nviolations contains msg if {\n\tinput.bad\n\tmsg := \"it is bad\"\n}",
        "package a.b\nimport rego.v1\nresult := {\"skipped\": false, \"findings\": [{\"message\": \"it is bad\", \"x\": 1}]} if input.bad",
    ] {
        assert_eq!(messages(source, r#"{"bad":true}"#), ["it is bad"], "{source}");
    }
}

#[test]
fn a_local_with_the_name_of_a_rule_is_the_local() {
    let source = policy(
        "bad := {\"a\"}\nlicense := \"none\"\nviolations contains msg if {\n\tsome license in input.licenses\n\tlicense in bad\n\tmsg := sprintf(\"%s of %s\", [license, data.main.license])\n}\nall_known if every license in input.licenses { license != license_of(license) }\nlicense_of(license) := upper(license)",
    );
    assert_eq!(messages(&source, r#"{"licenses":["a","b"]}"#), ["a of none"]);
}

#[test]
fn an_object_of_a_comprehension_has_one_value_for_each_key() {
    let source = policy(
        "by_name := {lower(c.name): {\"of\": {v: n | v := c.versions[n]}} | some c in input.components}\nviolations contains msg if {\n\tsome name, has in by_name\n\thas.of.bad\n\tmsg := name\n}",
    );
    let component = |name: &str, version: &str| format!(r#"{{"name":"{name}","versions":["{version}"]}}"#);
    let input = |components: &[String]| format!(r#"{{"components":[{}]}}"#, components.join(","));
    let twice = [component("Log4j", "bad"), component("log4j", "bad")];
    assert_eq!(messages(&source, &input(&twice)), ["log4j"]);
    let (good, bad) = (component("log4j", "good"), component("log4j", "bad"));
    for hidden in [[good.clone(), bad.clone()], [bad, good]] {
        let outcome = run(&source, &input(&hidden));
        assert!(matches!(&outcome, Err(RunError::Error(why)) if why.contains("two values")), "{outcome:?}");
    }
}

#[test]
fn printing_goes_nowhere() {
    let source = policy("violations contains \"x\" if {\n\tprint(\"checking\", input.a)\n\tinput.a\n}");
    assert_eq!(messages(&source, r#"{"a":1}"#), ["x"]);
}

#[test]
fn mistakes_are_found_at_their_place() {
    let table = [
        ("violations contains r if r := http.send({})", Code::PolicyBuiltin, 12),
        ("violations contains r if {\n\tr := rand.intn(\"x\", 5)\n}", Code::PolicyBuiltin, 13),
        ("violations contains p if {\n\t[p, _] := walk(input)\n}", Code::PolicyBuiltin, 13),
        ("violations contains p if p := nonsense(1)", Code::PolicyBuiltin, 12),
        ("violations contains p if {\n\tp := undefined_name\n}", Code::PolicyCompile, 13),
        ("violations contains x if x := input.a with input.a as 1", Code::PolicyCompile, 12),
        ("violations contains f(1) if true\nf(x) := f(x)", Code::PolicyCompile, 13),
        ("violations contains \"a\" if b\nb if c\nc if b", Code::PolicyCompile, 13),
        ("default f(_) := 1\nviolations contains f(1) if true", Code::PolicyCompile, 12),
        ("violations contains x if x := data.other.thing", Code::PolicyCompile, 12),
        ("violations contains x if x := data[input.a]", Code::PolicyCompile, 12),
        ("violations contains x if {", Code::PolicyCompile, 13),
        ("violations contains \"a\" if not ok(input.a, true)\nok(x) if x == 1", Code::PolicyCompile, 12),
        ("violations contains \"a\" if not data.main.ok(input.a, true)\nok(x) if x == 1", Code::PolicyCompile, 12),
        ("violations contains \"a\" if p.b.c\np.b.c := 1", Code::PolicyCompile, 13),
        ("violations contains \"a\" if p.b\np[q] contains r if {\n\tq := \"b\"\n\tr := 1\n}", Code::PolicyCompile, 13),
        ("deny contains \"a\" if true", Code::PolicyCompile, 10),
        ("default violations := [x | x := input.a]\nresult := 1", Code::PolicyCompile, 12),
    ];
    for (body, code, line) in table {
        let found = mistakes(&policy(body));
        assert!(found.iter().any(|f| f.0 == code && f.1 == line), "{body}: {found:?}");
    }
    assert_eq!(mistakes(&format!("{HEAD}import data.lib\nviolations contains 1 if lib.x")).len(), 1);
}

#[test]
fn a_wrong_shape_is_never_an_empty_answer() {
    for result in [
        "1",
        "{}",
        "{\"violations\": \"none\"}",
        "{\"violations\": {\"a\": 1}}",
        "{\"violations\": [1]}",
        "{\"violations\": [{\"text\": \"a\"}]}",
        "{\"violations\": [], \"skipped\": \"no\"}",
        "{\"violations\": [], \"skip_reason\": 1, \"skipped\": true}",
    ] {
        let outcome = run(&policy(&format!("result := {result}")), "{}");
        assert!(matches!(outcome, Err(RunError::Shape(_))), "{result}: {outcome:?}");
    }
    let undefined = run(&policy("result := {\"violations\": []} if input.there"), "{}");
    assert!(matches!(undefined, Err(RunError::Shape(_))), "{undefined:?}");
}

#[test]
fn what_costs_too_much_ends_soon() {
    let doubled: String = (0..60).map(|n| format!("x{} := concat(\"\", [x{n}, x{n}])\n", n + 1)).collect();
    let squared: String = (0..60).map(|n| format!("x{} := x{n} * x{n}\n", n + 1)).collect();
    let listed: String = (0..60).map(|n| format!("x{} := array.concat(x{n}, x{n})\n", n + 1)).collect();
    let nested: String = (0..60).map(|n| format!("x{} := [x{n}, x{n}]\n", n + 1)).collect();
    let table = [
        "v := numbers.range(1, 1000000000)".to_owned(),
        "v := numbers.range_step(1, 1000000000, 1)".to_owned(),
        "v := sprintf(\"%900000000d\", [1])".to_owned(),
        "v := sprintf(\"%.900000000f\", [1])".to_owned(),
        "v := sprintf(\"%*d\", [900000000, 1])".to_owned(),
        "v := bits.lsh(1, 4000000000)".to_owned(),
        "v := to_number(\"1e999999999\")".to_owned(),
        "v := product([n | some _ in numbers.range(1, 1000); n := 18446744073709551615])".to_owned(),
        format!("x0 := \"abcdefgh\"\n{doubled}v := x60"),
        format!("x0 := 18446744073709551615\n{squared}v := x60"),
        format!("x0 := [1]\n{listed}v := x60"),
        format!("x0 := [1]\n{nested}v := json.marshal(x60)"),
        "v := replace(sprintf(\"%s\", [concat(\"\", [\"a\" | some _ in numbers.range(1, 50000)])]), \"\", concat(\"\", [\"b\" | some _ in numbers.range(1, 50000)]))".to_owned(),
        "v := [1 | some a in numbers.range(1, 50000); some b in numbers.range(1, 50000); a == b + 100000]".to_owned(),
        "v := [x | some a in numbers.range(1, 90000); x := concat(\"\", [input.long, \"\"])]".to_owned(),
        "v := regex.replace(input.long, \"\", \"$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0\")".to_owned(),
    ];
    let input = format!(r#"{{"long":"{}"}}"#, "y".repeat(200_000));
    for body in table {
        let start = Instant::now();
        let outcome = run(&policy(&format!("{body}\nviolations contains \"x\" if v")), &input);
        let first = body.lines().last().unwrap_or_default();
        assert!(matches!(outcome, Err(RunError::Budget(_))), "{first}: {outcome:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{first}: {:?}", start.elapsed());
    }
}

#[test]
fn errors_are_errors() {
    for body in [
        "v := 1 / 0",
        "v := to_number(\"x\")",
        "v := 1 + \"a\"",
        "v := regex.match(\"(\", \"a\")",
        "v := time.clock([1, \"Local\"])",
    ] {
        let outcome = run(&policy(&format!("{body}\nviolations contains \"x\" if v")), "{}");
        assert!(matches!(outcome, Err(RunError::Error(_) | RunError::Budget(_))), "{body}: {outcome:?}");
    }
}

#[test]
fn an_error_ends_the_run_wherever_it_happens() {
    for body in [
        "violations contains \"x\" if to_number(input.score) > 7",
        "violations contains \"x\" if {\n\tsome s in input.list\n\tto_number(s) > 7\n}",
        "violations contains \"x\" if count([s | some s in input.list; to_number(s) > 7]) > 1",
        "violations contains \"x\" if bad(input.score)\nbad(s) if to_number(s) > 7",
        "violations contains \"x\" if not good\ngood if input.score / 0 == 1",
        "violations contains \"x\" if input.score + 1 > 7",
    ] {
        let outcome = run(&policy(body), r#"{"score":"high","list":["1","high"]}"#);
        assert!(matches!(outcome, Err(RunError::Error(_))), "{body}: {outcome:?}");
    }
}

#[test]
fn a_rule_with_two_values_is_an_error() {
    let input = r#"{"a":true,"b":true,"list":[1,2]}"#;
    for body in [
        "s := \"high\" if input.a\ns := \"low\" if input.b\nviolations contains \"x\" if s == \"high\"",
        "s if input.a\ns := false if input.b\nviolations contains \"x\" if s",
        "f(x) := 1 if x == 1\nf(_) := 2 if input.b\nviolations contains \"x\" if f(1) == 1",
        "f([x, _]) := x\nf([_, y]) := y\nviolations contains \"x\" if f(input.list) == 1",
        "s := \"high\" if input.a\nelse := \"none\"\ns := \"low\" if input.b\nviolations contains \"x\" if s == \"high\"",
        "s := x if {\n\tsome x in input.list\n}\nviolations contains \"x\" if s == 1",
        "s[k] := v if {\n\tk := \"k\"\n\tsome v in input.list\n}\nviolations contains \"x\" if s.k == 1",
        "s.k := 1 if input.a\ns.k := 2 if input.b\nviolations contains \"x\" if s.k == 1",
    ] {
        let outcome = run(&policy(body), input);
        assert!(matches!(outcome, Err(RunError::Error(_))), "{body}: {outcome:?}");
    }
    let old = "package main\ns = \"high\" { input.a }\ns = \"low\" { input.b }\nviolations[msg] { msg := s }";
    assert!(matches!(run(old, input), Err(RunError::Error(_))));
}

#[test]
fn definitions_that_agree_or_exclude_each_other_are_fine() {
    for body in [
        "s := \"x\" if input.a\ns := \"x\" if input.b\nviolations contains s",
        "s if input.a\ns if input.b\nviolations contains \"x\" if s",
        "s := \"y\" if input.c\ns := concat(\"\", [\"x\"]) if input.b\nviolations contains s",
        "default s := \"y\"\ns := (\"x\") if input.b\ns := \"x\" if input.a\nviolations contains s",
        "s := \"y\" if input.c\nelse := \"x\" if input.a\nelse := \"z\"\ns := \"q\" if input.c\nviolations contains s",
        "f(1) := \"x\"\nf(2) := \"y\"\nviolations contains f(1) if f(2) == \"y\"",
        "f(x) if x == 1\nf(x) if { x == 2 }\nviolations contains \"x\" if { f(1); f(2); not f(3) }",
        "f(x, _) := y if { y := x; input.a }\nf(x, [_, _]) := x\nviolations contains f(\"x\", [1, 2])",
        "s[k] := v if some k, v in {\"a\": \"x\", \"b\": \"y\"}\nviolations contains s.a if s.b == \"y\"",
        "license := \"none\"\nf(license) := \"x\" if license == 1\nf(license) := \"y\" if license == 2\nviolations contains f(1) if f(2) == \"y\"",
        "s := input.b in [true]\ns := true in [input.a] if input.a\nviolations contains \"x\" if s",
    ] {
        assert_eq!(messages(&policy(body), r#"{"a":true,"b":true}"#), ["x"], "{body}");
    }
}

#[test]
fn what_is_undefined_is_nothing() {
    let input = r#"{"x":[{"y":2},3]}"#;
    for (body, expected) in [
        ("v := 1 if { c := input.nothing }", "-"),
        ("v := 1 if c := input.nothing", "-"),
        ("v := c if { some e in input.x; c := e.y }", "2"),
        ("v := e.y if { some e in input.x }", "2"),
        ("v := input.nothing if true\nelse := 7", "7"),
        ("v[k] := e.y if { some k, e in input.x }", "{\"0\":2}"),
        ("v contains e.y if { some e in input.x }", "[2]"),
        ("v := [c | c := input.x[_].y]", "[2]"),
        ("v := [e.y | some e in input.x]", "[2]"),
        ("v := {k: e.y | some k, e in input.x}", "{\"0\":2}"),
        ("v := {k: input.nothing | some k in [\"a\"]}", "{}"),
        ("v := count([c | c := input.x[_].z])", "0"),
        ("v := 1 if { every e in input.x { c := e.y } }", "-"),
        ("v := 1 if { every e in input.x { c := [e] } }", "1"),
        ("v := 1 if { not f(input.x) }\nf(x) if { c := x.nothing }", "1"),
        ("v := [f(1), f(3)]\nf(x) := y if { x > 1; y := x + 1 }\nelse := y if { y := -1 }", "[-1,4]"),
        ("v := [[a, b] | some a in [1, 2]; some b in [3, 4]; c := a + b; c > 4]", "[[1,4],[2,3],[2,4]]"),
        ("v := [y | some x in [[1, 2], [3]]; y := [z | some z in x; z > 1]]", "[[2],[3]]"),
        ("v := 1 if { every x in [1, 2] { some y in [1, 2]; z := y; z == x } }", "1"),
        ("v := 1 if { every x in [1, 5] { some y in [1, 2]; z := y; z == x } }", "-"),
        ("v := x if { x := false }", "false"),
        ("v := x if { x := null }", "null"),
    ] {
        let found = messages(&policy(&format!("{body}\nviolations contains json.marshal(v)")), input);
        assert_eq!(found.first().map_or("-", String::as_str), expected, "{body}");
    }
}

#[test]
fn null_is_something() {
    assert_eq!(messages(&policy("violations contains \"x\" if input.a"), r#"{"a":null}"#), ["x"]);
    assert_eq!(messages(&policy("violations contains \"x\" if input.a > 7"), r#"{"a":"high"}"#), ["x"]);
}

#[test]
fn ordinary_arithmetic_is_exact() {
    let source = policy("violations contains sprintf(\"%d\", [v]) if v := (input.a * 3 + 1) % 7");
    assert_eq!(messages(&source, r#"{"a":5}"#), ["2"]);
    assert_eq!(messages(&policy("violations contains \"x\" if input.missing * 2 > 1"), "{}"), [""; 0]);
}

#[test]
fn the_time_is_what_it_is_told() {
    let source = policy("violations contains sprintf(\"%d\", [time.now_ns()]) if true");
    assert_eq!(messages(&source, "{}"), [now().as_nanosecond().to_string()]);
    assert!(compile(&source, &origin()).unwrap().reads_now);
    assert!(!compile(&policy("violations contains \"a\" if true"), &origin()).unwrap().reads_now);
}

#[test]
fn a_deadline_that_passed_says_nothing_about_the_policy() {
    let script = compile(&policy("violations contains \"a\" if true"), &origin()).unwrap();
    assert_eq!(ask(&script, Value::Null, 4, Instant::now()), Err(RunError::Timeout));
}

#[test]
fn many_threads_share_a_script_and_agree() {
    let script = Arc::new(
        compile(&policy("violations contains msg if {\n\tsome i in input.items\n\ti > 5\n\tmsg := sprintf(\"%d is large\", [i])\n}"), &origin()).unwrap(),
    );
    let input = Value::from_json_str(r#"{"items":[9,1,7,3,8]}"#).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let expected = ask(&script, input.clone(), 30, deadline).unwrap();
    assert_eq!(expected.violations.len(), 3);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(ask(&script, input.clone(), 30, deadline).as_ref(), Ok(&expected));
                }
            });
        }
    });
}

#[test]
fn suppressed_violations_are_marked() {
    let answer = run(
        &policy("result := {\"findings\": [{\"message\": \"a\", \"suppress\": true}, {\"message\": \"b\"}]}"),
        "{}",
    )
    .unwrap();
    let shown: Vec<_> = answer.violations.iter().map(|v| (v.message.as_str(), v.suppressed)).collect();
    assert_eq!(shown, [("b", false), ("a", true)]);
}

#[test]
fn many_violations_are_counted() {
    let answer =
        run(&policy("violations contains sprintf(\"%d\", [n]) if some n in numbers.range(1, 1000)"), "{}").unwrap();
    assert_eq!(answer.violations.len() + answer.more, 1000);
}

#[test]
fn arguments_are_split_as_chainloop_splits_them() {
    let with = [("one", "a"), ("several", "a, b\n c,,"), ("escaped", r"a\,b,c\d"), ("empty", " , ")];
    let with = with.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let read = serde_json::to_string(&arguments(&with)).unwrap();
    assert_eq!(read, r#"{"escaped":["a,b","c\\d"],"one":"a","several":["a","b","c"]}"#);
}

#[test]
fn data_is_what_the_policy_declares_and_nothing_else() {
    let data = r#"{"allowed":["a","b"],"cves":{"CVE-1":{"until":"2027"}}}"#;
    for body in [
        "violations contains name if {\n\tsome name in input.names\n\tnot name in data.allowed\n}",
        "import data.allowed\nviolations contains name if {\n\tsome name in input.names\n\tnot name in allowed\n}",
        "import data.allowed as ok\nviolations contains name if {\n\tsome name in input.names\n\tnot name in ok\n}",
        "violations contains name if {\n\tsome name in input.names\n\tcount([1 | data.allowed[_] == name]) == 0\n}",
        "violations contains name if {\n\tsome name in input.names\n\tnot known(name)\n}\nknown(name) if data[\"allowed\"][_] == name",
        "violations contains \"c\" if data.cves[input.id].until == \"2027\"",
        "import data.cves\nviolations contains \"c\" if cves[\"CVE-1\"].until == \"2027\"",
    ] {
        let answer = run_with(&policy(body), r#"{"names":["a","c"],"id":"CVE-1"}"#, data).unwrap();
        let found: Vec<_> = answer.violations.iter().map(|violation| violation.message.as_str()).collect();
        assert_eq!(found, ["c"], "{body}");
    }
    let old = "package main\nimport data.allowed\nviolations[msg] { msg := input.names[_]; not ok(msg) }\nok(name) { allowed[_] = name }";
    assert_eq!(run_with(old, r#"{"names":["a","c"]}"#, data).unwrap().violations.len(), 1);
    for body in [
        "violations contains \"x\" if data.other.x",
        "violations contains \"x\" if data[input.name]",
        "import data.other\nviolations contains \"x\" if other.x",
    ] {
        let mistakes = super::compile(&policy(body), &origin(), &Value::from_json_str(data).unwrap());
        assert!(mistakes.is_err_and(|mistakes| mistakes[0].code == Code::PolicyCompile), "{body}");
    }
    let clash = super::compile(
        &policy("violations contains \"x\" if data.main.x"),
        &origin(),
        &Value::from_json_str(r#"{"main":{"x":1}}"#).unwrap(),
    );
    assert!(clash.is_err());
}

#[test]
fn functions_of_the_host_answer_or_end_the_run() {
    let vulnerability = policy(
        "violations contains v if {\n\tsome c in input.cves\n\tv := chainloop.vulnerability(sprintf(\"found %s\", [c.id]), c.id, c.purl, c.severity)\n}",
    );
    let input = r#"{"cves":[{"id":"CVE-1","purl":"pkg:a","severity":"HIGH"},{"id":"CVE-2","purl":"pkg:b","severity":"LOW"},{"id":"CVE-3"}]}"#;
    assert_eq!(messages(&vulnerability, input), ["found CVE-1", "found CVE-2"]);
    let wrong = run(&vulnerability, r#"{"cves":[{"id":"CVE-1","purl":7,"severity":"HIGH"}]}"#);
    assert!(matches!(wrong, Err(RunError::Error(_))), "{wrong:?}");
    let asking = policy(
        "violations contains \"x\" if {\n\tfound := chainloop.discover(input.digest, \"\")\n\tcount(found.references) == 0\n}",
    );
    let unknown = run(&asking, r#"{"digest":"sha256:00"}"#);
    let told = "`chainloop.discover` failed: the evidence has nothing with the digest `sha256:00`".to_owned();
    assert_eq!(unknown, Err(RunError::Error(told)));
    // Without an argument there is no call, as everywhere in Rego.
    assert_eq!(messages(&asking, "{}"), [""; 0]);
    let not = policy("violations contains \"x\" if not chainloop.discover(input.digest, \"\")");
    assert_eq!(messages(&not, "{}"), [""; 0]);
    let endless = policy(
        "violations contains \"x\" if {\n\tsome n in numbers.range(1, 50000)\n\tchainloop.vulnerability(sprintf(\"%d\", [n]), \"a\", \"b\", \"c\") == n\n}",
    );
    assert!(matches!(run(&endless, "{}"), Err(RunError::Budget(_))));
    for unknown in
        ["chainloop.effective_assessments(input.a)", "chainloop.hello(\"a\")", "__builtin_host_await(1, \"x\")"]
    {
        let found = mistakes(&policy(&format!("violations contains x if x := {unknown}")));
        assert!(found.iter().any(|found| found.0 == Code::PolicyBuiltin), "{unknown}: {found:?}");
    }
}

#[test]
fn findings_have_the_fields_of_their_type() {
    let script =
        compile(&policy("result := {\"findings\": input.found, \"violations\": [\"as text\"]}"), &origin()).unwrap();
    let read = |found: &str, kind| {
        let input = Value::from_json_str(&format!(r#"{{"found":[{found}]}}"#)).unwrap();
        let asked = Asked { input, bytes: 1, now: now(), evidence: &Evidence::nothing() };
        script.run(asked, kind, Instant::now() + Duration::from_secs(20))
    };
    let vulnerability = Some(FindingType::Vulnerability);
    let whole = r#"{"message":"m","external_id":"CVE-1","package_purl":"pkg:a","severity":"HIGH","x":1}"#;
    let answer = read(whole, vulnerability).unwrap();
    let details = answer.violations[0].details.as_ref().unwrap();
    assert_eq!(details.fields.keys().collect::<Vec<_>>(), ["external_id", "package_purl", "severity"]);
    assert_eq!(read(whole, None).unwrap().violations[0].details, None);
    assert_eq!(read("", vulnerability).unwrap().violations[0].message, "as text");
    let partial = read(r#"{"message":"m","external_id":"CVE-1","severity":"HIGH"}"#, vulnerability);
    let told = "a finding of type VULNERABILITY has no `package_purl`".to_owned();
    assert_eq!(partial, Err(RunError::Shape(told)));
}

/// Such rules compare evaluations in the other system, where a missing one counts as true. Nothing asks them here.
#[test]
fn rules_that_match_evaluations_change_nothing() {
    let plain = policy("violations contains \"x\" if input.bad");
    for matching in [
        "default matches_evaluation := true",
        "matches_parameters := false",
        "matches_evaluation if count(input.violations) == 0",
    ] {
        let with = format!("{plain}{matching}\n");
        for input in ["{}", r#"{"bad":true}"#] {
            assert_eq!(run(&with, input), run(&plain, input), "{matching}");
        }
    }
}

#[test]
fn a_call_that_is_denied_looks_at_what_it_is_given_first() {
    // What OPA 1.4.2 answers, for each: without the field, and with it.
    for (condition, without, with) in [
        ("not input.x in {1}", false, true),
        ("not startswith(input.x, \"a\")", false, true),
        ("not is_one(input.x)", false, true),
        ("not input.x > \"c\"", false, true),
        ("not count(input.x) > 9", false, true),
        ("not lower(input.x) == \"a\"", false, true),
        ("not input.x == 1", true, true),
        ("not input.x", true, false),
        ("not object.get(input, \"x\", \"\") in {\"a\"}", true, true),
        ("not input.x in {input.x}", false, false),
        ("count([1 | not input.x in {1}]) == 1", false, true),
        ("not concat(\" \", [\"a\", input.x]) == \"a\"", false, true),
        ("not found in {1}", false, true),
    ] {
        let body = format!(
            "is_one(x) if x == 1\nfound := input.x\nviolations contains \"it holds\" if {condition}\nviolations contains \"it holds\" if {{\n\ttrue\n\t{condition}\n}}"
        );
        let source = policy(&body);
        let holds = |input: &str| !messages(&source, input).is_empty();
        assert_eq!((holds("{}"), holds("{\"x\":\"b\"}")), (without, with), "{condition}");
    }
}
