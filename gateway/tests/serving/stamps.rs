//! When a keyless signature was made, where timestamp authorities alone tell it: tokens of others than those trusted,
//! under their names, with their certificates, of another signature or time, open nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::Statement;
use jiff::Timestamp;
use serde_json::{Value, json};
use testdata::{Authority, Image, Sigstore, Stamp, Stamper};

use crate::proofs::{ISSUER, RELEASE, ago, keyless_with, now, statement};

/// An authority as a trusted root lists it.
fn listed(root: &Authority, stamper: &Stamper, from: Timestamp) -> Value {
    let certificates =
        [&stamper.certificate_der, &root.root_der()].map(|der| json!({"rawBytes": STANDARD.encode(der)}));
    json!([{
        "subject": {"organization": "sluice testdata", "commonName": "stamps"},
        "uri": "https://stamps.example.test",
        "certChain": {"certificates": certificates},
        "validFor": {"start": from.to_string()},
    }])
}

fn stamped(sigstore: &Sigstore, image: &Image, stamp: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let statement = Statement::parse(statement("keyless/app", image).to_string().as_bytes()).unwrap();
    sigstore.attest_stamped(&statement, RELEASE, ISSUER, ago(3600), stamp).bytes().to_vec()
}

#[tokio::test]
async fn a_time_counts_when_the_very_authority_that_is_trusted_signed_it_of_this_signature() {
    let (root, strangers) = (Authority::new("stamps", now()), Authority::new("stamps", now()));
    let real = root.stamper("stamper", now());
    let (sibling, decoy) = (root.stamper("stamper", now()), strangers.stamper("stamper", now()));
    let leaf = root.code_signing(RELEASE, ISSUER, now());
    let no_stamper = Stamper::of(&leaf.certificate_der, &leaf.key_pem);
    let (site, sigstore) = keyless_with(|trusted| {
        trusted["tlogs"] = json!([]);
        trusted["timestampAuthorities"] = listed(&root, &real, ago(2 * 3600));
    })
    .await;
    let at = ago(3600);
    let another = at - jiff::SignedDuration::from_secs(60);
    let root_der = root.root_der();
    type Change<'c> = Box<dyn Fn(&mut Stamp<'c>) + 'c>;
    let same = |_: &mut Stamp<'_>| {};
    let cases: Vec<(&str, bool, &Stamper, Change<'_>)> = vec![
        ("no certificate in the token", true, &real, Box::new(same)),
        (
            "its certificates in the token",
            true,
            &real,
            Box::new(|stamp| {
                stamp.certificates = vec![&real.certificate_der, &root_der];
            }),
        ),
        (
            "a decoy's certificate before its own",
            true,
            &real,
            Box::new(|stamp| {
                stamp.certificates = vec![&decoy.certificate_der, &real.certificate_der];
            }),
        ),
        (
            "a decoy's certificate alone",
            true,
            &real,
            Box::new(|stamp| {
                stamp.certificates = vec![&decoy.certificate_der];
            }),
        ),
        (
            "signed by a decoy, with its certificate",
            false,
            &decoy,
            Box::new(|stamp| {
                stamp.certificates = vec![&decoy.certificate_der];
            }),
        ),
        (
            "signed by a decoy in the name of the real one",
            false,
            &decoy,
            Box::new(|stamp| {
                stamp.named = &real;
            }),
        ),
        (
            "the same, with both certificates",
            false,
            &decoy,
            Box::new(|stamp| {
                stamp.named = &real;
                stamp.certificates = vec![&decoy.certificate_der, &real.certificate_der];
            }),
        ),
        (
            "signed by a decoy beside what the real one signed of another time",
            false,
            &decoy,
            Box::new(|stamp| stamp.beside = Some((&real, another))),
        ),
        (
            "another of the same root, with the chain",
            false,
            &sibling,
            Box::new(|stamp| {
                stamp.certificates = vec![&sibling.certificate_der, &root_der];
            }),
        ),
        (
            "a workflow of the same root, with the chain",
            false,
            &no_stamper,
            Box::new(|stamp| {
                stamp.certificates = vec![&no_stamper.certificate_der, &root_der];
            }),
        ),
        ("of another signature", false, &real, Box::new(|stamp| stamp.over = b"another".to_vec())),
        (
            "another time than was signed",
            false,
            &real,
            Box::new(|stamp| {
                stamp.told = Some(another);
            }),
        ),
        ("when the certificate was over", false, &real, Box::new(|stamp| stamp.at = ago(1800))),
        ("before the certificate began", false, &real, Box::new(|stamp| stamp.at = ago(3600 + 1800))),
        ("before the authority counts", false, &real, Box::new(|stamp| stamp.at = ago(3 * 3600))),
        ("a time to come", false, &real, Box::new(|stamp| stamp.at = ago(-7200))),
    ];
    // No stamp at all, and what is none.
    for answer in [Vec::new(), b"no token".to_vec()] {
        let image = Image::new(&format!("a token of {} bytes", answer.len()));
        site.beside("keyless/app", &image, &stamped(&sigstore, &image, |_| answer));
        site.is_closed("keyless/app", &image).await;
    }
    // Those that open come last: a layer that images share is open with any of them.
    let (good, bad): (Vec<_>, Vec<_>) = cases.into_iter().partition(|&(_, opens, ..)| opens);
    for (what, opens, by, change) in bad.into_iter().chain(good) {
        let image = Image::new(what);
        let bundle = stamped(&sigstore, &image, |signature| {
            let mut stamp = by.stamp(signature, at);
            change(&mut stamp);
            stamp.to_der()
        });
        site.beside("keyless/app", &image, &bundle);
        println!("{what}");
        if opens {
            site.is_open("keyless/app", &image).await;
        } else {
            let reason = site.is_closed("keyless/app", &image).await;
            assert!(reason.starts_with("signer-not-allowed"), "{what}: {reason}");
        }
    }
}
