//! Where a session is kept while a command works on it: in files of this machine, or at the gateway, where several jobs
//! of a pipeline work on one attestation.
//!
//! On files a command has the session's lock until it ends. At the gateway nobody has a lock: whoever keeps a session
//! names the state that he read, and is told when another was quicker ([`Kept::Changed`]); then he reads again and does
//! his part anew. What is kept at the gateway has no paths in it: the bytes of materials are uploaded when they are added.

use std::time::Duration;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{
    Digest,
    api::{RevisionFiles, RunInfo},
};
use serde::{Deserialize, Serialize};

use crate::{
    client::{Client, StateAnswer},
    state::{Locked, Session, Signed, Workbench},
    upload::Sent,
};

/// Raised when what is kept at the gateway can no longer be read by older programs.
const VERSION: u32 = 1;
/// The longest wait before another try.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A place where a session is kept.
pub enum Desk {
    /// Files of this machine.
    Local {
        /// The files.
        bench: Workbench,
        /// Held until the command is over.
        _locked: Locked,
    },
    /// The gateway.
    Remote(Box<Remote>),
}

/// A session at the gateway.
pub struct Remote {
    client: Client,
    run: String,
    /// The state that was read, or none when nothing was.
    etag: Option<String>,
    bundle: Option<Vec<u8>>,
}

/// Whether a session is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Kept {
    /// It is.
    Yes,
    /// Somebody else was quicker, and this was not kept.
    Changed,
}

/// What the gateway keeps.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    session: Session,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
}

impl Desk {
    /// The files of this machine, once nobody else works on them.
    pub fn local(bench: Workbench) -> anyhow::Result<Self> {
        let locked = bench.lock()?;
        Ok(Self::Local { bench, _locked: locked })
    }

    /// A run's session at the gateway.
    pub fn remote(client: Client, run: String) -> Self {
        Self::Remote(Box::new(Remote { client, run, etag: None, bundle: None }))
    }

    /// The session, if there is one.
    pub async fn load(&mut self) -> anyhow::Result<Option<Session>> {
        match self {
            Self::Local { bench, .. } => bench.load(),
            Self::Remote(remote) => remote.load().await,
        }
    }

    /// The session that must be there.
    pub async fn open(&mut self) -> anyhow::Result<Session> {
        match self {
            Self::Local { bench, .. } => bench.open(),
            Self::Remote(remote) => match remote.load().await? {
                Some(session) => Ok(session),
                None => Err(remote.why_none().await),
            },
        }
    }

    /// Keeps the session, unless somebody else has changed it since it was read.
    pub async fn keep(&mut self, session: &Session) -> anyhow::Result<Kept> {
        match self {
            Self::Local { bench, .. } => bench.save(session).map(|()| Kept::Yes),
            Self::Remote(remote) => remote.keep(session).await,
        }
    }

    /// Keeps a session that was signed, with the bundle.
    pub async fn keep_signed(&mut self, session: &Session, bundle: &[u8]) -> anyhow::Result<Kept> {
        match self {
            Self::Local { bench, .. } => bench.save_bundle(bundle)?,
            Self::Remote(remote) => remote.bundle = Some(bundle.to_vec()),
        }
        self.keep(session).await
    }

    /// The bundle that was signed.
    pub fn bundle(&self, signed: &Signed) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Local { bench, .. } => bench.load_bundle(signed),
            Self::Remote(remote) => {
                let bundle = remote.bundle.clone().filter(|bundle| Digest::of(bundle) == signed.attestation);
                bundle.context("the gateway does not have the bundle that was signed: `sluice attestation reset`")
            }
        }
    }

    /// Brings the bytes of these materials to where the session is kept.
    pub async fn carry(&self, session: &mut Session, names: &[String]) -> anyhow::Result<()> {
        let Self::Remote(remote) = self else { return Ok(()) };
        if session.signed.is_some() {
            bail!("the attestation `{}` is signed already: push it, and add to another one", remote.run);
        }
        for name in names {
            let Some(added) = session.materials.get_mut(name) else { continue };
            if let (Some(path), false) = (added.path.take(), added.material.skip_upload) {
                Sent { name, path: &path, digest: added.material.digest }.to(&remote.client).await?;
            }
        }
        Ok(())
    }

    /// The run as the gateway knows it, when the session is kept there and is over.
    pub async fn ended(&self) -> anyhow::Result<Option<RunInfo>> {
        match self {
            Self::Local { .. } => Ok(None),
            Self::Remote(remote) => Ok(Some(remote.client.run(&remote.run).await?).filter(|run| run.state.ended())),
        }
    }

    /// Drops the session. At the gateway it ends with the run.
    pub fn close(&self) -> anyhow::Result<bool> {
        match self {
            Self::Local { bench, .. } => bench.drop_session(),
            Self::Remote(_) => Ok(true),
        }
    }

    /// Waits before another try, each time longer, and not as long as others do.
    pub async fn pause(&self, round: u32) {
        let step = Duration::from_millis(20 * u64::from(round.min(20) + 1));
        let spread = Duration::from_millis(u64::from(std::process::id() % 50));
        tokio::time::sleep((step + spread).min(LONGEST_PAUSE)).await;
    }
}

impl Remote {
    async fn load(&mut self) -> anyhow::Result<Option<Session>> {
        let Some((bytes, etag)) = self.client.run_state(&self.run).await? else { return Ok(None) };
        let other = "the attestation was begun by another version of this program: go on with that one";
        let written: Written = serde_json::from_slice(&bytes).context(other)?;
        if written.version != VERSION {
            bail!(other);
        }
        let mut session = written.session;
        let info = &session.run.contract.info;
        session.run.contract.files = self.client.contract(&info.name, Some(info.revision)).await?.files;
        // A path of another machine means nothing here.
        for added in session.materials.values_mut() {
            added.path = None;
        }
        self.bundle = written.bundle.map(|text| STANDARD.decode(text)).transpose().context(other)?;
        self.etag = Some(etag);
        Ok(Some(session))
    }

    async fn keep(&mut self, session: &Session) -> anyhow::Result<Kept> {
        let mut session = session.clone();
        // The gateway has the contract.
        session.run.contract.files = RevisionFiles { contract: String::new(), files: Default::default() };
        let bundle = self.bundle.as_ref().filter(|_| session.signed.is_some()).map(|bundle| STANDARD.encode(bundle));
        let written = serde_json::to_vec(&Written { version: VERSION, session, bundle })?;
        match self.client.keep_run_state(&self.run, written, self.etag.as_deref()).await? {
            StateAnswer::Kept(etag) => {
                self.etag = Some(etag);
                Ok(Kept::Yes)
            }
            StateAnswer::Changed => Ok(Kept::Changed),
            StateAnswer::Ended => {
                bail!("the run `{}` has ended: begin another with `sluice attestation init`", self.run)
            }
        }
    }

    async fn why_none(&self) -> anyhow::Error {
        match self.client.run(&self.run).await {
            Ok(run) if run.state.ended() => anyhow::anyhow!(
                "the attestation `{}` was {} already: begin another with `sluice attestation init --remote-state`",
                self.run,
                crate::commands::run::state_name(run.state)
            ),
            Ok(_) => anyhow::anyhow!(
                "the attestation `{}` is not kept at the gateway: it was begun without --remote-state, or rested for too long",
                self.run
            ),
            Err(error) => error.into(),
        }
    }
}
