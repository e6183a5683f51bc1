//! The pull or merge request that is built, from what the runner tells: a material of type `CHAINLOOP_PR_INFO`.
//!
//! Nothing is asked of the platform; who reviewed after the pipeline began is not in it.

use contracts::{Runner, runners::Surroundings};
use serde_json::{Value, json};

/// The schema that the document is written by.
const SCHEMA: &str = "https://schemas.chainloop.dev/prinfo/1.3/pr-info.schema.json";

/// A pull or merge request.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// Its number.
    pub number: String,
    /// The material.
    pub document: Value,
}

/// What the runner tells of the change that is built; `None` when it builds something else. `read` reads the file with
/// the event.
///
/// # Errors
/// When the runner says that there is one, and what it tells of it cannot be read.
pub fn find(
    runner: Runner,
    around: Surroundings<'_>,
    read: &dyn Fn(&str) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<Option<Change>> {
    let github = matches!(around.set("GITHUB_EVENT_NAME").as_deref(), Some("pull_request" | "pull_request_target"));
    let gitlab = around.set("CI_PIPELINE_SOURCE").as_deref() == Some("merge_request_event");
    match runner {
        Runner::GithubAction | Runner::DaggerPipeline if github => pull_request(around, read).map(Some),
        Runner::GitlabPipeline | Runner::DaggerPipeline if gitlab => Ok(merge_request(around)),
        _ => Ok(None),
    }
}

fn pull_request(around: Surroundings<'_>, read: &dyn Fn(&str) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Change> {
    let path = around.set("GITHUB_EVENT_PATH").ok_or_else(|| anyhow::anyhow!("`GITHUB_EVENT_PATH` is not set"))?;
    let event: Value = serde_json::from_slice(&read(&path)?)?;
    let told = |name: &str| event.pointer(&format!("/pull_request/{name}"));
    let number = told("number").and_then(Value::as_u64);
    let number = number.ok_or_else(|| anyhow::anyhow!("`{path}` has no `pull_request.number`"))?.to_string();
    let text = |name: &str| told(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let reviewers: Vec<Value> = told("requested_reviewers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|user| {
            let (login, kind) = account(Some(user));
            json!({"login": login, "type": kind, "requested": true})
        })
        .collect();
    let (login, kind) = account(told("user"));
    let mut data = json!({
        "platform": "github",
        "type": "pull_request",
        "number": number,
        "title": text("title"),
        "description": text("body"),
        "source_branch": around.set("GITHUB_HEAD_REF").unwrap_or_default(),
        "target_branch": around.set("GITHUB_BASE_REF").unwrap_or_default(),
        "url": text("html_url"),
        "author": {"login": login, "type": kind},
    });
    if let (Some(data), false) = (data.as_object_mut(), reviewers.is_empty()) {
        data.insert("reviewers".to_owned(), reviewers.into());
    }
    Ok(Change { number, document: document(data) })
}

/// Who it is, and what kind of account that is.
fn account(user: Option<&Value>) -> (&str, &str) {
    let text = |name: &str| user.and_then(|user| user.get(name)).and_then(Value::as_str);
    let kind = text("type").filter(|kind| ["User", "Bot"].contains(kind));
    (text("login").unwrap_or_default(), kind.unwrap_or("unknown"))
}

fn merge_request(around: Surroundings<'_>) -> Option<Change> {
    let told = |name: &str| around.set(&format!("CI_MERGE_REQUEST_{name}")).unwrap_or_default();
    let number = around.set("CI_MERGE_REQUEST_IID")?;
    let mut data = json!({
        "platform": "gitlab",
        "type": "merge_request",
        "number": number,
        "title": told("TITLE"),
        "description": told("DESCRIPTION"),
        "source_branch": told("SOURCE_BRANCH_NAME"),
        "target_branch": told("TARGET_BRANCH_NAME"),
        "url": format!("{}/-/merge_requests/{number}", told("PROJECT_URL")),
    });
    // Who started the pipeline; of a merge request that is nearly always its author.
    if let (Some(data), Some(login)) = (data.as_object_mut(), around.set("GITLAB_USER_LOGIN")) {
        data.insert("author".to_owned(), json!({"login": login, "type": "unknown"}));
    }
    Some(Change { number, document: document(data) })
}

fn document(data: Value) -> Value {
    json!({"chainloop.material.evidence.id": "CHAINLOOP_PR_INFO", "schema": SCHEMA, "data": data})
}

#[cfg(test)]
mod tests {
    use contracts::{MaterialType, materials};

    use super::*;

    fn found(runner: Runner, set: &[(&str, &str)], event: &'static [u8]) -> Option<Change> {
        let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let around = Surroundings { variable: &variable, exists: &|_| false };
        find(runner, around, &|_| Ok(event.to_vec())).unwrap()
    }

    #[test]
    fn what_is_collected_is_what_its_type_says() {
        let event = br#"{"pull_request":{"number":7,"title":"t","body":null,"html_url":"https://github.com/a/b/pull/7",
            "user":{"login":"jo","type":"User"},"requested_reviewers":[{"login":"max","type":"Mannequin"}]}}"#;
        let set = [("GITHUB_EVENT_NAME", "pull_request"), ("GITHUB_EVENT_PATH", "e"), ("GITHUB_HEAD_REF", "topic")];
        let github = found(Runner::GithubAction, &set, event).unwrap();
        assert_eq!(github.number, "7");
        assert_eq!(github.document["data"]["author"], json!({"login": "jo", "type": "User"}));
        assert_eq!(github.document["data"]["reviewers"][0]["type"], "unknown");

        let set = [
            ("CI_PIPELINE_SOURCE", "merge_request_event"),
            ("CI_MERGE_REQUEST_IID", "3"),
            ("CI_MERGE_REQUEST_PROJECT_URL", "https://gitlab.com/a/b"),
            ("GITLAB_USER_LOGIN", "jo"),
        ];
        let gitlab = found(Runner::GitlabPipeline, &set, b"").unwrap();
        assert_eq!(gitlab.document["data"]["url"], "https://gitlab.com/a/b/-/merge_requests/3");
        for change in [github, gitlab] {
            materials::validate(MaterialType::ChainloopPrInfo, change.document.to_string().as_bytes()).unwrap();
        }
        assert_eq!(found(Runner::GithubAction, &[("GITHUB_EVENT_NAME", "push")], b""), None);
        assert_eq!(found(Runner::JenkinsJob, &set, b""), None);
    }
}
