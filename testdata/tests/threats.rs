//! `docs/threats.md` names the tests that hold each row: they are there.
#![cfg(test)]

use std::{fs, path::Path};

#[test]
fn the_tests_that_the_page_of_threats_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/threats.md")).unwrap();
    let (mut file, mut named) = (None, 0);
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let held = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for word in held.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                let text = fs::read_to_string(root.join(word));
                file = Some(text.unwrap_or_else(|error| panic!("{word}: {error}")));
            } else {
                let text = file.as_deref().unwrap_or_else(|| panic!("`{word}` is named without a file"));
                assert!(text.contains(&format!("fn {word}(")), "there is no test `{word}`");
                named += 1;
            }
        }
    }
    assert!(named > 40, "{named} tests are named");
}
