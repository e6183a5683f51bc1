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
    sources::{Fetching, Load},
};

/// The kinds of documents that are looked through.
const POLICY: &str = "Policy";
const GROUP: &str = "PolicyGroup";

/// Tells every mistake in policies and in groups of policies.
pub async fn run(paths: &[PathBuf], mut fetching: Fetching) -> anyhow::Result<Report> {
    let mut found = Vec::new();
    for path in paths {
        let there = fs::metadata(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        match there.is_dir() {
            true => found.extend(folder::files(path, "policies", &is_policy)?),
            false => found.push(path.clone()),
        }
    }
    if found.is_empty() {
        bail!("there is no policy: a policy is a YAML file with `kind: Policy`, a group one with `kind: PolicyGroup`");
    }
    let mut sources = Sources::new();
    let mut findings: Vec<Finding> = Vec::new();
    let (mut policies, mut groups) = (0_usize, 0_usize);
    for path in &found {
        let place = Place::of(path)?;
        let told = if kind(path).as_deref() == Some(GROUP) {
            groups += 1;
            let collect = &mut |load: &mut Load<'_>| authoring::lint_group(&place.name, load);
            let (told, read) = fetching.collect(&place.folder, collect).await;
            sources.extend(read);
            told
        } else {
            policies += 1;
            match folder::policy(&place, &mut sources, &mut fetching).await? {
                Ok(policy) => authoring::lint(&policy),
                Err(Diagnostics(mistakes)) => mistakes,
            }
        };
        // What is wrong with a policy is told once, also when groups name it.
        let new: Vec<Finding> = told.into_iter().filter(|finding| !findings.contains(finding)).collect();
        findings.extend(new);
    }
    let errors = findings.iter().filter(|finding| finding.blocks()).count();
    let policies = match (policies, groups) {
        (0, groups) => counted(groups, "group"),
        (1, 0) => "1 policy".to_owned(),
        (policies, 0) => format!("{policies} policies"),
        (1, groups) => format!("1 policy, {}", counted(groups, "group")),
        (policies, groups) => format!("{policies} policies, {}", counted(groups, "group")),
    };
    let warnings = counted(findings.len() - errors, "warning");
    let summary = format!("{policies}: {}, {warnings}", counted(errors, "mistake"));
    let text = format!("{}{summary}", diagnostics::render(&findings, &sources, report::coloured()));
    let exit = if errors == 0 { Exit::Yes } else { Exit::No };
    let names: Vec<String> = found.iter().map(|path| plain(&path.display().to_string())).collect();
    Ok(Report::new(exit, &json!({"files": names, "findings": findings}), text)?.about(findings))
}

/// Whether it is a YAML file that says that it is a policy or a group of policies.
fn is_policy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
        && kind(path).is_some_and(|kind| kind == POLICY || kind == GROUP)
}

/// The kind that a document says it is.
fn kind(path: &Path) -> Option<String> {
    let bytes = files::read(path, limits::REVISION_FILE_BYTES).ok()?;
    match yaml::parse("", &bytes) {
        Ok(node) => node.get("kind").and_then(yaml::Node::scalar).map(|scalar| scalar.text.clone()),
        // What cannot be read as YAML is told only of what looks like one of these.
        Err(_) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let said = text.lines().find_map(|line| line.strip_prefix("kind:"));
            said.map(|kind| kind.trim().to_owned())
        }
    }
}
