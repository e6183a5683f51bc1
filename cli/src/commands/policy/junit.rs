//! Results of test cases as JUnit XML, for the programs that show test results.

use std::fmt::Write as _;

use contracts::Finding;

use super::test::Suite;
use crate::report::xml::escape;

/// The document. Mistakes, for which cases could not be run, are errors of a suite of their own.
pub fn document(suites: &[Suite], mistakes: &[Finding]) -> String {
    let all = || suites.iter().flat_map(|suite| &suite.results);
    let failed = all().filter(|ran| !ran.result.passes()).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (tests, errors) = (all().count() + mistakes.len(), mistakes.len());
    let _ = writeln!(xml, r#"<testsuites tests="{tests}" failures="{failed}" errors="{errors}">"#);
    for suite in suites {
        let failed = suite.results.iter().filter(|ran| !ran.result.passes()).count();
        let (name, file, tests) = (escape(&suite.policy), escape(&suite.file), suite.results.len());
        let _ = writeln!(xml, r#"  <testsuite name="{name}" file="{file}" tests="{tests}" failures="{failed}">"#);
        for ran in &suite.results {
            let (case, time) = (escape(&ran.name), ran.took.as_secs_f64());
            let _ = write!(xml, r#"    <testcase name="{case}" classname="{name}" time="{time:.3}""#);
            if ran.result.passes() {
                xml.push_str("/>\n");
                continue;
            }
            let first = ran.result.failures.first().map(|text| escape(text)).unwrap_or_default();
            let text = escape(&ran.result.failures.join("\n"));
            let _ = writeln!(xml, ">\n      <failure message=\"{first}\">{text}</failure>\n    </testcase>");
        }
        xml.push_str("  </testsuite>\n");
    }
    if !mistakes.is_empty() {
        let _ = writeln!(xml, r#"  <testsuite name="documents" tests="{errors}" errors="{errors}">"#);
        for finding in mistakes {
            let place = finding.origin.as_ref().map(ToString::to_string).unwrap_or_default();
            let (place, message) = (escape(&place), escape(&finding.message));
            let _ = writeln!(xml, r#"    <testcase name="{place}" classname="{}">"#, finding.code);
            let _ = writeln!(xml, r#"      <error message="{message}"/>"#);
            xml.push_str("    </testcase>\n");
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}
