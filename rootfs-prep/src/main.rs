//! rootfs-prep: build a root file system, mount by mount and by fd alone, and enter it.
#![forbid(unsafe_code)]

mod answer;
mod apply;
mod attrs;
mod build;
mod carried;
mod cgroups;
mod check;
mod cli;
mod copyup;
mod data;
mod defaults;
mod devices;
mod enter;
mod explain;
mod facts;
mod flags;
mod glob;
mod hide;
mod hooked;
mod listed;
mod mount;
mod options;
mod overlay;
mod path;
mod place;
mod plan;
mod presets;
mod root;
mod show;
mod steps;
mod terminal;
mod values;
mod verify;

use chain::link::Begun;
use chain::sys::arena::Arena;
use std::process::ExitCode;

/// Hundreds of mounts are thousands of words, and all of it goes with the exec.
#[global_allocator]
static MEMORY: Arena = Arena::new();

/// For `--version --json`.
const FEATURES: &[&str] = &[
    "bind",
    "bind-fd",
    "cgroup",
    "console",
    "data",
    "dev-bind-glob",
    "devices",
    "idmap",
    "mask",
    "no-mount-namespace",
    "no-pivot",
    "overlay",
    "pivot",
    "propagation",
    "recursive-attributes",
    "tmpcopyup",
];

fn main() -> ExitCode {
    chain::link::run("rootfs-prep", || {
        let (mut link, spec) =
            match chain::link::begin(chain::share::rootfs_prep_taken, flags::from_flags, FEATURES)? {
                Begun::Act(link, spec) => (link, spec),
                Begun::Ask(question, args, spec) => return answer::answer(question, &args, &spec),
                Begun::Done => return Ok(0),
            };
        if terminal::is_all_of(&spec) {
            let receipt = terminal::alone(spec.console_size, &mut link.state.fds)?;
            match link.go_on(receipt)? {}
        }
        if !spec.no_mount_namespace {
            facts::own_mount_namespace(&link.state)?;
        }
        let mut plan = plan::resolve(&spec, &facts::gather(&spec, &link.state)?)?;
        plan.opened(std::mem::take(&mut link.state.fds.sources));
        let receipt = apply::all(&mut plan, &mut link.state)?;
        link.state.landing.cwd = plan.cwd.clone().or(link.state.landing.cwd.take());
        match link.go_on(receipt)? {}
    })
}
