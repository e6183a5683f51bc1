//! What the gateway serves, held against other people's programs: the conformance suite of the OCI distribution
//! specification, cosign looking for the gateway's word, and `login` of registry clients. As [`super::real_clients`] runs.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use testdata::{Attached, Image, Index, Layout, Minter};

use crate::{
    canary::Containerd,
    real_clients::{HOST, World, get, programs},
    scene::{Scene, both, read},
};

/// The host that stands for a layout folder.
const FOLDER: &str = "folder.shop.example";

/// What the gateway does not do, as the suite names it. `docs/registry.md` has the reasons.
const REFUSED: [&str; 17] = [
    "Tag delete",
    "Tag delete atomic",
    "Blob upload cancel",
    "Blob push",
    "Blob post only",
    "Blob post put",
    "Blob chunked",
    "Blob streaming",
    "Blob mount",
    "Blob anonymous mount",
    "Blob delete",
    "Blob delete atomic",
    "Manifest put by digest",
    "Manifest put by tag",
    "Manifest put with subject",
    "Manifest delete",
    "Manifest delete atomic",
];
/// What it does, likewise.
const SERVED: [&str; 9] = [
    "Ping",
    "Blob get",
    "Blob head",
    "Manifest get by digest",
    "Manifest get by tag",
    "Manifest head by digest",
    "Manifest head by tag",
    "Referrers",
    "Tag listing",
];

#[test]
fn the_conformance_suite_passes_where_it_pulls_and_asks_for_referrers() {
    let Some(found) = programs(&["docker-registry", "skopeo", "cosign", "conformance"]) else { return };
    let world = World::new(&found);
    let minter = Minter::fresh();
    let (image, index) = (Image::new("app"), Index::new("multi"));
    let repository = format!("{HOST}/demo/app");
    world.push_image("demo/app:v1", &image);
    world.push_index("demo/app:v2", &index);

    let folder = testdata::scratch();
    let attached = |name: &str, subject: &testdata::Blob| {
        let bundle = minter.cosign_cyclonedx(name, subject.digest, &testdata::cyclonedx(3));
        Attached::bundles(subject, &[bundle.bytes()])
    };
    let there = format!("{FOLDER}/demo/app");
    let mut layout = Layout::create(folder.path());
    layout.add("v1", &image).add_index("v2", &index);
    layout.attach(&attached(&there, &image.manifest)).attach(&attached(&there, &index.index));

    let upstreams = format!(
        "{}[[upstreams]]\nhost = \"{FOLDER}\"\nlayout = \"{}\"\nrepository = \"demo/app\"\n",
        world.upstreams(),
        folder.path().display()
    );
    let contract = testdata::contract("@").replace("\"@\"", &format!("\"{repository}\", \"{there}\""));
    let contract = contract.replace("    - name: image\n      type: CONTAINER_IMAGE\n      output: true\n", "");
    let contract = contract.replace("    any:\n", "    any:\n      - publicKey: \"file://keys/cosign.pub\"\n");
    let scene = Scene::new(&upstreams, &contract);
    world.cosign_keys();
    scene.write("keys/cosign.pub", &read(&world.folder("cosign.pub")));
    scene.write("keys/release.pub", minter.public_pem().as_bytes());
    let _serving = scene.serve();
    scene.apply();
    for digest in [image.digest(), index.digest()] {
        let name = format!("{}/demo/app@{digest}", world.registry());
        world.cosign_attest(&name, &["--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json"]);
    }

    let manifests = [image.digest(), index.digest(), index.images[0].digest(), index.images[1].digest()];
    let blobs: BTreeSet<String> =
        index.images.iter().chain([&image]).flat_map(Image::blobs).map(|blob| blob.digest.to_string()).collect();
    let data = [
        ("OCI_RO_DATA_TAGS", "v1 v2".to_owned()),
        ("OCI_RO_DATA_MANIFESTS", manifests.map(|digest| digest.to_string()).join(" ")),
        ("OCI_RO_DATA_BLOBS", blobs.into_iter().collect::<Vec<_>>().join(" ")),
        ("OCI_RO_DATA_REFERRERS", format!("{} {}", image.digest(), index.digest())),
    ];
    for repository in [&repository, &there] {
        let off = ["PUSH", "BLOBS_DELETE", "MANIFESTS_DELETE", "TAGS_DELETE"];
        let mut settings: Vec<(String, String)> =
            off.iter().map(|api| (format!("OCI_API_{api}"), "false".to_owned())).collect();
        settings.push(("OCI_API_BLOBS_DIGEST_HEADER".to_owned(), "true".to_owned()));
        settings.extend(data.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let said = suite(&scene, repository, &settings);
        assert!(said.contains("OCI Conformance Result: Pass"), "{repository}:\n{said}\n{}", scene.log());
        for api in SERVED {
            assert_eq!(told(&said, api), "Pass", "{repository}: {api}\n{said}");
        }
        println!("{repository}: {}", SERVED.map(|api| format!("{api}: {}", told(&said, api))).join(", "));
    }

    // With all of it asked for, nothing of what is refused passes, and nothing was pushed.
    let said = suite(&scene, &format!("{HOST}/demo/pushed"), &[]);
    for api in REFUSED {
        assert!(["FAIL", "Skip", "Disabled", "Unknown"].contains(&told(&said, api).as_str()), "{api}: {said}");
    }
    println!("refused: {}", REFUSED.map(|api| format!("{api}: {}", told(&said, api))).join(", "));
    let repositories = String::from_utf8(get(&format!("http://{}/v2/_catalog", world.registry()))).unwrap();
    assert!(!repositories.contains("pushed"), "{repositories}");
}

/// Runs the suite, as somebody who has a token, and returns what it says. Its exit code says nothing: where nothing is
/// pushed, this version of it tells all its results and then panics over a file that it writes.
fn suite(scene: &Scene, repository: &str, settings: &[(String, String)]) -> String {
    let folder = testdata::scratch();
    let mut command = Command::new("conformance");
    command.current_dir(folder.path()).stdin(Stdio::null()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("OCI_VERSION", "1.1").env("OCI_TLS", "disabled");
    command.env("OCI_REGISTRY", scene.address().to_string()).env("OCI_REPO1", repository).env("OCI_REPO2", repository);
    command.env("OCI_USERNAME", "robot").env("OCI_PASSWORD", scene.token());
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    both(&command.output().unwrap())
}

/// How an API fared, of the suite's summary.
fn told(said: &str, api: &str) -> String {
    let line = said.lines().find_map(|line| line.trim().strip_prefix(api)?.trim_start_matches('.').strip_prefix(':'));
    line.unwrap_or("not told").split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn cosign_finds_the_gateways_word_beside_an_allowed_image_and_none_beside_others() {
    let Some(found) = programs(&["docker-registry", "skopeo", "cosign"]) else { return };
    let world = World::new(&found);
    let (image, denied) = (Image::new("app"), Image::new("denied"));
    world.push_image("demo/app:v1", &image);
    world.push_image("demo/app:denied", &denied);
    let scene = world.scene("demo/**");
    let _serving = scene.serve();
    scene.apply();
    world.attest(&scene, "demo/app", image.digest());
    let keys: Value = serde_json::from_slice(&get(&format!("{}/api/v1/keys", scene.url()))).unwrap();
    fs::write(world.folder("gateway.pub"), keys["keys"][0]["pem"].as_str().unwrap()).unwrap();
    let verify = |digest: contracts::Digest, kind: &str| {
        let (name, token) = (format!("{}/{HOST}/demo/app@{digest}", scene.address()), scene.token());
        let arguments =
            ["verify-attestation", "--key", "gateway.pub", "--insecure-ignore-tlog", "--allow-http-registry"];
        let login = ["--registry-username", "any", "--registry-password", &token, "--type", kind, &name];
        world.run_cosign(&[&arguments[..], &login[..]].concat())
    };
    let verdict = contracts::vsa::PREDICATE_TYPE;
    let good = verify(image.digest(), verdict);
    assert!(good.status.success(), "{}\n{}", both(&good), scene.log());
    let other = verify(image.digest(), "https://slsa.dev/provenance/v1");
    assert!(!other.status.success(), "{}", both(&other));
    let bad = verify(denied.digest(), verdict);
    assert!(!bad.status.success() && both(&bad).contains("no attestation"), "{}", both(&bad));
}

#[test]
fn clients_log_in_with_a_token_and_pull_with_what_they_get_for_it() {
    let Some(found) = programs(&["docker-registry", "skopeo", "podman"]) else { return };
    let world = World::new(&found);
    let image = Image::new("app");
    world.push_image("demo/app:v1", &image);
    let scene = world.scene("demo/**");
    let _serving = scene.serve();
    scene.apply();
    world.attest(&scene, "demo/app", image.digest());
    let (address, token) = (scene.address().to_string(), scene.token());
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(world.folder("")).stdin(Stdio::null());
        command.env("REGISTRY_AUTH_FILE", world.folder("auth.json")).output().unwrap()
    };
    for program in ["skopeo", "podman"] {
        let _none = fs::remove_file(world.folder("auth.json"));
        let login = ["login", "--tls-verify=false", "--username", "robot", "--password"];
        let wrong = run(program, &[&login[..], &["sluice_wrong", &address]].concat());
        assert!(!wrong.status.success(), "{program}: {}", both(&wrong));
        let right = run(program, &[&login[..], &[&token, &address]].concat());
        assert!(right.status.success(), "{program}: {}\n{}", both(&right), scene.log());
        let (source, to) = (format!("docker://{address}/{HOST}/demo/app:v1"), format!("dir:by-{program}"));
        let begun = Instant::now();
        let pulled = run("skopeo", &["--insecure-policy", "copy", "--src-tls-verify=false", &source, &to]);
        assert!(pulled.status.success(), "{program}: {}\n{}", both(&pulled), scene.log());
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert!(Path::new(&world.folder(&format!("by-{program}")).join("manifest.json")).is_file());
        let named = format!("docker://{address}/{HOST}/demo/app");
        let listed = run("skopeo", &["list-tags", "--tls-verify=false", &named]);
        let tags: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert!(tags["Tags"].as_array().unwrap().contains(&"v1".into()), "{}\n{}", both(&listed), scene.log());
    }
}

#[test]
fn containerd_exchanges_its_password_by_form_and_means_registries_by_ns() {
    let Some(found) = programs(&["docker-registry", "skopeo", "containerd", "ctr"]) else { return };
    let world = World::new(&found);
    let image = Image::new("app");
    world.push_image("demo/app:v1", &image);
    let scene = world.scene("demo/**");
    let _serving = scene.serve();
    scene.apply();
    let containerd = Containerd::start();
    let url = scene.url();
    let hosts = format!("server = \"{url}\"\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
    scene.write(&format!("hosts/{HOST}/hosts.toml"), hosts.as_bytes());
    let user = format!("robot:{}", scene.token());
    let fetch = |arguments: &[&str]| {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(&containerd.socket).args(["content", "fetch", "--user", &user]);
        command.args(["--platform", "linux/amd64"]).args(arguments).current_dir(scene.path(""));
        command.stdin(Stdio::null()).output().unwrap()
    };
    let (named, mirrored) = (format!("{}/{HOST}/demo/app:v1", scene.address()), format!("{HOST}/demo/app:v1"));
    let ways = [&["--plain-http", &named][..], &["--hosts-dir", "hosts", &mirrored]];
    for way in ways {
        let denied = fetch(way);
        assert!(!denied.status.success(), "{}", both(&denied));
    }
    world.attest(&scene, "demo/app", image.digest());
    for way in ways {
        let fetched = fetch(way);
        assert!(fetched.status.success(), "{way:?} {}\n{}", both(&fetched), scene.log());
    }
    let mut metrics = Command::new("curl");
    metrics.args(["-s", "-u", &user, &format!("{url}/metrics")]);
    let counted = both(&metrics.output().unwrap());
    let form = r#"sluice_http_requests_total{method="POST",route="/token",status="200"}"#;
    assert!(counted.contains(form), "{counted}");
}
