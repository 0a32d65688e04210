//! The tools are programs, not libraries: their sources are copied, and become modules of a target that includes their
//! main.rs, of which the attributes that only a program's root may have are left out.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = env::var("OUT_DIR").expect("cargo sets it");
    // Which compiler of filters it is, as seccomp-load's own build script says; here none are kept.
    println!("cargo::rustc-env=SECCOMP_LOAD_SOURCES=fuzz");
    for tool in ["seccomp-load", "idmap"] {
        let from = Path::new("..").join(tool).join("src");
        println!("cargo::rerun-if-changed={}", from.display());
        let to = Path::new(&out).join(tool);
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        copy(&from, &to)?;
        let root = fs::read_to_string(to.join("main.rs"))?;
        let inner = |line: &&str| !line.starts_with("//!") && !line.starts_with("#![");
        fs::write(to.join("main.rs"), root.lines().filter(inner).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
