//! `sluice organization …`

use std::path::Path;

use anyhow::{Context, bail};
use contracts::{
    api::{Approver, ChangedOrganization, OrganizationSettings, Unmatched},
    limits, yaml,
};

use super::connect;
use crate::{
    args,
    exit::Exit,
    files,
    report::{Report, plain, table},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Organization) -> anyhow::Result<Report> {
    match args {
        args::Organization::Describe => {
            let settings = connect(connection)?.organization().await?;
            Report::new(Exit::Yes, &settings, describe(&settings))
        }
        args::Organization::Apply { file } => {
            let settings = read(file)?;
            let ChangedOrganization { settings, warnings } =
                connect(connection)?.change_organization(&settings).await?;
            let report = Report::new(Exit::Yes, &settings, describe(&settings))?;
            Ok(warnings.iter().fold(report, |report, warning| report.note(plain(&format!("warning: {warning}")))))
        }
    }
}

/// Reads settings in YAML or JSON, as `describe` prints them. In the place of a key may stand `file://` and the path of
/// its file, from the folder of the settings.
fn read(path: &Path) -> anyhow::Result<OrganizationSettings> {
    let file = path.display().to_string();
    let bytes = files::read(path, limits::REVISION_FILE_BYTES)?;
    let node = yaml::parse(&file, &bytes)?;
    let Ok(value) = node.to_json() else { bail!("`{file}` holds a number that JSON does not have") };
    let settings = serde_json::from_value(value);
    let mut settings: OrganizationSettings = settings.with_context(|| format!("`{file}` holds no settings"))?;
    let approvers = settings.exemptions.approvers.iter_mut().filter_map(|approver| match approver {
        Approver::Key(pem) => Some(pem),
        Approver::Identity { .. } => None,
    });
    for key in settings.default_signers.iter_mut().chain(approvers) {
        if let Some(named) = key.strip_prefix("file://") {
            *key = files::read_text(&files::folder_of(path).join(named), limits::KEY_BYTES)?;
        } else if !key.contains('\n') && files::folder_of(path).join(&*key).is_file() {
            bail!("`{key}` in `{file}` is a file, and a key is wanted: write `file://{key}`");
        }
    }
    Ok(settings)
}

fn describe(settings: &OrganizationSettings) -> String {
    let exemptions = &settings.exemptions;
    let keys = |keys: &[String]| match keys.len() {
        0 => "nobody".to_owned(),
        1 => "the holder of 1 key".to_owned(),
        many => format!("the holders of {many} keys"),
    };
    let approvers = match exemptions.approvers.len() {
        0 => "nobody".to_owned(),
        many => format!("{} of {many}, for {} at most", exemptions.threshold, exemptions.longest),
    };
    let isolated = settings.isolated_builders.iter().map(|builder| builder.identity.clone());
    let card = table::card([
        ("default signers", keys(&settings.default_signers)),
        (
            "no contract",
            match settings.unmatched {
                Unmatched::Deny => "images are blocked".to_owned(),
                Unmatched::Allow => "images are let through, unenforced".to_owned(),
            },
        ),
        ("identity tokens", format!("{} rules", settings.federation.len())),
        ("exemptions approved by", approvers),
        ("never exempted", exemptions.never.join(", ")),
        ("isolated builders", isolated.collect::<Vec<_>>().join(", ")),
    ]);
    plain(&card)
}
