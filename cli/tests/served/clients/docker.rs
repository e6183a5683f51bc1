//! Docker: a daemon of its own, with the gateway in the image's name, and with the gateway among its mirrors. Those are
//! for docker.io alone, which is played here by a registry that speaks TLS behind a proxy.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testdata::Authority;

use super::{
    Setup, Store, Variables,
    pull::{View, here, line, put, version},
    stage::Stage,
};
use crate::scene::free_address;

const NAMED: &str = "the gateway in the image's name";
const FOLDER: &str = "/etc/docker";
/// Where docker.io answers.
const HUB: &str = "registry-1.docker.io";

/// The version that `.ci/run` builds, of which the images can be kept by containerd.
const BUILT: &str = "28.5.2";

pub fn setups(stage: &Stage, setups: &mut Vec<Setup>) -> Vec<Process> {
    let mut processes = Vec::new();
    if !here(&["docker", "containerd", "runc", "unshare"]) {
        return processes;
    }
    let hub = Hub::start(stage);
    if here(&["dockerd"]) {
        let version = version("dockerd", "--version").split('+').next().unwrap().to_owned();
        let mirrors = json!({"registry-mirrors": [stage.scene.url()]});
        for (configuration, settings, registry) in [
            (NAMED, json!({}), None),
            ("`daemon.json`: `registry-mirrors` names the gateway", mirrors, Some("docker.io".to_owned())),
        ] {
            processes.push(setup(stage, &hub, setups, ("dockerd", &version), (configuration, settings, registry)));
        }
    }
    let built = format!("dockerd-{BUILT}");
    if here(&[&built]) {
        let store = json!({
            "features": {"containerd-snapshotter": true},
            // Without a certificate, another spelling would only show that there is none.
            "insecure-registries": [stage.registry_in_capitals()],
        });
        for (configuration, settings, registry) in [
            (NAMED, json!({}), None),
            (
                "images in containerd; `hosts.toml`: `server` and `[host]` are the gateway",
                store,
                Some(stage.registry()),
            ),
        ] {
            processes.push(setup(stage, &hub, setups, (&built, BUILT), (configuration, settings, registry)));
        }
    }
    processes.push(hub.process);
    processes
}

fn setup(
    stage: &Stage,
    hub: &Hub,
    setups: &mut Vec<Setup>,
    (program, version): (&str, &str),
    (configuration, settings, registry): (&'static str, Value, Option<String>),
) -> Process {
    let folder = stage.folder(&format!("docker-{}", setups.len()));
    let root = folder.join("root");
    put(&root, "etc/docker/daemon.json", &settings.to_string());
    if let Some(registry) = registry.as_ref().filter(|registry| **registry == stage.registry()) {
        put(&root, &format!("etc/docker/certs.d/{registry}/hosts.toml"), &super::containerd::closed(stage));
    }
    let process = daemon(&folder, program, hub);
    let socket = format!("unix://{}", folder.join("socket").display());
    let login = stage.login().to_str().unwrap().to_owned();
    let variables = Variables::from([("DOCKER_CONFIG".to_owned(), login)]);
    let mut canary = variables.clone();
    canary.insert("DOCKER_HOST".to_owned(), socket.clone());
    let (line_of_versions, _) = version.rsplit_once('.').unwrap();
    setups.push(Setup {
        client: format!("docker {line_of_versions}"),
        version: version.to_owned(),
        configuration,
        command: line(&["docker", "--host", &socket, "pull", "--quiet", "IMAGE"]),
        variables,
        prefix: registry.clone().unwrap_or_else(|| stage.direct_prefix()),
        store: Store(folder.join("store")),
        capitals: registry.as_ref().filter(|name| **name == stage.registry()).map(|_| stage.registry_in_capitals()),
        doctor: registry.map(|registry| View { root, client: "Docker", registry, canary: ("docker", canary) }),
        differs_between_versions: false,
    });
    process
}

/// What runs until it is dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Asked to, dockerd also ends the containerd that it started.
        let _asked = Command::new("kill").arg(self.0.id().to_string()).status();
        let begun = Instant::now();
        while self.0.try_wait().is_ok_and(|ended| ended.is_none()) && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
        }
        // Fails when it ended already, which is as good.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn daemon(folder: &Path, program: &str, hub: &Hub) -> Process {
    let at = |name: &str| folder.join(name);
    let log = fs::File::create(at("log")).unwrap();
    // `certs.d` can lie in one place alone: this daemon sees its own there.
    fs::create_dir_all(FOLDER).unwrap();
    let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command.arg(at("root/etc/docker")).arg(FOLDER).arg(program);
    command.arg("--config-file").arg(at("root/etc/docker/daemon.json"));
    command.arg("--data-root").arg(at("store")).arg("--exec-root").arg(at("state")).arg("--pidfile").arg(at("pid"));
    command.arg("--host").arg(format!("unix://{}", at("socket").display()));
    // Nothing runs in it, so it needs no network.
    command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
    let driver = if fs::read_to_string(at("root/etc/docker/daemon.json")).unwrap().contains("snapshotter") {
        "native"
    } else {
        "vfs"
    };
    command.args(["--storage-driver", driver]);
    // What is not on this machine goes through the proxy; Go asks 127.0.0.1 directly.
    command.env("HTTPS_PROXY", format!("http://{}", hub.proxy)).env("SSL_CERT_FILE", &hub.authority);
    let mut child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let begun = Instant::now();
    let socket = format!("unix://{}", at("socket").display());
    while !Command::new("docker").args(["--host", &socket, "version"]).output().unwrap().status.success() {
        let said = || fs::read_to_string(at("log")).unwrap_or_default();
        assert!(child.try_wait().unwrap().is_none(), "dockerd ended:\n{}", said());
        assert!(begun.elapsed() < Duration::from_secs(90), "dockerd does not listen:\n{}", said());
        std::thread::sleep(Duration::from_millis(100));
    }
    Process(child)
}

/// The images of the registry under the name of docker.io.
struct Hub {
    process: Process,
    proxy: SocketAddr,
    authority: PathBuf,
}

impl Hub {
    fn start(stage: &Stage) -> Self {
        let folder = stage.folder("hub");
        let authority = Authority::new("hub", gateway::http::clock::now());
        let server = authority.tls_server(&[HUB], gateway::http::clock::now());
        fs::write(folder.join("authority.pem"), authority.root_pem()).unwrap();
        fs::write(folder.join("server.pem"), server.certificate_pem).unwrap();
        fs::write(folder.join("server.key"), server.key_pem).unwrap();
        let address = free_address();
        let tls =
            format!(", tls: {{certificate: {:?}, key: {:?}}}", folder.join("server.pem"), folder.join("server.key"));
        let process = Process(stage.world.serve(&folder.join("hub.yml"), address, &tls));
        Self { process, proxy: proxy(address), authority: folder.join("authority.pem") }
    }
}

/// Leads every connection that it is asked for to one place.
fn proxy(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || lead(stream, to));
        }
    });
    address
}

fn lead(mut client: TcpStream, to: SocketAddr) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        line.clear();
    }
    // Nothing follows before the answer.
    let Ok(mut server) = TcpStream::connect(to) else { return };
    if client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_err() {
        return;
    }
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        // Either end may hang up.
        let _ended = std::io::copy(&mut from_server, &mut to_client);
        let _closed = to_client.shutdown(std::net::Shutdown::Write);
    });
    let _ended = std::io::copy(&mut client, &mut server);
    let _closed = server.shutdown(std::net::Shutdown::Write);
}
