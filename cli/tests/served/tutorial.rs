//! `docs/tutorial.md`, typed line by line: whoever follows it must see what it says, and every mistake in it must name the
//! command that comes next.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::scene::{both, free_address};

/// Where the document's gateway listens.
const ADDRESS: &str = "127.0.0.1:8080";
/// An allowed release takes fewer commands.
const MANY: usize = 15;
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing that the reader does.
enum Step {
    /// Types a command, and sees this.
    Type { command: String, shown: String },
    /// Writes a file.
    Write { name: String, text: String },
}

/// The document's console blocks, and its blocks that begin with `# .` and a file's name.
fn steps(document: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if language == "console" {
            for line in block {
                match (line.strip_prefix("$ "), steps.last_mut()) {
                    (Some(command), _) => steps.push(Step::Type { command: command.to_owned(), shown: String::new() }),
                    (None, Some(Step::Type { shown, .. })) => writeln!(shown, "{line}").unwrap(),
                    (None, _) => panic!("nobody types `{line}`"),
                }
            }
        } else if let Some(name) = block.first().and_then(|line| line.strip_prefix("# ")).filter(|n| n.starts_with('.'))
        {
            steps.push(Step::Write { name: name.to_owned(), text: block.join("\n") });
        }
    }
    steps
}

/// The reader's shell: what one command leaves for the next.
struct Reader {
    folder: tempfile::TempDir,
    address: SocketAddr,
    variables: BTreeMap<String, String>,
    background: Option<Child>,
}

impl Reader {
    fn new() -> Self {
        let address = free_address();
        let gateway = ("SLUICE_GATEWAY".to_owned(), format!("http://{address}"));
        Self { folder: testdata::scratch(), address, variables: BTreeMap::from([gateway]), background: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Types a command. Answers with what is shown, and with how it ended.
    fn types(&mut self, line: &str) -> (String, i32) {
        if let Some(variables) = line.strip_prefix("export ") {
            let pairs = variables.split(' ').map(|pair| pair.split_once('=').unwrap());
            self.variables.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
            return (String::new(), 0);
        }
        if let Some(line) = line.strip_suffix(" &") {
            self.begins(line);
            return (String::new(), 0);
        }
        if line == "kill %1" {
            self.ends();
            return (String::new(), 0);
        }
        let output = self.shell(&format!("{{ {line}; }} 2>&1")).output().unwrap();
        (both(&output).replace(&self.address.to_string(), ADDRESS), output.status.code().unwrap())
    }

    fn shell(&self, line: &str) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", path).env("HOME", self.folder.path()).envs(&self.variables);
        command
    }

    /// The gateway listens where there is room; the first token is the last that it writes.
    fn begins(&mut self, line: &str) {
        let settings = fs::read_to_string(self.path("sluice.toml")).unwrap();
        assert!(settings.contains(ADDRESS), "{settings}");
        fs::write(self.path("sluice.toml"), settings.replace(ADDRESS, &self.address.to_string())).unwrap();
        self.background = Some(self.shell(&format!("exec {line}")).spawn().unwrap());
        let begun = Instant::now();
        let token = || fs::read_to_string(self.path("admin.token")).unwrap_or_default();
        while TcpStream::connect(self.address).is_err() || token().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{}", fs::read_to_string(self.path("serve.log")).unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ends(&mut self) {
        if let Some(mut child) = self.background.take() {
            // Fails when it ended already, which is as good.
            let _gone = child.kill();
            let _status = child.wait();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ends();
    }
}

/// What is shown, without what changes from run to run: ids, times, and how wide tables are. What is in a column is told
/// without spaces, as it may be broken anywhere.
fn same(shown: &str) -> String {
    let mut told = String::new();
    let mut columns: Vec<String> = Vec::new();
    for line in shown.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if let Some(row) = line.strip_prefix('│') {
            let cells: Vec<&str> = row.trim_end_matches('│').split('┆').collect();
            columns.resize(cells.len().max(columns.len()), String::new());
            columns.iter_mut().zip(cells).for_each(|(column, cell)| column.extend(cell.split_whitespace()));
        } else if line.starts_with('└') {
            columns.drain(..).for_each(|column| writeln!(told, "| {}", without_ids(&column)).unwrap());
        } else if !line.starts_with(['┌', '╞']) {
            writeln!(told, "{}", without_ids(line)).unwrap();
        }
    }
    told
}

/// Digests of what the reader was given stay: they are the same for everyone.
fn without_ids(line: &str) -> String {
    let given = ["image: ", "sbom: ", "tests: ", "registry."].iter().any(|begin| line.starts_with(begin));
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut told = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(is_hex) {
        let (before, from) = rest.split_at(at);
        let (run, after) = from.split_at(from.find(|c| !is_hex(c)).unwrap_or(from.len()));
        told.push_str(before);
        match run.len() {
            32 => told.push_str("[id]"),
            64 if !given => told.push_str("[digest]"),
            _ => told.push_str(run),
        }
        rest = after;
    }
    told.push_str(rest);
    let is_time = |word: &str| word.len() >= 20 && word.starts_with("20") && word.trim_end_matches(',').ends_with('Z');
    told.split(' ').map(|word| if is_time(word) { "[time]" } else { word }).collect::<Vec<_>>().join(" ")
}

#[test]
fn whoever_types_the_tutorial_sees_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md");
    let document = fs::read_to_string(&path).unwrap();
    let mut reader = Reader::new();
    let (mut typed, mut blocked_at, mut allowed_at) = (0, None, None);
    for step in steps(&document) {
        let (command, shown) = match step {
            Step::Write { name, text } => {
                fs::write(reader.path(&name), text).unwrap();
                continue;
            }
            Step::Type { command, shown } => (command, shown),
        };
        typed += 1;
        let (mut told, exit) = reader.types(&command);
        if exit != 0 {
            write!(told, "\n(exit {exit})").unwrap();
            assert!(
                told.contains("sluice ") || told.contains("export SLUICE"),
                "$ {command}\nnames no command:\n{told}"
            );
        }
        assert_eq!(same(&told), same(&shown), "$ {command}\n{told}");
        if command.starts_with("sluice attestation push") && told.contains("blocked: ") {
            blocked_at.get_or_insert(typed);
        }
        if command.starts_with("sluice check ") && exit == 0 {
            allowed_at.get_or_insert(typed);
        }
    }
    let (blocked, allowed) = (blocked_at.unwrap(), allowed_at.unwrap());
    assert!(blocked < allowed && allowed < MANY, "blocked by command {blocked}, allowed by command {allowed}");
}

#[test]
fn what_differs_in_earnest_is_told_apart() {
    assert_ne!(same("image: sha256:ab"), same("image: sha256:ac"));
    assert_ne!(same("│ blocks ┆ a │\n└"), same("│ blocks ┆ b │\n└"));
    assert_eq!(same("│ blocks ┆ a b │\n└"), same("│ blo ┆ a │\n│ cks ┆ b │\n└"));
    assert_ne!(same("x\n(exit 1)"), same("x\n(exit 2)"));
    assert_eq!(same("until 2027-02-24T00:57:27Z, if"), same("until 2028-02-24T00:57:27Z, if"));
}
