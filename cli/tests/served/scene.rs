//! A folder with a gateway's settings, a key and a contract, and the real `sluice` binary run in it.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use contracts::keys::SigningKey;
use tempfile::TempDir;

/// Long enough for a busy machine, short enough to notice.
const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "scene";

/// The folder. Removed when dropped.
pub struct Scene {
    folder: TempDir,
    address: SocketAddr,
}

impl Scene {
    /// A scene whose gateway stands before these upstreams (lines of its settings) and whose contract is this text.
    pub fn new(upstreams: &str, contract: &str) -> Self {
        let scene = Self { folder: testdata::scratch(), address: free_address() };
        let settings = format!(
            "listen = \"{}\"\nstate = \"state/sluice.redb\"\nevidence = \"state/evidence\"\nadmin_token_file = \
             \"admin.token\"\ndiscovery_interval = \"1s\"\n{upstreams}",
            scene.address
        );
        scene.write("sluice.toml", settings.as_bytes());
        scene.write("contract.yaml", contract.as_bytes());
        let key = SigningKey::generate_p256().unwrap();
        scene.write("keys/release.pub", key.public().to_pem().as_bytes());
        scene.write("keys/release.key", key.to_encrypted_pem(PASSWORD.as_bytes()).unwrap().as_bytes());
        scene
    }

    /// A path within the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// `host:port` of the gateway.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The gateway's address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token that the gateway wrote at its first start.
    pub fn token(&self) -> String {
        fs::read_to_string(self.path("admin.token")).unwrap().trim().to_owned()
    }

    /// The key whose public half the contract names.
    pub fn signing_key(&self) -> SigningKey {
        let pem = fs::read_to_string(self.path("keys/release.key")).unwrap();
        SigningKey::from_pem(&pem, Some(PASSWORD.as_bytes())).unwrap()
    }

    /// Starts `sluice serve` and waits until it answers.
    pub fn serve(&self) -> Serving {
        self.serve_by(&[])
    }

    /// The same, with variables of its own.
    pub fn serve_with(&self, variables: &[(&str, &str)]) -> Serving {
        self.started(&[], variables)
    }

    /// The same, run by a command that is given the program and its arguments.
    pub fn serve_by(&self, by: &[&str]) -> Serving {
        self.started(by, &[])
    }

    fn started(&self, by: &[&str], variables: &[(&str, &str)]) -> Serving {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("serve.log")).unwrap();
        let serve = ["serve", "--config", "sluice.toml"];
        let mut command = match by.split_first() {
            None => self.command(&serve),
            Some((program, arguments)) => {
                let mut command = self.as_here(Command::new(program));
                command.args(arguments).arg(env!("CARGO_BIN_EXE_sluice")).args(serve);
                command
            }
        };
        command.envs(variables.iter().copied());
        let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let begun = Instant::now();
        // The port is taken before the first token is written.
        while TcpStream::connect(self.address).is_err() || self.first_token().is_empty() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the gateway ended with {status}:\n{}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "the gateway does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Serving(child)
    }

    /// What the gateway logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("serve.log")).unwrap_or_default()
    }

    /// Runs `sluice` and holds it to an exit code; returns what it printed.
    pub fn sluice(&self, arguments: &[&str], exit: i32) -> String {
        let mut command = self.command(arguments);
        command.env("SLUICE_TOKEN", self.first_token()).env("SLUICE_KEY_PASSWORD", PASSWORD);
        self.hold(&mut command, arguments, exit)
    }

    /// The same, with variables that a runner sets.
    pub fn sluice_on(&self, runner: &[(&str, &str)], arguments: &[&str], exit: i32) -> String {
        let mut command = self.command(arguments);
        command.env("SLUICE_TOKEN", self.first_token()).env("SLUICE_KEY_PASSWORD", PASSWORD);
        command.envs(runner.iter().copied());
        self.hold(&mut command, arguments, exit)
    }

    /// A command of whoever has the token and the key's password, to be run as the test likes.
    pub fn with_token(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("SLUICE_TOKEN", self.first_token()).env("SLUICE_KEY_PASSWORD", PASSWORD);
        command.env("SLUICE_GATEWAY", self.url());
        command
    }

    /// The password of the signing key.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The same, by someone who has no token.
    pub fn sluice_without_token(&self, arguments: &[&str], exit: i32) -> String {
        self.hold(self.command(arguments).env("SLUICE_KEY_PASSWORD", PASSWORD), arguments, exit)
    }

    /// The same, by someone who forgot the key's password.
    pub fn sluice_without_password(&self, arguments: &[&str], exit: i32) -> String {
        self.hold(self.command(arguments).env("SLUICE_TOKEN", self.first_token()), arguments, exit)
    }

    /// The token, or nothing before there is one.
    fn first_token(&self) -> String {
        fs::read_to_string(self.path("admin.token")).unwrap_or_default().trim().to_owned()
    }

    fn hold(&self, command: &mut Command, arguments: &[&str], exit: i32) -> String {
        let output = command.env("SLUICE_GATEWAY", self.url()).output().unwrap();
        let text = both(&output);
        assert_eq!(output.status.code(), Some(exit), "`sluice {}`:\n{text}\n{}", arguments.join(" "), self.log());
        text
    }

    /// Applies the contract and binds the workflow `shop/release` to it.
    pub fn apply(&self) {
        self.sluice(&["contract", "apply", "contract.yaml"], 0);
        let workflow = ["workflow", "create", "--project", "shop", "--name", "release", "--contract", "release"];
        self.sluice(&workflow, 0);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.as_here(Command::new(env!("CARGO_BIN_EXE_sluice")));
        command.args(arguments);
        command
    }

    /// In the folder, without what this test's own environment says. Lines are long: tests look for words, not for where
    /// they are wrapped.
    fn as_here(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path()).env_clear().stdin(Stdio::null()).env("COLUMNS", "1000");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.folder.path());
        command
    }
}

/// A gateway that runs; killed when dropped.
pub struct Serving(Child);

impl Serving {
    /// The process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends the process as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Fails when it ended already, which is as good.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// stdout and stderr, one after the other.
pub fn both(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// An address on loopback that nothing listens on.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Reads a file, with its name in the failure.
pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
