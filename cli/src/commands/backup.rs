//! `sluice backup`: through the API, as the database has one opener.

use anyhow::bail;
use serde_json::json;

use super::connect;
use crate::{args, exit::Exit, files, report::Report};

/// Copies the gateway's state to a new file.
pub async fn run(connection: &args::Connection, args: &args::Backup) -> anyhow::Result<Report> {
    if args.output.exists() {
        bail!("`{}` is there already: name another file", args.output.display());
    }
    let folder = files::folder_of(&args.output);
    if !folder.is_dir() {
        bail!("the folder `{}` is not there: make it, or name another file", folder.display());
    }
    let bytes = connect(connection)?.backup(&args.output).await?;
    let file = args.output.display().to_string();
    let text = format!("wrote {bytes} bytes to {file}");
    let report = Report::new(Exit::Yes, &json!({"file": file, "bytes": bytes}), text)?;
    Ok(report.note(
        "not in it: the folder `evidence`, and the key that the gateway signs with (`signing.key` beside the state, or \
         `key` under `[signing]`): copy them too"
            .to_owned(),
    ))
}
