//! `sluice check`: may this image or file be used? The gateway decides; this asks, waits, and tells the answer in the forms
//! that people and CI systems read.

mod explain;
mod forms;
mod subject;
mod wait;

use std::{fs::OpenOptions, io::Write as _, path::Path};

use anyhow::{Context, anyhow};
use contracts::{
    Code, Decision,
    api::{CheckAnswer, CheckRequest},
};

use super::{connect, variable};
use crate::{
    args::{self, CheckFormat},
    exit::Exit,
    files::{self, Readers},
    report::Report,
};
use forms::Told;
use subject::Subject;

/// Asks whether an image or a file may be used.
pub async fn run(connection: &args::Connection, args: &args::Check) -> anyhow::Result<Report> {
    // A typing mistake is told here; the gateway resolves the tag.
    let subject = Subject::of(&args.subject, args.kind).await;
    let file = subject.as_ref().ok().and_then(Subject::file);
    let asked = match &subject {
        Ok(subject) => ask(connection, args, subject).await,
        Err(error) => Err(anyhow!("{error:#}")),
    };
    let told = match &asked {
        Ok(answer) => Told::Answer { answer, file },
        Err(error) => Told::Unknown { subject: &args.subject, reason: format!("{error:#}") },
    };
    // Before anything else can fail: whoever reads the reports alone must not take an older one for this answer.
    for (form, path) in &args.reports {
        let text = forms::written(&told, *form)?;
        files::replace(path, text.as_bytes(), Readers::Everyone)?;
    }
    if args.output == CheckFormat::Github {
        summarize(&told)?;
    }
    let answer = asked?;
    let exit = match answer.verdict.decision {
        Decision::Allow => Exit::Yes,
        Decision::Deny => Exit::No,
    };
    let mut text = forms::written(&Told::Answer { answer: &answer, file }, args.output)?;
    if args.explain && args.output == CheckFormat::Human {
        text = format!("{}\n\n{}", forms::head(&answer, file), explain::text(&connect(connection)?, &answer).await);
    }
    let report = Report::new(exit, &answer, text)?;
    // Of an image by its digest alone nothing is known as of a file.
    match &subject {
        Ok(Subject::Digest(digest))
            if answer.verdict.findings.iter().any(|finding| finding.code == Code::NoEvidence) =>
        {
            Ok(report.note(subject::as_image(digest)))
        }
        _ => Ok(report),
    }
}

async fn ask(connection: &args::Connection, args: &args::Check, subject: &Subject) -> anyhow::Result<CheckAnswer> {
    let client = connect(connection)?;
    let request = CheckRequest {
        image: subject.image(),
        artifact: subject.digest(),
        contracts: args.contracts.clone(),
        vsa: args.vsa.is_some(),
    };
    let answer = wait::until_allowed(&client, &request, args.wait).await;
    let mut answer = answer.map_err(|error| subject.explained(error.into(), &args.subject))?;
    if let Some(path) = &args.vsa {
        let vsa = answer.vsa.take().context("the gateway does not sign verdicts: it is of an older version")?;
        files::replace(path, vsa.to_string().as_bytes(), Readers::Everyone)?;
    }
    Ok(answer)
}

/// Adds the answer to the summary of the job, where GitHub's runner says that there is one.
fn summarize(told: &Told<'_>) -> anyhow::Result<()> {
    let Some(path) = variable("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return Ok(()) };
    let text = forms::written(told, CheckFormat::Markdown)?;
    let add = |path: &Path| OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes());
    add(Path::new(&path)).with_context(|| format!("the job's summary `{path}` cannot be written"))
}
