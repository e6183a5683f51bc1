//! SLSA Provenance, version 1 (<https://slsa.dev/spec/v1.1/provenance>), as a gateway can vouch for it: what a run built,
//! and what the gateway itself verified of who built it.
//!
//! [`statement`] is a pure function of a [`BuiltRun`], which the gateway puts together for a run that it accepted from
//! what it verified; what the statement says is a claim of nobody until the gateway signs it. Two kinds of facts are
//! kept apart: what a token or certificate proves of the builder ([`RunnerIdentity`]), which the build could not choose, and what the job says of itself, which is listed under `asserted`. Above all the artifacts' digests are the
//! job's word: the gateway did not watch the build. The level follows from the builder alone ([`level`]), and says why.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    Builder, Digest, Provider, RunnerIdentity, Statement, Subject, Voucher,
    api::IsolatedBuilder,
    crafting::{CraftedRun, DeclaredMaterial},
    vsa::Verifier,
};

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// What kind of build is described: a run of a workflow that crafted an attestation under a contract.
pub const BUILD_TYPE: &str = "https://sluice.dev/buildtypes/crafted-run/v1";
/// The key of the extension that says the level and why, and what is the job's own word.
pub const EXTENSION: &str = "https://sluice.dev/provenance/v1";
/// The annotation of subjects and dependencies that are the job's own word.
pub const ASSERTED: &str = "sluice.dev/asserted-by";

/// SLSA's levels of builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is provenance.
    L1,
    /// A hosted platform built, and its identity is verified.
    L2,
    /// One that the organization holds to be isolated from what it builds.
    L3,
}

impl Level {
    /// As summaries name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L1 => "SLSA_BUILD_LEVEL_1",
            Self::L2 => "SLSA_BUILD_LEVEL_2",
            Self::L3 => "SLSA_BUILD_LEVEL_3",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A run that was accepted, and what the gateway knows of it.
#[derive(Debug, Clone)]
pub struct BuiltRun<'r> {
    /// What its attestation says.
    pub run: &'r CraftedRun,
    /// The contract that it satisfied.
    pub contract: &'r str,
    /// The contract's revision.
    pub revision: u32,
    /// The revision's digest, when it is known still.
    pub revision_digest: Option<Digest>,
    /// Its attestation.
    pub attestation: Digest,
    /// When the gateway was asked for it.
    pub started_on: Timestamp,
    /// When the gateway had its attestation.
    pub finished_on: Timestamp,
    /// Who is believed to have built. `None`: a key signed, which says nothing of the machine that it was used on.
    pub builder: Option<Builder>,
}

impl BuiltRun<'_> {
    fn identity(&self) -> Option<&RunnerIdentity> {
        self.builder.as_ref().map(Builder::identity)
    }
}

/// The machines that are known to be a provider's own, as it names them.
const HOSTED: [(Provider, &str); 3] = [
    (Provider::Github, "github-hosted"),
    (Provider::Gitlab, "gitlab-hosted"),
    (Provider::Buildkite, "buildkite-hosted"),
];

/// The level of a build, and why it is no higher. Above the first the certificate of what signed must speak of the
/// build: a token proves who pushed, and a key that a job holds signs whatever that job, or whoever else has it, wants.
/// Hosted is what the provider is known to say of its own machines.
#[must_use]
pub fn level(builder: Option<&Builder>, isolated: &[IsolatedBuilder]) -> (Level, String) {
    let Some(builder) = builder else {
        let why = "a key signed the attestation, which says nothing of the machine that built: sign keyless in a hosted pipeline for level 2";
        return (Level::L1, why.to_owned());
    };
    if builder.by() == Voucher::Token {
        let why = "a key signed the attestation; the identity token that it was pushed with proves who pushed it, not who signed it: sign keyless in a hosted pipeline for level 2";
        return (Level::L1, why.to_owned());
    }
    let builder = builder.identity();
    match builder.runner_environment.as_deref() {
        Some(environment) if HOSTED.contains(&(builder.provider, environment)) => {}
        Some(environment) => {
            let why = format!(
                "the provider says that the pipeline ran on `{environment}` machines, which are not known to be its own"
            );
            return (Level::L1, why);
        }
        None => return (Level::L1, "the provider does not say whose machines the pipeline ran on".to_owned()),
    }
    let Some(workflow) = &builder.workflow else {
        return (Level::L2, "the provider does not say which pipeline ran".to_owned());
    };
    if isolated.iter().any(|known| known.issuer == builder.issuer && known.identity == *workflow) {
        return (Level::L3, format!("the organization holds `{workflow}` to be isolated from what it builds"));
    }
    let why = format!("`{workflow}` is not among the builders that the organization holds to be isolated");
    (Level::L2, why)
}

/// The statement about everything that the run built, unsigned. `None`: it says that it built nothing.
#[must_use]
pub fn statement(built: &BuiltRun<'_>, isolated: &[IsolatedBuilder], verifier: &Verifier) -> Option<Statement> {
    let outputs = built.run.materials.iter().filter(|material| material.output);
    let subjects: Vec<Subject> = outputs.map(subject).collect();
    if subjects.is_empty() {
        return None;
    }
    let (level, because) = level(built.builder.as_ref(), isolated);
    let predicate = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": external(built),
            "internalParameters": internal(built),
            "resolvedDependencies": dependencies(built),
        },
        "runDetails": {
            "builder": {"id": builder_id(built, level, verifier), "version": {"sluice": verifier.version}},
            "metadata": {
                "invocationId": invocation(built, verifier),
                "startedOn": built.started_on,
                "finishedOn": built.finished_on,
            },
            "byproducts": [{
                "name": "attestation",
                "mediaType": crate::bundle::MEDIA_TYPE,
                "digest": {"sha256": built.attestation.hex()},
            }],
        },
        EXTENSION: {
            "buildLevel": level.as_str(),
            "because": because,
            "verifiedBy": verifier.id(),
            "asserted": asserted(built),
        },
    });
    Some(Statement::new(subjects, PREDICATE_TYPE, predicate))
}

/// An artifact, by the digest that the job gave it.
fn subject(material: &DeclaredMaterial) -> Subject {
    let mut subject = Subject::sha256(name(material), material.digest);
    subject.annotations = json!({ASSERTED: "job"});
    subject
}

fn name(material: &DeclaredMaterial) -> String {
    let image = material.image.as_ref().map(|image| image.repository.to_string());
    image.or_else(|| material.filename.clone()).unwrap_or_else(|| material.name.clone())
}

/// What started the build and could have been chosen from outside it.
fn external(built: &BuiltRun<'_>) -> Value {
    let mut parameters = json!({
        "organization": built.run.organization,
        "workflow": format!("{}/{}", built.run.project, built.run.workflow),
        "contract": {"name": built.contract, "revision": built.revision, "digest": built.revision_digest},
    });
    if let (Some(builder), Some(fields)) = (built.identity(), parameters.as_object_mut()) {
        let verified = [
            ("repository", &builder.repository),
            ("ref", &builder.git_ref),
            ("workflow", &builder.workflow),
            ("trigger", &builder.trigger),
            ("environment", &builder.environment),
        ];
        let verified: Map<String, Value> =
            verified.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))).collect();
        fields.insert("source".to_owned(), Value::Object(verified));
    }
    parameters
}

fn internal(built: &BuiltRun<'_>) -> Value {
    let Some(builder) = built.identity() else { return json!({}) };
    json!({"issuer": builder.issuer, "subject": builder.subject, "runnerEnvironment": builder.runner_environment})
}

/// The commit, when the provider names it, and the materials that are no outputs, by the job's word.
fn dependencies(built: &BuiltRun<'_>) -> Vec<Value> {
    let mut dependencies = Vec::new();
    if let Some(RunnerIdentity { repository, commit: Some(commit), .. }) = built.identity() {
        let mut source = json!({"digest": {"gitCommit": commit}});
        if let (Some(repository), Some(fields)) = (repository, source.as_object_mut()) {
            fields.insert("uri".to_owned(), json!(format!("git+{repository}")));
        }
        dependencies.push(source);
    }
    dependencies.extend(built.run.materials.iter().filter(|material| !material.output).map(|material| {
        json!({
            "name": material.name,
            "digest": {"sha256": material.digest.hex()},
            "annotations": {ASSERTED: "job", "type": material.kind.as_str()},
        })
    }));
    dependencies
}

/// The platform that is trusted to have told the truth about the build: at level 3 the isolated builder itself, else
/// the provider that its certificate speaks of, else nobody that is known.
fn builder_id(built: &BuiltRun<'_>, level: Level, verifier: &Verifier) -> String {
    match built.builder.as_ref().filter(|builder| builder.by() == Voucher::Certificate).map(Builder::identity) {
        Some(RunnerIdentity { workflow: Some(workflow), .. }) if level == Level::L3 => workflow.clone(),
        Some(builder) => builder.issuer.clone(),
        None => format!("{}/builders/unverified", verifier.id()),
    }
}

fn invocation(built: &BuiltRun<'_>, verifier: &Verifier) -> String {
    let run_url = built.identity().and_then(|builder| builder.run_url.clone());
    run_url.unwrap_or_else(|| format!("{}/runs/{}", verifier.id(), built.run.run_id))
}

/// What is in the statement and nothing but the job's own word.
fn asserted(built: &BuiltRun<'_>) -> Vec<&'static str> {
    let mut asserted = vec!["subject"];
    if built.run.materials.iter().any(|material| !material.output) {
        asserted.push("predicate.buildDefinition.resolvedDependencies (those with the annotation)");
    }
    if built.builder.as_ref().is_some_and(|builder| builder.by() == Voucher::Token) {
        asserted.push("that the job which pushed is the one that built (source, commit, invocation)");
    }
    asserted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MaterialType;

    const ISSUER: &str = "https://token.actions.githubusercontent.com";
    const IDENTITY: &str = "https://github.com/acme/builders/.github/workflows/build.yml@refs/tags/v1";

    fn pipeline(environment: Option<&str>) -> Option<Builder> {
        Some(Builder::vouched(runner(Provider::Github, environment), Voucher::Certificate))
    }

    fn runner(provider: Provider, environment: Option<&str>) -> RunnerIdentity {
        RunnerIdentity {
            provider,
            issuer: ISSUER.into(),
            subject: IDENTITY.into(),
            repository: Some("https://github.com/acme/skynet".into()),
            workflow: Some(IDENTITY.into()),
            commit: Some("0123456789012345678901234567890123456789".into()),
            git_ref: Some("refs/heads/main".into()),
            environment: None,
            trigger: Some("push".into()),
            run_id: None,
            run_url: Some("https://github.com/acme/skynet/actions/runs/1/attempts/1".into()),
            runner_environment: environment.map(str::to_owned),
        }
    }

    fn isolated(identity: &str) -> Vec<IsolatedBuilder> {
        vec![IsolatedBuilder { issuer: ISSUER.into(), identity: identity.into() }]
    }

    fn material(name: &str, output: bool) -> DeclaredMaterial {
        DeclaredMaterial {
            name: name.into(),
            kind: MaterialType::Artifact,
            digest: Digest::of(name.as_bytes()),
            filename: Some(format!("{name}.tar")),
            inline: None,
            image: None,
            skip_upload: false,
            output,
            annotations: std::collections::BTreeMap::new(),
        }
    }

    fn run(materials: Vec<DeclaredMaterial>) -> CraftedRun {
        CraftedRun {
            organization: "acme".into(),
            project: "skynet".into(),
            workflow: "release".into(),
            team: String::new(),
            run_id: "run-1".into(),
            contract_name: None,
            contract_revision: None,
            runner: Some("GITHUB_ACTION".into()),
            annotations: std::collections::BTreeMap::new(),
            materials,
        }
    }

    fn told(
        materials: Vec<DeclaredMaterial>,
        builder: Option<Builder>,
        isolated: &[IsolatedBuilder],
    ) -> Option<Statement> {
        let run = run(materials);
        let built = BuiltRun {
            run: &run,
            contract: "release",
            revision: 3,
            revision_digest: Some(Digest::of(b"revision")),
            attestation: Digest::of(b"attestation"),
            started_on: "2026-11-24T12:00:00Z".parse().unwrap(),
            finished_on: "2026-11-24T12:10:00Z".parse().unwrap(),
            builder,
        };
        let verifier = Verifier {
            gateway: "https://sluice.acme.dev".into(),
            organization: "acme".into(),
            version: "1.2.3".into(),
        };
        statement(&built, isolated, &verifier)
    }

    #[test]
    fn the_level_is_that_of_the_builder_and_never_more() {
        let (nobody, this) = (
            isolated("https://github.com/acme/builders/.github/workflows/build.yml@refs/heads/main"),
            isolated(IDENTITY),
        );
        let by = |runner, voucher| Some(Builder::vouched(runner, voucher));
        let of = |provider, environment| by(runner(provider, Some(environment)), Voucher::Certificate);
        let nameless = RunnerIdentity { workflow: None, ..runner(Provider::Github, Some("github-hosted")) };
        let pushed = by(runner(Provider::Github, Some("github-hosted")), Voucher::Token);
        for (builder, isolated, expected) in [
            (None, &this, Level::L1),
            (pipeline(None), &this, Level::L1),
            (pipeline(Some("self-hosted")), &this, Level::L1),
            (pipeline(Some("")), &this, Level::L1),
            (pipeline(Some("github-hosted")), &nobody, Level::L2),
            (of(Provider::Gitlab, "gitlab-hosted"), &nobody, Level::L2),
            (of(Provider::Buildkite, "buildkite-hosted"), &nobody, Level::L2),
            (pipeline(Some("github-hosted")), &this, Level::L3),
            (by(nameless, Voucher::Certificate), &this, Level::L2),
            // A token tells who pushed, and a name that merely sounds like it is none.
            (pushed, &this, Level::L1),
            (pipeline(Some("acme-hosted")), &this, Level::L1),
            (pipeline(Some("gitlab-hosted")), &this, Level::L1),
            (of(Provider::Other, "github-hosted"), &this, Level::L1),
        ] {
            assert_eq!(level(builder.as_ref(), isolated).0, expected, "{builder:?}");
        }
        let elsewhere = vec![IsolatedBuilder { issuer: "https://evil.dev".into(), identity: IDENTITY.into() }];
        assert_eq!(level(pipeline(Some("github-hosted")).as_ref(), &elsewhere).0, Level::L2);
    }

    #[test]
    fn what_the_job_said_is_marked_and_what_was_verified_is_not() {
        let all = vec![material("app", true), material("sbom", false)];
        let unknown = told(all.clone(), None, &isolated(IDENTITY)).unwrap();
        assert_eq!(Statement::parse(&unknown.to_json_bytes()), Ok(unknown.clone()));
        insta::assert_snapshot!("a_key", serde_json::to_string_pretty(&unknown.raw).unwrap());
        let isolated = told(all, pipeline(Some("github-hosted")), &isolated(IDENTITY)).unwrap();
        insta::assert_snapshot!("an_isolated_pipeline", serde_json::to_string_pretty(&isolated.raw).unwrap());
    }

    #[test]
    fn there_is_no_provenance_of_nothing() {
        assert_eq!(told(vec![material("sbom", false)], None, &[]), None);
    }
}
