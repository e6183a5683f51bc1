//! `sluice doctor` held against the clients: the configurations of `testdata/clients` that can run on one machine, with
//! the registry and the gateway at addresses of their own, and an image that is pulled with them.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use testdata::Image;

use super::real_clients::{HOST, World, programs};
use crate::scene::{Scene, both};

/// Cases that cannot run here, or in which the image cannot arrive for a reason of their own.
const NOT_HERE: [(&str, &str); 10] = [
    ("podman-installed-unconfigured", "without any configuration skopeo asks a registry in clear for TLS"),
    ("podman-port", "it is about another port"),
    ("podman-wildcard", "an address has no domain"),
    ("podman-wildcard-closed", "an address has no domain"),
    ("containerd-upstream-credentials", "its certificates are not here"),
    ("containerd-lookalike", "the host that is asked instead is not here"),
    ("containerd-other-port", "nothing listens at the other port"),
    ("containerd-2-default-config", "`ctr` is given one folder; a list is for Kubernetes' part alone"),
    ("eks-node", "`ctr` is given one folder; a list is for Kubernetes' part alone"),
    ("containerd-user-in-url", "the host that is asked instead is not here"),
];
const REPOSITORY: &str = "legacy/app:v1";

#[test]
fn real_clients_do_with_the_configurations_what_is_said_of_them() {
    let Some(found) = programs(&["docker-registry", "skopeo", "podman", "containerd", "ctr"]) else { return };
    let world = World::new(&found);
    world.push_image(REPOSITORY, &Image::new("canary"));
    let place = Place { registry: world.registry(), gateway: refusing() };
    let containerd = Containerd::start();
    let (mut tried, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (name, folder) in cases() {
        if NOT_HERE.iter().any(|(case, _)| *case == name) {
            continue;
        }
        let root = testdata::scratch();
        place.copy(&folder.join("root"), root.path());
        for client in ["skopeo", "podman", "containerd"] {
            let Some((expected, canary)) = place.doctor(root.path(), client, &containerd.socket) else { continue };
            *tried.entry(format!("{client}: {expected}")).or_default() += 1;
            let arrived = canary["outcome"] == "arrived";
            let agrees = match expected.as_str() {
                "final" | "as-written" => !arrived,
                "falls-back" | "unused" => arrived,
                // What could not be told may go either way.
                _ => true,
            };
            println!("{name}, {client}: {expected}, {}", canary["outcome"]);
            if !agrees {
                wrong.push(format!("{name}, {client}: {expected}, but {canary:#}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for client in ["skopeo", "podman", "containerd"] {
        for answer in ["as-written", "falls-back", "unused"] {
            assert!(
                tried.get(&format!("{client}: {answer}")).is_some_and(|count| *count > 0),
                "{client} {answer}: {tried:?}"
            );
        }
    }
}

#[test]
fn a_denial_of_the_gateway_is_proved_final_by_a_pull() {
    let Some(found) = programs(&["docker-registry", "skopeo", "containerd", "ctr"]) else { return };
    let world = World::new(&found);
    world.push_image("demo/app:v1", &Image::new("denied"));
    // containerd says which registry it means by the address that the image has.
    let upstreams = format!("{}aliases = [\"{}\"]\n", world.upstreams(), world.registry());
    let scene = Scene::new(&upstreams, &testdata::contract(&format!("{HOST}/demo/**")));
    let _serving = scene.serve();
    scene.apply();
    let containerd = Containerd::start();
    let (gateway, registry) = (scene.address(), world.registry());
    let login =
        format!(r#"{{"auths": {{"{gateway}": {{"auth": "{}"}}}}}}"#, base64(&format!("token:{}", scene.token())));
    scene.write("auth.json", login.as_bytes());
    let run = |root: &Path, client: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["doctor", "--spellings-closed", "--gateway", &scene.url(), "--root"]).arg(root);
        command.args(["--client", client]);
        command.args(["--canary", &format!("{registry}/demo/app:v1")]).env("CONTAINERD_ADDRESS", &containerd.socket);
        let output = command.env("REGISTRY_AUTH_FILE", scene.path("auth.json")).output().unwrap();
        (output.status.code(), both(&output))
    };

    let closed = format!("[[registry]]\nprefix = \"{registry}\"\nlocation = \"{gateway}/{HOST}\"\ninsecure = true\n");
    scene.write("closed/etc/containers/registries.conf", closed.as_bytes());
    let (exit, said) = run(&scene.path("closed"), "skopeo");
    assert!(exit == Some(0) && said.contains("no attestation"), "{exit:?} {said}\n{}", scene.log());

    let mirror = format!(
        "[[registry]]\nlocation = \"{registry}\"\ninsecure = true\n[[registry.mirror]]\nlocation = \
         \"{gateway}/{HOST}\"\ninsecure = true\n"
    );
    scene.write("mirror/etc/containers/registries.conf", mirror.as_bytes());
    let (exit, said) = run(&scene.path("mirror"), "skopeo");
    assert!(exit == Some(1) && said.contains("walks around"), "{exit:?} {said}");

    let config =
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
    let (url, token) = (scene.url(), scene.token());
    let hosts = format!(
        "server = \"{url}\"\n\n[header]\nauthorization = [\"Bearer {token}\"]\n\n[host.\"{url}\"]\ncapabilities = [\"pull\", \
         \"resolve\"]\n\n[host.\"{url}\".header]\nauthorization = [\"Bearer {token}\"]\n"
    );
    scene.write("node/etc/containerd/config.toml", config.as_bytes());
    let folder = directory(&registry.to_string());
    scene.write(&format!("node/etc/containerd/certs.d/{folder}/hosts.toml"), hosts.as_bytes());
    let (exit, said) = run(&scene.path("node"), "containerd");
    assert!(exit == Some(0) && said.contains("was denied"), "{exit:?} {said}\n{}", scene.log());
}

fn base64(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

fn cases() -> Vec<(String, PathBuf)> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/clients");
    let mut cases: Vec<_> = fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .filter(|path| {
            let expected: Value = serde_json::from_slice(&fs::read(path.join("expected.json")).unwrap()).unwrap();
            expected["answers"].as_array().unwrap().iter().any(|answer| answer["registry"] == "registry.acme.dev")
        })
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    cases.sort();
    assert!(cases.len() > 30, "{}", cases.len());
    cases
}

/// Where the registry and the gateway of the cases are here.
struct Place {
    registry: SocketAddr,
    gateway: SocketAddr,
}

impl Place {
    /// Copies a case's files, with the names of this machine in them.
    fn copy(&self, from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let name =
                if name == "registry.acme.dev" { directory(&self.registry.to_string()) } else { name.to_owned() };
            let target = to.join(name);
            if path.is_dir() {
                fs::create_dir_all(&target).unwrap();
                self.copy(&path, &target);
            } else {
                fs::write(target, self.text(&fs::read_to_string(&path).unwrap())).unwrap();
            }
        }
    }

    fn text(&self, text: &str) -> String {
        // The registry has a second name here, for those of other hosts that have its images.
        let (registry, second) = (self.registry.to_string(), format!("localhost:{}", self.registry.port()));
        let mut text = text.replace("sluice.acme.dev/registry.acme.dev", &format!("{}/registry", self.gateway));
        text = text.replace("sluice.acme.dev", &self.gateway.to_string()).replace("https://", "http://");
        for other in ["registry-backend.acme.dev", "cache.acme.dev", "push.acme.dev"] {
            text = text.replace(other, &second);
        }
        text = text.replace("registry.acme.dev", &registry);
        let mut lines = Vec::new();
        let insecure = text.contains("insecure = true");
        for line in text.lines() {
            lines.push(line.to_owned());
            // Neither has a certificate.
            if line.trim_start().starts_with("location = ") && !insecure {
                lines.push("insecure = true".to_owned());
            }
        }
        lines.join("\n") + if text.is_empty() { "" } else { "\n" }
    }

    /// What is said of a client, and what it then did; nothing when the case is not about it.
    fn doctor(&self, root: &Path, client: &str, socket: &Path) -> Option<(String, Value)> {
        let image = format!("{}/{REPOSITORY}", self.registry);
        let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["doctor", "--gateway", &format!("http://{}", self.gateway), "--root"])
            .arg(root)
            .args(["--registry", &self.registry.to_string(), "--canary", &image, "--client", client, "-o", "json"])
            .env("CONTAINERD_ADDRESS", socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).ok()?;
        let name = if client == "containerd" { "containerd" } else { "podman, skopeo, CRI-O" };
        let row = told["answers"].as_array()?.iter().find(|row| row["client"] == name)?;
        Some((row["answer"].as_str()?.to_owned(), told["canary"].clone()))
    }
}

/// How containerd's folder for a registry is called.
fn directory(registry: &str) -> String {
    let (host, port) = registry.rsplit_once(':').unwrap();
    format!("{host}_{port}_")
}

/// A gateway that refuses everything, also on `HEAD`: the real one ends the pull there even where a client knows
/// somebody else, and is not always there to do so.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || refuse(stream));
        }
    });
    address
}

fn refuse(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap_or_default();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        line.clear();
    }
    let body = r#"{"errors": [{"code": "DENIED", "message": "a canary"}]}"#;
    let status = if first.contains(" /v2/ ") { "200 OK" } else { "403 Forbidden" };
    let shown = if first.starts_with("HEAD") { "" } else { body };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    // Whoever went away does not want the answer.
    let _ = write!(stream, "{head}Connection: close\r\n\r\n{shown}");
}

/// A containerd of its own.
pub struct Containerd {
    child: Child,
    /// Where it listens.
    pub socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Containerd {
    pub fn start() -> Self {
        let folder = testdata::scratch();
        let at = |name: &str| folder.path().join(name);
        let settings = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("socket")
        );
        fs::write(at("config.toml"), settings).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let mut child = Command::new("containerd")
            .arg("--config")
            .arg(at("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = at("socket");
        let begun = Instant::now();
        while !Command::new("ctr").arg("--address").arg(&socket).arg("version").output().unwrap().status.success() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "containerd ended:\n{}",
                fs::read_to_string(at("log")).unwrap()
            );
            assert!(begun.elapsed() < Duration::from_secs(60), "containerd does not listen");
            std::thread::sleep(Duration::from_millis(100));
        }
        Self { child, socket, _folder: folder }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Fails when it ended already, which is as good.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
