//! `sluice policy …`: for authors, without a gateway.

mod cases;
mod eval;
mod folder;
mod junit;
mod test;

use crate::{
    args::{self, Format},
    exit::Exit,
    report::Report,
};

/// Runs the command. `format` is how a command that goes on prints what it found so far.
pub async fn run(args: &args::Policy, format: Format) -> anyhow::Result<Report> {
    match args {
        args::Policy::Eval(args) => eval::run(args),
        args::Policy::Test(args) => test::run(args, format).await,
    }
}

/// `1 case`, `2 cases`.
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Documents with mistakes: an answer, and the answer is no.
fn mistakes(file: &str, sources: &folder::Sources, findings: &[contracts::Finding]) -> anyhow::Result<Report> {
    let text = crate::report::diagnostics::render(findings, sources, crate::report::coloured());
    let data = serde_json::json!({"file": file, "findings": findings});
    Report::new(Exit::No, &data, text)
}
