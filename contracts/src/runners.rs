//! The published table of runners: the kinds of machinery that a pipeline runs on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{digest::shorten, materials::nearest};

macro_rules! runners {
    ($($name:ident = $text:literal,)+) => {
        /// Where a pipeline runs. The list is Chainloop's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Runner {
            $(#[doc = concat!("`", $text, "`")] $name,)+
        }

        impl Runner {
            /// Every runner, in the order of the published numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The published name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

runners! {
    GithubAction = "GITHUB_ACTION",
    GitlabPipeline = "GITLAB_PIPELINE",
    AzurePipeline = "AZURE_PIPELINE",
    JenkinsJob = "JENKINS_JOB",
    CircleciBuild = "CIRCLECI_BUILD",
    DaggerPipeline = "DAGGER_PIPELINE",
    TeamcityPipeline = "TEAMCITY_PIPELINE",
    TektonPipeline = "TEKTON_PIPELINE",
    ChainloopSandbox = "CHAINLOOP_SANDBOX",
}

/// What a statement says when no runner was recognised.
pub const UNSPECIFIED: &str = "RUNNER_TYPE_UNSPECIFIED";

impl Runner {
    /// The runner that these environment variables speak of, with the address of the run when they tell it.
    /// What a build claims of itself is not proof; see the verified certificate's claims for that.
    #[must_use]
    pub fn detect(variable: &dyn Fn(&str) -> Option<String>) -> Option<(Self, Option<String>)> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let all = |names: &[&str]| names.iter().all(|name| set(name).is_some());
        if all(&["CI", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"]) {
            let server = set("GITHUB_SERVER_URL").unwrap_or_else(|| "https://github.com".to_owned());
            let url = set("GITHUB_REPOSITORY")
                .zip(set("GITHUB_RUN_ID"))
                .map(|(repository, id)| format!("{server}/{repository}/actions/runs/{id}"));
            return Some((Self::GithubAction, url));
        }
        if all(&["GITLAB_CI", "CI_JOB_URL"]) {
            return Some((Self::GitlabPipeline, set("CI_JOB_URL")));
        }
        if all(&["TF_BUILD", "BUILD_BUILDURI"]) {
            let url = set("SYSTEM_TEAMFOUNDATIONSERVERURI")
                .zip(set("SYSTEM_TEAMPROJECT"))
                .zip(set("BUILD_BUILDID"))
                .map(|((server, project), id)| {
                    format!("{}/{project}/_build/results?buildId={id}", server.trim_end_matches('/'))
                });
            return Some((Self::AzurePipeline, url));
        }
        if all(&["JENKINS_HOME", "BUILD_URL"]) {
            return Some((Self::JenkinsJob, set("BUILD_URL")));
        }
        if all(&["CI", "CIRCLECI"]) {
            return Some((Self::CircleciBuild, set("CIRCLE_BUILD_URL")));
        }
        if all(&["TEAMCITY_PROJECT_NAME"]) {
            return Some((Self::TeamcityPipeline, set("BUILD_URL")));
        }
        if all(&["CHAINLOOP_DAGGER_CLIENT"]) {
            return Some((Self::DaggerPipeline, None));
        }
        None
    }
}

impl Runner {
    /// The variables of a run that are worth recording in its statement; none of them is a secret.
    #[must_use]
    pub const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::GithubAction => &[
                "GITHUB_ACTOR",
                "GITHUB_REF",
                "GITHUB_REPOSITORY",
                "GITHUB_REPOSITORY_OWNER",
                "GITHUB_RUN_ID",
                "GITHUB_SHA",
                "RUNNER_NAME",
                "RUNNER_OS",
                "GITHUB_EVENT_NAME",
                "GITHUB_HEAD_REF",
                "GITHUB_BASE_REF",
            ],
            Self::GitlabPipeline => &[
                "GITLAB_USER_EMAIL",
                "GITLAB_USER_LOGIN",
                "CI_PROJECT_URL",
                "CI_COMMIT_SHA",
                "CI_JOB_URL",
                "CI_PIPELINE_URL",
                "CI_RUNNER_VERSION",
                "CI_RUNNER_DESCRIPTION",
                "CI_COMMIT_REF_NAME",
                "CI_PROJECT_PATH",
                "CI_PIPELINE_SOURCE",
            ],
            Self::AzurePipeline => &[
                "BUILD_REQUESTEDFOR",
                "BUILD_REPOSITORY_URI",
                "BUILD_REPOSITORY_NAME",
                "BUILD_BUILDID",
                "BUILD_BUILDNUMBER",
                "BUILD_BUILDURI",
                "BUILD_REASON",
            ],
            Self::JenkinsJob => &["JOB_NAME", "BUILD_URL", "GIT_BRANCH", "GIT_COMMIT", "NODE_NAME"],
            Self::CircleciBuild => &["CIRCLE_BUILD_URL", "CIRCLE_JOB", "CIRCLE_BRANCH"],
            Self::TeamcityPipeline => &["TEAMCITY_PROJECT_NAME", "BUILD_URL", "BUILD_NUMBER"],
            Self::DaggerPipeline => &["CHAINLOOP_DAGGER_CLIENT"],
            Self::TektonPipeline | Self::ChainloopSandbox => &[],
        }
    }
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Runner {
    type Err = UnknownRunner;

    fn from_str(text: &str) -> Result<Self, UnknownRunner> {
        Self::ALL.iter().copied().find(|runner| runner.as_str() == text).ok_or_else(|| UnknownRunner {
            text: shorten(text),
            nearest: nearest(text, Self::ALL.iter().map(|runner| runner.as_str())),
        })
    }
}

impl Serialize for Runner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Runner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A name that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a runner: did you mean `{nearest}`?")]
pub struct UnknownRunner {
    /// What was read, shortened.
    pub text: String,
    /// The most similar name that there is.
    pub nearest: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_recognised_only_by_all_its_signs() {
        let with = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Runner::detect(&move |name| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
        };
        let github = [("CI", "true"), ("GITHUB_REPOSITORY", "acme/app"), ("GITHUB_RUN_ID", "7")];
        let url = "https://github.com/acme/app/actions/runs/7".to_owned();
        assert_eq!(with(&github), Some((Runner::GithubAction, Some(url))));
        assert_eq!(with(&github[..2]), None);
        assert_eq!(with(&[("GITLAB_CI", "true"), ("CI_JOB_URL", "")]), None);
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        assert_eq!("GITHUB_ACTIONS".parse::<Runner>().map_err(|e| e.nearest), Err("GITHUB_ACTION"));
        for runner in Runner::ALL {
            assert_eq!(runner.as_str().parse(), Ok(*runner));
        }
    }
}
