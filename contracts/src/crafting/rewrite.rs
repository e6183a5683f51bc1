//! Taking out what a build claims of itself.

use serde_json::Value;

use crate::statement::Statement;

/// Claims that are not evidence: that policies passed, who was authenticated, and how the runner was.
const CLAIMS: [&str; 6] =
    ["auth", "runnerAuthenticated", "runnerEnvironment", "runnerWorkflowFilePath", "signingCA", "signingTSA"];

/// Claims about a commit that only the platform that holds it can make.
const COMMIT_CLAIMS: [&str; 1] = ["author.verification_status"];

/// The statement as rules read it. From crafted predicates, of whatever version, the policy evaluations
/// (`policy…`), authentication and runner-authentication claims are gone, and from subjects the claim that a
/// platform verified a commit; the gateway puts its own findings there. All else is as it was signed.
#[must_use]
pub fn rewrite(statement: &Statement) -> Statement {
    if !statement.predicate_type.starts_with("chainloop.dev/attestation/") {
        return statement.clone();
    }
    let mut rewritten = statement.clone();
    for predicate in [Some(&mut rewritten.predicate), rewritten.raw.get_mut("predicate")].into_iter().flatten() {
        remove(predicate, |key| key.starts_with("policy") || CLAIMS.contains(&key));
    }
    let listed = rewritten.raw.get_mut("subject").and_then(Value::as_array_mut).into_iter().flatten();
    let listed = listed.filter_map(|subject| subject.get_mut("annotations"));
    for annotations in rewritten.subjects.iter_mut().map(|subject| &mut subject.annotations).chain(listed) {
        remove(annotations, |key| COMMIT_CLAIMS.contains(&key));
    }
    rewritten
}

fn remove(object: &mut Value, claims: impl Fn(&str) -> bool) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|key, _| !claims(key));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crafting::PREDICATE_TYPE;

    #[test]
    fn claims_go_and_all_else_stays() {
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "git.head", "digest": {"sha1": "78ac366c9e8a300d51808d581422ca61f7b5b721"},
                "annotations": {"author.verification_status": "VERIFIED", "signature": "s"}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "runnerType": "GITHUB_ACTION", "runnerAuthenticated": true, "runnerEnvironment": "hosted",
                "auth": {"type": "FEDERATED"}, "policyHasViolations": false, "policyEvaluations": {},
                "policy_evaluations": {}, "policyAttBlocked": false, "policyAddedLater": 1, "materials": [],
            },
        });
        let statement = Statement::parse(payload.to_string().as_bytes()).unwrap();
        let rewritten = rewrite(&statement);
        assert_eq!(Statement::parse(&rewritten.to_json_bytes()).unwrap(), rewritten);
        assert_eq!(rewritten.predicate, json!({"runnerType": "GITHUB_ACTION", "materials": []}));
        assert_eq!(rewritten.raw["predicate"], rewritten.predicate);
        assert_eq!(rewritten.raw["subject"][0]["annotations"], json!({"signature": "s"}));
        assert_eq!(rewritten.subjects[0].annotations, json!({"signature": "s"}));
    }
}
