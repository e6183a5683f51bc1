//! The reports of scanners that are JSON, or JSON in an archive.

use serde_json::{Map, Value, json};

use super::{
    Annotations, MaterialError, archive, documents,
    documents::document,
    reading::{Reading, made_by, note, text, to_json},
    sarif::note_scan_types,
    shape::{
        Shape::{self, Any, Either, Filled, Flag, List, Map as MapOf, Nullable, Number, Object, OneOf, Text, Whole},
        may, must,
    },
};

/// A security report of GitLab, of whichever scanner.
pub(super) fn gitlab(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    const SCANNER: Shape = Object(&[may("id", Text), may("name", Text), may("version", Text)]);
    static REPORT: Shape = Object(&[
        must("version", Filled),
        must(
            "scan",
            Object(&[
                must(
                    "type",
                    OneOf(&[
                        "sast",
                        "dast",
                        "api_fuzzing",
                        "coverage_fuzzing",
                        "secret_detection",
                        "dependency_scanning",
                        "container_scanning",
                        "container_scanning_for_registry",
                        "cluster_image_scanning",
                    ]),
                ),
                may("scanner", SCANNER),
                may("analyzer", SCANNER),
                may("status", OneOf(&["success", "failure"])),
            ]),
        ),
        must(
            "vulnerabilities",
            List(&Object(&[
                may("id", Text),
                may("name", Text),
                may("severity", OneOf(&["Info", "Unknown", "Low", "Medium", "High", "Critical"])),
                may("location", MapOf(&Any)),
                may("identifiers", List(&Object(&[may("type", Text), may("name", Text), may("value", Text)]))),
            ])),
        ),
    ]);
    document(bytes, &REPORT, |report| {
        // The scanner is the tool; the analyzer is what GitLab wraps it in.
        let named = |key: &str| report.pointer(key).filter(|tool| text(tool, "name").is_some_and(|n| !n.is_empty()));
        let tool = named("/scan/scanner").or_else(|| named("/scan/analyzer"));
        tool.map(|tool| made_by(text(tool, "name").unwrap_or_default(), text(tool, "version"))).unwrap_or_default()
    })
}

/// A scan of Black Duck's software composition analysis.
pub(super) fn blackduck(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    const THERE: Shape = Either("a list or an object", &[List(&Any), MapOf(&Any)]);
    static REPORT: Shape = Object(&[
        must("detailedVulnerabilities", THERE),
        must("detailedProjectVersionCustomFields", THERE),
        must("detailedCodeLocations", THERE),
    ]);
    document(bytes, &REPORT, |_| Annotations::new())
}

/// A scan of Prisma Cloud's `twistcli`.
pub(super) fn twistcli(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static REPORT: Shape = Object(&[
        must("consoleURL", Filled),
        must(
            "results",
            List(&Object(&[
                may("id", Text),
                may("name", Text),
                may("digest", Text),
                may("vulnerabilities", Nullable(&List(&Object(&[may("id", Text), may("severity", Text)])))),
                may("compliances", Nullable(&List(&Any))),
                may("packages", Nullable(&List(&Any))),
                may("vulnerabilityScanPassed", Flag),
                may("complianceScanPassed", Flag),
            ])),
        ),
    ]);
    document(bytes, &REPORT, |_| Annotations::new())
}

/// Alerts of GitHub's code scanning, as its API lists them.
pub(super) fn ghas_code(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static ALERTS: Shape = List(&Object(&[
        must("tool", Object(&[may("name", Text), may("version", Nullable(&Text))])),
        may("number", Whole(1)),
        may("state", Nullable(&Text)),
        may("rule", Object(&[may("id", Nullable(&Text)), may("severity", Nullable(&Text))])),
    ]));
    document(bytes, &ALERTS, |_| Annotations::new())
}

/// Alerts of GitHub's secret scanning, as its API lists them.
pub(super) fn ghas_secrets(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static ALERTS: Shape = List(&Object(&[
        must("secret_type", Filled),
        may("number", Whole(1)),
        may("state", Text),
        may("resolution", Nullable(&Text)),
    ]));
    document(bytes, &ALERTS, |_| Annotations::new())
}

/// Alerts of GitHub's Dependabot, as its API lists them.
pub(super) fn ghas_dependencies(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static ALERTS: Shape = List(&Object(&[
        must("dependency", Object(&[may("package", Object(&[may("ecosystem", Text), may("name", Text)]))])),
        may("number", Whole(1)),
        may("state", Text),
        may("security_advisory", Object(&[may("severity", Text)])),
    ]));
    document(bytes, &ALERTS, |_| Annotations::new())
}

/// A report of Gitleaks in JSON.
pub(super) fn gitleaks(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static FINDINGS: Shape = List(&Object(&[
        must("Fingerprint", Filled),
        may("RuleID", Text),
        may("File", Text),
        may("StartLine", Whole(0)),
        may("Commit", Text),
        may("Tags", Nullable(&List(&Text))),
    ]));
    document(bytes, &FINDINGS, |_| made_by("gitleaks", None))
}

/// A baseline of Yelp's detect-secrets.
pub(super) fn detect_secrets(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static BASELINE: Shape = Object(&[
        must("version", Filled),
        must("plugins_used", List(&Object(&[may("name", Text)]))),
        must(
            "results",
            MapOf(&List(&Object(&[
                must("type", Filled),
                may("filename", Text),
                may("hashed_secret", Text),
                may("is_verified", Flag),
                may("is_secret", Nullable(&Flag)),
                may("line_number", Whole(0)),
            ]))),
        ),
    ]);
    document(bytes, &BASELINE, |baseline| made_by("detect-secrets", text(baseline, "version")))
}

/// A result of OpenSSF Scorecard (`--format json`).
pub(super) fn scorecard(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static RESULT: Shape = Object(&[
        must("date", Filled),
        must("repo", Object(&[must("name", Text), may("commit", Text)])),
        must("scorecard", Object(&[must("version", Filled), must("commit", Text)])),
        must("score", Number),
        must(
            "checks",
            List(&Object(&[
                must("name", Filled),
                must("score", Whole(-1)),
                must("reason", Text),
                must("documentation", Object(&[must("url", Text), must("short", Text)])),
                may("details", Nullable(&List(&Text))),
            ])),
        ),
        may("metadata", Nullable(&List(&Text))),
    ]);
    document(bytes, &RESULT, |result| {
        let version = result.pointer("/scorecard/version").and_then(Value::as_str);
        let mut annotations = made_by("scorecard", version);
        let score = result.get("score").and_then(Value::as_f64).map(|score| score.to_string());
        note(&mut annotations, "chainloop.material.scorecard.score", score.as_deref());
        annotations
    })
}

/// Findings of TruffleHog: one JSON object to a line, as it writes them, or a list of them. Nothing at all is what it
/// writes when it found nothing.
pub(super) fn trufflehog(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static FINDINGS: Shape = List(&Object(&[
        must("DetectorName", Filled),
        may("SourceMetadata", Nullable(&Object(&[may("Data", Any)]))),
        may("SourceID", Whole(0)),
        may("SourceType", Whole(0)),
        may("SourceName", Text),
        may("DetectorType", Whole(0)),
        may("DecoderName", Text),
        may("Verified", Flag),
        may("Raw", Text),
        may("Redacted", Text),
    ]));
    let mut findings = documents::parse_sequence(bytes)?;
    let listed = matches!(findings.as_slice(), [Value::Array(_)]);
    let mut findings = match findings.pop() {
        Some(Value::Array(list)) if listed => list,
        Some(last) => {
            findings.push(last);
            findings
        }
        None => findings,
    };
    let whole = Value::Array(std::mem::take(&mut findings));
    FINDINGS.check(&whole, 0)?;
    let Value::Array(mut findings) = whole else { return Err(MaterialError::malformed("it is not a list")) };
    for finding in findings.iter_mut().filter_map(Value::as_object_mut) {
        complete(finding);
    }
    Ok(Reading::json(to_json(&findings)?, made_by("trufflehog", None)))
}

/// What policies find in each finding, though the tool leaves out what is empty.
fn complete(finding: &mut Map<String, Value>) {
    for (key, absent) in [
        ("SourceMetadata", json!({})),
        ("SourceID", json!(0)),
        ("SourceType", json!(0)),
        ("SourceName", json!("")),
        ("DetectorType", json!(0)),
        ("DecoderName", json!("")),
        ("Verified", json!(false)),
        ("Raw", json!("")),
        ("Redacted", json!("")),
    ] {
        let there = finding.entry(key).or_insert(Value::Null);
        if there.is_null() {
            *there = absent;
        }
    }
}

/// A report of Checkmarx One in its own JSON.
pub(super) fn checkmarx(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static REPORT: Shape = Object(&[
        must("scanID", Filled),
        may("totalCount", Whole(0)),
        must("results", Nullable(&List(&Object(&[must("type", Filled), must("data", Any), may("severity", Text)])))),
    ]);
    document(bytes, &REPORT, |report| {
        let mut annotations = made_by("checkmarx", None);
        let results = report.get("results").and_then(Value::as_array).into_iter().flatten();
        note_scan_types(&mut annotations, results.filter_map(|result| text(result, "type")));
        annotations
    })
}

/// The file in ZAP's archive that policies see.
pub(super) const ZAP_REPORT: &str = "report_json.json";

/// An archive of ZAP's reports, which holds one in JSON: that one is what policies see.
pub(super) fn zap(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static REPORT: Shape = Object(&[
        must("@programName", OneOf(&["ZAP"])),
        may("@version", Text),
        may(
            "site",
            List(&Object(&[
                may("@name", Text),
                may("alerts", List(&Object(&[may("riskcode", Text), may("confidence", Text), may("alert", Text)]))),
            ])),
        ),
    ]);
    if archive::format(bytes) != Some(archive::Format::Zip) {
        return Err(MaterialError::malformed("it is not a ZIP archive"));
    }
    let reports = archive::unpack(bytes, &|name| name.rsplit('/').next() == Some(ZAP_REPORT))?.files;
    let mut reports = reports.into_iter();
    let (Some((name, content)), None) = (reports.next(), reports.next()) else {
        let message = format!("there is not exactly one `{ZAP_REPORT}` in the archive");
        return Err(MaterialError::malformed(message).mend("let ZAP write its report in JSON as well"));
    };
    let about = |error: MaterialError| error.about(&format!("`{name}` in the archive"));
    let report = documents::parse(&content).map_err(about)?;
    REPORT.check(&report, 0).map_err(about)?;
    Ok(Reading::json(content, Annotations::new()))
}
