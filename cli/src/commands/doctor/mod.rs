//! `sluice doctor`: whether clients can walk around the gateway.
//!
//! Each client has a module that reads its files as it does itself, says what becomes of a denial, and lays over the
//! tree the files that make it final. The same judges then look at those. Whatever a module does not understand it must
//! not call final.

mod address;
mod answer;
mod canary;
mod containerd;
mod docker;
mod folders;
mod hosts;
mod k3s;
mod policy;
mod registries;
mod toml;
mod tree;
mod write;

use anyhow::{Context, bail};
use serde::Serialize;

use self::{
    address::{Address, Gateway},
    answer::{Answer, Judgement, Row},
    canary::{Canary, Outcome},
    tree::Tree,
};
use crate::{
    args,
    exit::Exit,
    report::{Report, plain, table},
};

const LIMITS: &str = "this holds for the files that were read; close the way from these machines to the registries in the \
                      network as well, and remove images that were pulled before";

const DIGEST_TOLD: &str = "\n\nThe gateway tells the digest of what it denies (`denied_head` in its settings): a client that has \
                           such an image goes on with it, also when it was denied after it had been pulled.";

/// Looks at the configurations of a machine's clients.
pub async fn run(connection: &args::Connection, args: &args::Doctor) -> anyhow::Result<Report> {
    let gateway = connection.gateway.as_deref().context("which host is the gateway? say --gateway HOST")?;
    let gateway = Gateway::parse(gateway)?;
    let mut tree = Tree::new(&args.root)?;
    let clients = clients(&tree)?;
    if clients.is_empty() {
        bail!(
            "no configuration of containerd, Docker, podman, skopeo, CRI-O or k3s lies under `{}`: say where with --root",
            args.root.display()
        );
    }
    let mut asked = args.registries.clone();
    if let Some(image) = &args.canary {
        asked.push(canary::registry(image)?.to_owned());
    }
    let registries = registries(&tree, &clients, &gateway, &asked)?;
    let examine = |tree: &Tree| {
        let mut rows = examine(tree, &clients, &registries, &gateway);
        if args.spellings_closed {
            rows.iter_mut().for_each(|row| row.judgement.spellings_are_closed());
        }
        rows
    };
    let mut rows = examine(&tree);
    for row in rows.iter().filter(|row| row.judgement.answer != Answer::Final) {
        if let Some(client) = clients.iter().find(|client| client.name == row.client) {
            // What cannot be corrected stays as it is, and is said to be so below.
            let _ = client.correct(&mut tree, &row.registry, &gateway);
        }
    }
    let corrected = examine(&tree);
    let mut corrections = corrections(&tree)?;
    if args.spellings_closed {
        corrections.retain(|correction| !for_spellings(&correction.file));
    }
    if args.fix {
        write::all(&tree, &mut corrections)?;
        rows = examine(&Tree::new(&args.root)?);
    }
    let canary = match &args.canary {
        None => None,
        Some(image) => {
            let pulled = pull(&tree.bare(), &clients, args, image).await?;
            Some(Canary { digest_told: canary::digest_told(connection, &gateway, image).await, ..pulled })
        }
    };
    let answer = Answers { gateway: gateway.url(), registries, answers: rows, corrections, corrected, canary };
    let report = Report::new(answer.exit(), &answer, plain(&answer.describe(args.fix)))?;
    Ok(report.note(LIMITS))
}

async fn pull(tree: &Tree, clients: &[Client], args: &args::Doctor, image: &str) -> anyhow::Result<Canary> {
    let registry = canary::registry(image)?;
    let mut folders = Vec::new();
    for client in clients {
        if let (true, Kind::Containerd(one)) = (folders.is_empty(), &client.kind) {
            folders = one.folders(tree, registry)?;
        }
    }
    canary::pull(tree, args, image, &folders).await
}

/// A client's configuration on this machine.
struct Client {
    name: String,
    kind: Kind,
}

enum Kind {
    Containerd(containerd::Containerd),
    Containers(registries::Configuration),
    Docker,
    K3s(k3s::K3s),
}

fn clients(tree: &Tree) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for (name, one) in containerd::installed(tree)? {
        clients.push(Client { name: name.to_owned(), kind: Kind::Containerd(one) });
    }
    for (name, one) in k3s::installed(tree)? {
        clients.push(Client { name: name.to_owned(), kind: Kind::K3s(one) });
    }
    if docker::installed(tree)? {
        clients.push(Client { name: "Docker".to_owned(), kind: Kind::Docker });
    }
    for (name, one) in registries::installed(tree)? {
        clients.push(Client { name, kind: Kind::Containers(one) });
    }
    Ok(clients)
}

impl Client {
    fn registries(&self, tree: &Tree) -> anyhow::Result<Vec<String>> {
        match &self.kind {
            Kind::Containerd(one) => one.registries(tree),
            Kind::Containers(one) => one.registries(tree),
            Kind::Docker => docker::registries(tree),
            Kind::K3s(one) => one.registries(tree),
        }
    }

    fn judge(&self, tree: &Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<Option<Judgement>> {
        match &self.kind {
            Kind::Containerd(one) => one.judge(tree, registry, gateway),
            Kind::Containers(one) => one.judge(tree, registry, gateway).map(Some),
            Kind::Docker => docker::judge(tree, registry, gateway).map(Some),
            Kind::K3s(one) => one.judge(tree, registry, gateway).map(Some),
        }
    }

    fn correct(&self, tree: &mut Tree, registry: &str, gateway: &Gateway) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Containerd(one) => one.correct(tree, registry, gateway),
            Kind::Containers(one) => one.correct(tree, registry, gateway),
            Kind::Docker => docker::correct(tree, registry, gateway),
            // It writes containerd's files itself, and again at every start.
            Kind::K3s(_) => Ok(()),
        }
    }
}

fn registries(tree: &Tree, clients: &[Client], gateway: &Gateway, asked: &[String]) -> anyhow::Result<Vec<String>> {
    let mut names = asked.to_vec();
    for name in asked {
        if name.contains('/') || Address::parse(name).is_none() {
            bail!("`{name}` is not a registry: write its host as images name it, as in `registry.acme.dev`");
        }
    }
    if names.is_empty() {
        for client in clients {
            // A file that cannot be read names nothing, and is told when it is judged.
            names.extend(client.registries(tree).unwrap_or_default());
        }
        names.retain(|name| Address::parse(name).is_some_and(|address| !gateway.is(&address)));
    }
    names.sort();
    names.dedup();
    if names.is_empty() {
        bail!("the configurations name no registry: say for which one to look, with --registry HOST");
    }
    Ok(names)
}

fn examine(tree: &Tree, clients: &[Client], registries: &[String], gateway: &Gateway) -> Vec<Row> {
    let mut rows = Vec::new();
    for client in clients {
        for registry in registries {
            let judgement = match client.judge(tree, registry, gateway) {
                Ok(Some(judgement)) => judgement,
                Ok(None) => continue,
                Err(error) => Judgement::open(Answer::Unknown, "", None, format!("{error:#}"), "let it be read"),
            };
            rows.push(Row { client: client.name.clone(), registry: registry.clone(), judgement });
        }
    }
    rows
}

/// A file as it should be.
#[derive(Debug, Serialize)]
struct Correction {
    file: String,
    /// Whether there is no such file yet.
    new: bool,
    content: String,
    /// Why it is not written without being asked for by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    caution: Option<&'static str>,
    /// Whether it was written.
    written: bool,
    /// Where what was there before is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
}

fn corrections(tree: &Tree) -> anyhow::Result<Vec<Correction>> {
    let before = tree.bare();
    let mut all = Vec::new();
    for (file, content) in tree.laid() {
        let there = before.read(file)?;
        if there.as_ref() == Some(content) {
            continue;
        }
        all.push(Correction {
            file: file.clone(),
            new: there.is_none(),
            content: content.clone(),
            caution: caution(file),
            written: false,
            backup: None,
        });
    }
    Ok(all)
}

/// Whether a file is there for the other spellings of names.
fn for_spellings(file: &str) -> bool {
    folders::is_default(file) || policy::is_policy(file)
}

/// Why a file is not written without being asked for by hand.
fn caution(file: &str) -> Option<&'static str> {
    if docker::changes_store(file) {
        return Some(docker::CAUTION);
    }
    if folders::is_default(file) {
        return Some(folders::CAUTION);
    }
    policy::is_policy(file).then_some(policy::CAUTION)
}

#[derive(Debug, Serialize)]
struct Answers {
    gateway: String,
    registries: Vec<String>,
    /// What holds now; with `--fix`, after it.
    answers: Vec<Row>,
    corrections: Vec<Correction>,
    /// What would hold with every correction.
    corrected: Vec<Row>,
    /// The pull that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<Canary>,
}

impl Answers {
    fn exit(&self) -> Exit {
        let outcome = self.canary.as_ref().map(|canary| canary.outcome);
        if outcome == Some(Outcome::Arrived) || self.answers.iter().any(|row| row.judgement.answer.bypassable()) {
            return Exit::No;
        }
        let all = !self.answers.is_empty() && self.answers.iter().all(|row| row.judgement.answer == Answer::Final);
        let all = all && outcome != Some(Outcome::Failed);
        if all { Exit::Yes } else { Exit::Unknown }
    }

    fn describe(&self, fixed: bool) -> String {
        let rows = self.answers.iter().map(|row| {
            let judgement = &row.judgement;
            let mut why = judgement.reason.clone();
            for note in &judgement.notes {
                why.push_str(&format!("\nnote: {note}"));
            }
            let place = match judgement.line {
                Some(line) => format!("{}:{line}", judgement.file),
                None => judgement.file.clone(),
            };
            let mend = judgement.mend.clone().unwrap_or_default();
            [row.client.clone(), row.registry.clone(), judgement.answer.name().to_owned(), why, place, mend]
        });
        let mut text = table::table(["client", "registry", "a denial is", "why", "where", "what to do"], rows);
        if self.answers.is_empty() {
            text = "no client here pulls images for Kubernetes, and no other was found".to_owned();
        }
        for correction in &self.corrections {
            let (file, content) = (&correction.file, correction.content.trim_end());
            let head = match (correction.written, &correction.backup, correction.new) {
                (true, Some(backup), _) => format!("written; what was there is kept as {backup}"),
                (true, None, _) => "written".to_owned(),
                (false, _, true) => "should be a new file".to_owned(),
                (false, _, false) => "should be".to_owned(),
            };
            text.push_str(&format!("\n\n{file} {head}:\n"));
            if let Some(caution) = correction.caution {
                text.push_str(&format!("(only by hand: {caution})\n"));
            }
            text.push_str(&format!("\n{content}"));
        }
        let rest: Vec<String> = self
            .corrected
            .iter()
            .filter(|row| row.judgement.answer != Answer::Final)
            .map(|row| format!("{} and {} ({})", row.client, row.registry, row.judgement.answer.name()))
            .collect();
        if !self.corrections.is_empty() && !fixed && rest.is_empty() {
            let by_hand = self.corrections.iter().any(|correction| correction.caution.is_some());
            let except = if by_hand { " except what is only by hand" } else { "" };
            text.push_str(&format!(
                "\n\nWith these files every denial is final. `--fix` writes them{except}, and keeps what was there."
            ));
        } else if !rest.is_empty() && !self.corrections.is_empty() {
            text.push_str(&format!("\n\nThese files do not help: {}", rest.join("; ")));
        }
        if let Some(canary) = &self.canary {
            let Canary { image, client, said, .. } = canary;
            text.push_str(&match canary.outcome {
                Outcome::Refused => format!("\n\n{client} was denied {image}, and did not get it: {said}"),
                Outcome::Arrived => format!(
                    "\n\n{client} pulled {image}: it walks around the gateway, unless the gateway allows this image"
                ),
                Outcome::Failed => format!("\n\n{client} did not get {image}, but nobody denied it: {said}"),
            });
            if canary.digest_told == Some(true) {
                text.push_str(DIGEST_TOLD);
            }
        }
        text
    }
}
