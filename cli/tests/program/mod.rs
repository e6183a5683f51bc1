//! Runs the program in a folder of its own, with an environment of its own.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A folder that goes away with the test.
pub struct Folder(tempfile::TempDir);

/// What a run of the program left.
pub struct Told {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn sluice(&self, arguments: &[&str]) -> Told {
        self.sluice_with(arguments, &[])
    }

    pub fn sluice_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Told {
        let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            // Tests look for words, not for where they are wrapped.
            .env("COLUMNS", "1000")
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        Told {
            exit: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}\n── stdout ──\n{}── stderr ──\n{}", self.exit, self.stdout, self.stderr)
    }
}
