//! The build string, which links of one chain must agree on: the commit if the builder names it, else a digest of
//! this crate's sources.

include!("digest.rs");

fn main() {
    println!("cargo:rerun-if-env-changed=CATENA_COMMIT");
    println!("cargo:rerun-if-changed=src");
    let commit = std::env::var("CATENA_COMMIT").ok().filter(|c| !c.is_empty());
    println!("cargo:rustc-env=CATENA_COMMIT={}", commit.unwrap_or_else(|| format!("src.{:016x}", digest())));
}
