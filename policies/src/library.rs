//! Policies that are shipped: documents of kind `Policy`, to be named from a contract as `sluice://NAME`, or to be put
//! next to one. Each is `library/NAME.yaml` with its test cases in `library/NAME.test.yaml`; a test holds that none is
//! missing here.

use contracts::{Digest, policy::PolicyDocument, yaml};

/// Every shipped policy, in the order of the names.
pub const ALL: &[Shipped] = &[
    Shipped { name: "allowed-base-images", text: include_str!("../library/allowed-base-images.yaml") },
    Shipped { name: "allowed-licenses", text: include_str!("../library/allowed-licenses.yaml") },
    Shipped { name: "attestation-age", text: include_str!("../library/attestation-age.yaml") },
    Shipped { name: "banned-components", text: include_str!("../library/banned-components.yaml") },
    Shipped { name: "banned-licenses", text: include_str!("../library/banned-licenses.yaml") },
    Shipped { name: "coverage-threshold", text: include_str!("../library/coverage-threshold.yaml") },
    Shipped { name: "image-in-subjects", text: include_str!("../library/image-in-subjects.yaml") },
    Shipped { name: "known-runner", text: include_str!("../library/known-runner.yaml") },
    Shipped { name: "materials-stored", text: include_str!("../library/materials-stored.yaml") },
    Shipped { name: "no-critical-findings", text: include_str!("../library/no-critical-findings.yaml") },
    Shipped { name: "no-critical-vulnerabilities", text: include_str!("../library/no-critical-vulnerabilities.yaml") },
    Shipped { name: "no-latest-tag", text: include_str!("../library/no-latest-tag.yaml") },
    Shipped { name: "no-sast-errors", text: include_str!("../library/no-sast-errors.yaml") },
    Shipped { name: "no-secrets", text: include_str!("../library/no-secrets.yaml") },
    Shipped { name: "required-components", text: include_str!("../library/required-components.yaml") },
    Shipped { name: "reviewed-pull-request", text: include_str!("../library/reviewed-pull-request.yaml") },
    Shipped { name: "sbom-freshness", text: include_str!("../library/sbom-freshness.yaml") },
    Shipped { name: "sbom-minimum-elements", text: include_str!("../library/sbom-minimum-elements.yaml") },
    Shipped { name: "scorecard-minimum", text: include_str!("../library/scorecard-minimum.yaml") },
    Shipped { name: "signed-commit", text: include_str!("../library/signed-commit.yaml") },
    Shipped { name: "slsa-build-level", text: include_str!("../library/slsa-build-level.yaml") },
    Shipped { name: "slsa-builder", text: include_str!("../library/slsa-builder.yaml") },
    Shipped { name: "tests-pass", text: include_str!("../library/tests-pass.yaml") },
    Shipped { name: "vex-no-affected", text: include_str!("../library/vex-no-affected.yaml") },
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

/// What may have been meant by a name that no shipped policy has, to be put behind that; and where all are listed.
#[must_use]
pub fn meant(name: &str) -> String {
    const ALL_LISTED: &str = "`sluice policy list` shows what it has";
    let names: Vec<&str> = ALL.iter().map(|policy| policy.name).collect();
    let mut near: Vec<&str> = names.iter().copied().filter(|known| name.len() > 2 && known.starts_with(name)).collect();
    if near.is_empty() {
        near.extend(yaml::nearest(name, &names));
    }
    match near.is_empty() {
        true => format!(": {ALL_LISTED}"),
        false => format!(": did you mean {}? ({ALL_LISTED})", quoted(&near)),
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

/// What a contract means by `sluice://NAME`, or by `sluice://NAME@VERSION`: then the document's annotation `version`
/// must be that.
///
/// # Errors
/// When there is no such policy, or it has another version.
pub fn resolve(reference: &str) -> Result<&'static str, String> {
    let name = reference.strip_prefix("sluice://").unwrap_or(reference);
    let (name, version) = match name.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (name, None),
    };
    let Some(shipped) = find(name) else {
        return Err(format!("the library has no `{name}`{}", meant(name)));
    };
    if let Some(version) = version {
        let document = PolicyDocument::parse(name, shipped.text.as_bytes()).ok();
        let has = document.and_then(|document| document.annotations.get("version").cloned());
        if has.as_deref() != Some(version) {
            let has = has.map_or_else(|| "no version".to_owned(), |has| format!("version {has}"));
            return Err(format!(
                "the library of this program has it with {has}; write `sluice://{name}@{}` to have exactly this one",
                Digest::of(shipped.text.as_bytes())
            ));
        }
    }
    Ok(shipped.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_found_by_its_name() {
        for shipped in ALL {
            assert_eq!(resolve(&format!("sluice://{}", shipped.name)), Ok(shipped.text));
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        for (name, meant) in [
            ("banned", ": did you mean `banned-components` or `banned-licenses`?"),
            ("banned-license", ": did you mean `banned-licenses`?"),
            ("baned-licences", ": did you mean `banned-licenses`?"),
            ("nothing-like-it", ": `sluice policy list` shows what it has"),
        ] {
            let told = resolve(&format!("sluice://{name}")).unwrap_err();
            assert!(told.contains(&format!("the library has no `{name}`{meant}")), "{told}");
        }
        let told = resolve("sluice://banned-licenses@99").unwrap_err();
        assert!(told.contains("write `sluice://banned-licenses@sha256:"), "{told}");
    }
}
