//! Callers without a token of ours: a job of a pipeline shows the identity token that its provider gave it.
//!
//! The operator's settings are a closed table of issuers; what is not in it is never asked anything, whatever a token
//! says. An organization's rules say which claims of which issuer give which role. [`Admitted`] is made here alone, of
//! `Verified<Claims>` that one of these rules asks for; its [`RunnerIdentity`] is what later stands in evidence.
//!
//! An issuer that cannot be asked is no answer: the request fails as could-not-tell, and nobody is let in.

mod issuer;
mod keys;
mod settings;

use std::{collections::BTreeMap, sync::Arc};

use contracts::{
    Provider, RunnerIdentity,
    api::Role,
    identity::FederationRule,
    verify::token::{Expectations, Token, TokenError},
};
use jiff::Timestamp;

use self::issuer::Issuer;
pub use self::{
    issuer::IssuerUnavailable,
    settings::{IssuerSettings, IssuerSettingsError},
};
use crate::{
    names::{Name, WorkflowName},
    store::{Store, StoreError},
};

/// The issuers that identity tokens may come from.
pub struct Federation {
    issuers: BTreeMap<String, Arc<Issuer>>,
}

/// A caller whose identity was proven and whom an organization's rule lets in.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The organization whose rule it is.
    pub organization: Name,
    /// What the caller may do.
    pub role: Role,
    /// The only workflow that it may act on.
    pub workflow: Option<WorkflowName>,
    /// Who it was proven to be.
    pub identity: RunnerIdentity,
}

/// Why an identity token lets nobody in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FederationError {
    /// It proves nothing.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Its issuer is not in the table, or no organization has a rule for it.
    #[error(
        "identity tokens by `{issuer}` are not taken here: the gateway's settings must list it under `issuers`, and a federation rule of the organization must name it"
    )]
    Issuer {
        /// Who, shortened.
        issuer: String,
    },
    /// It is genuine, and no rule asks for what it says.
    #[error("no federation rule lets in `{subject}`{said}: an admin of the organization can add one")]
    NotAllowed {
        /// Whom the token speaks of.
        subject: String,
        /// What else it says that rules usually ask for.
        said: String,
    },
    /// It does not say which of several organizations is meant.
    #[error(
        "there is more than one organization here: name the one that is meant in the header `sluice-organization` (`SLUICE_ORGANIZATION` for the command line, the user name `organization/NAME` for registry clients)"
    )]
    Unnamed,
    /// The issuer's keys cannot be told now.
    #[error(transparent)]
    Unavailable(#[from] IssuerUnavailable),
    /// The rules cannot be read now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Federation {
    /// The issuers of the settings. Nothing is asked yet.
    ///
    /// # Errors
    /// When one cannot be used, or is named twice.
    pub fn new(settings: &[IssuerSettings]) -> Result<Self, IssuerSettingsError> {
        let mut issuers = BTreeMap::new();
        for one in settings {
            if issuers.insert(one.issuer.clone(), Arc::new(Issuer::new(one)?)).is_some() {
                return Err(one.invalid("it is listed twice"));
            }
        }
        Ok(Self { issuers })
    }

    /// What an issuer's claims mean, when this organization may use it.
    #[must_use]
    pub fn provider(&self, organization: &Name, issuer: &str) -> Option<Provider> {
        self.issuers.get(issuer).filter(|issuer| issuer.serves(organization)).map(|issuer| issuer.provider)
    }

    /// Tells who comes with an identity token, and what they may do, by the rules of one organization: the one that is
    /// named, else the only one that the issuer is for, else the only one that there is. Never by those of whoever has a
    /// rule that fits: anybody can write one that names somebody else's repository, and would be given what that
    /// repository's pipelines push.
    ///
    /// # Errors
    /// When nobody is let in, or it cannot be told now.
    pub async fn identify(
        &self,
        store: &dyn Store,
        text: &str,
        organization: Option<&Name>,
        now: Timestamp,
    ) -> Result<Admitted, FederationError> {
        let token = Token::parse(text)?;
        let unknown = || FederationError::Issuer { issuer: token.issuer().chars().take(200).collect() };
        let issuer = self.issuers.get(token.issuer()).ok_or_else(unknown)?;
        let organization = match organization.or_else(|| issuer.only()) {
            Some(organization) => organization.clone(),
            None => store.only_organization().await?.ok_or(FederationError::Unnamed)?,
        };
        if !issuer.serves(&organization) {
            return Err(unknown());
        }
        // Rules are checked before they are stored. Those of an older version, which would not be taken now, let in
        // nobody.
        let usable = |rule: &FederationRule| rule.issuer == token.issuer() && rule.check(issuer.provider).is_ok();
        let rules: Vec<FederationRule> =
            store.settings(&organization).await?.federation.into_iter().filter(usable).collect();
        if rules.is_empty() {
            return Err(unknown());
        }
        let keys = issuer.keys(token.key()).await?;
        let audiences: Vec<&str> = rules.iter().map(|rule| rule.audience.as_str()).collect();
        let expected = Expectations { issuer: issuer.name(), audiences: &audiences };
        let claims = token.verify(&keys, &expected, now)?;
        let identity = RunnerIdentity::of_token(issuer.provider, &claims);
        let Some(rule) = rules.iter().find(|rule| rule.admits(&claims)) else { return Err(not_allowed(&identity)) };
        let workflow = rule.workflow.as_ref().map(|name| name.parse::<WorkflowName>()).transpose();
        let Ok(workflow) = workflow else { return Err(not_allowed(&identity)) };
        Ok(Admitted { organization, role: rule.role, workflow, identity })
    }
}

fn not_allowed(identity: &RunnerIdentity) -> FederationError {
    let said = [
        ("repository", &identity.repository),
        ("ref", &identity.git_ref),
        ("workflow", &identity.workflow),
        ("environment", &identity.environment),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some(format!(", {name} `{}`", value.as_ref()?)));
    FederationError::NotAllowed { subject: identity.subject.clone(), said: said.collect() }
}
