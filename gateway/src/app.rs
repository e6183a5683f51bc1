//! The parts of a running gateway, put together: from settings to a server that answers, and to its end.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

use contracts::{TrustRoot, api::Role};
use futures::future::OptionFuture;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use crate::{
    config::Settings,
    evidence::{EvidenceError, EvidenceFolder, sync_folder},
    federation::{Federation, IssuerSettingsError},
    gate::{Gate, Parts},
    http::{
        self, clock,
        secret::{Secret, random_id},
    },
    intake::Intake,
    metrics::Metrics,
    pulls::Pulls,
    rules::Rules,
    server::Server,
    store::{By, RedbStore, Store, StoreError, TokenRecord},
    tls::{Tls, TlsError},
    tuf::{Refresher, Standing},
    upstream::{Cache, CacheError, UpstreamSettingsError, Upstreams},
    word::{Word, WordError},
    workers::Workers,
};

/// What every request handler is given. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// The bytes of materials.
    pub evidence: Arc<EvidenceFolder>,
    /// What decides.
    pub gate: Arc<Gate>,
    /// What takes attestations.
    pub intake: Arc<Intake>,
    /// What every organization says.
    pub rules: Arc<Rules>,
    /// Where images come from.
    pub upstreams: Arc<Upstreams>,
    /// What was served of them, if it is kept.
    pub cache: Option<Arc<Cache>>,
    /// What the gateway signs with.
    pub word: Arc<Word>,
    /// Whose identity tokens are taken.
    pub federation: Arc<Federation>,
    /// Where compiling, verifying and evaluating run.
    pub workers: Workers,
    /// How the trust root stands, when somebody keeps it fresh.
    pub trust_root: Option<Arc<Standing>>,
    /// The configuration as it was at the start.
    pub settings: Arc<Settings>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who pulled what.
    pub pulls: Pulls,
    /// How much of what is costly may happen at once.
    pub slots: Arc<Slots>,
}

/// Bounds on costly requests.
#[derive(Debug)]
pub struct Slots {
    /// Backups at once.
    pub(crate) backup: Semaphore,
    /// Sweeps of evidence at once: each reads all attestations of an organization.
    pub(crate) sweep: Semaphore,
    /// Proposed contracts that are judged at once. Each judges one attestation after the other.
    pub(crate) replay: Semaphore,
    /// Reads of the log of pulls at once: each may decode all of it. Held until the read is over, also when its asker leaves.
    pub(crate) pulls: Arc<Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            backup: Semaphore::new(1),
            sweep: Semaphore::new(1),
            replay: Semaphore::new(1),
            pulls: Arc::new(Semaphore::new(2)),
        }
    }
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state file.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The evidence folder.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The key that the gateway signs with.
    #[error(transparent)]
    Word(#[from] WordError),
    /// An upstream.
    #[error(transparent)]
    Upstreams(#[from] UpstreamSettingsError),
    /// The content cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// An issuer of identity tokens.
    #[error(transparent)]
    Issuers(#[from] IssuerSettingsError),
    /// The trusted root.
    #[error("the trusted root `{path}` cannot be used: {reason}")]
    TrustedRoot {
        /// Where.
        path: String,
        /// Why.
        reason: String,
    },
    /// Tokens would be sent in the clear.
    #[error(
        "`listen` is `{listen}`, where plain HTTP would show tokens to others: configure `[tls]`, listen on 127.0.0.1, or set `plain_http = true`"
    )]
    PlainHttp {
        /// Where.
        listen: SocketAddr,
    },
    /// The TUF repository.
    #[error("the trust root of `[tuf]` cannot be used: {reason}")]
    Tuf {
        /// Why.
        reason: String,
    },
    /// The address is taken or not ours.
    #[error("the gateway cannot listen on `{listen}`: {reason}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// The first admin token cannot be handed over.
    #[error("the first admin token cannot be written to `{path}`: {reason}")]
    AdminToken {
        /// Where.
        path: String,
        /// Why.
        reason: String,
    },
}

/// Starts gateways.
pub struct Gateway;

impl Gateway {
    /// Opens the state, writes the first admin token if the state is empty, and begins to answer.
    ///
    /// # Errors
    /// When something that the settings name cannot be used. Nothing listens then.
    pub async fn start(settings: Settings) -> Result<Running, StartError> {
        if settings.exposes_secrets() && !settings.plain_http {
            return Err(StartError::PlainHttp { listen: settings.listen });
        }
        let tls = settings.tls.as_ref().map(|tls| Tls::open(tls, &settings.clients)).transpose()?.map(Arc::new);
        let (app, writing, mut refresher) = assemble(settings)?;
        let unheard = |e: io::Error| StartError::Listen { listen: app.settings.listen, reason: e.to_string() };
        let listener = TcpListener::bind(app.settings.listen).await.map_err(unheard)?;
        let address = listener.local_addr().map_err(unheard)?;
        let admin_token_file = first_token(&app).await?;
        if let Some(refresher) = &mut refresher {
            refresher.begin(&app.rules).await;
        }
        let (stop, stopped) = watch::channel(false);
        let refreshing = refresher.map(|one| tokio::spawn(one.run(Arc::clone(&app.rules), stopped.clone())));
        let server = Server {
            tls,
            max_connections: app.settings.max_connections,
            drain: app.settings.drain,
            send_timeout: app.settings.send_timeout,
            metrics: Arc::clone(&app.metrics),
            router: http::router(app),
        };
        let task = tokio::spawn(server.run(listener, stopped));
        Ok(Running { address, admin_token_file, stop, task, writing, refreshing })
    }
}

/// A gateway that answers. Dropping it stops it without waiting.
pub struct Running {
    address: SocketAddr,
    admin_token_file: Option<PathBuf>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// What writes the log of pulls.
    writing: JoinHandle<()>,
    /// What keeps the trust root fresh.
    refreshing: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens; the port is the real one when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file with the first admin token, when the state was empty at the start.
    #[must_use]
    pub fn admin_token_file(&self) -> Option<&PathBuf> {
        self.admin_token_file.as_ref()
    }

    /// Takes no more connections, lets open requests finish within the configured time, and closes the state.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the server did not end well");
        }
        if let Some(Err(error)) = OptionFuture::from(self.refreshing).await {
            tracing::error!(%error, "refreshing the trust root did not end well");
        }
        // Nothing is pulled any more: what waits is written, and the state closed.
        if let Err(error) = self.writing.await {
            tracing::error!(%error, "the log of pulls did not end well");
        }
    }
}

/// Serves until `shutdown` comes, then drains.
///
/// # Errors
/// When the gateway does not start.
pub async fn serve(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    let running = Gateway::start(settings).await?;
    tracing::info!(address = %running.address(), "the gateway listens");
    if let Some(path) = running.admin_token_file() {
        tracing::info!(file = %path.display(), "the state is new: its first admin token is in this file");
    }
    shutdown.await;
    tracing::info!("the gateway stops: open requests may finish");
    running.stop().await;
    Ok(())
}

/// Opens what the settings name and puts it together.
fn assemble(settings: Settings) -> Result<(App, JoinHandle<()>, Option<Refresher>), StartError> {
    let new = !settings.state.exists();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&settings.state)?);
    let evidence = Arc::new(EvidenceFolder::open(&settings.evidence)?);
    let keyless = settings.signing.make && !settings.signing.key.exists();
    let word = Arc::new(Word::open(&settings.signing, settings.external_url.as_deref())?);
    if keyless && !new {
        tracing::warn!(
            key = %settings.signing.key.display(),
            "a new signing key was made for a state that is not new: what the gateway signed before does not verify with \
             it. Put the old key back when it was not copied along with a backup"
        );
    }
    let federation = Arc::new(Federation::new(&settings.issuers)?);
    let (workers, metrics) = (Workers::default(), Arc::new(Metrics::default()));
    let cache = settings.cache.as_ref().map(|cache| Cache::open(cache, &metrics)).transpose()?;
    let upstreams = Arc::new(Upstreams::with_cache(&settings.upstreams, cache.as_ref())?);
    let refresher = settings.tuf.as_ref().map(|tuf| Refresher::open(tuf, &metrics)).transpose();
    let refresher = refresher.map_err(|reason| StartError::Tuf { reason })?;
    let roots = refresher.as_ref().map_or_else(|| trusted_root(&settings), |refresher| Ok(refresher.roots()))?;
    let rules = Arc::new(Rules::new(Arc::clone(&store), workers.clone(), roots));
    let intake = Intake::new(Arc::clone(&store), Arc::clone(&evidence), Arc::clone(&rules), workers.clone());
    let table = Arc::clone(&upstreams);
    let gate = Gate::new(Parts {
        store: Arc::clone(&store),
        evidence: Arc::clone(&evidence),
        rules: Arc::clone(&rules),
        locate: Arc::new(move |organization, host| table.locate(organization, host)),
        workers: workers.clone(),
        metrics: Arc::clone(&metrics),
        own_keys: Arc::new(word.key_ids()),
        discovery_interval: settings.discovery_interval,
    });
    let (pulls, writing) = Pulls::start(Arc::clone(&store));
    let app = App {
        store,
        evidence,
        gate: Arc::new(gate),
        intake: Arc::new(intake),
        rules,
        upstreams,
        cache,
        word,
        federation,
        workers,
        metrics,
        pulls,
        slots: Arc::new(Slots::default()),
        trust_root: refresher.as_ref().map(Refresher::standing),
        settings: Arc::new(settings),
    };
    Ok((app, writing, refresher))
}

/// The trust root of a file, if one is named.
fn trusted_root(settings: &Settings) -> Result<TrustRoot, StartError> {
    let path = settings.trusted_root.as_ref();
    let unusable = |reason: String| StartError::TrustedRoot {
        path: path.map(|p| p.display().to_string()).unwrap_or_default(),
        reason,
    };
    let root = path.map(fs::read).transpose().map_err(|e| unusable(e.to_string()))?;
    TrustRoot::new(Vec::new(), root.as_deref()).map_err(|e| unusable(e.to_string()))
}

/// Makes the first organization with its operator's token when the state has none. The secret is only ever in
/// the file, which must not have been there.
async fn first_token(app: &App) -> Result<Option<PathBuf>, StartError> {
    if !app.store.is_empty().await? {
        return Ok(None);
    }
    let path = app.settings.admin_token_file.clone();
    let refused = |reason: String| StartError::AdminToken { path: path.display().to_string(), reason };
    let made = Secret::generate().and_then(|secret| Ok((secret, random_id()?)));
    let (secret, id) = made.map_err(|e| refused(e.to_string()))?;
    let now = clock::now();
    let record = TokenRecord {
        id,
        organization: app.settings.organization.clone(),
        name: "operator".to_owned(),
        role: Role::Admin,
        workflow: None,
        operator: true,
        secret: secret.digest(),
        created_at: now,
        revoked_at: None,
        expires_at: None,
        last_used_at: None,
    };
    write_secret(&path, secret).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            refused("it is there already, but the state is empty: move the file away and start again".to_owned())
        }
        _ => refused(error.to_string()),
    })?;
    match app.store.create_organization(&app.settings.organization, record, By::new("first start", now)).await {
        Ok(true) => Ok(Some(path)),
        Ok(false) => {
            drop(fs::remove_file(&path));
            Err(refused("the organization is there, but has no tokens".to_owned()))
        }
        Err(error) => {
            drop(fs::remove_file(&path));
            Err(error.into())
        }
    }
}

fn write_secret(path: &PathBuf, secret: Secret) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{}", secret.reveal())?;
    file.sync_all()?;
    sync_folder(folder.unwrap_or(std::path::Path::new(".")))
}
