//! What is kept, for whom, and what comes of it when the registry or the disk fails.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use futures::StreamExt;
use reqwest::Method;
use serde_json::json;
use testdata::Image;
use tokio::sync::mpsc;

use crate::{
    fake::{Asked, Fake},
    site::{Site, blob, caching, failed, is},
};

const MIB: u64 = 1 << 20;

/// An image whose layer is about half a MiB. The layers of equal lengths are equal.
fn image(name: &str) -> Image {
    Image::with_payload(name, 500_000)
}

/// Images of different layers.
fn images(count: usize) -> Vec<Image> {
    (0..count).map(|n| Image::with_payload(&format!("app-{n}"), 500_000 + n)).collect()
}

/// Lets a registry send its blobs as the test likes: what is sent to the channel goes out.
fn by_hand(fake: &Fake, length: usize) -> (mpsc::Sender<Result<Bytes, std::io::Error>>, Arc<AtomicUsize>) {
    let (send, receive) = mpsc::channel(16);
    let (receive, asked) = (std::sync::Mutex::new(Some(receive)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    fake.hook(move |asked: &Asked| {
        if !asked.path.contains("/blobs/") || asked.method != Method::GET {
            return None;
        }
        counted.fetch_add(1, Ordering::Relaxed);
        let mut receive = receive.lock().unwrap().take()?;
        let body = Body::from_stream(futures::stream::poll_fn(move |context| receive.poll_recv(context)));
        Some(([(header::CONTENT_LENGTH, length.to_string())], body).into_response())
    });
    (send, asked)
}

fn gone(fake: &Fake, status: StatusCode) {
    fake.hook(move |_| Some(status.into_response()));
}

async fn next(body: &mut (impl StreamExt<Item = reqwest::Result<Bytes>> + Unpin), length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        all.extend_from_slice(&body.next().await.unwrap().unwrap());
    }
    all
}

#[tokio::test]
async fn what_was_served_once_is_served_without_its_registry_to_whoever_may_have_it() {
    let site = caching(64 * MIB).await;
    let image = image("app");
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    let path = blob("one.test", "open/app", layer.digest);
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), layer.bytes);
    site.holds(1).await;

    // Throttled, failing, and away: what is here is served, whole and in parts, to those who may.
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR] {
        gone(&site.one, status);
        assert_eq!(site.get(&path).await.bytes().await.unwrap(), layer.bytes);
    }
    let part = site.ask(&path).header(header::RANGE, "bytes=1000-1999").send().await.unwrap();
    assert_eq!(part.status(), 206);
    let range = format!("bytes 1000-1999/{}", layer.bytes.len());
    assert_eq!(part.headers()["content-range"], range.as_str());
    assert_eq!(part.bytes().await.unwrap(), layer.bytes[1000..2000]);
    let outside = site.ask(&path).header(header::RANGE, "bytes=99999999-").send().await.unwrap();
    assert_eq!(failed(outside).await, is(416, "RANGE_INVALID"));
    let head = site.api(&site.admin, Method::HEAD, &format!("/v2/{path}")).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], layer.bytes.len().to_string().as_str());
    let manifest = site.get(&format!("one.test/open/app/manifests/{}", image.digest())).await;
    assert_eq!(manifest.bytes().await.unwrap(), image.manifest.bytes);
    let tag = site.get("one.test/open/app/manifests/v1").await;
    assert_eq!(failed(tag).await.0, 503, "what a tag points at only the registry knows");

    // Bytes are shared, grants are not.
    let other = site.organization("other").await;
    let theirs = site.api(&other, Method::GET, &format!("/v2/{path}")).send().await.unwrap();
    assert_eq!(failed(theirs).await, is(403, "DENIED"));
    let manifest = format!("/v2/one.test/open/app/manifests/{}", image.digest());
    assert_eq!(site.api(&other, Method::GET, &manifest).send().await.unwrap().status(), 200);
    let theirs = site.api(&other, Method::GET, &format!("/v2/{path}")).send().await.unwrap();
    assert_eq!(theirs.bytes().await.unwrap(), layer.bytes);

    let stats = site.stats().await;
    assert_eq!((&stats["hits"], &stats["misses"]), (&json!(5), &json!(2)), "{stats}");
    let metrics = site.api(&site.admin, Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sluice_cache_requests_total{answer=\"hit\"} 5"), "{metrics}");
    let held = stats["bytes"].as_u64().unwrap();
    assert!(metrics.contains(&format!("sluice_cache_bytes {held}")), "{metrics}");
}

#[tokio::test]
async fn what_is_kept_is_nobodys_elses_to_read() {
    let site = caching(64 * MIB).await;
    let image = image("app");
    site.grant("one.test", "open/app", &image).await;
    site.get(&blob("one.test", "open/app", image.layers[1].digest)).await.bytes().await.unwrap();
    site.holds(1).await;
    let root = site.folder.path().join("cache");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [root.clone(), root.join("content"), root.join("partial")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for file in fs::read_dir(&folder).unwrap().map(|one| one.unwrap().path()).filter(|path| path.is_file()) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn a_name_alone_opens_nothing_that_its_own_registry_does_not_have() {
    let site = caching(64 * MIB).await;
    let secret = image("secret");
    let layer = &secret.layers[1];
    site.grant("one.test", "open/secret", &secret).await;
    site.get(&blob("one.test", "open/secret", layer.digest)).await.bytes().await.unwrap();
    site.holds(1).await;

    // Another repository of the same registry, and another registry: their manifests name a layer that they do not have.
    site.one.manifest("open/thief", &secret.manifest, Some("v1"));
    site.two.manifest("open/thief", &secret.manifest, Some("v1"));
    for host in ["one.test", "two.test"] {
        let manifest = site.get(&format!("{host}/open/thief/manifests/{}", secret.digest())).await;
        assert_eq!(manifest.status(), 200);
        let stolen = site.get(&blob(host, "open/thief", layer.digest)).await;
        assert_eq!(failed(stolen).await, is(404, "BLOB_UNKNOWN"), "{host}");
    }
    // A registry that says that it does, and has other bytes.
    site.two.raw_blob("open/thief", layer.digest, &vec![7; layer.bytes.len()]);
    let lied = site.get(&blob("two.test", "open/thief", layer.digest)).await;
    assert!(lied.bytes().await.is_err());

    // One that does have it is asked for it whole; a repository of the first registry only whether it does.
    let downloads = |fake: &Fake| {
        let of_blobs = fake.log().into_iter().filter(|asked| asked.path.contains("/blobs/"));
        of_blobs.filter(|asked| asked.method == Method::GET).count()
    };
    site.two.blob("open/thief", layer);
    site.one.blob("open/thief", layer);
    let before = (downloads(&site.one), downloads(&site.two));
    for host in ["one.test", "two.test", "one.test", "two.test"] {
        assert_eq!(site.get(&blob(host, "open/thief", layer.digest)).await.bytes().await.unwrap(), layer.bytes);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((downloads(&site.one), downloads(&site.two)), (before.0, before.1 + 1));
    site.holds(1).await;
    for fake in [&site.one, &site.two] {
        gone(fake, StatusCode::INTERNAL_SERVER_ERROR);
    }
    for host in ["one.test", "two.test"] {
        assert_eq!(site.get(&blob(host, "open/thief", layer.digest)).await.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn a_blob_streams_while_it_comes_and_is_fetched_once_for_all_who_want_it() {
    let site = caching(64 * MIB).await;
    let image = image("app");
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    let path = blob("one.test", "open/app", layer.digest);
    let (send, asked) = by_hand(&site.one, layer.bytes.len());
    let bytes = Bytes::from(layer.bytes.clone());

    let first = tokio::spawn(site.ask(&path).send());
    send.send(Ok(bytes.slice(..1000))).await.unwrap();
    let mut first = first.await.unwrap().unwrap().bytes_stream();
    assert_eq!(next(&mut first, 1000).await, bytes[..1000], "before the rest was sent");

    let mut second = site.get(&path).await.bytes_stream();
    assert_eq!(next(&mut second, 1000).await, bytes[..1000]);
    // One in the middle joins as well, as the bytes will be here soon.
    let part = tokio::spawn(site.ask(&path).header(header::RANGE, "bytes=2000-2999").send());
    // The one who began it goes away; the others get all of it.
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    send.send(Ok(bytes.slice(1000..200_000))).await.unwrap();
    let part = part.await.unwrap().unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), bytes[2000..3000]);
    send.send(Ok(bytes.slice(200_000..))).await.unwrap();
    drop(send);
    assert_eq!(next(&mut second, bytes.len() - 1000).await, bytes[1000..]);
    assert!(second.next().await.is_none());
    site.holds(1).await;
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), bytes);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let stats = site.stats().await;
    assert_eq!((&stats["joined"], &stats["hits"]), (&json!(2), &json!(1)), "{stats}");
}

#[tokio::test]
async fn a_fetch_that_nobody_wants_any_more_ends() {
    let site = caching(64 * MIB).await;
    let image = image("app");
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    let path = blob("one.test", "open/app", layer.digest);
    let (send, _) = by_hand(&site.one, layer.bytes.len());
    while site.stats().await["manifests"] != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    site.rests().await;
    let client = tokio::spawn(site.ask(&path).send());
    send.send(Ok(Bytes::from(layer.bytes[..1000].to_vec()))).await.unwrap();
    let mut body = client.await.unwrap().unwrap().bytes_stream();
    next(&mut body, 1000).await;
    assert_eq!(site.files("partial").len(), 1);
    drop(body);
    tokio::time::timeout(Duration::from_secs(5), send.closed()).await.unwrap();
    site.rests().await;
    // The next one asks anew.
    site.one.hook(|_| None);
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), layer.bytes);
}

#[tokio::test]
async fn what_is_not_its_digest_is_not_kept_and_never_ends_well_for_anyone() {
    let site = caching(64 * MIB).await;
    let image = image("app");
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    let path = blob("one.test", "open/app", layer.digest);
    let (send, _) = by_hand(&site.one, layer.bytes.len());
    let mut wrong = layer.bytes.clone();
    wrong[7] ^= 1;
    let wrong = Bytes::from(wrong);
    let first = tokio::spawn(site.ask(&path).send());
    send.send(Ok(wrong.slice(..1000))).await.unwrap();
    let first = first.await.unwrap().unwrap();
    let second = site.get(&path).await;
    send.send(Ok(wrong.slice(1000..))).await.unwrap();
    drop(send);
    for one in [first, second] {
        assert_eq!(one.headers()["content-length"], layer.bytes.len().to_string().as_str());
        assert!(one.bytes().await.is_err());
    }
    // One that breaks off.
    let (send, _) = by_hand(&site.one, layer.bytes.len());
    let broken = tokio::spawn(site.ask(&path).send());
    send.send(Ok(Bytes::from(layer.bytes[..1000].to_vec()))).await.unwrap();
    let broken = broken.await.unwrap().unwrap();
    send.send(Err(std::io::Error::other("reset"))).await.unwrap();
    assert!(broken.bytes().await.is_err());
    site.holds(0).await;
    site.rests().await;

    site.one.hook(|_| None);
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), layer.bytes, "the right bytes are taken after that");
    site.holds(1).await;
}

#[tokio::test]
async fn what_was_not_used_for_longest_makes_room() {
    // Manifests are in it too: about four layers fit.
    let site = caching(2_200_000).await;
    let images = images(5);
    let path = |n: usize| blob("one.test", "open/app", images[n].layers[1].digest);
    for (n, image) in images.iter().enumerate() {
        if n == 4 {
            site.get(&path(0)).await.bytes().await.unwrap();
        }
        site.grant("one.test", "open/app", image).await;
        assert_eq!(site.get(&path(n)).await.bytes().await.unwrap(), image.layers[1].bytes);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let kept = site.files("content");
    let there: Vec<bool> = images.iter().map(|image| kept.contains(&image.layers[1].digest.hex())).collect();
    assert_eq!(there, [true, false, true, true, true], "the first was used again before the last came");
    let stats = site.stats().await;
    assert!(stats["bytes"].as_u64().unwrap() <= 2_200_000 && stats["evictions"].as_u64().unwrap() >= 1, "{stats}");

    // What is larger than half of it passes.
    let large = Image::with_payload("large", 1_500_000);
    site.grant("one.test", "open/app", &large).await;
    let layer = &large.layers[1];
    let path = blob("one.test", "open/app", layer.digest);
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), layer.bytes);
    assert!(!site.files("content").contains(&layer.digest.hex()));
    assert_eq!(site.stats().await["not_kept"], 1);
}

#[tokio::test]
async fn after_a_kill_the_folder_alone_tells_what_is_there() {
    let site = caching(64 * MIB).await;
    let images = images(3);
    for image in &images {
        site.grant("one.test", "open/app", image).await;
        site.get(&blob("one.test", "open/app", image.layers[1].digest)).await.bytes().await.unwrap();
    }
    site.holds(3).await;
    let root = site.folder.path().join("cache");
    fs::write(root.join("partial/half"), b"half of something").unwrap();
    let file = |n: usize| root.join("content").join(images[n].layers[1].digest.hex());
    // One was damaged, one was cut short; the third is as it was.
    let mut damaged = images[0].layers[1].bytes.clone();
    damaged[9] ^= 1;
    fs::write(file(0), &damaged).unwrap();
    fs::write(file(1), &images[1].layers[1].bytes[..1000]).unwrap();
    let site = site.again().await;
    assert!(site.files("partial").is_empty());
    assert_eq!(site.stats().await["blobs"], 3);
    let downloads = |site: &Site, n: usize| site.one.asked(&images[n].layers[1].digest.to_string());
    let before: Vec<usize> = (0..3).map(|n| downloads(&site, n)).collect();
    for (n, image) in images.iter().enumerate() {
        let path = blob("one.test", "open/app", image.layers[1].digest);
        for range in ["bytes=0-", "bytes=100-"] {
            let whole = site.ask(&path).header(header::RANGE, range).send().await.unwrap();
            let from = if range == "bytes=0-" { 0 } else { 100 };
            assert_eq!(whole.bytes().await.unwrap(), image.layers[1].bytes[from..], "{n}");
            site.holds(3).await;
        }
        assert_eq!(downloads(&site, n) - before[n], usize::from(n < 2), "{n}");
    }
    let again =
        gateway::upstream::Cache::open(&gateway::upstream::CacheSettings { folder: root, size: 1 }, &Arc::default());
    assert!(again.is_err_and(|error| error.to_string().contains("in use by another gateway")));
}

#[tokio::test]
async fn many_clients_of_many_blobs_get_what_they_asked_for() {
    let site = Arc::new(caching(3 * MIB).await);
    let images = Arc::new(images(6));
    for image in images.iter() {
        site.grant("one.test", "open/app", image).await;
    }
    let clients: Vec<_> = (0..24usize)
        .map(|client| {
            let (site, images) = (Arc::clone(&site), Arc::clone(&images));
            tokio::spawn(async move {
                for round in 0..8 {
                    let layer = &images[(client * 5 + round * 7) % images.len()].layers[1];
                    let path = blob("one.test", "open/app", layer.digest);
                    let request = site.ask(&path);
                    if (client + round) % 3 == 0 {
                        let part = request.header(header::RANGE, "bytes=4000-9999").send().await.unwrap();
                        assert_eq!(part.bytes().await.unwrap(), layer.bytes[4000..10_000]);
                    } else if (client + round) % 5 == 0 {
                        drop(request.send().await.unwrap());
                    } else {
                        assert_eq!(request.send().await.unwrap().bytes().await.unwrap(), layer.bytes);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let stats = site.stats().await;
    assert!(stats["bytes"].as_u64().unwrap() <= 3 * MIB, "{stats}");
}
