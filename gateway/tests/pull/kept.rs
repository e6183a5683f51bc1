//! Manifests in the cache's folder, which somebody else wrote to.

use std::fs;

use testdata::Image;

use crate::{cache::MIB, site::caching};

#[tokio::test]
async fn a_kept_manifest_that_is_not_its_digest_is_not_served_and_is_fetched_again() {
    let site = caching(64 * MIB).await;
    let (image, other) = (Image::new("app"), Image::new("evil"));
    assert_eq!(image.manifest.bytes.len(), other.manifest.bytes.len(), "nothing but the digest tells");
    site.grant("one.test", "open/app", &image).await;
    let path = format!("one.test/open/app/manifests/{}", image.digest());
    let file = format!("cache/content/{}.oci-manifest", image.digest().hex());
    let file = site.folder.path().join(file);
    site.rests().await;
    for _ in 0..200 {
        if file.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // What is remembered in memory is gone after a start.
    let mut site = site;
    for (written, asked) in [(&image, 0), (&other, 1), (&image, 0)] {
        fs::write(&file, &written.manifest.bytes).unwrap();
        site = site.again().await;
        let before = site.one.asked(&path[8..]);
        assert_eq!(site.get(&path).await.bytes().await.unwrap(), image.manifest.bytes);
        assert_eq!(site.one.asked(&path[8..]) - before, asked, "questions to the registry");
        site.rests().await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
