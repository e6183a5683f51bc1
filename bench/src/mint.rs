//! Attestations for the benchmark: real statements with real signatures, each about another image of another run.

use std::collections::BTreeMap;

use bytes::Bytes;
use contracts::{Digest, keys::SigningKey, statement::Statement};
use serde_json::json;

use crate::site::REGISTRY;

/// The organization that a fresh gateway has.
pub const ORGANIZATION: &str = "default";

/// One signed attestation.
pub struct Minted {
    /// The image it speaks of.
    pub image: Digest,
    /// The statement's JSON.
    pub statement: Vec<u8>,
    /// The bundle's bytes.
    pub bundle: Bytes,
}

/// Mints `count` attestations of the workflow `bench/<name>`; the first is about `first`.
pub fn attestations(key: &SigningKey, name: &str, first: Digest, count: usize) -> anyhow::Result<Vec<Minted>> {
    (0..count)
        .map(|n| {
            let image = if n == 0 { first } else { Digest::of(format!("{name} {n}").as_bytes()) };
            let statement = statement(name, n, image)?;
            let bundle = key.sign(&statement)?;
            Ok(Minted { image, statement: statement.to_json_bytes(), bundle: bundle.bytes().to_vec().into() })
        })
        .collect()
}

/// About 5 KB, as a real one has: an image, a version, a commit, and annotations.
fn statement(name: &str, n: usize, image: Digest) -> anyhow::Result<Statement> {
    let version = format!("1.0.{n}");
    let image_annotations = json!({
        "chainloop.material.name": "image", "chainloop.material.type": "CONTAINER_IMAGE",
        "chainloop.material.image.tag": version,
    });
    let repository = format!("{REGISTRY}/{name}/app");
    let subjects = json!([
        { "name": format!("chainloop.workflow.{name}"), "digest": { "sha256": Digest::of(version.as_bytes()).hex() } },
        { "name": repository, "digest": { "sha256": image.hex() }, "annotations": image_annotations },
    ]);
    let annotations: BTreeMap<_, _> =
        (0..40).map(|i| (format!("note_{i}"), "a value as pipelines attach them, with a link or two")).collect();
    let predicate = json!({
        "metadata": {
            "name": name, "project": "bench", "team": "bench", "organization": ORGANIZATION,
            "workflowRunID": format!("{name}-{n}"), "contractName": name, "contractVersion": "1",
            "initializedAt": "2026-11-24T10:00:00Z", "finishedAt": "2026-11-24T10:01:00Z",
        },
        "builder": { "id": "bench" },
        "buildType": "chainloop.dev/workflowrun/v0.1",
        "runnerType": "RUNNER_TYPE_UNSPECIFIED",
        "annotations": annotations,
        "materials": [
            { "name": repository, "digest": { "sha256": image.hex() }, "annotations": image_annotations },
            {
                "digest": { "sha256": Digest::of(version.as_bytes()).hex() },
                "content": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &version),
                "annotations": { "chainloop.material.name": "version", "chainloop.material.type": "STRING" },
            },
        ],
    });
    let whole = json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": subjects,
        "predicateType": "chainloop.dev/attestation/v0.2", "predicate": predicate,
    });
    Ok(Statement::parse(whole.to_string().as_bytes())?)
}
