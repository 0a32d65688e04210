//! docs/cves.md names, for each vulnerability of others, our test: here it is held to that.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The cells of each row of the table.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|c| c.trim().to_string()).collect()
    };
    let lines = text.lines().skip_while(|l| !l.starts_with("| CVE |")).skip(2);
    lines.take_while(|l| l.starts_with('|')).map(cells).collect()
}

/// `FILE::NAME` in each `…` of a cell.
fn named(cell: &str) -> Vec<(String, String)> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted
        .map(|word| {
            let (file, name) = word.split_once("::").unwrap_or_else(|| panic!("'{word}' is not FILE::NAME"));
            (file.to_string(), name.to_string())
        })
        .collect()
}

/// Is there a function of this name in `text` that is a test?
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = lines.iter().position(|l| l.starts_with(&format!("fn {name}(")));
    at.is_some_and(|at| lines[..at].iter().rev().take_while(|l| l.starts_with("#[")).any(|l| *l == "#[test]"))
}

fn table() -> Vec<Vec<String>> {
    rows(&std::fs::read_to_string(top().join("docs/cves.md")).unwrap())
}

#[test]
fn every_row_says_what_happened_what_is_done_the_test_and_how_it_failed() {
    let table = table();
    assert!(table.len() >= 20, "{} rows", table.len());
    for row in &table {
        assert_eq!(row.len(), 5, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let published = ["CVE-", "GHSA-", "runc #", "crun ", "youki "];
        assert!(published.iter().any(|known| row[0].starts_with(known)), "{row:?}");
        assert!(!named(&row[3]).is_empty(), "no test: {row:?}");
        assert!(row[4].contains(" → "), "nobody saw it fail: {row:?}");
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    for row in table() {
        for (file, name) in named(&row[3]) {
            let path = top().join(&file);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {file}: {e}", row[0]));
            assert!(has_test(&text, &name), "{}: there is no test {name} in {file}", row[0]);
        }
    }
}

/// docs/threat-model.md names what holds its promises.
#[test]
fn every_promise_has_its_test() {
    let text = std::fs::read_to_string(top().join("docs/threat-model.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains("::"));
    let mut count = 0;
    for (file, name) in rows.flat_map(|row| named(row.split('|').nth(2).unwrap())) {
        let text = std::fs::read_to_string(top().join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(has_test(&text, &name), "there is no test {name} in {file}");
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[test]
fn no_vulnerability_has_two_rows() {
    let mut seen: Vec<String> =
        table().iter().flat_map(|row| row[0].split(", ").map(String::from).collect::<Vec<_>>()).collect();
    seen.sort();
    for pair in seen.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}

/// So that the tests above can fail.
#[test]
fn a_test_that_is_not_there_is_seen() {
    let text = "#[test]\n#[ignore]\nfn there() {}\n\nfn helper() {}\n    #[test]\n    fn inner() {}\n";
    assert!(has_test(text, "there") && has_test(text, "inner"));
    assert!(!has_test(text, "helper") && !has_test(text, "the") && !has_test(text, "missing"));
    let text = "# x\n\n| CVE | a | b | test |\n| --- | --- | --- | --- |\n| CVE-1 | a | b | `f::g`, `h::i` |\n\n| no |\n";
    assert_eq!(rows(text).len(), 1);
    assert_eq!(named(&rows(text)[0][3]), [("f".into(), "g".into()), ("h".into(), "i".into())]);
}
