//! A trust root that a TUF repository keeps fresh: what certificates are worth while it is there, when it is replaced, and
//! when it is not renewed in time; and a mirror that lies.

use std::time::Duration;

use contracts::{Digest, limits};
use gateway::{app::Gateway, config::Settings, tuf::TufSettings};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Image, Sigstore, TufRepository};

use crate::{
    mirror::Mirror,
    proofs::{ISSUER, RELEASE, attested, contract, now},
    site::{Site, header_of, site_with},
};

const TARGET: &str = "trusted_root.json";

/// A gateway whose trust root comes from a repository.
struct Scene {
    site: Site,
    settings: Settings,
    mirror: Mirror,
    repository: TufRepository,
    sigstore: Sigstore,
}

fn later(seconds: i64) -> Timestamp {
    // Files say whole seconds.
    Timestamp::from_second(now().as_second() + seconds).unwrap()
}

async fn scene() -> Scene {
    scene_with(later(3600), |_, _| {}).await
}

/// `change` is given what the mirror shows, and the settings.
async fn scene_with(expires: Timestamp, change: impl FnOnce(&Mirror, &mut TufSettings)) -> Scene {
    let sigstore = Sigstore::new(now());
    let repository = TufRepository::new(&sigstore.trusted_root(), expires);
    let mirror = Mirror::of(&repository).await;
    let mut told = None;
    let site = site_with(|settings| {
        let folder = settings.state.parent().unwrap().to_owned();
        std::fs::create_dir_all(&folder).unwrap();
        let root = folder.join("root.json");
        std::fs::write(&root, repository.root(1)).unwrap();
        let mut tuf = TufSettings {
            mirror: mirror.url.clone(),
            root,
            target: TARGET.to_owned(),
            refresh: Duration::from_secs(1),
            grace: Duration::from_secs(60),
            ca_file: None,
            kept: folder.join("tuf.json"),
        };
        change(&mirror, &mut tuf);
        settings.tuf = Some(tuf);
        settings.metrics_anonymous = true;
        told = Some(settings.clone());
    })
    .await;
    let signers = format!("{{any: [{{issuer: \"{ISSUER}\", identity: \"{RELEASE}\"}}]}}");
    site.apply(&site.admin, "keyless", &contract("keyless", &signers), &[]).await;
    Scene { site, settings: told.unwrap(), mirror, repository, sigstore }
}

impl Scene {
    /// Another gateway over the same state.
    async fn again(self) -> Self {
        let Self { site, settings, mirror, repository, sigstore } = self;
        let Site { _folder, running, fake, admin, pull, client, minter } = site;
        running.stop().await;
        let running = Gateway::start(settings.clone()).await.unwrap();
        let site = Site { _folder, running, fake, admin, pull, client, minter };
        Self { site, settings, mirror, repository, sigstore }
    }

    /// An image that this Sigstore's release workflow signs for.
    fn image(&self, name: &str, sigstore: &Sigstore) -> Image {
        let image = Image::new(name);
        let at = now() - SignedDuration::from_mins(60);
        let bundle = attested(sigstore, &image, RELEASE, ISSUER, at);
        self.site.beside("keyless/app", &image, bundle.to_string().as_bytes());
        image
    }

    async fn is_open(&self, image: &Image) {
        self.site.is_open("keyless/app", image).await;
    }

    async fn is_closed(&self, image: &Image) -> String {
        let path = format!("registry.test/keyless/app/manifests/{}", image.digest());
        assert_eq!(header_of(&self.site.head(&path).await, "docker-content-digest"), None);
        let answer = self.site.get(&path).await;
        assert_eq!(answer.status(), 403);
        answer.json::<Value>().await.unwrap()["errors"][0]["message"].as_str().unwrap().to_owned()
    }

    async fn text(&self, path: &str) -> String {
        self.site.client.get(self.site.url(path)).send().await.unwrap().text().await.unwrap()
    }

    /// How often asking the mirror came out like that.
    async fn asked(&self, answer: &str) -> u64 {
        let line = format!("sluice_trust_root_refreshes_total{{answer=\"{answer}\"}} ");
        let text = self.text("/metrics").await;
        let count = text.lines().find_map(|found| found.strip_prefix(&line));
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// Waits until asking the mirror has come out like that once more.
    async fn comes_out(&self, answer: &str) {
        let before = self.asked(answer).await;
        for _ in 0..200 {
            if self.asked(answer).await > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("asking the mirror never came out as `{answer}`: {}", self.text("/metrics").await);
    }

    async fn check(&self, repository: &str, image: &Image) -> Value {
        let body = json!({"image": format!("registry.test/{repository}@{}", image.digest())});
        let answer = self.site.by(&self.site.admin, Method::POST, "/api/v1/check").json(&body).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Publishes another trust root in the place of the one that there is.
    fn replace(&mut self, sigstore: &Sigstore) {
        self.repository.publish(&[(TARGET, &sigstore.trusted_root())], later(3600));
    }
}

#[tokio::test]
async fn a_trust_root_follows_its_repository_through_three_roots_and_old_verdicts_go_with_the_old_one() {
    let mut scene = scene().await;
    let image = scene.image("app", &scene.sigstore);
    scene.is_open(&image).await;
    assert!(scene.text("/readyz").await.starts_with("ready\ntrust root: counts until "));

    scene.repository.rotate(&["root"]);
    scene.repository.rotate(&["root", "timestamp", "snapshot", "targets"]);
    let other = Sigstore::new(now());
    scene.replace(&other);
    scene.mirror.show(&scene.repository);
    scene.comes_out("renewed").await;
    let reason = scene.is_closed(&image).await;
    assert!(reason.starts_with("signer-not-allowed"), "{reason}");
    let newer = scene.image("newer", &other);
    scene.is_open(&newer).await;

    // What was fetched is kept: no mirror is needed to know the third root, and what it bears out.
    scene.mirror.goes_down();
    let scene = scene.again().await;
    scene.is_open(&newer).await;
    assert!(scene.is_closed(&image).await.starts_with("signer-not-allowed"));
}

#[tokio::test]
async fn older_versions_are_refused_after_a_restart_too_and_the_newer_stay() {
    let mut scene = scene().await;
    let image = scene.image("app", &scene.sigstore);
    let first = scene.repository.files.clone();
    let other = Sigstore::new(now());
    scene.replace(&other);
    scene.mirror.show(&scene.repository);
    scene.comes_out("renewed").await;
    let newer = scene.image("newer", &other);
    scene.is_open(&newer).await;

    // A newer timestamp, rightly signed, of the older snapshot; a newer snapshot of the older targets.
    let mut old_snapshot = first.clone();
    let mut timestamp = scene.repository.next("timestamp");
    let snapshot = scene.repository.signed("1.snapshot.json");
    let described = &scene.repository.files["1.snapshot.json"];
    let hash = Digest::of(described).hex();
    timestamp["meta"] = json!({"snapshot.json": {"version": 1, "length": described.len(), "hashes": {"sha256": hash}}});
    old_snapshot.insert("timestamp.json".to_owned(), scene.repository.sign("timestamp", &timestamp));
    let mut targets = scene.repository.next("snapshot");
    targets["meta"] = snapshot["meta"].clone();
    scene.repository.put_snapshot(&targets);
    let old_targets = scene.repository.files.clone();

    for (what, files) in [("timestamp", first), ("snapshot", old_snapshot), ("targets", old_targets)] {
        scene.mirror.show_files(files);
        scene = scene.again().await;
        scene.comes_out("refused").await;
        scene.is_open(&newer).await;
        let reason = scene.is_closed(&image).await;
        assert!(reason.starts_with("signer-not-allowed"), "{what}: {reason}");
        assert_eq!(scene.asked("renewed").await, 0, "{what}");
    }
}

#[tokio::test]
async fn what_expired_counts_through_its_grace_and_not_a_second_longer_and_keys_are_not_affected() {
    let (expires, grace) = (later(5), 3);
    let mut scene = scene_with(expires, |_, tuf| tuf.grace = Duration::from_secs(3)).await;
    let image = scene.image("app", &scene.sigstore);
    let keyed = Image::new("keyed");
    scene.site.attested("skynet/app", "v1", &keyed);
    scene.is_open(&image).await;
    scene.site.is_open("skynet/app", &keyed).await;
    let until = expires + SignedDuration::from_secs(grace);
    let verdict = scene.check("keyless/app", &image).await;
    assert_eq!((&verdict["decision"], &verdict["valid_until"]), (&json!("allow"), &json!(until)), "{verdict:#}");
    let verdict = scene.check("skynet/app", &keyed).await;
    assert_eq!((&verdict["decision"], &verdict["valid_until"]), (&json!("allow"), &Value::Null), "{verdict:#}");

    // The mirror goes on showing what expires.
    while now() < expires {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let late = scene.image("late", &scene.sigstore);
    if now() < until - SignedDuration::from_secs(1) {
        scene.is_open(&late).await;
        scene.is_open(&image).await;
    }
    while now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for one in [&image, &late] {
        let reason = scene.is_closed(one).await;
        assert!(reason.starts_with("trust-root-too-old"), "{reason}");
    }
    scene.site.is_open("skynet/app", &keyed).await;
    scene.comes_out("unavailable").await;
    let verdict = scene.check("keyless/app", &image).await;
    let told = verdict["findings"][0]["message"].as_str().unwrap();
    for part in [&scene.mirror.url, "was last refreshed from", "`timestamp.json` expired at"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(scene.text("/readyz").await.starts_with("ready\ntrust root: too old since "));
    scene = scene.again().await;
    assert!(scene.is_closed(&image).await.starts_with("trust-root-too-old"), "also after a restart");

    let same = scene.sigstore.trusted_root();
    scene.repository.publish(&[(TARGET, &same)], later(3600));
    scene.mirror.show(&scene.repository);
    scene.comes_out("renewed").await;
    scene.is_open(&image).await;
    scene.is_open(&late).await;
}

#[tokio::test]
async fn what_the_repository_did_not_sign_or_describe_is_refused_and_what_is_known_stays() {
    let mut scene = scene().await;
    let image = scene.image("app", &scene.sigstore);
    scene.is_open(&image).await;
    let other = Sigstore::new(now());
    scene.replace(&other);
    let newer = scene.image("newer", &other);
    let good = scene.repository.files.clone();
    let target = good.keys().filter(|path| path.starts_with("targets/")).cloned().collect::<Vec<_>>();
    let stranger = TufRepository::new(&other.trusted_root(), later(7200));
    let next_root = {
        let mut root = scene.repository.signed("1.root.json");
        root["version"] = json!(2);
        let mut signed: Value = serde_json::from_slice(&scene.repository.sign("root", &root)).unwrap();
        signed["signatures"].as_array_mut().unwrap().pop();
        signed.to_string().into_bytes()
    };
    let altered = |path: &str| {
        let mut file: Value = serde_json::from_slice(&good[path]).unwrap();
        file["signed"]["expires"] = json!("2099-01-01T00:00:00Z");
        file.to_string().into_bytes()
    };
    let bloated = |path: &str, max: usize| [good[path].clone(), vec![b' '; max]].concat();
    type Case = (&'static str, Vec<(String, Vec<u8>)>);
    let one = |path: &str, bytes: Vec<u8>| vec![(path.to_owned(), bytes)];
    let cases: Vec<Case> = vec![
        ("a timestamp of strangers", one("timestamp.json", stranger.files["timestamp.json"].clone())),
        ("a timestamp that was changed", one("timestamp.json", altered("timestamp.json"))),
        ("no JSON", one("timestamp.json", b"<html>".to_vec())),
        ("a long timestamp", one("timestamp.json", bloated("timestamp.json", limits::TUF_TIMESTAMP_BYTES))),
        ("a snapshot that was changed", one("2.snapshot.json", altered("2.snapshot.json"))),
        ("a snapshot of another length", one("2.snapshot.json", bloated("2.snapshot.json", 1))),
        ("targets that were changed", one("2.targets.json", altered("2.targets.json"))),
        ("a target with other bytes", {
            let changed = |path: &String| {
                let text = String::from_utf8(good[path].clone()).unwrap();
                (path.clone(), text.replace("testdata", "tastdeta").into_bytes())
            };
            target.iter().map(changed).collect()
        }),
        ("a root that one of two signed", one("2.root.json", next_root)),
        ("a root of strangers", one("2.root.json", stranger.root(1).to_vec())),
    ];
    for (what, changes) in cases {
        let mut files = good.clone();
        files.extend(changes);
        scene.mirror.show_files(files);
        scene.comes_out("refused").await;
        scene.comes_out("refused").await;
        scene.is_open(&image).await;
        let reason = scene.is_closed(&newer).await;
        assert!(reason.starts_with("signer-not-allowed"), "{what}: {reason}");
    }
    let target = format!("targets/{}.{TARGET}", Digest::of(&other.trusted_root()).hex());
    for path in ["timestamp.json", "2.root.json", "2.targets.json", &target] {
        scene.mirror.show_endless(good.clone(), path);
        scene.comes_out("refused").await;
        scene.comes_out("refused").await;
        assert!(scene.text("/readyz").await.contains("refreshing it fails"), "{path}");
        scene.is_open(&image).await;
    }
    scene.mirror.show_files(good);
    scene.comes_out("renewed").await;
    scene.is_open(&newer).await;
    assert!(scene.is_closed(&image).await.starts_with("signer-not-allowed"));
}

#[tokio::test]
async fn without_a_first_trust_root_no_certificate_is_believed_and_keys_are() {
    let mut scene = scene_with(later(3600), |mirror, _| mirror.goes_down()).await;
    let image = scene.image("app", &scene.sigstore);
    let keyed = Image::new("keyed");
    scene.site.attested("skynet/app", "v1", &keyed);
    scene.site.is_open("skynet/app", &keyed).await;
    let reason = scene.is_closed(&image).await;
    assert!(reason.starts_with("trust-root-too-old"), "{reason}");
    for part in ["there is no trust root yet", &scene.mirror.url, "HTTP 503"] {
        assert!(reason.contains(part), "{reason}");
    }
    let verdict = scene.check("keyless/app", &image).await;
    assert_eq!(verdict["decision"], "deny");
    assert!(scene.text("/readyz").await.ends_with("trust root: not there yet, certificates are not believed\n"));

    // What expired is no first trust root.
    let root = scene.sigstore.trusted_root();
    scene.repository.publish(&[(TARGET, &root)], later(-10));
    scene.mirror.show(&scene.repository);
    scene.comes_out("unavailable").await;
    scene.comes_out("unavailable").await;
    let reason = scene.is_closed(&image).await;
    assert!(reason.contains("`timestamp.json` expired at"), "{reason}");
    scene.repository.publish(&[(TARGET, &root)], later(3600));
    scene.mirror.show(&scene.repository);
    scene.comes_out("renewed").await;
    scene.is_open(&image).await;
}

#[tokio::test]
async fn a_target_is_no_path_and_nothing_is_written_but_what_is_kept() {
    let text = "[tuf]\nmirror = \"https://tuf.acme.dev\"\nroot = \"root.json\"\ntarget = \"../../etc/x\"\n";
    let refused = Settings::parse("sluice.toml", text, std::path::Path::new("/etc/sluice")).unwrap_err().to_string();
    assert!(refused.contains("line 4: `../../etc/x` is no name of a target"), "{refused}");

    let mut scene = scene().await;
    let root = scene.sigstore.trusted_root();
    let names = ["../../etc/x", "/etc/x", "a/../../x"];
    let listed: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &root[..])).chain([(TARGET, &root[..])]).collect();
    scene.repository.publish(&listed, later(3600));
    scene.mirror.show(&scene.repository);
    scene.comes_out("renewed").await;
    let image = scene.image("app", &scene.sigstore);
    scene.is_open(&image).await;
    let written: Vec<String> = walk(scene.site._folder.path());
    let expected = ["admin-token", "root.json", "signing.key", "sluice.redb", "tuf.json"];
    let expected: Vec<String> = expected.iter().map(|name| format!("state/{name}")).collect();
    assert_eq!(written, expected);

    // A repository without the target has nothing to be believed.
    scene.repository.publish(&[("other.json", &root)], later(3600));
    scene.mirror.show(&scene.repository);
    scene.comes_out("unavailable").await;
    scene.is_open(&image).await;
}

/// A repository that python-tuf made, the reference implementation, with keys of every kind that it makes. Runs with
/// `SLUICE_REAL_CLIENTS=1` and PyPI's `sigstore` in `SLUICE_SIGSTORE_PY`, which python-tuf comes with.
#[tokio::test]
async fn real_clients_a_repository_that_another_program_made_is_followed() {
    let wanted = std::env::var_os("SLUICE_REAL_CLIENTS").is_some();
    let Some(program) = std::env::var_os("SLUICE_SIGSTORE_PY").filter(|_| wanted) else { return };
    let python = std::path::Path::new(&program).parent().unwrap().join("python3");
    let scene = scene_with(later(3600), |mirror, _| mirror.goes_down()).await;
    let folder = testdata::scratch();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at(TARGET), scene.sigstore.trusted_root()).unwrap();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serving/python_tuf.py");
    let made = std::process::Command::new(python).arg(script).arg(at("tuf")).arg(at(TARGET)).status().unwrap();
    assert!(made.success());
    let read = |path: String| (path.clone(), std::fs::read(at("tuf").join(path)).unwrap());
    scene.mirror.show_files(walk(&at("tuf")).into_iter().map(read).collect());
    let root = scene.settings.tuf.as_ref().map(|tuf| tuf.root.clone()).unwrap();
    std::fs::copy(at("tuf/1.root.json"), root).unwrap();
    let scene = scene.again().await;
    let image = scene.image("app", &scene.sigstore);
    scene.is_open(&image).await;
    assert_eq!((scene.asked("renewed").await, scene.asked("refused").await), (1, 0));
}

/// The files below a folder, in order.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(one) = folders.pop() {
        for entry in std::fs::read_dir(one).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}
