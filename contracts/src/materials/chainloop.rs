//! The documents that Chainloop's tools collect about a run: where it ran, for which change, and with which AI agents.

use serde_json::Value;

use super::{
    Annotations, MaterialError,
    documents::document,
    reading::{Reading, note},
    shape::{
        Shape::{self, Any, Either, Filled, Flag, List, Map, Object, OneOf, Text, Whole},
        may, must,
    },
};

/// The settings of a repository: its branches, tags and the rules on them.
pub(super) fn runner_context(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    const RULE: Shape = Object(&[
        must("name", Text),
        must("enabled", Text),
        may("context", List(&Object(&[must("name", Text), must("value", Text), must("enabled", Text)]))),
        may("bypass_configuration", List(&Object(&[]))),
    ]);
    const NAMED: Shape = Object(&[must("name", Text), may("active_rules", List(&RULE)), may("users", List(&Any))]);
    static CONTEXT: Shape = Object(&[
        must(
            "meta",
            Object(&[
                must("id", Filled),
                may("generated_at", Text),
                may("errors", List(&Object(&[must("code", Text), must("message", Text)]))),
            ]),
        ),
        must(
            "data",
            Object(&[
                may("tool", Text),
                may("provider", Text),
                may(
                    "repos",
                    List(&Object(&[
                        may("owner", Text),
                        may("repository", Text),
                        may("branches", List(&NAMED)),
                        may("tags", List(&NAMED)),
                    ])),
                ),
            ]),
        ),
    ]);
    document(bytes, &CONTEXT, |_| Annotations::new())
}

/// A pull or merge request.
pub(super) fn pull_request(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    const ACCOUNT: Shape = OneOf(&["User", "Bot", "unknown"]);
    static INFO: Shape = Object(&[must(
        "data",
        Object(&[
            must("platform", OneOf(&["github", "gitlab"])),
            must("type", OneOf(&["pull_request", "merge_request"])),
            must("number", Text),
            must("url", Filled),
            may("title", Text),
            may("description", Text),
            may("source_branch", Text),
            may("target_branch", Text),
            may(
                "author",
                Either(
                    "a name, or an object with `login` and `type`",
                    &[Text, Object(&[must("login", Text), must("type", ACCOUNT)])],
                ),
            ),
            may(
                "reviewers",
                List(&Object(&[
                    must("login", Text),
                    must("type", ACCOUNT),
                    must("requested", Flag),
                    may(
                        "review_status",
                        OneOf(&["APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING"]),
                    ),
                ])),
            ),
        ]),
    )]);
    document(bytes, &INFO, |_| Annotations::new())
}

/// The configuration of an AI agent in a repository.
pub(super) fn agent_config(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static CONFIG: Shape = Object(&[must(
        "data",
        Object(&[
            must("agent", Object(&[must("name", Text), may("version", Text)])),
            must("config_hash", Text),
            must(
                "config_files",
                List(&Object(&[
                    must("path", Text),
                    must("kind", OneOf(&["configuration", "instruction", "skill", "agent"])),
                    must("sha256", Text),
                    must("size", Whole(0)),
                    must("content", Text),
                ])),
            ),
            may("git_context", Map(&Any)),
            may(
                "mcp_servers",
                List(&Object(&[
                    must("name", Text),
                    may("command", Text),
                    may("args", List(&Text)),
                    may("url", Text),
                    may("env_keys", List(&Text)),
                    may("disabled", Flag),
                ])),
            ),
        ]),
    )]);
    document(bytes, &CONFIG, agent)
}

/// What an AI agent did in a repository.
pub(super) fn coding_session(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static SESSION: Shape = Object(&[must(
        "data",
        Object(&[
            must("schema_version", Filled),
            must("agent", Object(&[must("name", Filled), may("version", Text)])),
            must(
                "session",
                Object(&[must("id", Filled), must("started_at", Filled), must("duration_seconds", Whole(0))]),
            ),
            may("git_context", Map(&Any)),
            may("code_changes", Object(&[may("files", List(&Object(&[must("path", Text), must("status", Text)])))])),
            may("model", Object(&[may("primary", Text), may("provider", Text), may("models_used", List(&Text))])),
            may("usage", Map(&Any)),
            may("tools_used", Map(&Any)),
            may("conversation", Map(&Any)),
            may("subagents", List(&Object(&[]))),
            may("warnings", List(&Text)),
        ]),
    )]);
    document(bytes, &SESSION, agent)
}

fn agent(document: &Value) -> Annotations {
    let mut annotations = Annotations::new();
    let at = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    note(&mut annotations, "chainloop.material.aiagent.name", at("/data/agent/name"));
    note(&mut annotations, "chainloop.material.aiagent.model", at("/data/model/primary"));
    annotations
}
