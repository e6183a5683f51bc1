//! The crafting session of a folder: `.sluice/run.json`, readable by its owner alone and replaced as a whole.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{
    Digest, Runner,
    api::StartedRun,
    contract::{Contract, MaterialClause},
    crafting::{CraftedMaterial, GitHead},
    limits,
    revision::Revision,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::{self, Readers};

/// Raised when what is written can no longer be read by older programs.
const VERSION: u32 = 1;
const STATE_BYTES: usize = 32 * 1024 * 1024;

/// What a session collected so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    version: u32,
    /// The gateway that the run was begun at.
    pub gateway: String,
    /// The run, with the contract at the revision that was current then.
    pub run: StartedRun,
    /// When it was begun.
    pub started_at: Timestamp,
    /// Where the pipeline runs.
    pub runner: Option<Runner>,
    /// The address of the pipeline's run.
    pub runner_url: Option<String>,
    /// Environment variables worth keeping.
    pub env: BTreeMap<String, String>,
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
    pub fn new(gateway: String, run: StartedRun, started_at: Timestamp) -> Self {
        Self {
            version: VERSION,
            gateway,
            run,
            started_at,
            runner: None,
            runner_url: None,
            env: BTreeMap::new(),
            git_head: None,
            materials: BTreeMap::new(),
            signed: None,
        }
    }

    /// The contract, as the gateway sent it.
    pub fn contract(&self) -> anyhow::Result<Contract> {
        let (revision, _) = Revision::from_files(&self.run.contract.files)
            .context("the gateway's contract cannot be read by this version of the program")?;
        Ok(revision.contract().clone())
    }

    /// The slots of the contract that nothing was added for.
    pub fn open_slots<'c>(&self, contract: &'c Contract) -> Vec<&'c MaterialClause> {
        contract.materials.iter().filter(|slot| !self.materials.contains_key(&slot.name)).collect()
    }
}

/// The folder that a session lives in.
pub struct Workbench {
    folder: PathBuf,
}

impl Workbench {
    /// The one of the working folder.
    pub fn here() -> Self {
        Self::at(Path::new("."))
    }

    /// The one of a folder.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.join(".sluice") }
    }

    /// The session, if one was begun.
    pub fn load(&self) -> anyhow::Result<Option<Session>> {
        let path = self.state();
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&path, STATE_BYTES)?;
        let session: Session = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "`{}` was written by another version or damaged: `sluice attestation reset` drops it",
                path.display()
            )
        })?;
        if session.version != VERSION {
            bail!("`{}` was written by another version: `sluice attestation reset` drops it", path.display());
        }
        Ok(Some(session))
    }

    /// The session that must have been begun.
    pub fn open(&self) -> anyhow::Result<Session> {
        self.load()?.context("no attestation is open in this folder (one that was accepted is closed): start with `sluice attestation init`")
    }

    /// Keeps the session.
    pub fn save(&self, session: &Session) -> anyhow::Result<()> {
        self.prepare()?;
        files::replace(&self.state(), &serde_json::to_vec_pretty(session)?, Readers::Owner)
    }

    /// Keeps a signed bundle beside the session.
    pub fn save_bundle(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.prepare()?;
        files::replace(&self.bundle(), bytes, Readers::Owner)
    }

    /// The bundle that was signed, if it is the one that the session speaks of.
    pub fn load_bundle(&self, signed: &Signed) -> anyhow::Result<Vec<u8>> {
        let bytes = files::read(&self.bundle(), limits::BUNDLE_BYTES)?;
        if Digest::of(&bytes) != signed.attestation {
            bail!("`{}` is not the bundle that was signed in this session", self.bundle().display());
        }
        Ok(bytes)
    }

    /// Drops the session. Says whether there was one.
    pub fn drop_session(&self) -> anyhow::Result<bool> {
        let mut there = false;
        for path in [self.bundle(), self.state()] {
            match fs::remove_file(&path) {
                Ok(()) => there = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("`{}` cannot be removed", path.display())),
            }
        }
        Ok(there)
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let go = || -> io::Result<()> {
            files::private_folder(&self.folder)?;
            let ignore = self.folder.join(".gitignore");
            if ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
        };
        go().with_context(|| format!("`{}` cannot be made", self.folder.display()))
    }

    fn state(&self) -> PathBuf {
        self.folder.join("run.json")
    }

    fn bundle(&self) -> PathBuf {
        self.folder.join("bundle.json")
    }
}
