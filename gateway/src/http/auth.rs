//! Who is asking. One function from request headers to a [`Caller`], used by the API and the registry alike.
//!
//! A caller comes with a token of the gateway's own, or with an identity token of a provider's that a rule of the
//! organization lets in ([`crate::federation`]). Both go in the same header. Who brings neither may be known by the
//! certificate of the connection (`[[clients]]`).

use std::sync::Arc;

use axum::http::{Extensions, HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{Digest, RunnerIdentity, api::Role, limits, verify::token::Token};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Arrival, clock};
use crate::{
    app::App,
    federation::{Admitted, FederationError},
    names::{Name, WorkflowName},
    store::{By, StoreError, TokenRecord},
};

/// What every token's secret begins with, so that leaked ones can be found by scanners.
pub const SECRET_PREFIX: &str = "sluice_";
/// No secret is longer; longer headers are refused before anything is hashed.
const SECRET_BYTES: usize = 256;
/// Characters of a subject that name a caller in logs.
const SUBJECT: usize = 200;
/// Names the organization that a caller with an identity token means.
const ORGANIZATION: &str = "sluice-organization";
/// So does a user name that begins so, for clients that send no header of ours.
const ORGANIZATION_USER: &str = "organization/";

/// A request with a valid token, or from a client that needs none. Only this module makes one, and the registry for anonymous pulls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The organization that the token belongs to. Everything the request does happens within it.
    pub organization: Name,
    /// What the token may do.
    pub role: Role,
    /// The only workflow that it may act on, when it is bound to one.
    pub workflow: Option<WorkflowName>,
    /// Names the token in logs.
    pub token_id: String,
    /// What the token is called, which whoever made it chose.
    pub token_name: String,
    /// May make organizations and take backups.
    pub operator: bool,
    /// Who it was proven to be, when it came with an identity token.
    pub identity: Option<Arc<RunnerIdentity>>,
}

impl Caller {
    /// Whether the token's role includes this one.
    #[must_use]
    pub fn may(&self, role: Role) -> bool {
        match (self.role, role) {
            (Role::Admin, _) | (_, Role::Read) => true,
            (has, needs) => has == needs,
        }
    }

    /// As the audit log names the caller.
    #[must_use]
    pub fn by(&self, now: Timestamp) -> By {
        By::new(&self.token_id, now)
    }

    /// Whether the token may act on this workflow: it is bound to it, or to none.
    #[must_use]
    pub fn may_act_on(&self, workflow: &WorkflowName) -> bool {
        self.workflow.as_ref().is_none_or(|bound| bound == workflow)
    }
}

/// Why nobody can be told from a request.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No credentials.
    #[error("this needs a token: send it as `Authorization: Bearer …`")]
    Missing,
    /// Credentials that cannot be read.
    #[error(
        "the `Authorization` header cannot be read: send `Bearer` and a token, or `Basic` with the token as password"
    )]
    Malformed,
    /// A secret that belongs to no token, or to a revoked one.
    #[error("the token is not known here, or was revoked")]
    Unknown,
    /// A token that has ended by itself.
    #[error("the token expired at {at}: have an admin make another one with `sluice token create`")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// An identity token that lets nobody in.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The tokens cannot be read now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What somebody proves with who they are. A secret is not kept, only what it is known by.
#[derive(Clone)]
pub(crate) enum Proof {
    /// The digest of a token's secret.
    Token(Digest),
    /// An identity token of a provider's, and the organization that its bearer means.
    Identity(Zeroizing<String>, Option<Name>),
}

impl Proof {
    /// Reads `Authorization: Bearer SECRET`, or `Basic` with the secret as password and any user name, as registry
    /// clients send it.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, AuthError> {
        let Credentials { secret, user } = credentials(headers)?;
        if !Token::is_shaped(&secret) {
            return Self::of_secret(&secret);
        }
        let mut named = headers.get_all(ORGANIZATION).iter();
        let header = match (named.next(), named.next()) {
            (None, _) => None,
            (Some(name), None) => Some(name.to_str().map_err(|_| AuthError::Malformed)?),
            (Some(_), Some(_)) => return Err(AuthError::Malformed),
        };
        let name = match (header, user.strip_prefix(ORGANIZATION_USER)) {
            (Some(one), Some(other)) if one != other => return Err(AuthError::Malformed),
            (one, other) => one.or(other),
        };
        let organization: Option<Name> = name.map(|name| name.parse().map_err(|_| AuthError::Malformed)).transpose()?;
        Ok(Self::Identity(secret.into(), organization))
    }

    /// A token or an identity token that came with a user's name, which may tell the organization.
    pub(crate) fn of_login(user: &str, secret: &str) -> Result<Self, AuthError> {
        match Self::of_secret(secret)? {
            Self::Identity(token, _) => {
                let named = user.strip_prefix(ORGANIZATION_USER).map(str::parse::<Name>).transpose();
                Ok(Self::Identity(token, named.map_err(|_| AuthError::Malformed)?))
            }
            token @ Self::Token(_) => Ok(token),
        }
    }

    fn of_secret(secret: &str) -> Result<Self, AuthError> {
        let identity = Token::is_shaped(secret);
        let most = if identity { limits::IDENTITY_TOKEN_BYTES } else { SECRET_BYTES };
        match secret.len() {
            0 => Err(AuthError::Malformed),
            length if length > most => Err(AuthError::Malformed),
            _ if identity => Ok(Self::Identity(secret.to_owned().into(), None)),
            // Found by the digest of what was sent: the time this takes tells nothing about any stored secret.
            _ => Ok(Self::Token(Digest::of(secret.as_bytes()))),
        }
    }

    /// How much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Token(_) => 64,
            Self::Identity(token, _) => 128 + token.len(),
        }
    }
}

/// Tells who is asking, from the `Authorization` header.
///
/// # Errors
/// When there is no such token. Whether a secret was never given out or was revoked is not told.
pub async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, AuthError> {
    caller(app, &Proof::of(headers)?).await
}

/// The same of a request as it arrived: where it brings no token, its client may be known by its certificate.
///
/// # Errors
/// As there.
pub async fn authenticate_arrived(
    app: &App,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Caller, AuthError> {
    match authenticate(app, headers).await {
        Err(AuthError::Missing) => certified(extensions).ok_or(AuthError::Missing),
        other => other,
    }
}

/// The caller that a client's certificate tells by `[[clients]]`: one who may pull.
pub(crate) fn certified(extensions: &Extensions) -> Option<Caller> {
    let client = extensions.get::<Arrival>()?.client.as_deref()?;
    // Begins as no token's id does, and no identity's.
    let name = format!("certificate:{}", client.certificate);
    Some(Caller {
        organization: client.organization.clone(),
        role: Role::Pull,
        workflow: None,
        token_id: name.clone(),
        token_name: name,
        operator: false,
        identity: None,
    })
}

/// Tells whose proof it is now.
pub(crate) async fn caller(app: &App, proof: &Proof) -> Result<Caller, AuthError> {
    let secret = match proof {
        Proof::Identity(token, organization) => return federated(app, organization.as_ref(), token).await,
        Proof::Token(secret) => *secret,
    };
    match app.store.token_by_secret(secret).await? {
        Some(token) if token.revoked_at.is_none() => {
            let now = clock::now();
            if let Some(at) = token.expires_at.filter(|_| token.expired(now)) {
                return Err(AuthError::Expired { at });
            }
            app.store.token_used(&token, now);
            let TokenRecord { organization, role, workflow, id, name, operator, .. } = token;
            Ok(Caller { organization, role, workflow, token_id: id, token_name: name, operator, identity: None })
        }
        _ => Err(AuthError::Unknown),
    }
}

async fn federated(app: &App, organization: Option<&Name>, token: &str) -> Result<Caller, AuthError> {
    let identified = app.federation.identify(&*app.store, token, organization, clock::now()).await;
    let Admitted { organization, role, workflow, identity } = identified.inspect_err(|error| {
        // It may repeat what a stranger wrote.
        let reason: String = error.to_string().chars().filter(|c| !c.is_control()).collect();
        tracing::info!(%reason, "an identity token lets nobody in");
    })?;
    // Subjects are of their issuer: two servers have the same ones.
    let token_id = format!("{}:{}:{}", identity.provider, shown(host(&identity.issuer)), shown(&identity.subject));
    // Begins with the provider, so it is nobody's name who has a token of the gateway's.
    let token_name = token_id.clone();
    let identity = Some(Arc::new(identity));
    Ok(Caller { organization, role, workflow, token_id, token_name, operator: false, identity })
}

/// An issuer without its scheme.
fn host(issuer: &str) -> &str {
    issuer.split_once("://").map_or(issuer, |(_, rest)| rest)
}

/// A text of a stranger's, harmless and not too long.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SUBJECT).collect()
}

/// What a request came with.
struct Credentials {
    secret: String,
    /// Empty where there is none.
    user: String,
}

fn credentials(headers: &HeaderMap) -> Result<Credentials, AuthError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let value = given.next().ok_or(AuthError::Missing)?;
    if given.next().is_some() {
        return Err(AuthError::Malformed);
    }
    let value = value.to_str().map_err(|_| AuthError::Malformed)?;
    if value.len() > 2 * limits::IDENTITY_TOKEN_BYTES {
        return Err(AuthError::Malformed);
    }
    let (scheme, rest) = value.split_once(' ').ok_or(AuthError::Malformed)?;
    let (user, secret) = if scheme.eq_ignore_ascii_case("bearer") {
        (String::new(), rest.trim().to_owned())
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = STANDARD.decode(rest.trim()).map_err(|_| AuthError::Malformed)?;
        let text = String::from_utf8(decoded).map_err(|_| AuthError::Malformed)?;
        let (user, secret) = text.split_once(':').ok_or(AuthError::Malformed)?;
        (user.to_owned(), secret.to_owned())
    } else {
        return Err(AuthError::Malformed);
    };
    let most = if Token::is_shaped(&secret) { limits::IDENTITY_TOKEN_BYTES } else { SECRET_BYTES };
    if secret.is_empty() || secret.len() > most { Err(AuthError::Malformed) } else { Ok(Credentials { secret, user }) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        credentials(&headers).ok().map(|given| given.secret)
    }

    #[test]
    fn reads_bearer_and_the_password_of_basic_and_nothing_ambiguous() {
        let basic = format!("Basic {}", STANDARD.encode("anyone:sluice_1"));
        assert_eq!(read(&["Bearer sluice_1"]).as_deref(), Some("sluice_1"));
        assert_eq!(read(&["bearer  sluice_1 "]).as_deref(), Some("sluice_1"));
        assert_eq!(read(&[&basic]).as_deref(), Some("sluice_1"));
        let long = format!("Bearer {}", "x".repeat(SECRET_BYTES + 1));
        for bad in
            [&[][..], &["Bearer"], &["Bearer "], &["Basic x"], &["Digest x"], &["Bearer a", "Bearer a"], &[&long]]
        {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn push_and_pull_do_not_include_each_other() {
        use Role::{Admin, Pull, Push, Read};
        for (has, may) in
            [(Admin, &[Admin, Push, Pull, Read][..]), (Push, &[Push, Read]), (Pull, &[Pull, Read]), (Read, &[Read])]
        {
            let caller = Caller {
                organization: "acme".parse().unwrap(),
                role: has,
                workflow: None,
                token_id: String::new(),
                token_name: String::new(),
                operator: false,
                identity: None,
            };
            for needs in [Admin, Push, Pull, Read] {
                assert_eq!(caller.may(needs), may.contains(&needs), "{has:?} {needs:?}");
            }
        }
    }
}
