//! crane and oras have no configuration of registries: the gateway stands in the image's name.

use super::{
    Setup, Store, Variables,
    pull::{here, version},
    stage::Stage,
};

pub fn setups(stage: &Stage, setups: &mut Vec<Setup>) {
    let variables = Variables::from([("DOCKER_CONFIG".to_owned(), stage.login().to_str().unwrap().to_owned())]);
    let mut add = |client: &str, version: String, command: &[&str]| {
        let folder = stage.folder(client);
        let target = folder.join("NAME").to_str().unwrap().to_owned();
        let command: Vec<_> = command.iter().map(|word| word.replace("TARGET", &target)).collect();
        setups.push(Setup {
            client: client.to_owned(),
            version,
            configuration: "the gateway in the image's name",
            command,
            variables: variables.clone(),
            prefix: stage.direct_prefix(),
            store: Store(folder),
            doctor: None,
            capitals: None,
            differs_between_versions: false,
        });
    };
    if here(&["crane"]) {
        let command = ["crane", "pull", "--insecure", "--format", "oci", "IMAGE", "TARGET"];
        add("crane", version("crane", "version"), &command);
    }
    if here(&["oras"]) {
        let command = ["oras", "copy", "--from-plain-http", "IMAGE", "--to-oci-layout", "TARGET:v1"];
        add("oras", version("oras", "version"), &command);
    }
}
