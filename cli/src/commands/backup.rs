//! `sluice backup`: through the API, as the database has one opener.

use serde_json::json;

use super::connect;
use crate::{args, exit::Exit, report::Report};

/// Copies the gateway's state to a new file.
pub async fn run(connection: &args::Connection, args: &args::Backup) -> anyhow::Result<Report> {
    let bytes = connect(connection)?.backup(&args.output).await?;
    let file = args.output.display().to_string();
    let text = format!("wrote {bytes} bytes to {file}");
    Report::new(Exit::Yes, &json!({"file": file, "bytes": bytes}), text)
}
