//! ns-enter
fn main() {}
