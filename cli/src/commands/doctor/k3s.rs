//! `registries.yaml` of k3s and rke2, from which they write containerd's files at their start.

use contracts::yaml::{self, Node};

use super::{
    address::{Address, Gateway},
    answer::{Answer, IN_THE_NETWORK, Judgement},
    folders,
    tree::Tree,
};

const MEND: &str = "name the gateway as the only endpoint in registries.yaml, say `disable-default-registry-endpoint: true` \
                    in config.yaml, start it again, and look again: what it wrote for containerd decides";

/// One of the two.
#[derive(Debug, Clone, Copy)]
pub struct K3s {
    name: &'static str,
    folder: &'static str,
    written: &'static str,
}

const BOTH: [K3s; 2] = [
    K3s { name: "k3s", folder: "/etc/rancher/k3s", written: "/var/lib/rancher/k3s/agent/etc/containerd/certs.d" },
    K3s { name: "rke2", folder: "/etc/rancher/rke2", written: "/var/lib/rancher/rke2/agent/etc/containerd/certs.d" },
];

/// What is found of them.
pub fn installed(tree: &Tree) -> anyhow::Result<Vec<(&'static str, K3s)>> {
    let mut found = Vec::new();
    for one in BOTH {
        if tree.exists(&one.file())? {
            found.push((one.name, one));
        }
    }
    Ok(found)
}

impl K3s {
    fn file(self) -> String {
        format!("{}/registries.yaml", self.folder)
    }

    /// The registries that the file names.
    pub fn registries(self, tree: &Tree) -> anyhow::Result<Vec<String>> {
        let text = tree.read(&self.file())?.unwrap_or_default();
        let Ok(node) = yaml::parse(&self.file(), text.as_bytes()) else { return Ok(Vec::new()) };
        let entries = node.get("mirrors").and_then(Node::entries).unwrap_or_default();
        Ok(entries.iter().map(|entry| entry.key.clone()).filter(|name| name != "*").collect())
    }

    /// What comes of a denial.
    pub fn judge(self, tree: &Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<Judgement> {
        let file = self.file();
        let text = tree.read(&file)?.unwrap_or_default();
        let node = match yaml::parse(&file, text.as_bytes()) {
            Ok(node) => node,
            Err(mistakes) => {
                let why = format!("it cannot be read ({mistakes})");
                return Ok(Judgement::open(Answer::Unknown, &file, None, why, "mend the mistake first"));
            }
        };
        let unused = |line, why: String| Judgement::open(Answer::Unused, &file, line, why, MEND);
        let entries = node.get("mirrors").and_then(Node::entries).unwrap_or_default();
        let named = |name: &str| entries.iter().find(|entry| entry.key == name);
        let Some(entry) = named(registry).or_else(|| named("*")) else {
            return Ok(unused(None, format!("nothing names {registry}, so it is asked itself")));
        };
        let line = Some(entry.place.line as usize);
        let endpoints = entry.value.get("endpoint").and_then(Node::items).unwrap_or_default();
        let endpoints: Vec<&str> =
            endpoints.iter().filter_map(|item| item.scalar()).map(|scalar| scalar.text.as_str()).collect();
        let is_gateway = |text: &&&str| Address::parse(text).is_some_and(|address| gateway.is(&address));
        if !endpoints.iter().any(|text| is_gateway(&text)) {
            return Ok(unused(line, format!("no endpoint of {registry} is the gateway")));
        }
        if let Some(other) = endpoints.iter().find(|text| !is_gateway(text)) {
            let why = format!("besides the gateway, `{other}` is asked");
            return Ok(Judgement::open(Answer::FallsBack, &file, line, why, MEND));
        }
        if !self.alone(tree)? {
            let why = format!("{} asks {registry} itself after any refusal of an endpoint", self.name);
            return Ok(Judgement::open(Answer::FallsBack, &file, line, why, MEND));
        }
        let folder = [self.written.to_owned()];
        let written = folders::judge(tree, &folder, registry, gateway)?;
        if written.answer == Answer::Final {
            let why =
                format!("the gateway is the only endpoint, and so it was written for containerd ({})", written.file);
            let judgement = Judgement::closed(&file, line, why);
            return Ok(match folders::spellings_closed(tree, &folder, registry, gateway)? {
                true => judgement,
                false => {
                    judgement.only_as_written(format!("name the gateway under `\"*\"` as well; or {IN_THE_NETWORK}"))
                }
            });
        }
        let why = format!(
            "the gateway is the only endpoint, but versions of {} before 2024 do not know \
             `disable-default-registry-endpoint`, and what it wrote for containerd is not there or says otherwise",
            self.name
        );
        Ok(Judgement::open(
            Answer::Unknown,
            &file,
            line,
            why,
            "look at the node itself, after it started with this file",
        ))
    }

    /// Whether it is told not to ask the registry itself.
    fn alone(self, tree: &Tree) -> anyhow::Result<bool> {
        let folder = format!("{}/config.yaml.d", self.folder);
        let more = tree.list(&folder)?.into_iter().filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"));
        let files =
            [format!("{}/config.yaml", self.folder)].into_iter().chain(more.map(|name| format!("{folder}/{name}")));
        let mut alone = false;
        for file in files {
            let Some(text) = tree.read(&file)? else { continue };
            let Ok(node) = yaml::parse(&file, text.as_bytes()) else { return Ok(false) };
            if let Some(value) = node.get("disable-default-registry-endpoint").and_then(Node::scalar) {
                // The last one counts.
                alone = value.text.eq_ignore_ascii_case("true");
            }
        }
        Ok(alone)
    }
}
