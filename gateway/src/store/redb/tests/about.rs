//! Which attestations there are about an image, whichever way and however often they came.

use contracts::PinnedRef;

use super::*;

#[tokio::test]
async fn the_newest_attestation_counts_and_nothing_crosses_organizations() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let (acme, other) = (name("acme"), name("acme-2"));
    let image = Digest::of(b"image");
    for (bundle, id, second) in [(&b"old"[..], "r1", 1), (b"new", "r2", 3), (b"mid", "r3", 2)] {
        let record = attestation(bundle, image, id, second);
        store.receive(&acme, record.clone(), attested(run(id, RunState::Accepted, second), &record)).await.unwrap();
    }
    let about = store.pushed_about(&acme, &an_image(image)).await.unwrap();
    assert_eq!(about.newest.iter().map(|a| a.id).collect::<Vec<_>>(), [Digest::of(b"new")]);
    assert!(about.complete);
    assert!(store.pushed_about(&acme, &an_image(Digest::of(b"x"))).await.unwrap().newest.is_empty());

    assert!(store.pushed_about(&other, &an_image(image)).await.unwrap().newest.is_empty());
    assert!(store.runs(&other, None, None, 9).await.unwrap().runs.is_empty());
    assert_eq!(store.run(&other, "r1").await.unwrap(), None);
    assert_eq!(store.attestation(&other, Digest::of(b"old")).await.unwrap(), None);
    let repository: Repository = "r.dev/a".parse().unwrap();
    let (layer, via) = (Digest::of(b"layer"), Via { root: image, parent: Digest::of(b"part") });
    store.put_grants(&acme, &repository, vec![Grant { via, child: layer }]).await.unwrap();
    assert_eq!(store.ways(&acme, &repository, layer).await.unwrap(), [via]);
    assert!(store.ways(&other, &repository, layer).await.unwrap().is_empty());
    assert!(store.ways(&acme, &"r.dev/b".parse().unwrap(), layer).await.unwrap().is_empty());
}

fn an_image(digest: Digest) -> VerdictSubject {
    VerdictSubject::Image(PinnedRef { repository: "r.dev/a".parse().unwrap(), digest })
}

/// An attestation with content of its own, pushed by a workflow under a contract.
fn pushed(flow: &str, contract: &str, run: &str, at: Timestamp, accepted: bool) -> AttestationRecord {
    let bundle = Bytes::from(format!("{flow} {contract} {run}"));
    let (workflow, contract) = (flow.parse().unwrap(), name(contract));
    let made_for = vec![Digest::of(b"image")];
    let facts = AttestationFacts {
        id: Digest::of(&bundle),
        signed: Digest::of(&bundle),
        received_at: at,
        source: Source::Pushed {
            workflow,
            run: run.to_owned(),
            contract,
            revision: 1,
            accepted,
            made_for,
            artifacts: Vec::new(),
            identity: None,
        },
        ..attestation(b"", Digest::of(b"image"), run, 0).facts
    };
    AttestationRecord { facts, bundle }
}

#[tokio::test]
async fn of_every_workflow_the_newest_is_found_and_of_one_instant_the_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let nanos = |second, nanos| at(second) + jiff::SignedDuration::from_nanos(nanos);
    let early = |mut record: AttestationRecord| {
        record.facts.signed_at = Some(at(2));
        record
    };
    let only_named = |mut record: AttestationRecord| {
        if let Source::Pushed { made_for, .. } = &mut record.facts.source {
            *made_for = vec![Digest::of(b"x")];
        }
        record
    };
    let all = [
        pushed("p/a", "c", "r1", at(1), false),
        pushed("p/a", "c", "r2", at(9), true),
        pushed("p/a", "c-2", "r3", at(8), false),
        pushed("p/a-2", "c", "r4", nanos(5, 900), true),
        pushed("p/a-2", "c", "r5", nanos(5, 100), false),
        pushed("p/a-2", "c", "r6", nanos(5, 1_000), false),
        pushed("p/a-2", "c", "r7", nanos(5, 1_999), true),
        pushed("p/b", "c", "r8", at(5), true),
        early(pushed("p/b", "c", "r9", at(7), false)),
        only_named(pushed("p/z", "c", "r10", at(7), false)),
    ];
    for record in all {
        let Source::Pushed { workflow, run: id, .. } = &record.facts.source else { panic!("it was pushed") };
        let run = RunRecord { workflow: workflow.clone(), ..attested(run(id, RunState::Accepted, 0), &record) };
        assert_eq!(store.receive(&name("acme"), record, run).await.unwrap(), Receipt::Stored);
    }
    let about = store.pushed_about(&name("acme"), &an_image(Digest::of(b"image"))).await.unwrap();
    let found: Vec<_> = about.newest.iter().map(|a| a.id).collect();
    let newest = ["p/a c r2", "p/a-2 c r6", "p/a-2 c r7", "p/b c r8", "p/a c-2 r3"];
    assert_eq!(found, newest.map(|bundle| Digest::of(bundle.as_bytes())));
    assert_eq!(about.newest[1].at(), about.newest[2].at(), "the same instant in memory too");
    assert!(about.complete);

    let most = contracts::limits::WORKFLOWS_PER_SUBJECT;
    // Four have pushed so far.
    for number in 4..=most {
        let record = pushed(&format!("q/w{number}"), "c", &format!("q{number}"), at(1), true);
        let run = RunRecord {
            workflow: format!("q/w{number}").parse().unwrap(),
            ..attested(run(&format!("q{number}"), RunState::Accepted, 0), &record)
        };
        store.receive(&name("acme"), record, run).await.unwrap();
        let about = store.pushed_about(&name("acme"), &an_image(Digest::of(b"image"))).await.unwrap();
        assert_eq!(about.complete, number < most, "{number}");
    }
}

#[tokio::test]
async fn what_is_found_again_in_other_bytes_is_stored_once_for_all_that_it_speaks_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let acme = name("acme");
    let source = Source::Discovered { repository: "r.dev/a".parse().unwrap() };
    let found = |bundle: &'static [u8], trust: &[u8]| {
        let mut record = attestation(bundle, Digest::of(b"image"), "", 1);
        record.facts.signed = Digest::of(b"signed");
        record.facts.source = source.clone();
        Discovery { record, speaks_for: Digest::of(trust) }
    };
    let all = vec![found(b"one", b"t"), found(b"two", b"t"), found(b"three", b"t and u"), found(b"four", b"t and u")];
    let (one, three) = (Digest::of(b"one"), Digest::of(b"three"));
    assert_eq!(store.discovered(&acme, all).await.unwrap(), [one, one, three, three]);
    assert_eq!(store.wrapping(&acme, Digest::of(b"signed"), Digest::of(b"t")).await.unwrap(), Some(one));
    assert_eq!(store.wrapping(&name("acme-2"), Digest::of(b"signed"), Digest::of(b"t")).await.unwrap(), None);
    for (bundle, kept) in [(&b"one"[..], true), (b"two", false), (b"three", true), (b"four", false)] {
        assert_eq!(store.attestation(&acme, Digest::of(bundle)).await.unwrap().is_some(), kept);
    }
}

#[tokio::test]
async fn an_earlier_time_that_another_wrapping_proves_counts_for_all_that_carry_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let (acme, image) = (name("acme"), Digest::of(b"image"));
    let signed = |mut record: AttestationRecord, signed_at| {
        record.facts.signed = Digest::of(b"signed");
        record.facts.signed_at = signed_at;
        record
    };
    let found = |bundle: &'static [u8], signed_at| {
        let mut record = signed(attestation(bundle, image, "", 9), signed_at);
        record.facts.source = Source::Discovered { repository: "r.dev/a".parse().unwrap() };
        Discovery { record, speaks_for: Digest::of(b"t") }
    };
    let one = Digest::of(b"one");
    assert_eq!(store.discovered(&acme, vec![found(b"one", None)]).await.unwrap(), [one]);
    let pushed = [signed(attestation(b"two", image, "r2", 10), None), attestation(b"three", image, "r3", 5)];
    for record in &pushed {
        let Source::Pushed { run: id, .. } = &record.facts.source else { panic!("it was pushed") };
        let run = attested(run(id, RunState::Accepted, 1), record);
        assert_eq!(store.receive(&acme, record.clone(), run).await.unwrap(), Receipt::Stored);
    }
    let newest = async || store.pushed_about(&acme, &an_image(image)).await.unwrap().newest;
    assert_eq!(
        newest().await.iter().map(|facts| (facts.id, facts.at())).collect::<Vec<_>>(),
        [(Digest::of(b"two"), at(9))]
    );

    let before = store.evidence_changed(&acme, &image);
    assert_eq!(store.discovered(&acme, vec![found(b"four", Some(at(2)))]).await.unwrap(), [one], "it stands for it");
    assert!(store.evidence_changed(&acme, &image) > before);
    let two = store.attestation_facts(&acme, Digest::of(b"two")).await.unwrap().unwrap();
    let one = store.attestation_facts(&acme, one).await.unwrap().unwrap();
    for facts in [&one, &two] {
        assert_eq!((facts.received_at, facts.signed_at), (at(9), Some(at(2))));
    }
    assert_eq!(
        newest().await.iter().map(|facts| facts.id).collect::<Vec<_>>(),
        [Digest::of(b"three")],
        "`two` is older"
    );

    // What proves nothing new changes nothing.
    let before = store.evidence_changed(&acme, &image);
    for proven in [None, Some(at(2)), Some(at(3))] {
        store.discovered(&acme, vec![found(b"five", proven)]).await.unwrap();
    }
    assert_eq!(store.evidence_changed(&acme, &image), before);
}

#[tokio::test]
async fn what_was_found_and_withdrawn_is_known_by_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("s.redb")).unwrap();
    let (acme, image) = (name("acme"), Digest::of(b"image"));
    let found = |bytes: &'static [u8], trust: &[u8]| {
        let mut record = attestation(bytes, image, "", 1);
        record.facts.signed = Digest::of(b"signed");
        record.facts.source = Source::Discovered { repository: "r.dev/a".parse().unwrap() };
        Discovery { record, speaks_for: Digest::of(trust) }
    };
    let about = async |store: &RedbStore| {
        let about = store.withdrawn_about(&acme, image).await.unwrap();
        assert!(about.iter().all(|facts| facts.withdrawn.is_some()));
        about.into_iter().map(|facts| facts.id).collect::<BTreeSet<_>>()
    };
    let named = AttestationName::Id(Digest::of(b"one"));
    store.discovered(&acme, vec![found(b"one", b"t")]).await.unwrap();
    assert!(about(&store).await.is_empty());
    let before = store.evidence_changed(&acme, &image);
    let withdrawn = Withdrawn { reason: "r".to_owned(), withdrawn_at: at(2), by: "t".to_owned() };
    store.withdraw_attestation(&acme, &named, withdrawn, by(2)).await.unwrap();
    assert_ne!(store.evidence_changed(&acme, &image), before);
    // What comes later and is an earlier proof, and one that speaks for others.
    let mut proven = found(b"two", b"t");
    proven.record.facts.signed_at = Some(at(0));
    store.discovered(&acme, vec![proven, found(b"three", b"u")]).await.unwrap();
    let all = [Digest::of(b"one"), Digest::of(b"three")].into();
    assert_eq!(about(&store).await, all);
    let copy = folder.path().join("copy.redb");
    store.backup(&copy).await.unwrap();
    assert_eq!(about(&RedbStore::open(&copy).unwrap()).await, all, "also in a copy");
    assert!(store.withdrawn_about(&name("other"), image).await.unwrap().is_empty());
    let before = store.evidence_changed(&acme, &image);
    assert!(store.restore_attestation(&acme, &named, by(3)).await.unwrap().is_some());
    assert_ne!(store.evidence_changed(&acme, &image), before);
    assert!(about(&store).await.is_empty());
}
