//! The gateway among real programs: Debian's docker-registry as the upstream, skopeo as the one who pulls, cosign as
//! the one who attests. Runs with `SLUICE_REAL_CLIENTS=1` and these programs on the path (`.ci/run` installs them);
//! passes without having looked otherwise, and says so.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::scene::{Scene, both, free_address, read};
use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{Digest, SigningKey};
use testdata::{Image, Index, Layout};

/// cosign signs for a registry's name without reaching any public service: no log, no timestamps, no trust root.
const SIGNING_CONFIG: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{"selector":"ANY"},"tsaConfig":{"selector":"ANY"}}"#;
const TRUSTED_ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
/// What the gateway calls the registry. A name with a port, as the registry's own address is, cannot stand in the path
/// of a reference: skopeo and Docker refuse the second colon.
pub const HOST: &str = "registry.shop.example";
const COSIGN_PASSWORD: &str = "cosign";
const VERDICT: &str = contracts::vsa::PREDICATE_TYPE;
const PROVENANCE: &str = contracts::provenance::PREDICATE_TYPE;

#[test]
fn skopeo_is_refused_with_the_reason_until_the_attestation_is_there() {
    let Some(programs) = programs(&["docker-registry", "skopeo"]) else { return };
    let world = World::new(&programs);
    let image = Image::new("app");
    world.push_image("demo/app:v1", &image);
    let scene = world.scene("demo/**");
    let serving = scene.serve();
    scene.apply();

    let said = refused(&world.pull(&scene, "demo/app:v1", "refused"));
    println!("skopeo shows a person: {said}");
    assert!(said.contains("no attestation"), "skopeo does not show the reason:\n{said}");

    world.attest(&scene, "demo/app", image.digest());
    let pulled = world.pull(&scene, "demo/app:v1", "pulled");
    assert!(pulled.status.success(), "{}\n{}", both(&pulled), scene.log());
    let direct = world.skopeo(&["copy", "--src-tls-verify=false", &world.upstream("demo/app:v1"), "dir:direct"]);
    assert!(direct.status.success(), "{}", both(&direct));
    assert_same_files(&world.folder("direct"), &world.folder("pulled"));
    drop(serving);
}

#[test]
fn an_index_pulls_with_every_platform_of_it() {
    let Some(programs) = programs(&["docker-registry", "skopeo"]) else { return };
    let world = World::new(&programs);
    let index = Index::new("multi");
    world.push_index("demo/multi:v1", &index);
    let scene = world.scene("demo/**");
    let _serving = scene.serve();
    scene.apply();

    let child = format!("demo/multi@{}", index.images[1].digest());
    refused(&world.pull(&scene, &child, "early"));
    world.attest(&scene, "demo/multi", index.digest());
    let source = format!("docker://{}/{HOST}/demo/multi:v1", scene.address());
    let credentials = format!("token:{}", scene.token());
    let arguments = ["copy", "--all", "--src-tls-verify=false", "--src-creds", &credentials, &source, "dir:all"];
    let pulled = world.skopeo(&arguments);
    assert!(pulled.status.success(), "{}\n{}", both(&pulled), scene.log());
    assert_eq!(Digest::of(&read(&world.folder("all").join("manifest.json"))), index.digest());
}

#[test]
fn what_cosign_attached_in_the_registry_counts_with_nothing_pushed() {
    let Some(programs) = programs(&["docker-registry", "skopeo", "cosign"]) else { return };
    let world = World::new(&programs);
    world.cosign_keys();
    // cosign v3 attaches a bundle as a referrer; older ones a DSSE envelope under a tag. This cosign can do both.
    let old_way = ["--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false"];
    let new_way = ["--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json"];
    for (name, way) in [("new", &new_way[..]), ("old", &old_way[..])] {
        let image = Image::new(name);
        let repository = format!("demo/{name}");
        world.push_image(&format!("{repository}:v1"), &image);
        let scene = world.scene_for_cosign();
        let _serving = scene.serve();
        scene.apply();
        let reference = format!("{repository}:v1");
        refused(&world.pull(&scene, &reference, "before"));

        world.cosign_attest(&format!("{}/{repository}@{}", world.registry, image.digest()), way);
        let begun = Instant::now();
        let pulled = loop {
            // What discovery found is remembered for seconds after a deny.
            let pulled = world.pull(&scene, &reference, &format!("after-{name}"));
            if pulled.status.success() || begun.elapsed() > Duration::from_secs(30) {
                break pulled;
            }
            std::thread::sleep(Duration::from_millis(500));
        };
        assert!(pulled.status.success(), "{name}: {}\n{}", both(&pulled), scene.log());

        // The command line finds it beside the image as well.
        let beside = format!("{}/{repository}@{}", world.registry, image.digest());
        let verify = ["attestation", "verify", &beside, "--type", "cyclonedx", "--key"];
        let found = scene.sluice(&[&verify[..], &["keys/release.pub"]].concat(), 0);
        assert!(found.contains("genuine"), "{found}");
        scene.write("stranger.pub", SigningKey::generate_p256().unwrap().public().to_pem().as_bytes());
        scene.sluice(&[&verify[..], &["stranger.pub"]].concat(), 1);
        scene.sluice(&[&verify[..], &["keys/release.pub", "--offline"]].concat(), 2);
        let gone = format!("127.0.0.1:1/{repository}@{}", image.digest());
        scene.sluice(&["attestation", "verify", &gone, "--key", "keys/release.pub"], 2);
    }

    let image = Image::new("stranger");
    world.push_image("demo/stranger:v1", &image);
    let scene = world.scene("demo/**");
    let _serving = scene.serve();
    scene.apply();
    world.cosign_attest(&format!("{}/demo/stranger@{}", world.registry, image.digest()), &new_way);
    // A key that the contract does not name.
    refused(&world.pull(&scene, "demo/stranger:v1", "stranger"));
}

#[test]
fn cosign_believes_the_gateways_word_and_nothing_that_was_changed() {
    let Some(programs) = programs(&["docker-registry", "skopeo", "cosign"]) else { return };
    let world = World::new(&programs);
    let image = Image::new("app");
    world.push_image("demo/app:v1", &image);
    let scene = world.scene("demo/**");
    let _serving = scene.serve();
    scene.apply();
    let name = format!("{HOST}/demo/app@{}", image.digest());
    scene.sluice(&["check", &name, "--vsa", "denied.json"], 1);
    world.attest(&scene, "demo/app", image.digest());
    scene.sluice(&["check", &name, "--vsa", "allowed.json"], 0);
    // Nobody gave cosign anything but the published key, the image's manifest and the bundle.
    let keys: serde_json::Value = serde_json::from_slice(&get(&format!("{}/api/v1/keys", scene.url()))).unwrap();
    fs::write(world.folder("gateway.pub"), keys["keys"][0]["pem"].as_str().unwrap()).unwrap();
    fs::write(world.folder("manifest.json"), &image.manifest.bytes).unwrap();
    fs::write(world.folder("other.json"), b"{}").unwrap();
    for (bundle, result) in [("denied.json", "FAILED"), ("allowed.json", "PASSED")] {
        let bytes = read(&scene.path(bundle));
        fs::write(world.folder(bundle), &bytes).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let payload = value["dsseEnvelope"]["payload"].as_str().unwrap().to_owned();
        world.cosign(&world.verify_word(VERDICT, bundle, "manifest.json"));
        assert!(!world.run_cosign(&world.verify_word(VERDICT, bundle, "other.json")).status.success(), "another image");
        let statement = String::from_utf8(STANDARD.decode(&payload).unwrap()).unwrap();
        assert!(statement.contains(&format!(r#""verificationResult":"{result}""#)), "{statement}");
        let other = if result == "PASSED" { "FAILED" } else { "PASSED" };
        let forged = value.to_string().replace(&payload, &STANDARD.encode(statement.replace(result, other)));
        fs::write(world.folder("forged.json"), forged).unwrap();
        assert!(
            !world.run_cosign(&world.verify_word(VERDICT, "forged.json", "manifest.json")).status.success(),
            "forged"
        );
    }

    let runs: serde_json::Value = serde_json::from_str(&scene.sluice(&["run", "list", "-o", "json"], 0)).unwrap();
    scene.sluice(&["run", "provenance", runs[0]["id"].as_str().unwrap(), "--to", "provenance.json"], 0);
    fs::copy(scene.path("provenance.json"), world.folder("provenance.json")).unwrap();
    world.cosign(&world.verify_word(PROVENANCE, "provenance.json", "manifest.json"));
    assert!(!world.run_cosign(&world.verify_word(VERDICT, "provenance.json", "manifest.json")).status.success());
}

/// What anyone is shown at an address.
pub fn get(url: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { reqwest::get(url).await.unwrap().bytes().await.unwrap().to_vec() })
}

/// Starts a registry, and waits until it answers. All of a folder share their images and their log.
fn serve(folder: &Path, settings: &Path, address: SocketAddr, more: &str) -> Child {
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"{more}}}\n",
        folder.join("registry").display()
    );
    fs::write(settings, text).unwrap();
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("registry.log")).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(settings).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "docker-registry ended");
        assert!(begun.elapsed() < Duration::from_secs(30), "docker-registry does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// A registry that runs, and a folder for what is copied.
pub struct World {
    folder: tempfile::TempDir,
    registry: SocketAddr,
    child: Child,
}

impl World {
    pub fn new(_: &Programs) -> Self {
        let folder = testdata::scratch();
        let registry = free_address();
        let child = serve(folder.path(), &folder.path().join("registry.yml"), registry, "");
        Self { folder, registry, child }
    }

    /// Serves the same images at another address, with more of these settings.
    pub fn serve(&self, settings: &Path, address: SocketAddr, more: &str) -> Child {
        serve(self.folder.path(), settings, address, more)
    }

    /// What the registry logged of requests.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder("registry.log")).unwrap()
    }

    /// Where the registry listens.
    pub fn registry(&self) -> SocketAddr {
        self.registry
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A gateway before the registry, with a contract for these repositories that asks for an image and an SBOM.
    pub fn scene(&self, repositories: &str) -> Scene {
        Scene::new(&self.upstreams(), &testdata::contract(&format!("{HOST}/{repositories}")))
    }

    /// Likewise, but only an SBOM is asked for, and cosign's key speaks for it.
    fn scene_for_cosign(&self) -> Scene {
        let contract = testdata::contract(&format!("{HOST}/demo/**"))
            .replace("    - name: image\n      type: CONTAINER_IMAGE\n      output: true\n", "");
        let scene = Scene::new(&self.upstreams(), &contract);
        scene.write("keys/release.pub", &read(&self.folder("cosign.pub")));
        scene
    }

    pub fn upstreams(&self) -> String {
        format!("[[upstreams]]\nhost = \"{HOST}\"\nurl = \"http://{}\"\nplain_http = true\n", self.registry)
    }

    pub fn push_image(&self, name: &str, image: &Image) {
        let folder = testdata::scratch();
        Layout::create(folder.path()).add("v1", image);
        self.push(folder.path(), name);
    }

    pub fn push_index(&self, name: &str, index: &Index) {
        let folder = testdata::scratch();
        Layout::create(folder.path()).add_index("v1", index);
        self.push(folder.path(), name);
    }

    fn push(&self, layout: &Path, name: &str) {
        let source = format!("oci:{}:v1", layout.display());
        let pushed = self.skopeo(&["copy", "--all", "--dest-tls-verify=false", &source, &self.upstream(name)]);
        assert!(pushed.status.success(), "{}", both(&pushed));
    }

    fn upstream(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.registry)
    }

    /// Pulls through the gateway into a folder, as anyone with a token would.
    fn pull(&self, scene: &Scene, name: &str, to: &str) -> Output {
        let source = format!("docker://{}/{HOST}/{name}", scene.address());
        let credentials = format!("token:{}", scene.token());
        let to = format!("dir:{to}");
        self.skopeo(&["copy", "--src-tls-verify=false", "--src-creds", &credentials, &source, &to])
    }

    fn skopeo(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "--command-timeout", "60s", "--override-arch", "amd64"]);
        command.args(["--override-os", "linux"]).args(arguments).current_dir(self.folder.path());
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Crafts and pushes with the command line what the contract asks for.
    pub fn attest(&self, scene: &Scene, repository: &str, digest: Digest) {
        scene.write("sbom.json", &testdata::cyclonedx(3));
        let image = format!("{HOST}/{repository}@{digest}");
        scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
        scene.sluice(&["attestation", "add", "--name", "image", "--value", &image], 0);
        scene.sluice(&["attestation", "add", "--name", "sbom", "--value", "sbom.json"], 0);
        scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
    }

    pub fn cosign_keys(&self) {
        fs::write(self.folder("signing-config.json"), SIGNING_CONFIG).unwrap();
        fs::write(self.folder("trusted-root.json"), TRUSTED_ROOT).unwrap();
        fs::write(self.folder("bom.json"), testdata::cyclonedx(3)).unwrap();
        self.cosign(&["generate-key-pair"]);
    }

    pub fn cosign_attest(&self, image: &str, way: &[&str]) {
        let mut arguments = vec!["attest", "--yes", "--key", "cosign.key", "--type", "cyclonedx"];
        arguments.extend(["--predicate", "bom.json", "--allow-http-registry"]);
        arguments.extend(way);
        arguments.push(image);
        self.cosign(&arguments);
    }

    fn verify_word<'a>(&self, kind: &'a str, bundle: &'a str, blob: &'a str) -> [&'a str; 9] {
        [
            "verify-blob-attestation",
            "--bundle",
            bundle,
            "--key",
            "gateway.pub",
            "--insecure-ignore-tlog",
            "--type",
            kind,
            blob,
        ]
    }

    pub fn run_cosign(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("cosign");
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("COSIGN_PASSWORD", COSIGN_PASSWORD).env("HOME", self.folder.path());
        command.output().unwrap()
    }

    fn cosign(&self, arguments: &[&str]) {
        let output = self.run_cosign(arguments);
        assert!(output.status.success(), "cosign {}:\n{}", arguments.join(" "), both(&output));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Fails when it ended already, which is as good.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Holds a pull to having been denied, and not failed in another way; returns what the person saw.
fn refused(pull: &Output) -> String {
    let said = both(pull);
    assert!(!pull.status.success() && said.contains("denied: "), "not denied, or not told so:\n{said}");
    said
}

/// Both folders hold the same files with the same bytes.
fn assert_same_files(one: &Path, other: &Path) {
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(one), names(other));
    assert!(names(one).len() >= 5, "a manifest, a configuration, two layers and skopeo's version file");
    for name in names(one) {
        assert!(read(&one.join(&name)) == read(&other.join(&name)), "{} differs", name.display());
    }
}

/// Proof that the programs are there.
pub struct Programs;

/// The programs, when the test was asked for. Asked for and not there is a failure.
pub fn programs(needed: &[&str]) -> Option<Programs> {
    if std::env::var_os("SLUICE_REAL_CLIENTS").is_none_or(|value| value != "1") {
        println!("not run: SLUICE_REAL_CLIENTS=1 asks for it; it needs {}", needed.join(", "));
        return None;
    }
    for name in needed {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(name).is_file());
        assert!(found, "`{name}` is not on the path");
    }
    Some(Programs)
}
