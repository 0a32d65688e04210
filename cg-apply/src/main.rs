//! cg-apply: makes a cgroup, limits it, joins it, sets rlimits, then executes the next program.
#![forbid(unsafe_code)]

mod answer;
mod apply;
mod block;
mod check;
mod cli;
mod device_limits;
mod devices;
mod existing;
mod limits;
mod memory;
mod memory_policy;
mod network;
mod owner;
mod plan;
mod print;
mod proof;
mod remove;
mod rlimits;
mod show;
mod sizes;
mod steward;
mod systemd;
mod top;
mod tuning;
mod tuning_flags;
mod update;
mod verbs;
mod warm;
mod watch;

use chain::Error;
use chain::link::{Begun, Link};
use chain::sys::arena::Arena;
use std::process::ExitCode;

/// Most of it goes with the exec, or at the end: giving it back piece by piece is work for nothing.
#[global_allocator]
static MEMORY: Arena = Arena::new();

const FEATURES: &[&str] = &[
    "cgroup-v1",
    "cgroup-v2",
    "hybrid",
    "memory",
    "pids",
    "cpu",
    "cpuset",
    "hugetlb",
    "unified",
    "devices",
    "rlimits",
    "oom-score-adj",
    "scheduler",
    "io-priority",
    "cpu-affinity",
    "memory-policy",
    "intel-rdt",
    "systemd",
    "wall-time",
    "cpu-time",
    "report",
    "leaf",
    "stats",
    "events",
    "top",
    "freeze",
    "kill",
    "rm",
    "update",
];

fn main() -> ExitCode {
    chain::link::run("cg-apply", || {
        if let Some(status) = verbs::run()? {
            return Ok(status);
        }
        if let Some(args) = cli::alone()? {
            return match (&args.scope, args.stop, args.update) {
                (Some(unit), true, _) => systemd::stop(unit).map(|()| 0),
                (_, _, true) => update::group(&args),
                _ => remove::group(&args),
            };
        }
        let (mut link, spec) = match chain::link::begin(
            |config, folder| chain::share::cg_apply(config, folder),
            plan::from_flags,
            FEATURES,
        )? {
            Begun::Act(link, spec) => (link, spec),
            Begun::Ask(question, args, spec) => return answer::answer(question, &args, &spec),
            Begun::Done => return Ok(0),
        };
        // Everything that can be refused is refused here, before a directory is made.
        let mut plan = plan::resolve(&spec, &plan::facts(&spec)?)?;
        existing::known(&mut plan, link.state.fds.process);
        plan.tuning.before()?;
        steward::hold(&mut plan)?;
        apply::make(&mut plan)?;
        warm::programs(&spec, &link.state);
        if let Some(v2) = steward::quick_way(&plan, &link.state)? {
            return steward::change_over(&mut plan, *link, &v2, go_on);
        }
        match steward::stay(&mut plan, &mut link.state)? {
            Some(status) => {
                // All is done: the kernel takes the memory back at once, and not piece by piece.
                std::mem::forget((plan, spec));
                Ok(status)
            }
            None => Err(go_on(&mut plan, *link)),
        }
    })
}

/// Enters the group and goes on with the chain; comes back only with the reason why not.
fn go_on(plan: &mut plan::Plan, mut link: Link) -> Error {
    let receipt = match apply::enter(plan, &mut link.state) {
        Ok(receipt) => receipt,
        Err(error) => return error,
    };
    match link.go_on(receipt) {
        Ok(never) => match never {},
        Err(error) => steward::give_up(plan, error),
    }
}
