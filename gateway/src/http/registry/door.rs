//! Who comes in under `/v2/`, and by which of the gateway's names.

use axum::http::{Extensions, HeaderMap, Uri, header};
use contracts::{Repository, api::Role};

use super::{
    answer::OciError,
    exchange::{Exchange, challenge, is_bearer},
};
use crate::{
    app::App,
    config::HostSettings,
    http::{
        Arrival,
        auth::{self, AuthError, Caller, Proof},
        naming,
    },
    names::Name,
};

/// The name by which a client reached the gateway.
pub(super) struct Place<'a> {
    /// What the configuration says of it.
    host: Option<&'a HostSettings>,
    /// Where the client can reach the gateway again.
    address: Option<String>,
    /// Who the client is by its certificate.
    certified: Option<Caller>,
}

impl<'a> Place<'a> {
    pub(super) fn of(app: &'a App, extensions: &Extensions, uri: &Uri, headers: &HeaderMap) -> Self {
        let settings = &app.settings;
        let Some(arrival) = extensions.get::<Arrival>() else {
            return Self { host: None, address: None, certified: None };
        };
        // Most gateways have no such names.
        let asked = if settings.hosts.is_empty() { None } else { arrival.asked_for(settings, uri, headers) };
        let host = asked.and_then(|name| settings.hosts.iter().find(|host| host.name == name));
        // Under the name of another organization it is nobody, who may pull there where anyone may.
        let of = host.and_then(|host| host.organization.as_ref());
        let certified = auth::certified(extensions).filter(|caller| of.is_none_or(|of| *of == caller.organization));
        Self { host, address: Some(arrival.address(settings, headers)), certified }
    }

    /// The repository that a name means here.
    pub(super) fn repository(&self, app: &App, name: &str, namespace: Option<&str>) -> Result<Repository, OciError> {
        Ok(naming::asked(&app.upstreams, self.host, name, namespace)?)
    }

    /// What a client calls the gateway: `host[:port]`.
    pub(super) fn name(&self) -> Option<&str> {
        self.address.as_deref().map(|address| address.split_once("://").map_or(address, |(_, host)| host))
    }

    fn challenge(&self, name: Option<&str>, why: Option<&str>) -> String {
        challenge(self.address.as_deref(), name, why)
    }
}

/// Who asks for something of the repository of this name (or for nothing but whether they may).
pub(super) async fn caller(
    app: &App,
    exchange: &Exchange,
    place: &Place<'_>,
    headers: &HeaderMap,
    name: Option<&str>,
) -> Result<Caller, OciError> {
    let nobody = |error: AuthError| OciError::from(error).log_in(place.name());
    let proven = match bearer(headers) {
        Some(secret) => match exchange.redeem(secret) {
            None => Err((nobody(AuthError::Unknown), Some("invalid_token"))),
            Some(issued) => match name.filter(|name| !issued.covers(name)) {
                Some(name) => Err((OciError::out_of_scope(name), Some("insufficient_scope"))),
                None => auth::caller(app, &issued.proof).await.map_err(|error| (nobody(error), Some("invalid_token"))),
            },
        },
        None => match (Proof::of(headers), place.host) {
            (Err(AuthError::Missing), _) if place.certified.is_some() => {
                place.certified.clone().ok_or((nobody(AuthError::Missing), None))
            }
            (Err(AuthError::Missing), Some(HostSettings { anonymous_pull: true, organization: Some(of), .. })) => {
                Ok(anonymous(of))
            }
            (Err(error), _) => Err((nobody(error), None)),
            (Ok(proof), _) => auth::caller(app, &proof).await.map_err(|error| (nobody(error), None)),
        },
    };
    let caller = proven.map_err(|(error, why)| error.challenged(|| place.challenge(name, why)))?;
    may_enter(&caller, place)?;
    if caller.may(Role::Pull) { Ok(caller) } else { Err(may_not_pull()) }
}

/// Whether a host is there for the caller's organization.
pub(super) fn may_enter(caller: &Caller, place: &Place<'_>) -> Result<(), OciError> {
    if naming::serves(place.host, &caller.organization) {
        return Ok(());
    }
    Err(OciError::denied("this token is of another organization than the one that is served under this host"))
}

pub(super) fn may_not_pull() -> OciError {
    OciError::denied("this token may not pull: use one with the role `pull`")
}

/// Somebody who pulls without a token, where that is configured.
fn anonymous(organization: &Name) -> Caller {
    Caller {
        organization: organization.clone(),
        role: Role::Pull,
        workflow: None,
        token_id: "anonymous".to_owned(),
        token_name: "anonymous".to_owned(),
        operator: false,
        identity: None,
    }
}

/// The secret of a bearer token that was given out here.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let text = given.next()?.to_str().ok().filter(|_| given.next().is_none())?;
    let (scheme, secret) = text.split_once(' ')?;
    let secret = secret.trim();
    (scheme.eq_ignore_ascii_case("bearer") && is_bearer(secret)).then_some(secret)
}
