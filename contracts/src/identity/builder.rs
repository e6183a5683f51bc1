//! Who a run is believed to be built by: one answer for all who ask.
//!
//! Two things can tell. The certificate of whoever signed was given to the job that signed, and its key signed these
//! very bytes. The identity token that the bytes were pushed with proves who pushed them. So the certificate counts
//! first, always; where both speak of a build and it is not the same one, that is a reason to deny
//! ([`contradiction`]).

use super::RunnerIdentity;
use crate::{Code, Finding, Verification, Verified};

/// What vouches for a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voucher {
    /// The certificate of the key that signed.
    Certificate,
    /// The token of the job that pushed. A key signed, or a certificate that speaks of no build: whoever holds that key
    /// may have signed anywhere.
    Token,
}

/// Who a run is believed to be built by, and on what grounds. Made by [`Builder::of`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    identity: RunnerIdentity,
    by: Voucher,
}

impl Builder {
    /// What the certificate that signed says; without one that speaks of a build, what the token says that it was pushed
    /// with. `None`: neither is there.
    ///
    /// Certificates know neither the deployment environment nor the run's number: those are taken from the token where
    /// both are of one repository and nothing contradicts.
    #[must_use]
    pub fn of(verified: &Verified<Verification>, pushed_by: Option<&RunnerIdentity>) -> Option<Self> {
        let Some(mut identity) = RunnerIdentity::of_certificate(verified) else {
            return pushed_by.map(|identity| Self { identity: identity.clone(), by: Voucher::Token });
        };
        let same = |token: &&RunnerIdentity| {
            token.repository.is_some()
                && token.repository == identity.repository
                && differences(&identity, token).is_empty()
        };
        if let Some(token) = pushed_by.filter(same) {
            identity.environment = identity.environment.or_else(|| token.environment.clone());
            identity.run_id = identity.run_id.or_else(|| token.run_id.clone());
        }
        Some(Self { identity, by: Voucher::Certificate })
    }

    #[cfg(test)]
    pub(crate) const fn vouched(identity: RunnerIdentity, by: Voucher) -> Self {
        Self { identity, by }
    }

    /// The builder.
    #[must_use]
    pub const fn identity(&self) -> &RunnerIdentity {
        &self.identity
    }

    /// What vouches for it.
    #[must_use]
    pub const fn by(&self) -> Voucher {
        self.by
    }
}

/// That the certificate that signed and the token that it was pushed with speak of different builds.
#[must_use]
pub fn contradiction(verified: &Verified<Verification>, pushed_by: Option<&RunnerIdentity>) -> Option<Finding> {
    let (signed_by, pushed_by) = (RunnerIdentity::of_certificate(verified)?, pushed_by?);
    let told: Vec<String> = differences(&signed_by, pushed_by)
        .into_iter()
        .map(|(what, signed, pushed)| format!("the {what} `{signed}` and `{pushed}`"))
        .collect();
    if told.is_empty() {
        return None;
    }
    let message = format!(
        "the certificate that signed and the token that it was pushed with are not of one build: {}",
        told.join(", ")
    );
    Some(
        Finding::error(Code::IdentityMismatch, message)
            .mend("sign and push in the same job of the pipeline that built"),
    )
}

/// In what two that are said to be the same build differ: what, as the first says, as the second says. What either does
/// not tell is no difference.
fn differences<'a>(signed: &'a RunnerIdentity, pushed: &'a RunnerIdentity) -> Vec<(&'static str, &'a str, &'a str)> {
    let run = |identity: &'a RunnerIdentity| identity.run_url.as_deref();
    let both = |a: Option<&'a str>, b: Option<&'a str>| a.zip(b);
    let field = |of: fn(&RunnerIdentity) -> Option<&String>| {
        both(of(signed).map(String::as_str), of(pushed).map(String::as_str))
    };
    [
        ("issuer", Some((signed.issuer.as_str(), pushed.issuer.as_str()))),
        ("repository", field(|identity| identity.repository.as_ref())),
        ("commit", field(|identity| identity.commit.as_ref())),
        ("run", both(run(signed), run(pushed)).filter(|(a, b)| comparable(a, b))),
        ("machines", field(|identity| identity.runner_environment.as_ref())),
        ("environment", field(|identity| identity.environment.as_ref())),
    ]
    .into_iter()
    .filter_map(|(what, pair)| {
        let (signed, pushed) = pair?;
        let same = match what {
            "run" => attempted(signed) == attempted(pushed),
            "commit" => signed.eq_ignore_ascii_case(pushed),
            _ => signed == pushed,
        };
        (!same).then_some((what, signed, pushed))
    })
    .collect()
}

/// A run without the number of its attempt: jobs that failed are started again in the same run.
fn attempted(run: &str) -> &str {
    run.split_once("/attempts/").map_or(run, |(run, _)| run)
}

/// Whether two addresses are of the same kind of thing: of GitLab, a certificate names the job and a token its pipeline.
fn comparable(a: &str, b: &str) -> bool {
    let parent = |run| attempted(run).rsplit_once('/').map(|(parent, _)| parent);
    parent(a) == parent(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Provider;

    fn build(run: &str) -> RunnerIdentity {
        RunnerIdentity {
            provider: Provider::Github,
            issuer: "https://token.actions.githubusercontent.com".into(),
            subject: "x".into(),
            repository: Some("https://github.com/acme/skynet".into()),
            workflow: None,
            commit: Some("78ac366c9e8a300d51808d581422ca61f7b5b721".into()),
            git_ref: None,
            environment: None,
            trigger: None,
            run_id: None,
            run_url: Some(run.into()),
            runner_environment: Some("github-hosted".into()),
        }
    }

    #[test]
    fn builds_differ_in_what_both_tell() {
        let (run, other) =
            ("https://github.com/acme/skynet/actions/runs/1", "https://github.com/acme/skynet/actions/runs/2");
        let signed = build(run);
        let what = |change: &dyn Fn(&mut RunnerIdentity)| {
            let mut pushed = build(run);
            change(&mut pushed);
            differences(&signed, &pushed).into_iter().map(|(what, ..)| what).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(what(&|_| ()), none);
        assert_eq!(what(&|p| p.run_url = Some(format!("{run}/attempts/2"))), none);
        assert_eq!(what(&|p| p.run_url = Some("https://gitlab.com/acme/skynet/-/pipelines/1".into())), none);
        assert_eq!(what(&|p| p.commit = p.commit.as_ref().map(|commit| commit.to_uppercase())), none);
        assert_eq!(
            what(&|p| {
                p.repository = None;
                p.commit = None;
                p.run_url = None;
                p.runner_environment = None;
            }),
            none
        );
        assert_eq!(what(&|p| p.issuer = "https://gitlab.com".into()), ["issuer"]);
        assert_eq!(what(&|p| p.repository = Some("https://github.com/acme/skynet2".into())), ["repository"]);
        assert_eq!(what(&|p| p.commit = Some("0".repeat(40))), ["commit"]);
        assert_eq!(what(&|p| p.run_url = Some(other.into())), ["run"]);
        assert_eq!(what(&|p| p.runner_environment = Some("self-hosted".into())), ["machines"]);
    }
}
