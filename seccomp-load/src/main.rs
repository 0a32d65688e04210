//! seccomp-load
fn main() {}
