//! Finding the files of test cases.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::folder::{self, Place};

/// The files of test cases at these paths, each once.
pub fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<Place>> {
    let mut found = BTreeSet::new();
    for path in paths {
        let kind = fs::metadata(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        if kind.is_dir() {
            found.extend(folder::files(path, "files of test cases", &is_cases)?);
        } else if is_cases(path) {
            found.insert(path.clone());
        } else {
            let cases: Vec<PathBuf> = cases_of(path).into_iter().filter(|path| path.is_file()).collect();
            if cases.is_empty() {
                let beside = cases_of(path).first().map(|path| path.display().to_string()).unwrap_or_default();
                bail!("`{}` has no test cases: write them to `{beside}`", path.display());
            }
            found.extend(cases);
        }
    }
    if found.is_empty() {
        bail!("there is no test case: write NAME.test.yaml beside the policy NAME.yaml");
    }
    found.iter().map(|path| Place::of(path)).collect()
}

/// The policy that a file of cases is named after.
pub fn policy_of(cases: &Place) -> Place {
    let (folder, file) = cases.name.rsplit_once('/').unwrap_or(("", &cases.name));
    let folder = match folder.rsplit_once('/').unwrap_or(("", folder)) {
        (above, "tests") => above,
        _ => folder,
    };
    let name = file.strip_suffix(".test.yaml").or_else(|| file.strip_suffix(".test.yml"));
    let file = name.map_or_else(|| file.to_owned(), |name| format!("{name}.yaml"));
    cases.beside(&if folder.is_empty() { file } else { format!("{folder}/{file}") })
}

/// Where the cases of a policy may be.
fn cases_of(policy: &Path) -> [PathBuf; 3] {
    let name = policy.file_stem().unwrap_or_default().to_string_lossy();
    let beside = |file: String| policy.with_file_name(file);
    [
        beside(format!("{name}.test.yaml")),
        beside(format!("tests/{name}.test.yaml")),
        beside(format!("tests/{name}.yaml")),
    ]
}

fn is_cases(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let in_tests = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "tests");
    let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    yaml && (in_tests || name.ends_with(".test.yaml") || name.ends_with(".test.yml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_named_after_their_policy() {
        for (cases, policy) in [
            ("p.test.yaml", "p.yaml"),
            ("a/p.test.yml", "a/p.yaml"),
            ("a/tests/p.yaml", "a/p.yaml"),
            ("tests/p.test.yaml", "p.yaml"),
            ("a/tests/b/p.test.yaml", "a/tests/b/p.yaml"),
        ] {
            let place = Place { folder: PathBuf::new(), name: cases.to_owned() };
            assert_eq!(policy_of(&place).name, policy, "{cases}");
        }
    }
}
