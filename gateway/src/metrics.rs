//! Counters for operators, in the OpenMetrics text format. No label names an organization, an image or a token:
//! any token may read them.

use std::fmt::Write as _;

use contracts::{Decision, Verdict};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Which way a decision was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// `POST /api/v1/attestations`
    Intake,
    /// `POST /api/v1/check`
    Check,
    /// `GET /v2/…`
    Pull,
    /// `POST /k8s/…`, each image
    Kubernetes,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    way: &'static str,
    answer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

/// Where content came from, when there is a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheAnswer {
    /// From the disk.
    Hit,
    /// From its upstream, together with others who asked at the same time.
    Joined,
    /// From its upstream.
    Miss,
    /// A part of something that is not there: from its upstream, and not kept.
    Part,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    answer: &'static str,
}

/// What came of asking for a newer trust root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// There is a newer one, or the same with newer metadata.
    Renewed,
    /// It is the newest still.
    Unchanged,
    /// The mirror gave no answer, or nothing that counts still.
    Unavailable,
    /// The mirror showed what its repository did not sign, or replaced.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    answer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstantLabels {
    instant: &'static str,
}

/// What was counted of the cache since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCounts {
    /// Answered from the disk.
    pub hits: u64,
    /// Answered together with others.
    pub joined: u64,
    /// Asked of an upstream.
    pub misses: u64,
    /// Parts that were asked of an upstream.
    pub parts: u64,
    /// Passed on without being kept.
    pub not_kept: u64,
    /// Taken away to make room, or because it was asked for.
    pub evictions: u64,
    /// Failures of the disk.
    pub disk_failures: u64,
}

/// All that is counted. Cheap to call; clones count into the same numbers.
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
    connections: Gauge,
    ignored: Counter,
    emergencies: Counter,
    cache_requests: Family<CacheLabels, Counter>,
    cache_bytes: Gauge,
    cache_not_kept: Counter,
    cache_evictions: Counter,
    cache_disk_failures: Counter,
    refreshes: Family<RefreshLabels, Counter>,
    trust_root: Family<InstantLabels, Gauge>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sluice");
        let decisions = Family::default();
        registry.register("decisions", "Decisions by way and answer", decisions.clone());
        let requests = Family::default();
        registry.register("http_requests", "Answered requests by route and status", requests.clone());
        let seconds = Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]);
        registry.register("http_request_seconds", "Time until a response begins", seconds.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let ignored = Counter::default();
        registry.register("evidence_ignored", "Attestations found upstream that do not verify", ignored.clone());
        let emergencies = Counter::default();
        registry.register("emergencies", "Exemptions made without approvers", emergencies.clone());
        let cache_requests = Family::default();
        registry.register(
            "cache_requests",
            "Content asked of the cache, by where it came from",
            cache_requests.clone(),
        );
        let cache_bytes = Gauge::default();
        registry.register("cache_bytes", "Bytes of the disk that cached content takes", cache_bytes.clone());
        let cache_not_kept = Counter::default();
        registry.register("cache_not_kept", "Content that passed without being cached", cache_not_kept.clone());
        let cache_evictions = Counter::default();
        registry.register("cache_evictions", "Content that was taken out of the cache", cache_evictions.clone());
        let cache_disk_failures = Counter::default();
        registry.register("cache_disk_failures", "Failures of the cache's disk", cache_disk_failures.clone());
        let refreshes = Family::default();
        registry.register(
            "trust_root_refreshes",
            "Times that the mirror was asked for a newer trust root, by what came of it",
            refreshes.clone(),
        );
        let trust_root = Family::default();
        registry.register(
            "trust_root_instant_seconds",
            "When the trust root was last shown to be the newest, and until when it counts, in seconds since 1970",
            trust_root.clone(),
        );
        Self {
            registry,
            decisions,
            requests,
            seconds,
            connections,
            ignored,
            emergencies,
            cache_requests,
            cache_bytes,
            cache_not_kept,
            cache_evictions,
            cache_disk_failures,
            refreshes,
            trust_root,
        }
    }
}

impl Metrics {
    /// Counts a decision. `enforced` is false when a deny was let through.
    pub fn decided(&self, way: Way, decision: Decision, enforced: bool) {
        self.count(
            way,
            match (decision, enforced) {
                (Decision::Allow, true) => "allow",
                (Decision::Allow, false) => "unenforced",
                (Decision::Deny, _) => "deny",
            },
        );
    }

    /// Counts what the gate decided. An allow by exemption alone is counted apart.
    pub fn verdict(&self, way: Way, verdict: &Verdict) {
        if verdict.exempted {
            self.count(way, "exempted");
        } else {
            self.decided(way, verdict.decision, verdict.enforced);
        }
    }

    /// Counts a request that could not be decided.
    pub fn could_not_decide(&self, way: Way) {
        self.count(way, "could-not-decide");
    }

    /// Counts attestations found upstream that were ignored because they do not verify.
    pub fn ignored(&self, attestations: usize) {
        self.ignored.inc_by(attestations as u64);
    }

    /// Counts an exemption that was made in an emergency.
    pub fn emergency(&self) {
        self.emergencies.inc();
    }

    /// Counts content by where it came from.
    pub fn cache_asked(&self, answer: CacheAnswer) {
        self.cache_counter(answer).inc();
    }

    /// Shows how many bytes are in the cache.
    pub fn cache_holds(&self, bytes: u64) {
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts what passed without being kept.
    pub fn cache_not_kept(&self) {
        self.cache_not_kept.inc();
    }

    /// Counts what was taken away.
    pub fn cache_evicted(&self, entries: usize) {
        self.cache_evictions.inc_by(entries as u64);
    }

    /// Counts a failure of the cache's disk.
    pub fn cache_failed(&self) {
        self.cache_disk_failures.inc();
    }

    /// What was counted of the cache since the start.
    #[must_use]
    pub fn cache_counts(&self) -> CacheCounts {
        CacheCounts {
            hits: self.cache_counter(CacheAnswer::Hit).get(),
            joined: self.cache_counter(CacheAnswer::Joined).get(),
            misses: self.cache_counter(CacheAnswer::Miss).get(),
            parts: self.cache_counter(CacheAnswer::Part).get(),
            not_kept: self.cache_not_kept.get(),
            evictions: self.cache_evictions.get(),
            disk_failures: self.cache_disk_failures.get(),
        }
    }

    fn cache_counter(&self, answer: CacheAnswer) -> Counter {
        let answer = match answer {
            CacheAnswer::Hit => "hit",
            CacheAnswer::Joined => "joined",
            CacheAnswer::Miss => "miss",
            CacheAnswer::Part => "part",
        };
        self.cache_requests.get_or_create_owned(&CacheLabels { answer })
    }

    /// Counts what came of asking for a newer trust root.
    pub fn refreshed(&self, answer: Refreshed) {
        let answer = match answer {
            Refreshed::Renewed => "renewed",
            Refreshed::Unchanged => "unchanged",
            Refreshed::Unavailable => "unavailable",
            Refreshed::Refused => "refused",
        };
        self.refreshes.get_or_create(&RefreshLabels { answer }).inc();
    }

    /// Shows when the trust root was last refreshed, and until when it counts: 0 where there is none.
    pub fn trust_root(&self, refreshed_at: Option<Timestamp>, until: Option<Timestamp>) {
        for (instant, at) in [("refreshed", refreshed_at), ("until", until)] {
            let seconds = at.map_or(0, Timestamp::as_second);
            self.trust_root.get_or_create(&InstantLabels { instant }).set(seconds);
        }
    }

    /// Counts an answered request. `route` is the route's pattern, never the path.
    pub fn answered(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let labels = RequestLabels { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.seconds.observe(seconds);
    }

    /// Counts a connection for as long as the answer lives.
    #[must_use]
    pub fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
            let _unreachable_for_strings = writeln!(text, "# metrics could not be written");
        }
        text
    }

    fn count(&self, way: Way, answer: &'static str) {
        let way = match way {
            Way::Intake => "intake",
            Way::Check => "check",
            Way::Pull => "pull",
            Way::Kubernetes => "kubernetes",
        };
        self.decisions.get_or_create(&DecisionLabels { way, answer }).inc();
    }
}

/// An open connection; closing it is dropping this.
#[derive(Debug)]
pub struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_let_through_apart() {
        let metrics = Metrics::default();
        metrics.decided(Way::Pull, Decision::Allow, true);
        metrics.decided(Way::Pull, Decision::Allow, false);
        metrics.could_not_decide(Way::Check);
        let _open = metrics.connected();
        drop(metrics.connected());
        let text = metrics.text();
        for line in [
            r#"sluice_decisions_total{way="pull",answer="allow"} 1"#,
            r#"sluice_decisions_total{way="pull",answer="unenforced"} 1"#,
            r#"sluice_decisions_total{way="check",answer="could-not-decide"} 1"#,
            "sluice_connections 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
