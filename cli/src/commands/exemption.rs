//! `sluice exemption …`

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use contracts::{
    Bundle, Code, Diagnostics, Digest, Finding,
    api::{ExemptionInfo, ExemptionState},
    exemption::{Approvals, Exemption, RuleNames, Scope},
    limits,
};
use serde_json::{Value, json};

use super::{attestation::signing, connect, contract, key, variable};
use crate::{
    args::{self, LintFormat},
    client::ClientError,
    exit::Exit,
    files::{self, Readers},
    report::{self, Report, diagnostics, plain, table},
    settings,
};

/// What is put behind the name of a document that was signed.
const SIGNED: &str = "signed.json";

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Exemption, format: LintFormat) -> anyhow::Result<Report> {
    if matches!(format, LintFormat::Sarif | LintFormat::Github) && !matches!(args, args::Exemption::Lint { .. }) {
        bail!("only `sluice exemption lint` writes SARIF and GitHub's commands");
    }
    match args {
        args::Exemption::Lint { files, contracts, fetching } => {
            let hosts = settings::allowed_hosts(connection, fetching, &variable)?;
            let mut known = Vec::new();
            for path in contracts {
                known.push(contract::rule_names(path, &hosts).await?);
            }
            let reports = files.iter().map(|file| lint(file, &known)).collect::<anyhow::Result<Vec<_>>>()?;
            Report::of_all(reports)
        }
        args::Exemption::Sign { file, to, add_bundle, signing } => {
            sign(file, signing, add_bundle.as_deref(), to.as_deref()).await
        }
        args::Exemption::Apply { file } => apply(connection, file).await,
        args::Exemption::List => list(connection).await,
        args::Exemption::Withdraw { name } => {
            let info = connect(connection)?.withdraw_exemption(name).await?;
            let text = format!("exemption {name} is withdrawn: these bytes do not come back, whoever signed them");
            Report::new(Exit::Yes, &info, plain(&text))
        }
    }
}

/// What a file holds: a document, or one with signatures around it.
enum Held {
    Document(Vec<u8>),
    Signed(Approvals),
}

impl Held {
    fn document(&self) -> &[u8] {
        match self {
            Self::Document(bytes) => bytes,
            Self::Signed(approvals) => approvals.document(),
        }
    }
}

fn open(path: &Path) -> anyhow::Result<Held> {
    let bytes = files::read(path, limits::APPROVALS_BYTES)?;
    Ok(Approvals::parse(&bytes).map_or(Held::Document(bytes), Held::Signed))
}

/// A contract's name, if it says one, and its rules.
type Known = (Option<String>, RuleNames);

fn lint(path: &Path, known: &[Known]) -> anyhow::Result<Report> {
    let held = open(path)?;
    let bytes = held.document();
    let file = path.display().to_string();
    let parsed = Exemption::parse(&file, bytes).map(|(exemption, mut warnings)| {
        warnings.extend(unknown_rule(&exemption, known));
        (exemption, warnings)
    });
    match parsed {
        Ok((exemption, warnings)) if warnings.is_empty() => {
            let text = plain(&format!("{file}: no mistakes\n{}", told(&exemption)));
            Report::new(Exit::Yes, &json!({"file": file, "findings": [], "digest": exemption.digest}), text)
        }
        Ok((_, findings)) | Err(Diagnostics(findings)) => show(&file, &findings, bytes),
    }
}

/// Tells of a rule that none of the contracts has which the exemption is about.
fn unknown_rule(exemption: &Exemption, known: &[Known]) -> Option<Finding> {
    let Scope { rule, contract, .. } = &exemption.scope;
    let about = |(name, _): &&Known| contract.is_none() || name.is_none() || contract == name;
    let about: Vec<&RuleNames> = known.iter().filter(about).map(|(_, names)| names).collect();
    let rule = rule.as_ref().filter(|_| !known.is_empty())?;
    let message = match (contract, about.is_empty()) {
        (Some(contract), true) => format!("none of the contracts that were named is `{contract}`, which it is about"),
        _ => about.into_iter().cloned().collect::<RuleNames>().unknown(rule)?,
    };
    Some(Finding::warning(Code::DocumentReference, message))
}

fn show(file: &str, findings: &[Finding], bytes: &[u8]) -> anyhow::Result<Report> {
    let sources = BTreeMap::from([(file.to_owned(), String::from_utf8_lossy(bytes).into_owned())]);
    let errors = findings.iter().filter(|finding| finding.blocks()).count();
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let summary = format!("{}, {}", counted(errors, "mistake"), counted(findings.len() - errors, "warning"));
    let rendered = diagnostics::render(findings, &sources, report::coloured());
    let exit = if errors == 0 { Exit::Yes } else { Exit::No };
    let text = format!("{rendered}{}: {summary}", plain(file));
    Ok(Report::new(exit, &json!({"file": file, "findings": findings}), text)?.about(findings.to_vec()))
}

/// Signs a document, or adds a signature to one that others signed. What is signed is printed, so that nobody approves
/// what they did not see.
async fn sign(
    path: &Path,
    args: &args::Signing,
    add_bundle: Option<&Path>,
    to: Option<&Path>,
) -> anyhow::Result<Report> {
    let held = open(path)?;
    let document = held.document();
    let file = path.display().to_string();
    let exemption = match Exemption::parse(&file, document) {
        Ok((exemption, _)) => exemption,
        Err(Diagnostics(findings)) => return show(&file, &findings, document),
    };
    let default = match &held {
        Held::Document(_) => path.with_extension(SIGNED),
        Held::Signed(_) => path.to_owned(),
    };
    let approvals = match held {
        Held::Document(bytes) => Approvals::none_of(bytes),
        Held::Signed(approvals) => approvals,
    };
    // The key of a pipeline, which the environment may name, approves of nothing by accident.
    let key = args.key.as_deref().map(key::signing_key).transpose()?;
    let (approvals, signer) = match (add_bundle, key) {
        (Some(bundle), _) => {
            let bytes = files::read(bundle, limits::BUNDLE_BYTES)?;
            let bundle = Bundle::parse(&bytes).with_context(|| format!("`{}` cannot be used", bundle.display()))?;
            (approvals.with_bundle(bundle)?, json!({"bundle": Digest::of(&bytes)}))
        }
        (None, Some(key)) => {
            let envelope = match approvals.envelope() {
                Some(envelope) => key.approve_too(&envelope)?,
                None => key.approve(approvals.document())?,
            };
            (approvals.with_envelope(envelope), json!({"key": key.public().id()}))
        }
        (None, None) => {
            let bundle = signing::keyless(args, &approvals.statement(&exemption.name)).await?;
            let id = bundle.id();
            (approvals.with_bundle(bundle)?, json!({"bundle": id}))
        }
    };
    let to = to.unwrap_or(&default);
    files::replace(to, approvals.to_value().to_string().as_bytes(), Readers::Everyone)?;
    let signatures = approvals.count();
    let by = signer.as_object().and_then(|signer| signer.iter().next());
    let by = by.map(|(kind, id)| format!("{kind} {}", id.as_str().unwrap_or_default())).unwrap_or_default();
    let text = format!(
        "{}\nsigned with {by} ({signatures} signature{} now): {}",
        told(&exemption),
        if signatures == 1 { "" } else { "s" },
        to.display()
    );
    let mut data = json!({
        "file": to.display().to_string(), "name": exemption.name, "digest": exemption.digest, "signatures": signatures,
    });
    if let (Some(data), Value::Object(signer)) = (data.as_object_mut(), signer) {
        data.extend(signer);
    }
    Report::new(Exit::Yes, &data, plain(&text))
}

async fn apply(connection: &args::Connection, path: &Path) -> anyhow::Result<Report> {
    let Held::Signed(approvals) = open(path)? else {
        bail!("`{}` is not signed: approvers sign it with `sluice exemption sign`", path.display());
    };
    let file = path.display().to_string();
    let parsed = Exemption::parse(&file, approvals.document());
    let (exemption, _) = parsed.with_context(|| format!("`{file}` is not an exemption"))?;
    match connect(connection)?.apply_exemption(&exemption.name, &approvals).await {
        Ok(info) => {
            let text = plain(&format!("exemption {} is applied\n{}", info.name, told(&exemption)));
            let report = Report::new(Exit::Yes, &info, text)?;
            Ok(info.warning.iter().fold(report, |report, warning| report.note(plain(&format!("warning: {warning}")))))
        }
        Err(ClientError::Refused { findings, .. }) if findings.iter().any(Finding::blocks) => {
            show(&file, &findings, approvals.document())
        }
        Err(error) => Err(error.into()),
    }
}

async fn list(connection: &args::Connection) -> anyhow::Result<Report> {
    let list = connect(connection)?.exemptions().await?;
    let rows = list.iter().map(|info| {
        let approved = match &info.emergency {
            Some(caller) => format!("EMERGENCY by {caller}"),
            None => info.approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        };
        [info.name.clone(), state(info), scope(info), info.reason.clone(), table::moment(info.until), approved]
    });
    let text = table::table(["exemption", "state", "covers", "reason", "until", "approved by"], rows);
    Report::new(Exit::Yes, &list, text)
}

fn state(info: &ExemptionInfo) -> String {
    match info.state {
        ExemptionState::Pending => format!("begins {}", table::moment(info.from)),
        ExemptionState::InForce => match &info.warning {
            Some(warning) => format!("in force, but {warning}"),
            None => "in force".to_owned(),
        },
        ExemptionState::Over => "over".to_owned(),
        ExemptionState::Withdrawn => "withdrawn".to_owned(),
        ExemptionState::Void => format!("void: {}", info.problem.as_deref().unwrap_or("it is not approved any more")),
    }
}

fn scope(info: &ExemptionInfo) -> String {
    let named = |what: &str, value: &Option<String>| value.as_ref().map(|value| format!("{what} {value}"));
    let rule = named("rule", &info.rule).unwrap_or_else(|| "any rule".to_owned());
    let images = info.repositories.iter().cloned().chain(info.digests.iter().map(ToString::to_string));
    let others = [named("contract", &info.contract), named("workflow", &info.workflow)];
    std::iter::once(rule).chain(images).chain(others.into_iter().flatten()).collect::<Vec<_>>().join("\n")
}

/// What an exemption says, for whoever signs or applies it.
fn told(exemption: &Exemption) -> String {
    let scope = &exemption.scope;
    let images: Vec<String> = scope
        .repositories
        .iter()
        .map(|pattern| pattern.as_str().to_owned())
        .chain(scope.digests.iter().map(ToString::to_string))
        .collect();
    table::card([
        ("exemption", exemption.name.clone()),
        ("organization", exemption.organization.clone()),
        ("rule", scope.rule.clone().unwrap_or_default()),
        ("images", images.join(", ")),
        ("contract", scope.contract.clone().unwrap_or_default()),
        ("workflow", scope.workflow.clone().unwrap_or_default()),
        ("from", exemption.from.to_string()),
        ("until", exemption.until.to_string()),
        ("reason", exemption.reason.clone()),
        ("digest", exemption.digest.to_string()),
    ])
}
