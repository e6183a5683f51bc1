//! What an organization says about who may come without a token of the gateway's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Provider;
use crate::{api::Role, limits, verify::token::Claims};

/// Lets in who comes with an identity token by this issuer, for this audience, that says all of these claims. One of
/// `federation` in the organization's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationRule {
    /// Who makes the tokens; must be among the issuers that the gateway's operator lets in.
    pub issuer: String,
    /// For whom the token must have been made. The gateway's own address is a good one.
    pub audience: String,
    /// What the token must say, each claim exactly, or exactly one of a list. Never empty.
    pub claims: BTreeMap<String, ClaimValues>,
    /// The only workflow that the caller may then act on, `project/workflow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// What the caller may then do.
    pub role: Role,
}

/// What a claim may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClaimValues {
    /// This.
    One(ClaimValue),
    /// Any of these.
    Any(Vec<ClaimValue>),
}

/// A value of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClaimValue {
    /// A text.
    Text(String),
    /// True or false.
    Flag(bool),
    /// A whole number.
    Number(i64),
}

impl ClaimValue {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Flag(flag) => value.as_bool() == Some(*flag),
            Self::Number(number) => value.as_i64() == Some(*number),
        }
    }
}

impl ClaimValues {
    /// The values, any of which is enough.
    #[must_use]
    pub fn any(&self) -> &[ClaimValue] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Any(values) => values,
        }
    }
}

impl FederationRule {
    /// Whether verified claims are those that the rule asks for. The audience is among them: a token for another one
    /// that the organization knows is not for this rule.
    #[must_use]
    pub fn admits(&self, claims: &Claims) -> bool {
        let says = |(name, values): (&String, &ClaimValues)| {
            claims.claim(name).is_some_and(|value| values.any().iter().any(|one| one.is(value)))
        };
        claims.issuer == self.issuer
            && claims.audiences().any(|audience| audience == self.audience)
            && !self.claims.is_empty()
            && self.claims.iter().all(says)
    }

    /// Whether the rule lets in those that its author can have meant, and nobody else.
    ///
    /// # Errors
    /// When it would let in strangers, or nobody.
    pub fn check(&self, provider: Provider) -> Result<(), FederationRuleError> {
        for (field, text) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if text.trim().is_empty() {
                return Err(FederationRuleError::Empty { field: field.to_owned() });
            }
        }
        if self.claims.len() > limits::FEDERATION_CLAIMS {
            return Err(FederationRuleError::TooMany { max: limits::FEDERATION_CLAIMS });
        }
        for (name, values) in &self.claims {
            if EVERY_TOKEN_HAS.contains(&name.as_str()) {
                return Err(FederationRuleError::NotTelling { claim: name.clone() });
            }
            let values = values.any();
            if values.len() > limits::FEDERATION_CLAIMS {
                return Err(FederationRuleError::TooMany { max: limits::FEDERATION_CLAIMS });
            }
            if values.is_empty() || values.iter().any(|one| *one == ClaimValue::Text(String::new())) {
                return Err(FederationRuleError::Empty { field: format!("claims.{name}") });
            }
            if let Some(ClaimValue::Text(text)) =
                values.iter().find(|one| matches!(one, ClaimValue::Text(text) if text.contains('*')))
            {
                return Err(FederationRuleError::Pattern { claim: name.clone(), text: text.clone() });
            }
        }
        let wanted = whose(provider);
        let tells = |(name, values): (&String, &ClaimValues)| {
            wanted.contains(&name.as_str())
                && (name != "sub" || values.any().iter().all(|one| names_whose(provider, one)))
        };
        let told = if wanted.is_empty() { !self.claims.is_empty() } else { self.claims.iter().any(tells) };
        if !told && !wanted.is_empty() && self.claims.contains_key("sub") {
            return Err(FederationRuleError::Subject { issuer: self.issuer.clone() });
        }
        if !told {
            let wanted = if wanted.is_empty() { "sub".to_owned() } else { wanted.join("`, `") };
            return Err(FederationRuleError::Anybody { issuer: self.issuer.clone(), wanted });
        }
        if self.workflow.is_some() && matches!(self.role, Role::Admin | Role::Pull) {
            return Err(FederationRuleError::Bound);
        }
        Ok(())
    }
}

/// Claims that say nothing about who is calling.
const EVERY_TOKEN_HAS: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// The claims of a provider that say whose pipeline it is; at least one of them must be asked for. A reusable workflow
/// (`job_workflow_ref`) or a shared definition (`ci_config_ref_uri`) can be called by strangers, a branch's name is
/// everybody's, and who started a pipeline (`user_login`, `actor`) may have done so in a stranger's project. With none
/// here, any claim is taken to tell: whom the issuer serves is not known.
fn whose(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Github => &[
            "repository",
            "repository_id",
            "repository_owner",
            "repository_owner_id",
            "workflow_ref",
            "enterprise",
            "enterprise_id",
            "sub",
        ],
        Provider::Gitlab => &["project_path", "project_id", "namespace_path", "namespace_id", "sub"],
        Provider::Buildkite => &["organization_slug", "organization_id", "pipeline_id", "sub"],
        Provider::Circleci => &["oidc.circleci.com/project-id", "oidc.circleci.com/vcs-origin", "sub"],
        Provider::Google => &["email", "sub", "azp", "/google/compute_engine/project_id"],
        Provider::Other => &[],
    }
}

/// Whether a `sub` says whose pipeline it is. GitHub and GitLab let each customer choose what theirs is made of: one that
/// begins with the environment, say, is the same for everybody who has such an environment.
fn names_whose(provider: Provider, value: &ClaimValue) -> bool {
    let begins: &[&str] = match provider {
        Provider::Github => &[
            "repo:",
            "repository:",
            "repository_id:",
            "repository_owner:",
            "repository_owner_id:",
            "enterprise:",
            "enterprise_id:",
            "workflow_ref:",
        ],
        Provider::Gitlab => &["project_path:", "project_id:", "namespace_path:", "namespace_id:"],
        Provider::Buildkite | Provider::Circleci | Provider::Google | Provider::Other => return true,
    };
    let ClaimValue::Text(text) = value else { return false };
    begins.iter().any(|begin| text.strip_prefix(begin).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(':')))
}

/// Why a rule lets in strangers, or nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FederationRuleError {
    /// Whoever the issuer serves could come.
    #[error(
        "it would let in anybody whom `{issuer}` serves: say under `claims` whose pipeline it is, with one of `{wanted}`"
    )]
    Anybody {
        /// The issuer.
        issuer: String,
        /// Claims that tell.
        wanted: String,
    },
    /// Of whom it speaks does not begin with whose pipeline it is.
    #[error(
        "customers of `{issuer}` choose what their `sub` is made of, so one counts only when it begins with whose pipeline it is (`repo:acme/app` of GitHub, `project_path:acme/app` of GitLab): write such a one, or another claim that says it"
    )]
    Subject {
        /// The issuer.
        issuer: String,
    },
    /// Nothing to compare with.
    #[error("`{field}` is empty")]
    Empty {
        /// Which.
        field: String,
    },
    /// It would never match what its author meant.
    #[error(
        "the claim `{claim}` is compared exactly, and `{text}` looks like a pattern: write it out, or list the values"
    )]
    Pattern {
        /// Which.
        claim: String,
        /// The value.
        text: String,
    },
    /// It is part of every token.
    #[error(
        "the claim `{claim}` says nothing about who is calling: `issuer` and `audience` are fields of the rule, and times are always looked at"
    )]
    NotTelling {
        /// Which.
        claim: String,
    },
    /// More than is compared.
    #[error("it has more than {max} claims, or values of one")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// A role that is for the whole organization.
    #[error("only the roles `push` and `read` can be bound to a workflow")]
    Bound,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(change: &dyn Fn(&mut Value)) -> Result<FederationRule, serde_json::Error> {
        let mut rule = json!({
            "issuer": "https://token.actions.githubusercontent.com", "audience": "https://sluice.acme.dev",
            "claims": {"repository": "acme/app", "ref": ["refs/heads/main", "refs/heads/next"]},
            "workflow": "skynet/release", "role": "push",
        });
        change(&mut rule);
        serde_json::from_value(rule)
    }

    #[test]
    fn rules_that_let_in_strangers_or_nobody_are_refused() {
        let check =
            |change: &dyn Fn(&mut Value)| rule(change).unwrap().check(Provider::Github).map_err(|e| e.to_string());
        assert_eq!(check(&|_| ()), Ok(()));
        assert_eq!(check(&|r| r["claims"] = json!({"sub": "repo:acme/app:ref:refs/heads/main"})), Ok(()));
        let refused: Vec<String> = [
            json!({}),
            json!({"ref": "refs/heads/main"}),
            json!({"job_workflow_ref": "acme/app/.github/workflows/r.yml@refs/heads/main"}),
            json!({"sub": "environment:production"}),
            json!({"sub": ["repo:acme/app:ref:refs/heads/main", "job_workflow_ref:acme/app/.github/workflows/r.yml@main"]}),
            json!({"sub": "repo:"}),
            json!({"actor": "ann"}),
            json!({"repository": "acme/*"}),
            json!({"repository": []}),
            json!({"repository": ["acme/app", ""]}),
            json!({"repository": "acme/app", "aud": "x"}),
            json!({"repository": vec!["x"; limits::FEDERATION_CLAIMS + 1]}),
        ]
        .into_iter()
        .map(|claims| check(&|r| r["claims"] = claims.clone()).unwrap_err())
        .chain([check(&|r| r["audience"] = json!(" ")), check(&|r| r["role"] = json!("admin"))].map(Result::unwrap_err))
        .collect();
        insta::assert_snapshot!(refused.join("\n"));
        assert!(rule(&|r| r["claims"] = json!({"repository": {"any": "x"}})).is_err());
        assert!(rule(&|r| r["organisation"] = json!("x")).is_err());
        let gitlab = |claims: Value| rule(&|r| r["claims"] = claims.clone()).unwrap().check(Provider::Gitlab).is_ok();
        assert!(gitlab(json!({"project_path": "acme/app", "user_login": "ann"})));
        assert!(gitlab(json!({"sub": "project_path:acme/app:ref_type:branch:ref:main"})));
        for claims in [json!({"user_login": "ann"}), json!({"user_id": "7"}), json!({"sub": "ref:main"})] {
            assert!(!gitlab(claims.clone()), "whoever starts a pipeline, in whichever project: {claims}");
        }
        let other = rule(&|r| r["claims"] = json!({"whatever": 1})).unwrap();
        assert_eq!(other.check(Provider::Other), Ok(()));
        assert!(rule(&|r| r["claims"] = json!({})).unwrap().check(Provider::Other).is_err());
    }
}
