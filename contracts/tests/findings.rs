//! The codes of findings: a closed list, which people match in scripts.
#![cfg(test)]

use std::{collections::BTreeSet, fs, path::Path};

use contracts::Code;

/// A code is never reused for another meaning, and none goes away unnoticed: whoever changes this list says so to users.
#[test]
fn the_list_of_codes_is_closed() {
    let list: String = Code::ALL.iter().map(|(_, code, meaning)| format!("{code}:{meaning}\n")).collect();
    insta::assert_snapshot!(list);
}

#[test]
fn codes_are_distinct_words_with_hyphens_in_every_output() {
    let mut seen = BTreeSet::new();
    for (code, text, meaning) in Code::ALL {
        let words: Vec<&str> = text.split('-').collect();
        let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
        assert!(words.len() > 1 && words.iter().all(is_word), "{text}");
        assert!(seen.insert(*text), "{text} twice");
        assert_eq!((code.as_str(), code.to_string().as_str()), (*text, *text));
        assert_eq!(serde_json::to_value(code).unwrap(), *text);
        assert_eq!(serde_json::from_value::<Code>((*text).into()).unwrap(), *code);
        assert!(meaning.trim().ends_with('.'), "{text}: {meaning}");
    }
}

/// The page has a row for each code, in order and no other: the code, what it means, and what to do.
#[test]
fn every_code_is_documented() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/findings.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let told: Vec<(String, &str)> = rows.iter().map(|row| (row[0].to_owned(), row[1])).collect();
    let codes: Vec<(String, &str)> =
        Code::ALL.iter().map(|(_, code, meaning)| (format!("`{code}`"), meaning.trim())).collect();
    assert_eq!(told, codes, "docs/findings.md has a row for each code");
    for row in &rows {
        assert!(row.len() == 3 && row[2].len() > 10, "{}: say what to do", row[0]);
    }
}
