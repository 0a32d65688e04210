//! cg-apply: makes a cgroup, limits it, joins it, sets rlimits, then executes the next program.
#![forbid(unsafe_code)]

mod answer;
mod apply;
mod check;
mod cli;
mod device_limits;
mod devices;
mod existing;
mod limits;
mod memory;
mod plan;
mod print;
mod remove;
mod rlimits;
mod show;
mod sizes;
mod steward;
mod update;

use chain::link::Begun;
use std::process::ExitCode;

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
    "rm",
    "update",
];

fn main() -> ExitCode {
    chain::link::run("cg-apply", || {
        if let Some(args) = cli::alone()? {
            return if args.update { update::group(&args) } else { remove::group(&args) };
        }
        let (mut link, spec) = match chain::link::begin(chain::share::cg_apply, plan::from_flags, FEATURES)? {
            Begun::Act(link, spec) => (link, spec),
            Begun::Ask(question, args, spec) => return answer::answer(question, &args, &spec),
            Begun::Done => return Ok(0),
        };
        // Everything that can be refused is refused here, before a directory is made.
        let mut plan = plan::resolve(&spec, &plan::facts(&spec)?)?;
        existing::known(&mut plan, link.state.fds.process);
        steward::hold(&mut plan)?;
        apply::make(&mut plan)?;
        if let Some(status) = steward::stay(&mut plan, &mut link.state)? {
            return Ok(status);
        }
        let receipt = apply::enter(&mut plan, &mut link.state)?;
        match link.go_on(receipt) {
            Ok(never) => match never {},
            Err(error) => Err(steward::give_up(&mut plan, error)),
        }
    })
}
