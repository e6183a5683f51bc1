//! `sluice quickstart`: the three jobs for real, in a folder of their own: a contract is applied, two builds are
//! attested, and their images are pulled through a gateway that lets one through and blocks the other. Every
//! command shown is run as shown, by this very program, against a gateway that listens on loopback.

mod folder;
mod images;
mod shell;

use std::path::Path;

use anyhow::Context;
use gateway::{Gateway, config::Settings};

use self::{
    folder::{Folder, Listening},
    shell::Shell,
};
use crate::{
    exit::Exit,
    report::{Report, plain},
};

const REPOSITORY: &str = "registry.shop.example/shop/app";

/// Runs the quickstart in `folder`; stays up until Ctrl-C unless `exit`.
pub async fn run(path: &Path, exit: bool) -> anyhow::Result<()> {
    let folder = Folder::prepare(path, Listening::AnyPort)
        .with_context(|| format!("`{}` could not be prepared", path.display()))?;
    let again = folder.is_used();
    let settings = Settings::load(&folder.path.join("sluice.toml"))?;
    let running = Gateway::start(settings).await?;
    let address = format!("http://{}", running.address());
    let token = folder.admin_token()?;
    let shell = Shell { folder: folder.path.clone(), gateway: address.clone(), token };

    shell.say("Sluice quickstart");
    shell.note(&format!("working folder: {}", folder.path.display()));
    shell.note(&format!("the gateway listens on {address} (state, evidence and token are in the folder)"));

    let outcome = three_jobs(&shell, &folder, again).await;
    if outcome.is_ok() {
        shell.say("That was it");
        shell.note("one image went through, the other was blocked, and nothing but the evidence decided");
        if !exit {
            shell.note(&format!("the gateway stays up; in another terminal: cd {}", folder.path.display()));
            shell.note(&format!("  export SLUICE_GATEWAY={address} SLUICE_TOKEN=$(cat {})", folder::TOKEN_FILE));
            shell.note("Ctrl-C ends it; running the quickstart again goes on in the same folder");
            tokio::signal::ctrl_c().await?;
        }
    }
    running.stop().await;
    outcome
}

/// Writes the files that a person begins with who wants to type the commands, and says what they are.
pub fn files(path: &Path) -> anyhow::Result<Report> {
    let folder = Folder::prepare(path, Listening::UsualPort)
        .and_then(|folder| folder.write_manifest().map(|()| folder))
        .with_context(|| format!("`{}` could not be prepared", path.display()))?;
    let files = [
        ("sluice.toml", "the settings of the gateway"),
        ("images/", "the registry: a folder with the images shop/app:v1 and shop/app:v2"),
        ("contract.yaml", "what a release must bring, as security wrote it"),
        ("policies/", "the rule about licences that the contract names"),
        ("sbom-v1.json", "the parts list of v1, as a build tool writes it"),
        ("sbom-v2.json", "the parts list of v2"),
        ("tests.xml", "the results of the tests"),
        (".sluice.yml", "which of these a release shows"),
    ];
    let lines: Vec<String> = files.iter().map(|(name, what)| format!("{name:<15}{what}")).collect();
    let go = if path == Path::new(".") { String::new() } else { format!("cd {} && ", path.display()) };
    let text = plain(&format!("{}\nnext: {go}sluice serve", lines.join("\n")));
    Report::new(Exit::Yes, &serde_json::json!({"folder": folder.path}), text)
}

async fn three_jobs(shell: &Shell, folder: &Folder, again: bool) -> anyhow::Result<()> {
    shell.say("1. Security writes down what a release must bring, and applies it");
    if folder.needs_key() {
        shell.run(&["key", "generate", "--output", "keys/build"], 0).await?;
    }
    shell.run(&["contract", "lint", "contract.yaml"], 0).await?;
    shell.run(&["contract", "apply", "contract.yaml"], 0).await?;
    shell
        .run(
            &[
                "workflow",
                "create",
                "--project",
                "shop",
                "--name",
                "release",
                "--team",
                "checkout",
                "--contract",
                "shop-release",
            ],
            0,
        )
        .await?;

    if again {
        shell.say("2. The quickstart ran in this folder before: v1 is known if its build was attested then");
        shell.run_any(&["check", &format!("{REPOSITORY}:v1")], &[0, 1]).await?;
    } else {
        shell.say("2. Nothing is known of the images yet, so neither may be used");
        shell.run(&["check", &format!("{REPOSITORY}:v1")], 1).await?;
    }

    shell.say("3. The build of v1 shows what it made, and signs it");
    attest(shell, folder, 0, "v1", 0).await?;

    shell.say("4. The build of v2 does the same, but ships a licence that the contract bans");
    attest(shell, folder, 1, "v2", 4).await?;

    shell.say("5. The release job asks, and images are pulled through the gateway");
    shell.run(&["check", &format!("{REPOSITORY}:v1")], 0).await?;
    shell.pull(REPOSITORY, "v1", 200).await?;
    shell.run(&["check", &format!("{REPOSITORY}:v2")], 1).await?;
    shell.pull(REPOSITORY, "v2", 403).await?;

    shell.say("6. Whoever looks after it sees every run");
    shell.run(&["run", "list"], 0).await
}

async fn attest(shell: &Shell, folder: &Folder, image: usize, tag: &str, pushed: i32) -> anyhow::Result<()> {
    folder.forget_run()?;
    let digest = folder.images.get(image).context("the image was not written")?;
    shell.run(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0).await?;
    let image = format!("{REPOSITORY}@{digest}");
    shell.run(&["attestation", "add", "--name", "image", "--value", &image], 0).await?;
    shell.run(&["attestation", "add", "--name", "sbom", "--value", &format!("sbom-{tag}.json")], 0).await?;
    shell.run(&["attestation", "add", "--name", "tests", "--value", "tests.xml"], 0).await?;
    shell.run(&["attestation", "push", "--key", "keys/build.key"], pushed).await
}
