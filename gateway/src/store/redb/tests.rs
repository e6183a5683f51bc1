use ::redb::{ReadableDatabase, ReadableTable};
use bytes::Bytes;
use contracts::api::{Role, RunState, Unmatched};

use super::*;
use crate::store::Source;

mod about;
mod full;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn by(second: i64) -> By {
    By::new("test", at(second))
}

fn token(organization: &str, id: &str) -> TokenRecord {
    TokenRecord {
        id: id.to_owned(),
        organization: name(organization),
        name: "test".to_owned(),
        role: Role::Admin,
        workflow: None,
        operator: false,
        secret: Digest::of(format!("{organization} {id}").as_bytes()),
        created_at: at(0),
        revoked_at: None,
        expires_at: None,
        last_used_at: None,
    }
}

fn run(id: &str, state: RunState, second: i64) -> RunRecord {
    RunRecord { state, ..RunRecord::begun(id, "skynet/release".parse().unwrap(), at(second)) }
}

fn attestation(bundle: &'static [u8], subject: Digest, run: &str, second: i64) -> AttestationRecord {
    let facts = AttestationFacts {
        id: Digest::of(bundle),
        signed: Digest::of(&[bundle, b" signed"].concat()),
        subjects: vec![subject],
        received_at: at(second),
        signed_at: None,
        source: Source::Pushed {
            workflow: "skynet/release".parse().unwrap(),
            run: run.to_owned(),
            contract: name("release"),
            revision: 1,
            accepted: true,
            made_for: vec![subject],
            artifacts: Vec::new(),
            identity: None,
        },
        withdrawn: None,
    };
    AttestationRecord { facts, bundle: Bytes::from_static(bundle) }
}

fn attested(run: RunRecord, by: &AttestationRecord) -> RunRecord {
    RunRecord { attestation: Some(by.facts.id), received_at: Some(by.facts.received_at), ..run }
}

fn files(text: &str) -> RevisionFiles {
    RevisionFiles {
        contract: "contract.yaml".to_owned(),
        files: BTreeMap::from([("contract.yaml".to_owned(), text.to_owned())]),
    }
}

#[tokio::test]
async fn a_run_is_attested_once_and_a_receipt_is_never_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let acme = name("acme");
    let image = Digest::of(b"image");

    let mut found = attestation(b"one", image, "", 5);
    found.facts.source = Source::Discovered { repository: "r.dev/a".parse().unwrap() };
    let found = Discovery { record: found, speaks_for: Digest::of(b"one trust") };
    assert_eq!(store.discovered(&acme, vec![found.clone()]).await.unwrap(), [found.record.facts.id]);
    let before = store.evidence_changed(&acme, &image);

    assert!(store.start_run(&acme, run("r1", RunState::Started, 1), by(0)).await.unwrap());
    assert!(!store.start_run(&acme, run("r1", RunState::Started, 2), by(0)).await.unwrap());

    let one = attestation(b"one", image, "r1", 9);
    let accepted = attested(run("r1", RunState::Accepted, 9), &one);
    assert_eq!(store.receive(&acme, one.clone(), accepted.clone()).await.unwrap(), Receipt::Stored);
    assert!(store.evidence_changed(&acme, &image) > before);
    let kept = store.attestation(&acme, one.facts.id).await.unwrap().unwrap();
    assert_eq!((kept.facts.received_at, &kept.facts.source, &kept.bundle), (at(5), &one.facts.source, &one.bundle));

    let first = RunRecord { started_at: at(1), ..accepted.clone() };
    assert_eq!(
        store.receive(&acme, one.clone(), attested(run("r2", RunState::Accepted, 10), &one)).await.unwrap(),
        Receipt::Same(Box::new(first.clone()))
    );
    let two = attestation(b"two", image, "r1", 11);
    assert_eq!(store.receive(&acme, two.clone(), attested(accepted, &two)).await.unwrap(), Receipt::RunUsed);
    let foreign = RunRecord { workflow: "other/flow".parse().unwrap(), ..run("r3", RunState::Accepted, 12) };
    store.start_run(&acme, run("r3", RunState::Started, 12), by(0)).await.unwrap();
    assert_eq!(store.receive(&acme, two, foreign).await.unwrap(), Receipt::RunUsed);

    store.discovered(&acme, vec![found]).await.unwrap();
    assert_eq!(store.attestation(&acme, one.facts.id).await.unwrap().unwrap().facts.source, one.facts.source);
    let runs = store.runs(&acme, Some(&"skynet/release".parse().unwrap()), None, 9).await.unwrap().runs;
    assert_eq!(runs.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["r3", "r1"]);
    assert_eq!(runs[1], first);
}

#[tokio::test]
async fn contracts_are_numbered_without_gaps_and_listed_at_their_current_revision() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let acme = name("acme");
    let before = store.rules_changed(&acme);
    for (contract, text, number, new) in [
        ("release", "a", 1, true),
        ("release", "a", 1, false),
        ("release", "b", 2, true),
        ("base", "a", 1, true),
        ("release", "a", 3, true),
    ] {
        let applied = store
            .apply_revision(&acme, &name(contract), Digest::of(text.as_bytes()), files(text), by(0))
            .await
            .unwrap();
        assert_eq!((applied.0.number, applied.1), (number, new), "{contract} {text}");
    }
    assert_eq!(store.rules_changed(&acme), before + 4);
    let current = store.contracts(&acme).await.unwrap();
    let current: Vec<_> = current.values().map(|r| (r.contract.as_str(), r.number)).collect();
    assert_eq!(current, [("base", 1), ("release", 3)]);
    let second = store.revision(&acme, &name("release"), Some(2)).await.unwrap().unwrap();
    assert_eq!(second.files, files("b"));
    assert!(store.contracts(&name("acme-2")).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_writers_were_told_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let store = Arc::new(RedbStore::open(&path).unwrap());
    assert!(store.create_organization(&name("acme"), token("acme", "t"), by(0)).await.unwrap());
    assert!(!store.create_organization(&name("acme"), token("acme", "t2"), by(0)).await.unwrap());
    let writers: Vec<_> = (0..400)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                // Every run id is fought for by two writers; each fight has one winner.
                store.start_run(&name("acme"), run(&format!("r{}", n / 2), RunState::Started, n), by(0)).await.unwrap()
            })
        })
        .collect();
    let won = futures::future::join_all(writers).await.into_iter().filter(|w| *w.as_ref().unwrap()).count();
    assert_eq!(won, 200);
    assert_eq!(store.revoke_token(&name("acme"), "t", by(1)).await.unwrap(), Revocation::LastAdmin);
    store.add_token(token("acme", "u"), by(1)).await.unwrap();
    assert!(matches!(store.revoke_token(&name("acme"), "t", by(1)).await.unwrap(), Revocation::Revoked(_)));
    let settings = OrganizationSettings { unmatched: Unmatched::Allow, ..Default::default() };
    store.put_settings(&name("acme"), settings.clone(), by(2)).await.unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::InUse { .. })));
    let Ok(store) = Arc::try_unwrap(store) else { panic!("a writer still holds the store") };
    drop(store);

    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.runs(&name("acme"), None, None, 1000).await.unwrap().runs.len(), 200);
    assert_eq!(store.settings(&name("acme")).await.unwrap(), settings);
    let kept = store.token_by_secret(token("acme", "t").secret).await.unwrap().unwrap();
    assert_eq!(kept.revoked_at, Some(at(1)));
    let log = store.audit_log(&name("acme"), 1, 1000).await.unwrap();
    assert_eq!((log.len(), log.last().unwrap().event.as_str()), (205, "settings-changed"));
    assert_eq!(store.audit_log(&name("acme"), 3, 2).await.unwrap(), log[2..4]);
}

#[tokio::test]
async fn a_changed_audit_log_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let store = RedbStore::open(&path).unwrap();
    for event in ["one", "two", "three"] {
        store.audit(&name("acme"), event, serde_json::json!({}), at(0)).await.unwrap();
    }
    drop(store);
    let database = file::builder().open(&path).unwrap();
    let tx = database.begin_write().unwrap();
    {
        let mut table = tx.open_table(tables::AUDIT).unwrap();
        let text = String::from_utf8(table.get(("acme", 2)).unwrap().unwrap().value().to_vec()).unwrap();
        table.insert(("acme", 2), text.replace("two", "owt").as_bytes()).unwrap();
    }
    tx.commit().unwrap();
    drop(database);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.audit_log(&name("acme"), 1, 2).await.unwrap()[1].event, "owt");
    assert!(matches!(store.audit_log(&name("acme"), 1, 3).await, Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.audit_log(&name("acme"), 3, 3).await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_backup_is_a_whole_state_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("s.redb"), folder.path().join("copy.redb"));
    let store = RedbStore::open(&path).unwrap();
    store.create_organization(&name("acme"), token("acme", "t"), by(0)).await.unwrap();
    let record = attestation(b"one", Digest::of(b"image"), "r1", 1);
    store.receive(&name("acme"), record.clone(), attested(run("r1", RunState::Accepted, 1), &record)).await.unwrap();
    store.backup(&copy).await.unwrap();
    assert!(store.backup(&copy).await.is_err());
    let copied = RedbStore::open(&copy).unwrap();
    assert_eq!(copied.attestation(&name("acme"), record.facts.id).await.unwrap(), Some(record));
    assert!(copied.token_by_secret(token("acme", "t").secret).await.unwrap().is_some());
    assert_eq!(copied.audit_log(&name("acme"), 1, 9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_claim_is_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let (acme, flow): (_, WorkflowName) = (name("acme"), "skynet/release".parse().unwrap());
    let other: WorkflowName = "other/flow".parse().unwrap();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let claim = async |id: &str, flow: &WorkflowName, signed| store.claim_run(&acme, id, flow, signed).await.unwrap();
    for _ in 0..2 {
        assert!(claim("r1", &flow, one).await);
        assert!(!claim("r1", &flow, two).await);
        assert!(!claim("r1", &other, one).await);
    }
    assert!(store.claim_run(&name("acme-2"), "r1", &other, two).await.unwrap(), "another tenant's");

    let foreign = RunRecord { workflow: other.clone(), ..run("r1", RunState::Started, 1) };
    assert!(!store.start_run(&acme, foreign, by(0)).await.unwrap());
    let record = attestation(b"bundle", Digest::of(b"image"), "r1", 2);
    let received = store.receive(&acme, record.clone(), attested(run("r1", RunState::Accepted, 2), &record));
    assert_eq!(received.await.unwrap(), Receipt::RunUsed, "it signs something else");
    let mut record = record;
    record.facts.signed = one;
    let received = store.receive(&acme, record.clone(), attested(run("r1", RunState::Accepted, 2), &record));
    assert_eq!(received.await.unwrap(), Receipt::Stored);

    store.start_run(&acme, run("r2", RunState::Started, 3), by(0)).await.unwrap();
    assert!(!claim("r2", &other, one).await, "begun by another workflow");
    let record = attestation(b"second", Digest::of(b"image"), "r2", 4);
    store.receive(&acme, record.clone(), attested(run("r2", RunState::Accepted, 4), &record)).await.unwrap();
    assert!(!claim("r2", &flow, two).await, "what was received has claimed it");
    assert!(claim("r2", &flow, record.facts.signed).await);
}

#[tokio::test]
async fn a_file_of_another_layout_is_refused_and_says_who_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    drop(RedbStore::open(&path).unwrap());
    for (format, by, told) in [
        (1, None, "has the layout 1, and"),
        (1, None, "name another file under `state`"),
        (tables::FORMAT + 1, Some("7.3.0"), "of sluice 7.3.0, and"),
        (tables::FORMAT + 1, Some("7.3.0"), "start the newer version"),
    ] {
        let database = file::builder().open(&path).unwrap();
        let tx = database.begin_write().unwrap();
        tx.open_table(META).unwrap().insert("format", format).unwrap();
        match by {
            Some(by) => drop(tx.open_table(tables::WRITTEN_BY).unwrap().insert("program", by).unwrap()),
            None => drop(tx.delete_table(tables::WRITTEN_BY).unwrap()),
        }
        tx.commit().unwrap();
        drop(database);
        let Err(error) = RedbStore::open(&path) else { panic!("it opens") };
        assert!(matches!(error, StoreError::Layout { found, .. } if found == format), "{error}");
        let reads = format!("reads {} to {}", tables::OLDEST, tables::FORMAT);
        assert!(error.to_string().contains(told) && error.to_string().contains(&reads), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_the_layout_before_is_taken_over_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let acme = name("acme");
    let record = attestation(b"one", Digest::of(b"image"), "r1", 1);
    let store = RedbStore::open(&path).unwrap();
    store.receive(&acme, record.clone(), attested(run("r1", RunState::Accepted, 1), &record)).await.unwrap();
    drop(store);
    // As the version before wrote it: without the tables, and records without what was added. Its log of pulls is in one.
    let database = file::builder().open(&path).unwrap();
    let tx = database.begin_write().unwrap();
    assert!(tx.delete_table(tables::WITHDRAWALS).unwrap());
    assert!(tx.delete_table(tables::WITHDRAWN_ABOUT).unwrap());
    assert!(tx.delete_table(tables::WRITTEN_BY).unwrap());
    assert!(tx.delete_table(tables::REMOVED).unwrap());
    assert!(tx.delete_table(tables::GRANTS_BEFORE).unwrap());
    // A token as it was written then.
    let old = serde_json::json!({"id": "t", "organization": "acme", "name": "n", "role": "admin", "workflow": null, "operator": true, "secret": Digest::of(b"s"), "created_at": at(0), "revoked_at": null});
    tx.open_table(tables::TOKENS).unwrap().insert(("acme", "t"), old.to_string().as_bytes()).unwrap();
    for ring in [tables::PULLS_DENIED, tables::CLUSTERS, tables::CLUSTERS_DENIED] {
        assert!(tx.delete_table(ring).unwrap());
    }
    let of_cluster = |second, decision| {
        let verdict = Digest::of(b"v");
        serde_json::json!({"at": at(second), "way": "kubernetes", "image": "a", "by": "ann", "name": "shop", "decision": decision, "enforced": true, "verdict": verdict, "requests": 1})
    };
    for (number, entry) in [(1, of_cluster(1, "allow")), (2, of_cluster(2, "deny"))] {
        let mut table = tx.open_table(tables::PULLS).unwrap();
        table.insert(("acme", number), entry.to_string().as_bytes()).unwrap();
    }
    tx.open_table(META).unwrap().insert("format", tables::OLDEST).unwrap();
    tx.commit().unwrap();
    drop(database);

    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.attestation(&acme, record.facts.id).await.unwrap(), Some(record.clone()));
    assert_eq!(store.withdrawals(&acme).await.unwrap(), []);
    let old = store.token_by_secret(Digest::of(b"s")).await.unwrap().unwrap();
    assert!(old.lasts() && old.last_used_at.is_none());
    assert!(store.contracts(&acme).await.unwrap().is_empty());
    let mut pulls = store.pulls(&acme, None, 10).await.unwrap();
    assert_eq!(pulls.iter().map(|pull| pull.at).collect::<Vec<_>>(), [at(2), at(1)]);
    pulls.iter_mut().for_each(|pull| pull.at = at(3));
    store.put_pulls(&acme, pulls).await.unwrap();
    assert_eq!(store.pulls(&acme, None, 10).await.unwrap().len(), 4);
    let images = store.pulled_images(&acme, None, 10).await.unwrap();
    assert_eq!(images.iter().map(|image| (image.last, image.image.as_str())).collect::<Vec<_>>(), [(at(3), "a")]);
    let withdrawn = Withdrawn { reason: "r".to_owned(), withdrawn_at: at(2), by: "t".to_owned() };
    let named = AttestationName::Run("r1".to_owned());
    store.withdraw_attestation(&acme, &named, withdrawn.clone(), by(2)).await.unwrap();
    let copy = folder.path().join("copy.redb");
    store.backup(&copy).await.unwrap();
    drop(store);
    // The version before must not open what it does not understand.
    let database = file::builder().open(&path).unwrap();
    let meta = database.begin_read().unwrap().open_table(META).unwrap();
    assert_eq!(meta.get("format").unwrap().unwrap().value(), tables::FORMAT);
    assert_ne!(tables::FORMAT, tables::OLDEST);
    let facts = RedbStore::open(&copy).unwrap().attestation_facts(&acme, record.facts.id).await.unwrap().unwrap();
    assert_eq!(facts.withdrawn.as_deref(), Some(&withdrawn), "also of a copy");
}

#[tokio::test]
async fn as_many_are_withdrawn_as_there_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let acme = name("acme");
    let record = attestation(b"one", Digest::of(b"image"), "r1", 1);
    let store = RedbStore::open(&path).unwrap();
    store.receive(&acme, record.clone(), attested(run("r1", RunState::Accepted, 1), &record)).await.unwrap();
    drop(store);
    let database = file::builder().open(&path).unwrap();
    let tx = database.begin_write().unwrap();
    let mut table = tx.open_table(tables::WITHDRAWALS).unwrap();
    for number in 0..contracts::limits::WITHDRAWALS {
        let signed = Digest::of(&number.to_be_bytes());
        table.insert(("acme", signed.as_bytes()), b"{}".as_slice()).unwrap();
    }
    drop(table);
    tx.commit().unwrap();
    drop(database);
    let store = RedbStore::open(&path).unwrap();
    let named = AttestationName::Id(record.facts.id);
    let withdrawn = Withdrawn { reason: "r".to_owned(), withdrawn_at: at(2), by: "t".to_owned() };
    let done = store.withdraw_attestation(&acme, &named, withdrawn, by(2)).await.unwrap();
    assert_eq!(done, Withdrawing::TooMany);
    assert!(store.attestation_facts(&acme, record.facts.id).await.unwrap().unwrap().withdrawn.is_none());
}

#[tokio::test]
async fn sessions_are_bounded_swept_and_end_with_their_run() {
    use crate::store::{Ending, SessionKept};
    use contracts::api::{EndRun, RunOutcome};
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let (acme, other) = (name("acme"), name("other"));
    let by = || By::new("test", at(1));
    let most = contracts::limits::RUN_STATES;
    let keep = async |organization: &Name, id: &str, before, second| {
        store.keep_session(organization, id, Bytes::from_static(b"{}"), before, at(second)).await.unwrap()
    };
    assert_eq!(keep(&acme, "r0", None, 1).await, SessionKept::Unknown);
    for n in 0..=most {
        let begun = run(&format!("r{n}"), RunState::Started, 1);
        assert!(store.start_run(&acme, begun.clone(), by()).await.unwrap());
        assert!(store.start_run(&other, begun, by()).await.unwrap());
    }
    for n in 0..most {
        assert!(matches!(keep(&acme, &format!("r{n}"), None, 1).await, SessionKept::Kept(_)));
    }
    let last = format!("r{most}");
    assert_eq!(keep(&acme, &last, None, 1).await, SessionKept::TooMany);
    // Another organization has its own, and one that is there goes on.
    assert!(matches!(keep(&other, &last, None, 1).await, SessionKept::Kept(_)));
    assert_eq!(keep(&acme, "r0", None, 1).await, SessionKept::Changed);
    let mark = Digest::of(b"{}");
    assert_eq!(keep(&acme, "r0", Some(mark), 1).await, SessionKept::Kept(mark));

    let end = EndRun { outcome: RunOutcome::Failed, reason: None };
    assert!(matches!(store.end_run(&acme, "r0", end.clone(), by()).await.unwrap(), Ending::Ended(_)));
    assert_eq!(store.session(&acme, "r0").await.unwrap(), None);
    assert_eq!(keep(&acme, "r0", None, 1).await, SessionKept::Ended);
    assert!(matches!(keep(&acme, &last, None, 1).await, SessionKept::Kept(_)));
    let later = i64::try_from(contracts::limits::RUN_STATE_AGE.as_secs()).unwrap() + 10;
    let fresh = run("fresh", RunState::Started, 1);
    assert!(store.start_run(&acme, fresh, by()).await.unwrap());
    assert!(matches!(keep(&acme, "fresh", None, later).await, SessionKept::Kept(_)));
    assert_eq!(store.session(&acme, "r1").await.unwrap(), None, "it rested for too long");

    // A run that has ended takes no attestation.
    let late = attestation(b"late", Digest::of(b"image"), "r0", 5);
    let taken = store.receive(&acme, late.clone(), attested(run("r0", RunState::Accepted, 5), &late)).await.unwrap();
    assert_eq!(taken, Receipt::RunEnded);
    assert_eq!(store.end_run(&acme, "none", end, by()).await.unwrap(), Ending::Unknown);
}

#[tokio::test]
async fn grants_are_kept_in_two_generations_and_the_older_one_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let (acme, repository): (_, Repository) = (name("acme"), "r.dev/a".parse().unwrap());
    let (root, parent) = (Digest::of(b"root"), Digest::of(b"parent"));
    let child = |n: u64| Digest::of(&n.to_be_bytes());
    let put = |children: std::ops::Range<u64>| {
        let grants: Vec<_> = children.map(|n| Grant { via: Via { root, parent }, child: child(n) }).collect();
        let (acme, repository) = (acme.clone(), repository.clone());
        store.write_soon(move |tx| write::put_grants(tx, &acme, &repository, &grants, 10))
    };
    let begin = store.grants_forgotten();
    let known = async |n| !store.ways(&acme, &repository, child(n)).await.unwrap().is_empty();
    put(0..10).await.unwrap();
    assert_eq!(store.grants_forgotten(), begin);
    // The first are in the older generation now.
    put(10..20).await.unwrap();
    assert!(store.grants_forgotten() > begin);
    assert!(known(0).await && known(15).await);
    // Put again, they are in both, and told once.
    put(0..1).await.unwrap();
    assert_eq!(store.ways(&acme, &repository, child(0)).await.unwrap(), [Via { root, parent }]);
    put(20..30).await.unwrap();
    assert!(known(0).await && known(15).await && known(25).await);
    assert!(!known(5).await, "forgotten");
}

#[tokio::test]
async fn a_removed_contract_decides_nothing_and_its_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let store = RedbStore::open(&path).unwrap();
    let (acme, release) = (name("acme"), name("release"));
    let apply = async |store: &RedbStore, text: &str| {
        store.apply_revision(&acme, &release, Digest::of(text.as_bytes()), files(text), by(0)).await.unwrap().0.number
    };
    assert_eq!(store.remove_contract(&acme, &release, 1, by(1)).await.unwrap(), Removal::Unknown);
    assert_eq!((apply(&store, "a").await, apply(&store, "b").await), (1, 2));
    assert_eq!(store.remove_contract(&acme, &release, 1, by(1)).await.unwrap(), Removal::Changed(2));
    let before = store.rules_changed(&acme);
    assert_eq!(store.remove_contract(&acme, &release, 2, by(1)).await.unwrap(), Removal::Removed);
    assert!(store.rules_changed(&acme) > before);
    assert_eq!(store.remove_contract(&acme, &release, 2, by(1)).await.unwrap(), Removal::Unknown);
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.revision(&acme, &release, None).await.unwrap(), None);
    assert!(store.contracts(&acme).await.unwrap().is_empty());
    assert_eq!(store.revision(&acme, &release, Some(2)).await.unwrap().unwrap().files, files("b"));
    assert_eq!(store.last_number(&acme, &release).await.unwrap(), 2);
    // The same files again are a revision of their own.
    assert_eq!(apply(&store, "b").await, 3);
    assert_eq!(store.revision(&acme, &release, None).await.unwrap().unwrap().number, 3);
    let log = store.audit_log(&acme, 1, 10).await.unwrap();
    let events: Vec<_> = log.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(events, ["contract-applied", "contract-applied", "contract-removed", "contract-applied"]);
}

impl RedbStore {
    /// Forgets all grants, as it does when there are too many twice.
    pub(crate) async fn forget_grants(&self) {
        for _ in 0..2 {
            let (organization, repository): (_, Repository) = (name("acme"), "r.dev/a".parse().unwrap());
            self.write_soon(move |tx| write::put_grants(tx, &organization, &repository, &[], 0)).await.unwrap();
        }
    }
}
