//! containerd, asked by `ctr`: Debian's, and pinned versions that CI builds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Setup, Store, Variables,
    pull::{View, found, here, line, put, version},
    stage::Stage,
};

/// The versions that `.ci/run` builds: how the table calls the line, and the version in the programs' names.
const BUILT: [(&str, &str); 3] = [("1.7", "1.7.27"), ("2.2", "2.2.0"), ("2.4", "2.4.2")];
pub const CLOSED: &str = "`hosts.toml`: `server` and `[host]` are the gateway";
/// Which containerd takes this differs between versions.
pub const ALONE: &str = "`hosts.toml`: `server` alone is the gateway";
const UNPACK: &str = "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nplatform = \"linux/amd64\"\nsnapshotter = \"native\"\n";
const CONFIG: &str =
    "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";

/// One version of it.
pub struct Build {
    /// `1.7`.
    pub line: String,
    /// `1.7.27`.
    pub version: String,
    daemon: String,
    client: String,
}

impl Build {
    /// Those that are here.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        if here(&["containerd", "ctr"]) {
            let version = version("containerd", "--version").split('~').next().unwrap().to_owned();
            let (line, _) = version.rsplit_once('.').unwrap();
            all.push(Self { line: line.to_owned(), version, daemon: "containerd".into(), client: "ctr".into() });
        }
        for (line, version) in BUILT {
            let (daemon, client) = (format!("containerd-{version}"), format!("ctr-{version}"));
            if here(&[&daemon, &client]) {
                all.push(Self { line: line.to_owned(), version: version.to_owned(), daemon, client });
            }
        }
        all
    }

    /// Before 2.
    pub fn is_old(&self) -> bool {
        self.version.starts_with("1.")
    }
}

/// Each version in each of the configurations that are wanted.
pub fn setups(stage: &Stage, setups: &mut Vec<Setup>, wanted: impl Fn(&str) -> bool) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    for build in Build::all() {
        let configurations = configurations(stage).into_iter().filter(|(configuration, _)| wanted(configuration));
        for (number, (configuration, hosts)) in configurations.enumerate() {
            // One each: namespaces of one share what they have.
            let folder = stage.folder(&format!("containerd-{}-{number}", build.line));
            let daemon = Daemon::start(folder, &build, "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n", "");
            setups.push(daemon.setup(
                stage,
                format!("containerd {}", build.line),
                &build.version,
                configuration,
                hosts,
            ));
            daemons.push(daemon);
        }
    }
    daemons
}

/// A `hosts.toml` that names the gateway alone.
pub fn closed(stage: &Stage) -> String {
    let (url, token) = (stage.scene.url(), stage.scene.token());
    let header = format!("authorization = [\"Bearer {token}\"]\n");
    format!(
        "server = \"{url}\"\n\n[header]\n{header}\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n\n[host.\"{url}\".header]\n{header}"
    )
}

/// What each is called; whose folder it is under `certs.d`, and the `hosts.toml` in it.
pub fn configurations(stage: &Stage) -> Vec<(&'static str, Option<(String, String)>)> {
    let (url, token, registry) = (stage.scene.url(), stage.scene.token(), stage.registry());
    let server = |url: &str| format!("server = \"{url}\"\n");
    let header = |table: &str| format!("\n[{table}]\nauthorization = [\"Bearer {token}\"]\n");
    let capabilities = "capabilities = [\"pull\", \"resolve\"]\n";
    let host = format!("\n[host.\"{url}\"]\n{capabilities}{}", header(&format!("host.\"{url}\".header")));
    let closed = closed(stage);
    let alone = server(&url) + &header("header");
    let mirror = server(&format!("http://{registry}")) + &host;
    let folder = || format!("{}_", registry.replace(':', "_"));
    vec![
        ("the gateway in the image's name", None),
        (CLOSED, Some((folder(), closed.clone()))),
        ("`_default/hosts.toml`: `server` and `[host]` are the gateway", Some(("_default".to_owned(), closed))),
        (ALONE, Some((folder(), alone))),
        ("`hosts.toml`: `[host]` is the gateway, `server` the registry", Some((folder(), mirror))),
    ]
}

/// A containerd that runs.
pub struct Daemon {
    child: Child,
    client: PathBuf,
    folder: PathBuf,
}

impl Daemon {
    /// Started with these settings besides: before the first table, and after it.
    pub fn start(folder: PathBuf, build: &Build, first: &str, tables: &str) -> Self {
        // From 2 on the daemon itself pulls, and has to be told how to unpack.
        let (form, unpack) = if build.is_old() { (2, "") } else { (3, UNPACK) };
        let (root, state, socket) = (folder.join("store"), folder.join("state"), folder.join("socket"));
        let settings = format!(
            "version = {form}\nroot = {root:?}\nstate = {state:?}\n{first}[grpc]\naddress = {socket:?}\n{unpack}{tables}"
        );
        fs::write(folder.join("config.toml"), settings).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(&build.daemon);
        command.arg("--config").arg(folder.join("config.toml")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut daemon = Self { child, client: found(&build.client).unwrap(), folder };
        daemon.wait(|daemon| daemon.answers());
        daemon
    }

    /// Waits until it does.
    pub fn wait(&mut self, answers: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !answers(self) {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let client = self.client.display();
            if self.child.try_wait().unwrap().is_some() {
                panic!("the daemon of {client} ended:\n{}", log());
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the daemon of {client} does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn answers(&self) -> bool {
        let mut command = Command::new(&self.client);
        command.arg("--address").arg(self.folder.join("socket")).arg("version");
        command.output().unwrap().status.success()
    }

    fn setup(
        &self,
        stage: &Stage,
        client: String,
        version: &str,
        configuration: &'static str,
        hosts: Option<(String, String)>,
    ) -> Setup {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let socket = text(&self.folder.join("socket"));
        let mut command = line(&[&text(&self.client), "--address", &socket, "images", "pull"]);
        command.extend(line(&["--snapshotter", "native", "--plain-http"]));
        let root = hosts.map(|(folder, hosts)| {
            let root = self.folder.join("root");
            put(&root, "etc/containerd/config.toml", CONFIG);
            put(&root, &format!("etc/containerd/certs.d/{folder}/hosts.toml"), &hosts);
            root
        });
        match &root {
            Some(root) => command.extend(["--hosts-dir".to_owned(), text(&root.join("etc/containerd/certs.d"))]),
            None => command.extend(["--user".to_owned(), format!("token:{}", stage.scene.token())]),
        }
        command.push("IMAGE".to_owned());
        // The canary is pulled by the `ctr` that is found first, in a namespace of its own.
        let programs = self.folder.join("programs");
        fs::create_dir_all(&programs).unwrap();
        std::os::unix::fs::symlink(&self.client, programs.join("ctr")).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let canary = Variables::from([("PATH".to_owned(), path), ("CONTAINERD_ADDRESS".to_owned(), socket)]);
        Setup {
            client,
            version: version.to_owned(),
            configuration,
            command,
            variables: Variables::new(),
            prefix: if root.is_some() { stage.registry() } else { stage.direct_prefix() },
            store: Store(self.folder.join("store")),
            differs_between_versions: configuration == ALONE,
            capitals: root.is_some().then(|| stage.registry_in_capitals()),
            doctor: root.map(|root| View {
                root,
                client: "containerd",
                registry: stage.registry(),
                canary: ("containerd", canary),
            }),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it ended already, which is as good.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
