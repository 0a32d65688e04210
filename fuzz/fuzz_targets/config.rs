//! config.json to a plan: the share of every tool, and each plan that is written can be read again.
#![no_main]

use chain::oci::{Config, parse_config};
use chain::plan::{Layer, Plan};
use chain::{Result, share};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fn layers(config: &Config) -> Result<Vec<Layer>> {
    let bundle = Path::new("/bundle");
    Ok(vec![
        Layer::of(&share::cg_apply(config, bundle)?)?,
        Layer::of(&share::idmap(config, bundle)?)?,
        Layer::of(&share::ns_enter(config, bundle)?)?,
        Layer::of(&share::rootfs_prep(config, bundle)?)?,
        Layer::of(&share::cap_drop(config, bundle)?)?,
        Layer::of(&share::seccomp_load(config, bundle)?)?,
    ])
}

fuzz_target!(|text: &[u8]| {
    let Ok(config) = parse_config(text, &"read it") else { return };
    let Ok(layers) = layers(&config) else { return };
    let plan = Plan { layers, ..Plan::default() };
    let written = plan.to_json().expect("a plan can be written");
    let read = Plan::parse(&written, "here").expect("what was written can be read");
    assert_eq!(read.to_json().expect("once more"), written);
});
