//! skopeo, podman and buildah read one configuration, each for itself.

use std::path::Path;

use super::{
    Setup, Store, Variables,
    pull::{View, here, line, put, version},
    stage::Stage,
};
use crate::real_clients::HOST;

pub fn setups(stage: &Stage, setups: &mut Vec<Setup>) {
    let (gateway, registry) = (stage.gateway(), stage.registry());
    let named = "the gateway in the image's name";
    let rewritten =
        format!("[[registry]]\nprefix = \"{registry}\"\nlocation = \"{gateway}/{HOST}\"\ninsecure = true\n");
    let blocked = format!(
        "[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\nblocked = true\n\n[[registry.mirror]]\nlocation = \"{gateway}/{HOST}\"\ninsecure = true\n"
    );
    let mirror = blocked.replace("blocked = true", "insecure = true");
    let anything = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#.to_owned();
    let named_alone = format!(
        r#"{{"default": [{{"type": "reject"}}], "transports": {{"docker": {{"{registry}": [{{"type": "insecureAcceptAnything"}}]}}}}}}"#
    );
    let configurations = [
        (named, format!("[[registry]]\nlocation = \"{gateway}\"\ninsecure = true\n"), &anything),
        ("`registries.conf`: `location` is the gateway", rewritten.clone(), &anything),
        ("the same, and `policy.json` rejects what it does not name", rewritten, &named_alone),
        ("`registries.conf`: the gateway is the only mirror, the registry is blocked", blocked, &anything),
        ("`registries.conf`: the gateway is a mirror", mirror, &anything),
    ];
    for client in ["skopeo", "podman", "buildah"].into_iter().filter(|client| here(&[client])) {
        for (number, (configuration, text, policy)) in configurations.iter().enumerate() {
            let folder = stage.folder(&format!("{client}-{number}"));
            let root = folder.join("root");
            put(&root, "etc/containers/registries.conf", text);
            put(&root, "etc/containers/policy.json", policy);
            let own = folder.join("home/.config/containers");
            put(&own, "registries.conf", text);
            put(&own, "policy.json", policy);
            let store = folder.join("store");
            let direct = *configuration == named;
            let variables = variables(stage, &folder);
            setups.push(Setup {
                client: client.to_owned(),
                version: version(client, "--version"),
                configuration,
                command: command(client, &store, &folder),
                variables: variables.clone(),
                prefix: if direct { stage.direct_prefix() } else { registry.clone() },
                store: Store(store),
                doctor: (!direct).then(|| View {
                    root,
                    client: "podman, skopeo, CRI-O",
                    registry: registry.clone(),
                    canary: (client, variables),
                }),
                capitals: (!direct).then(|| stage.registry_in_capitals()),
                differs_between_versions: false,
            });
        }
    }
}

fn variables(stage: &Stage, folder: &Path) -> Variables {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    Variables::from([
        ("HOME".to_owned(), text(&folder.join("home"))),
        ("XDG_CONFIG_HOME".to_owned(), text(&folder.join("home/.config"))),
        ("REGISTRY_AUTH_FILE".to_owned(), text(&stage.login().join("config.json"))),
        ("CONTAINERS_REGISTRIES_CONF".to_owned(), text(&folder.join("home/.config/containers/registries.conf"))),
    ])
}

fn command(client: &str, store: &Path, folder: &Path) -> Vec<String> {
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    if client == "skopeo" {
        let words = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://IMAGE"];
        let target = format!("dir:{}", at(&store.join("NAME")));
        std::fs::create_dir_all(store).unwrap();
        return [line(&words), vec![target]].concat();
    }
    let (root, run) = (at(store), at(&folder.join("run")));
    let storage = [client, "--root", &root, "--runroot", &run, "--storage-driver", "vfs", "pull", "--quiet"];
    // Else buildah asks nobody when it has an image of the name; podman always asks.
    let policy = if client == "buildah" { &["--policy", "always"][..] } else { &[] };
    line(&[&storage[..], policy, &["--tls-verify=false", "IMAGE"]].concat())
}
