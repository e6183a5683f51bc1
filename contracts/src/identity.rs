//! Which job of which pipeline it was, in the words of no provider: read out of a verified identity token, or out of
//! what a certificate authority was told by the same token.
//!
//! This module must not contain trust: what it reads was verified before.

mod builder;
mod rules;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use builder::{Builder, Voucher, contradiction};
pub use rules::{ClaimValue, ClaimValues, FederationRule, FederationRuleError};

use crate::{Runner, SignerIdentity, Verification, Verified, verify::token::Claims};

/// A provider of identity tokens whose claims have a known meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// GitHub Actions, of github.com or of an enterprise's own server.
    Github,
    /// GitLab CI/CD, of gitlab.com or of somebody's own server.
    Gitlab,
    /// Buildkite.
    Buildkite,
    /// CircleCI.
    Circleci,
    /// Service accounts of Google Cloud.
    Google,
    /// Any other: what its claims mean is not known.
    Other,
}

impl Provider {
    /// The provider that an issuer is known to be of.
    #[must_use]
    pub fn of_issuer(issuer: &str) -> Self {
        let host = issuer.strip_prefix("https://").unwrap_or_default().split('/').next().unwrap_or_default();
        match host {
            "token.actions.githubusercontent.com" => Self::Github,
            "gitlab.com" => Self::Gitlab,
            "agent.buildkite.com" => Self::Buildkite,
            "oidc.circleci.com" => Self::Circleci,
            "accounts.google.com" => Self::Google,
            _ if host.starts_with("token.actions.") && host.ends_with(".ghe.com") => Self::Github,
            _ => Self::Other,
        }
    }

    /// The provider's name, as it is written in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Buildkite => "buildkite",
            Self::Circleci => "circleci",
            Self::Google => "google",
            Self::Other => "other",
        }
    }

    /// The kind of runner in the published table, when the provider is one.
    #[must_use]
    pub const fn runner(self) -> Option<Runner> {
        match self {
            Self::Github => Some(Runner::GithubAction),
            Self::Gitlab => Some(Runner::GitlabPipeline),
            Self::Circleci => Some(Runner::CircleciBuild),
            Self::Buildkite => Some(Runner::BuildkitePipeline),
            Self::Google | Self::Other => None,
        }
    }

    /// Whether there is a provider that proves this kind of runner, so that nobody else's word for it need be taken.
    #[must_use]
    pub fn is_proven(runner: &str) -> bool {
        let all = [Self::Github, Self::Gitlab, Self::Circleci, Self::Buildkite];
        all.into_iter().filter_map(Self::runner).any(|known| known.as_str() == runner)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who a build was proven to be, as its provider says; the build itself could not choose any of it. Made from verified
/// claims alone ([`RunnerIdentity::of_token`], [`RunnerIdentity::of_certificate`]); beyond this crate it can be read, kept
/// and read back by whoever keeps it, and not be written.
///
/// What the provider does not tell is not there. Addresses are whole URLs, the same whether they come from a token or
/// from a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunnerIdentity {
    /// Whose claims these are.
    pub provider: Provider,
    /// The provider's issuer of tokens.
    pub issuer: String,
    /// Of whom the issuer spoke.
    pub subject: String,
    /// The repository that the pipeline belongs to: `https://github.com/acme/app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The definition of the pipeline and its revision:
    /// `https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main`. Of a reusable workflow, that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The commit that was built, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch or tag: `refs/heads/main`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// The deployment environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What started the run: `push`, `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The run's id at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The run's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_url: Option<String>,
    /// Whose machine ran it: `github-hosted`, `gitlab-hosted`, `self-hosted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_environment: Option<String>,
}

impl RunnerIdentity {
    /// Reads verified claims in the way of a provider, which the operator's settings choose and never the token.
    #[must_use]
    pub fn of_token(provider: Provider, claims: &Verified<Claims>) -> Self {
        let told = Told { claims, server: server(provider, &claims.issuer) };
        match provider {
            Provider::Github => told.by_github(),
            Provider::Gitlab => told.by_gitlab(),
            Provider::Buildkite => told.by_buildkite(),
            Provider::Circleci => told.by_circleci(),
            Provider::Google | Provider::Other => told.nothing(provider),
        }
    }

    /// Reads what a certificate says about the build that asked for it. `None` when it was signed by a key, or the
    /// certificate speaks of no build.
    #[must_use]
    pub fn of_certificate(verification: &Verified<Verification>) -> Option<Self> {
        let claims = verification.claims.as_ref()?;
        let (issuer, subject) = verification.signers.iter().find_map(|signer| match signer {
            SignerIdentity::Certificate { issuer, identity } => Some((issuer, identity)),
            SignerIdentity::Key { .. } => None,
        })?;
        claims.source_repository.as_ref().or(claims.run.as_ref())?;
        Some(Self {
            provider: Provider::of_issuer(issuer),
            issuer: issuer.clone(),
            subject: subject.clone(),
            repository: claims.source_repository.clone(),
            // The pipeline that signed. Of a reusable workflow `build_config` is the one that called it.
            workflow: Some(subject.clone()).filter(|subject| subject.starts_with("https://")),
            commit: claims.source_digest.clone(),
            git_ref: claims.source_ref.clone(),
            environment: None,
            trigger: claims.trigger.clone(),
            run_id: None,
            run_url: claims.run.clone(),
            runner_environment: claims.runner_environment.clone(),
        })
    }

    /// The pipeline's definition as the provider writes it in tokens, without its server's scheme (and, at GitHub,
    /// without its host), which is how published policies know it.
    #[must_use]
    pub fn workflow_file_path(&self) -> Option<&str> {
        let path = self.workflow.as_deref()?;
        let path = path.strip_prefix("https://").unwrap_or(path);
        match self.provider {
            Provider::Github => path.split_once('/').map(|(_, path)| path),
            _ => Some(path),
        }
    }
}

/// Where people find a provider's pages.
fn server(provider: Provider, issuer: &str) -> String {
    let host = issuer.strip_prefix("https://").unwrap_or_default().split('/').next().unwrap_or_default();
    match (provider, host.strip_prefix("token.actions.")) {
        (Provider::Github, Some("githubusercontent.com")) => "https://github.com".to_owned(),
        (Provider::Github, Some(host)) => format!("https://{host}"),
        _ => issuer.strip_suffix("/_services/token").unwrap_or(issuer).trim_end_matches('/').to_owned(),
    }
}

struct Told<'c> {
    claims: &'c Claims,
    server: String,
}

impl Told<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.claims.text(name).map(str::to_owned)
    }

    /// An id, which some providers write as a number.
    fn id(&self, name: &str) -> Option<String> {
        self.text(name).or_else(|| self.claims.claim(name)?.as_u64().map(|number| number.to_string()))
    }

    fn nothing(&self, provider: Provider) -> RunnerIdentity {
        RunnerIdentity {
            provider,
            issuer: self.claims.issuer.clone(),
            subject: self.claims.subject.clone(),
            repository: None,
            workflow: None,
            commit: None,
            git_ref: None,
            environment: None,
            trigger: None,
            run_id: None,
            run_url: None,
            runner_environment: None,
        }
    }

    fn by_github(&self) -> RunnerIdentity {
        let repository = self.text("repository").map(|path| format!("{}/{path}", self.server));
        let run_id = self.id("run_id");
        let run_url = repository.as_ref().zip(run_id.as_ref()).map(|(repository, run)| {
            let attempt = self.id("run_attempt").map(|n| format!("/attempts/{n}")).unwrap_or_default();
            format!("{repository}/actions/runs/{run}{attempt}")
        });
        let workflow = self.text("job_workflow_ref").or_else(|| self.text("workflow_ref"));
        RunnerIdentity {
            workflow: workflow.map(|path| format!("{}/{path}", self.server)),
            commit: self.text("sha"),
            git_ref: self.text("ref"),
            environment: self.text("environment"),
            trigger: self.text("event_name"),
            runner_environment: self.text("runner_environment"),
            repository,
            run_id,
            run_url,
            ..self.nothing(Provider::Github)
        }
    }

    fn by_gitlab(&self) -> RunnerIdentity {
        let repository = self.text("project_path").map(|path| format!("{}/{path}", self.server));
        let run_id = self.id("pipeline_id");
        let git_ref = self.text("ref_path").or_else(|| {
            let name = self.text("ref")?;
            match self.claims.text("ref_type") {
                Some("branch") => Some(format!("refs/heads/{name}")),
                Some("tag") => Some(format!("refs/tags/{name}")),
                _ => Some(name),
            }
        });
        RunnerIdentity {
            run_url: repository.as_ref().zip(run_id.as_ref()).map(|(at, run)| format!("{at}/-/pipelines/{run}")),
            workflow: self.text("ci_config_ref_uri").map(|path| format!("https://{path}")),
            commit: self.text("sha"),
            git_ref,
            environment: self.text("environment"),
            trigger: self.text("pipeline_source"),
            runner_environment: self.text("runner_environment"),
            repository,
            run_id,
            ..self.nothing(Provider::Gitlab)
        }
    }

    fn by_buildkite(&self) -> RunnerIdentity {
        let pipeline = self.text("organization_slug").zip(self.text("pipeline_slug"));
        let pipeline = pipeline.map(|(organization, name)| format!("https://buildkite.com/{organization}/{name}"));
        let run_id = self.id("build_number");
        let git_ref = match (self.text("build_tag"), self.text("build_branch")) {
            (Some(tag), _) => Some(format!("refs/tags/{tag}")),
            (None, branch) => branch.map(|branch| format!("refs/heads/{branch}")),
        };
        RunnerIdentity {
            run_url: pipeline.as_ref().zip(run_id.as_ref()).map(|(at, number)| format!("{at}/builds/{number}")),
            workflow: pipeline,
            // Until the commit is looked up it is a name such as `HEAD`.
            commit: self.text("build_commit").filter(|commit| is_commit(commit)),
            git_ref,
            trigger: self.text("build_source"),
            runner_environment: self.text("runner_environment"),
            run_id,
            ..self.nothing(Provider::Buildkite)
        }
    }

    fn by_circleci(&self) -> RunnerIdentity {
        let origin = self.text("oidc.circleci.com/vcs-origin");
        RunnerIdentity {
            repository: origin.map(|origin| format!("https://{origin}")),
            git_ref: self.text("oidc.circleci.com/vcs-ref"),
            run_id: self.text("oidc.circleci.com/workflow-id").or_else(|| self.text("oidc.circleci.com/pipeline-id")),
            ..self.nothing(Provider::Circleci)
        }
    }
}

/// Whether a text is a commit's whole name, SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_issuers_are_of_their_provider_and_lookalikes_of_none() {
        for (issuer, provider) in [
            ("https://token.actions.githubusercontent.com", Provider::Github),
            ("https://token.actions.githubusercontent.com/acme", Provider::Github),
            ("https://token.actions.acme.ghe.com", Provider::Github),
            ("https://gitlab.com", Provider::Gitlab),
            ("https://oidc.circleci.com/org/7", Provider::Circleci),
            ("https://accounts.google.com", Provider::Google),
            ("https://gitlab.com.evil.dev", Provider::Other),
            ("http://gitlab.com", Provider::Other),
            ("https://evil.dev/gitlab.com", Provider::Other),
            ("", Provider::Other),
        ] {
            assert_eq!(Provider::of_issuer(issuer), provider, "{issuer}");
        }
    }

    #[test]
    fn servers_are_told_by_the_issuer() {
        for (provider, issuer, expected) in [
            (Provider::Github, "https://token.actions.githubusercontent.com", "https://github.com"),
            (Provider::Github, "https://token.actions.acme.ghe.com", "https://acme.ghe.com"),
            (Provider::Github, "https://git.acme.dev/_services/token", "https://git.acme.dev"),
            (Provider::Gitlab, "https://gitlab.acme.dev/", "https://gitlab.acme.dev"),
        ] {
            assert_eq!(server(provider, issuer), expected);
        }
    }
}
