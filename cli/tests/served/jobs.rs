//! Several jobs of one pipeline work on one attestation; and a push that is killed at any moment is pushed again.

use std::{process::Stdio, thread, time::Duration};

use serde_json::Value;

use crate::scene::{Scene, both};

const CONTRACT: &str = r#"
apiVersion: chainloop.dev/v1
kind: Contract
metadata: {name: release}
spec:
  materials:
    - {name: binary, type: ARTIFACT, output: true}
    - {name: sbom, type: SBOM_CYCLONEDX_JSON}
    - {name: tests, type: JUNIT_XML}
  signers: {any: [{publicKey: "file://keys/release.pub"}]}
"#;
const PUSH: [&str; 4] = ["attestation", "push", "--key", "keys/release.key"];

fn scene() -> Scene {
    let scene = Scene::new("", CONTRACT);
    scene.write("app", b"\x7fELF");
    scene.write("sbom.json", &testdata::cyclonedx_named("app", 3));
    scene.write("junit.xml", br#"<testsuite tests="1"><testcase classname="a" name="b"/></testsuite>"#);
    scene
}

fn first_json(told: &str) -> Value {
    serde_json::Deserializer::from_str(told).into_iter::<Value>().next().unwrap().unwrap()
}

fn begin_remote(scene: &Scene) -> String {
    let init = ["attestation", "init", "--project", "shop", "--workflow", "release", "--remote-state", "-o", "json"];
    first_json(&scene.sluice(&init, 0))["attestationID"].as_str().unwrap().to_owned()
}

#[test]
fn two_jobs_that_add_at_once_to_one_attestation_both_find_their_materials_in_it() {
    let scene = scene();
    let mut serving = scene.serve();
    scene.apply();
    let id = begin_remote(&scene);
    assert!(!scene.path(".sluice").exists(), "a remote session leaves nothing here");
    let mut jobs = Vec::new();
    for job in 0..8 {
        scene.write(&format!("logs/{job}.txt"), format!("log of job {job}").as_bytes());
        let (name, value) = (format!("log-{job}"), format!("logs/{job}.txt"));
        let add =
            ["attestation", "add", "--name", &name, "--kind", "EVIDENCE", "--value", &value, "--attestation-id", &id];
        jobs.push(scene.with_token(&add).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    }
    for job in jobs {
        let output = job.wait_with_output().unwrap();
        assert!(output.status.success(), "{}\n{}", both(&output), scene.log());
    }
    // What is kept survives a gateway that starts anew.
    serving.kill();
    let _serving = scene.serve();
    for (name, value) in [("binary", "app"), ("sbom", "sbom.json"), ("tests", "junit.xml")] {
        scene.sluice(&["att", "add", "--name", name, "--value", value, "--attestation-id", &id], 0);
    }
    // Somebody's mistake is taken out again, at the gateway as well.
    let extra = ["att", "add", "--name", "extra", "--kind", "STRING", "--value", "x", "--attestation-id", &id];
    scene.sluice(&extra, 0);
    scene.sluice(&["att", "rm", "--name", "extra", "--attestation-id", &id], 0);
    // The bytes are at the gateway: the job that pushes has none of them.
    for gone in ["app", "sbom.json", "junit.xml"] {
        std::fs::remove_file(scene.path(gone)).unwrap();
    }
    let status = first_json(&scene.sluice(&["att", "status", "-o", "json", "--attestation-id", &id], 0));
    assert_eq!(status["materials"].as_array().unwrap().iter().filter(|material| material["Set"] == true).count(), 11);
    let push = [&PUSH[..], &["--attestation-id", &id, "-o", "json"]].concat();
    let pushed = first_json(&scene.sluice(&push, 0));
    assert_eq!((&pushed["decision"], &pushed["attestationID"]), (&Value::from("allow"), &Value::from(id.as_str())));

    // It ended with the run: whoever pushes again hears what was said, and nobody adds any more.
    let again = first_json(&scene.sluice(&push, 0));
    assert_eq!(again["digest"], pushed["digest"]);
    let late = ["att", "add", "--name", "late", "--kind", "STRING", "--value", "x", "--attestation-id", &id];
    let told = scene.sluice(&late, 2);
    assert!(told.contains("was accepted already"), "{told}");
}

#[test]
fn a_remote_attestation_is_reset_and_is_seen_by_its_organization_alone() {
    let scene = scene();
    let _serving = scene.serve();
    scene.apply();
    let id = begin_remote(&scene);
    let told = scene.sluice(&["attestation", "add", "--value", "app", "--name", "binary", "--remote-state"], 2);
    assert!(told.contains("--attestation-id"), "{told}");
    scene.sluice(&["attestation", "reset", "--trigger", "cancellation", "--attestation-id", &id], 0);
    let told = scene.sluice(&["attestation", "status", "--attestation-id", &id], 2);
    assert!(told.contains("was cancelled already"), "{told}");
    let told = scene.sluice(&["attestation", "status", "--attestation-id", "nothing"], 2);
    assert!(told.contains("no such run"), "{told}");
}

#[test]
fn a_push_that_is_killed_at_any_moment_is_pushed_again_and_counts_once() {
    let scene = scene();
    let _serving = scene.serve();
    scene.apply();
    let rounds = 14;
    for round in 0..rounds {
        scene.write("app", format!("build {round}").as_bytes());
        scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
        scene.sluice(&["attestation", "add", "--name", "binary", "--value", "app"], 0);
        scene.sluice(&["attestation", "add", "--value", "sbom.json"], 0);
        scene.sluice(&["attestation", "add", "--value", "junit.xml"], 0);
        let mut push = scene.with_token(&PUSH).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Another moment each round, from before it reads the session until it has its answer.
        thread::sleep(Duration::from_millis(3 + 9 * round));
        push.kill().unwrap();
        let killed = !push.wait().unwrap().success();
        if killed && scene.path(".sluice/run.json").exists() {
            let told = scene.sluice(&PUSH, 0);
            assert!(told.contains("accepted"), "{told}");
        }
        assert!(!scene.path(".sluice/run.json").exists());
    }
    let runs = first_json(&scene.sluice(&["run", "list", "--workflow", "shop/release", "-o", "json"], 0));
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len() as u64, rounds, "a run that nobody began");
    assert!(runs.iter().all(|run| run["state"] == "accepted"), "{runs:?}");
    let ids: std::collections::BTreeSet<_> = runs.iter().map(|run| run["attestation"].as_str().unwrap()).collect();
    assert_eq!(ids.len() as u64, rounds, "one attestation stands for two runs");
}

#[test]
fn a_second_process_waits_for_the_session_and_both_materials_are_there() {
    let scene = scene();
    let _serving = scene.serve();
    scene.apply();
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
    let mut all = Vec::new();
    for n in 0..6 {
        let (name, value) = (format!("text-{n}"), n.to_string());
        let add = ["attestation", "add", "--name", &name, "--kind", "STRING", "--value", &value];
        all.push(scene.with_token(&add).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    }
    for one in all {
        let output = one.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", both(&output));
    }
    let status = first_json(&scene.sluice(&["attestation", "status", "-o", "json"], 0));
    assert_eq!(status["materials"].as_array().unwrap().iter().filter(|material| material["Set"] == true).count(), 6);
}
