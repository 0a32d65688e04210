//! docs/dependencies.md has a row for every crate that a manifest of ours names, and for no other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Crates that the manifests of the workspace's members name, our own left out.
fn named() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(top()).unwrap().filter_map(Result::ok) {
        let manifest = entry.path().join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let mut wanted = false;
        for line in read(&manifest).lines() {
            if line.starts_with('[') {
                wanted = line.ends_with("dependencies]");
            } else if let (true, Some(name)) = (wanted, line.split(['.', ' ', '=']).next()) {
                found.insert(name.to_string());
            }
        }
    }
    let ours = ["", "#", "chain", "catena-tests"];
    found.retain(|name| !ours.contains(&name.as_str()));
    found
}

/// Crates in the first column of a table.
fn described() -> BTreeSet<String> {
    let page = read(&top().join("docs/dependencies.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let names = rows.flat_map(|cell| cell.split(", ")).map(str::to_string);
    names.filter(|name| name != "crate" && !name.starts_with('-')).collect()
}

#[test]
fn every_crate_has_a_row_and_every_row_a_crate() {
    let (named, described) = (named(), described());
    assert!(named.contains("clap") && named.contains("cgroups-rs"), "{named:?}");
    assert_eq!(named, described);
}

/// Named, but by the workspace alone: nothing uses it.
#[test]
fn the_workspace_names_no_crate_that_no_member_uses() {
    let manifest = read(&top().join("Cargo.toml"));
    let section = manifest.split("[workspace.dependencies]\n").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let all: BTreeSet<String> =
        section.lines().filter_map(|l| l.split_once(" = ")).map(|(name, _)| name.to_string()).collect();
    let mut ours = named();
    ours.extend(["chain".to_string(), "catena-tests".to_string()]);
    // Of the fuzz targets, which are outside the workspace.
    ours.remove("libfuzzer-sys");
    assert_eq!(all, ours);
}
