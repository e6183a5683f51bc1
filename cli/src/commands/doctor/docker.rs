//! Docker. Its `registry-mirrors` cannot make a denial final; only its containerd image store reads `hosts.toml`.

use serde_json::{Map, Value, json};

use super::{
    address::{Address, Gateway},
    answer::{Answer, IN_THE_NETWORK, Judgement},
    folders,
    tree::Tree,
};

const FILE: &str = "/etc/docker/daemon.json";
const FOLDER: &str = "/etc/docker/certs.d";
const PROGRAMS: [&str; 2] = ["/usr/bin/dockerd", "/usr/sbin/dockerd"];
const STORE: &str = "write the gateway into the images' names, as docs/registry.md shows; or use the containerd image store: \
                     `\"features\": {\"containerd-snapshotter\": true}` in daemon.json, with a `hosts.toml`";
/// Which images are kept where changes with the store.
pub const CAUTION: &str = "the containerd image store does not show the images of Docker's older store: they have to be \
                           pulled again, and containers made anew";

/// Whether there is a Docker.
pub fn installed(tree: &Tree) -> anyhow::Result<bool> {
    let mut here = tree.exists(FILE)?;
    for program in PROGRAMS {
        here |= tree.exists(program)?;
    }
    Ok(here)
}

/// The registries that its files name.
pub fn registries(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut names = folders::named(tree, FOLDER)?;
    if let Ok(settings) = settings(tree)?
        && settings.contains_key("registry-mirrors")
    {
        names.push("docker.io".to_owned());
    }
    Ok(names)
}

/// What it does with a registry.
pub fn judge(tree: &Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<Judgement> {
    let settings = match settings(tree)? {
        Ok(settings) => settings,
        Err(mistake) => {
            let why = format!("{mistake}, and dockerd does not start with it");
            return Ok(Judgement::open(Answer::Unknown, FILE, None, why, "mend the mistake first"));
        }
    };
    let text = tree.read(FILE)?.unwrap_or_default();
    let named = folders::judge(tree, &[FOLDER.to_owned()], registry, gateway)?;
    let store = settings.get("features").and_then(|features| features.get("containerd-snapshotter"));
    Ok(match store {
        Some(Value::Bool(true)) => with_store(named, &settings),
        Some(Value::Bool(false)) => classic(&settings, &text, registry, gateway),
        None if named.answer == Answer::Final => {
            let why = "its `hosts.toml` counts only with the containerd image store, and daemon.json does not say which \
                       store is used";
            let mend = "say `\"features\": {\"containerd-snapshotter\": true}` in daemon.json";
            Judgement::open(Answer::Unknown, FILE, None, why, mend)
        }
        None => classic(&settings, &text, registry, gateway),
        Some(_) => {
            let why = "`containerd-snapshotter` is neither true nor false";
            Judgement::open(
                Answer::Unknown,
                FILE,
                line_of(&text, "containerd-snapshotter"),
                why,
                "mend the mistake first",
            )
        }
    })
}

/// The containerd image store reads `hosts.toml` as containerd does.
fn with_store(named: Judgement, settings: &Map<String, Value>) -> Judgement {
    if named.answer != Answer::Final {
        return named;
    }
    if named.file.contains("/_default/") {
        let why = "whether Docker reads `_default` differs between versions";
        return Judgement::open(Answer::Unknown, &named.file, None, why, "name the registry in a folder of its own");
    }
    if let Some(key) = settings.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let why = format!("`{key}` is not a setting of Docker that is known here");
        return Judgement::open(Answer::Unknown, FILE, None, why, "take it out");
    }
    named.only_as_written(IN_THE_NETWORK)
}

fn classic(settings: &Map<String, Value>, text: &str, registry: &str, gateway: &Gateway) -> Judgement {
    let mirrors = settings.get("registry-mirrors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_gateway =
        |value: &Value| value.as_str().and_then(Address::parse).is_some_and(|address| gateway.is(&address));
    let line = line_of(text, "registry-mirrors");
    if mirrors.iter().any(is_gateway) {
        if registry == "docker.io" {
            let why = "the gateway is in `registry-mirrors`, and after any refusal Docker asks docker.io itself";
            return Judgement::open(Answer::FallsBack, FILE, line, why, STORE);
        }
        let why = format!("`registry-mirrors` are for docker.io alone; {registry} is asked itself");
        return Judgement::open(Answer::Unused, FILE, line, why, STORE);
    }
    let why = format!("nothing leads from {registry} to the gateway, so it is asked itself");
    Judgement::open(Answer::Unused, FILE, None, why, STORE)
}

/// Lays over the tree what makes denials final.
pub fn correct(tree: &mut Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<()> {
    let Ok(mut settings) = settings(tree)? else { return Ok(()) };
    let features = settings.entry("features").or_insert_with(|| json!({}));
    let Some(features) = features.as_object_mut() else { return Ok(()) };
    if features.get("containerd-snapshotter") != Some(&Value::Bool(true)) {
        features.insert("containerd-snapshotter".to_owned(), Value::Bool(true));
        tree.lay(FILE, format!("{:#}\n", Value::Object(settings)));
    }
    folders::correct(tree, FOLDER, registry, gateway)
}

/// Whether this file belongs to a change of Docker's image store.
pub fn changes_store(path: &str) -> bool {
    path == FILE
}

fn settings(tree: &Tree) -> anyhow::Result<Result<Map<String, Value>, String>> {
    let Some(text) = tree.read(FILE)? else { return Ok(Ok(Map::new())) };
    if text.trim().is_empty() {
        return Ok(Ok(Map::new()));
    }
    // A key that is there twice means something else to every reader; the reader of contracts refuses it.
    if let Err(mistakes) = contracts::yaml::parse(FILE, text.as_bytes()) {
        return Ok(Err(format!("it is not JSON ({mistakes})")));
    }
    Ok(match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => Err("it is not a JSON object".to_owned()),
        Err(error) => Err(format!("it is not JSON ({error})")),
    })
}

fn line_of(text: &str, key: &str) -> Option<usize> {
    text.lines().position(|line| line.contains(&format!("\"{key}\""))).map(|position| position + 1)
}

/// The settings that Docker's documentation lists: with another one dockerd does not start, or it is newer than this list.
const KEYS: [&str; 98] = [
    "allow-direct-routing",
    "allow-nondistributable-artifacts",
    "api-cors-header",
    "authorization-plugins",
    "bip",
    "bip6",
    "bridge",
    "bridge-accept-fwmark",
    "builder",
    "cdi-spec-dirs",
    "cgroup-parent",
    "cluster-advertise",
    "cluster-store",
    "cluster-store-opts",
    "config-file",
    "containerd",
    "containerd-namespace",
    "containerd-plugins-namespace",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "data-root",
    "debug",
    "default-address-pools",
    "default-cgroupns-mode",
    "default-gateway",
    "default-gateway-v6",
    "default-ipc-mode",
    "default-network-opts",
    "default-runtime",
    "default-shm-size",
    "default-ulimits",
    "deprecated-key-path",
    "dns",
    "dns-opts",
    "dns-search",
    "exec-opts",
    "exec-root",
    "experimental",
    "features",
    "firewall-backend",
    "fixed-cidr",
    "fixed-cidr-v6",
    "graph",
    "group",
    "host-gateway-ip",
    "host-gateway-ips",
    "hosts",
    "http-proxy",
    "https-proxy",
    "icc",
    "init",
    "init-path",
    "insecure-registries",
    "ip",
    "ip-forward",
    "ip-forward-no-drop",
    "ip-masq",
    "ip6tables",
    "iptables",
    "ipv6",
    "isolation",
    "labels",
    "live-restore",
    "log-driver",
    "log-format",
    "log-level",
    "log-opts",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "metrics-addr",
    "mtu",
    "network-control-plane-mtu",
    "no-new-privileges",
    "no-proxy",
    "node-generic-resources",
    "oom-score-adjust",
    "pidfile",
    "proxies",
    "raw-logs",
    "registry-mirrors",
    "rootless",
    "runtimes",
    "seccomp-profile",
    "selinux-enabled",
    "shutdown-timeout",
    "storage-driver",
    "storage-opts",
    "swarm-default-advertise-addr",
    "tls",
    "tlscacert",
    "tlscert",
    "tlskey",
    "tlsverify",
    "userland-proxy",
    "userland-proxy-path",
    "userns-remap",
    "validate",
];
