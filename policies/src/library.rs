//! Policies that are shipped: documents of kind `Policy`, ready to be put next to a contract. Each is
//! `library/NAME.yaml` with its test cases in `library/NAME.test.yaml`; a test holds that none is missing here.

/// Every shipped policy, in the order of the names.
pub const ALL: &[Shipped] = &[
    Shipped { name: "allowed-base-images", text: include_str!("../library/allowed-base-images.yaml") },
    Shipped { name: "allowed-licenses", text: include_str!("../library/allowed-licenses.yaml") },
    Shipped { name: "attestation-age", text: include_str!("../library/attestation-age.yaml") },
    Shipped { name: "banned-components", text: include_str!("../library/banned-components.yaml") },
    Shipped { name: "banned-licenses", text: include_str!("../library/banned-licenses.yaml") },
    Shipped { name: "image-in-subjects", text: include_str!("../library/image-in-subjects.yaml") },
    Shipped { name: "known-runner", text: include_str!("../library/known-runner.yaml") },
    Shipped { name: "materials-stored", text: include_str!("../library/materials-stored.yaml") },
    Shipped { name: "no-critical-findings", text: include_str!("../library/no-critical-findings.yaml") },
    Shipped { name: "no-critical-vulnerabilities", text: include_str!("../library/no-critical-vulnerabilities.yaml") },
    Shipped { name: "no-latest-tag", text: include_str!("../library/no-latest-tag.yaml") },
    Shipped { name: "no-sast-errors", text: include_str!("../library/no-sast-errors.yaml") },
    Shipped { name: "required-components", text: include_str!("../library/required-components.yaml") },
    Shipped { name: "sbom-freshness", text: include_str!("../library/sbom-freshness.yaml") },
    Shipped { name: "sbom-minimum-elements", text: include_str!("../library/sbom-minimum-elements.yaml") },
    Shipped { name: "signed-commit", text: include_str!("../library/signed-commit.yaml") },
    Shipped { name: "tests-pass", text: include_str!("../library/tests-pass.yaml") },
];

/// As [`find`] finds it, for those who need it at compile time.
pub const BANNED_LICENSES: &str = include_str!("../library/banned-licenses.yaml");

/// One shipped policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Its name, which is also its document's.
    pub name: &'static str,
    /// The document.
    pub text: &'static str,
}

/// The shipped policy of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Shipped> {
    ALL.iter().find(|policy| policy.name == name)
}
