//! What the kubelet asks: containerd's part for Kubernetes (CRI), which pulls by its own configuration. Asked by `crictl`.

use std::{fmt::Write as _, process::Command};

use super::{
    Setup, Store, Variables,
    containerd::{self, Build, Daemon},
    pull::{View, here, line, put},
    stage::Stage,
};

const NAMED: &str = "the gateway in the image's name";
/// What `containerd config default` and EKS write: 2.1 and later take it for the name of one folder.
const LIST: &str = "`hosts.toml` as before, under the first of two folders in `config_path`";
const MIRRORS: &str = "`config.toml`: `mirrors` names the gateway";
const FOLDER: &str = "/etc/containerd/certs.d";

/// How one is configured.
struct Configuration {
    name: &'static str,
    /// `certs.d/NAME/hosts.toml`, and what is in it.
    hosts: Option<(String, String)>,
    /// What is in `config.toml`, with the folder's path left out.
    registry: Registry,
}

enum Registry {
    Nothing,
    Folder,
    List,
    Mirrors,
}

pub fn setups(stage: &Stage, setups: &mut Vec<Setup>) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    if !here(&["crictl"]) {
        return daemons;
    }
    for build in Build::all() {
        for (number, configuration) in configurations(stage).into_iter().enumerate() {
            let folder = stage.folder(&format!("cri-{}-{number}", build.line));
            let root = folder.join("root");
            let certificates = format!("{}{FOLDER}", root.display());
            let settings = configuration.settings(stage, &build, &certificates);
            let mut daemon = Daemon::start(folder, &build, "", &settings);
            let endpoint = format!("unix://{}", daemon.folder().join("socket").display());
            let variables = Variables::from([("CONTAINER_RUNTIME_ENDPOINT".to_owned(), endpoint)]);
            daemon.wait(|_| crictl(&variables));
            let named = matches!(configuration.registry, Registry::Nothing);
            if !named {
                // The same file, as it lies on a machine.
                let form = if build.is_old() { 2 } else { 3 };
                let settings = configuration.settings(stage, &build, FOLDER);
                put(&root, "etc/containerd/config.toml", &format!("version = {form}\n{settings}"));
            }
            if let Some((name, hosts)) = &configuration.hosts {
                put(&root, &format!("{}/{name}/hosts.toml", &FOLDER[1..]), hosts);
            }
            let mut command = line(&["crictl", "--timeout", "60s", "pull"]);
            if named {
                command.extend(["--creds".to_owned(), format!("token:{}", stage.scene.token())]);
            }
            command.push("IMAGE".to_owned());
            setups.push(Setup {
                client: format!("containerd {} (CRI)", build.line),
                version: build.version.clone(),
                configuration: configuration.name,
                command,
                variables: variables.clone(),
                prefix: if named { stage.direct_prefix() } else { stage.registry() },
                store: Store(daemon.folder().join("store")),
                // It speaks clear text only to names that it knows for this machine's, and no other spelling is one.
                capitals: None,
                differs_between_versions: [containerd::ALONE, LIST].contains(&configuration.name),
                doctor: (!named).then(|| View {
                    root,
                    client: "containerd",
                    registry: stage.registry(),
                    canary: ("crictl", variables),
                }),
            });
            daemons.push(daemon);
        }
    }
    daemons
}

/// Those of containerd, and what is Kubernetes' part alone.
fn configurations(stage: &Stage) -> Vec<Configuration> {
    let mut all: Vec<_> = containerd::configurations(stage)
        .into_iter()
        .map(|(name, hosts)| {
            let registry = if hosts.is_some() { Registry::Folder } else { Registry::Nothing };
            Configuration { name, hosts, registry }
        })
        .collect();
    assert_eq!(all[0].name, NAMED);
    let hosts = all.iter().find(|one| one.name == containerd::CLOSED).unwrap().hosts.clone();
    all.push(Configuration { name: LIST, hosts, registry: Registry::List });
    all.push(Configuration { name: MIRRORS, hosts: None, registry: Registry::Mirrors });
    all
}

impl Configuration {
    /// The tables of `config.toml`.
    fn settings(&self, stage: &Stage, build: &Build, folder: &str) -> String {
        let (images, snapshotter) = match build.is_old() {
            true => ("io.containerd.grpc.v1.cri", ".containerd"),
            false => ("io.containerd.cri.v1.images", ""),
        };
        // Nothing runs here, so nothing is told of it to anyone either.
        let mut text = format!(
            "[plugins.\"{images}\"{snapshotter}]\nsnapshotter = \"native\"\n[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = true\n"
        );
        let table = format!("[plugins.\"{images}\".registry");
        match self.registry {
            Registry::Nothing => {}
            Registry::Folder => write!(text, "{table}]\nconfig_path = \"{folder}\"\n").unwrap(),
            Registry::List => write!(text, "{table}]\nconfig_path = \"{folder}:{folder}-more\"\n").unwrap(),
            Registry::Mirrors => {
                let (url, gateway, registry) = (stage.scene.url(), stage.gateway(), stage.registry());
                // From 2.2 on there is a folder where none is written, and none beside `mirrors`.
                write!(text, "{table}]\nconfig_path = \"\"\n").unwrap();
                write!(text, "{table}.mirrors.\"{registry}\"]\nendpoint = [\"{url}\"]\n").unwrap();
                let token = stage.scene.token();
                let auth = format!("username = \"token\"\npassword = \"{token}\"\n");
                write!(text, "{table}.configs.\"{gateway}\".auth]\n{auth}").unwrap();
            }
        }
        text
    }
}

/// Whether it answers the kubelet.
fn crictl(variables: &Variables) -> bool {
    let mut command = Command::new("crictl");
    command.args(["--timeout", "5s", "images"]).envs(variables);
    command.output().unwrap().status.success()
}
