//! A load generator over HTTP/1.1 keep-alive connections: each connection is one task that sends, waits for the
//! whole answer, and sends again. What it reports is what a client waited.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::wire::{Connection, Request};

/// What one load run measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Answers of the expected status per second.
    pub per_second: f64,
    /// Waits, ascending.
    waits: Vec<Duration>,
}

impl Measured {
    /// The wait that this share of requests did not exceed, `0.5` for the median.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = ((self.waits.len() as f64) * share) as usize;
        self.waits.get(at.min(self.waits.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// How many requests were answered.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.waits.len()
    }
}

/// How long to go on.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// For this time.
    Elapsed(Duration),
    /// Until this many requests were sent.
    Requests(usize),
}

/// Sends `make(n)` for n = 0, 1, 2, … over `connections` connections. Any status but `expect` ends the run with
/// an error: a fast refusal is not a result.
pub async fn load(
    address: SocketAddr,
    connections: usize,
    until: Until,
    expect: u16,
    make: Arc<dyn Fn(usize) -> Request + Send + Sync>,
) -> anyhow::Result<Measured> {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(address).await?;
        let (next, make) = (Arc::clone(&next), Arc::clone(&make));
        tasks.push(tokio::spawn(async move {
            let mut waits = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let over = match until {
                    Until::Elapsed(limit) => started.elapsed() >= limit,
                    Until::Requests(count) => n >= count,
                };
                if over {
                    return anyhow::Ok(waits);
                }
                let request = make(n);
                let sent = Instant::now();
                let answer = connection.ask(&request).await?;
                if answer.status != expect {
                    bail!("request {n} was answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                }
                waits.push(sent.elapsed());
            }
        }));
    }
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await??);
    }
    let elapsed = started.elapsed();
    waits.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    Ok(Measured { per_second: waits.len() as f64 / elapsed.as_secs_f64(), waits })
}
