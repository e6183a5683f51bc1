//! Counters for operators, in the OpenMetrics text format. No label names an organization, an image or a token:
//! any token may read them.

use std::fmt::Write as _;

use contracts::{Decision, Verdict};
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

/// All that is counted. Cheap to call; clones count into the same numbers.
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
    connections: Gauge,
    ignored: Counter,
    emergencies: Counter,
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
        Self { registry, decisions, requests, seconds, connections, ignored, emergencies }
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
