//! rootfs-prep
fn main() {}
