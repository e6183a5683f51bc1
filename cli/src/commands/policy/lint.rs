//! `sluice policy lint`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{Diagnostics, Finding, limits, yaml};
use policies::authoring;
use serde_json::json;

use super::{
    counted,
    folder::{self, Place, Sources},
};
use crate::{
    exit::Exit,
    files,
    report::{self, Report, diagnostics, plain},
    sources::Fetching,
};

/// Tells every mistake in policies.
pub async fn run(paths: &[PathBuf], mut fetching: Fetching) -> anyhow::Result<Report> {
    let mut found = Vec::new();
    for path in paths {
        let kind = fs::metadata(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        match kind.is_dir() {
            true => found.extend(folder::files(path, "policies", &is_policy)?),
            false => found.push(path.clone()),
        }
    }
    if found.is_empty() {
        bail!("there is no policy: a policy is a YAML file with `kind: Policy`");
    }
    let mut sources = Sources::new();
    let mut findings: Vec<Finding> = Vec::new();
    for path in &found {
        let place = Place::of(path)?;
        match folder::policy(&place, &mut sources, &mut fetching).await? {
            Ok(policy) => findings.extend(authoring::lint(&policy)),
            Err(Diagnostics(mistakes)) => findings.extend(mistakes),
        }
    }
    let errors = findings.iter().filter(|finding| finding.blocks()).count();
    let policies = match found.len() {
        1 => "1 policy".to_owned(),
        n => format!("{n} policies"),
    };
    let warnings = counted(findings.len() - errors, "warning");
    let summary = format!("{policies}: {}, {warnings}", counted(errors, "mistake"));
    let text = format!("{}{summary}", diagnostics::render(&findings, &sources, report::coloured()));
    let exit = if errors == 0 { Exit::Yes } else { Exit::No };
    let names: Vec<String> = found.iter().map(|path| plain(&path.display().to_string())).collect();
    Ok(Report::new(exit, &json!({"files": names, "findings": findings}), text)?.about(findings))
}

/// Whether it is a YAML file that says that it is a policy.
fn is_policy(path: &Path) -> bool {
    if !path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        return false;
    }
    let Ok(bytes) = files::read(path, limits::REVISION_FILE_BYTES) else { return false };
    let Ok(node) = yaml::parse("", &bytes) else {
        // What cannot be read as YAML is told only of what looks like a policy.
        return String::from_utf8_lossy(&bytes).lines().any(|line| line.trim_end() == "kind: Policy");
    };
    node.get("kind").and_then(yaml::Node::scalar).is_some_and(|scalar| scalar.text == "Policy")
}
