//! `sluice cache …`

use contracts::{
    api::{CacheStats, PruneCache},
    size::show,
};

use super::connect;
use crate::{
    args,
    exit::Exit,
    report::{Report, plain, table},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Cache) -> anyhow::Result<Report> {
    let client = connect(connection)?;
    match args {
        args::Cache::Stats => {
            let stats = client.cache().await?;
            Report::new(Exit::Yes, &stats, describe(&stats))
        }
        args::Cache::Prune { keep, unused } => {
            let unused_seconds = unused.and_then(|unused| u64::try_from(unused.as_secs()).ok());
            let pruned = client.prune_cache(&PruneCache { keep: *keep, unused_seconds }).await?;
            let text = format!("took {} blobs and manifests away, {}", pruned.removed, show(pruned.bytes));
            Report::new(Exit::Yes, &pruned, plain(&text))
        }
    }
}

fn describe(stats: &CacheStats) -> String {
    let card = table::card([
        ("takes", format!("{} of {}", show(stats.bytes), show(stats.size))),
        ("holds", format!("{} blobs, {} manifests", stats.blobs, stats.manifests)),
        ("answered from it", stats.hits.to_string()),
        ("answered together", stats.joined.to_string()),
        ("fetched", stats.misses.to_string()),
        ("parts passed on", stats.parts.to_string()),
        ("not kept", stats.not_kept.to_string()),
        ("taken away", stats.evictions.to_string()),
        ("disk failures", stats.disk_failures.to_string()),
    ]);
    plain(&card)
}
