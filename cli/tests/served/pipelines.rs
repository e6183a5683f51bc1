//! Pipelines that were written for Chainloop run with only the program's name changed, and what begins and ends a run.

use std::{fs, process::Command};

use contracts::Digest;
use serde_json::Value;

use crate::scene::{Scene, both};

const CONTRACT: &str = r#"
apiVersion: chainloop.dev/v1
kind: Contract
metadata: {name: skynet}
spec:
  runner: {type: GITHUB_ACTION}
  envAllowList: [DEPLOY_TO]
  annotations: [{name: channel}]
  materials:
    - {name: binary, type: ARTIFACT, output: true}
    - {name: control-plane-image, type: CONTAINER_IMAGE, output: true}
    - {name: build-ref, type: STRING}
    - {name: skynet-sbom, type: SBOM_CYCLONEDX_JSON}
    - {name: tests, type: JUNIT_XML, annotations: [{name: suite}]}
  signers: {any: [{publicKey: "file://keys/release.pub"}]}
"#;
const ON_GITHUB: [(&str, &str); 5] = [
    ("CI", "true"),
    ("GITHUB_REPOSITORY", "acme/skynet"),
    ("GITHUB_RUN_ID", "42"),
    ("GITHUB_SHA", "78ac366c9e8a300d51808d581422ca61f7b5b721"),
    ("DEPLOY_TO", "production"),
];

fn scene() -> Scene {
    let scene = Scene::new("", CONTRACT);
    scene.write("build/skynet", b"\x7fELF and so on");
    scene.write("notes.txt", b"reviewed by jo");
    scene.write("reports/junit.xml", br#"<testsuite tests="1"><testcase classname="a" name="b"/></testsuite>"#);
    scene.write("skynet.cyclonedx.json", &testdata::cyclonedx_named("skynet", 3));
    scene
}

fn json(scene: &Scene, name: &str) -> Value {
    serde_json::from_slice(&fs::read(scene.path(name)).unwrap()).unwrap()
}

#[test]
fn a_published_pipeline_runs_with_only_the_name_of_the_program_changed() {
    let scene = scene();
    let _serving = scene.serve();
    scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    let script = include_str!("data/pipeline.sh").replace("chainloop ", concat!(env!("CARGO_BIN_EXE_sluice"), " "));
    let image = format!("registry.example.test/skynet/control-plane@{}", Digest::of(b"image"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(scene.path("")).env_clear().envs(ON_GITHUB);
    shell.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", scene.path(""));
    shell.env("SLUICE_GATEWAY", scene.url()).env("CHAINLOOP_TOKEN", scene.token()).env("IMAGE", image);
    let key = fs::read_to_string(scene.path("keys/release.key")).unwrap();
    shell.env("CHAINLOOP_SIGNING_KEY", key).env("CHAINLOOP_SIGNING_PASSWORD", scene.password());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}\n{}", both(&output), scene.log());

    let (begun, added) = (json(&scene, "init.json"), json(&scene, "add.json"));
    let (status, pushed) = (json(&scene, "status.json"), json(&scene, "push.json"));
    let run = begun["attestationID"].as_str().unwrap();
    assert_eq!(begun["workflowMeta"]["ProjectVersion"]["version"], "v1.4.0");
    assert_eq!(begun["runnerContext"]["RunnerType"], "GITHUB_ACTION");
    assert_eq!(begun["envVars"]["DEPLOY_TO"], "production");
    assert_eq!(added[0]["name"], "skynet-sbom");
    let set: Vec<&str> = status["materials"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["Set"] == true)
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert_eq!(set, ["binary", "control-plane-image", "build-ref", "skynet-sbom", "tests", "extra-evidence"]);
    let digest = pushed["digest"].as_str().unwrap();
    assert_eq!(digest, Digest::of(&fs::read(scene.path("bundle.json")).unwrap()).to_string());
    assert_eq!((&pushed["isPushed"], &pushed["attestationID"]), (&Value::Bool(true), &begun["attestationID"]));

    let run = scene.sluice(&["run", "describe", run, "-o", "json"], 0);
    let run: Value = serde_json::from_str(&run).unwrap();
    assert_eq!((&run["state"], &run["version"]), (&Value::from("accepted"), &Value::from("v1.4.0")));
    assert_eq!(run["url"], "https://github.com/acme/skynet/actions/runs/42");
    let run = run["id"].as_str().unwrap();
    let statement = scene.sluice(&["run", "describe", run, "-o", "statement"], 0);
    let statement: Value = serde_json::from_str(&statement).unwrap();
    assert_eq!(statement["predicate"]["metadata"]["projectVersion"], "v1.4.0");
    let bundle = scene.sluice(&["run", "describe", run, "-o", "attestation"], 0);
    assert_eq!(serde_json::from_str::<Value>(&bundle).unwrap(), json(&scene, "bundle.json"));
}

#[test]
fn a_new_workflow_is_made_with_a_contract_of_the_repository_and_signed_by_the_environment() {
    let scene = Scene::new("", &CONTRACT.replace("runner: {type: GITHUB_ACTION}", ""));
    scene.write(".chainloop.yml", b"projectVersion: 2.10\n");
    let _serving = scene.serve();
    let init =
        ["attestation", "init", "--workflow", "w", "--project", "p", "--contract", "contract.yaml", "-o", "json"];
    let told = scene.sluice(&init, 0);
    assert!(told.contains("the workflow p/w was made"), "{told}");
    let begun = serde_json::Deserializer::from_str(&told).into_iter::<Value>().next().unwrap().unwrap();
    assert_eq!(begun["workflowMeta"]["ContractName"], "skynet");
    assert_eq!(begun["workflowMeta"]["ProjectVersion"]["version"], "2.10");
    scene.sluice(&["attestation", "add", "--kind", "STRING", "--name", "build-ref", "--value", "x"], 0);
    let key = [("CHAINLOOP_SIGNING_KEY_PATH", "keys/release.key")];
    let told = scene.sluice_on(&key, &["attestation", "push", "--force"], 4);
    assert!(told.contains("blocked: attestation"), "{told}");
    // The gateway names the version that a run had.
    let again = ["attestation", "init", "--workflow", "w", "--project", "p", "--version", "9", "--existing-version"];
    let told = scene.sluice(&again, 2);
    assert!(told.contains("no run of this project has the version `9`"), "{told}");
    let again =
        ["attestation", "init", "--workflow", "w", "--project", "p", "--latest-version", "--release", "-o", "json"];
    let told = scene.sluice(&again, 0);
    let begun = serde_json::Deserializer::from_str(&told).into_iter::<Value>().next().unwrap().unwrap();
    assert_eq!(begun["workflowMeta"]["ProjectVersion"]["version"], "2.10");
    assert_eq!(begun["workflowMeta"]["ProjectVersion"]["prerelease"], false);
}

#[test]
fn what_is_printed_as_json_has_the_published_keys() {
    let scene = scene();
    let _serving = scene.serve();
    scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    let init = ["att", "init", "--workflow", "w", "--project", "p", "--contract", "skynet", "-o", "json"];
    // Notes for people follow.
    let told = scene.sluice_on(&ON_GITHUB, &init, 0);
    let begun = serde_json::Deserializer::from_str(&told).into_iter::<Value>().next().unwrap().unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let published = "attestationID initializedAt workflowMeta materials envVars runnerContext dryRun annotations isPushed \
                     policy_evaluations has_policy_violations must_block_on_policy_violations timestamp_authority \
                     attestation_view_url digest";
    assert_eq!(keys(&begun), format!("{published} missing findings signed"));
    let published = "WorkflowID Name Team Project ContractRevision ContractName Organization ProjectVersion";
    assert_eq!(keys(&begun["workflowMeta"]), published);
    assert_eq!(keys(&begun["runnerContext"]), "EnvVars JobURL RunnerType");
    let published = "name value hash tag filename type Set IsOutput Required SkipUpload";
    assert_eq!(keys(&begun["materials"][0]), published);
}

#[test]
fn a_runner_and_a_secret_are_checked_before_anything_is_begun() {
    let scene = scene();
    let _serving = scene.serve();
    scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    let init = ["attestation", "init", "--workflow", "w", "--project", "p", "--contract", "skynet"];
    let told = scene.sluice(&init, 2);
    assert!(told.contains("asks for runner `GITHUB_ACTION`") && told.contains("--dry-run"), "{told}");

    let mut leaking = ON_GITHUB.to_vec();
    let token = format!("ghp_{}", "a1B2".repeat(9));
    leaking[4].1 = &token;
    let told = scene.sluice_on(&leaking, &init, 2);
    assert!(told.contains("`DEPLOY_TO`") && told.contains("a token of GitHub") && !told.contains(&token), "{told}");
    assert!(told.contains("--allow-secret-env DEPLOY_TO"), "{told}");
    let runs = scene.sluice(&["run", "list"], 0);
    assert!(!runs.contains("started"), "{runs}");
    scene.sluice_on(&leaking, &[&init[..], &["--allow-secret-env", "DEPLOY_TO"]].concat(), 0);

    // An unknown workflow says what to type.
    let unknown = ["attestation", "init", "--workflow", "other", "--project", "p", "--replace"];
    let told = scene.sluice_on(&ON_GITHUB, &unknown, 2);
    assert!(told.contains("there is no workflow `p/other`") && told.contains("--contract"), "{told}");
    let told = scene.sluice_on(&ON_GITHUB, &[&init[..], &["--replace", "--org", "other"]].concat(), 2);
    assert!(told.contains("--org says `other`"), "{told}");
}

#[test]
fn a_dry_run_stores_nothing() {
    let scene = scene();
    let _serving = scene.serve();
    scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    let told = scene
        .sluice(&["attestation", "init", "--workflow", "w", "--project", "p", "--contract", "skynet", "--dry-run"], 0);
    assert!(told.contains("dry run"), "{told}");
    scene.sluice(&["attestation", "add", "--value", "build/skynet", "--name", "binary"], 0);
    // It lacks what the contract wants, and says so as the gateway would.
    let told = scene.sluice(&["attestation", "push", "--force", "--key", "keys/release.key", "-o", "statement"], 4);
    assert!(told.contains("\"workflowRunID\": \"dry-run\""), "{told}");
    let runs = scene.sluice(&["run", "list"], 0);
    assert!(!runs.contains("started") && !runs.contains("p/w"), "{runs}");
    let flows = scene.sluice(&["workflow", "list"], 0);
    assert!(!flows.contains("skynet"), "{flows}");
}

#[test]
fn a_reset_tells_the_gateway_how_the_run_ended() {
    let scene = Scene::new("", &CONTRACT.replace("runner: {type: GITHUB_ACTION}", ""));
    let _serving = scene.serve();
    scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    let init = ["attestation", "init", "--workflow", "w", "--project", "p", "--contract", "skynet"];
    scene.sluice(&init, 0);
    scene.sluice(&["attestation", "reset", "--trigger", "cancellation", "--reason", "stopped by jo"], 0);
    scene.sluice(&init, 0);
    scene.sluice(&["attestation", "reset"], 0);
    let told = scene.sluice(&["attestation", "reset"], 0);
    assert!(told.contains("there was no session"), "{told}");
    let runs: Value = serde_json::from_str(&scene.sluice(&["run", "list", "-o", "json"], 0)).unwrap();
    let told: Vec<_> =
        runs.as_array().unwrap().iter().map(|run| (run["state"].clone(), run["reason"].clone())).collect();
    assert_eq!(told, [("failed".into(), Value::Null), ("cancelled".into(), "stopped by jo".into())]);
}

#[test]
fn the_pull_request_that_is_built_is_a_material_of_its_own() {
    let scene = scene();
    let _serving = scene.serve();
    scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    scene.write("event.json", br#"{"pull_request":{"number":7,"title":"t","html_url":"https://github.com/acme/skynet/pull/7","user":{"login":"jo","type":"User"}}}"#);
    let event = scene.path("event.json").display().to_string();
    let mut on = ON_GITHUB.to_vec();
    on.extend([("GITHUB_EVENT_NAME", "pull_request"), ("GITHUB_EVENT_PATH", event.as_str())]);
    let init = ["attestation", "init", "--workflow", "w", "--project", "p", "--contract", "skynet"];
    let told = scene.sluice_on(&on, &init, 0);
    assert!(told.contains("pr-metadata-7") && told.contains("CHAINLOOP_PR_INFO"), "{told}");
    let told = scene.sluice_on(&on, &["attestation", "status", "-o", "statement"], 0);
    assert!(told.contains("\"chainloop.dev/is-pull-request\": \"true\""), "{told}");
}
