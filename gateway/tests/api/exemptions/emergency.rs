//! Emergencies: who may declare one, and until when it lasts.

use super::*;

/// What `breakGlass` names, and a run that was rejected.
async fn with_break_glass() -> Exempting {
    let exempting = exempting().await;
    exempting.scene.apply("    breakGlass: {callers: [skynet/release, on-call], maxDuration: 2h}\n").await;
    exempting
}

async fn emergency(exempting: &Exempting, token: &str, body: &Value) -> String {
    exempting.scene.site.send(token, Method::POST, "/api/v1/exemptions/emergency", body).await
}

#[tokio::test]
async fn in_an_emergency_a_named_caller_is_let_through_for_a_while() {
    let exempting = with_break_glass().await;
    let site = &exempting.scene.site;
    let token = site.token("push", Some("skynet/release")).await.secret;
    let body = json!({"reason": "the site is down", "run": exempting.run.run.id});
    let made = emergency(&exempting, &token, &body).await;
    assert!(made.starts_with("201"), "{made}");
    let answer: CheckAnswer = exempting.scene.check(exempting.image).await;
    assert_eq!((answer.verdict.decision, answer.verdict.exempted), (Decision::Allow, true));
    let listed = exempting.list().await;
    let info = &listed[0];
    assert_eq!((info.emergency.as_deref(), info.state), (Some("skynet/release"), ExemptionState::InForce));
    assert_eq!(info.until.duration_since(info.from), SignedDuration::from_hours(2));
    assert_eq!(answer.verdict.valid_until, Some(info.until));
    assert_eq!(exempting.events().await, ["exemption-emergency"]);
    let metrics = site.by(&site.admin, Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sluice_emergencies_total 1"), "{metrics}");
    assert!(metrics.contains(r#"sluice_decisions_total{way="check",answer="exempted"} 1"#), "{metrics}");
    // Another image, and what is not a demand of the contract, are not let through.
    assert_eq!(exempting.scene.verdict(Digest::of(b"another image")).await, "no-evidence");
    assert!(exempting.withdraw(&info.name).await.starts_with("200"));
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
}

#[tokio::test]
async fn an_emergency_ends_with_the_clause_that_allowed_it() {
    let exempting = with_break_glass().await;
    let site = &exempting.scene.site;
    let token = site.token("push", Some("skynet/release")).await.secret;
    let body = json!({"reason": "the site is down", "digest": exempting.image, "for": "30m"});
    let made = emergency(&exempting, &token, &body).await;
    assert!(made.starts_with("201"), "{made}");
    assert_eq!(exempting.verdict().await, "allow");
    for clause in [
        "",
        "    breakGlass: {callers: [on-call], maxDuration: 2h}\n",
        "    breakGlass: {callers: [skynet/release], maxDuration: 10m}\n",
    ] {
        exempting.scene.apply(clause).await;
        assert_eq!(exempting.verdict().await, "run-rejected material-missing", "{clause}");
    }
    exempting.scene.apply("    breakGlass: {callers: [skynet/release], maxDuration: 1h}\n").await;
    assert_eq!(exempting.verdict().await, "allow");
    exempting.settings(json!({"never": [NOTE]})).await;
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
}

#[tokio::test]
async fn nobody_else_declares_an_emergency() {
    let exempting = with_break_glass().await;
    let site = &exempting.scene.site;
    site.workflow("skynet", "nightly", "release").await;
    let run = &exempting.run.run.id;
    let good = json!({"reason": "the site is down", "run": run});
    let nightly = site.token("push", Some("skynet/nightly")).await.secret;
    let bound = site.token("push", Some("skynet/release")).await.secret;
    let (push, read) = (site.token("push", None).await.secret, site.token("read", None).await.secret);
    for (what, token, body, status) in [
        ("another workflow's token", &nightly, good.clone(), 404),
        ("a token that is not named", &push, good.clone(), 403),
        ("the admin, who is not named", &site.admin, good.clone(), 403),
        ("who may only read", &read, good.clone(), 403),
        ("without a reason", &bound, json!({"reason": " ", "run": run}), 400),
        ("for too long", &bound, json!({"reason": "r", "run": run, "for": "3h"}), 422),
        ("about nothing", &bound, json!({"reason": "r"}), 400),
        ("about another image of the run", &bound, json!({"reason": "r", "run": run, "digest": Digest::of(b"x")}), 400),
        ("about no run", &bound, json!({"reason": "r", "run": "none"}), 404),
    ] {
        let answer = emergency(&exempting, token, &body).await;
        assert!(answer.starts_with(&status.to_string()), "{what}: {answer}");
    }
    let begun = exempting.scene.begin(&bound).await;
    let answer = emergency(&exempting, &bound, &json!({"reason": "r", "run": begun.id})).await;
    assert!(answer.starts_with("400") && answer.contains("nothing was pushed"), "{answer}");
    assert_eq!(exempting.list().await.len(), 0);
    exempting.scene.apply("").await;
    let answer = emergency(&exempting, &bound, &good).await;
    assert!(answer.starts_with("403") && answer.contains("emergency-forbidden"), "{answer}");
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    let _ = REPOSITORY;
}

#[tokio::test]
async fn emergencies_that_follow_one_another_last_no_longer_than_one() {
    let exempting = with_break_glass().await;
    let site = &exempting.scene.site;
    let token = site.token("push", Some("skynet/release")).await.secret;
    let body = json!({"reason": "the site is down", "run": exempting.run.run.id});
    // Side by side they share their time.
    assert!(emergency(&exempting, &token, &body).await.starts_with("201"));
    assert!(emergency(&exempting, &token, &body).await.starts_with("201"));
    let infos = exempting.list().await;
    let apart = infos[0].until.duration_since(infos[1].until).abs();
    assert!(apart < SignedDuration::from_millis(1), "{apart:?}");
    let longer = json!({"reason": "the site is down", "run": exempting.run.run.id, "for": "2h"});
    let refused = emergency(&exempting, &token, &longer).await;
    assert!(refused.starts_with("409") && refused.contains("at the latest"), "{refused}");
    for info in infos {
        assert!(exempting.withdraw(&info.name).await.starts_with("200"));
    }
    exempting.scene.apply("    breakGlass: {callers: [skynet/release], maxDuration: 1s}\n").await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    emergency(&exempting, &token, &body).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let refused = emergency(&exempting, &token, &body).await;
    assert!(refused.starts_with("409") && refused.contains("emergency-exhausted"), "{refused}");
    assert!(refused.contains("another one can be declared from"), "{refused}");
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    // Another workflow has its own time.
    site.workflow("skynet", "nightly", "release").await;
    exempting.scene.apply("    breakGlass: {callers: [skynet/nightly], maxDuration: 3s}\n").await;
    let nightly = site.token("push", Some("skynet/nightly")).await.secret;
    let made = emergency(&exempting, &nightly, &json!({"reason": "r", "digest": exempting.image})).await;
    assert!(made.starts_with("201"), "{made}");
}

#[tokio::test]
async fn a_workflow_that_declares_many_emergencies_leaves_room_for_what_is_approved() {
    let exempting = with_break_glass().await;
    let site = &exempting.scene.site;
    let token = site.token("push", Some("skynet/release")).await.secret;
    for n in 0..contracts::limits::EMERGENCIES_PER_WORKFLOW {
        let body = json!({"reason": "r", "digest": Digest::of(n.to_string().as_bytes())});
        assert!(emergency(&exempting, &token, &body).await.starts_with("201"));
    }
    let body = json!({"reason": "r", "digest": exempting.image});
    let refused = emergency(&exempting, &token, &body).await;
    assert!(refused.starts_with("409") && refused.contains("too-many-exemptions"), "{refused}");
    exempting.applied("note", everywhere()).await;
    assert_eq!(exempting.verdict().await, "allow");
}
