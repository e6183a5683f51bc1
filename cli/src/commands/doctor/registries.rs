//! `registries.conf`, version 2: what podman, skopeo, buildah and CRI-O ask for the images of a registry.
//!
//! Such a client tries the mirrors and then the location, unless the name that it is about to ask for is blocked. It
//! refuses to work with a file that it cannot read.

use toml_edit::{DocumentMut, Item, Table, value};

use super::{
    address::{Address, Gateway},
    answer::{Answer, Judgement},
    policy,
    toml::{Toml, texts},
    tree::Tree,
};

const SYSTEM: &str = "/etc/containers/registries.conf";
const PROGRAMS: [&str; 4] = ["/usr/bin/podman", "/usr/bin/skopeo", "/usr/bin/buildah", "/usr/bin/crio"];
const ROOT_KEYS: [&str; 6] = [
    "registry",
    "unqualified-search-registries",
    "short-name-mode",
    "aliases",
    "credential-helpers",
    "additional-layer-store-auth-helper",
];
const REGISTRY_KEYS: [&str; 6] = ["prefix", "location", "insecure", "blocked", "mirror-by-digest-only", "mirror"];
const MIRROR_KEYS: [&str; 3] = ["location", "insecure", "pull-from-mirror"];

const PORT: &str = "a name with a port cannot be rewritten: give the registry an alias without one in the gateway's \
                    settings, and pull by that";

/// The configuration that one user's clients read.
#[derive(Debug)]
pub struct Configuration {
    main: String,
    folders: Vec<String>,
}

/// What these files say together.
struct Read {
    entries: Vec<Entry>,
    search: Vec<String>,
    doubts: Vec<Judgement>,
}

/// One `[[registry]]`.
#[derive(Debug, Clone)]
struct Entry {
    prefix: String,
    location: String,
    blocked: bool,
    insecure: bool,
    digests_only: bool,
    mirrors: Vec<Mirror>,
    file: String,
    line: Option<usize>,
}

#[derive(Debug, Clone)]
struct Mirror {
    location: String,
    insecure: bool,
    line: Option<usize>,
}

/// The configurations of a machine: everybody's, and those of users who have their own.
pub fn installed(tree: &Tree) -> anyhow::Result<Vec<(String, Configuration)>> {
    let mut found = Vec::new();
    let folder = format!("{SYSTEM}.d");
    let mut here = tree.exists(SYSTEM)? || tree.list(&folder)?.iter().any(|name| name.ends_with(".conf"));
    for program in PROGRAMS {
        here |= tree.exists(program)?;
    }
    if here {
        found.push((
            "podman, skopeo, CRI-O".to_owned(),
            Configuration { main: SYSTEM.to_owned(), folders: vec![folder.clone()] },
        ));
    }
    let users = tree.list("/home")?.into_iter().map(|name| (format!("/home/{name}"), name));
    for (home, name) in [("/root".to_owned(), "root".to_owned())].into_iter().chain(users) {
        let own = format!("{home}/.config/containers/registries.conf");
        let own_folder = format!("{own}.d");
        let has_main = tree.exists(&own)?;
        if has_main || !tree.list(&own_folder)?.is_empty() {
            // A user's file stands in for everybody's; the folders count both.
            let main = if has_main { own } else { SYSTEM.to_owned() };
            let configuration = Configuration { main, folders: vec![folder.clone(), own_folder] };
            found.push((format!("podman, skopeo of user {name}"), configuration));
        }
    }
    Ok(found)
}

impl Configuration {
    /// The registries that the files name, also for names without a registry.
    pub fn registries(&self, tree: &Tree) -> anyhow::Result<Vec<String>> {
        let Ok(read) = self.read(tree)? else { return Ok(Vec::new()) };
        let hosts =
            read.entries.iter().filter(|entry| !entry.prefix.starts_with('*')).map(|entry| host_of(&entry.prefix));
        Ok(hosts.map(str::to_owned).chain(read.search).collect())
    }

    /// What such a client does with a registry.
    pub fn judge(&self, tree: &Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<Judgement> {
        let read = match self.read(tree)? {
            Ok(read) => read,
            Err(refused) => return Ok(*refused),
        };
        let within = format!("{registry}/");
        let mut probes = vec![format!("{within}sluice/doctor")];
        for entry in read.entries.iter().filter(|entry| entry.prefix.starts_with(&within)) {
            probes.push(entry.prefix.clone());
            if !entry.prefix.contains('@') {
                probes.push(format!("{}/doctor", entry.prefix));
            }
        }
        let mut worst: Option<Judgement> = None;
        for probe in probes {
            let judgement = read.judge_name(&self.main, &probe, registry, gateway);
            worst = Some(match worst {
                None => judgement,
                Some(worst) => worst.worst(judgement),
            });
        }
        let judgement = worst.unwrap_or_else(|| not_named(&self.main, registry, gateway));
        if judgement.answer != Answer::Final {
            return Ok(judgement);
        }
        if let Some(doubt) = read.doubts.first() {
            return Ok(doubt.clone());
        }
        let policy = self.policy(tree)?;
        Ok(match policy::closes_spellings(tree.read(&policy)?.as_deref(), registry) {
            true => judgement,
            false => judgement.only_as_written(policy::mend(&policy, registry)),
        })
    }

    fn read(&self, tree: &Tree) -> anyhow::Result<Result<Read, Box<Judgement>>> {
        let mut files = vec![self.main.clone()];
        for folder in &self.folders {
            let names = tree.list(folder)?.into_iter().filter(|name| name.ends_with(".conf"));
            files.extend(names.map(|name| format!("{folder}/{name}")));
        }
        let mut whole = Read { entries: Vec::new(), search: Vec::new(), doubts: Vec::new() };
        for file in files {
            let Some(text) = tree.read(&file)? else { continue };
            let toml = match Toml::parse(&text) {
                Ok(toml) => toml,
                Err((line, mistake)) => return Ok(Err(refused(&file, line, &format!("it is not TOML ({mistake})")))),
            };
            if let Err(refused) = whole.add(&file, &toml) {
                return Ok(Err(refused));
            }
        }
        Ok(Ok(whole))
    }

    /// Which images such a client takes at all: a user's own file stands in for everybody's.
    fn policy(&self, tree: &Tree) -> anyhow::Result<String> {
        let own = self.folders.last().and_then(|folder| folder.strip_suffix("/registries.conf.d"));
        let own = own.map(|folder| format!("{folder}/policy.json"));
        Ok(match own {
            Some(own) if tree.exists(&own)? => own,
            _ => policy::SYSTEM.to_owned(),
        })
    }

    /// Lays over the tree what makes denials final.
    pub fn correct(&self, tree: &mut Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<()> {
        let Ok(read) = self.read(tree)? else { return Ok(()) };
        let within = format!("{registry}/");
        let all: Vec<String> = read.entries.iter().map(|entry| entry.prefix.clone()).collect();
        let ours: Vec<Entry> = read
            .entries
            .into_iter()
            .filter(|entry| entry.prefix == registry || entry.prefix.starts_with(&within))
            .collect();
        for entry in ours.iter().filter(|entry| !entry.prefix.contains(':')) {
            let Some(text) = tree.read(&entry.file)? else { continue };
            if let Some(text) = correct(&text, &entry.prefix, gateway) {
                tree.lay(&entry.file, text);
            }
        }
        // Such clients cannot rewrite a name with a port to one behind a slash. Beside a prefix for the whole domain another
        // entry does not help: which of the two counts is not known.
        let domain = all.iter().any(|prefix| prefix.starts_with('*') && matched(&within, prefix).is_some());
        if !registry.contains(':') && !domain && !ours.iter().any(|entry| entry.prefix == registry) {
            // A user's own folder comes last; for everybody there is one.
            let Some(folder) = self.folders.last() else { return Ok(()) };
            let file = format!("{folder}/sluice.conf");
            let before = tree.read(&file)?.map(|text| format!("{}\n\n", text.trim_end())).unwrap_or_default();
            let location = format!("{}/{registry}", gateway.authority());
            let mut text = format!("{before}[[registry]]\nprefix = \"{registry}\"\nlocation = \"{location}\"\n");
            if gateway.plain() {
                text.push_str("insecure = true\n");
            }
            tree.lay(&file, text);
        }
        if self.judge(tree, registry, gateway)?.answer == Answer::AsWritten {
            let file = self.policy(tree)?;
            if let Some(text) = policy::correct(tree.read(&file)?.as_deref(), registry, gateway) {
                tree.lay(&file, text);
            }
        }
        Ok(())
    }
}

impl Read {
    fn add(&mut self, file: &str, toml: &Toml) -> Result<(), Box<Judgement>> {
        let root = toml.root();
        if toml.too_new() {
            self.doubt(file, None, "it uses TOML 1.1, which these clients may refuse");
        }
        if root.contains_key("registries") {
            let line = root.get("registries").and_then(|item| toml.line(item));
            return Err(refused(file, line, "it is of version 1, which newer clients no longer read"));
        }
        for (key, item) in root.iter().filter(|(key, _)| !ROOT_KEYS.contains(key)) {
            self.doubt(file, toml.line(item), &format!("`{key}` is not a key that is known here"));
        }
        if let Some(item) = root.get("unqualified-search-registries") {
            let list = texts(item).ok_or_else(|| {
                refused(file, toml.line(item), "`unqualified-search-registries` is not a list of texts")
            })?;
            self.search = list;
        }
        let Some(item) = root.get("registry") else { return Ok(()) };
        let Some(tables) = item.as_array_of_tables() else {
            return Err(refused(file, toml.line(item), "registries are written as `[[registry]]`, in double brackets"));
        };
        let mut here: Vec<Entry> = Vec::new();
        for table in tables {
            let entry = self.entry(file, toml, table)?;
            let other = here.iter().find(|other| other.location == entry.location && !entry.location.is_empty());
            if other.is_some_and(|other| other.blocked != entry.blocked || other.insecure != entry.insecure) {
                let why = format!("`{}` is there twice, with different `blocked` or `insecure`", entry.location);
                return Err(refused(file, entry.line, &why));
            }
            here.push(entry);
        }
        // The last file that speaks of a prefix stands in for those before. Within one file the first counts, or the
        // last: all are kept.
        self.entries.retain(|other| here.iter().all(|entry| entry.prefix != other.prefix));
        self.entries.extend(here);
        Ok(())
    }

    fn entry(&mut self, file: &str, toml: &Toml, table: &Table) -> Result<Entry, Box<Judgement>> {
        let line = toml.table_line(table);
        self.keys(file, toml, table, &REGISTRY_KEYS);
        let mut mirrors = Vec::new();
        if let Some(item) = table.get("mirror") {
            let Some(tables) = item.as_array_of_tables() else {
                return Err(refused(
                    file,
                    toml.line(item),
                    "mirrors are written as `[[registry.mirror]]`, in double brackets",
                ));
            };
            for mirror in tables {
                self.keys(file, toml, mirror, &MIRROR_KEYS);
                let line = toml.table_line(mirror);
                let location = place(file, toml, mirror, "location")?;
                let location = location.ok_or_else(|| refused(file, line, "a mirror has no `location`"))?;
                mirrors.push(Mirror { location, insecure: flag(file, toml, mirror, "insecure")?, line });
            }
        }
        let location = place(file, toml, table, "location")?;
        let prefix = place(file, toml, table, "prefix")?;
        let (prefix, location) = match (prefix, location) {
            (Some(prefix), Some(location)) => (prefix, location),
            (None, Some(location)) => (location.clone(), location),
            (Some(prefix), None) if prefix.starts_with("*.") => (prefix, String::new()),
            _ => return Err(refused(file, line, "a registry has no `location`")),
        };
        Ok(Entry {
            prefix,
            location,
            blocked: flag(file, toml, table, "blocked")?,
            insecure: flag(file, toml, table, "insecure")?,
            digests_only: flag(file, toml, table, "mirror-by-digest-only")?,
            mirrors,
            file: file.to_owned(),
            line,
        })
    }

    fn keys(&mut self, file: &str, toml: &Toml, table: &Table, known: &[&str]) {
        for (key, item) in table.iter().filter(|(key, _)| !known.contains(key)) {
            self.doubt(file, toml.line(item), &format!("`{key}` is not a key that is known here"));
        }
    }

    fn doubt(&mut self, file: &str, line: Option<usize>, why: &str) {
        self.doubts.push(Judgement::open(Answer::Unknown, file, line, why, "take it out"));
    }

    /// Judges one image's name, without tag and digest.
    fn judge_name(&self, main: &str, name: &str, registry: &str, gateway: &Gateway) -> Judgement {
        let chosen = self.chosen(name);
        let [first, rest @ ..] = chosen.as_slice() else { return not_named(main, registry, gateway) };
        let mut judgement = self.judge_entry(first, name, registry, gateway);
        for other in rest {
            judgement = judgement.worst(self.judge_entry(other, name, registry, gateway));
        }
        // A prefix that ends before a port fits in some versions.
        if judgement.answer == Answer::Final && name.get(first.prefix.len()..).is_some_and(|rest| rest.starts_with(':'))
        {
            let why = format!(
                "`{}` is without the port that {registry} has; versions differ in whether it fits",
                first.prefix
            );
            return Judgement::open(Answer::Unknown, &first.file, first.line, why, "write the port into `prefix`");
        }
        judgement
    }

    fn judge_entry(&self, entry: &Entry, name: &str, registry: &str, gateway: &Gateway) -> Judgement {
        let mend = match entry.prefix.starts_with('*') {
            _ if registry.contains(':') => PORT.to_owned(),
            true => "give each registry of the domain an entry of its own, and take this one out".to_owned(),
            false => format!("write `location = \"{}/{}\"`, and no mirror", gateway.authority(), entry.prefix),
        };
        let is_gateway = |name: &str| Address::parse(host_of(name)).is_some_and(|address| gateway.is(&address));
        let mut asks_gateway = false;
        let mut open: Option<(String, Option<usize>, bool)> = None;
        let mut insecure = false;
        let mirrors = entry.mirrors.iter().map(|mirror| (&mirror.location, mirror.line, mirror.insecure));
        for (location, line, plain) in mirrors.chain([(&entry.location, entry.line, entry.insecure)]) {
            let asked = rewritten(name, &entry.prefix, location);
            if self.blocked(&asked) {
                continue;
            }
            if is_gateway(&asked) {
                asks_gateway = true;
                insecure |= plain;
            } else if open.is_none() {
                open = Some((host_of(&asked).to_owned(), line, asks_gateway));
            }
        }
        let about = match name.strip_prefix(registry).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) if entry.prefix.len() > registry.len() && !entry.prefix.starts_with('*') => {
                format!("of `{rest}`, ")
            }
            _ => String::new(),
        };
        match open {
            Some((host, line, after)) if asks_gateway => {
                let why = if after {
                    format!("{about}the gateway is a mirror, and after any refusal `{host}` is asked")
                        .trim_start()
                        .to_owned()
                } else {
                    format!("{about}`{host}` is asked before the gateway")
                };
                Judgement::open(Answer::FallsBack, &entry.file, line, why, mend)
            }
            Some((host, line, _)) => {
                let why = format!("{about}`{host}` is asked, and never the gateway");
                Judgement::open(Answer::Unused, &entry.file, line, why, mend)
            }
            None if asks_gateway => {
                let why = match entry.mirrors.is_empty() {
                    true => "the name is rewritten to the gateway, and nobody else is asked",
                    false => "the mirrors are the gateway alone, and the registry itself is blocked",
                };
                let mut judgement = Judgement::closed(&entry.file, entry.line, why);
                if insecure {
                    judgement =
                        judgement.note("`insecure` is set: whoever is on the way can answer in the gateway's place");
                }
                if entry.digests_only {
                    judgement = judgement.note("`mirror-by-digest-only` is set: images cannot be pulled by tag");
                }
                judgement
            }
            None => Judgement::closed(&entry.file, entry.line, "the registry is blocked")
                .note(format!("nothing can be pulled from {registry}, not even through the gateway")),
        }
    }

    fn blocked(&self, name: &str) -> bool {
        let chosen = self.chosen(name);
        !chosen.is_empty() && chosen.iter().all(|entry| entry.blocked)
    }

    /// The entries with the longest prefix; several only where versions may choose differently.
    fn chosen(&self, name: &str) -> Vec<&Entry> {
        let lengths = self.entries.iter().filter_map(|entry| Some((matched(name, &entry.prefix)?, entry)));
        let longest = lengths.clone().map(|(length, _)| length).max();
        lengths.filter(|(length, _)| Some(*length) == longest).map(|(_, entry)| entry).collect()
    }
}

/// How much of a name a prefix covers, if it fits.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        Some(suffix) => {
            let begin = name.find(suffix)?;
            if name.get(..begin)?.contains('/') {
                return None;
            }
            begin + suffix.len()
        }
        None => name.starts_with(prefix).then_some(prefix.len())?,
    };
    let rest = name.get(end..)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(end)
}

fn rewritten(name: &str, prefix: &str, location: &str) -> String {
    match (location.is_empty(), matched(name, prefix).and_then(|end| name.get(end..))) {
        (false, Some(rest)) => format!("{location}{rest}"),
        _ => name.to_owned(),
    }
}

fn host_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn place(file: &str, toml: &Toml, table: &Table, key: &str) -> Result<Option<String>, Box<Judgement>> {
    let Some(item) = table.get(key) else { return Ok(None) };
    let line = toml.line(item);
    let text = item.as_str().ok_or_else(|| refused(file, line, &format!("`{key}` is not a text")))?;
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(refused(file, line, &format!("`{key}` must not begin with `http://` or `https://`")));
    }
    let text = text.trim_end_matches('/');
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn flag(file: &str, toml: &Toml, table: &Table, key: &str) -> Result<bool, Box<Judgement>> {
    let Some(item) = table.get(key) else { return Ok(false) };
    item.as_bool().ok_or_else(|| refused(file, toml.line(item), &format!("`{key}` is neither true nor false")))
}

fn refused(file: &str, line: Option<usize>, why: &str) -> Box<Judgement> {
    let reason = format!("{why}; podman and its kin refuse to work with such a file");
    Box::new(Judgement::open(Answer::Unknown, file, line, reason, "mend the mistake first"))
}

fn not_named(main: &str, registry: &str, gateway: &Gateway) -> Judgement {
    let why = format!("nothing names {registry}, so it is asked itself");
    if registry.contains(':') {
        return Judgement::open(Answer::Unused, main, None, why, PORT);
    }
    let mend = format!(
        "add a `[[registry]]` with `prefix = \"{registry}\"` and `location = \"{}/{registry}\"`",
        gateway.authority()
    );
    Judgement::open(Answer::Unused, main, None, why, mend)
}

/// The text in which this entry leads to the gateway alone; nothing when it is not found.
fn correct(text: &str, prefix: &str, gateway: &Gateway) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let tables = document.get_mut("registry")?.as_array_of_tables_mut()?;
    let says = |table: &Table, key: &str| {
        table
            .get(key)
            .and_then(Item::as_str)
            .map(|text| text.trim_end_matches('/').to_owned())
            .filter(|text| !text.is_empty())
    };
    let is_it = |table: &Table| says(table, "prefix").or_else(|| says(table, "location")).as_deref() == Some(prefix);
    let mut first = true;
    tables.retain(|table| !is_it(table) || std::mem::take(&mut first));
    let table = tables.iter_mut().find(|table| is_it(table))?;
    let location = says(table, "location");
    let is_gateway = |name: &str| Address::parse(host_of(name)).is_some_and(|address| gateway.is(&address));
    if !location.as_deref().is_some_and(is_gateway) {
        table.insert("location", value(format!("{}/{prefix}", gateway.authority())));
        table.remove("insecure");
        if gateway.plain() {
            table.insert("insecure", value(true));
        }
    }
    if says(table, "prefix").is_none() {
        table.insert("prefix", value(prefix));
    }
    for key in ["mirror", "blocked", "mirror-by-digest-only"] {
        table.remove(key);
    }
    Some(document.to_string())
}
