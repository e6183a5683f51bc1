//! What tokens of each provider say about the build that holds them, read into one shape.

#![cfg(test)]

use contracts::{
    Provider, RunnerIdentity,
    verify::token::{Expectations, Jwks, Token},
};
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use testdata::TokenIssuer;

fn read(provider: Provider, issuer: &str, claims: Value) -> RunnerIdentity {
    let minter = TokenIssuer::new(issuer);
    let text = minter.token("sluice", testdata::noon(), &claims);
    let keys = Jwks::parse(minter.jwks().to_string().as_bytes()).unwrap();
    let expected = Expectations { issuer, audiences: &["sluice"] };
    let claims = Token::parse(&text).unwrap().verify(&keys, &expected, testdata::noon()).unwrap();
    RunnerIdentity::of_token(provider, &claims)
}

#[test]
fn github_tells_the_repository_the_workflow_and_the_run() {
    let identity = read(Provider::Github, "https://token.actions.githubusercontent.com", testdata::github_claims());
    assert_eq!(identity.workflow_file_path(), Some("acme/skynet/.github/workflows/release.yml@refs/heads/main"));
    assert_json_snapshot!(identity);
}

#[test]
fn other_providers_tell_what_they_know() {
    let gitlab = json!({
        "sub": "project_path:acme/skynet:ref_type:branch:ref:main", "project_path": "acme/skynet", "project_id": "7",
        "ref": "main", "ref_type": "branch", "sha": "78ac366c9e8a300d51808d581422ca61f7b5b721", "pipeline_id": "11",
        "pipeline_source": "push", "ci_config_ref_uri": "gitlab.acme.dev/acme/skynet//.gitlab-ci.yml@refs/heads/main",
        "environment": "production", "runner_environment": "self-hosted",
    });
    let buildkite = json!({
        "sub": "organization:acme:pipeline:skynet:ref:refs/heads/main:commit:HEAD:step:build",
        "organization_slug": "acme", "pipeline_slug": "skynet", "build_number": 12, "build_branch": "main",
        "build_tag": "", "build_commit": "HEAD",
    });
    let circleci = json!({
        "sub": "org/7/project/8/user/9", "oidc.circleci.com/project-id": "8", "oidc.circleci.com/vcs-ref": "refs/heads/main",
        "oidc.circleci.com/vcs-origin": "github.com/acme/skynet", "oidc.circleci.com/workflow-id": "w",
    });
    let google = json!({"sub": "1", "email": "build@acme.iam.gserviceaccount.com", "sha": "not what it seems"});
    let gitlab = read(Provider::Gitlab, "https://gitlab.acme.dev", gitlab);
    assert_eq!(gitlab.workflow_file_path(), Some("gitlab.acme.dev/acme/skynet//.gitlab-ci.yml@refs/heads/main"));
    assert_json_snapshot!([
        gitlab,
        read(Provider::Buildkite, "https://agent.buildkite.com", buildkite),
        read(Provider::Circleci, "https://oidc.circleci.com/org/7", circleci),
        read(Provider::Google, "https://accounts.google.com", google.clone()),
        read(Provider::Other, "https://ci.acme.dev", google),
    ]);
}
