//! `sluice contract …`

mod bundles;
mod delete;
mod diff;
mod stored;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::bail;
use contracts::{
    Diagnostics, Finding,
    api::{AppliedContract, ContractBody},
    exemption::RuleNames,
    revision::Revision,
};
use policies::{Engine, RuleSet, compile};
use serde_json::json;

use super::{connect, variable};
use crate::{
    args::{self, LintFormat},
    client::{Client, ClientError},
    exit::Exit,
    report::{self, Report, diagnostics, plain, table},
    settings, sources,
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Contract, format: LintFormat) -> anyhow::Result<Report> {
    if matches!(format, LintFormat::Sarif | LintFormat::Github) && !matches!(args, args::Contract::Lint { .. }) {
        bail!("only `sluice contract lint` writes SARIF and GitHub's commands");
    }
    let hosts = |fetching: &args::Fetching| settings::allowed_hosts(connection, fetching, &variable);
    match args {
        args::Contract::Diff { old, new, fetching } => diff::run(old, new, &hosts(fetching)?).await,
        args::Contract::Test(args) => bundles::test(args, &hosts(&args.fetching)?).await,
        args::Contract::Replay(args) => match &args.revision {
            Some(file) => stored::replay(connection, args, file, &hosts(&args.fetching)?).await,
            None => bundles::replay(args, &hosts(&args.fetching)?).await,
        },
        args::Contract::Lint { files, fetching } => match files.as_slice() {
            [file] => lint(file, &hosts(fetching)?).await,
            files => lint_all(files, &hosts(fetching)?).await,
        },
        args::Contract::Compile { file, fetching } => match open(file, &hosts(fetching)?).await? {
            Ok(opened) => print_rules(&opened),
            Err(mistakes) => mistakes.report(),
        },
        args::Contract::Apply { file, name, dry_run, fetching } => match open(file, &hosts(fetching)?).await? {
            Ok(opened) => apply(connection, &opened, name.as_deref(), *dry_run).await,
            Err(mistakes) => mistakes.report(),
        },
        args::Contract::Delete { name, dry_run, yes } => delete::run(&connect(connection)?, name, *dry_run, *yes).await,
        args::Contract::List => list(connection).await,
        args::Contract::Describe { name, revision } => {
            let body = connect(connection)?.contract(name, *revision).await?;
            Report::new(Exit::Yes, &body, describe(&body))
        }
    }
}

/// A contract without mistakes, with all that it refers to.
struct Opened {
    file: String,
    revision: Revision,
    rules: RuleSet,
    sources: BTreeMap<String, String>,
    warnings: Vec<Finding>,
}

/// A contract with mistakes.
struct Mistakes {
    file: String,
    findings: Vec<Finding>,
    sources: BTreeMap<String, String>,
    /// Whether policies and rules were looked at. They are once the documents can be read.
    compiled: bool,
}

impl Mistakes {
    fn report(self) -> anyhow::Result<Report> {
        let report = show(&self.file, &self.findings, &self.sources)?;
        Ok(if self.compiled { report } else { report.add("policies and rules are checked once these are mended") })
    }
}

/// Reads a contract and everything that it refers to. What cannot be read at all is an error; a document with
/// mistakes is an answer.
async fn open(path: &Path, hosts: &[String]) -> anyhow::Result<Result<Opened, Mistakes>> {
    let file = path.display().to_string();
    let sources::Gathered { files, sources } = sources::gather(path, hosts).await?;
    let (revision, warnings) = match files.and_then(|files| Revision::from_files(&files)) {
        Ok(read) => read,
        Err(Diagnostics(findings)) => return Ok(Err(Mistakes { file, findings, sources, compiled: false })),
    };
    Ok(match compile(&revision) {
        Ok(rules) => Ok(Opened { file, revision, rules, sources, warnings }),
        Err(Diagnostics(findings)) => Err(Mistakes { file, findings, sources, compiled: true }),
    })
}

/// Applies a contract's file, so that a workflow can be made with it. Answers with the name that it has.
pub async fn apply_for_workflow(
    connection: &args::Connection,
    client: &Client,
    path: &Path,
    workflow: &str,
) -> anyhow::Result<String> {
    let hosts = settings::allowed_hosts(connection, &args::Fetching::default(), &variable)?;
    let opened = match open(path, &hosts).await? {
        Ok(opened) => opened,
        Err(mistakes) => {
            let first = mistakes.findings.first().map(|finding| format!(": {}", finding.message)).unwrap_or_default();
            bail!(plain(&format!(
                "the contract `{}` has mistakes{first} (all: `sluice contract lint {0}`)",
                mistakes.file
            )))
        }
    };
    let name = opened.revision.contract().name.clone().unwrap_or_else(|| workflow.to_owned());
    Ok(client.apply_contract(&name, opened.revision.files(), false).await?.name)
}

/// The name of a contract's file, if it says one, and the rules that it compiles to.
pub async fn rule_names(path: &Path, hosts: &[String]) -> anyhow::Result<(Option<String>, RuleNames)> {
    let Ok(opened) = open(path, hosts).await? else {
        bail!("the contract `{0}` has mistakes: sluice contract lint {0}", path.display());
    };
    let names = opened.rules.rules().iter().map(|rule| (rule.id.as_str(), rule.names())).collect();
    Ok((opened.revision.contract().name.clone(), names))
}

async fn lint(path: &Path, hosts: &[String]) -> anyhow::Result<Report> {
    match open(path, hosts).await? {
        Ok(opened) if opened.warnings.is_empty() => {
            let rules = opened.rules.rules().len();
            let text = format!("{}: no mistakes, {rules} rules", plain(&opened.file));
            Report::new(Exit::Yes, &json!({"file": opened.file, "findings": [], "rules": rules}), text)
        }
        Ok(opened) => show(&opened.file, &opened.warnings, &opened.sources),
        Err(mistakes) => mistakes.report(),
    }
}

/// Several contracts, one after the other: a "no" when one of them has a mistake.
async fn lint_all(files: &[PathBuf], hosts: &[String]) -> anyhow::Result<Report> {
    let mut reports = Vec::new();
    for file in files {
        reports.push(lint(file, hosts).await?);
    }
    Report::of_all(reports)
}

/// Findings about a document: a "no" when one of them blocks.
fn show(file: &str, findings: &[Finding], sources: &BTreeMap<String, String>) -> anyhow::Result<Report> {
    let errors = findings.iter().filter(|finding| finding.blocks()).count();
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let summary =
        format!("{}: {}, {}", plain(file), counted(errors, "mistake"), counted(findings.len() - errors, "warning"));
    let text = format!("{}{summary}", diagnostics::render(findings, sources, report::coloured()));
    let exit = if errors == 0 { Exit::Yes } else { Exit::No };
    Ok(Report::new(exit, &json!({"file": file, "findings": findings}), text)?.about(findings.to_vec()))
}

fn print_rules(opened: &Opened) -> anyhow::Result<Report> {
    let rules = opened.rules.rules();
    let mut text = String::new();
    for rule in rules {
        let gate = if rule.gate { "blocks" } else { "warns" };
        let source = rule.source.trim_end().replace('\n', "\n    ");
        let engine = match rule.engine {
            Engine::Cel => "CEL",
            Engine::Rego => "Rego",
        };
        let heading = format!("{}  {engine}  {gate}  {}\n", rule.id, rule.origin);
        text.push_str(&plain(&format!("{heading}    {source}\n\n")));
    }
    text.push_str(&format!("{} rules, {}", rules.len(), opened.rules.digest()));
    let data = json!({"file": opened.file, "digest": opened.rules.digest(), "rules": rules});
    Ok(Report::new(Exit::Yes, &data, text)?.warnings(&opened.warnings))
}

async fn apply(
    connection: &args::Connection,
    opened: &Opened,
    name: Option<&str>,
    dry_run: bool,
) -> anyhow::Result<Report> {
    let Some(name) = name.or(opened.revision.contract().name.as_deref()) else {
        bail!("the contract has no `metadata.name`: name it with --name");
    };
    let applied = match connect(connection)?.apply_contract(name, opened.revision.files(), dry_run).await {
        Ok(applied) => applied,
        // The gateway may know more mistakes than this program does.
        Err(ClientError::Refused { findings, .. }) if findings.iter().any(Finding::blocks) => {
            return show(&opened.file, &findings, &opened.sources);
        }
        Err(error) => return Err(error.into()),
    };
    let report = Report::new(Exit::Yes, &applied, plain(&applied_text(&applied, dry_run)))?;
    Ok(report.warnings(&applied.findings))
}

fn applied_text(applied: &AppliedContract, dry_run: bool) -> String {
    let AppliedContract { name, revision, digest, changed, rules, .. } = applied;
    match (dry_run, changed) {
        (true, true) => format!("contract {name} would become revision {revision} with {rules} rules ({digest})"),
        (true, false) => format!("contract {name} would stay as it is, revision {revision} ({digest})"),
        (false, true) => format!("contract {name} is now revision {revision} with {rules} rules ({digest})"),
        (false, false) => format!("contract {name} is this already, revision {revision} ({digest})"),
    }
}

async fn list(connection: &args::Connection) -> anyhow::Result<Report> {
    let list = connect(connection)?.contracts().await?;
    let rows = list.iter().map(|info| {
        [
            info.name.clone(),
            info.revision.to_string(),
            table::moment(info.applied_at),
            info.repositories.join("\n"),
            info.workflows.join("\n"),
        ]
    });
    let text = table::table(["contract", "revision", "applied", "repositories", "workflows"], rows);
    Report::new(Exit::Yes, &list, text)
}

fn describe(body: &ContractBody) -> String {
    let info = &body.info;
    let card = table::card([
        ("contract", info.name.clone()),
        ("revision", info.revision.to_string()),
        ("digest", info.digest.to_string()),
        ("applied", info.applied_at.to_string()),
        ("repositories", info.repositories.join(", ")),
        ("workflows", info.workflows.join(", ")),
        ("files", body.files.files.keys().cloned().collect::<Vec<_>>().join(", ")),
    ]);
    let source = body.files.files.get(&body.files.contract).map(String::as_str).unwrap_or_default();
    format!("{card}\n\n{}", plain(source))
}
