//! Exemptions through the front door: what is taken, what it lets through, and all that must not be.

mod emergency;
mod keyless;

use contracts::{
    Decision, Dependency, Digest, Envelope,
    api::{CheckAnswer, ExemptionInfo, ExemptionState, ReceivedAttestation},
    keys::SigningKey,
};
use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    scene::{REPOSITORY, Scene, scene},
    support::{Site, settings, show},
};

const NOTE: &str = "material-note";

/// A scene with two approvers, both of whom must sign, and an image whose run lacks its note.
struct Exempting {
    scene: Scene,
    ann: SigningKey,
    bob: SigningKey,
    image: Digest,
    run: ReceivedAttestation,
}

async fn exempting() -> Exempting {
    let scene = scene().await;
    let (ann, bob) = (SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap());
    let image = Digest::of(b"image");
    let run = scene.release(image, false).await;
    let exempting = Exempting { scene, ann, bob, image, run };
    exempting.settings(json!({})).await;
    exempting
}

fn now() -> Timestamp {
    gateway::http::clock::now()
}

fn hours(n: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(n)).unwrap()
}

/// A document for the rule, in this scope.
fn document(name: &str, rule: &str, scope: &str, from: Timestamp, until: Timestamp) -> String {
    format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: {name}, organization: default}}\nspec:\n  scope: {{rule: {rule}, {scope}}}\n  reason: the note comes on Monday\n  from: {from}\n  until: {until}\n"
    )
}

fn everywhere() -> &'static str {
    "repositories: [\"registry.acme.dev/skynet/**\"]"
}

impl Exempting {
    async fn settings(&self, more: Value) {
        let mut exemptions = json!({"approvers": [self.ann.public().to_pem(), self.bob.public().to_pem()], "threshold": 2, "longest": "7d"});
        exemptions.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.scene.organization(json!({"exemptions": exemptions})).await;
    }

    /// Approved by both.
    fn approved(&self, document: &str) -> Envelope {
        self.bob.approve_too(&self.ann.approve(document.as_bytes()).unwrap()).unwrap()
    }

    async fn put(&self, name: &str, envelope: &Envelope) -> String {
        self.put_as(&self.scene.site.admin, name, envelope).await
    }

    async fn put_as(&self, token: &str, name: &str, envelope: &Envelope) -> String {
        self.scene.site.send(token, Method::PUT, &format!("/api/v1/exemptions/{name}"), &envelope.to_value()).await
    }

    /// Applies one that covers the missing note for a while.
    async fn applied(&self, name: &str, scope: &str) {
        let put = self.put(name, &self.approved(&document(name, NOTE, scope, hours(-1), hours(24)))).await;
        assert!(put.starts_with("201"), "{put}");
    }

    /// Applies a contract with a policy on the note that blocks; `more` are other attachments.
    async fn gated(&self, more: &str) {
        let contract = format!(
            "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: note, type: STRING}}\n  policies:\n    materials: [{{ref: \"file://no-malware.yaml\", gate: true}}{more}]\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n"
        );
        let policy = "apiVersion: sluice.dev/v1\nkind: Policy\nmetadata: {name: no-malware}\nspec:\n  policies:\n    - kind: STRING\n      embedded: |\n        package p\n        import rego.v1\n        result := {\"violations\": [], \"skipped\": false}\n";
        let files =
            json!({"contract": "contract.yaml", "files": {"contract.yaml": contract, "no-malware.yaml": policy}});
        let site = &self.scene.site;
        let applied = site.send(&site.admin, Method::PUT, "/api/v1/contracts/release", &files).await;
        assert!(applied.starts_with("20"), "{applied}");
    }

    async fn verdict(&self) -> String {
        self.scene.verdict(self.image).await
    }

    async fn list(&self) -> Vec<ExemptionInfo> {
        let site = &self.scene.site;
        site.by(&site.admin, Method::GET, "/api/v1/exemptions").send().await.unwrap().json().await.unwrap()
    }

    async fn state(&self, name: &str) -> ExemptionState {
        self.list().await.into_iter().find(|info| info.name == name).unwrap().state
    }

    async fn withdraw(&self, name: &str) -> String {
        let site = &self.scene.site;
        let path = format!("/api/v1/exemptions/{name}");
        show(site.by(&site.admin, Method::DELETE, &path).send().await.unwrap()).await
    }

    async fn events(&self) -> Vec<String> {
        let site = &self.scene.site;
        let log = site.by(&site.admin, Method::GET, "/api/v1/audit?limit=1000").send().await.unwrap();
        let log: Vec<contracts::api::AuditEntry> = log.json().await.unwrap();
        log.into_iter().map(|entry| entry.event).filter(|event| event.starts_with("exemption")).collect()
    }
}

#[tokio::test]
async fn what_an_exemption_covers_no_longer_blocks_and_stays_shown() {
    let exempting = exempting().await;
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    exempting.applied("note", everywhere()).await;
    let answer = exempting.scene.check_signed(exempting.image).await;
    let verdict = &answer.verdict;
    assert_eq!((verdict.decision, verdict.enforced, verdict.exempted), (Decision::Allow, true, true));
    let listed = exempting.list().await;
    let digest = listed[0].digest;
    assert!(verdict.depends_on.contains(&Dependency::Exemption(digest)));
    assert_eq!(verdict.valid_until, Some(listed[0].until), "a verdict never outlives what it used");
    let marked: Vec<_> =
        verdict.findings.iter().map(|f| (f.code.as_str(), f.exempted.as_ref().unwrap().name.as_str())).collect();
    assert_eq!(marked, [("run-rejected", "note"), ("material-missing", "note")]);
    assert!(verdict.findings.iter().all(|f| f.exempted.as_ref().unwrap().digest == digest));
    // The gateway's word says it too.
    let bundle = contracts::Bundle::parse(answer.vsa.unwrap().to_string().as_bytes()).unwrap();
    let statement = contracts::Statement::parse(&bundle.envelope().payload).unwrap();
    assert_eq!(statement.predicate["verificationResult"], "PASSED");
    assert_eq!(statement.predicate["verifiedLevels"], json!(["SLSA_BUILD_LEVEL_UNEVALUATED", "SLUICE_EXEMPTED"]));
    assert_eq!(statement.predicate["https://sluice.dev/verdict/v1"]["exempted"], true);
    // The run stays rejected: the exception is from what the gate demands, not from what happened.
    let run =
        exempting.scene.site.get(&exempting.scene.site.admin, &format!("/api/v1/runs/{}", exempting.run.run.id)).await;
    assert!(run.contains("\"state\": \"rejected\""), "{run}");
    // At once, whatever was remembered.
    assert!(exempting.withdraw("note").await.starts_with("200"));
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    assert_eq!(exempting.events().await, ["exemption-applied", "exemption-withdrawn"]);
}

#[tokio::test]
async fn every_reason_must_be_covered() {
    let exempting = exempting().await;
    exempting.scene.apply("    rules:\n      - {name: from-git, cel: \"attestation.subject.exists(s, s.name == 'git.head')\", message: build from a commit}\n").await;
    exempting.scene.release(exempting.image, false).await;
    // The contract's own rules are asked at the gate alone.
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    exempting.applied("note", everywhere()).await;
    let answer = exempting.scene.check(exempting.image).await;
    assert_eq!(answer.verdict.decision, Decision::Deny);
    let marked = answer.verdict.findings.iter().filter(|f| f.exempted.is_some()).count();
    assert_eq!((marked, answer.verdict.exempted), (1, false), "what is covered is marked all the same");
    let put = exempting
        .put("git", &exempting.approved(&document("git", "from-git", everywhere(), hours(-1), hours(2))))
        .await;
    assert!(put.starts_with("201"), "{put}");
    let answer = exempting.scene.check(exempting.image).await;
    assert!(answer.verdict.exempted);
    let earliest = exempting.list().await.iter().map(|info| info.until).min();
    assert_eq!(answer.verdict.valid_until, earliest);
}

#[tokio::test]
async fn an_exemption_from_a_material_is_none_from_the_policies_that_would_have_judged_it() {
    let exempting = exempting().await;
    exempting.gated("").await;
    // Also of a run that was rejected when there was no such policy.
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    exempting.applied("note", everywhere()).await;
    assert_eq!(exempting.verdict().await, "run-rejected policy-skipped");
    exempting.scene.release(exempting.image, false).await;
    assert_eq!(exempting.verdict().await, "run-rejected policy-skipped");
    let rule = "policy-no-malware-note";
    let policy = exempting.approved(&document("policy", rule, everywhere(), hours(-1), hours(1)));
    assert!(exempting.put("policy", &policy).await.starts_with("201"));
    assert_eq!(exempting.verdict().await, "allow");
    exempting.settings(json!({"never": [rule]})).await;
    assert_eq!(exempting.verdict().await, "run-rejected policy-skipped");
}

#[tokio::test]
async fn a_newer_demand_is_not_covered_by_what_the_run_was_rejected_for() {
    let exempting = exempting().await;
    exempting.applied("note", everywhere()).await;
    assert_eq!(exempting.verdict().await, "allow");
    // The run is judged anew by what the contract says now.
    exempting.scene.apply("    rules:\n      - {name: from-git, cel: \"attestation.subject.exists(s, s.name == 'git.head')\", message: build from a commit}\n").await;
    assert_eq!(exempting.verdict().await, "run-rejected rule-failed");
}

#[tokio::test]
async fn it_begins_and_ends_at_its_instants() {
    let exempting = exempting().await;
    let (from, until) = (
        now().checked_add(SignedDuration::from_millis(1500)).unwrap(),
        now().checked_add(SignedDuration::from_millis(3500)).unwrap(),
    );
    let put = exempting.put("soon", &exempting.approved(&document("soon", NOTE, everywhere(), from, until))).await;
    assert!(put.starts_with("201"), "{put}");
    let denied = exempting.scene.check(exempting.image).await;
    assert_eq!((denied.verdict.decision, denied.verdict.valid_until), (Decision::Deny, Some(from)));
    assert_eq!(exempting.state("soon").await, ExemptionState::Pending);
    tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
    let allowed = exempting.scene.check(exempting.image).await;
    assert_eq!((allowed.verdict.decision, allowed.verdict.valid_until), (Decision::Allow, Some(until)));
    assert_eq!(exempting.state("soon").await, ExemptionState::InForce);
    tokio::time::sleep(std::time::Duration::from_millis(2000)).await;
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    assert_eq!(exempting.state("soon").await, ExemptionState::Over);
}

#[tokio::test]
async fn a_scope_that_does_not_match_covers_nothing() {
    let exempting = exempting().await;
    let digest = exempting.image;
    let other = Digest::of(b"another image");
    for (number, scope) in [
        "repositories: [\"registry.acme.dev/other/**\"]".to_owned(),
        format!("digest: \"{other}\""),
        format!("digest: \"{digest}\", contract: another"),
        format!("digest: \"{digest}\", workflow: skynet/nightly"),
        format!("digest: \"{digest}\", repositories: [\"registry.acme.dev/other/**\"]"),
    ]
    .iter()
    .enumerate()
    {
        exempting.applied(&format!("scope-{number}"), scope).await;
        assert_eq!(exempting.verdict().await, "run-rejected material-missing", "{scope}");
    }
    let put = exempting
        .put("rule", &exempting.approved(&document("rule", "material-image", everywhere(), hours(-1), hours(1))))
        .await;
    assert!(put.starts_with("201"), "{put}");
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    exempting.applied("right", &format!("digest: \"{digest}\", contract: release, workflow: skynet/release")).await;
    assert_eq!(exempting.verdict().await, "allow");
    assert_eq!(exempting.scene.verdict(other).await, "no-evidence");
}

#[tokio::test]
async fn what_is_not_approved_is_not_taken() {
    let exempting = exempting().await;
    let (ann, bob) = (&exempting.ann, &exempting.bob);
    let good = document("note", NOTE, everywhere(), hours(-1), hours(24));
    let stranger = SigningKey::generate_p256().unwrap();
    let once = ann.approve(good.as_bytes()).unwrap();
    let twice_by_one = ann.approve_too(&once).unwrap();
    let mut renamed = twice_by_one.clone();
    renamed.signatures[1].keyid = Some(bob.public().id().to_string());
    let with_stranger = stranger.approve_too(&once).unwrap();
    let by_strangers = stranger.approve(good.as_bytes()).unwrap();
    let mut changed = exempting.approved(&good);
    changed.payload = good.replace("until: 2", "until: 3").into_bytes();
    let mut as_statement = exempting.approved(&good);
    as_statement.payload_type = contracts::dsse::IN_TOTO_PAYLOAD_TYPE.to_owned();
    let elsewhere = exempting.approved(&good.replace("organization: default", "organization: other"));
    let long = exempting.approved(&document("note", NOTE, everywhere(), hours(-1), hours(24 * 7)));
    let over = exempting.approved(&document("note", NOTE, everywhere(), hours(-3), hours(-1)));
    let nameless = exempting.approved(&good.replace("name: note", "name: other"));
    for (what, envelope, status, code) in [
        ("one of two", &once, 403, "exemption-not-approved"),
        ("one key twice", &twice_by_one, 403, "exemption-not-approved"),
        ("one key under two names", &renamed, 403, "exemption-not-approved"),
        ("with a stranger", &with_stranger, 403, "exemption-not-approved"),
        ("by a stranger", &by_strangers, 403, "exemption-not-approved"),
        ("changed afterwards", &changed, 403, "exemption-not-approved"),
        ("signed as something else", &as_statement, 403, "exemption-not-approved"),
        ("for another organization", &elsewhere, 422, "exemption-of-another-organization"),
        ("longer than allowed", &long, 422, "exemption-too-long"),
        ("over", &over, 422, "exemption-over"),
        ("under another name", &nameless, 400, "invalid-request"),
    ] {
        let put = exempting.put("note", envelope).await;
        assert!(put.starts_with(&status.to_string()) && put.contains(code), "{what}: {put}");
        assert_eq!(exempting.verdict().await, "run-rejected material-missing", "{what}");
    }
    // Only an admin brings one, and another organization's admin brings it nowhere.
    let approved = exempting.approved(&good);
    let push = exempting.scene.site.token("push", None).await.secret;
    assert!(exempting.put_as(&push, "note", &approved).await.starts_with("403"));
    let other = exempting.scene.site.organization("other").await;
    let put = exempting.put_as(&other, "note", &approved).await;
    assert!(put.starts_with("403") && put.contains("nobody may approve"), "{put}");
    let unsigned = exempting
        .scene
        .site
        .send(&exempting.scene.site.admin, Method::PUT, "/api/v1/exemptions/note", &json!({}))
        .await;
    assert_snapshot!(unsigned, @r#"
    422 Unprocessable Entity
    {
      "error": {
        "code": "exemption-invalid",
        "message": "the signed envelope has no usable `payloadType`: send what `sluice exemption sign` wrote"
      }
    }
    "#);
    assert_eq!(exempting.list().await.len(), 0);
    assert!(exempting.put("note", &approved).await.starts_with("201"));
}

#[tokio::test]
async fn the_exemption_of_one_organization_is_nothing_in_another_with_the_same_approvers() {
    let exempting = exempting().await;
    let site = &exempting.scene.site;
    let other = site.organization("other").await;
    let settings = json!({"exemptions": {"approvers": [exempting.ann.public().to_pem()], "threshold": 1}});
    assert!(site.send(&other, Method::PUT, "/api/v1/organization", &settings).await.starts_with("200"));
    let mine = exempting.ann.approve(document("note", NOTE, everywhere(), hours(-1), hours(1)).as_bytes()).unwrap();
    let put = exempting.put_as(&other, "note", &mine).await;
    assert!(put.starts_with("422") && put.contains("exemption-of-another-organization"), "{put}");
    exempting.applied("note", everywhere()).await;
    let list = site.by(&other, Method::GET, "/api/v1/exemptions").send().await.unwrap();
    assert_eq!(list.json::<Vec<Value>>().await.unwrap().len(), 0);
    assert!(site.get(&other, "/api/v1/exemptions/note").await.starts_with("404"));
    let path = "/api/v1/exemptions/note";
    assert_eq!(site.by(&other, Method::DELETE, path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(exempting.verdict().await, "allow");
}

#[tokio::test]
async fn what_was_withdrawn_or_replaced_does_not_come_back() {
    let exempting = exempting().await;
    let first = exempting.approved(&document("note", NOTE, everywhere(), hours(-1), hours(24)));
    let second = exempting.approved(&document("note", NOTE, everywhere(), hours(-1), hours(12)));
    assert!(exempting.put("note", &first).await.starts_with("201"));
    assert!(exempting.put("note", &first).await.starts_with("200"), "the same again is the same");
    assert!(exempting.put("note", &second).await.starts_with("201"));
    let replayed = exempting.put("note", &first).await;
    assert!(replayed.starts_with("409") && replayed.contains("exemption-withdrawn"), "{replayed}");
    assert!(exempting.withdraw("note").await.starts_with("200"));
    // Not with other signatures around the same bytes either.
    let signed_anew = exempting.approved(std::str::from_utf8(&second.payload).unwrap());
    for envelope in [&first, &second, &signed_anew] {
        assert!(exempting.put("note", envelope).await.starts_with("409"));
        assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    }
    assert_eq!(exempting.state("note").await, ExemptionState::Withdrawn);
    assert!(exempting.withdraw("nothing").await.starts_with("404"));
}

#[tokio::test]
async fn what_was_applied_and_what_was_withdrawn_survive_a_start() {
    let exempting = exempting().await;
    let old = exempting.approved(&document("old", NOTE, everywhere(), hours(-1), hours(1)));
    assert!(exempting.put("old", &old).await.starts_with("201"));
    assert!(exempting.withdraw("old").await.starts_with("200"));
    exempting.applied("note", everywhere()).await;
    let Exempting { scene: Scene { site, build }, ann, bob, image, run } = exempting;
    let Site { folder, running, admin, client } = site;
    running.stop().await;
    let running = gateway::app::Gateway::start(settings(&folder)).await.unwrap();
    let site = Site { folder, running, admin, client };
    let exempting = Exempting { scene: Scene { site, build }, ann, bob, image, run };
    assert_eq!(exempting.verdict().await, "allow");
    assert!(exempting.withdraw("note").await.starts_with("200"));
    assert_eq!(exempting.verdict().await, "run-rejected material-missing");
    assert!(exempting.put("old", &old).await.starts_with("409"));
}

#[tokio::test]
async fn a_token_bound_to_a_workflow_sees_what_may_cover_its_runs() {
    let exempting = exempting().await;
    let site = &exempting.scene.site;
    site.workflow("skynet", "nightly", "release").await;
    exempting.applied("all", everywhere()).await;
    exempting.applied("other", &format!("{}, workflow: skynet/nightly", everywhere())).await;
    let bound = site.token("push", Some("skynet/release")).await.secret;
    let list = site.by(&bound, Method::GET, "/api/v1/exemptions").send().await.unwrap();
    let list: Vec<ExemptionInfo> = list.json().await.unwrap();
    assert_eq!(list.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["all"]);
    assert!(site.get(&bound, "/api/v1/exemptions/other").await.starts_with("404"));
    assert!(site.get(&site.admin, "/api/v1/exemptions/other").await.starts_with("200"));
}

#[tokio::test]
async fn who_may_approve_and_what_is_never_exempted_counts_as_it_is_now() {
    let exempting = exempting().await;
    exempting.applied("note", everywhere()).await;
    assert_eq!(exempting.verdict().await, "allow");
    for (what, settings) in [
        ("an approver left", json!({"approvers": [exempting.ann.public().to_pem()], "threshold": 1, "longest": "1h"})),
        (
            "more must approve",
            json!({"approvers": [exempting.ann.public().to_pem(), exempting.bob.public().to_pem(), SigningKey::generate_p256().unwrap().public().to_pem()], "threshold": 3}),
        ),
        ("the rule is never exempted", json!({"never": [NOTE]})),
        ("the code is never exempted", json!({"never": ["material-missing"]})),
        ("nobody approves", json!({"approvers": [], "threshold": 1})),
    ] {
        exempting.settings(settings).await;
        assert_eq!(exempting.verdict().await, "run-rejected material-missing", "{what}");
        exempting.settings(json!({})).await;
        assert_eq!(exempting.verdict().await, "allow", "{what}");
    }
    exempting.settings(json!({"never": [NOTE]})).await;
    assert_eq!(exempting.state("note").await, ExemptionState::Void);
    let put =
        exempting.put("more", &exempting.approved(&document("more", NOTE, everywhere(), hours(-1), hours(1)))).await;
    assert!(put.starts_with("403") && put.contains("exemption-forbidden"), "{put}");
    for bad in [
        json!({"threshold": 0}),
        json!({"threshold": 3}),
        json!({"approvers": ["x"]}),
        json!({"longest": "x"}),
        json!({"never": [""]}),
    ] {
        let site = &exempting.scene.site;
        let mut exemptions = json!({"approvers": [exempting.ann.public().to_pem()], "threshold": 1});
        exemptions.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let body = json!({"default_signers": [exempting.scene.build.public_pem()], "exemptions": exemptions});
        let put = site.send(&site.admin, Method::PUT, "/api/v1/organization", &body).await;
        assert!(put.starts_with("422") && put.contains("exemption-settings-invalid"), "{bad}: {put}");
    }
}

#[tokio::test]
async fn what_is_never_exempted_is_known_by_its_name_and_a_name_that_protects_nothing_is_told() {
    let exempting = exempting().await;
    exempting.gated("").await;
    exempting.applied("note", everywhere()).await;
    exempting.scene.release(exempting.image, false).await;
    let rule = "policy-no-malware-note";
    let exempted = |name: &str| exempting.approved(&document(name, rule, everywhere(), hours(-1), hours(1)));
    assert!(exempting.put("policy", &exempted("policy")).await.starts_with("201"));
    assert_eq!(exempting.verdict().await, "allow");
    for never in ["no-malware", "policy-no-malware", rule] {
        exempting.settings(json!({"never": [never]})).await;
        assert_eq!(exempting.verdict().await, "run-rejected policy-skipped", "{never}");
        assert_eq!(exempting.state("policy").await, ExemptionState::Void, "{never}");
        let put = exempting.put("again", &exempted("again")).await;
        assert!(put.starts_with("403") && put.contains("exemption-forbidden"), "{never}: {put}");
    }
    // Another rule of the same policy, as it is attached twice.
    exempting.gated(", {ref: \"file://no-malware.yaml\", gate: true}").await;
    exempting.settings(json!({})).await;
    let second = format!("{rule}-2");
    let put = exempting.approved(&document("second", &second, everywhere(), hours(-1), hours(1)));
    assert!(exempting.put("second", &put).await.starts_with("201"));
    assert_eq!(exempting.verdict().await, "allow");
    for never in [rule, "no-malware"] {
        exempting.settings(json!({"never": [never]})).await;
        assert_eq!(exempting.verdict().await, "run-rejected policy-skipped", "{never}");
    }
    let site = &exempting.scene.site;
    let body = json!({
        "default_signers": [exempting.scene.build.public_pem()],
        "exemptions": {"never": ["no-malwear", "no-malware", "material-note", "evidence-too-old", "max-age"]},
    });
    let put = site.send(&site.admin, Method::PUT, "/api/v1/organization", &body).await;
    let warnings: Value = serde_json::from_str(put.split_once('\n').unwrap().1).unwrap();
    assert_snapshot!(serde_json::to_string_pretty(&warnings["warnings"]).unwrap(), @r#"
    [
      "`max-age` under `exemptions.never` is neither the code of a finding nor a rule or policy of a contract that is applied here, so it protects nothing now",
      "`no-malwear` under `exemptions.never` is neither the code of a finding nor a rule or policy of a contract that is applied here, so it protects nothing now; did you mean `no-malware`?"
    ]
    "#);
}

#[tokio::test]
async fn trust_is_never_exempted() {
    let exempting = exempting().await;
    for (number, rule) in ["signers", "output-image", "material-image"].iter().enumerate() {
        let name = format!("trust-{number}");
        let put =
            exempting.put(&name, &exempting.approved(&document(&name, rule, everywhere(), hours(-1), hours(1)))).await;
        assert!(put.starts_with("201"), "{put}");
    }
    // Nothing that speaks of the image; then a signer who may not.
    assert_eq!(exempting.scene.verdict(Digest::of(b"another image")).await, "no-evidence");
    exempting.applied("note", everywhere()).await;
    assert_eq!(exempting.verdict().await, "allow");
    let mut settings = json!({"exemptions": {"approvers": [exempting.ann.public().to_pem(), exempting.bob.public().to_pem()], "threshold": 2, "longest": "7d"}});
    settings["default_signers"] = json!([SigningKey::generate_p256().unwrap().public().to_pem()]);
    let site = &exempting.scene.site;
    assert!(site.send(&site.admin, Method::PUT, "/api/v1/organization", &settings).await.starts_with("200"));
    let denied = exempting.verdict().await;
    assert!(denied.contains("signer-not-allowed"), "{denied}");
}
