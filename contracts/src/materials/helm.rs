//! Helm charts, packed.

use serde_json::json;

use super::{
    Annotations, MaterialError, archive,
    reading::{Reading, to_json},
    shape::{
        Shape::{self, Filled, List, Object, OneOf, Text},
        may, must,
    },
    specs,
};
use crate::{limits, yaml};

/// A chart: policies see its `Chart.yaml` as `chart`. `values.yaml` is only checked to be YAML.
pub(super) fn chart(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static CHART: Shape = Object(&[
        must("apiVersion", OneOf(&["v1", "v2"])),
        must("name", Filled),
        must("version", Filled),
        may("description", Text),
        may("type", OneOf(&["application", "library"])),
        may("dependencies", List(&Object(&[must("name", Filled)]))),
    ]);
    if archive::format(bytes) != Some(archive::Format::Gzip) {
        return Err(MaterialError::malformed("it is not a gzipped tar").mend("pack the chart with `helm package`"));
    }
    let files = archive::unpack(bytes, &|name| is_own(name, "Chart.yaml") || is_own(name, "values.yaml"))?.files;
    let find = |wanted: &str| files.iter().find(|(name, _)| is_own(name, wanted));
    let charts = files.iter().filter(|(name, _)| is_own(name, "Chart.yaml")).count();
    let (Some((name, content)), 1) = (find("Chart.yaml"), charts) else {
        let message = "there is not exactly one folder with a `Chart.yaml` in the archive, so it is not a Helm chart";
        return Err(MaterialError::malformed(message).mend("pack the chart with `helm package`"));
    };
    let about = |error: MaterialError| error.about(&format!("`{name}` in the archive"));
    let chart = specs::yaml_to_json(content, limits::REVISION_FILE_BYTES).map_err(about)?;
    CHART.check(&chart, 0).map_err(about)?;
    if let Some((name, values)) = find("values.yaml") {
        yaml::check(values).map_err(|(line, message)| {
            MaterialError::malformed(format!("`{name}` in the archive, at line {line}: {message}"))
        })?;
    }
    Ok(Reading::json(to_json(&json!({"chart": chart}))?, Annotations::new()))
}

/// Whether it is a file of the chart itself, not of one that it brings along: `chart/Chart.yaml`.
pub(super) fn is_own(name: &str, file: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, rest)| !folder.is_empty() && rest == file)
}
