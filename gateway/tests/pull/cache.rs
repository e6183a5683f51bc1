//! What is kept, for whom, and what comes of it when the registry or the disk fails.

use std::{
    collections::HashMap,
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
use gateway::upstream::Redirects;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::json;
use testdata::Image;
use tokio::sync::mpsc;

use crate::{
    fake::{Asked, Fake},
    site::{Site, blob, caching, changed, failed, is},
};

pub const MIB: u64 = 1 << 20;

/// An image whose layer is about half a MiB. The layers of equal lengths are equal.
pub fn image(name: &str) -> Image {
    Image::with_payload(name, 500_000)
}

/// Images of different layers.
pub fn images(count: usize) -> Vec<Image> {
    (0..count).map(|n| Image::with_payload(&format!("app-{n}"), 500_000 + n)).collect()
}

/// Lets a registry send its blobs as the test likes: what is sent to the channel goes out.
pub fn by_hand(fake: &Fake, length: usize) -> (mpsc::Sender<Result<Bytes, std::io::Error>>, Arc<AtomicUsize>) {
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

pub fn gone(fake: &Fake, status: StatusCode) {
    fake.hook(move |_| Some(status.into_response()));
}

pub async fn next(body: &mut (impl StreamExt<Item = reqwest::Result<Bytes>> + Unpin), length: usize) -> Vec<u8> {
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
async fn a_fetch_that_nobody_wants_any_more_ends_and_was_the_only_one() {
    // It is not its standing still that ends it.
    let site = changed(64 * MIB, |all| all.upstreams[0].idle_timeout = SignedDuration::from_secs(60)).await;
    let image = image("app");
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    let path = blob("one.test", "open/app", layer.digest);
    let (send, asked) = by_hand(&site.one, layer.bytes.len());
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
    assert_eq!(asked.load(Ordering::Relaxed), 1, "it is not begun anew for nobody");
    // The next one asks anew, once.
    site.one.hook(|_| None);
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), layer.bytes);
    assert_eq!(site.one.asked(&layer.digest.to_string()), 2);
}

/// Who comes in the moment in which the last one goes either joins the fetch or begins another one: it gets all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_a_fetch_is_given_up_gets_all_of_it() {
    let site = caching(64 * MIB).await;
    let images: Vec<Image> = (0..30).map(|n| Image::with_payload("app", 100_000 + n)).collect();
    for image in &images {
        site.grant("one.test", "open/app", image).await;
    }
    let mut again = 0;
    for (round, image) in images.iter().enumerate() {
        let layer = &image.layers[1];
        let path = blob("one.test", "open/app", layer.digest);
        let (send, asked) = by_hand(&site.one, layer.bytes.len());
        let bytes = Bytes::from(layer.bytes.clone());
        let first = tokio::spawn(site.ask(&path).send());
        send.send(Ok(bytes.slice(..1000))).await.unwrap();
        let mut first = first.await.unwrap().unwrap().bytes_stream();
        next(&mut first, 1000).await;
        let second = tokio::spawn(site.ask(&path).send());
        tokio::time::sleep(Duration::from_micros(round as u64 * 100)).await;
        drop(first);
        // Where the fetch was given up, nobody takes this any more.
        let _taken = send.send(Ok(bytes.slice(1000..))).await;
        drop(send);
        assert_eq!(second.await.unwrap().unwrap().bytes().await.unwrap(), bytes, "{round}");
        let asked = asked.load(Ordering::Relaxed);
        assert!((1..=2).contains(&asked), "{round}: asked {asked} times");
        again += asked - 1;
    }
    println!("{again} of 30 came too late to join");
    site.holds(30).await;
    site.rests().await;
}

#[tokio::test]
async fn what_is_here_goes_out_from_here_though_its_registry_would_send_elsewhere() {
    let site = changed(64 * MIB, |settings| settings.upstreams[0].redirects = Redirects::Pass).await;
    let image = image("app");
    site.grant("one.test", "open/app", &image).await;
    let path = blob("one.test", "open/app", image.layers[1].digest);
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), image.layers[1].bytes);
    site.holds(1).await;
    site.one.hook(|_| {
        Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "http://169.254.169.254/")]).into_response())
    });
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), image.layers[1].bytes);
    // What is not here is not sent for to where nobody is asked.
    let elsewhere = site.get(&blob("one.test", "open/app", image.layers[0].digest)).await;
    assert_eq!(failed(elsewhere).await, is(502, "UNAVAILABLE"));
}

/// Lets a registry send each of these blobs the first time as the test likes; after that it sends all of it.
fn each_by_hand(fake: &Fake, images: &[Image]) -> Vec<mpsc::Sender<Result<Bytes, std::io::Error>>> {
    let (mut sends, mut receives) = (Vec::new(), HashMap::new());
    for layer in images.iter().map(|image| &image.layers[1]) {
        let (send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(16);
        sends.push(send);
        receives.insert(layer.digest.to_string(), (layer.bytes.len(), receive));
    }
    let receives = std::sync::Mutex::new(receives);
    fake.hook(move |asked: &Asked| {
        let name = asked.path.rsplit('/').next().filter(|_| asked.method == Method::GET)?;
        let (length, mut receive) = receives.lock().unwrap().remove(name)?;
        let body = Body::from_stream(futures::stream::poll_fn(move |context| receive.poll_recv(context)));
        Some(([(header::CONTENT_LENGTH, length.to_string())], body).into_response())
    });
    sends
}

#[tokio::test]
async fn what_finds_no_room_in_its_middle_arrives_whole_at_everybody_or_not_at_all() {
    for lies in [false, true] {
        // Two blobs that grow use it up; the third begins, and cannot be kept.
        let site = caching(1_000_000).await;
        let images: Vec<Image> = (0..3).map(|n| Image::with_payload(&format!("app-{n}"), 450_000 + n)).collect();
        for image in &images {
            site.grant("one.test", "open/app", image).await;
        }
        let mut sends = each_by_hand(&site.one, &images);
        let path = |n: usize| blob("one.test", "open/app", images[n].layers[1].digest);
        let bytes = |n: usize| Bytes::from(images[n].layers[1].bytes.clone());
        let mut readers = Vec::new();
        for (n, length) in [(0, 440_000), (1, 440_000), (2, 40_000)] {
            let client = tokio::spawn(site.ask(&path(n)).send());
            sends[n].send(Ok(bytes(n).slice(..length))).await.unwrap();
            let mut body = client.await.unwrap().unwrap().bytes_stream();
            assert_eq!(next(&mut body, length).await, bytes(n)[..length]);
            readers.push(body);
        }
        let mut second = site.get(&path(2)).await.bytes_stream();
        assert_eq!(next(&mut second, 40_000).await, bytes(2)[..40_000]);
        let part = site.ask(&path(2)).header(header::RANGE, "bytes=30000-").send().await.unwrap();
        assert_eq!(part.status(), 206);
        if lies {
            // Asked again for it, the registry tells another length.
            site.one.raw_blob("open/app", images[2].layers[1].digest, &[&bytes(2)[..], b"more"].concat());
        }
        let send = sends.pop().unwrap();
        send.send(Ok(bytes(2).slice(40_000..300_000))).await.unwrap();
        send.send(Ok(bytes(2).slice(300_000..))).await.unwrap();
        drop(send);
        let (one, other, part) = tokio::join!(whole(readers.pop().unwrap()), whole(second), part.bytes());
        let (one, other, part) = (one.ok(), other.ok(), part.ok());
        for rest in [&one, &other].into_iter().flatten() {
            assert!(*rest == bytes(2)[40_000..]);
        }
        assert!(part.as_ref().is_none_or(|part| *part == bytes(2)[30_000..]));
        let well = [one.is_some(), other.is_some(), part.is_some()].iter().filter(|well| **well).count();
        assert_eq!(well, if lies { 1 } else { 3 }, "the one who took what was left has it all");
        let stats = site.stats().await;
        assert!(stats["not_kept"].as_u64().unwrap() >= 1 && stats["bytes"].as_u64().unwrap() <= 1_000_000, "{stats}");
        assert!(!site.files("content").contains(&images[2].layers[1].digest.hex()));
    }
}

/// The rest of a body, if it ends well.
async fn whole(mut body: impl StreamExt<Item = reqwest::Result<Bytes>> + Unpin) -> reqwest::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = body.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
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
    while site.stats().await["manifests"] != 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let root = site.folder.path().join("cache");
    fs::write(root.join("partial/half"), b"half of something").unwrap();
    let file = |n: usize| root.join("content").join(images[n].layers[1].digest.hex());
    // One was damaged, one was cut short; the third is as it was.
    let mut damaged = images[0].layers[1].bytes.clone();
    damaged[9] ^= 1;
    fs::write(file(0), &damaged).unwrap();
    fs::write(file(1), &images[1].layers[1].bytes[..1000]).unwrap();
    // So is a manifest: it is another one, which reads as well.
    let manifest = site
        .files("content")
        .into_iter()
        .find(|name| name.starts_with(&images[0].digest().hex()) && name.contains('.') && !name.contains('@'));
    let manifest = root.join("content").join(manifest.unwrap());
    fs::write(&manifest, &images[1].manifest.bytes).unwrap();
    let site = site.again().await;
    assert!(site.files("partial").is_empty());
    assert_eq!(site.stats().await["blobs"], 3);
    let again = site.get(&format!("one.test/open/app/manifests/{}", images[0].digest())).await;
    assert_eq!(again.bytes().await.unwrap(), images[0].manifest.bytes);
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
async fn what_is_cut_short_or_taken_from_the_disk_is_fetched_again() {
    let site = caching(64 * MIB).await;
    let image = image("app");
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    let path = blob("one.test", "open/app", layer.digest);
    let file = site.folder.path().join("cache/content").join(layer.digest.hex());
    for round in 0..3 {
        assert_eq!(site.get(&path).await.bytes().await.unwrap(), layer.bytes, "{round}");
        let part = site.ask(&path).header(header::RANGE, "bytes=400000-").send().await.unwrap();
        assert_eq!(part.bytes().await.unwrap(), layer.bytes[400_000..], "{round}");
        site.rests().await;
        // The fetch that put it there is over then.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(fs::metadata(&file).unwrap().len(), layer.bytes.len() as u64, "{round}");
        if round == 0 {
            fs::write(&file, &layer.bytes[..1000]).unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
    }
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
