//! Filters: the OCI object and the text language, up to the program for the kernel.
#![no_main]
#![allow(dead_code, unused_imports, reason = "of the tool, what is looked at here")]

include!(concat!(env!("OUT_DIR"), "/seccomp-load/main.rs"));

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let facts = facts::Facts { no_new_privs: true, kernel: (6, 1), ..facts::Facts::default() };
    if let Ok(spec) = chain::json::parse::<chain::spec::SeccompLoad>(text, "read the layer") {
        // What names files reads them.
        if spec.learn.is_none() && spec.profile.is_none() {
            drop(plan::resolve(&spec, &facts));
        }
    }
    // As it travels in a plan, where nothing is included.
    let Ok(text) = std::str::from_utf8(text) else { return };
    for unknown_syscalls_warn in [false, true] {
        let profile = Some(chain::spec::ProfileSource::Own(text.into()));
        let spec = chain::spec::SeccompLoad { profile, unknown_syscalls_warn, ..Default::default() };
        drop(plan::resolve(&spec, &facts));
    }
});
