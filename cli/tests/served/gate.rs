//! `sluice check` as pipelines use it: its forms, its waiting, and the very scripts that are given for CI systems.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use contracts::{MaterialType, materials};
use serde_json::Value;
use testdata::{Image, Layout};

use crate::scene::{Scene, Serving, both, read};

const UPSTREAM: &str = "[[upstreams]]\nhost = \"registry.shop.example\"\nlayout = \"images\"\n";
const IMAGE: &str = "registry.shop.example/shop/app:v1";

/// A served gateway with one image that nothing was attested about.
fn scene() -> (Scene, Serving) {
    let scene = Scene::new(UPSTREAM, &testdata::contract("registry.shop.example/**"));
    Layout::create(scene.path("images")).add("shop/app:v1", &Image::new("app"));
    let serving = scene.serve();
    scene.apply();
    scene.write("sbom.json", &testdata::cyclonedx(3));
    (scene, serving)
}

fn attest(scene: &Scene) {
    let image = format!("registry.shop.example/shop/app@{}", Image::new("app").digest());
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
    scene.sluice(&["attestation", "add", "--name", "image", "--value", &image], 0);
    scene.sluice(&["attestation", "add", "--name", "sbom", "--value", "sbom.json"], 0);
    scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
}

/// What differs from run to run.
fn same(text: &str) -> String {
    let digest = Image::new("app").digest().to_string();
    text.replace(&digest, "[image]")
}

#[test]
fn a_denial_in_every_form() {
    let (scene, _serving) = scene();
    for form in ["human", "sarif", "junit", "github", "gitlab", "markdown"] {
        let told = scene.sluice(&["check", IMAGE, "--output", form], 1);
        insta::assert_snapshot!(format!("denied_{form}"), same(&told));
    }
    let sarif = scene.sluice(&["check", IMAGE, "--output", "sarif"], 1);
    materials::validate(MaterialType::Sarif, sarif.as_bytes()).unwrap();
    let junit = scene.sluice(&["check", IMAGE, "--output", "junit"], 1);
    materials::validate(MaterialType::JunitXml, junit.as_bytes()).unwrap();
    insta::assert_snapshot!("denied_explained", same(&scene.sluice(&["check", IMAGE, "--explain"], 1)));

    attest(&scene);
    for form in ["junit", "github", "gitlab", "markdown"] {
        let told = scene.sluice(&["check", IMAGE, "--output", form], 0);
        insta::assert_snapshot!(format!("allowed_{form}"), same(&told));
    }
    let told = scene.sluice(&["check", IMAGE, "--explain"], 0);
    assert!(told.contains("judged: attestation sha256:") && told.contains("satisfied"), "{told}");
    assert!(!told.contains("not asked") && !told.contains("blocks"), "{told}");

    let replay = ["contract", "replay", "--revision", "contract.yaml"];
    assert!(scene.sluice(&replay, 0).contains("0 of 1 verdicts change"));
    let stricter = testdata::contract("registry.shop.example/**").replace("type: SBOM_CYCLONEDX_JSON", "type: SARIF");
    scene.write("contract.yaml", stricter.as_bytes());
    let told = scene.sluice(&replay, 1);
    assert!(told.contains("1 of 1 verdicts change") && told.contains("material-type"), "{told}");
}

#[test]
fn a_report_is_written_also_when_it_could_not_be_told() {
    let (scene, mut serving) = scene();
    serving.kill();
    let reports = ["junit=r.xml", "gitlab=r.json", "sarif=r.sarif", "json=v.json", "markdown=r.md"];
    let mut arguments = vec!["check", IMAGE];
    for report in &reports {
        arguments.extend(["--report", report]);
    }
    let told = scene.sluice(&arguments, 2);
    assert!(told.contains("does not answer"), "{told}");
    let file = |name: &str| String::from_utf8(read(&scene.path(name))).unwrap();
    assert!(file("r.xml").contains("errors=\"1\"") && file("r.xml").contains("<error message="));
    assert!(file("r.json").contains("could-not-decide") && file("r.json").contains("blocker"));
    assert!(file("r.sarif").contains("\"executionSuccessful\": false"));
    assert!(file("r.md").contains("could not be told"));
    let json: Value = serde_json::from_str(&file("v.json")).unwrap();
    assert_eq!(json["decision"], Value::Null);
}

#[test]
fn waiting_ends_with_the_evidence_and_never_with_a_yes_without_it() {
    let (scene, _serving) = scene();
    let told = scene.sluice(&["check", IMAGE, "--wait", "1s"], 1);
    assert!(told.contains("not yet: there is no attestation"), "{told}");
    // What no waiting mends is told at once.
    let told = scene.sluice(&["check", "not an image", "--wait", "60m"], 2);
    assert!(!told.contains("not yet"), "{told}");
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| scene.sluice(&["check", IMAGE, "--wait", "60s"], 0));
        std::thread::sleep(Duration::from_millis(500));
        attest(&scene);
        let told = waiting.join().unwrap();
        assert!(told.contains("allowed"), "{told}");
    });
}

/// The lines under `KEY: |`, without their indent.
fn block(text: &str, key: &str) -> String {
    let begins = format!("{key} |");
    let mut lines = text.lines().skip_while(|line| line.trim() != begins).skip(1).peekable();
    let width = |line: &str| line.len() - line.trim_start().len();
    let indent = lines.peek().map_or(0, |line| width(line));
    let of_it = lines.take_while(|line| line.trim().is_empty() || width(line) >= indent);
    let script: String = of_it.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
    assert!(!script.trim().is_empty(), "no script under `{begins}`");
    script
}

fn given(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ci").join(path)).unwrap()
}

/// Runs a script as its runner would, with `sluice` on the path.
fn runs(scene: &Scene, shell: &[&str], script: &str, variables: &[(&str, &str)]) -> Output {
    let sluice = PathBuf::from(env!("CARGO_BIN_EXE_sluice"));
    let path = format!("{}:{}", sluice.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).env_clear().current_dir(scene.path(""));
    command.env("PATH", path).env("HOME", scene.path("")).env("SLUICE_TOKEN", scene.token());
    command.env("SLUICE_GATEWAY", scene.url()).env("CHECK_IMAGE", IMAGE).env("CHECK_WAIT", "1s");
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn the_scripts_for_ci_systems_stop_the_pipeline_until_the_evidence_is_there() {
    let (scene, mut serving) = scene();
    let bash: &[&str] = &["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"];
    let text = |name: &str| fs::read_to_string(scene.path(name)).unwrap_or_default();
    let (temp, output, summary, result) =
        (scene.path(""), scene.path("output"), scene.path("summary.md"), scene.path("result"));
    let as_text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (temp, output, summary, result) = (as_text(&temp), as_text(&output), as_text(&summary), as_text(&result));
    let github = [
        ("GITHUB_ACTIONS", "true"),
        ("RUNNER_TEMP", temp.as_str()),
        ("GITHUB_OUTPUT", output.as_str()),
        ("GITHUB_STEP_SUMMARY", summary.as_str()),
        ("CHECK_VSA", ""),
    ];
    let gitlab = [("GITLAB_CI", "true"), ("CI_JOB_ID", "1")];
    let tekton = [("CHECK_RESULT", result.as_str())];
    let jenkins = [("JENKINS_HOME", "/var/jenkins"), ("BUILD_URL", "https://jenkins.example/1")];
    let jenkinsfile = given("jenkins/Jenkinsfile").replace("--wait 5m", "--wait 1s");
    let stage = jenkinsfile.split("'''").nth(1).unwrap().to_owned();
    let action = block(&given("github/action.yml"), "run:");
    let component = block(&given("gitlab/check.yml"), "-");
    let task = block(&given("tekton/task.yaml"), "script:");
    let all = |code: i32| {
        let hold = |system: &str, ran: &Output| assert_eq!(ran.status.code(), Some(code), "{system}: {}", both(ran));
        hold("github", &runs(&scene, bash, &action, &github));
        hold("gitlab", &runs(&scene, bash, &component, &gitlab));
        hold("tekton", &runs(&scene, &["sh", "-c"], &task, &tekton));
        hold("jenkins", &runs(&scene, &["sh", "-xe", "-c"], &stage, &jenkins));
    };
    all(1);
    assert!(text("output").contains("decision=deny"), "{}", text("output"));
    assert!(text("summary.md").contains("⛔ Sluice: denied"), "{}", text("summary.md"));
    assert!(text("sluice-check.sarif").contains("no-evidence"));
    assert!(text("sluice-code-quality.json").contains("no-evidence"));
    assert!(text("sluice-junit.xml").contains("failures=\"1\""));
    assert_eq!(text("result"), "deny");

    attest(&scene);
    all(0);
    assert!(text("output").ends_with("sluice-check.sarif\n") && text("output").contains("decision=allow"));
    assert!(text("summary.md").contains("✅ Sluice: allowed"));
    assert!(text("sluice-junit.xml").contains("failures=\"0\""));
    assert_eq!(text("result"), "allow");

    serving.kill();
    all(2);
    assert!(text("output").contains("decision=unknown"));
    assert!(text("sluice-junit.xml").contains("errors=\"1\""));
    assert_eq!(text("result"), "unknown");
}
