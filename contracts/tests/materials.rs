//! Every type of material, held against the files of its folder in `testdata/materials`.
#![cfg(test)]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use contracts::{
    Code, MaterialType, limits,
    materials::{self, Projection},
};
use testdata::samples;

/// What is said of bytes: what policies see, and what they say of themselves; or why they are refused.
fn told(kind: MaterialType, bytes: &[u8]) -> String {
    match materials::read(kind, bytes) {
        Ok(reading) => {
            let mut text = match &reading.projection {
                Projection::Opaque => "nothing is seen of it\n".to_owned(),
                Projection::Json(json) if **json == *bytes => "is seen as it is\n".to_owned(),
                Projection::Json(json) => {
                    let value: serde_json::Value = serde_json::from_slice(json).unwrap();
                    format!("is seen as {value}\n")
                }
            };
            for (key, value) in &reading.annotations {
                writeln!(text, "  {key} = {value}").unwrap();
            }
            text
        }
        Err(error) => {
            let mend = error.mend.map(|mend| format!("\n  mend: {mend}")).unwrap_or_default();
            format!("{}: {}{mend}\n", error.code, error.message)
        }
    }
}

/// Valid, wrong, truncated and oversized input of every type, and what is said of each.
#[test]
fn every_type_takes_its_own_and_says_why_it_refuses_the_rest() {
    for kind in MaterialType::ALL {
        let samples = samples(*kind);
        let mut all = String::new();
        for sample in &samples {
            let taken = materials::read(*kind, &sample.bytes).is_ok();
            let said = told(*kind, &sample.bytes);
            assert_eq!(taken, sample.name.starts_with("ok-"), "{kind} {}: {said}", sample.name);
            let found = materials::recognise(&sample.bytes);
            let names: Vec<&str> = found.kinds.iter().map(|kind| kind.as_str()).collect();
            writeln!(all, "{} ({}: {})\n  {said}", sample.name, found.form, names.join(", ")).unwrap();
        }
        if *kind == MaterialType::ContainerImage {
            continue;
        }
        let valid = samples.iter().find(|sample| sample.name.starts_with("ok-") && !sample.bytes.is_empty());
        let valid = &valid.unwrap_or_else(|| panic!("{kind} has no valid sample")).bytes;
        assert!(samples.iter().any(|sample| sample.name.starts_with("no-")), "{kind} has no wrong sample");
        let cut = valid.get(..valid.len() * 3 / 5).unwrap();
        writeln!(all, "truncated\n  {}", told(*kind, cut)).unwrap();
        let large = match kind {
            MaterialType::Artifact => Vec::new(),
            MaterialType::String => vec![b'a'; limits::INLINE_MATERIAL_BYTES + 1],
            _ => vec![b' '; limits::MATERIAL_DOCUMENT_BYTES + 1],
        };
        if !large.is_empty() {
            assert_eq!(
                materials::read(*kind, &large).map_err(|error| error.code),
                Err(Code::DocumentTooLarge),
                "{kind}"
            );
        }
        insta::assert_snapshot!(kind.as_str(), all);
    }
}

/// What a file is called settles nothing, and each valid sample is of its own type or of none.
#[test]
fn bytes_are_recognised_as_their_own_type_and_never_as_another() {
    let mut never = BTreeSet::new();
    for kind in MaterialType::ALL {
        let mut certain = 0;
        for sample in samples(*kind).iter().filter(|sample| sample.name.starts_with("ok-")) {
            let found = materials::recognise(&sample.bytes).kinds;
            match found.as_slice() {
                [] => {}
                [only] => {
                    assert_eq!(only, kind, "{}", sample.name);
                    certain += 1;
                }
                several => assert!(several.contains(kind), "{kind} {}: {several:?}", sample.name),
            }
        }
        if certain == 0 {
            never.insert(kind.as_str());
        }
    }
    let expected = ["ARTIFACT", "CONTAINER_IMAGE", "EVIDENCE", "RADAMSA_CRASHES", "RADAMSA_REPORT", "STRING"];
    assert_eq!(never, BTreeSet::from(expected));
}

/// A document of one type is told to be that when another is asked for.
#[test]
fn what_is_another_type_is_called_so() {
    let sarif = samples(MaterialType::Sarif).remove(0).bytes;
    for kind in
        [MaterialType::SbomCyclonedxJson, MaterialType::Openvex, MaterialType::JacocoXml, MaterialType::GraphqlSpec]
    {
        let error = materials::read(kind, &sarif).unwrap_err();
        assert_eq!(error.code, Code::MaterialType, "{kind}");
        assert!(error.message.contains("it is of type `SARIF`"), "{}", error.message);
    }
}

/// The page shows the table as it is.
#[test]
fn the_documentation_shows_the_table() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/materials.md")).unwrap();
    let table = materials::describe_table();
    assert!(page.contains(&table), "docs/materials.md has to contain this table:\n{table}");
    for kind in MaterialType::ALL {
        assert!(page.contains(&format!("| `{kind}` |")), "{kind}");
    }
}

/// Archives are bounded in how many files they hold, what they unpack to, how they are nested and how they are named.
#[test]
fn hostile_archives_are_refused_or_cost_little() {
    let zip = testdata::archive::zip;
    let tgz = testdata::archive::tgz;
    let report = br#"{"@programName":"ZAP"}"#;
    let many: Vec<(String, &[u8])> =
        (0..=limits::ARCHIVE_ENTRIES).map(|n| (format!("{n}.xml"), &b"<testsuite/>"[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let zeros = vec![0; limits::ARCHIVE_BYTES / 2 + 1];
    let bomb = [("report_json.json", zeros.as_slice()), ("b/report_json.json", zeros.as_slice())];
    let inner = zip(&[("report_json.json", report)]);
    let mut all = String::new();
    for (name, kind, bytes) in [
        ("too many files in a ZIP", MaterialType::JunitXml, zip(&many)),
        ("too many files in a tar", MaterialType::JunitXml, tgz(&many)),
        ("a ZIP that unpacks to too much", MaterialType::ZapDastZip, zip(&bomb)),
        ("a tar that unpacks to too much", MaterialType::RadamsaReport, tgz(&bomb)),
        ("a tar that unpacks to too much, unread", MaterialType::JunitXml, tgz(&bomb)),
        (
            "gzip that unpacks to too much",
            MaterialType::RadamsaReport,
            testdata::archive::gzip(&[zeros.as_slice(), &zeros].concat()),
        ),
        ("crashes that unpack to too much", MaterialType::RadamsaCrashes, tgz(&bomb)),
        ("a ZIP in a ZIP", MaterialType::ZapDastZip, zip(&[("scan.zip", &inner)])),
        ("a ZIP that climbs", MaterialType::ZapDastZip, zip(&[("../report_json.json", report)])),
        ("a ZIP with an absolute name", MaterialType::ZapDastZip, zip(&[("/report_json.json", report)])),
        ("a ZIP with a drive", MaterialType::ZapDastZip, zip(&[("C:\\report_json.json", report)])),
        (
            "a tar that climbs",
            MaterialType::JunitXml,
            testdata::archive::tgz_unchecked(&[("a/../../b.xml", b"<testsuite/>")]),
        ),
        (
            "a name twice in a tar",
            MaterialType::JunitXml,
            tgz(&[("a.xml", b"<testsuite/>"), ("a.xml", b"<testsuite/>")]),
        ),
        ("an empty ZIP", MaterialType::ZapDastZip, zip(&[])),
        ("a ZIP cut off", MaterialType::ZapDastZip, inner.get(..inner.len() - 8).unwrap().to_vec()),
    ] {
        let begun = std::time::Instant::now();
        writeln!(all, "{name}\n  {}", told(kind, &bytes)).unwrap();
        assert!(begun.elapsed().as_secs() < 20, "{name} took {:?}", begun.elapsed());
    }
    insta::assert_snapshot!("hostile_archives", all);
}

/// Text and tables are bounded in what they grow to, not only in their bytes.
#[test]
fn what_grows_when_it_is_read_is_bounded() {
    let columns: String = (0..200).map(|n| format!(",column-with-a-long-name-{n}")).collect();
    let wide = format!("Path,Verified{columns}\n{}", "a\n".repeat(20_000));
    let too_wide = format!("Path,Verified{}\n", (0..300).map(|n| format!(",{n}")).collect::<String>());
    let records = "a: 1, ".repeat(limits::TEXT_FIELDS + 1);
    let values = format!("[{}0]", "0,".repeat(limits::JSON_VALUES));
    let deep_type = format!("type A {{ a: {}B{} }}", "[".repeat(200_000), "]".repeat(200_000));
    let deep_value = format!("input A {{ a: B = {}{} }}", "[".repeat(200_000), "]".repeat(200_000));
    let yaml = format!("openapi: 3.1.0\nx:\n{}", "- a\n".repeat(limits::MATERIAL_YAML_NODES));
    let lines = "x\n".repeat(limits::TEXT_FIELDS + 1);
    let cobertura = format!("<coverage line-rate='1'>{}</coverage>", "<a b='c'/>".repeat(limits::XML_NODES / 2));
    let mut all = String::new();
    for (name, kind, text) in [
        ("a wide table", MaterialType::SysinternalsSigcheck, &wide),
        ("a wider table", MaterialType::SysinternalsSigcheck, &too_wide),
        ("many fields", MaterialType::RadamsaReport, &records),
        ("many values", MaterialType::GitleaksJson, &values),
        ("a deep type", MaterialType::GraphqlSpec, &deep_type),
        ("a deep value", MaterialType::GraphqlSpec, &deep_value),
        ("long YAML", MaterialType::OpenapiSpec, &yaml),
        ("many lines", MaterialType::CertccDranzer, &lines),
        ("many lines of access", MaterialType::SysinternalsAccesschk, &lines),
        ("many elements", MaterialType::CoberturaXml, &cobertura),
    ] {
        let begun = std::time::Instant::now();
        let said: String = told(kind, text.as_bytes()).chars().take(160).collect();
        writeln!(all, "{name}\n  {said}").unwrap();
        assert!(begun.elapsed().as_secs() < 20, "{name} took {:?}", begun.elapsed());
    }
    insta::assert_snapshot!("growth", all);
}
