//! `sluice completions` and `sluice man`: what a shell and a reader need to know about the commands.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use serde_json::json;

use crate::{
    args::Arguments,
    exit::Exit,
    files,
    report::{Report, plain},
};

/// The script that completes commands in a shell.
pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<Report> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sluice", &mut script);
    let script = String::from_utf8(script)?;
    Report::new(Exit::Yes, &json!({"script": script}), script)
}

/// Writes a manual page for every command.
pub fn manual(folder: &Path) -> anyhow::Result<Report> {
    std::fs::create_dir_all(folder).with_context(|| format!("the folder `{}` cannot be made", folder.display()))?;
    let mut written = Vec::new();
    let mut command = Arguments::command();
    command.build();
    pages(&command, "sluice", folder, &mut written)?;
    let text = plain(&format!("wrote {} pages to {}", written.len(), folder.display()));
    Report::new(Exit::Yes, &json!({"pages": written}), text)
}

fn pages(command: &clap::Command, name: &str, folder: &Path, written: &mut Vec<String>) -> anyhow::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).render(&mut page)?;
    let file = format!("{name}.1");
    files::replace(&folder.join(&file), &page, files::Readers::Everyone)?;
    written.push(file);
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        pages(inner, &format!("{name}-{}", inner.get_name()), folder, written)?;
    }
    Ok(())
}
