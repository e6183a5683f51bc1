//! One client in one configuration.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    Variables,
    look::Look,
    stage::{Content, Stage},
};
use crate::scene::both;

pub struct Setup {
    /// As people call it; with its line of versions where several are tried.
    pub client: String,
    pub version: String,
    pub configuration: &'static str,
    /// The program and its arguments; `IMAGE` stands for the image's whole name, `NAME` for its own.
    pub command: Vec<String>,
    pub variables: Variables,
    /// What stands before `/demo/allowed:v1`.
    pub prefix: String,
    pub store: Store,
    /// Nothing where no file of the machine is needed.
    pub doctor: Option<View>,
    /// What stands there when the registry's name is written in capitals, where the client can be told to take it.
    pub capitals: Option<String>,
    /// Doctor's answer is for all versions of the client, and this is one that does better.
    pub differs_between_versions: bool,
}

/// Where the client keeps what it pulled.
pub struct Store(pub PathBuf);

impl Store {
    pub fn holds(&self, content: &Content) -> Result<(), String> {
        Look::at(&self.0).holds(content)
    }

    pub fn holds_nothing_of(&self, content: &Content) -> Result<(), String> {
        Look::at(&self.0).holds_nothing_of(content)
    }
}

pub struct Pulled {
    pub worked: bool,
    pub said: String,
}

impl Setup {
    pub fn pull(&self, name: &str) -> Pulled {
        self.pull_from(&self.prefix, name)
    }

    /// The same, by another name of the registry.
    pub fn pull_from(&self, prefix: &str, name: &str) -> Pulled {
        let image = format!("{prefix}/demo/{name}:v1");
        let fill = |text: &String| text.replace("IMAGE", &image).replace("NAME", name);
        let mut command = Command::new(&self.command[0]);
        command.args(self.command[1..].iter().map(fill)).envs(&self.variables).stdin(Stdio::null());
        let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", self.command[0]));
        Pulled { worked: output.status.success(), said: both(&output) }
    }
}

impl Pulled {
    /// The line that tells a person why, as the client prints it, without what it prints around it.
    pub fn reason(&self) -> String {
        // crictl logs it before it says it, with what changes.
        let telling = |line: &&str| line.contains("no-evidence: ") && !line.contains(" log.go:");
        let line = self.said.lines().find(telling).unwrap_or_default().trim();
        // logrus puts what it says into quotes, after the time.
        match line.split_once("level=fatal msg=") {
            Some((_, rest)) => rest.trim_matches('"').replace("\\\"", "\""),
            None => line.to_owned(),
        }
    }
}

/// The files of a machine on which the client pulls so, as `sluice doctor` reads them.
pub struct View {
    pub root: PathBuf,
    /// The client's name there.
    pub client: &'static str,
    /// The registry, as its images name it.
    pub registry: String,
    /// The client that pulls the canary, and what it needs.
    pub canary: (&'static str, Variables),
}

impl View {
    /// What is answered, in words.
    pub fn answer(&self, stage: &Stage) -> String {
        let told = self.ask(stage, &[], &Variables::new());
        let rows = told["answers"].as_array().unwrap();
        let row = rows.iter().find(|row| row["client"] == self.client && row["registry"] == self.registry.as_str());
        match row.unwrap_or_else(|| panic!("{told:#}"))["answer"].as_str().unwrap() {
            "falls-back" => "falls back",
            "unused" => "gateway not used",
            "unknown" => "could not tell",
            "as-written" => "final as written",
            other => other,
        }
        .to_owned()
    }

    /// What became of the canary.
    pub fn canary(&self, stage: &Stage) -> String {
        let told = self.whole_canary(stage);
        told["canary"]["outcome"].as_str().unwrap_or_else(|| panic!("{told:#}")).to_owned()
    }

    /// All that is told, also by the gateway itself, of the canary.
    pub fn whole_canary(&self, stage: &Stage) -> Value {
        let (client, mut variables) = self.canary.clone();
        variables.insert("SLUICE_TOKEN".to_owned(), stage.scene.token());
        let image = format!("{}/demo/denied:v1", self.registry);
        self.ask(stage, &["--canary", &image, "--client", client], &variables)
    }

    fn ask(&self, stage: &Stage, more: &[&str], variables: &Variables) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["doctor", "-o", "json", "--gateway", &stage.scene.url(), "--root"]).arg(&self.root);
        command.args(["--registry", &self.registry]).args(more).envs(variables).stdin(Stdio::null());
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(&output)))
    }
}

/// Writes a file of such a machine.
pub fn put(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Where a program is.
pub fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether these programs are there. Where CI installs them, they must be.
pub fn here(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| found(program).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let all = std::env::var("CI").is_ok_and(|ci| ci == "true") || super::table::is_written();
    assert!(!all, "{missing:?} are not on the path");
    println!("left out: {missing:?} are not on the path");
    false
}

/// The last word of the first line that a program prints of itself.
pub fn version(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap();
    let said = both(&output);
    let words = said.lines().next().unwrap_or_default().split_whitespace();
    let numbers = |word: &&str| word.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit());
    let version = words.into_iter().find(numbers).unwrap_or_else(|| panic!("{program} tells no version: {said}"));
    version.trim_start_matches('v').trim_end_matches(',').to_owned()
}

/// A command line.
pub fn line(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
