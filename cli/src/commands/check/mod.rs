//! `sluice check`: may this image be used? The gateway decides; this asks, waits, and tells the answer in the forms that
//! people and CI systems read.

mod explain;
mod forms;
mod wait;

use std::{fs::OpenOptions, io::Write as _, path::Path};

use anyhow::Context;
use contracts::{Decision, api::CheckAnswer};

use super::{connect, variable};
use crate::{
    args::{self, CheckFormat},
    exit::Exit,
    files::{self, Readers},
    report::Report,
};
use forms::Told;

/// Asks whether an image may be used.
pub async fn run(connection: &args::Connection, args: &args::Check) -> anyhow::Result<Report> {
    let asked = ask(connection, args).await;
    let told = match &asked {
        Ok(answer) => Told::Answer(answer),
        Err(error) => Told::Unknown { image: &args.image, reason: format!("{error:#}") },
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
    let mut text = forms::written(&Told::Answer(&answer), args.output)?;
    if args.explain && args.output == CheckFormat::Human {
        text = format!("{}\n\n{}", forms::head(&answer), explain::text(&connect(connection)?, &answer).await);
    }
    Report::new(exit, &answer, text)
}

async fn ask(connection: &args::Connection, args: &args::Check) -> anyhow::Result<CheckAnswer> {
    // A typing mistake is told here; the gateway resolves the tag.
    args.image.parse::<contracts::Reference>()?;
    let client = connect(connection)?;
    let mut answer = wait::until_allowed(&client, args).await?;
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
