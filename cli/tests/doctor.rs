//! `sluice doctor` over the configurations of `testdata/clients`: what it answers, what it prints, and what `--fix`
//! makes of them.
#![cfg(test)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::Value;

/// What a case says of itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    about: String,
    #[serde(default = "gateway")]
    gateway: String,
    #[serde(default)]
    registries: Vec<String>,
    exit: i32,
    answers: Vec<Answer>,
    exit_when_fixed: i32,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Answer {
    client: String,
    registry: String,
    answer: String,
}

fn gateway() -> String {
    "sluice.acme.dev".to_owned()
}

#[test]
fn every_configuration_is_answered_as_expected() {
    let cases = cases();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for (name, folder, expected) in &cases {
        let (exit, stdout, stderr) = doctor(&folder.join("root"), expected, &["-o", "json"]);
        let answers = answers(&stdout);
        if exit != expected.exit || answers != expected.answers {
            wrong.push(format!("{name} ({}): exit {exit}\n{answers:#?}\n{stderr}", expected.about));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn people_are_told_why_and_what_to_write() {
    for (name, folder, expected) in cases() {
        let (exit, stdout, stderr) = doctor(&folder.join("root"), &expected, &[]);
        let stderr = stderr.replace(folder.to_str().unwrap(), "CASE");
        insta::assert_snapshot!(name, format!("{}\nexit {exit}\n{stdout}── stderr ──\n{stderr}", expected.about));
    }
}

#[test]
fn fixing_closes_what_can_be_closed_and_keeps_what_was_there() {
    let mut wrong = Vec::new();
    for (name, folder, expected) in cases() {
        let scratch = tempfile::tempdir().unwrap();
        copy(&folder.join("root"), scratch.path());
        let before = files(scratch.path());
        let fix = ["--spellings-closed", "--fix"];
        let (exit, stdout, stderr) = doctor(scratch.path(), &expected, &[&fix[..], &["-o", "json"]].concat());
        if exit != expected.exit_when_fixed {
            wrong.push(format!("{name}: exit {exit} when fixed\n{stdout}{stderr}"));
            continue;
        }
        let after = files(scratch.path());
        for (path, text) in &before {
            let kept = after.get(path) == Some(text) || after.get(&format!("{path}.before-sluice")) == Some(text);
            assert!(kept, "{name}: {path} is lost");
        }
        // Once more there is nothing to do.
        let (again, _, _) = doctor(scratch.path(), &expected, &fix);
        assert_eq!((again, files(scratch.path())), (exit, after), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_left_to_a_person_closes_the_other_spellings() {
    for name in ["containerd-closed", "containerd-no-server", "podman-rewritten", "podman-mirror", "podman-own-file"] {
        let scratch = tempfile::tempdir().unwrap();
        copy(&clients().join(name).join("root"), scratch.path());
        let expected = expected(&clients().join(name));
        let (exit, stdout, stderr) = doctor(scratch.path(), &expected, &["--fix", "-o", "json"]);
        assert_eq!(exit, 1, "{name}: nothing is written that only a person can decide\n{stdout}{stderr}");
        let told: Value = serde_json::from_str(&stdout).unwrap();
        let by_hand = told["corrections"].as_array().unwrap().iter().filter(|one| one["written"] == false);
        for one in by_hand {
            assert!(one["caution"].is_string(), "{one:#}");
            let file = scratch.path().join(one["file"].as_str().unwrap().trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, one["content"].as_str().unwrap()).unwrap();
        }
        let (exit, stdout, stderr) = doctor(scratch.path(), &expected, &[]);
        assert_eq!(exit, 0, "{name}: {stdout}{stderr}");
    }
}

#[test]
fn comments_and_other_settings_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    copy(&clients().join("containerd-mirrors/root"), scratch.path());
    let expected = expected(&clients().join("containerd-mirrors"));
    let (exit, stdout, stderr) = doctor(scratch.path(), &expected, &["--spellings-closed", "--fix"]);
    assert_eq!(exit, 0, "{stdout}{stderr}");
    // What was said to be closed elsewhere is not said to be open.
    assert!(stdout.contains("final") && !stdout.contains("in capitals"), "{stdout}");
    let text = fs::read_to_string(scratch.path().join("etc/containerd/config.toml")).unwrap();
    assert!(text.contains("# as kubeadm wants it") && text.contains("password = \"TOKEN\""), "{text}");
}

#[test]
fn a_token_that_only_its_owner_could_read_stays_so() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    copy(&clients().join("containerd-no-server/root"), scratch.path());
    let file = scratch.path().join("etc/containerd/certs.d/registry.acme.dev/hosts.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let fix = ["--spellings-closed", "--fix"];
    let (exit, ..) = doctor(scratch.path(), &expected(&clients().join("containerd-no-server")), &fix);
    assert_eq!(exit, 0);
    assert!(fs::read_to_string(&file).unwrap().contains("Bearer TOKEN"));
    for path in [file.clone(), file.with_file_name("hosts.toml.before-sluice")] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_link_out_of_the_tree_is_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    copy(&clients().join("containerd-closed/root"), scratch.path());
    let file = scratch.path().join("etc/containerd/certs.d/registry.acme.dev/hosts.toml");
    let outside = elsewhere.path().join("hosts.toml");
    fs::rename(&file, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &file).unwrap();
    let before = fs::read(&outside).unwrap();
    let (exit, stdout, _) =
        doctor(scratch.path(), &expected(&clients().join("containerd-closed")), &["--fix", "-o", "json"]);
    assert_eq!(exit, 2, "{stdout}");
    assert!(stdout.contains("leads out of"), "{stdout}");
    assert_eq!(fs::read(&outside).unwrap(), before);
}

#[test]
fn the_gateway_must_be_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice")).args(["doctor"]).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--gateway"));
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/clients").canonicalize().unwrap()
}

fn cases() -> Vec<(String, PathBuf, Expected)> {
    let mut names: Vec<_> = fs::read_dir(clients()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let folders = names.into_iter().filter(|path| path.is_dir());
    folders
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path.clone(), expected(&path)))
        .collect()
}

fn expected(folder: &Path) -> Expected {
    let text = fs::read(folder.join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

fn doctor(root: &Path, expected: &Expected, more: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(["doctor", "--gateway", &expected.gateway, "--root"]).arg(root).args(more).env_clear();
    // Tests look for words, not for where they are wrapped.
    command.env("COLUMNS", "1000");
    for registry in &expected.registries {
        command.args(["--registry", registry]);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn answers(stdout: &str) -> Vec<Answer> {
    if stdout.is_empty() {
        return Vec::new();
    }
    let value: Value = serde_json::from_str(stdout).unwrap();
    serde_json::from_value(value["answers"].clone()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn files(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(
                    path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
                    fs::read_to_string(&path).unwrap(),
                );
            }
        }
    }
    all
}
