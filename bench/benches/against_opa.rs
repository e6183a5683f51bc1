//! Compiling and evaluating beside Open Policy Agent: the same Rego on the same documents in one run, and whether more
//! threads ever make it slower. `opa bench` evaluates a prepared query on an input that was read before; so is what
//! stands beside it. Without the program `opa` only our own figures are printed.
#![expect(clippy::print_stdout, reason = "the table is what this program is run for")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bench::{mint, process::find, rules};
use contracts::{
    Bundle, Decision, Digest, SigningKey, TrustRoot,
    api::RevisionFiles,
    crafting::{self, CraftedRun},
    revision::Revision,
};
use jiff::Timestamp;
use policies::{Attested, Evidence, MaterialEvidence, Phase, RuleSet};
use serde_json::Value;

/// The program `sluice` has this allocator too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each of our own measurements goes on.
const LONG: Duration = Duration::from_secs(2);
const THREADS: [usize; 3] = [1, 2, 4];

struct Scenario {
    name: &'static str,
    files: RevisionFiles,
    rules: RuleSet,
    /// Reads the evidence, as each decision of the gateway does for itself.
    read: Box<dyn Fn() -> anyhow::Result<Evidence> + Sync>,
    /// The same for OPA.
    modules: BTreeMap<String, String>,
    query: &'static str,
    input: Vec<u8>,
}

fn main() -> anyhow::Result<()> {
    let opa = find("opa");
    if opa.is_none() {
        println!("`opa` is not installed: no figures beside ours\n");
    }
    let now = testdata::noon();
    println!("| What | compile ms | OPA ms | evaluate µs | OPA µs | OPA / ours | per second on 1, 2, 4 threads |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | --- |");
    // `-- TEXT`: only the lines whose name has the text.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for scenario in scenarios(now)?.into_iter().filter(|scenario| scenario.name.contains(&wanted)) {
        let compiled = milliseconds(median(20, || compile(&scenario.files).map(drop))?);
        let evaluated = evaluated(&scenario, now)?;
        let theirs = opa.as_deref().map(|opa| Peer::measure(opa, &scenario)).transpose()?;
        let (their_compile, their_evaluate, ratio) = match theirs {
            Some(Peer { compile, evaluate }) => (
                format!("{:.2}", milliseconds(compile)),
                format!("{:.1}", microseconds(evaluate)),
                format!("{:.1}", evaluate.as_secs_f64() / evaluated.as_secs_f64()),
            ),
            None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        let threads = THREADS.map(|threads| per_second(&scenario, threads, now).map(|rate| format!("{rate:.0}")));
        let threads = threads.into_iter().collect::<anyhow::Result<Vec<_>>>()?.join(", ");
        println!(
            "| {} | {compiled:.2} | {their_compile} | {:.1} | {their_evaluate} | {ratio} | {threads} |",
            scenario.name,
            microseconds(evaluated)
        );
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn scenarios(now: Timestamp) -> anyhow::Result<Vec<Scenario>> {
    let key = SigningKey::generate_p256()?;
    let minted = mint::attestations(&key, "fifty", Digest::of(b"image"), 1)?;
    let minted = minted.into_iter().next().context("no attestation")?;
    let verified = TrustRoot::new(vec![key.public().clone()], None)?.verify(&Bundle::parse(&minted.bundle)?, now)?;
    let run = Arc::new(crafting::read(&verified.statement)?.context("not a crafted run")?);
    let verified = Arc::new(verified);
    let pem = key.public().to_pem();
    let files = |files| RevisionFiles { contract: "contract.yaml".to_owned(), files };

    let mut all = Vec::new();
    for (name, policies) in [("1 policy on an attestation", 1), ("50 policies on an attestation", 50)] {
        let files = files(rules::contract("fifty", policies, &pem));
        let (verified, run) = (Arc::clone(&verified), Arc::clone(&run));
        all.push(Scenario {
            name,
            rules: compile(&files)?,
            files,
            read: Box::new(move || Ok(Evidence::of_run(Attested::new(&verified, now), materials(&run)?))),
            modules: rules::opa(policies),
            query: "data.gate.allow",
            input: minted.statement.clone(),
        });
    }
    for (name, bytes) in [("1 policy on an SBOM of 200 KB", 200 << 10), ("1 policy on an SBOM of 5 MB", 5 << 20)] {
        let document = testdata::cyclonedx_of_size(bytes);
        let (verified, sbom) = (Arc::clone(&verified), document.clone());
        let files = files(rules::sbom(&pem));
        all.push(Scenario {
            name,
            rules: compile(&files)?,
            files,
            read: Box::new(move || {
                let read = MaterialEvidence::from_bytes(&rules::declared_sbom(&sbom), &sbom);
                let read = read.map_err(|finding| anyhow::anyhow!(finding.message))?;
                Ok(Evidence::of_run(Attested::new(&verified, now), vec![read]))
            }),
            modules: BTreeMap::from([("banned.rego".to_owned(), rules::SBOM_REGO.to_owned())]),
            query: "data.banned_licenses.result",
            input: document,
        });
    }
    Ok(all)
}

fn materials(run: &CraftedRun) -> anyhow::Result<Vec<MaterialEvidence>> {
    let read = run.materials.iter().map(|declared| match &declared.inline {
        Some(bytes) => {
            MaterialEvidence::from_bytes(declared, bytes).map_err(|finding| anyhow::anyhow!(finding.message))
        }
        None => Ok(MaterialEvidence::reference(declared)),
    });
    read.collect()
}

fn compile(files: &RevisionFiles) -> anyhow::Result<RuleSet> {
    let (revision, _) = Revision::from_files(files)?;
    Ok(policies::compile(&revision)?)
}

fn median(times: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        work()?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took.get(times / 2).copied().context("nothing was measured")
}

fn evaluate(scenario: &Scenario, evidence: &Evidence, now: Timestamp) -> anyhow::Result<()> {
    let evaluation = policies::evaluate(&scenario.rules, evidence, None, Phase::Intake, now)?;
    ensure!(evaluation.decision == Decision::Allow, "{}: {:?}", scenario.name, evaluation.findings);
    Ok(())
}

/// The median over as many runs as fit.
fn evaluated(scenario: &Scenario, now: Timestamp) -> anyhow::Result<Duration> {
    let evidence = (scenario.read)()?;
    let first = median(3, || evaluate(scenario, &evidence, now))?;
    let fit = LONG.as_nanos() / first.as_nanos().max(1);
    median(usize::try_from(fit).unwrap_or(usize::MAX).clamp(5, 20_000), || evaluate(scenario, &evidence, now))
}

/// Evaluations per second by so many threads together, each of evidence that it read for itself, all of the same rules.
#[expect(clippy::cast_precision_loss, reason = "a count of evaluations")]
fn per_second(scenario: &Scenario, threads: usize, now: Timestamp) -> anyhow::Result<f64> {
    let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let ready = Barrier::new(threads + 1);
    let took = std::thread::scope(|scope| -> anyhow::Result<Duration> {
        let work = || -> anyhow::Result<()> {
            let evidence = (scenario.read)();
            ready.wait();
            let evidence = evidence?;
            while !over.load(Ordering::Relaxed) {
                evaluate(scenario, &evidence, now)?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        ready.wait();
        let begun = Instant::now();
        std::thread::sleep(LONG);
        over.store(true, Ordering::Relaxed);
        for thread in running {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(begun.elapsed())
    })?;
    Ok(done.load(Ordering::Relaxed) as f64 / took.as_secs_f64())
}

/// What Open Policy Agent takes for the same.
struct Peer {
    compile: Duration,
    evaluate: Duration,
}

impl Peer {
    fn measure(opa: &Path, scenario: &Scenario) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let modules = folder.path().join("modules");
        fs::create_dir(&modules)?;
        for (name, text) in &scenario.modules {
            fs::write(modules.join(name), text)?;
        }
        let input = folder.path().join("input.json");
        fs::write(&input, &scenario.input)?;
        Ok(Self { compile: compile_time(opa, &modules)?, evaluate: evaluation_time(opa, &modules, &input, scenario)? })
    }
}

fn ask(opa: &Path, arguments: &[&str], files: &[(&str, &PathBuf)]) -> anyhow::Result<Value> {
    let mut command = Command::new(opa);
    command.args(arguments);
    for (flag, path) in files {
        command.arg(flag).arg(path);
    }
    let output = command.output()?;
    if !output.status.success() {
        bail!("opa {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Parsing and compiling the modules, by its own account, from files that were read.
fn compile_time(opa: &Path, modules: &PathBuf) -> anyhow::Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..9 {
        let said = ask(opa, &["eval", "--metrics", "--format", "json", "true"], &[("--data", modules)])?;
        let timer = |name: &str| said.pointer(&format!("/metrics/timer_rego_{name}_ns")).and_then(Value::as_u64);
        let (parse, compile) = (timer("module_parse"), timer("module_compile"));
        took.push(parse.context("no parse time")? + compile.context("no compile time")?);
    }
    took.sort_unstable();
    took.get(took.len() / 2).copied().map(Duration::from_nanos).context("nothing was measured")
}

/// The median evaluation of the prepared query.
fn evaluation_time(opa: &Path, modules: &PathBuf, input: &PathBuf, scenario: &Scenario) -> anyhow::Result<Duration> {
    let files = [("--data", modules), ("--input", input)];
    let held = ask(opa, &["eval", "--format", "json", scenario.query], &files)?;
    let value = held.pointer("/result/0/expressions/0/value").context("OPA gives no answer")?;
    let violations = value.get("violations").and_then(Value::as_array).map(Vec::len);
    ensure!(*value == Value::Bool(true) || violations == Some(0), "OPA answers otherwise: {value}");
    let said = ask(opa, &["bench", "--format", "json", scenario.query], &files)?;
    let median = said.pointer("/Extra/histogram_timer_rego_query_eval_ns_median").and_then(Value::as_f64);
    Ok(Duration::from_secs_f64(median.context("`opa bench` says no median")? / 1e9))
}
