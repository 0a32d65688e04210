//! Which compiler of filters this is: one that is kept by `--cache` is of no use to another one.

include!("../chain/digest.rs");

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rustc-env=SECCOMP_LOAD_SOURCES={:016x}", digest());
}
