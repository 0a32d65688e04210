//! cg-apply
fn main() {}
