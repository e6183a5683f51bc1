//! `hosts.toml`: which hosts containerd asks for the images of one registry, and in which order.
//!
//! What containerd does was read in its source and tried with containerd 1.6; the corpus under `testdata/clients` holds
//! it. A file that it cannot use it logs, ignores, and asks the real registry.

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::{
    address::{Address, Gateway, plain_note},
    answer::{Answer, Judgement},
    toml::{Toml, texts},
};

const KNOWN: [&str; 7] = ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"];
/// The gateway answers a denied `HEAD` so that even such a client stops (docs/registry.md). It cannot do so for 401 and
/// 503, and not at all when it is out of reach.
const LEFT: &str = "when the gateway refuses the token, cannot decide or cannot be reached,";
const MEND: &str = "name the gateway both as `server` and under `[host]`, and nobody else";

/// One who is asked.
struct Asked {
    name: String,
    gateway: bool,
    line: Option<usize>,
    /// Whether pulls come here at all: a host may be for pushing alone.
    pulls: bool,
}

/// Judges the text of a `hosts.toml`.
pub fn judge(file: &str, text: &str, registry: &str, gateway: &Gateway) -> Judgement {
    let ignored = |line, why: String| {
        Judgement::open(
            Answer::Unused,
            file,
            line,
            format!("{why}; containerd then ignores the whole file and asks {registry} itself"),
            MEND,
        )
    };
    if text.is_empty() {
        let why = format!("the file is empty, so containerd asks {registry} itself");
        return Judgement::open(Answer::Unused, file, None, why, MEND);
    }
    let toml = match Toml::parse(text) {
        Ok(toml) => toml,
        Err((line, mistake)) => return ignored(line, format!("it is not TOML ({mistake})")),
    };
    let reader = Reader { file, toml: &toml, gateway, doubts: Vec::new(), notes: Vec::new() };
    match reader.judge(registry) {
        Ok(judgement) => judgement,
        Err(Refused { line, why }) => ignored(line, why),
    }
}

/// Why containerd does not use the file.
struct Refused {
    line: Option<usize>,
    why: String,
}

struct Reader<'a> {
    file: &'a str,
    toml: &'a Toml,
    gateway: &'a Gateway,
    doubts: Vec<(Option<usize>, String)>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn judge(mut self, registry: &str) -> Result<Judgement, Refused> {
        let root = self.toml.root();
        self.keys(root, &["server", "host"])?;
        let server = match root.get("server") {
            None => None,
            Some(item) => {
                let line = self.toml.line(item);
                let text = item.as_str().ok_or(Refused { line, why: "`server` is not a text".to_owned() })?;
                if !is_url(text) {
                    self.notes
                        .push(format!("`{text}` begins with `http` and has no `://`: containerd reads no host in it"));
                }
                (!text.is_empty() && is_url(text)).then_some((text, line))
            }
        };
        let mut asked = self.hosts(root)?;
        if !root.contains_key("host") {
            return Ok(self.without_host(server, registry));
        }
        match server {
            Some((text, line)) => {
                let mut last = self.asked(text, line, root)?;
                // Whether capabilities beside `server` count differs between versions; only the gateway may stand here.
                last.pulls = true;
                asked.push(last);
            }
            None => asked.push(Asked { name: registry.to_owned(), gateway: false, line: None, pulls: true }),
        }
        asked.retain(|asked| asked.pulls);
        Ok(self.order(&asked, registry, server.is_some()))
    }

    /// Only containerd 2 takes a file without `[host]`.
    fn without_host(self, server: Option<(&str, Option<usize>)>, registry: &str) -> Judgement {
        let line = server.and_then(|(_, line)| line);
        let why = match server {
            Some((text, _)) if self.is_gateway(text) => format!(
                "`server` names the gateway and there is no `[host]`: containerd 1.6 and 1.7 refuse such a file and ask \
                 {registry} itself, without a word"
            ),
            Some((text, _)) => format!("it sends pulls to `{text}`, which is not the gateway"),
            None => format!("it names no host, so containerd asks {registry} itself"),
        };
        Judgement::open(Answer::Unused, self.file, line, why, MEND)
    }

    fn order(self, asked: &[Asked], registry: &str, server: bool) -> Judgement {
        let Some(first) = asked.iter().position(|asked| asked.gateway) else {
            let line = asked.first().and_then(|asked| asked.line);
            let names: Vec<String> = asked.iter().map(|asked| format!("`{}`", asked.name)).collect();
            let why = format!("pulls go to {}, and never to the gateway", names.join(", then "));
            return self.noted(Judgement::open(Answer::Unused, self.file, line, why, MEND));
        };
        if let Some((position, other)) = asked.iter().enumerate().find(|(_, asked)| !asked.gateway) {
            let why = match (position < first, server || other.line.is_some()) {
                (true, _) => {
                    format!("`{}` is asked before the gateway, and whatever it has is pulled unjudged", other.name)
                }
                (false, true) => format!("{LEFT} containerd asks `{}`", other.name),
                (false, false) => {
                    format!("there is no `server`: {LEFT} containerd asks {registry} itself")
                }
            };
            let line = other.line.or(asked.get(first).and_then(|asked| asked.line));
            return self.noted(Judgement::open(Answer::FallsBack, self.file, line, why, MEND));
        }
        if let Some((line, doubt)) = self.doubts.first() {
            let mend = "take it out, or write the file as docs/registry.md shows";
            return self.noted(Judgement::open(Answer::Unknown, self.file, *line, doubt.clone(), mend));
        }
        let line = asked.get(first).and_then(|asked| asked.line);
        self.noted(Judgement::closed(self.file, line, "the gateway is the only one who is asked"))
    }

    fn noted(&self, judgement: Judgement) -> Judgement {
        self.notes.iter().fold(judgement, |judgement, note| judgement.note(note.clone()))
    }

    fn hosts(&mut self, root: &Table) -> Result<Vec<Asked>, Refused> {
        let Some(hosts) = root.get("host") else { return Ok(Vec::new()) };
        let line = self.toml.line(hosts);
        let Some(table) = hosts.as_table_like() else {
            return Err(Refused { line, why: "`host` is not a table".to_owned() });
        };
        if hosts.as_table().is_none_or(Table::is_dotted) {
            self.doubts.push((
                line,
                "`host` is not written as `[host.\"https://…\"]`, which versions read differently".into(),
            ));
        }
        let mut all = Vec::new();
        for (name, item) in table.iter() {
            let line = self.toml.line(item);
            let Some(host) = item.as_table_like() else {
                return Err(Refused { line, why: format!("what is under `host` for `{name}` is not a table") });
            };
            if item.as_table().is_none_or(Table::is_dotted) {
                self.doubts.push((
                    line,
                    format!("`{name}` is not written as `[host.\"{name}\"]`, which versions read differently"),
                ));
            }
            self.keys(host, &[])?;
            all.push((item.as_table().and_then(Table::position), self.asked(name, line, host)?));
        }
        // containerd asks in the order of the file.
        all.sort_by_key(|(position, asked)| (*position, asked.line));
        Ok(all.into_iter().map(|(_, asked)| asked).collect())
    }

    fn asked(&mut self, name: &str, line: Option<usize>, table: &dyn TableLike) -> Result<Asked, Refused> {
        if Address::parse(name).is_none() {
            self.doubts.push((line, format!("`{name}` is not an address that is understood here")));
        }
        let capabilities = table.get("capabilities").and_then(texts);
        let pulls =
            capabilities.is_none_or(|list| list.is_empty() || list.iter().any(|one| !one.eq_ignore_ascii_case("push")));
        if self.is_gateway(name) {
            self.notes.extend(plain_note(name));
            if table.get("skip_verify").and_then(Item::as_bool) == Some(true) {
                self.notes
                    .push("`skip_verify` is set: whoever is on the way can answer in the gateway's place".to_owned());
            }
        }
        Ok(Asked { name: name.to_owned(), gateway: self.is_gateway(name), line, pulls })
    }

    fn is_gateway(&self, name: &str) -> bool {
        Address::parse(name).is_some_and(|address| self.gateway.is(&address))
    }

    /// Holds the keys of a host to what containerd takes.
    fn keys(&mut self, table: &dyn TableLike, more: &[&str]) -> Result<(), Refused> {
        if self.doubts.is_empty() && self.toml.too_new() {
            self.doubts.push((None, "it uses TOML 1.1, which containerd's reader may refuse".to_owned()));
        }
        for (key, item) in table.iter() {
            let line = self.toml.line(item);
            let good = match key {
                "capabilities" => match texts(item) {
                    None => false,
                    Some(list) => match list.iter().find(|one| !capability(one)) {
                        None => true,
                        Some(odd) => return Err(Refused { line, why: format!("`{odd}` is not a capability") }),
                    },
                },
                "ca" => item.is_str() || texts(item).is_some(),
                "client" => item.is_str() || item.is_array(),
                "skip_verify" | "override_path" => item.is_bool(),
                "dial_timeout" => item.is_str(),
                "header" => item
                    .as_table_like()
                    .is_some_and(|header| header.iter().all(|(_, item)| item.is_str() || texts(item).is_some())),
                _ => true,
            };
            if !good {
                return Err(Refused { line, why: format!("`{key}` has a value of the wrong kind") });
            }
            if !KNOWN.contains(&key) && !more.contains(&key) {
                self.doubts.push((line, format!("`{key}` is not a key that is known here")));
            }
        }
        Ok(())
    }
}

/// containerd takes what begins with `http` for a URL, and puts `https://` before everything else.
fn is_url(text: &str) -> bool {
    !text.starts_with("http") || text.starts_with("http://") || text.starts_with("https://")
}

fn capability(text: &str) -> bool {
    ["pull", "resolve", "push"].iter().any(|known| text.eq_ignore_ascii_case(known))
}

/// The text in which the gateway alone is asked. What else the file says of the gateway, and its comments, are kept,
/// unless containerd cannot use them.
pub fn correct(text: Option<&str>, gateway: &Gateway) -> String {
    let corrected = edited(text, gateway);
    match judge("", &corrected, "", gateway).answer.bypassable() {
        true => edited(None, gateway),
        false => corrected,
    }
}

fn edited(text: Option<&str>, gateway: &Gateway) -> String {
    let is_gateway = |name: &str| Address::parse(name).is_some_and(|address| gateway.is(&address));
    let mut document = text.and_then(|text| text.parse::<DocumentMut>().ok()).unwrap_or_default();
    let ours = document.get("server").and_then(Item::as_str).is_some_and(is_gateway);
    if !ours {
        // They were meant for somebody else, who alone may see such a header.
        for key in KNOWN {
            document.remove(key);
        }
        document.insert("server", value(gateway.url()));
    }
    document.remove("capabilities");
    let hosts = document.remove("host");
    let mut kept = Table::new();
    kept.set_implicit(true);
    if let Some(hosts) = hosts.as_ref().and_then(Item::as_table) {
        for (name, item) in hosts.iter().filter(|(name, _)| is_gateway(name)) {
            kept.insert(name, item.clone());
        }
    }
    if kept.is_empty() {
        kept.insert(&gateway.url(), Item::Table(Table::new()));
    }
    for (_, item) in kept.iter_mut() {
        if let Some(host) = item.as_table_mut() {
            let pulls =
                host.get("capabilities").and_then(texts).is_some_and(|list| list.iter().all(|one| capability(one)));
            if !pulls || host.get("capabilities").is_none() {
                host.insert("capabilities", value(Array::from_iter(["pull", "resolve"])));
            }
        }
    }
    document.insert("host", Item::Table(kept));
    document.to_string()
}
