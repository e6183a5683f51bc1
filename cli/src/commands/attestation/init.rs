//! `sluice attestation init`
//!
//! The gateway is asked twice: first without storing anything, so that nothing is begun where it could not be ended; then
//! for good.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{
    Digest, MaterialType, Runner,
    api::{NewRun, StartedRun},
    contract::Contract,
    crafting::{CraftedMaterial, ProjectVersion},
    limits,
};

use super::{
    around::{self, Environment},
    change,
    manifest::Manifest,
    shape, status,
};
use crate::{
    args,
    client::{Client, ClientError},
    clock,
    commands::{connect, contract as contracts_of},
    desk::{Desk, Kept},
    exit::Exit,
    files::{self, Readers},
    git,
    report::{Report, plain},
    state::{CHANGE, Collected, Locked, Session, Workbench},
};

/// Marks the attestation of a pull or merge request.
const IS_PULL_REQUEST: &str = "chainloop.dev/is-pull-request";
/// Runs that are looked through for the versions of a project.
const RUNS_LOOKED_AT: usize = 1000;

/// Where the session is kept.
pub enum Place {
    /// In files of this machine.
    Files(Workbench),
    /// At the gateway, for several jobs.
    Gateway,
}

pub async fn run(
    connection: &args::Connection,
    place: Place,
    args: &args::AttestationInit,
    organization: Option<&str>,
) -> anyhow::Result<Report> {
    let bench = match place {
        Place::Files(bench) => Some(bench),
        Place::Gateway if args.dry_run => bail!("a dry run stores nothing, so it cannot be kept at the gateway"),
        Place::Gateway => None,
    };
    let _locked = bench.as_ref().map(|bench| begin_on(bench, args)).transpose()?;
    let client = connect(connection)?;
    let version = version(&client, args).await?;
    let mut new = NewRun {
        project: args.project.clone(),
        workflow: args.workflow.clone(),
        contract: contract_of(connection, &client, args).await?,
        contract_revision: args.contract_revision,
        version: version.as_ref().map(|version| version.name.clone()),
        url: None,
    };
    let tried = client.start_run(&new, true).await?;
    if let Some(said) = organization.filter(|said| *said != tried.organization) {
        bail!("the token is of the organization `{}`, and --org says `{said}`", tried.organization);
    }
    let mut session = Session::new(client.gateway().to_string(), tried, args.dry_run, clock::now());
    let contract = session.contract()?;
    let mut notes = Vec::new();
    surround(&mut session, &contract, args, &mut notes)?;
    session.project_version = version;
    session.git_head = git::head();
    if session.git_head.is_none() {
        notes.push("this folder is not in a Git repository, so the attestation names no commit".to_owned());
    }
    if let Some(bench) = &bench {
        bench.drop_session()?;
    }
    let scratch = tempfile::tempdir()?;
    let keep = |bytes: &[u8]| match &bench {
        Some(bench) => bench.keep(CHANGE, bytes),
        None => {
            let path = scratch.path().join(CHANGE);
            files::create(&path, bytes, Readers::Owner)?;
            Ok(path)
        }
    };
    pull_request(&keep, &mut session, &contract, args, &mut notes)?;
    if !args.dry_run {
        new.url.clone_from(&session.runner_url);
        session.run = client.start_run(&new, false).await?;
    }
    notes.extend(about(&session.run, args));
    match &bench {
        Some(bench) => bench.save(&session)?,
        None => keep_at_gateway(client, &mut session, &mut notes).await?,
    }

    let contract = session.contract()?;
    let missing = status::missing(&session, &contract);
    let data = shape::session(&session, &contract, &missing, &[]);
    let report = Report::new(Exit::Yes, &data, status::describe(&session, &contract, false))?;
    Ok(notes.iter().fold(report, |report, note| report.note(plain(note))))
}

/// Takes the files, where nothing that was begun is in the way.
fn begin_on(bench: &Workbench, args: &args::AttestationInit) -> anyhow::Result<Locked> {
    let locked = bench.lock()?;
    if !args.replace
        && let Some(session) = bench.load()?
        && !session.signed.is_some_and(|signed| signed.received)
    {
        bail!(
            "an attestation for {0}/{1} was begun in this folder and not pushed: push it with `sluice attestation push`, or \
             drop it with `sluice attestation init --project {0} --workflow {1} --replace`",
            session.run.project,
            session.run.workflow
        );
    }
    Ok(locked)
}

async fn keep_at_gateway(client: Client, session: &mut Session, notes: &mut Vec<String>) -> anyhow::Result<()> {
    let mut desk = Desk::remote(client, session.run.id.clone());
    let names: Vec<String> = session.materials.keys().cloned().collect();
    desk.carry(session, &names).await?;
    match desk.keep(session).await? {
        Kept::Yes => {
            notes.push(format!("it is kept at the gateway: say --attestation-id {} from now on", session.run.id));
            Ok(())
        }
        Kept::Changed => bail!("somebody else keeps a session for this run"),
    }
}

/// The contract that a workflow would be made with. A file is applied when there is no such workflow yet.
async fn contract_of(
    connection: &args::Connection,
    client: &Client,
    args: &args::AttestationInit,
) -> anyhow::Result<Option<String>> {
    let Some(said) = &args.contract else { return Ok(None) };
    if !Path::new(said).is_file() {
        return Ok(Some(said.clone()));
    }
    let (Some(project), Some(workflow)) = (&args.project, &args.workflow) else {
        bail!("name the project and the workflow that `{said}` is for");
    };
    match client.workflow(project, workflow).await {
        Ok(workflow) => return Ok(Some(workflow.contract)),
        Err(ClientError::Refused { status: 404, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if args.dry_run {
        bail!(
            "there is no workflow `{project}/{workflow}`, and --dry-run applies no contract: name one that is applied"
        );
    }
    contracts_of::apply_for_workflow(connection, client, Path::new(said), workflow).await.map(Some)
}

/// The version of the project: as it was said, else as the repository says.
async fn version(client: &Client, args: &args::AttestationInit) -> anyhow::Result<Option<ProjectVersion>> {
    let said = match (&args.project_version, args.latest_version) {
        (Some(version), _) => Some(version.clone()),
        (None, true) => Some(
            newest_version(client, args, None)
                .await?
                .context("no run of this project says its version yet: give one with --version")?,
        ),
        (None, false) => Manifest::find()?.and_then(|manifest| manifest.project_version),
    };
    let Some(name) = said.filter(|name| !name.is_empty()) else {
        if args.release || args.existing_version {
            bail!("say which version with --version");
        }
        return Ok(None);
    };
    if args.existing_version && newest_version(client, args, Some(&name)).await?.is_none() {
        bail!("no run of this project has the version `{name}`: correct it, or leave out --existing-version");
    }
    Ok(Some(ProjectVersion { name, prerelease: !args.release }))
}

/// The version of the newest run of the project that has one, or has this one.
async fn newest_version(
    client: &Client,
    args: &args::AttestationInit,
    wanted: Option<&str>,
) -> anyhow::Result<Option<String>> {
    let runs = client.runs(None, RUNS_LOOKED_AT).await?;
    let of_project = runs.into_iter().filter(|run| args.project.as_ref().is_none_or(|project| run.project == *project));
    Ok(of_project.filter_map(|run| run.version).find(|version| wanted.is_none_or(|wanted| version == wanted)))
}

/// The runner and its environment.
fn surround(
    session: &mut Session,
    contract: &Contract,
    args: &args::AttestationInit,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let here = around::here();
    let wanted = contract.runner.as_ref().map(|runner| runner.value);
    session.runner = Runner::detect(here, wanted);
    if let Some(wanted) = wanted.filter(|wanted| session.runner != Some(*wanted)) {
        let found = session.runner.map_or("no runner that is known", Runner::as_str);
        if !args.dry_run {
            bail!(
                "the contract asks for runner `{wanted}`, and this is {found}: run it there, or try it here with --dry-run"
            );
        }
        notes.push(format!("the contract asks for runner `{wanted}`, and this is {found}"));
    }
    session.runner_url = session.runner.and_then(|runner| runner.url(here));
    let environment = Environment::of(here, session.runner, contract, &args.allow_secret_env);
    if let Some((name, kind)) = environment.secret.first() {
        bail!(
            "the contract asks to record the variable `{name}`, and its value looks like {kind}, which everyone who reads \
             the attestation could see: take it off `envAllowList`, or say --allow-secret-env {name} if that is meant"
        );
    }
    for (name, kind) in &environment.left_out {
        notes.push(format!("the variable `{name}` is not recorded: its value looks like {kind}"));
    }
    for name in &environment.unset {
        notes.push(format!("the contract asks to record the variable `{name}`, which is not set"));
    }
    session.env = environment.recorded;
    Ok(())
}

/// Collects the pull or merge request that is built.
fn pull_request(
    keep: &dyn Fn(&[u8]) -> anyhow::Result<PathBuf>,
    session: &mut Session,
    contract: &Contract,
    args: &args::AttestationInit,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let read = |path: &str| files::read(Path::new(path), limits::MATERIAL_DOCUMENT_BYTES);
    let found = match session.runner.map(|runner| change::find(runner, around::here(), &read)).transpose() {
        Ok(found) => found.flatten(),
        Err(error) => {
            notes.push(format!("the pull request that is built is not recorded: {error:#}"));
            None
        }
    };
    if args.pr.unwrap_or(found.is_some()) {
        session.annotations.insert(IS_PULL_REQUEST.to_owned(), "true".to_owned());
    }
    let Some(found) = found else { return Ok(()) };
    let bytes = serde_json::to_vec_pretty(&found.document)?;
    let slot = contract.materials.iter().find(|slot| slot.kind == MaterialType::ChainloopPrInfo);
    let name = slot.map_or_else(|| format!("pr-metadata-{}", found.number), |slot| slot.name.clone());
    let path = keep(&bytes)?;
    let material = CraftedMaterial {
        name: name.clone(),
        kind: MaterialType::ChainloopPrInfo,
        digest: Digest::of(&bytes),
        size: Some(bytes.len() as u64),
        filename: Some(CHANGE.to_owned()),
        value: None,
        image: None,
        output: false,
        skip_upload: slot.is_some_and(|slot| slot.skip_upload),
        annotations: BTreeMap::new(),
    };
    session.materials.insert(name, Collected { material, path: Some(path) });
    Ok(())
}

/// What there is to say of a run that was begun.
fn about(run: &StartedRun, args: &args::AttestationInit) -> Vec<String> {
    let mut notes = Vec::new();
    if run.created {
        notes.push(format!("the workflow {}/{} was made", run.project, run.workflow));
    } else if let Some(said) = args.contract.as_ref().filter(|said| !Path::new(said).is_file())
        && *said != run.contract.info.name
    {
        notes.push(format!(
            "the workflow {}/{} keeps its contract `{}`: `sluice workflow create` changes it",
            run.project, run.workflow, run.contract.info.name
        ));
    }
    if run.contract.info.revision < run.current_revision {
        notes.push(format!("the contract has revision {} by now, and the gateway judges by it", run.current_revision));
    }
    if args.dry_run {
        notes.push("this is a dry run: nothing is stored, and `push` sends nothing".to_owned());
    }
    if let Some(other) = args.collectors.iter().find(|name| !name.is_empty()) {
        notes.push(format!("nothing is collected by `{other}`: add it with `sluice attestation add`"));
    }
    notes
}
