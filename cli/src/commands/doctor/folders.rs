//! Folders of `hosts.toml` files: one folder for each registry, and `_default` for those that have none.

use super::{
    address::Gateway,
    answer::{Answer, Judgement},
    hosts,
    tree::Tree,
};

/// The registries that have a folder in a folder of `hosts.toml` files.
pub fn named(tree: &Tree, folder: &str) -> anyhow::Result<Vec<String>> {
    let names = tree.list(folder)?;
    Ok(names
        .into_iter()
        .filter(|name| name != "_default")
        .filter_map(|name| {
            if let Some((host, port)) = name.strip_suffix('_').and_then(|rest| rest.rsplit_once('_')) {
                return Some(format!("{host}:{port}"));
            }
            (name.contains(['.', ':']) || name == "localhost").then_some(name)
        })
        .collect())
}

/// Judges what lies in these folders for a registry, as containerd looks through them.
pub fn judge(tree: &Tree, folders: &[String], registry: &str, gateway: &Gateway) -> anyhow::Result<Judgement> {
    for folder in folders {
        // The first folder that is there counts, whatever is in it.
        for path in candidates(folder, registry) {
            if !tree.exists(&path)? {
                continue;
            }
            let file = format!("{path}/hosts.toml");
            return Ok(match tree.read(&file)? {
                Some(text) => hosts::judge(&file, &text, registry, gateway),
                None => {
                    let why = format!(
                        "the folder is there without a `hosts.toml`, so containerd asks {registry} itself and looks \
                         nowhere else"
                    );
                    Judgement::open(Answer::Unused, &file, None, why, "put a `hosts.toml` there that names the gateway")
                }
            });
        }
    }
    let folder = folders.first().map_or("", String::as_str);
    let file = format!("{folder}/{}/hosts.toml", directory(registry));
    let why = format!("nothing names {registry}, so containerd asks it itself");
    Ok(Judgement::open(Answer::Unused, &file, None, why, "put a `hosts.toml` there that names the gateway"))
}

/// Whether `_default` leads to the gateway all that is not named.
pub fn default_closed(tree: &Tree, folders: &[String], gateway: &Gateway) -> anyhow::Result<bool> {
    // No registry can have this name.
    Ok(judge(tree, folders, "sluice-doctor.invalid", gateway)?.answer == Answer::Final)
}

/// Lays over the tree a `hosts.toml` of the registry that names the gateway alone.
pub fn correct(tree: &mut Tree, folder: &str, registry: &str, gateway: &Gateway) -> anyhow::Result<()> {
    let mut path = format!("{folder}/{}", directory(registry));
    for candidate in candidates(folder, registry) {
        if !candidate.ends_with("/_default") && tree.exists(&candidate)? {
            path = candidate;
            break;
        }
    }
    let file = format!("{path}/hosts.toml");
    let text = tree.read(&file)?;
    let corrected = hosts::correct(text.as_deref(), gateway);
    tree.lay(&file, corrected);
    Ok(())
}

/// What containerd looks for in a folder, in this order.
pub fn candidates(folder: &str, registry: &str) -> Vec<String> {
    let mut names = vec![directory(registry), registry.to_owned(), "_default".to_owned()];
    names.dedup();
    names.into_iter().map(|name| format!("{}/{name}", folder.trim_end_matches('/'))).collect()
}

/// A port is written between underscores.
fn directory(registry: &str) -> String {
    match registry.rsplit_once(':') {
        Some((host, port)) => format!("{host}_{port}_"),
        None => registry.to_owned(),
    }
}
