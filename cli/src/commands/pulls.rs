//! `sluice pulls`: who pulled what, and what of it would be denied now.

mod fleet;

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use contracts::{
    Decision,
    api::{JudgedImage, PullInfo, PullWay, PulledImage, ToldBy},
    limits,
};
use jiff::Timestamp;
use serde_json::json;

use super::connect;
use crate::{
    args::{self, When},
    client::Client,
    clock,
    exit::Exit,
    report::{Report, plain, table},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Pulls) -> anyhow::Result<Report> {
    let since = since(args.since)?;
    let client = connect(connection)?;
    if !args.would_deny {
        let pulls = client.pulls(since, args.limit).await?;
        return Report::new(Exit::Yes, &pulls, rows(&pulls));
    }
    let running = match &args.from {
        Some(file) => fleet::read(file)?,
        None => {
            let images = client.pulled_images(since).await?;
            if images.is_empty() {
                // Nobody pulled anything, which is known: nothing of it would be denied.
                let data = json!({"asked": 0, "denied": [], "unclear": [], "without_digest": []});
                return Report::new(
                    Exit::Yes,
                    &data,
                    plain("nothing was let through in that time: there is no image to ask about"),
                );
            }
            pulled(images)
        }
    };
    would_deny(&client, running).await
}

fn since(when: Option<When>) -> anyhow::Result<Option<Timestamp>> {
    when.map(|when| match when {
        When::At(at) => Ok(at),
        When::Away(ago) => clock::now().checked_sub(ago).context("`--since` is too long ago"),
    })
    .transpose()
}

fn rows(pulls: &[PullInfo]) -> String {
    let rows = pulls.iter().map(|pull| {
        let decision = match (pull.decision, pull.enforced) {
            (Decision::Allow, true) => "allowed",
            (Decision::Allow, false) => "unenforced",
            (Decision::Deny, _) => "denied",
        };
        let by = whom(pull.way, &pull.by, &pull.name, pull.told_by.as_ref());
        let tag = pull.tag.as_ref().map(|tag| format!(" as {tag}")).unwrap_or_default();
        [table::moment(pull.at), format!("{}{tag}", pull.image), decision.to_owned(), by, pull.requests.to_string()]
    });
    table::table(["when", "image", "", "by", "requests"], rows)
}

/// Who it was. What a cluster says of its users is shown with the token that said so.
fn whom(way: PullWay, by: &str, name: &str, told_by: Option<&ToldBy>) -> String {
    match (way, told_by) {
        (PullWay::Pull, _) => format!("{name} ({by})"),
        (PullWay::Kubernetes, None) => format!("{by} in namespace {name}"),
        (PullWay::Kubernetes, Some(told)) => {
            format!("{by} in namespace {name}, says {} ({})", told.name, told.id)
        }
    }
}

/// What is asked about: each image, with where it runs or who pulled it.
#[derive(Debug, Default)]
struct Running {
    images: BTreeMap<String, Vec<String>>,
    /// What runs and has no digest to ask about.
    unclear: Vec<String>,
}

fn pulled(images: Vec<PulledImage>) -> Running {
    let told = |image: &PulledImage| {
        let done = match image.way {
            PullWay::Pull => "pulled",
            PullWay::Kubernetes => "started",
        };
        let by = whom(image.way, &image.by, &image.name, image.told_by.as_ref());
        format!("{done} {} by {by}", table::moment(image.last))
    };
    Running {
        images: images.into_iter().map(|image| (image.image.clone(), vec![told(&image)])).collect(),
        unclear: Vec::new(),
    }
}

async fn would_deny(client: &Client, running: Running) -> anyhow::Result<Report> {
    let asked: Vec<String> = running.images.keys().cloned().collect();
    if asked.is_empty() && running.unclear.is_empty() {
        bail!("there is no image to ask about");
    }
    let mut judged: Vec<JudgedImage> = Vec::with_capacity(asked.len());
    for some in asked.chunks(limits::JUDGED_IMAGES) {
        judged.extend(client.judge(some.to_vec()).await?);
    }
    let of = |wanted: Option<Decision>| -> Vec<&JudgedImage> {
        judged.iter().filter(|one| one.decision == wanted).collect()
    };
    let (denied, unclear) = (of(Some(Decision::Deny)), of(None));
    let exit = match (denied.is_empty(), unclear.is_empty() && running.unclear.is_empty()) {
        (false, _) => Exit::No,
        (true, false) => Exit::Unknown,
        (true, true) => Exit::Yes,
    };
    let places = |image: &str| running.images.get(image).cloned().unwrap_or_default();
    let shown = |one: &&JudgedImage| json!({"image": one.image, "reason": one.reason, "verdict": one.verdict, "where": places(&one.image)});
    let data = json!({
        "asked": asked.len(),
        "denied": denied.iter().map(shown).collect::<Vec<_>>(),
        "unclear": unclear.iter().map(shown).collect::<Vec<_>>(),
        "without_digest": running.unclear,
    });
    let rows =
        denied.iter().map(|one| ("would be denied", *one)).chain(unclear.iter().map(|one| ("could not tell", *one)));
    let rows = rows.map(|(what, one)| {
        let mut places = places(&one.image);
        let more = places.len().saturating_sub(5);
        places.truncate(5);
        if more > 0 {
            places.push(format!("and {more} more"));
        }
        [what.to_owned(), one.image.clone(), places.join("\n"), one.reason.clone()]
    });
    let without = running
        .unclear
        .iter()
        .map(|place| ["could not tell".to_owned(), String::new(), place.clone(), "it names no digest".to_owned()]);
    let rows: Vec<[String; 4]> = rows.chain(without).collect();
    let summary = format!(
        "{} images asked about, {} would be denied now, {} could not be told",
        asked.len(),
        denied.len(),
        unclear.len() + running.unclear.len()
    );
    let text = match rows.is_empty() {
        true => plain(&summary),
        false => format!("{}\n{}", table::table(["", "image", "where", "why"], rows), plain(&summary)),
    };
    Report::new(exit, &data, text)
}
