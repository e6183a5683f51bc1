//! `sluice exemption …`

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use contracts::{
    Diagnostics, Envelope, Finding,
    api::{ExemptionInfo, ExemptionState},
    exemption::Exemption,
    limits,
};
use serde_json::json;

use super::{connect, key};
use crate::{
    args::{self, LintFormat},
    client::ClientError,
    exit::Exit,
    files::{self, Readers},
    report::{self, Report, diagnostics, plain, table},
};

/// What is put behind the name of a document that was signed.
const SIGNED: &str = "signed.json";

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Exemption, format: LintFormat) -> anyhow::Result<Report> {
    if matches!(format, LintFormat::Sarif | LintFormat::Github) && !matches!(args, args::Exemption::Lint { .. }) {
        bail!("only `sluice exemption lint` writes SARIF and GitHub's commands");
    }
    match args {
        args::Exemption::Lint { files } => {
            let reports = files.iter().map(|file| lint(file)).collect::<anyhow::Result<Vec<_>>>()?;
            Report::of_all(reports)
        }
        args::Exemption::Sign { file, key, to } => sign(file, key, to.as_deref()),
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
    Signed(Envelope),
}

fn open(path: &Path) -> anyhow::Result<Held> {
    let bytes = files::read(path, limits::EXEMPTION_BYTES)?;
    Ok(Envelope::parse(&bytes).map_or(Held::Document(bytes), Held::Signed))
}

fn lint(path: &Path) -> anyhow::Result<Report> {
    let bytes = match open(path)? {
        Held::Document(bytes) => bytes,
        Held::Signed(envelope) => envelope.payload,
    };
    let file = path.display().to_string();
    match Exemption::parse(&file, &bytes) {
        Ok((exemption, warnings)) if warnings.is_empty() => {
            let text = plain(&format!("{file}: no mistakes\n{}", told(&exemption)));
            Report::new(Exit::Yes, &json!({"file": file, "findings": [], "digest": exemption.digest}), text)
        }
        Ok((_, findings)) | Err(Diagnostics(findings)) => show(&file, &findings, &bytes),
    }
}

fn show(file: &str, findings: &[Finding], bytes: &[u8]) -> anyhow::Result<Report> {
    let sources = BTreeMap::from([(file.to_owned(), String::from_utf8_lossy(bytes).into_owned())]);
    let errors = findings.iter().filter(|finding| finding.blocks()).count();
    let summary = if errors == 1 { "1 mistake".to_owned() } else { format!("{errors} mistakes") };
    let rendered = diagnostics::render(findings, &sources, report::coloured());
    let exit = if errors == 0 { Exit::Yes } else { Exit::No };
    let text = format!("{rendered}{}: {summary}", plain(file));
    Ok(Report::new(exit, &json!({"file": file, "findings": findings}), text)?.about(findings.to_vec()))
}

/// Signs a document, or adds a signature to one that others signed. What is signed is printed, so that nobody approves
/// what they did not see.
fn sign(path: &Path, key: &str, to: Option<&Path>) -> anyhow::Result<Report> {
    let held = open(path)?;
    let document = match &held {
        Held::Document(bytes) => bytes,
        Held::Signed(envelope) => &envelope.payload,
    };
    let file = path.display().to_string();
    let exemption = match Exemption::parse(&file, document) {
        Ok((exemption, _)) => exemption,
        Err(Diagnostics(findings)) => return show(&file, &findings, document),
    };
    let key = key::signing_key(key)?;
    let (envelope, default) = match &held {
        Held::Document(bytes) => (key.approve(bytes)?, path.with_extension(SIGNED)),
        Held::Signed(envelope) => (key.approve_too(envelope)?, path.to_owned()),
    };
    let to = to.unwrap_or(&default);
    files::replace(to, envelope.to_value().to_string().as_bytes(), Readers::Everyone)?;
    let signatures = envelope.signatures.len();
    let text = format!(
        "{}\nsigned with key {} ({signatures} signatures now): {}",
        told(&exemption),
        key.public().id(),
        to.display()
    );
    let data = json!({
        "file": to.display().to_string(), "name": exemption.name, "digest": exemption.digest,
        "key": key.public().id(), "signatures": signatures,
    });
    Report::new(Exit::Yes, &data, plain(&text))
}

async fn apply(connection: &args::Connection, path: &Path) -> anyhow::Result<Report> {
    let Held::Signed(envelope) = open(path)? else {
        bail!("`{}` is not signed: approvers sign it with `sluice exemption sign`", path.display());
    };
    let file = path.display().to_string();
    let parsed = Exemption::parse(&file, &envelope.payload);
    let (exemption, _) = parsed.with_context(|| format!("`{file}` is not an exemption"))?;
    match connect(connection)?.apply_exemption(&exemption.name, &envelope).await {
        Ok(info) => {
            let text = plain(&format!("exemption {} is applied\n{}", info.name, told(&exemption)));
            Report::new(Exit::Yes, &info, text)
        }
        Err(ClientError::Refused { findings, .. }) if findings.iter().any(Finding::blocks) => {
            show(&file, &findings, &envelope.payload)
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
        ExemptionState::InForce => "in force".to_owned(),
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
