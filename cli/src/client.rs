//! The gateway over HTTP.

mod advice;
mod crafting;
mod lists;
mod operators;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use contracts::{
    Digest, Finding, Secret,
    api::{
        AppliedContract, CacheStats, ChangedOrganization, CheckAnswer, CheckRequest, ContractBody, ContractInfo,
        CreatedToken, EndRun, ErrorBody, ExemptionInfo, JudgeImages, JudgedImage, NewEmergency, NewRun, NewToken,
        NewWorkflow, OrganizationSettings, PruneCache, PrunedCache, PullInfo, PulledImage, ReceivedAttestation,
        Replayed, RevisionFiles, RunInfo, StartedRun, TokenInfo, WorkflowInfo,
    },
    bundle,
    exemption::Approvals,
};
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::{Serialize, de::DeserializeOwned};

pub use self::crafting::StateAnswer;
use crate::{ambient::Ambient, settings::Connection};

/// An answer that is not a backup.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Rows that the gateway is asked for at once, at most.
const LISTED: usize = 1000;
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Between two pieces of an answer, and until its first. Longer than a decision may take.
const SILENCE: Duration = Duration::from_secs(60);
/// How long an identity token is shown before another is asked for. The shortest-lived ones live for five minutes.
const IDENTITY_LIFE: Duration = Duration::from_secs(120);

/// Why the gateway gave no answer that helps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The certificates or the token cannot be used.
    #[error("{reason}")]
    Setup {
        /// Why.
        reason: String,
    },
    /// Nothing answered.
    #[error("the gateway at `{gateway}` does not answer: {reason}; {advice}")]
    Unreachable {
        /// Its address.
        gateway: String,
        /// What happened.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// The gateway said no.
    #[error("{message} ({code})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code.
        code: String,
        /// What it said.
        message: String,
        /// The reasons, if it gave several.
        findings: Vec<Finding>,
    },
    /// What answered speaks another language.
    #[error(
        "`{gateway}` answered with HTTP {status}, but not as a Sluice gateway does: something else listens there, or a proxy on \
         the way answered; name the gateway with `export SLUICE_GATEWAY=URL`"
    )]
    Foreign {
        /// The address.
        gateway: String,
        /// The HTTP status.
        status: u16,
    },
    /// A file could not be read or written on the way.
    #[error("`{path}`: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
}

type Answer<T> = Result<T, ClientError>;

/// A gateway, with the right to use it.
pub struct Client {
    http: reqwest::Client,
    gateway: Url,
    token: Option<Secret>,
    ambient: Option<Ambient>,
    audience: String,
    organization: Option<String>,
    /// The identity token that was had last, and when.
    identity: tokio::sync::Mutex<Option<(Secret, Instant)>>,
}

impl Client {
    /// Prepares; sends nothing. Redirects are not followed: the token goes to the address that was given alone.
    pub fn new(connection: Connection) -> Answer<Self> {
        let setup = |reason: String| ClientError::Setup { reason };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIME)
            .read_timeout(SILENCE);
        if let Some(ca) = &connection.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(ca)
                .map_err(|error| setup(format!("the CA file holds no certificates in PEM: {error}")))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|error| setup(format!("TLS cannot be set up: {}", reason(&error))))?;
        let Connection { gateway, token, ambient, audience, organization, .. } = connection;
        let identity = tokio::sync::Mutex::default();
        Ok(Self { http, gateway, token, ambient, audience, organization, identity })
    }

    /// The gateway's address.
    pub fn gateway(&self) -> &Url {
        &self.gateway
    }

    pub async fn apply_contract(&self, name: &str, files: &RevisionFiles, dry_run: bool) -> Answer<AppliedContract> {
        let query: &[_] = if dry_run { &[("dry-run", "true")] } else { &[] };
        self.send_json(Method::PUT, &["contracts", name], query, files).await
    }

    pub async fn replay_contract(&self, name: &str, files: &RevisionFiles, limit: usize) -> Answer<Replayed> {
        let limit = limit.to_string();
        self.send_json(Method::POST, &["contracts", name, "replay"], &[("limit", &limit)], files).await
    }

    pub async fn contracts(&self) -> Answer<Vec<ContractInfo>> {
        self.list(&["contracts"], &[], usize::MAX).await
    }

    pub async fn contract(&self, name: &str, revision: Option<u32>) -> Answer<ContractBody> {
        let revision = revision.map(|number| number.to_string());
        let query: Vec<_> = revision.iter().map(|number| ("revision", number.as_str())).collect();
        self.get(&["contracts", name], &query).await
    }

    pub async fn create_workflow(&self, workflow: &NewWorkflow) -> Answer<WorkflowInfo> {
        self.send_json(Method::POST, &["workflows"], &[], workflow).await
    }

    pub async fn workflows(&self) -> Answer<Vec<WorkflowInfo>> {
        self.list(&["workflows"], &[], usize::MAX).await
    }

    pub async fn workflow(&self, project: &str, name: &str) -> Answer<WorkflowInfo> {
        self.get(&["workflows", project, name], &[]).await
    }

    /// Begins a run; a dry one is answered and not stored.
    pub async fn start_run(&self, run: &NewRun, dry: bool) -> Answer<StartedRun> {
        let query: &[_] = if dry { &[("dry-run", "true")] } else { &[] };
        self.send_json(Method::POST, &["runs"], query, run).await
    }

    /// Says that a run will have no attestation.
    pub async fn end_run(&self, id: &str, end: &EndRun) -> Answer<RunInfo> {
        self.send_json(Method::POST, &["runs", id, "end"], &[], end).await
    }

    /// The newest runs; of one workflow when it is named, `project/workflow`.
    pub async fn runs(&self, workflow: Option<&str>, limit: usize) -> Answer<Vec<RunInfo>> {
        let page = limit.min(LISTED).to_string();
        let workflow = workflow.map(|workflow| ("workflow", workflow));
        let query: Vec<_> = workflow.into_iter().chain([("limit", page.as_str())]).collect();
        self.list(&["runs"], &query, limit).await
    }

    pub async fn run(&self, id: &str) -> Answer<RunInfo> {
        self.get(&["runs", id], &[]).await
    }

    /// The bundle as the gateway wrote it.
    pub async fn provenance(&self, run: &str) -> Answer<Vec<u8>> {
        let answer = self.send(self.request(Method::GET, &["runs", run, "provenance"], &[])?).await?;
        let answer = self.accepted(answer).await?;
        self.read(answer).await
    }

    /// With the gateway's signed word for it, when that is wanted.
    pub async fn check(&self, request: &CheckRequest) -> Answer<CheckAnswer> {
        self.send_json(Method::POST, &["check"], &[], request).await
    }

    /// Whether there is something to say who is asking.
    pub fn has_credentials(&self) -> bool {
        self.token.is_some() || self.ambient.is_some()
    }

    /// Whether the `HEAD` of an image tells its digest although the `GET` is denied; nothing when it is not denied.
    pub async fn tells_what_it_denies(&self, registry: &str, name: &str, reference: &str) -> Answer<Option<bool>> {
        let ask = |method| {
            let mut url = self.gateway.clone();
            url.path_segments_mut()
                .map_err(|()| ClientError::Setup { reason: "the gateway's address cannot have a path".to_owned() })?
                .pop_if_empty()
                .push("v2")
                .extend(name.split('/'))
                .extend(["manifests", reference]);
            url.query_pairs_mut().append_pair("ns", registry);
            Ok(self.http.request(method, url))
        };
        let head = self.send(ask(Method::HEAD)?).await?;
        let get = self.send(ask(Method::GET)?).await?;
        let denied = head.status() == StatusCode::OK && get.status() == StatusCode::FORBIDDEN;
        Ok(denied.then(|| head.headers().contains_key("docker-content-digest")))
    }

    pub async fn organization(&self) -> Answer<OrganizationSettings> {
        self.get(&["organization"], &[]).await
    }

    pub async fn change_organization(&self, settings: &OrganizationSettings) -> Answer<ChangedOrganization> {
        self.send_json(Method::PUT, &["organization"], &[], settings).await
    }

    /// The log of pulls, newest first.
    pub async fn pulls(&self, since: Option<Timestamp>, limit: usize) -> Answer<Vec<PullInfo>> {
        let (since, limit) = (since.map(|since| since.to_string()), limit.to_string());
        let since = since.as_deref().map(|since| ("since", since));
        let query: Vec<_> = since.into_iter().chain([("limit", limit.as_str())]).collect();
        self.get(&["pulls"], &query).await
    }

    /// The images that were let through, each once.
    pub async fn pulled_images(&self, since: Option<Timestamp>) -> Answer<Vec<PulledImage>> {
        let since = since.map(|since| since.to_string());
        let query: Vec<_> = since.iter().map(|since| ("since", since.as_str())).collect();
        self.get(&["pulls", "images"], &query).await
    }

    /// May these be used now.
    pub async fn judge(&self, images: Vec<String>) -> Answer<Vec<JudgedImage>> {
        self.send_json(Method::POST, &["judge"], &[], &JudgeImages { images }).await
    }

    /// The exemption as it was signed.
    pub async fn apply_exemption(&self, name: &str, approvals: &Approvals) -> Answer<ExemptionInfo> {
        self.send_json(Method::PUT, &["exemptions", name], &[], &approvals.to_value()).await
    }

    pub async fn exemptions(&self) -> Answer<Vec<ExemptionInfo>> {
        self.list(&["exemptions"], &[], usize::MAX).await
    }

    pub async fn withdraw_exemption(&self, name: &str) -> Answer<ExemptionInfo> {
        let answer = self.send(self.request(Method::DELETE, &["exemptions", name], &[])?).await?;
        let answer = self.accepted(answer).await?;
        self.read_json(answer).await
    }

    /// Lets a run's images through for a while, where the contract says that the caller may.
    pub async fn declare_emergency(&self, emergency: &NewEmergency) -> Answer<ExemptionInfo> {
        self.send_json(Method::POST, &["exemptions", "emergency"], &[], emergency).await
    }

    pub async fn cache(&self) -> Answer<CacheStats> {
        self.get(&["cache"], &[]).await
    }

    pub async fn prune_cache(&self, prune: &PruneCache) -> Answer<PrunedCache> {
        self.send_json(Method::POST, &["cache", "prune"], &[], prune).await
    }

    pub async fn create_token(&self, token: &NewToken) -> Answer<CreatedToken> {
        self.send_json(Method::POST, &["tokens"], &[], token).await
    }

    pub async fn tokens(&self) -> Answer<Vec<TokenInfo>> {
        self.list(&["tokens"], &[], usize::MAX).await
    }

    pub async fn revoke_token(&self, id: &str) -> Answer<()> {
        let answer = self.send(self.request(Method::DELETE, &["tokens", id], &[])?).await?;
        self.accepted(answer).await.map(drop)
    }

    /// Pushes a bundle. The answer is whether its contract is satisfied; a refusal to look at it is an error.
    pub async fn push_attestation(
        &self,
        project: &str,
        workflow: &str,
        bundle: Vec<u8>,
    ) -> Answer<ReceivedAttestation> {
        let request = self
            .request(Method::POST, &["attestations"], &[("project", project), ("workflow", workflow)])?
            .header(header::CONTENT_TYPE, bundle::MEDIA_TYPE)
            .body(bundle);
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::UNPROCESSABLE_ENTITY {
            let answer = self.accepted(answer).await?;
            return self.read_json(answer).await;
        }
        let status = answer.status();
        let bytes = self.read(answer).await?;
        serde_json::from_slice(&bytes).map_err(|_| self.refusal(status, &bytes))
    }

    /// The bytes of an attestation that was received.
    pub async fn attestation(&self, id: &Digest) -> Answer<Vec<u8>> {
        let id = id.to_string();
        let answer = self.send(self.request(Method::GET, &["attestations", &id], &[])?).await?;
        let answer = self.accepted(answer).await?;
        self.read(answer).await
    }

    /// Copies the gateway's state to a new file, which appears only when it is whole.
    pub async fn backup(&self, path: &Path) -> Answer<u64> {
        let answer = self.send(self.request(Method::GET, &["backup"], &[])?).await?;
        let mut answer = self.accepted(answer).await?;
        // The kind alone: the rest of the message names a file that is nobody's business.
        let failed = |error: std::io::Error| ClientError::File {
            path: path.display().to_string(),
            reason: match error.kind() {
                std::io::ErrorKind::AlreadyExists => "is there already: name another file".to_owned(),
                kind => format!("cannot be written: {kind}"),
            },
        };
        let mut file = tempfile::NamedTempFile::new_in(crate::files::folder_of(path)).map_err(failed)?;
        let mut length = 0;
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            std::io::Write::write_all(&mut file, &piece).map_err(failed)?;
            length += piece.len() as u64;
        }
        file.as_file().sync_all().map_err(failed)?;
        file.persist_noclobber(path).map_err(|error| failed(error.error))?;
        Ok(length)
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Answer<T> {
        let answer = self.send(self.request(Method::GET, path, query)?).await?;
        let answer = self.accepted(answer).await?;
        self.read_json(answer).await
    }

    async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Answer<T> {
        let answer = self.send(self.request(method, path, query)?.json(body)).await?;
        let answer = self.accepted(answer).await?;
        self.read_json(answer).await
    }

    /// `path` is below `/api/v1`; every part is escaped.
    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Answer<RequestBuilder> {
        let mut url = self.gateway.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::Setup { reason: "the gateway's address cannot have a path".to_owned() })?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.http.request(method, url))
    }

    /// With the token, else with an identity token.
    async fn credentials(&self, request: RequestBuilder) -> Answer<RequestBuilder> {
        let Some(ambient) = &self.ambient else {
            return Ok(match &self.token {
                Some(token) => request.bearer_auth(token.reveal()),
                None => request,
            });
        };
        let mut known = self.identity.lock().await;
        let token = match &*known {
            Some((token, at)) if at.elapsed() < IDENTITY_LIFE => token.clone(),
            _ => {
                let asked = ambient.token(&self.audience).await;
                let token = asked.map_err(|error| ClientError::Setup { reason: format!("{error:#}") })?;
                known.insert((token, Instant::now())).0.clone()
            }
        };
        let request = request.bearer_auth(token.reveal());
        Ok(match &self.organization {
            Some(organization) => request.header("sluice-organization", organization),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Answer<Response> {
        let request = self.credentials(request).await?;
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// The answer when it is a success, else what the gateway said.
    async fn accepted(&self, answer: Response) -> Answer<Response> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let bytes = self.read(answer).await?;
        Err(self.refusal(status, &bytes))
    }

    async fn read(&self, mut answer: Response) -> Answer<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > ANSWER_BYTES {
                return Err(self.foreign(&answer));
            }
        }
        Ok(bytes)
    }

    async fn read_json<T: DeserializeOwned>(&self, answer: Response) -> Answer<T> {
        let status = answer.status();
        let bytes = self.read(answer).await?;
        serde_json::from_slice(&bytes)
            .map_err(|_| ClientError::Foreign { gateway: self.gateway.to_string(), status: status.as_u16() })
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<ErrorBody>(body) {
            // What is wrong with an identity token the gateway knows better.
            Ok(body)
                if matches!(body.error.code.as_str(), "token-missing" | "token-unknown")
                    && status == StatusCode::UNAUTHORIZED
                    && self.ambient.is_none() =>
            {
                ClientError::Refused {
                    status: status.as_u16(),
                    code: body.error.code,
                    message: self.unknown_caller(),
                    findings: body.error.findings,
                }
            }
            Ok(body) => ClientError::Refused {
                status: status.as_u16(),
                code: body.error.code,
                message: body.error.message,
                findings: body.error.findings,
            },
            Err(_) => ClientError::Foreign { gateway: self.gateway.to_string(), status: status.as_u16() },
        }
    }

    /// What to do about a token that is missing or not taken.
    fn unknown_caller(&self) -> String {
        let what =
            if self.token.is_some() { "does not take this token: it is mistyped or revoked" } else { "wants a token" };
        // Where a gateway of this folder has left its first one.
        let file = ["admin.token", "state/admin-token"].into_iter().find(|file| Path::new(file).is_file());
        format!(
            "the gateway at `{}` {what}; type `export SLUICE_TOKEN_FILE={}`, or put it into SLUICE_TOKEN, or name its file \
             with --token-file",
            self.gateway,
            file.unwrap_or("FILE")
        )
    }

    fn foreign(&self, answer: &Response) -> ClientError {
        ClientError::Foreign { gateway: self.gateway.to_string(), status: answer.status().as_u16() }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let reason = reason(error);
        let advice = advice::of(&self.gateway, &reason);
        ClientError::Unreachable { gateway: self.gateway.to_string(), reason, advice }
    }
}

/// The innermost cause: it says what happened, where the outer ones say that something did.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
