//! Maps of ids, from a layer, and the ranges of /etc/subuid.
#![no_main]
#![allow(dead_code, unused_imports, reason = "of the tool, what is looked at here")]

include!(concat!(env!("OUT_DIR"), "/idmap/main.rs"));

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    for line in subid::grants(text, 1000, Some(b"user")) {
        std::hint::black_box(line);
    }
    let parsed = chain::json::parse::<chain::spec::Idmap>(text, "read the layer");
    let Ok(spec) = parsed else { return };
    for (euid, effective) in [(0, u64::MAX), (1000, 0)] {
        let facts = resolve::Facts { euid, egid: euid, effective, ..resolve::Facts::default() };
        if let Ok(plan) = resolve::resolve(&spec, &facts) {
            for kind in [plan::Kind::User, plan::Kind::Group] {
                let lines = plan.map(kind).map_or(0, |map| map.text().lines().count());
                assert!(lines <= 340, "{lines}");
            }
        }
    }
});
