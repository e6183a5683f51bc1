//! Policies that are shipped: documents of kind `Policy`, ready to be put next to a contract.

/// No component of a CycloneDX document is under a license that is not wanted. Takes `licenses`.
pub const BANNED_LICENSES: &str = include_str!("../library/banned-licenses.yaml");

/// A SARIF log has no finding of a security severity from `severity` (9.0) on, or, without one, of level `error`.
pub const NO_CRITICAL_FINDINGS: &str = include_str!("../library/no-critical-findings.yaml");

/// A JUnit report has tests, and none of them failed.
pub const TESTS_PASS: &str = include_str!("../library/tests-pass.yaml");

/// Every shipped policy with its file name.
pub const ALL: [(&str, &str); 3] = [
    ("banned-licenses.yaml", BANNED_LICENSES),
    ("no-critical-findings.yaml", NO_CRITICAL_FINDINGS),
    ("tests-pass.yaml", TESTS_PASS),
];
