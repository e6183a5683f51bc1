//! containerd's own configuration: where its `hosts.toml` files lie, and the older way of naming mirrors.

use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::{
    address::Gateway,
    answer::{Answer, Judgement},
    folders,
    toml::{Toml, find},
    tree::Tree,
};

/// Where the configuration of each distribution lies: who runs it, its file, its folder of registries by custom.
pub const PLACES: [(&str, &str, &str); 6] = [
    ("containerd", "/etc/containerd/config.toml", "/etc/containerd/certs.d"),
    (
        "containerd (k3s)",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
    ),
    (
        "containerd (rke2)",
        "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        "/var/lib/rancher/rke2/agent/etc/containerd/certs.d",
    ),
    ("containerd (k0s)", "/etc/k0s/containerd.toml", "/etc/k0s/certs.d"),
    (
        "containerd (microk8s)",
        "/var/snap/microk8s/current/args/containerd.toml",
        "/var/snap/microk8s/current/args/certs.d",
    ),
    ("containerd (Talos)", "/etc/cri/containerd.toml", "/etc/cri/conf.d/hosts"),
];
const CRI: &str = "io.containerd.grpc.v1.cri";
const IMAGES: &str = "io.containerd.cri.v1.images";

/// One containerd of a machine.
#[derive(Debug)]
pub struct Containerd {
    file: String,
    folder: String,
}

/// What its configuration says of registries.
enum Registries {
    /// Folders of `hosts.toml`, in the order they are looked through, and who says so.
    Folders { folders: Vec<String>, file: String, line: Option<usize> },
    /// A judgement that holds for every registry. `{registry}` stands for its name.
    Decided(Judgement),
    /// The kubelet cannot pull with it.
    NotForKubernetes,
}

/// What is found of one, and who runs it.
pub fn installed(tree: &Tree) -> anyhow::Result<Vec<(&'static str, Containerd)>> {
    let mut found = Vec::new();
    for (name, file, folder) in PLACES {
        let program = name == "containerd"
            && (tree.exists("/usr/bin/containerd")? || tree.exists("/usr/local/bin/containerd")?);
        if program || tree.exists(file)? || tree.exists(folder)? {
            found.push((name, Containerd { file: file.to_owned(), folder: folder.to_owned() }));
        }
    }
    Ok(found)
}

impl Containerd {
    /// The registries that its files name.
    pub fn registries(&self, tree: &Tree) -> anyhow::Result<Vec<String>> {
        let folders = match self.read(tree)? {
            Registries::Folders { folders, .. } => folders,
            _ => vec![self.folder.clone()],
        };
        let mut names = mirrors(tree.read(&self.file)?.as_deref());
        for folder in folders {
            names.extend(folders::named(tree, &folder)?);
        }
        Ok(names)
    }

    /// What it does with a registry; nothing when Kubernetes cannot pull with it.
    pub fn judge(&self, tree: &Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<Option<Judgement>> {
        Ok(match self.read(tree)? {
            Registries::NotForKubernetes => None,
            Registries::Decided(mut judgement) => {
                judgement.reason = judgement.reason.replace("{registry}", registry);
                Some(judgement)
            }
            Registries::Folders { folders, file, line } => {
                let judgement = folders::judge(tree, &folders, registry, gateway)?;
                Some(match (judgement.answer, folders.len()) {
                    (Answer::Final, 1) if !folders::spellings_closed(tree, &folders, registry, gateway)? => {
                        judgement.only_as_written(folders::mend_spellings())
                    }
                    (Answer::Final, 2..) => several(&file, line, registry),
                    _ => judgement,
                })
            }
        })
    }

    /// The folder of `hosts.toml` files that counts for a registry, or all of them when none names it.
    pub fn folders(&self, tree: &Tree, registry: &str) -> anyhow::Result<Vec<String>> {
        let Registries::Folders { folders, .. } = self.read(tree)? else { return Ok(Vec::new()) };
        for folder in &folders {
            for path in folders::candidates(folder, registry) {
                if tree.exists(&path)? {
                    return Ok(vec![folder.clone()]);
                }
            }
        }
        Ok(folders)
    }

    /// Lays over the tree what makes denials final.
    pub fn correct(&self, tree: &mut Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<()> {
        let folder = match self.read(tree)? {
            Registries::NotForKubernetes => return Ok(()),
            Registries::Folders { folders, file, .. } => {
                let folder = folders.first().cloned().unwrap_or_else(|| self.folder.clone());
                if folders.len() > 1 && !self.set_config_path(tree, &file, &folder)? {
                    return Ok(());
                }
                folder
            }
            Registries::Decided(_) => {
                let file = match tree.read(&self.file)? {
                    None => self.file.clone(),
                    Some(text) => match self.speaking(tree, &text)? {
                        Ok((file, _)) => file,
                        Err(_) => return Ok(()),
                    },
                };
                if !self.set_config_path(tree, &file, &self.folder)? {
                    return Ok(());
                }
                match self.read(tree)? {
                    Registries::Folders { folders, .. } => {
                        folders.first().cloned().unwrap_or_else(|| self.folder.clone())
                    }
                    _ => return Ok(()),
                }
            }
        };
        folders::correct(tree, &folder, registry, gateway)?;
        match folders::spellings_closed(tree, std::slice::from_ref(&folder), registry, gateway)? {
            true => Ok(()),
            false => folders::correct_default(tree, &folder, registry, gateway),
        }
    }

    /// Whether that could be done.
    fn set_config_path(&self, tree: &mut Tree, file: &str, folder: &str) -> anyhow::Result<bool> {
        let text = with_config_path(tree.read(file)?.as_deref(), folder);
        let set = text.is_some();
        if let Some(text) = text {
            tree.lay(file, text);
        }
        Ok(set)
    }

    fn read(&self, tree: &Tree) -> anyhow::Result<Registries> {
        let Some(text) = tree.read(&self.file)? else {
            let why = "there is no configuration of containerd, so nothing tells it where the gateway's files lie, and it \
                       asks {registry} itself";
            let judgement = Judgement::open(Answer::Unused, &self.file, None, why, set_config_path(&self.folder));
            return Ok(Registries::Decided(judgement));
        };
        Ok(match self.speaking(tree, &text)? {
            Ok((file, toml)) => Self { file, folder: self.folder.clone() }.section(&toml),
            Err(judgement) => Registries::Decided(*judgement),
        })
    }

    /// The one file that speaks of registries' plugin: the configuration, or what it imports. Versions merge several in
    /// different ways.
    fn speaking(&self, tree: &Tree, text: &str) -> anyhow::Result<Result<(String, Toml), Box<Judgement>>> {
        let refuse = |judgement| Ok(Err(Box::new(judgement)));
        let toml = match parse(&self.file, text) {
            Ok(toml) => toml,
            Err(judgement) => return refuse(judgement),
        };
        let imports = match toml.root().get("imports") {
            None => Vec::new(),
            Some(item) => match super::toml::texts(item) {
                Some(list) => list,
                None => return refuse(unknown(&self.file, toml.line(item), "`imports` is not a list of texts")),
            },
        };
        let mut chosen = (speaks(&toml), self.file.clone(), toml);
        for pattern in imports {
            for path in matching(tree, &self.file, &pattern)? {
                let Some(text) = tree.read(&path)? else { continue };
                let other = match parse(&path, &text) {
                    Ok(toml) => toml,
                    Err(judgement) => return refuse(judgement),
                };
                if other.root().contains_key("imports") {
                    return refuse(unknown(&path, None, "an imported file imports others"));
                }
                if !speaks(&other) {
                    continue;
                }
                if chosen.0 {
                    let why = format!(
                        "`{}` speaks of the same part; versions of containerd merge them differently",
                        chosen.1
                    );
                    return refuse(unknown(&path, None, &why));
                }
                chosen = (true, path, other);
            }
        }
        Ok(Ok((chosen.1, chosen.2)))
    }

    fn section(&self, toml: &Toml) -> Registries {
        let root = toml.root();
        let disabled = root.get("disabled_plugins").and_then(super::toml::texts).unwrap_or_default();
        if disabled.iter().any(|plugin| ["cri", CRI, IMAGES].contains(&plugin.as_str())) {
            return Registries::NotForKubernetes;
        }
        let version = match root.get("version") {
            None => 1,
            Some(item) => item.as_integer().unwrap_or(0),
        };
        let (plugin, other) = match version {
            1 => ("cri", CRI),
            2 => (CRI, IMAGES),
            3 => (IMAGES, CRI),
            _ => {
                let line = root.get("version").and_then(|item| toml.line(item));
                return Registries::Decided(unknown(&self.file, line, "its `version` is not one that is known here"));
            }
        };
        let tables = [Some(root as &dyn TableLike), find(root, &["plugins", plugin]).and_then(Item::as_table_like)];
        if let Some((key, line)) = tables.into_iter().flatten().find_map(|table| capitals(toml, table)) {
            let why = format!("`{key}` is written in capitals, and versions differ in whether it counts");
            return Registries::Decided(unknown(&self.file, line, &why));
        }
        let Some(registry) = find(root, &["plugins", plugin, "registry"]) else {
            let misplaced = find(root, &["plugins", other, "registry"]);
            let why = match misplaced {
                Some(_) => format!(
                    "its `version` is {version}, where registries belong under `[plugins.\"{plugin}\".registry]`; under \
                     `{other}` they are not read, and containerd asks {{registry}} itself"
                ),
                None => "`config_path` is not set, so no `hosts.toml` is read, and containerd asks {registry} itself"
                    .to_owned(),
            };
            let line = misplaced.and_then(|item| toml.line(item));
            return Registries::Decided(Judgement::open(
                Answer::Unused,
                &self.file,
                line,
                why,
                set_config_path(&self.folder),
            ));
        };
        match registry.as_table_like() {
            Some(table) => self.registry(toml, table),
            None => Registries::Decided(unknown(&self.file, toml.line(registry), "`registry` is not a table")),
        }
    }

    fn registry(&self, toml: &Toml, registry: &dyn TableLike) -> Registries {
        let filled =
            |key: &str| registry.get(key).filter(|item| item.as_table_like().is_none_or(|table| !table.is_empty()));
        let path = registry.get("config_path").map(|item| (toml.line(item), item.as_str()));
        let decided = |judgement| Registries::Decided(judgement);
        if let Some((line, None)) = path {
            return decided(unknown(&self.file, line, "`config_path` is not a text"));
        }
        let path = path.and_then(|(_, text)| text).unwrap_or_default();
        if let Some(mirrors) = filled("mirrors") {
            let line = toml.line(mirrors).or_else(|| {
                let (_, first) = mirrors.as_table_like()?.iter().next()?;
                toml.line(first)
            });
            return decided(if path.is_empty() {
                let why = "`mirrors` is the older way: whatever it names, containerd asks {registry} itself after any refusal";
                Judgement::open(Answer::FallsBack, &self.file, line, why, set_config_path(&self.folder))
            } else {
                let why =
                    "`mirrors` and `config_path` exclude each other: containerd 1 starts without Kubernetes' part";
                unknown(&self.file, line, why)
            });
        }
        if path.is_empty() {
            let why = "`config_path` is not set, so no `hosts.toml` is read, and containerd asks {registry} itself";
            return decided(Judgement::open(Answer::Unused, &self.file, None, why, set_config_path(&self.folder)));
        }
        let tls = filled("configs")
            .and_then(Item::as_table_like)
            .is_some_and(|hosts| hosts.iter().any(|(_, host)| find_in(host, "tls").is_some()));
        if tls {
            let line = filled("configs").and_then(|item| toml.line(item));
            let why = "`configs` with `tls` and `config_path` exclude each other: containerd 1 starts without Kubernetes' part";
            return decided(unknown(&self.file, line, why));
        }
        let known = ["config_path", "mirrors", "configs", "auths", "headers"];
        if let Some((key, item)) = registry.iter().find(|(key, _)| !known.contains(key)) {
            return decided(unknown(&self.file, toml.line(item), &format!("`{key}` is not a key that is known here")));
        }
        let line = registry.get("config_path").and_then(|item| toml.line(item));
        let folders = path.split(':').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Registries::Folders { folders, file: self.file.clone(), line }
    }
}

fn parse(file: &str, text: &str) -> Result<Toml, Judgement> {
    let toml = Toml::parse(text).map_err(|(line, mistake)| unreadable(file, line, &mistake))?;
    if toml.too_new() {
        return Err(unknown(file, None, "the file uses TOML 1.1, which containerd's reader may refuse"));
    }
    Ok(toml)
}

fn speaks(toml: &Toml) -> bool {
    toml.root().contains_key("disabled_plugins")
        || [IMAGES, CRI, "cri"].iter().any(|plugin| find(toml.root(), &["plugins", plugin]).is_some())
}

/// A key that containerd's reader may take for one of those that count here.
fn capitals(toml: &Toml, table: &dyn TableLike) -> Option<(String, Option<usize>)> {
    let counts = ["version", "plugins", "imports", "disabled_plugins", "registry"];
    let mut keys = table.iter();
    let (key, item) = keys.find(|(key, _)| counts.iter().any(|one| key.eq_ignore_ascii_case(one) && key != one))?;
    Some((key.to_owned(), toml.line(item)))
}

fn find_in<'a>(item: &'a Item, key: &str) -> Option<&'a Item> {
    item.as_table_like()?.get(key)
}

fn unknown(file: &str, line: Option<usize>, why: &str) -> Judgement {
    Judgement::open(Answer::Unknown, file, line, why, "bring it into the form that docs/registry.md shows")
}

fn unreadable(file: &str, line: Option<usize>, mistake: &str) -> Judgement {
    let why = format!("it is not TOML ({mistake}), and containerd does not start with it");
    Judgement::open(Answer::Unknown, file, line, why, "mend the mistake first")
}

fn several(file: &str, line: Option<usize>, registry: &str) -> Judgement {
    let why = format!(
        "`config_path` names several folders: containerd 2.1 and later take the list for the name of one folder, find \
         nothing there, and ask {registry} itself, without a word"
    );
    Judgement::open(
        Answer::Unused,
        file,
        line,
        why,
        "name one folder, and move the `hosts.toml` files of the others there",
    )
}

fn set_config_path(folder: &str) -> String {
    format!("set `config_path = \"{folder}\"`, and name the gateway in a `hosts.toml` there")
}

/// The files that an `imports` pattern means. `*` may stand in the last part.
fn matching(tree: &Tree, file: &str, pattern: &str) -> anyhow::Result<Vec<String>> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let pattern = if pattern.starts_with('/') { pattern.to_owned() } else { format!("{folder}/{pattern}") };
    let Some((folder, last)) = pattern.rsplit_once('/') else { return Ok(Vec::new()) };
    let Some((before, after)) = last.split_once('*') else { return Ok(vec![pattern]) };
    anyhow::ensure!(
        !after.contains('*') && !pattern.contains(['?', '[']) && !folder.contains('*'),
        "`{file}` imports `{pattern}`, which is not understood here"
    );
    let names = tree.list(folder)?;
    let fits =
        |name: &&String| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
    Ok(names.iter().filter(fits).map(|name| format!("{folder}/{name}")).collect())
}

fn mirrors(text: Option<&str>) -> Vec<String> {
    let Some(toml) = text.and_then(|text| Toml::parse(text).ok()) else { return Vec::new() };
    let mut names = Vec::new();
    for plugin in [IMAGES, CRI, "cri"] {
        let mirrors = find(toml.root(), &["plugins", plugin, "registry", "mirrors"]).and_then(Item::as_table_like);
        names.extend(mirrors.into_iter().flat_map(TableLike::iter).map(|(name, _)| name.to_owned()));
    }
    names.retain(|name| name != "*");
    names
}

/// The configuration with `config_path`, without what excludes it; nothing when it is not TOML.
fn with_config_path(text: Option<&str>, folder: &str) -> Option<String> {
    let mut document = match text {
        Some(text) => text.parse::<DocumentMut>().ok()?,
        None => "version = 2\n".parse::<DocumentMut>().ok()?,
    };
    let plugin = match document.get("version").map_or(Some(1), Item::as_integer)? {
        1 => "cri",
        2 => CRI,
        3 => IMAGES,
        _ => return None,
    };
    let registry = deeper(deeper(deeper(document.as_table_mut(), "plugins")?, plugin)?, "registry")?;
    registry.set_implicit(false);
    let path = registry.get("config_path").and_then(Item::as_str).unwrap_or_default();
    if path.is_empty() || path.contains(':') {
        registry.insert("config_path", value(folder));
    }
    registry.remove("mirrors");
    if let Some(configs) = registry.get_mut("configs").and_then(Item::as_table_like_mut) {
        for (_, host) in configs.iter_mut() {
            if let Some(host) = host.as_table_like_mut() {
                host.remove("tls");
            }
        }
    }
    Some(document.to_string())
}

fn deeper<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Table> {
    let item = table.entry(key).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_mut()
}
