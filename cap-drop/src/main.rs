//! cap-drop
fn main() {}
