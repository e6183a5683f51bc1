//! What a TUF repository hands out, and until when it counts: repositories are minted here, and no network is asked.
#![cfg(test)]

use std::collections::BTreeMap;

use contracts::{
    Digest, SigningKey, Statement, Subject, TrustRoot, VerifyError,
    api::{Approver, ExemptionSettings},
    exemption::{ApprovalError, ApprovalRules, Approvals, RuleNames},
    verify::tuf::{KnownRepository, TRUSTED_ROOT, TufError},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testdata::{Sigstore, TufRepository, noon};

const ISSUER: &str = "https://issuer.test";
const IDENTITY: &str = "https://forge.test/acme/app";

fn hours(count: i64) -> Timestamp {
    noon() + SignedDuration::from_hours(count)
}

/// Gives a walk what a mirror shows.
fn walk(known: &mut KnownRepository, files: &BTreeMap<String, Vec<u8>>, now: Timestamp) -> Result<usize, TufError> {
    let (mut walk, mut asked) = (known.walk(now), 0);
    while let Some(ask) = walk.ask() {
        walk.answer(files.get(&ask.path).map(Vec::as_slice))?;
        asked += 1;
    }
    Ok(asked)
}

fn opened(repository: &TufRepository, kept: Option<&[u8]>) -> KnownRepository {
    let (known, trouble) = KnownRepository::open(repository.root(1), TRUSTED_ROOT, kept).unwrap();
    assert_eq!(trouble, None);
    known
}

#[test]
fn what_did_not_change_is_not_asked_for_again() {
    let mut repository = TufRepository::new(&Sigstore::new(noon()).trusted_root(), hours(1));
    let mut known = opened(&repository, None);
    assert_eq!(walk(&mut known, &repository.files, noon()), Ok(5), "no second root, three files and the target");
    assert_eq!(walk(&mut known, &repository.files, noon()), Ok(2), "no second root, and the timestamp");
    let mut again = opened(&repository, Some(&known.kept()));
    assert_eq!(walk(&mut again, &repository.files, noon()), Ok(2));
    let root = Sigstore::new(noon()).trusted_root();
    repository.publish(&[(TRUSTED_ROOT, &root)], hours(2));
    assert_eq!(walk(&mut again, &repository.files, noon()), Ok(5));
    let current = again.current().unwrap();
    assert_eq!((current.target(), current.expires()), (Digest::of(&root), hours(2)));
    assert_eq!(current.root().digest(), TrustRoot::new(Vec::new(), Some(&root)).unwrap().digest());
}

#[test]
fn a_root_that_disowns_who_signed_the_rest_ends_it_at_once() {
    let mut repository = TufRepository::new(&Sigstore::new(noon()).trusted_root(), hours(1));
    let mut known = opened(&repository, None);
    walk(&mut known, &repository.files, noon()).unwrap();
    let old_timestamp = repository.files["timestamp.json"].clone();

    repository.rotate(&["timestamp"]);
    let mut files = repository.files.clone();
    files.insert("timestamp.json".to_owned(), old_timestamp);
    let refused = walk(&mut known, &files, noon()).unwrap_err();
    assert_eq!(refused.to_string(), "`timestamp.json` is signed by 0 of the 1 keys that must sign it");
    assert!(known.current().is_none() && refused.is_alarming());
    let (after, trouble) = KnownRepository::open(repository.root(1), TRUSTED_ROOT, Some(&known.kept())).unwrap();
    assert!(after.current().is_none() && trouble.is_some(), "also after a restart");

    walk(&mut known, &repository.files, noon()).unwrap();
    assert_eq!(known.current().unwrap().versions().root, 2);
}

#[test]
fn what_was_seen_is_remembered_also_when_the_rest_could_not_be_had() {
    let mut repository = TufRepository::new(&Sigstore::new(noon()).trusted_root(), hours(1));
    let mut known = opened(&repository, None);
    walk(&mut known, &repository.files, noon()).unwrap();
    let mut files = repository.files.clone();
    repository.publish(&[(TRUSTED_ROOT, &Sigstore::new(noon()).trusted_root())], hours(2));
    // The newer timestamp is shown, and nothing that it speaks of; then the older one again.
    files.insert("timestamp.json".to_owned(), repository.files["timestamp.json"].clone());
    let missing = walk(&mut known, &files, noon()).unwrap_err();
    assert_eq!((missing.to_string().as_str(), missing.is_alarming()), ("`2.snapshot.json` is not there", false));
    let mut again = opened(&repository, Some(&known.kept()));
    assert_eq!(again.current().unwrap().versions().timestamp, 1, "what belongs together stays");
    repository.files.insert("timestamp.json".to_owned(), {
        let mut older = repository.signed("timestamp.json");
        older["version"] = json!(1);
        repository.sign("timestamp", &older)
    });
    let older = walk(&mut again, &repository.files, noon()).unwrap_err();
    assert_eq!(
        older.to_string(),
        "`timestamp.json` shows timestamp at version 1, and version 2 was seen before: an older one is not taken"
    );
}

#[test]
fn what_cannot_be_used_is_told_with_its_mend() {
    let repository = TufRepository::new(b"{}", hours(1));
    let mut known = opened(&repository, None);
    let told = walk(&mut known, &repository.files, noon()).unwrap_err().to_string();
    assert!(
        told.starts_with("the repository's trust root cannot be used: this is not a Sigstore trusted root"),
        "{told}"
    );
    assert!(known.current().is_none());
    let open = |root: &[u8], target: &str| KnownRepository::open(root, target, None).map(drop).unwrap_err().to_string();
    assert!(open(b"{}", TRUSTED_ROOT).contains("name the `root.json` that whoever keeps the repository gave you"));
    assert!(open(repository.root(1), "../x").contains("write a path without `..`"));
    let (_, trouble) = KnownRepository::open(repository.root(1), TRUSTED_ROOT, Some(b"{}")).unwrap();
    assert!(trouble.unwrap().to_string().starts_with("what was kept of the repository cannot be used"));
    let late = walk(&mut known, &repository.files, hours(1)).unwrap_err();
    assert!(matches!(late, TufError::Expired { .. }), "{late}");
}

#[test]
fn certificates_count_up_to_the_instant_and_keys_on() {
    let (sigstore, key) = (Sigstore::new(noon()), SigningKey::generate_p256().unwrap());
    let statement = Statement::new(vec![Subject::sha256("app", Digest::of(b"app"))], "https://e.test/v1", json!({}));
    let (by_certificate, by_key) =
        (sigstore.attest(&statement, IDENTITY, ISSUER, hours(-1)), key.sign(&statement).unwrap());
    let plain = TrustRoot::new(vec![key.public().clone()], Some(&sigstore.trusted_root())).unwrap();
    let root = plain.clone().until(hours(1), "nobody answers".to_owned());
    assert_eq!((root.digest(), root.ends()), (plain.digest(), Some(hours(1))));
    let last = hours(1) - SignedDuration::from_nanos(1);
    assert!(root.verify(&by_certificate, last).is_ok() && root.unbelieved(last).is_none());
    let refused = root.verify(&by_certificate, hours(1)).unwrap_err();
    assert_eq!(refused, VerifyError::AuthorityTooOld { until: hours(1), told: "nobody answers".to_owned() });
    assert_eq!(root.unbelieved(hours(1)), Some(refused));
    assert!(root.verify(&by_key, hours(1)).is_ok());

    let awaited = TrustRoot::awaited("nobody answers".to_owned()).with_keys(vec![key.public().clone()]).unwrap();
    let refused = awaited.verify(&by_certificate, noon()).unwrap_err();
    assert_eq!(refused, VerifyError::AuthorityAwaited { told: "nobody answers".to_owned() });
    assert!(awaited.verify(&by_key, noon()).is_ok());
}

#[test]
fn an_exemption_that_hangs_on_a_certificate_ends_with_who_vouches_for_it() {
    let (sigstore, key) = (Sigstore::new(noon()), SigningKey::generate_p256().unwrap());
    let document = format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: note, organization: acme}}\nspec:\n  scope: {{rule: r, repositories: [\"r.dev/**\"]}}\n  reason: tested on Monday\n  from: {}\n  until: {}\n",
        hours(-1),
        hours(24)
    );
    let none = Approvals::none_of(document.clone().into_bytes());
    let bundle = sigstore.attest(&none.statement("note"), IDENTITY, ISSUER, noon());
    let approvals = none.with_envelope(key.approve(document.as_bytes()).unwrap()).with_bundle(bundle).unwrap();
    let root = TrustRoot::new(Vec::new(), Some(&sigstore.trusted_root())).unwrap();
    let fresh = root.clone().until(hours(2), "nobody answers".to_owned());
    let until = |threshold: u32, authorities: &TrustRoot, now: Timestamp| {
        let identity = Approver::Identity { issuer: ISSUER.to_owned(), identity: IDENTITY.to_owned() };
        let approvers = vec![Approver::Key(key.public().to_pem()), identity];
        let settings = ExemptionSettings { approvers, threshold, ..ExemptionSettings::default() };
        let rules = ApprovalRules::new("acme", &settings, &RuleNames::default()).unwrap();
        rules.approve(&approvals, authorities, now).map(|approved| approved.until())
    };
    assert_eq!(until(2, &root, noon()).unwrap(), hours(24));
    assert_eq!(until(2, &fresh, noon()).unwrap(), hours(2));
    assert_eq!(until(1, &fresh, noon()).unwrap(), hours(24), "the key is enough");
    assert!(matches!(until(2, &fresh, hours(2)), Err(ApprovalError::TooFew { .. })));
}
