//! `sluice policy eval`.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::bail;
use contracts::{Decision, Diagnostics, MaterialType, Severity, limits};
use policies::authoring::{AskError, Asked, Input, PolicyFiles, ScriptRun, ask};
use serde_json::{Value, json};

use super::{
    folder::{self, Place, Sources},
    mistakes, shelf,
};
use crate::{
    args::PolicyEval,
    clock,
    exit::Exit,
    files,
    report::{Report, plain},
    sources::Fetching,
};

/// Asks one policy about one file.
pub async fn run(args: &PolicyEval, mut fetching: Fetching) -> anyhow::Result<Report> {
    let mut sources = Sources::new();
    let name = args.policy.to_str().filter(|_| !args.policy.exists());
    let shipped = name.and_then(shelf::find);
    if let (Some(name), None) = (name.filter(|name| shelf::is_name(name)), shipped) {
        bail!(shelf::unknown(name));
    }
    let (place, policy) = match shipped {
        Some(shipped) => {
            sources.insert(format!("{}.yaml", shipped.name), shipped.text.to_owned());
            (Place { folder: PathBuf::new(), name: format!("{}.yaml", shipped.name) }, Ok(shelf::files(shipped)?))
        }
        None => {
            let place = Place::of(&args.policy)?;
            let policy = folder::policy(&place, &mut sources, &mut fetching).await?;
            (place, policy)
        }
    };
    let policy = match policy {
        Ok(policy) => policy,
        Err(Diagnostics(findings)) => return mistakes(&place.name, &sources, &findings),
    };
    let input = input(args, &policy)?;
    let now = args.now.unwrap_or_else(clock::now);
    let with = args.with.iter().cloned().collect();
    let asked = match ask(&policy, &input, &with, now, args.explain) {
        Ok(asked) => asked,
        Err(AskError::Policy(Diagnostics(findings))) => return mistakes(&place.name, &sources, &findings),
        Err(error) => return Err(error.into()),
    };
    let about = input.filename.clone().unwrap_or_default();
    let mut text = told(&policy, &about, input.kind, &asked);
    if args.explain {
        let _ = write!(text, "\n\ntold: now {now}{}", if asked.reads_now { "" } else { " (which it does not read)" });
        for (name, value) in &args.with {
            let _ = write!(text, "\ntold: {name} = {value}");
        }
        for script in &asked.scripts {
            explain(script, &sources, &mut text);
        }
    }
    let exit = if asked.decision == Decision::Allow { Exit::Yes } else { Exit::No };
    Report::new(exit, &data(&policy, &about, input.kind, &asked), plain(&text))
}

fn input(args: &PolicyEval, policy: &PolicyFiles) -> anyhow::Result<Input> {
    let path = match (&args.material, &args.attestation) {
        (Some(path), _) | (None, Some(path)) => path,
        (None, None) => bail!("say what the policy is asked about: --material or --attestation"),
    };
    let bytes = files::read(path, limits::MATERIAL_DOCUMENT_BYTES)?;
    let filename = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let kind = match (args.kind, &args.attestation) {
        (_, Some(_)) => MaterialType::Attestation,
        (Some(kind), None) => kind,
        (None, None) => match policy.kind_of(&bytes) {
            Ok(MaterialType::Attestation) => bail!("the policy reads statements: give one with --attestation"),
            Ok(kind) => kind,
            Err(why) => bail!("{why}, with --kind"),
        },
    };
    Ok(Input { kind, bytes, filename, annotations: args.annotations.iter().cloned().collect() })
}

fn told(policy: &PolicyFiles, about: &str, kind: MaterialType, asked: &Asked) -> String {
    let decision = match asked.decision {
        Decision::Allow => "allowed",
        Decision::Deny => "denied",
    };
    let mut text = format!("{decision}: policy {} on {about} ({kind})", policy.document().name);
    for finding in &asked.findings {
        let severity = if finding.severity == Severity::Warning { "warning: " } else { "" };
        let _ = write!(text, "\n- {severity}{} ({})", finding.message, finding.code);
    }
    text
}

fn data(policy: &PolicyFiles, about: &str, kind: MaterialType, asked: &Asked) -> Value {
    let result = match asked.scripts.as_slice() {
        [only] => only.result.clone(),
        _ => None,
    };
    json!({
        "policy": policy.document().name,
        "input": about,
        "kind": kind,
        "decision": asked.decision,
        "findings": asked.findings,
        "result": result,
        "scripts": asked.scripts,
    })
}

/// The script's lines: `+` before those that were looked at, `-` before those that could have been.
fn explain(script: &ScriptRun, sources: &Sources, text: &mut String) {
    let _ = write!(text, "\n\n{}", script.origin);
    if let Some(error) = &script.error {
        let _ = write!(text, "\nit gave no answer: {error}");
    }
    if let Some(result) = &script.result {
        let _ = write!(text, "\nresult: {result}");
    }
    let Some(trace) = &script.trace else { return };
    for printed in &trace.prints {
        let _ = write!(text, "\nprinted: {printed}");
    }
    let first = usize::try_from(script.origin.line).unwrap_or(usize::MAX);
    let last = trace.reached.iter().chain(&trace.missed).max().copied().unwrap_or(0);
    let lines = sources.get(&script.origin.file).map(String::as_str).unwrap_or_default().lines();
    for (line, n) in lines.skip(first.saturating_sub(1)).zip(1..=last) {
        let mark = match (trace.reached.contains(&n), trace.missed.contains(&n)) {
            (true, _) => '+',
            (false, true) => '-',
            (false, false) => ' ',
        };
        let at = script.origin.line.saturating_add(n.saturating_sub(1));
        let _ = write!(text, "\n{at:>5} {mark} {line}");
    }
    if let Some(differs) = &trace.differs {
        let _ = write!(text, "\nthe lines may be wrong: {differs}");
    }
}
