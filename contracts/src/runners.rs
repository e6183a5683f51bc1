//! The table of runners, the published one and two more: the kinds of machinery that a pipeline runs on, what each is
//! recognised by, and what it tells of a run. It must not read the environment itself.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{digest::shorten, materials::nearest};

macro_rules! runners {
    ($($name:ident = $text:literal,)+) => {
        /// Where a pipeline runs. The list is Chainloop's, with Buildkite and Bitbucket, which only Sluice reads.
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
    BuildkitePipeline = "BUILDKITE_PIPELINE",
    BitbucketPipeline = "BITBUCKET_PIPELINE",
}

/// What a statement says when no runner was recognised.
pub const UNSPECIFIED: &str = "RUNNER_TYPE_UNSPECIFIED";

/// What a program sees of the machine that it runs on: its environment variables, and which paths are there.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Reads a variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether there is a file or folder of this name.
    pub exists: &'a dyn Fn(&str) -> bool,
}

impl Surroundings<'_> {
    /// A variable that is there and not empty.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }
}

/// A sign that a runner is recognised by.
enum Sign {
    /// A variable that is set.
    Set(&'static str),
    /// A variable with this value.
    Is(&'static str, &'static str),
    /// A file or folder.
    Path(&'static str),
}

/// A runner: its signs, which must all be there, and the variables that are worth recording.
struct Row {
    signs: &'static [Sign],
    variables: &'static [&'static str],
}

/// In which order runners are looked for: those that run inside of others first.
const SEARCH: [Runner; 10] = [
    Runner::DaggerPipeline,
    Runner::GithubAction,
    Runner::GitlabPipeline,
    Runner::AzurePipeline,
    Runner::CircleciBuild,
    Runner::BuildkitePipeline,
    Runner::BitbucketPipeline,
    Runner::TeamcityPipeline,
    Runner::JenkinsJob,
    Runner::TektonPipeline,
];

impl Runner {
    /// The runner that these surroundings speak of: the wanted one when they speak of it too. What a build claims of
    /// itself is not proof; see the verified certificate's claims for that.
    #[must_use]
    pub fn detect(around: Surroundings<'_>, wanted: Option<Self>) -> Option<Self> {
        wanted.into_iter().chain(SEARCH).find(|runner| runner.is_here(around))
    }

    fn is_here(self, around: Surroundings<'_>) -> bool {
        let signs = self.row().signs;
        let there = |sign: &Sign| match sign {
            Sign::Set(name) => around.set(name).is_some(),
            Sign::Is(name, value) => around.set(name).is_some_and(|found| found == *value),
            Sign::Path(path) => (around.exists)(path),
        };
        !signs.is_empty() && signs.iter().all(there)
    }

    /// The address of the run, when the runner tells it.
    #[must_use]
    pub fn url(self, around: Surroundings<'_>) -> Option<String> {
        let set = |name: &str| around.set(name);
        match self {
            Self::GithubAction => {
                let server = set("GITHUB_SERVER_URL").unwrap_or_else(|| "https://github.com".to_owned());
                let (repository, id) = (set("GITHUB_REPOSITORY")?, set("GITHUB_RUN_ID")?);
                Some(format!("{server}/{repository}/actions/runs/{id}"))
            }
            Self::GitlabPipeline => set("CI_JOB_URL"),
            Self::AzurePipeline => {
                let server = set("SYSTEM_TEAMFOUNDATIONSERVERURI")?;
                let (project, id) = (set("SYSTEM_TEAMPROJECT")?, set("BUILD_BUILDID")?);
                let job = set("SYSTEM_JOBID").map(|job| format!("&view=logs&j={job}")).unwrap_or_default();
                Some(format!("{}/{project}/_build/results?buildId={id}{job}", server.trim_end_matches('/')))
            }
            Self::JenkinsJob | Self::TeamcityPipeline => set("BUILD_URL"),
            Self::CircleciBuild => set("CIRCLE_BUILD_URL"),
            Self::BuildkitePipeline => set("BUILDKITE_BUILD_URL"),
            Self::BitbucketPipeline => {
                let (repository, number) = (set("BITBUCKET_REPO_FULL_NAME")?, set("BITBUCKET_BUILD_NUMBER")?);
                Some(format!("https://bitbucket.org/{repository}/pipelines/results/{number}"))
            }
            Self::TektonPipeline => {
                // A pod is called after its task run, which may have been tried again.
                let pod = set("HOSTNAME")?;
                let (run, _) = pod.rsplit_once("-pod")?;
                let (dashboard, space) = (set("TEKTON_DASHBOARD_URL")?, set("TEKTON_NAMESPACE")?);
                Some(format!("{}/#/namespaces/{space}/taskruns/{run}", dashboard.trim_end_matches('/')))
            }
            Self::DaggerPipeline | Self::ChainloopSandbox => None,
        }
    }

    /// The variables of a run that are worth recording in its statement; none of them is a secret.
    #[must_use]
    pub const fn variables(self) -> &'static [&'static str] {
        self.row().variables
    }

    #[rustfmt::skip]
    const fn row(self) -> Row {
        use Sign::{Is, Path, Set};
        match self {
            Self::GithubAction => Row {
                signs: &[Set("CI"), Set("GITHUB_REPOSITORY"), Set("GITHUB_RUN_ID")],
                variables: &[
                    "GITHUB_ACTOR", "GITHUB_REF", "GITHUB_REPOSITORY", "GITHUB_REPOSITORY_OWNER", "GITHUB_RUN_ID",
                    "GITHUB_SHA", "RUNNER_NAME", "RUNNER_OS",
                    "GITHUB_EVENT_NAME", "GITHUB_HEAD_REF", "GITHUB_BASE_REF", "GITHUB_EVENT_PATH",
                ],
            },
            Self::GitlabPipeline => Row {
                signs: &[Set("GITLAB_CI"), Set("CI_JOB_URL")],
                variables: &[
                    "GITLAB_USER_EMAIL", "GITLAB_USER_LOGIN", "CI_SERVER_URL", "CI_PROJECT_URL", "CI_COMMIT_SHA",
                    "CI_JOB_URL", "CI_PIPELINE_URL", "CI_RUNNER_VERSION", "CI_RUNNER_DESCRIPTION",
                    "CI_COMMIT_REF_NAME", "CI_PROJECT_PATH", "CI_PIPELINE_SOURCE", "CI_MERGE_REQUEST_IID",
                    "CI_MERGE_REQUEST_TITLE", "CI_MERGE_REQUEST_DESCRIPTION", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
                    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_MERGE_REQUEST_PROJECT_URL",
                    "CI_MERGE_REQUEST_PROJECT_PATH",
                ],
            },
            Self::AzurePipeline => Row {
                signs: &[Set("TF_BUILD"), Set("BUILD_BUILDURI")],
                variables: &[
                    "BUILD_REQUESTEDFOREMAIL", "BUILD_REQUESTEDFOR", "BUILD_REPOSITORY_URI", "BUILD_REPOSITORY_NAME",
                    "BUILD_BUILDID", "BUILD_BUILDNUMBER", "BUILD_BUILDURI", "BUILD_REASON", "TF_BUILD",
                ],
            },
            Self::JenkinsJob => Row {
                signs: &[Set("JENKINS_HOME"), Set("BUILD_URL")],
                variables: &[
                    "JOB_NAME", "BUILD_URL", "GIT_BRANCH", "GIT_COMMIT", "AGENT_WORKDIR", "WORKSPACE", "NODE_NAME",
                ],
            },
            Self::CircleciBuild => Row {
                signs: &[Is("CI", "true"), Is("CIRCLECI", "true")],
                variables: &[
                    "CIRCLE_BUILD_URL", "CIRCLE_JOB", "CIRCLE_BRANCH", "CIRCLE_NODE_TOTAL", "CIRCLE_NODE_INDEX",
                ],
            },
            // What the pipeline around it hands in is recorded, too.
            Self::DaggerPipeline => Row {
                signs: &[Set("CHAINLOOP_DAGGER_CLIENT")],
                variables: &[
                    "CHAINLOOP_DAGGER_CLIENT", "GITHUB_EVENT_NAME", "GITHUB_HEAD_REF", "GITHUB_BASE_REF",
                    "GITHUB_EVENT_PATH", "CI_PIPELINE_SOURCE", "CI_MERGE_REQUEST_IID", "CI_MERGE_REQUEST_TITLE",
                    "CI_MERGE_REQUEST_DESCRIPTION", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
                    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_MERGE_REQUEST_PROJECT_URL",
                    "CI_MERGE_REQUEST_PROJECT_PATH", "CI_SERVER_URL", "CI_PROJECT_PATH", "GITLAB_USER_LOGIN",
                ],
            },
            Self::TeamcityPipeline => Row {
                signs: &[Set("TEAMCITY_PROJECT_NAME")],
                variables: &[
                    "BUILD_URL", "TEAMCITY_PROJECT_NAME", "TEAMCITY_VERSION", "BUILD_NUMBER", "USER",
                    "TEAMCITY_GIT_VERSION", "BUILD_VCS_NUMBER", "HOME",
                ],
            },
            Self::TektonPipeline => Row {
                signs: &[Path("/tekton/results")],
                variables: &["HOSTNAME", "TEKTON_NAMESPACE"],
            },
            Self::ChainloopSandbox => Row { signs: &[], variables: &[] },
            Self::BuildkitePipeline => Row {
                signs: &[Is("BUILDKITE", "true"), Set("BUILDKITE_BUILD_URL")],
                variables: &[
                    "BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_BUILD_NUMBER",
                    "BUILDKITE_BUILD_URL", "BUILDKITE_JOB_ID", "BUILDKITE_BRANCH", "BUILDKITE_COMMIT",
                    "BUILDKITE_PULL_REQUEST", "BUILDKITE_PULL_REQUEST_BASE_BRANCH",
                ],
            },
            Self::BitbucketPipeline => Row {
                signs: &[Set("BITBUCKET_BUILD_NUMBER"), Set("BITBUCKET_REPO_FULL_NAME")],
                variables: &[
                    "BITBUCKET_BUILD_NUMBER", "BITBUCKET_REPO_FULL_NAME", "BITBUCKET_COMMIT", "BITBUCKET_BRANCH",
                    "BITBUCKET_TAG", "BITBUCKET_PIPELINE_UUID", "BITBUCKET_PR_ID", "BITBUCKET_PR_DESTINATION_BRANCH",
                ],
            },
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

    fn here(set: &[(&str, &str)], paths: &[&str], wanted: Option<Runner>) -> Option<(Runner, Option<String>)> {
        let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let exists = |path: &str| paths.contains(&path);
        let around = Surroundings { variable: &variable, exists: &exists };
        Runner::detect(around, wanted).map(|runner| (runner, runner.url(around)))
    }

    #[test]
    fn a_runner_is_recognised_only_by_all_its_signs() {
        let github = [("CI", "true"), ("GITHUB_REPOSITORY", "acme/app"), ("GITHUB_RUN_ID", "7")];
        let url = |text: &str| Some(text.to_owned());
        let on_github = Some((Runner::GithubAction, url("https://github.com/acme/app/actions/runs/7")));
        assert_eq!(here(&github, &[], None), on_github);
        assert_eq!(here(&github[..2], &[], None), None);
        assert_eq!(here(&[("GITLAB_CI", "true"), ("CI_JOB_URL", "")], &[], None), None);
        assert_eq!(here(&[("CI", "1"), ("CIRCLECI", "true")], &[], None), None);
        assert_eq!(here(&[], &["/tekton/results"], None), Some((Runner::TektonPipeline, None)));
        for (set, runner, at) in [
            (
                &[
                    ("TF_BUILD", "True"),
                    ("BUILD_BUILDURI", "vstfs:///1"),
                    ("SYSTEM_TEAMFOUNDATIONSERVERURI", "https://dev.azure.com/acme/"),
                    ("SYSTEM_TEAMPROJECT", "app"),
                    ("BUILD_BUILDID", "9"),
                    ("SYSTEM_JOBID", "j"),
                ][..],
                Runner::AzurePipeline,
                "https://dev.azure.com/acme/app/_build/results?buildId=9&view=logs&j=j",
            ),
            (&[("JENKINS_HOME", "/j"), ("BUILD_URL", "https://j/1")], Runner::JenkinsJob, "https://j/1"),
            (
                &[("BUILDKITE", "true"), ("BUILDKITE_BUILD_URL", "https://b/1")],
                Runner::BuildkitePipeline,
                "https://b/1",
            ),
            (
                &[("BITBUCKET_BUILD_NUMBER", "3"), ("BITBUCKET_REPO_FULL_NAME", "acme/app")],
                Runner::BitbucketPipeline,
                "https://bitbucket.org/acme/app/pipelines/results/3",
            ),
        ] {
            assert_eq!(here(set, &[], None), Some((runner, url(at))));
        }
    }

    #[test]
    fn among_several_the_wanted_one_counts() {
        let both = [("JENKINS_HOME", "/j"), ("BUILD_URL", "u"), ("TEAMCITY_PROJECT_NAME", "t")];
        let found = |wanted| here(&both, &[], wanted).map(|(runner, _)| runner);
        assert_eq!(found(None), Some(Runner::TeamcityPipeline));
        assert_eq!(found(Some(Runner::JenkinsJob)), Some(Runner::JenkinsJob));
        assert_eq!(found(Some(Runner::GithubAction)), Some(Runner::TeamcityPipeline));
        for runner in Runner::ALL.iter().filter(|runner| **runner != Runner::ChainloopSandbox) {
            assert!(SEARCH.contains(runner), "{runner} is never looked for");
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        assert_eq!("GITHUB_ACTIONS".parse::<Runner>().map_err(|e| e.nearest), Err("GITHUB_ACTION"));
        for runner in Runner::ALL {
            assert_eq!(runner.as_str().parse(), Ok(*runner));
        }
    }
}
