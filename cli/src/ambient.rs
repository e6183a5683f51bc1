//! The identity token of the CI system that this runs in, or that somebody put into a variable. Nothing is asked before
//! it is needed, and of nobody but the CI system itself.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, bail};
use reqwest::Url;
use tokio::process::Command;

use contracts::Secret;

/// What the token is for. Tokens for one purpose are not shown to those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To call the gateway.
    Gateway,
    /// To be given a certificate to sign with.
    Signing,
}

/// Where a token can be had.
#[derive(Debug, Clone)]
pub enum Ambient {
    /// In a variable: made by the CI system for whom its configuration says.
    Variable {
        /// Which.
        name: &'static str,
        /// What is in it.
        token: Secret,
    },
    /// From GitHub's runner.
    Github {
        /// Where.
        url: Url,
        /// What it wants to see.
        bearer: Secret,
    },
    /// From Buildkite's agent.
    Buildkite,
}

/// Larger answers are no token.
const ANSWER_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

impl Ambient {
    /// Looks for one. `variable` reads the environment.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn detect(purpose: Purpose, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Self>> {
        let set = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
        let given: &[&'static str] = match purpose {
            Purpose::Gateway => &["SLUICE_ID_TOKEN", "CIRCLE_OIDC_TOKEN_V2"],
            Purpose::Signing => &["SIGSTORE_ID_TOKEN"],
        };
        for name in given {
            if let Some(text) = set(name) {
                return Ok(Some(Self::Variable { name, token: Secret::new(text.trim().to_owned()) }));
            }
        }
        if let (Some(url), Some(bearer)) = (set("ACTIONS_ID_TOKEN_REQUEST_URL"), set("ACTIONS_ID_TOKEN_REQUEST_TOKEN"))
        {
            let url: Url = url.parse().context("ACTIONS_ID_TOKEN_REQUEST_URL is not an address")?;
            let loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
            if url.scheme() != "https" && !loopback {
                bail!("ACTIONS_ID_TOKEN_REQUEST_URL is not https");
            }
            return Ok(Some(Self::Github { url, bearer: Secret::new(bearer) }));
        }
        if set("BUILDKITE").as_deref() == Some("true") && set("BUILDKITE_AGENT_ACCESS_TOKEN").is_some() {
            return Ok(Some(Self::Buildkite));
        }
        Ok(None)
    }

    /// Where it comes from, for people.
    pub fn described(&self) -> &'static str {
        match self {
            Self::Variable { name, .. } => name,
            Self::Github { .. } => "GitHub Actions",
            Self::Buildkite => "Buildkite",
        }
    }

    /// A token for an audience. One that lies in a variable has its own, which is not looked at here.
    ///
    /// # Errors
    /// When the CI system does not give one.
    pub async fn token(&self, audience: &str) -> anyhow::Result<Secret> {
        match self {
            Self::Variable { token, .. } => Ok(token.clone()),
            Self::Github { url, bearer } => by_github(url, bearer, audience).await,
            Self::Buildkite => by_buildkite(audience).await,
        }
    }
}

async fn by_github(url: &Url, bearer: &Secret, audience: &str) -> anyhow::Result<Secret> {
    let refused = "GitHub Actions gives no identity token: the job needs `permissions: {id-token: write}`";
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build()?;
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("audience", audience);
    let asked = client.get(url).bearer_auth(bearer.reveal()).send().await;
    let mut answer = asked.map_err(reqwest::Error::without_url).context(refused)?;
    if !answer.status().is_success() {
        bail!("{refused} (HTTP {})", answer.status().as_u16());
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url).context(refused)? {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER_BYTES {
            bail!("{refused} (its answer is too long)");
        }
    }
    let body: serde_json::Value = serde_json::from_slice(&body).map_err(|_| anyhow::anyhow!(refused))?;
    let token = body.get("value").and_then(serde_json::Value::as_str).context(refused)?;
    Ok(Secret::new(token.to_owned()))
}

async fn by_buildkite(audience: &str) -> anyhow::Result<Secret> {
    let refused = "`buildkite-agent oidc request-token` gives no identity token";
    let asked = Command::new("buildkite-agent")
        .args(["oidc", "request-token", "--audience", audience])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let answer = tokio::time::timeout(PATIENCE, asked).await.context(refused)?.context(refused)?;
    let token = String::from_utf8(answer.stdout).unwrap_or_default().trim().to_owned();
    if !answer.status.success() || token.is_empty() || token.len() > ANSWER_BYTES {
        bail!("{refused}");
    }
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(purpose: Purpose, environment: &[(&str, &str)]) -> Option<&'static str> {
        let read = |name: &str| environment.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        Ambient::detect(purpose, &read).unwrap().map(|ambient| ambient.described())
    }

    #[test]
    fn the_token_of_each_ci_system_is_found_for_its_purpose() {
        let github =
            [("ACTIONS_ID_TOKEN_REQUEST_URL", "https://run.github.dev/x?v=1"), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "b")];
        assert_eq!(found(Purpose::Gateway, &github), Some("GitHub Actions"));
        assert_eq!(found(Purpose::Signing, &github), Some("GitHub Actions"));
        assert_eq!(found(Purpose::Gateway, &github[..1]), None);
        assert_eq!(found(Purpose::Gateway, &[("SLUICE_ID_TOKEN", "t"), github[0], github[1]]), Some("SLUICE_ID_TOKEN"));
        assert_eq!(found(Purpose::Signing, &[("SLUICE_ID_TOKEN", "t")]), None, "it was made for the gateway");
        assert_eq!(found(Purpose::Gateway, &[("SIGSTORE_ID_TOKEN", "t")]), None, "it was made for signing");
        assert_eq!(found(Purpose::Gateway, &[("CIRCLE_OIDC_TOKEN_V2", "t")]), Some("CIRCLE_OIDC_TOKEN_V2"));
        let buildkite = [("BUILDKITE", "true"), ("BUILDKITE_AGENT_ACCESS_TOKEN", "t")];
        assert_eq!(found(Purpose::Signing, &buildkite), Some("Buildkite"));
        assert_eq!(found(Purpose::Gateway, &[("SLUICE_ID_TOKEN", " ")]), None);
        let plain = [("ACTIONS_ID_TOKEN_REQUEST_URL", "http://run.github.dev"), github[1]];
        let read = |name: &str| plain.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        assert!(Ambient::detect(Purpose::Gateway, &read).is_err());
    }
}
