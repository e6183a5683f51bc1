//! `sluice deny …`

use anyhow::Context;
use contracts::{
    Digest, PinnedRef,
    api::{DenialInfo, NewDenial},
};

use super::connect;
use crate::{
    args::{self, DenyCommand, When},
    clock,
    exit::Exit,
    report::{Report, plain, table},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Deny) -> anyhow::Result<Report> {
    match &args.command {
        Some(DenyCommand::List) => list(connection).await,
        Some(DenyCommand::Remove { digest }) => {
            let digest = read(digest)?;
            let info = connect(connection)?.remove_denial(digest).await?;
            let text = format!("{digest} is no longer denied by an operator: what its evidence says decides again");
            Report::new(Exit::Yes, &info, plain(&text))
        }
        None => deny(connection, args).await,
    }
}

async fn deny(connection: &args::Connection, args: &args::Deny) -> anyhow::Result<Report> {
    let digest = read(args.digest.as_deref().unwrap_or_default())?;
    let until = args.until.map(|until| match until {
        When::At(at) => Ok(at),
        When::Away(lasting) => clock::now().checked_add(lasting),
    });
    let denial = NewDenial {
        reason: args.reason.clone().unwrap_or_default(),
        until: until.transpose().context("`--until` is too far away")?,
        repositories: args.repositories.clone(),
    };
    let info = connect(connection)?.deny(digest, &denial).await?;
    let places = match info.repositories.as_slice() {
        [] => "in every repository".to_owned(),
        some => format!("in {}", some.join(", ")),
    };
    let until = info.until.map_or("until it is removed".to_owned(), |until| format!("until {}", table::moment(until)));
    let text = format!("{digest} is denied from now on, and whatever holds it: {places}, {until}");
    Report::new(Exit::Yes, &info, plain(&text))
}

async fn list(connection: &args::Connection) -> anyhow::Result<Report> {
    let list = connect(connection)?.denials().await?;
    let rows = list.iter().map(|info| {
        [
            info.digest.to_string(),
            info.reason.clone(),
            if info.repositories.is_empty() { "everywhere".to_owned() } else { info.repositories.join("\n") },
            table::moment(info.denied_at),
            until(info),
            info.by.clone(),
        ]
    });
    let text = table::table(["digest", "reason", "where", "since", "until", "by"], rows);
    Report::new(Exit::Yes, &list, text)
}

fn until(info: &DenialInfo) -> String {
    match (info.until, info.in_force) {
        (None, _) => "removed".to_owned(),
        (Some(until), true) => table::moment(until),
        (Some(until), false) => format!("over since {}", table::moment(until)),
    }
}

/// A digest, alone or of a reference.
fn read(text: &str) -> anyhow::Result<Digest> {
    if text.contains('@') {
        return Ok(text.parse::<PinnedRef>().with_context(|| format!("`{text}` names no digest"))?.digest);
    }
    text.parse()
        .with_context(|| format!("`{text}` is not a digest: write `sha256:…`, as `sluice check` prints it of an image"))
}
