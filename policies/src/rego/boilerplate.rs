//! What Chainloop adds to policies that define only `violations`: `result` and the rules that it reads. The same
//! is added here, at the end, so that lines keep their numbers.

use std::{collections::BTreeMap, fmt::Write as _};

/// The rules that every module has in the end.
pub(super) const NAMES: &[&str] = &["result", "skip_reason", "valid_input", "skipped", "ignore", "violations"];

/// How a module writes rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// With `if` and `contains`.
    V1,
    /// With braces only.
    V0,
}

/// The rules to add, given the names that are there (true: with a default).
pub(super) fn missing(names: &BTreeMap<String, bool>, syntax: Syntax) -> String {
    let absent = |name: &str| !names.contains_key(name);
    let assign = if syntax == Syntax::V1 { ":=" } else { "=" };
    let mut added = String::new();
    if absent("result") {
        added.push_str(
            "result := {\n\t\"skipped\": skipped,\n\t\"violations\": violations,\n\t\"skip_reason\": skip_reason,\n\t\"ignore\": ignore,\n}\n",
        );
    }
    for (name, value) in [
        ("skip_reason", "\"\""),
        ("valid_input", "true"),
        ("skipped", "true"),
        ("ignore", "false"),
        ("violations", "[]"),
    ] {
        if absent(name) {
            let _ = writeln!(added, "default {name} {assign} {value}");
        }
    }
    if absent("skip_reason") {
        let body = "not valid_input\n\tm := \"the file content is not recognized\"";
        added.push_str(&match syntax {
            Syntax::V1 => format!("skip_reason := m if {{\n\t{body}\n}}\n"),
            Syntax::V0 => format!("skip_reason = m {{\n\t{body}\n}}\n"),
        });
    }
    if absent("skipped") {
        added.push_str(match syntax {
            Syntax::V1 => "skipped := false if valid_input\n",
            Syntax::V0 => "skipped = false {\n\tvalid_input\n}\n",
        });
    }
    added
}
