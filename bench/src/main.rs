//! The load harness: starts the released gateway beside the programs that others would use, drives each with
//! the same load generator, and prints one table. `bench/README.md` says how to run it and what came out.

use std::path::PathBuf;

use anyhow::{Context, bail};

use bench::{process::find, scenarios, scenarios::Plan, table::Table};

const USAGE: &str =
    "usage: load [--sluice PATH] [--registry PATH] [--opa PATH] [--seconds N] [--attestations N] [--layer-mib N]";

fn main() -> anyhow::Result<()> {
    let plan = plan()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut table = Table::default();
    let outcome = runtime.block_on(scenarios::run(&plan, &mut table));
    // What was measured before something failed is still worth reading.
    print(&table);
    outcome
}

#[expect(clippy::print_stdout, reason = "the table is what this program is run for")]
fn print(table: &Table) {
    println!("{table}");
}

fn plan() -> anyhow::Result<Plan> {
    let mut plan = Plan {
        sluice: "target/release/sluice".into(),
        registry: find("docker-registry").unwrap_or_default(),
        opa: find("opa"),
        seconds: 10,
        attestations: 20_000,
        layer_mib: 1024,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("`{flag}` needs a value\n{USAGE}"))?;
        match flag.as_str() {
            "--sluice" => plan.sluice = value.into(),
            "--registry" => plan.registry = value.into(),
            "--opa" => plan.opa = Some(value.into()),
            "--seconds" => plan.seconds = value.parse()?,
            "--attestations" => plan.attestations = value.parse()?,
            "--layer-mib" => plan.layer_mib = value.parse()?,
            _ => bail!("`{flag}` is not known\n{USAGE}"),
        }
    }
    for (what, path) in [("sluice", &plan.sluice), ("registry", &plan.registry)] {
        if *path == PathBuf::new() || !path.is_file() {
            bail!("`{}` is not there: build or install it, or say where it is with --{what}", path.display());
        }
    }
    Ok(plan)
}
