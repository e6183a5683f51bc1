//! The table in `docs/clients.md`.

use std::{fs, path::PathBuf};

use super::pull::Setup;

const BEGIN: &str = "<!-- made by cli/tests/served/clients: begin -->";
const END: &str = "<!-- made by cli/tests/served/clients: end -->";
const HEAD: &str = "| Client | Version | Configuration | Allowed | Denied | Denied, its registry in capitals | No longer allowed, and on the machine | `sluice doctor` says |";

/// What was seen of one client in one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub client: String,
    pub version: String,
    pub configuration: String,
    pub denied: String,
    pub capitals: &'static str,
    pub revoked: &'static str,
    pub doctor: String,
    /// What the client said of the denial, without what changes.
    pub shown: String,
}

const FINAL: &str = "final";

impl Row {
    pub fn new(setup: &Setup, arrived: bool) -> Self {
        Self {
            client: setup.client.clone(),
            version: setup.version.clone(),
            configuration: setup.configuration.to_owned(),
            denied: if arrived { "falls back" } else { FINAL }.to_owned(),
            capitals: "—",
            revoked: "",
            doctor: "—".to_owned(),
            shown: String::new(),
        }
    }

    pub fn is_final(&self) -> bool {
        self.denied == FINAL
    }

    pub fn without_gateway(&mut self, arrived: bool) {
        if arrived && self.is_final() {
            "stops; falls back when the gateway is down".clone_into(&mut self.denied);
        }
    }

    fn line(&self) -> String {
        let Self { client, version, configuration, denied, capitals, revoked, doctor, .. } = self;
        format!(
            "| {client} | {version} | {configuration} | bit for bit | {denied} | {capitals} | {revoked} | {doctor} |"
        )
    }

    fn message(&self) -> String {
        format!("{}\n\n```text\n{}\n```", self.program(), self.shown)
    }

    /// The client without its line of versions, and the version.
    fn program(&self) -> String {
        let named = |word: &&str| !word.starts_with(|first: char| first.is_ascii_digit());
        let name: Vec<_> = self.client.split(' ').filter(named).collect();
        format!("{} {}:", name.join(" "), self.version)
    }
}

/// Whether the table is to be written: then every client must be there.
pub fn is_written() -> bool {
    std::env::var("SLUICE_CLIENTS_TABLE").is_ok_and(|value| value == "write")
}

/// Holds what ran to the committed table, or writes that. Returns what differs.
pub fn hold(rows: &[Row]) -> Vec<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/clients.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the table");
    let (table, after) = rest.split_once(END).expect("the mark after the table");
    if is_written() {
        fs::write(file, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", made(rows))).unwrap();
        return Vec::new();
    }
    let differs = |part: &String| !table.contains(part.as_str());
    let mut wrong = Vec::new();
    for row in rows {
        // Another version may say it in other words, and must do the same.
        let line = row.line();
        let cells = |line: &str| line.split(" | ").map(str::to_owned).collect::<Vec<_>>();
        let without_version = |line: &str| {
            let mut cells = cells(line);
            cells.remove(1);
            cells
        };
        if !table.lines().any(|known| cells(known).len() > 2 && without_version(known) == without_version(&line)) {
            wrong.push(format!("docs/clients.md does not say this:\n{line}"));
        }
    }
    for row in firsts(rows) {
        if table.contains(&format!("{}\n", row.program())) && differs(&row.message()) {
            wrong.push(format!("docs/clients.md shows another message:\n{}", row.message()));
        }
    }
    if !wrong.is_empty() {
        wrong.push("SLUICE_CLIENTS_TABLE=write writes the table".to_owned());
    }
    wrong
}

fn made(rows: &[Row]) -> String {
    let bar = "|---".repeat(HEAD.matches('|').count() - 1) + "|";
    let lines: Vec<_> = rows.iter().map(Row::line).collect();
    let messages: Vec<_> = firsts(rows).map(Row::message).collect();
    format!("{HEAD}\n{bar}\n{}\n\n## What people see\n\n{}", lines.join("\n"), messages.join("\n\n"))
}

/// One of each client: the first that was refused.
fn firsts(rows: &[Row]) -> impl Iterator<Item = &Row> {
    let mut last = String::new();
    rows.iter().filter(move |row| {
        let first = !row.shown.is_empty() && row.client != last;
        if first {
            last.clone_from(&row.client);
        }
        first
    })
}
