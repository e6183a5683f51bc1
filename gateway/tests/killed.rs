//! What a caller was told is stored is there after `kill -9`. The process that is killed is this test, run again.
#![cfg(test)]

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use gateway::{
    names::Name,
    store::{By, RedbStore, RunRecord, Store},
};
use jiff::Timestamp;

const STATE: &str = "SLUICE_TEST_KILLED_STATE";

fn organization() -> Name {
    "acme".parse().unwrap()
}

/// All runs, page by page.
async fn ids(store: &RedbStore) -> HashSet<String> {
    let (mut ids, mut last) = (HashSet::new(), None);
    loop {
        let page = store.runs(&organization(), None, last.as_ref(), 1000).await.unwrap();
        last = page.runs.last().cloned();
        ids.extend(page.runs.into_iter().map(|run| run.id));
        if !page.more {
            return ids;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is run by the other test, to be killed"]
async fn victim() {
    let Ok(path) = std::env::var(STATE) else { return };
    let store = std::sync::Arc::new(RedbStore::open(Path::new(&path)).unwrap());
    let begin = ids(&store).await.len();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                for n in begin.. {
                    let workflow = "skynet/release".parse().unwrap();
                    let run = RunRecord::begun(format!("{writer}-{n}"), workflow, Timestamp::UNIX_EPOCH);
                    let by = By::new("test", Timestamp::UNIX_EPOCH);
                    assert!(store.start_run(&organization(), run, by).await.unwrap());
                    // One write, so that a kill cannot leave half a line of another's.
                    std::io::stdout().write_all(format!("\nstored {writer}-{n}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    futures::future::join_all(writers).await;
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut told: Vec<String> = Vec::new();
    for round in 1..=3 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored", "--nocapture"])
            .env(STATE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let enough = told.len() + 300 * round;
        while told.len() < enough {
            let line = lines.next().unwrap().unwrap();
            told.extend(line.strip_prefix("stored ").map(ToOwned::to_owned));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What it told before it died counts too.
        told.extend(lines.map_while(Result::ok).filter_map(|l| l.strip_prefix("stored ").map(ToOwned::to_owned)));

        let store = RedbStore::open(&path).unwrap();
        runtime.block_on(async {
            let kept = ids(&store).await;
            let lost: Vec<_> = told.iter().filter(|id| !kept.contains(*id)).collect();
            assert!(lost.is_empty(), "round {round}: {lost:?} of {}", told.len());
            // Each run came with its audit entry, in one chain.
            let mut entries = 0;
            loop {
                let log = store.audit_log(&organization(), entries + 1, 1_000_000).await.unwrap();
                let Some(last) = log.last() else { break };
                entries = last.number;
            }
            assert_eq!(usize::try_from(entries).unwrap(), kept.len());
        });
    }
}
