//! criu-ctl
fn main() {}
