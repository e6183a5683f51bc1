//! JUnit XML, alone or several in an archive, as the suites that policies know.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Json, MaterialError, archive,
    xml::{self, Budget, Node},
};
use crate::digest::shorten;

/// The suites of a report, or of every `.xml` in a ZIP or tar of reports, by the names of the files. Attributes that
/// count tests are ignored: totals are counted.
pub(super) fn read(bytes: &[u8]) -> Result<Json, MaterialError> {
    super::to_json(&suites(bytes)?)
}

fn suites(bytes: &[u8]) -> Result<Vec<Suite>, MaterialError> {
    let (mut suites, mut budget) = (Vec::new(), Budget::default());
    if archive::format(bytes).is_none() {
        find_suites(xml::tree(bytes, &mut budget)?.into_iter().collect(), &mut suites);
        if suites.is_empty() {
            return Err(MaterialError::malformed("it has no `testsuite`, so it is not a JUnit report"));
        }
        return Ok(suites);
    }
    let unpacked = archive::unpack(bytes, &|name| name.ends_with(".xml"))?;
    for (name, content) in unpacked.files {
        let tree = xml::tree(&content, &mut budget);
        let root = tree.map_err(|error| error.about(&format!("`{}` in the archive", shorten(&name))))?;
        find_suites(root.into_iter().collect(), &mut suites);
    }
    if suites.is_empty() {
        return Err(MaterialError::malformed("no `.xml` in the archive has a `testsuite`, so none is a JUnit report"));
    }
    Ok(suites)
}

/// One suite of tests.
#[derive(Debug, Serialize)]
struct Suite {
    name: String,
    package: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tests: Vec<Test>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suites: Vec<Suite>,
    #[serde(rename = "stdout", skip_serializing_if = "String::is_empty")]
    system_out: String,
    #[serde(rename = "stderr", skip_serializing_if = "String::is_empty")]
    system_err: String,
    totals: Totals,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    tests: u64,
    passed: u64,
    skipped: u64,
    failed: u64,
    error: u64,
    /// Nanoseconds.
    duration: i64,
}

#[derive(Debug, Serialize)]
struct Test {
    name: String,
    classname: String,
    /// Nanoseconds.
    duration: i64,
    status: Status,
    message: String,
    error: Option<Failure>,
    /// Every attribute of the element.
    properties: BTreeMap<String, String>,
    #[serde(rename = "stdout", skip_serializing_if = "String::is_empty")]
    system_out: String,
    #[serde(rename = "stderr", skip_serializing_if = "String::is_empty")]
    system_err: String,
}

/// Ordered: of several marks on one test the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Passed,
    Skipped,
    Failed,
    Error,
}

#[derive(Debug, Serialize)]
struct Failure {
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    body: String,
}

fn find_suites(nodes: Vec<Node>, into: &mut Vec<Suite>) {
    for node in nodes {
        if node.name == "testsuite" { into.push(suite(node)) } else { find_suites(node.nodes, into) }
    }
}

fn suite(mut node: Node) -> Suite {
    let mut suite = Suite {
        name: node.take("name"),
        package: node.take("package"),
        properties: BTreeMap::new(),
        tests: Vec::new(),
        suites: Vec::new(),
        system_out: String::new(),
        system_err: String::new(),
        totals: Totals::default(),
    };
    for child in node.nodes {
        match child.name.as_str() {
            "testcase" => suite.tests.push(test(child)),
            "testsuite" => suite.suites.push(self::suite(child)),
            "properties" => suite.properties = properties(child),
            "system-out" => suite.system_out = child.text,
            "system-err" => suite.system_err = child.text,
            _ => {}
        }
    }
    suite.totals = totals(&suite);
    suite
}

fn properties(node: Node) -> BTreeMap<String, String> {
    node.nodes
        .into_iter()
        .filter(|child| child.name == "property")
        .map(|mut child| (child.take("name"), child.take("value")))
        .collect()
}

fn test(node: Node) -> Test {
    let attribute = |name: &str| node.attributes.get(name).cloned().unwrap_or_default();
    let mut test = Test {
        name: attribute("name"),
        classname: attribute("classname"),
        duration: nanoseconds(&attribute("time")),
        status: Status::Passed,
        message: String::new(),
        error: None,
        properties: BTreeMap::new(),
        system_out: String::new(),
        system_err: String::new(),
    };
    for mut child in node.nodes {
        let status = match child.name.as_str() {
            "skipped" => Status::Skipped,
            "failure" => Status::Failed,
            "error" => Status::Error,
            "system-out" => {
                test.system_out = child.text;
                continue;
            }
            "system-err" => {
                test.system_err = child.text;
                continue;
            }
            _ => continue,
        };
        if status < test.status {
            continue;
        }
        test.status = status;
        test.message = child.take("message");
        if status != Status::Skipped {
            let (message, kind) = (test.message.clone(), child.take("type"));
            test.error = Some(Failure { message, kind, body: child.text });
        }
    }
    test.properties = node.attributes;
    test
}

fn totals(suite: &Suite) -> Totals {
    let mut totals = Totals { tests: suite.tests.len() as u64, ..Totals::default() };
    for test in &suite.tests {
        totals.duration = totals.duration.saturating_add(test.duration);
        match test.status {
            Status::Passed => totals.passed += 1,
            Status::Skipped => totals.skipped += 1,
            Status::Failed => totals.failed += 1,
            Status::Error => totals.error += 1,
        }
    }
    for inner in suite.suites.iter().map(|inner| &inner.totals) {
        totals.tests += inner.tests;
        totals.passed += inner.passed;
        totals.skipped += inner.skipped;
        totals.failed += inner.failed;
        totals.error += inner.error;
        totals.duration = totals.duration.saturating_add(inner.duration);
    }
    totals
}

/// Seconds, as reports write them, cut to microseconds; what is not a number is 0.
fn nanoseconds(text: &str) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and NaN becomes 0")]
    let microseconds = text.parse::<f64>().map_or(0, |seconds| (seconds * 1_000_000.0) as i64);
    microseconds.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_policies_ask_for() {
        let report = r#"<?xml version="1.0"?><testsuites><testsuite name="outer" failures="0">
            <properties><property name="os" value="linux"/></properties>
            <testcase name="a" classname="c" time="0.5"/>
            <testcase name="b"><skipped message="later"/></testcase>
            <testsuite name="inner"><testcase name="d"><failure message="1 &lt; 2" type="T">at <![CDATA[<x>]]></failure>
            </testcase></testsuite>
            <system-out>hi &#65;&amp;</system-out></testsuite></testsuites>"#;
        let found = serde_json::to_value(suites(report.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            found,
            serde_json::json!([{
                "name": "outer", "package": "", "properties": {"os": "linux"},
                "tests": [
                    {"name": "a", "classname": "c", "duration": 500_000_000, "status": "passed", "message": "",
                     "error": null, "properties": {"name": "a", "classname": "c", "time": "0.5"}},
                    {"name": "b", "classname": "", "duration": 0, "status": "skipped", "message": "later",
                     "error": null, "properties": {"name": "b"}},
                ],
                "suites": [{
                    "name": "inner", "package": "",
                    "tests": [{"name": "d", "classname": "", "duration": 0, "status": "failed", "message": "1 < 2",
                        "error": {"message": "1 < 2", "type": "T", "body": "at <x>"}, "properties": {"name": "d"}}],
                    "totals": {"tests": 1, "passed": 0, "skipped": 0, "failed": 1, "error": 0, "duration": 0},
                }],
                "stdout": "hi A&",
                "totals": {"tests": 3, "passed": 1, "skipped": 1, "failed": 1, "error": 0, "duration": 500_000_000},
            }])
        );
    }

    #[test]
    fn a_later_mark_never_makes_a_failed_test_look_better() {
        let report = "<testsuite><testcase><error/><failure/><skipped/></testcase></testsuite>";
        let suites = suites(report.as_bytes()).unwrap();
        assert_eq!((suites[0].totals.error, suites[0].totals.skipped), (1, 0));
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways_or_without_end() {
        let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
        let wide = format!("<a {}/>", (0..2000).map(|n| format!("k{n}='' ")).collect::<String>());
        for bad in [
            "",
            "text",
            "<testsuite>",
            "<testsuite></testcase>",
            "<testsuite name='a' name='b'/>",
            "<!DOCTYPE x [<!ENTITY e 'eee'>]><testsuite>&e;</testsuite>",
            "<testsuite>&e;</testsuite>",
            "<testsuite name='&e;'/>",
            "<suite/>",
            &deep,
            &wide,
        ] {
            assert!(suites(bad.as_bytes()).is_err(), "{bad:.60}");
        }
        assert!(suites(b"<testsuite name='\xff'/>").is_err());
    }
}
