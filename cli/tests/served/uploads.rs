//! Large evidence: uploaded in pieces, gone on with after either side was killed, and never held in memory.

use std::{
    fs::{self, File},
    io::Write,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use contracts::{Digest, Hasher};

use crate::scene::Scene;

const CONTRACT: &str = r#"
apiVersion: chainloop.dev/v1
kind: Contract
metadata: {name: release}
spec:
  materials: [{name: firmware, type: ARTIFACT, output: true}]
  signers: {any: [{publicKey: "file://keys/release.pub"}]}
"#;
const PUSH: [&str; 4] = ["attestation", "push", "--key", "keys/release.key"];
const MEGABYTE: usize = 1024 * 1024;

/// A file of so many megabytes, no two alike.
fn large(scene: &Scene, name: &str, megabytes: usize) -> Digest {
    let mut file = File::create(scene.path(name)).unwrap();
    let (mut hasher, mut block) = (Hasher::default(), vec![0x5a_u8; MEGABYTE]);
    for n in 0..megabytes {
        block[..8].copy_from_slice(&(n as u64).to_be_bytes());
        file.write_all(&block).unwrap();
        hasher.update(&block);
    }
    hasher.finish()
}

fn begun(megabytes: usize) -> (Scene, Digest) {
    let scene = Scene::new("", CONTRACT);
    let digest = large(&scene, "firmware.bin", megabytes);
    (scene, digest)
}

fn craft(scene: &Scene) {
    scene.apply();
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
    scene.sluice(&["attestation", "add", "--name", "firmware", "--value", "firmware.bin"], 0);
}

/// The bytes of unfinished uploads.
fn uploaded(scene: &Scene) -> u64 {
    let Ok(folder) = fs::read_dir(scene.path("state/evidence/default/.uploads")) else { return 0 };
    folder.filter_map(|entry| entry.ok()?.metadata().ok()).map(|found| found.len()).sum()
}

fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_upload_goes_on_after_the_client_and_the_gateway_were_killed() {
    let (scene, digest) = begun(96);
    let mut serving = scene.serve();
    craft(&scene);
    let mut push = scene.with_token(&PUSH).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("nothing is uploaded", || uploaded(&scene) > 9 * MEGABYTE as u64);
    push.kill().unwrap();
    push.wait().unwrap();
    let first = uploaded(&scene);
    assert!(first > 0 && first < 96 * MEGABYTE as u64, "killed too late: {first}");

    // The next push goes on; the gateway goes away under it, and comes back.
    let push = scene.with_token(&PUSH).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What the killed one had sent still comes in.
    wait_until("the upload does not go on", || uploaded(&scene) > first + 17 * MEGABYTE as u64);
    serving.kill();
    let second = uploaded(&scene);
    assert!(second > first && second < 96 * MEGABYTE as u64, "it began anew, or was done: {first} {second}");
    let _serving = scene.serve();
    let output = push.wait_with_output().unwrap();
    let told = crate::scene::both(&output);
    assert!(output.status.success() && told.contains("accepted"), "{told}\n{}", scene.log());
    assert_eq!(uploaded(&scene), 0);
    let kept = fs::read(scene.path(&format!("state/evidence/default/{}", digest.hex()))).unwrap();
    assert_eq!(Digest::of(&kept), digest);
    let runs = scene.sluice(&["run", "list"], 0);
    assert_eq!(runs.matches("accepted").count(), 1, "{runs}");
}

/// The most memory that a process ever had, in megabytes.
#[cfg(target_os = "linux")]
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}

/// `SLUICE_LARGE_MEGABYTES` says how large.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_file() {
    let megabytes = std::env::var("SLUICE_LARGE_MEGABYTES").map_or(256, |text| text.parse().unwrap());
    let (scene, _) = begun(megabytes);
    let serving = scene.serve();
    craft(&scene);
    let begun = Instant::now();
    let mut push = scene.with_token(&PUSH).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut client = 0;
    let status = loop {
        client = client.max(peak(push.id()).unwrap_or(0));
        if let Some(status) = push.try_wait().unwrap() {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{}", scene.log());
    let gateway = peak(serving.id()).unwrap();
    println!("{megabytes} MB in {:?}: client {client} MB, gateway {gateway} MB at most", begun.elapsed());
    // 64 MB of it are for the key's password, while the evidence is on its way.
    assert!(client < 160, "the client took {client} MB");
    assert!(gateway < 160, "the gateway took {gateway} MB");
}

#[test]
fn five_hundred_materials_are_one_attestation() {
    let scene = Scene::new("", CONTRACT);
    let _serving = scene.serve();
    scene.write("firmware.bin", b"firmware");
    craft(&scene);
    let mut manifest = "materials:\n".to_owned();
    for n in 0..500 {
        let name = format!("logs/{n}.txt");
        scene.write(&name, format!("log {n}").as_bytes());
        manifest += &format!("  log-{n}: {{value: {name}, kind: EVIDENCE}}\n");
    }
    scene.write(".sluice.yml", manifest.as_bytes());
    scene.sluice(&["attestation", "add"], 0);
    let told = scene.sluice(&[&PUSH[..], &["-o", "json"]].concat(), 0);
    let pushed = serde_json::Deserializer::from_str(&told).into_iter::<serde_json::Value>().next().unwrap().unwrap();
    assert_eq!(pushed["materials"].as_array().unwrap().len(), 501);
    assert_eq!(pushed["decision"], "allow");
}
