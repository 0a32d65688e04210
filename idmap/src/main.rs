//! idmap
fn main() {}
