//! What the kernel tells in text: mountinfo, whose paths a container chooses, and status.
#![no_main]

use chain::proc::{parse_mountinfo, status_field};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for mount in parse_mountinfo(text) {
        assert!(!mount.kind.contains(' ') && !mount.target.0.contains(&b'\n') || text.contains(&b'\\'));
    }
    for field in ["NSpid", "PPid", "SigCgt"] {
        status_field(text, field);
    }
});
