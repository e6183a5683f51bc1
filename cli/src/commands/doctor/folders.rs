//! Folders of `hosts.toml` files: one folder for each registry, and `_default` for those that have none.

use super::{
    address::{Address, Gateway},
    answer::{Answer, IN_THE_NETWORK, Judgement},
    hosts,
    tree::Tree,
};

/// Why `_default` is not written without being asked for by hand.
pub const CAUTION: &str = "every registry that has no folder of its own is then asked through the gateway, and what the gateway \
                           has no upstream for cannot be pulled";

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

/// Whether a registry's name leads to the gateway however it is written: by `_default`, and by whatever is there for
/// another spelling.
pub fn spellings_closed(tree: &Tree, folders: &[String], registry: &str, gateway: &Gateway) -> anyhow::Result<bool> {
    let address = Address::parse(registry);
    // No registry can have the first name.
    let mut names = vec!["sluice-doctor.invalid".to_owned()];
    for folder in folders {
        names.extend(named(tree, folder)?.into_iter().filter(|name| Address::parse(name) == address));
    }
    for name in names {
        if judge(tree, folders, &name, gateway)?.answer != Answer::Final {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What closes the other spellings.
pub fn mend_spellings() -> String {
    format!("name the gateway in `_default/hosts.toml` as well; or {IN_THE_NETWORK}")
}

/// Whether this is the file for all that has none of its own.
pub fn is_default(path: &str) -> bool {
    path.ends_with("/_default/hosts.toml")
}

/// Lays over the tree a `_default/hosts.toml` that names the gateway alone; a new one with what the registry's says of it.
pub fn correct_default(tree: &mut Tree, folder: &str, registry: &str, gateway: &Gateway) -> anyhow::Result<()> {
    let file = format!("{}/_default/hosts.toml", folder.trim_end_matches('/'));
    let mut text = tree.read(&file)?;
    for path in candidates(folder, registry) {
        if text.is_none() {
            text = tree.read(&format!("{path}/hosts.toml"))?;
        }
    }
    let corrected = hosts::correct(text.as_deref(), gateway);
    tree.lay(&file, corrected);
    Ok(())
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
