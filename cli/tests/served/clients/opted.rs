//! A gateway whose operator chose that a denied `HEAD` tells the digest, and what that costs.

use super::{containerd, stage::Stage};
use crate::real_clients::programs;

#[test]
fn real_clients_are_told_the_digest_where_that_was_chosen_and_go_on_with_what_they_have() {
    let Some(found) = programs(&["docker-registry", "skopeo", "containerd", "ctr"]) else { return };
    let stage = Stage::with(&found, "denied_head = \"with-digest\"\n");
    let mut setups = Vec::new();
    let _daemons = containerd::setups(&stage, &mut setups, |configuration| configuration == containerd::CLOSED);
    for setup in &setups {
        let denied = setup.pull("denied");
        let shown = denied.said.contains("denied: no-evidence: ") && denied.said.contains("what to do: ");
        assert!(!denied.worked && shown, "{}: {}", setup.client, denied.said);
        setup.store.holds_nothing_of(&stage.denied).unwrap();
        let told = setup.doctor.as_ref().unwrap().whole_canary(&stage);
        assert_eq!(told["canary"]["digest_told"], true, "{told:#}");
        let allowed = setup.pull("allowed");
        assert!(allowed.worked, "{}: {}", setup.client, allowed.said);
    }
    stage.revoke();
    for setup in &setups {
        // The price.
        let there = setup.pull("allowed");
        assert!(there.worked, "{}: {}", setup.client, there.said);
    }
}
