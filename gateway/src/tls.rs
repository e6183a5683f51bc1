//! TLS by files: the certificate, its key, and whose certificates clients must have. The files are read again when they
//! change; what cannot be used is told and left, and what was used before stays.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use contracts::{Digest, Hasher};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        crypto::CryptoProvider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};
use webpki::EndEntityCert;

use crate::config::{ClientSettings, TlsSettings};

/// How often the files are looked at. They are small, and links to them may be exchanged: their contents are compared.
const LOOK: Duration = Duration::from_secs(2);
/// A file of certificates.
const FILE_BYTES: u64 = 1024 * 1024;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("the TLS file `{path}` cannot be used: {reason}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The certificate and the key do not go together.
    #[error("the TLS certificate and key cannot be used: {reason}")]
    Pair {
        /// Why.
        reason: String,
    },
}

/// The files, and what was made of them last.
pub(crate) struct Tls {
    settings: TlsSettings,
    clients: Vec<Arc<ClientSettings>>,
    current: RwLock<Arc<ServerConfig>>,
    /// The digest of the files as they were first.
    first: Digest,
}

/// What the files held.
struct Files {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read or holds something else, or they do not belong together.
    pub(crate) fn open(settings: &TlsSettings, clients: &[ClientSettings]) -> Result<Self, TlsError> {
        let files = Files::read(settings)?;
        let current = RwLock::new(config(settings, &files)?);
        let clients = clients.iter().cloned().map(Arc::new).collect();
        Ok(Self { settings: settings.clone(), clients, current, first: files.digest() })
    }

    /// What speaks TLS to the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Which client a verified chain of certificates tells, among those that need no token. None when it has the names
    /// of several: it is not guessed for which of them it speaks.
    pub(crate) fn client(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<Arc<ClientSettings>> {
        let certificate = EndEntityCert::try_from(chain?.first()?).ok()?;
        let told = |client: &&Arc<ClientSettings>| match client.is_uri() {
            true => certificate.valid_uri_names().any(|uri| uri == client.certificate),
            false => certificate.valid_dns_names().any(|name| name.eq_ignore_ascii_case(&client.certificate)),
        };
        let mut all = self.clients.iter().filter(told);
        match (all.next(), all.next()) {
            (Some(one), None) => Some(Arc::clone(one)),
            (None, _) => None,
            (Some(_), Some(_)) => {
                tracing::warn!("a client's certificate has the names of several of `[[clients]]`: it needs a token");
                None
            }
        }
    }

    /// Looks at the files until it is dropped. Connections that are open stay as they are.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut tried = self.first;
        loop {
            let this = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || this.look(tried)).await;
            tried = looked.unwrap_or(tried);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes the files up when they are others than at the last try. Returns what this try was of.
    fn look(&self, tried: Digest) -> Digest {
        let files = Files::read(&self.settings);
        let state = match &files {
            Ok(files) => files.digest(),
            Err(error) => Digest::of(error.to_string().as_bytes()),
        };
        if tried == state {
            return tried;
        }
        match files.and_then(|files| config(&self.settings, &files)) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                tracing::info!(certificate = %self.settings.certificate.display(), "the TLS files changed and are used");
            }
            Err(error) => {
                tracing::error!(%error, "the TLS files changed and cannot be used: those from before stay in use");
            }
        }
        state
    }
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: bytes(&settings.certificate)?,
            key: bytes(&settings.key)?.into(),
            client_ca: settings.client_ca.as_deref().map(bytes).transpose()?,
        })
    }

    fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        for bytes in [&self.certificate, &*self.key, self.client_ca.as_ref().unwrap_or(&Vec::new())] {
            hasher.update_framed(bytes);
        }
        hasher.finish()
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unusable = |reason: String| TlsError::File { path: path.display().to_string(), reason };
    let length = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
    if length > FILE_BYTES {
        return Err(unusable(format!("it is longer than {FILE_BYTES} bytes")));
    }
    std::fs::read(path).map_err(|error| unusable(error.to_string()))
}

fn config(settings: &TlsSettings, files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pair = |e: rustls::Error| TlsError::Pair { reason: e.to_string() };
    let chain = certificates(&settings.certificate, &files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|e| TlsError::File { path: settings.key.display().to_string(), reason: e.to_string() })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match (&settings.client_ca, &files.client_ca) {
        (Some(path), Some(bytes)) => builder.with_client_cert_verifier(clients(path, bytes, provider)?),
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Asks every client for a certificate of one of these authorities.
fn clients(path: &Path, pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |reason: String| TlsError::File { path: path.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, pem)? {
        roots.add(authority).map_err(|error| unusable(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map_err(|error| unusable(error.to_string()))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |reason: String| TlsError::File { path: path.display().to_string(), reason };
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| unusable(error.to_string()))?;
    if all.is_empty() {
        return Err(unusable("it holds no certificate in PEM".to_owned()));
    }
    Ok(all)
}
