//! What is pushed and proves nothing is refused with a reason, leaves the run as it was, and opens no image.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{Digest, api::StartedRun, dsse::IN_TOTO_PAYLOAD_TYPE};
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Image, Material, Minter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::site::{HOST, REPOSITORY, Site, site};

const PUSH: &str = "/api/v1/attestations?project=skynet&workflow=release";

impl Site {
    async fn begin(&self) -> StartedRun {
        let run = json!({"project": "skynet", "workflow": "release"});
        self.by(&self.admin, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap().json().await.unwrap()
    }

    /// The status, and the code or state with its message.
    async fn pushes(&self, body: Vec<u8>, encoding: Option<&str>) -> (u16, String) {
        let push = self.by(&self.admin, Method::POST, PUSH).header("content-type", contracts::bundle::MEDIA_TYPE);
        let push = encoding.into_iter().fold(push, |push, encoding| push.header("content-encoding", encoding));
        let answer = push.body(body).send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        let error = &body["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (status, format!("{}: {}", text(&error["code"]), text(&error["message"])))
    }
}

/// What lets an image through, as a build would say it of this run.
fn statement(run: &StartedRun, image: Digest) -> Value {
    let image = Material::image("image", &format!("{HOST}/{REPOSITORY}"), image);
    let statement = testdata::statement(run, &[image, Material::string("note", "looked at")]);
    serde_json::from_slice(&statement.to_json_bytes()).unwrap()
}

fn others(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({"name": "x", "digest": {"sha256": format!("{n:064x}")}})).collect()
}

type Make = Box<dyn Fn(&Minter, Value) -> Vec<u8>>;

fn signed(change: impl Fn(&mut Value) + 'static) -> Make {
    Box::new(move |minter, statement| {
        let mut bundle = minter.sign_anything(IN_TOTO_PAYLOAD_TYPE, statement.to_string().as_bytes());
        change(&mut bundle);
        bundle.to_string().into_bytes()
    })
}

fn saying(change: impl Fn(&mut Value) + 'static) -> Make {
    Box::new(move |minter, mut statement| {
        change(&mut statement);
        minter.sign_anything(IN_TOTO_PAYLOAD_TYPE, statement.to_string().as_bytes()).to_string().into_bytes()
    })
}

fn written(change: impl Fn(String) -> String + 'static) -> Make {
    Box::new(move |minter, statement| {
        let statement = change(statement.to_string());
        minter.sign_anything(IN_TOTO_PAYLOAD_TYPE, statement.as_bytes()).to_string().into_bytes()
    })
}

fn cases() -> Vec<(&'static str, Make)> {
    let deep = |open: &'static str, close: &'static str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    vec![
        ("another payload type", {
            Box::new(|minter, statement| {
                minter.sign_anything("application/json", statement.to_string().as_bytes()).to_string().into_bytes()
            })
        }),
        ("another predicate", saying(|s| s["predicateType"] = json!("https://example.test/claim/v1"))),
        ("no signature", signed(|b| b["dsseEnvelope"]["signatures"] = json!([]))),
        ("an empty signature", signed(|b| b["dsseEnvelope"]["signatures"][0]["sig"] = json!(""))),
        ("ten thousand signatures", {
            signed(|b| {
                let all = b["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
                all.extend((0..9_999).map(|n| json!({"sig": STANDARD.encode(format!("junk {n}"))})));
            })
        }),
        ("somebody else's signature", {
            Box::new(|_, statement| {
                let stranger = Minter::fresh();
                stranger.sign_anything(IN_TOTO_PAYLOAD_TYPE, statement.to_string().as_bytes()).to_string().into_bytes()
            })
        }),
        ("no subject", saying(|s| s["subject"] = json!([]))),
        ("ten thousand subjects", saying(|s| s["subject"].as_array_mut().unwrap().extend(others(9_999)))),
        ("subjects twice", { written(|text| text.replacen('{', &format!("{{\"subject\":{},", json!(others(1))), 1)) }),
        ("a digest twice", {
            written(|text| text.replacen("{\"sha256\":", &format!("{{\"sha256\":\"{:064x}\",\"sha256\":", 1), 1))
        }),
        ("an envelope twice", {
            Box::new(|minter, statement| {
                let other = minter.sign_anything("text/plain", b"x")["dsseEnvelope"].to_string();
                let text = String::from_utf8(signed(|_| {})(minter, statement)).unwrap();
                text.replacen('{', &format!("{{\"dsseEnvelope\":{other},"), 1).into_bytes()
            })
        }),
        ("a deep statement", {
            let deep = deep("[", "]");
            written(move |text| text.replacen('{', &format!("{{\"deep\":{deep},"), 1))
        }),
        ("a deep bundle", Box::new(|_, _| testdata::deep("{\"a\":", 100_000))),
        ("a million values", {
            Box::new(|_, _| format!("{{\"mediaType\":\"x\",\"a\":[{}0]}}", "0,".repeat(1_000_000)).into_bytes())
        }),
        ("a gzip bomb", Box::new(|_, _| testdata::archive::gzip(&vec![b' '; 64 << 20]))),
    ]
}

#[tokio::test]
async fn what_is_pushed_and_proves_nothing_is_refused_with_a_reason_and_opens_nothing() {
    let site = site().await;
    let (mut told, begun) = (String::new(), Instant::now());
    for (what, make) in cases() {
        let (image, run) = (Image::new(what), site.begin().await);
        site.fake.image(REPOSITORY, "v1", &image);
        let (status, why) = site.pushes(make(&site.build, statement(&run, image.digest())), None).await;
        assert!((400..500).contains(&status), "{what}: {status} {why}");
        told.push_str(&format!("{what}: {status} {why}\n"));
        assert_eq!(site.verdict(image.digest()).await, "no-evidence", "{what}");
        assert_eq!(site.get(&format!("manifests/{}", image.digest())).await.0, 403, "{what}");
        let state = site.send(Method::GET, &format!("/api/v1/runs/{}", run.id), &json!(null)).await.1;
        assert_eq!(state["state"], "started", "{what}");
    }
    // A bundle that has to be unpacked first is not unpacked.
    let (image, run) = (Image::new("packed"), site.begin().await);
    site.fake.image(REPOSITORY, "v1", &image);
    let good = signed(|_| {})(&site.build, statement(&run, image.digest()));
    let (status, why) = site.pushes(testdata::archive::gzip(&good), Some("gzip")).await;
    told.push_str(&format!("a packed one: {status} {why}\n"));
    assert_eq!(site.verdict(image.digest()).await, "no-evidence");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // The same as it is, is taken.
    assert_eq!(site.pushes(good, None).await.0, 200);
    assert_eq!(site.get(&format!("manifests/{}", image.digest())).await.0, 200);
    insta::assert_snapshot!(told);
}

/// Sends a body that does not end, and returns the answer's status and how much of it was taken.
async fn endless(site: &Site, head: &str, piece: &'static [u8]) -> (u16, u64) {
    let stream = tokio::net::TcpStream::connect(site.running.address()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let head = format!(
        "POST {head}\r\nhost: gw\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        site.admin
    );
    writing.write_all(head.as_bytes()).await.unwrap();
    let taken = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&taken);
    let sending = tokio::spawn(async move {
        while writing.write_all(piece).await.is_ok() {
            counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(20), reading.read_exact(&mut answer)).await;
    read.unwrap().unwrap();
    // Answered, it reads no more than it takes to close the connection.
    let closed = tokio::time::timeout(Duration::from_secs(20), sending).await;
    assert!(closed.is_ok(), "it goes on reading");
    let status = std::str::from_utf8(&answer).unwrap()[9..12].parse().unwrap();
    (status, taken.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_end_is_cut_at_every_door() {
    let site = site().await;
    let piece = {
        let mut piece = b"8000\r\n".to_vec();
        piece.extend([b' '; 0x8000]);
        piece.extend(b"\r\n");
        &*piece.leak()
    };
    let bundle = contracts::bundle::MEDIA_TYPE;
    let mut doors = Vec::new();
    for (path, kind, expected) in [
        (PUSH, bundle, 413),
        ("/api/v1/check", "application/json", 413),
        ("/api/v1/runs", "application/json", 413),
        ("/k8s/validate", "application/json", 413),
        ("/k8s/mutate", "application/json", 413),
        ("/token", "application/x-www-form-urlencoded", 400),
    ] {
        let (head, site) = (format!("{path} HTTP/1.1\r\ncontent-type: {kind}"), &site);
        doors.push(async move {
            let (status, taken) = endless(site, &head, piece).await;
            assert_eq!(status, expected, "{path}");
            assert!(taken < 40 << 20, "{path}: {taken} bytes");
        });
    }
    // Another client is served meanwhile.
    let image = Image::new("app");
    site.fake.image(REPOSITORY, "v1", &image);
    site.release(image.digest(), true).await;
    let others = async {
        for _ in 0..20 {
            let begun = Instant::now();
            assert_eq!(site.get("manifests/v1").await.0, 200);
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
    };
    futures::join!(futures::future::join_all(doors), others);
}

/// A material that becomes very large when it is unpacked is no evidence of its kind.
#[tokio::test]
async fn an_archive_that_becomes_very_large_denies_the_run_and_others_are_judged_meanwhile() {
    let site = site().await;
    let contract = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: scan, type: ZAP_DAST_ZIP}}\n  admission:\n    repositories: [\"{HOST}/app/**\"]\n"
    );
    let files = json!({"contract": "contract.yaml", "files": {"contract.yaml": contract}});
    assert!(matches!(site.send(Method::PUT, "/api/v1/contracts/release", &files).await.0, 200 | 201));
    let image = Image::new("app");
    site.fake.image(REPOSITORY, "v1", &image);
    let bomb = testdata::archive::zip(&[("report_json.json", &vec![b' '; 80 << 20])]);
    let scan = Material::file("scan", contracts::MaterialType::ZapDastZip, "zap.zip", &bomb);
    let path = format!("/api/v1/evidence/{}", Digest::of(&bomb));
    assert!(site.by(&site.admin, Method::PUT, &path).body(bomb).send().await.unwrap().status().is_success());
    let run = site.begin().await;
    let named = Material::image("image", &format!("{HOST}/{REPOSITORY}"), image.digest());
    let bundle = site.build.attest(&run, &[named, scan]);
    let push = site.by(&site.admin, Method::POST, PUSH).header("content-type", contracts::bundle::MEDIA_TYPE);
    let pushed = push.body(bundle.bytes().to_vec()).send();
    let others = async {
        let begun = Instant::now();
        assert_eq!(site.get(&format!("manifests/{}", image.digest())).await.0, 403);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    };
    let (pushed, ()) = futures::join!(pushed, others);
    let pushed = pushed.unwrap();
    assert_eq!(pushed.status(), 422);
    let received: contracts::api::ReceivedAttestation = pushed.json().await.unwrap();
    let codes: Vec<_> = received.run.findings.iter().filter(|f| f.blocks()).map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["document-too-large"], "{:?}", received.run.findings);
    assert_eq!(site.get(&format!("manifests/{}", image.digest())).await.0, 403);
}
