//! `sluice policy test`.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use contracts::{
    Diagnostics, Finding,
    cases::{CaseInput, PolicyCase, PolicyCases},
    limits,
};
use policies::authoring::{CaseResult, Coverage, PolicyFiles, run_case};
use serde_json::{Value, json};

use super::{
    cases, counted,
    folder::{self, Place, Sources},
    junit,
};
use crate::{
    args::{LintFormat, PolicyTest},
    exit::Exit,
    files,
    report::{self, Report, diagnostics, plain, table},
    sources::Fetching,
};

/// How often files are looked at when they are watched.
const LOOK: Duration = Duration::from_millis(300);

/// Runs the cases, and with `--watch` again after each change.
pub async fn run(args: &PolicyTest, hosts: &[String], format: LintFormat) -> anyhow::Result<Report> {
    if !args.watch {
        return once(args, hosts).await.map(|tested| tested.report);
    }
    loop {
        let read = match once(args, hosts).await {
            Ok(tested) => {
                tested.report.print(format);
                tested.read
            }
            // A file that is half saved is no reason to stop watching.
            Err(error) => {
                report::failure(&error);
                Vec::new()
            }
        };
        report::say("waiting for a change; end with Ctrl-C");
        let before = seen(args, &read);
        while seen(args, &read) == before {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// When the files that matter were changed.
fn seen(args: &PolicyTest, read: &[PathBuf]) -> BTreeMap<PathBuf, Option<(SystemTime, u64)>> {
    let state = |path: &PathBuf| fs::metadata(path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
    let found = cases::find(&args.paths).unwrap_or_default();
    let found = found.iter().map(Place::path);
    found.chain(read.iter().cloned()).map(|path| (path.clone(), state(&path))).collect()
}

/// What was tested.
struct Tested {
    report: Report,
    /// The files that were read.
    read: Vec<PathBuf>,
}

/// One file of cases with what became of them.
pub(super) struct Suite {
    pub(super) file: String,
    pub(super) policy: String,
    pub(super) results: Vec<Ran>,
}

/// One case with what became of it.
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) result: CaseResult,
    pub(super) took: Duration,
}

#[derive(Default)]
struct Run {
    suites: Vec<Suite>,
    /// Mistakes in documents, for which nothing could be run.
    mistakes: Vec<Finding>,
    sources: Sources,
    coverage: Coverage,
    read: Vec<PathBuf>,
}

async fn once(args: &PolicyTest, hosts: &[String]) -> anyhow::Result<Tested> {
    let mut run = Run::default();
    let mut fetching = Fetching::from(hosts);
    for place in cases::find(&args.paths)? {
        run.file(&place, args.coverage, &mut fetching).await?;
    }
    if let Some(path) = &args.junit {
        files::replace(path, junit::document(&run.suites, &run.mistakes).as_bytes(), files::Readers::Everyone)?;
    }
    let report = run.report(args)?;
    Ok(Tested { report, read: run.read })
}

impl Run {
    async fn file(&mut self, place: &Place, trace: bool, fetching: &mut Fetching) -> anyhow::Result<()> {
        let text = files::read_text(&place.path(), limits::REVISION_FILE_BYTES)?;
        self.sources.insert(place.name.clone(), text.clone());
        self.read.push(place.path());
        let cases = match PolicyCases::parse(&place.name, text.as_bytes()) {
            Ok(cases) => cases,
            Err(Diagnostics(findings)) => {
                self.mistakes.extend(findings);
                return Ok(());
            }
        };
        let named = cases.policy.map_or_else(|| cases::policy_of(place), |policy| place.beside(&policy.value));
        let mut sources = Sources::new();
        let policy = folder::policy(&named, &mut sources, fetching).await?;
        self.read.extend(sources.keys().map(|name| named.folder.join(name)));
        self.sources.extend(sources);
        let policy = match policy {
            Ok(policy) => policy,
            Err(Diagnostics(findings)) => {
                self.mistakes.extend(findings);
                return Ok(());
            }
        };
        let mut results = Vec::new();
        for case in &cases.cases {
            let begun = Instant::now();
            let result = self.case(place, &policy, case, trace);
            results.push(Ran { name: case.name.clone(), result, took: begun.elapsed() });
        }
        self.suites.push(Suite { file: place.name.clone(), policy: policy.document().name.clone(), results });
        Ok(())
    }

    fn case(&mut self, place: &Place, policy: &PolicyFiles, case: &PolicyCase, trace: bool) -> CaseResult {
        let (bytes, filename) = match &case.input {
            CaseInput::Inline(bytes) => (bytes.clone(), None),
            CaseInput::File { path, .. } => {
                let path = place.folder.join(path);
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let read = files::read(&path, limits::MATERIAL_DOCUMENT_BYTES);
                self.read.push(path);
                match read {
                    Ok(bytes) => (bytes, name),
                    Err(error) => return CaseResult { failures: vec![format!("{error:#}")], asked: None },
                }
            }
        };
        let result = run_case(policy, case, &bytes, filename.as_deref(), trace);
        if let Some(asked) = &result.asked {
            self.coverage.add(asked);
        }
        result
    }

    fn report(&self, args: &PolicyTest) -> anyhow::Result<Report> {
        let ran = || self.suites.iter().flat_map(|suite| suite.results.iter().map(move |ran| (suite, ran)));
        let failed = ran().filter(|(_, ran)| !ran.result.passes()).count();
        let total = ran().count();
        let mut text = diagnostics::render(&self.mistakes, &self.sources, report::coloured());
        let rows = ran().map(|(suite, ran)| {
            let word = if ran.result.passes() { "pass" } else { "FAIL" };
            [suite.policy.clone(), ran.name.clone(), word.to_owned(), ran.result.failures.join("\n")]
        });
        if total > 0 {
            text.push_str(&table::table(["policy", "case", "", "what is wrong"], rows));
            text.push('\n');
        }
        let mut short = None;
        if args.coverage {
            text.push_str(&self.coverage_text());
            let (reached, all) = self.coverage.total();
            let percent = percent(reached, all);
            short = args.min_coverage.filter(|min| percent < f64::from(*min));
            if let Some(min) = short {
                text.push_str(&format!("{percent:.1} percent of the lines are reached, and {min} are asked for\n"));
            }
        }
        let broken = match self.mistakes.iter().filter(|finding| finding.blocks()).count() {
            0 => String::new(),
            n => format!(", {} in documents", counted(n, "mistake")),
        };
        text.push_str(&format!("{}, {failed} failed{broken}", counted(total, "case")));
        let no = failed > 0 || !self.mistakes.is_empty() || short.is_some();
        Report::new(if no { Exit::No } else { Exit::Yes }, &self.data(args, total, failed), text)
    }

    fn coverage_text(&self) -> String {
        let rows = self.coverage.files().iter().map(|(file, lines)| {
            let (reached, all) = (lines.reached.len(), lines.reached.len() + lines.missed.len());
            let percent = format!("{:.1} %", percent(reached, all));
            [file.clone(), format!("{reached} of {all}"), percent, ranges(&lines.missed)]
        });
        format!("{}\n", table::table(["file", "lines reached", "", "lines not reached"], rows))
    }

    fn data(&self, args: &PolicyTest, total: usize, failed: usize) -> Value {
        let cases = self.suites.iter().flat_map(|suite| {
            suite.results.iter().map(move |ran| {
                let asked = ran.result.asked.as_ref();
                json!({
                    "file": suite.file,
                    "policy": suite.policy,
                    "case": ran.name,
                    "passes": ran.result.passes(),
                    "failures": ran.result.failures,
                    "decision": asked.map(|asked| asked.decision),
                    "findings": asked.map(|asked| &asked.findings),
                })
            })
        });
        let coverage = args.coverage.then(|| {
            let (reached, all) = self.coverage.total();
            json!({"reached": reached, "lines": all, "files": self.coverage.files()})
        });
        json!({
            "cases": cases.collect::<Vec<_>>(), "total": total, "failed": failed, "mistakes": self.mistakes,
            "coverage": coverage,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of lines")]
fn percent(reached: usize, all: usize) -> f64 {
    if all == 0 { 100.0 } else { reached as f64 * 100.0 / all as f64 }
}

/// `3, 7-9`.
fn ranges(lines: &std::collections::BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let shown = |(from, to): &(u32, u32)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    plain(&ranges.iter().map(shown).collect::<Vec<_>>().join(", "))
}
