//! The crafting session: what was begun, what was collected, and where that is kept until it is pushed.
//!
//! A [`Session`] is plain data. Only a [`Workbench`] reads and writes it, and only while it holds the session's lock:
//! of two processes that work on one session the second waits. A file is replaced as a whole, so that whatever is
//! interrupted leaves the session as it was before or as it is after.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use contracts::{
    Digest, Runner,
    api::StartedRun,
    contract::{Contract, MaterialClause},
    crafting::{CraftedMaterial, GitHead, ProjectVersion},
    limits,
    revision::Revision,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    files::{self, Readers},
    report,
};

/// Raised when what is written can no longer be read by older programs.
const VERSION: u32 = 2;
const STATE_BYTES: usize = 32 * 1024 * 1024;
/// How long another process may keep the session to itself before this one gives up.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The folder that a session is kept in, and what is in it.
const FOLDER: &str = ".sluice";
const STATE: &str = "run.json";

/// What a session collected so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    version: u32,
    /// The gateway that the run was begun at.
    pub gateway: String,
    /// The run, with the contract at the revision that was current then.
    pub run: StartedRun,
    /// Whether the gateway knows nothing of the run.
    pub dry_run: bool,
    /// When it was begun.
    pub started_at: Timestamp,
    /// The version of the project.
    pub project_version: Option<ProjectVersion>,
    /// Where the pipeline runs.
    pub runner: Option<Runner>,
    /// The address of the pipeline's run.
    pub runner_url: Option<String>,
    /// Environment variables worth keeping.
    pub env: BTreeMap<String, String>,
    /// Annotations of the attestation that were found at its beginning.
    pub annotations: BTreeMap<String, String>,
    /// The Git commit of the folder.
    pub git_head: Option<GitHead>,
    /// The materials by name.
    pub materials: BTreeMap<String, Collected>,
    /// The bundle, once it was signed.
    pub signed: Option<Signed>,
}

/// A material and where its bytes are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Collected {
    /// The material.
    #[serde(flatten)]
    pub material: CraftedMaterial,
    /// The file, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// A signed bundle. Pushing again sends the same bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Signed {
    /// Its digest.
    pub attestation: Digest,
    /// Whether the gateway judged it.
    pub received: bool,
}

impl Session {
    /// A session at its beginning.
    pub fn new(gateway: String, run: StartedRun, dry_run: bool, started_at: Timestamp) -> Self {
        Self {
            version: VERSION,
            gateway,
            run,
            dry_run,
            started_at,
            project_version: None,
            runner: None,
            runner_url: None,
            env: BTreeMap::new(),
            annotations: BTreeMap::new(),
            git_head: None,
            materials: BTreeMap::new(),
            signed: None,
        }
    }

    /// The contract's revision, as the gateway sent it.
    pub fn revision(&self) -> anyhow::Result<Revision> {
        let (revision, _) = Revision::from_files(&self.run.contract.files)
            .context("the gateway's contract cannot be read by this version of the program")?;
        Ok(revision)
    }

    /// The contract itself.
    pub fn contract(&self) -> anyhow::Result<Contract> {
        Ok(self.revision()?.contract().clone())
    }

    /// The slots of the contract that nothing was added for.
    pub fn open_slots<'c>(&self, contract: &'c Contract) -> Vec<&'c MaterialClause> {
        contract.materials.iter().filter(|slot| !self.materials.contains_key(&slot.name)).collect()
    }

    /// Refuses to work on a run that was pushed already.
    pub fn refuse_when_pushed(&self) -> anyhow::Result<()> {
        if self.signed.as_ref().is_some_and(|signed| signed.received) {
            bail!(
                "this run was pushed already, and blocked: begin another with `sluice attestation init --project {} --workflow {}`",
                self.run.project,
                self.run.workflow
            );
        }
        Ok(())
    }
}

/// The files that a session lives in.
#[derive(Debug, Clone)]
pub struct Workbench {
    state: PathBuf,
}

/// The right to change a session. Dropped, or when the process ends, another may have it.
#[derive(Debug)]
pub struct Locked(#[expect(dead_code, reason = "held for its lock")] File);

impl Workbench {
    /// The one that was named, else that of the working folder. Within a Git repository a session that was begun in a
    /// folder above is found, too: steps of a pipeline may work in folders of their own.
    pub fn find(named: Option<&Path>) -> Self {
        if let Some(state) = named {
            return Self { state: state.to_owned() };
        }
        let here = Path::new(FOLDER).join(STATE);
        if here.exists() {
            return Self { state: here };
        }
        let folder = env::current_dir().unwrap_or_default();
        let root = folder.ancestors().find(|folder| folder.join(".git").exists());
        let within = folder.ancestors().take_while(|folder| root.is_some_and(|root| folder.starts_with(root)));
        let above = within.map(|folder| folder.join(FOLDER).join(STATE)).find(|state| state.exists());
        Self { state: above.unwrap_or(here) }
    }

    /// The one to begin a session on: of the working folder, whatever lies above it.
    pub fn here(named: Option<&Path>) -> Self {
        Self { state: named.map_or_else(|| Path::new(FOLDER).join(STATE), Path::to_owned) }
    }

    /// Waits until no other process works on the session.
    pub fn lock(&self) -> anyhow::Result<Locked> {
        self.prepare()?;
        let path = self.beside("lock");
        let failed = || format!("`{}` cannot be locked", path.display());
        let file = File::options().create(true).truncate(false).write(true).open(&path).with_context(failed)?;
        let begun = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked(file)),
                Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
                Err(TryLockError::WouldBlock) if begun.elapsed() > PATIENCE => bail!(
                    "another `sluice attestation` has been working on this session for long: wait for it to end, or end it"
                ),
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        report::say("another `sluice attestation` works on this session: waiting for it");
                        told = true;
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    /// The session, if one was begun.
    pub fn load(&self) -> anyhow::Result<Option<Session>> {
        let path = &self.state;
        if !path.exists() {
            return Ok(None);
        }
        let other = || {
            format!(
                "`{}` was written by another version or damaged: `sluice attestation init --replace` begins anew",
                path.display()
            )
        };
        let bytes = files::read(path, STATE_BYTES)?;
        let written: Written = serde_json::from_slice(&bytes).with_context(other)?;
        if written.version != VERSION {
            bail!(other());
        }
        Ok(Some(serde_json::from_slice(&bytes).with_context(other)?))
    }

    /// The session that must have been begun.
    pub fn open(&self) -> anyhow::Result<Session> {
        self.load()?.context("no attestation is open in this folder (one that was accepted is closed): start with `sluice attestation init --project PROJECT --workflow WORKFLOW`")
    }

    /// Keeps the session. What was signed also outlives a power cut: the gateway may have it already. What was only added
    /// can be added again.
    pub fn save(&self, session: &Session) -> anyhow::Result<()> {
        self.prepare()?;
        let keep = if session.signed.is_some() { files::replace } else { files::replace_soon };
        keep(&self.state, &serde_json::to_vec_pretty(session)?, Readers::Owner)
    }

    /// Keeps a signed bundle beside the session.
    pub fn save_bundle(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.keep(BUNDLE, bytes).map(drop)
    }

    /// The bundle that was signed, if it is the one that the session speaks of.
    pub fn load_bundle(&self, signed: &Signed) -> anyhow::Result<Vec<u8>> {
        let path = self.beside(BUNDLE);
        let bytes = files::read(&path, limits::BUNDLE_BYTES)?;
        if Digest::of(&bytes) != signed.attestation {
            bail!("`{}` is not the bundle that was signed in this session", path.display());
        }
        Ok(bytes)
    }

    /// Keeps a file that belongs to the session, and goes away with it. Answers with its path.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        self.prepare()?;
        let path = self.beside(name);
        files::replace(&path, bytes, Readers::Owner)?;
        path.canonicalize().with_context(|| format!("`{}` cannot be read", path.display()))
    }

    /// Drops the session. Says whether there was one.
    pub fn drop_session(&self) -> anyhow::Result<bool> {
        let mut there = false;
        for path in [self.beside(BUNDLE), self.beside(CHANGE), self.state.clone()] {
            match fs::remove_file(&path) {
                Ok(()) => there = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("`{}` cannot be removed", path.display())),
            }
        }
        Ok(there)
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let folder = files::folder_of(&self.state);
        let go = || -> io::Result<()> {
            files::private_folder(folder)?;
            let ignore = folder.join(".gitignore");
            // A folder that somebody named may hold other things.
            if !folder.ends_with(FOLDER) || ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
        };
        go().with_context(|| format!("`{}` cannot be made", folder.display()))
    }

    /// A file of this session: called by its name alone in a folder of its own, else after the session's file.
    fn beside(&self, name: &str) -> PathBuf {
        if self.state.ends_with(Path::new(FOLDER).join(STATE)) {
            return self.state.with_file_name(name);
        }
        let mut path = self.state.clone().into_os_string();
        path.push(".");
        path.push(name);
        path.into()
    }
}

/// Files of a session.
const BUNDLE: &str = "bundle.json";
/// What the runner tells of a pull or merge request.
pub const CHANGE: &str = "pr-info.json";

#[derive(Deserialize)]
struct Written {
    version: u32,
}
