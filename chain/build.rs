//! The build string, which links of one chain must agree on: the commit if the builder names it, else a digest of
//! this crate's sources.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=CATENA_COMMIT");
    println!("cargo:rerun-if-changed=src");
    let commit = std::env::var("CATENA_COMMIT").ok().filter(|c| !c.is_empty());
    println!("cargo:rustc-env=CATENA_COMMIT={}", commit.unwrap_or_else(|| format!("src.{:016x}", digest())));
}

/// FNV-1a over the sources in name order.
fn digest() -> u64 {
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        for byte in std::fs::read(&file).unwrap_or_default() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
