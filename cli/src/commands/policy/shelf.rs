//! `sluice policy list` and `sluice policy show`: the policies that are shipped.

use anyhow::{Context, bail};
use policies::{
    authoring::PolicyFiles,
    library::{self, Shipped},
};
use serde_json::json;

use crate::{
    exit::Exit,
    report::{Report, table},
};

/// What a name begins with where contracts refer to a shipped policy.
pub const SCHEME: &str = "sluice://";

/// Lists them.
pub fn list() -> anyhow::Result<Report> {
    let mut rows = Vec::new();
    let mut data = Vec::new();
    for shipped in library::ALL {
        let policy = files(shipped)?;
        let document = policy.document();
        let annotation = |name: &str| document.annotations.get(name).cloned().unwrap_or_default();
        let kinds: Vec<String> = policy.kinds().iter().map(ToString::to_string).collect();
        let description = document.description.clone().unwrap_or_default();
        rows.push([document.name.clone(), annotation("version"), kinds.join("\n"), description.clone()]);
        let inputs = document.inputs.iter().map(|input| {
            json!({
                "name": input.name, "description": input.description,
                "required": input.required, "default": input.default,
            })
        });
        data.push(json!({
            "name": document.name, "version": annotation("version"), "category": annotation("category"),
            "kinds": kinds, "description": description, "inputs": inputs.collect::<Vec<_>>(),
        }));
    }
    Report::new(Exit::Yes, &data, table::table(["policy", "version", "reads", "what it asks for"], rows))
}

/// Prints one.
pub fn show(name: &str) -> anyhow::Result<Report> {
    let Some(shipped) = find(name) else {
        bail!(unknown(name));
    };
    let policy = files(shipped)?;
    let version = policy.document().annotations.get("version");
    let data = json!({"name": shipped.name, "version": version, "document": shipped.text});
    Report::new(Exit::Yes, &data, shipped.text)
}

/// The shipped policy of this name, which may be written as contracts do.
pub fn find(name: &str) -> Option<&'static Shipped> {
    library::find(name.strip_prefix(SCHEME).unwrap_or(name))
}

/// What is said of a name that no shipped policy has.
pub fn unknown(name: &str) -> String {
    let name = name.strip_prefix(SCHEME).unwrap_or(name);
    format!("no policy named `{name}` is shipped{}", library::meant(name))
}

/// Whether a text can only be the name of a shipped policy, and no file's.
pub fn is_name(text: &str) -> bool {
    text.starts_with(SCHEME) || !text.contains(['.', '/', '\\'])
}

/// A shipped policy, read.
pub fn files(shipped: &Shipped) -> anyhow::Result<PolicyFiles> {
    let path = format!("{}.yaml", shipped.name);
    let mut load = |name: &str| match name == path {
        true => Ok(shipped.text.as_bytes().to_vec()),
        false => Err("shipped policies are one file".to_owned()),
    };
    PolicyFiles::collect(&path, &mut load).with_context(|| format!("the shipped policy `{}`", shipped.name))
}
