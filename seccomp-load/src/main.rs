//! seccomp-load: a filter between the command and the kernel.
//!
//! A filter that is loaded now would filter the rest of the chain, so this link reads and compiles; the landing, in
//! whichever link is last, loads it as the last thing before the command.
#![forbid(unsafe_code)]

mod action;
mod answer;
mod apply;
mod arch;
mod cli;
#[cfg(test)]
mod coverage;
mod decide;
mod decode;
mod default;
mod diff;
mod dump;
mod express;
mod facts;
mod flags;
mod flat;
mod keep;
mod kept;
mod learn;
mod learned;
mod lint;
mod load;
mod notify;
mod number;
#[cfg(test)]
mod oracle;
mod pfc;
mod plan;
mod policy;
mod profile;
mod program;
mod raw;
mod rule;
mod sets;
mod show;
mod simulate;
mod spell;
mod stopped;
mod table;
mod value;
mod watch;

use chain::link::Begun;
use chain::sys::arena::Arena;
use std::process::ExitCode;

/// Most of it goes with the exec, or at the end: giving it back piece by piece is work for nothing.
#[global_allocator]
static MEMORY: Arena = Arena::new();

/// For `--version --json`.
const FEATURES: &[&str] = &[
    "@default",
    "cache",
    "diff",
    "dump",
    "explain",
    "learn",
    "lint",
    "notify",
    "oci",
    "policy",
    "profile-conditions",
    "program",
    "rules",
    "sets",
    "test",
];

fn main() -> ExitCode {
    chain::link::run("seccomp-load", || {
        let begun = chain::link::begin(
            |config, folder| chain::share::seccomp_load(config, folder),
            flags::from_flags,
            FEATURES,
        )?;
        let (mut link, spec) = match begun {
            Begun::Act(link, spec) => (link, spec),
            Begun::Ask(question, args, spec) => return answer::answer(question, &args, &spec),
            Begun::Done => return Ok(0),
        };
        let facts = facts::gather(&spec, &link.state.landing)?;
        let kept = kept::place(&spec, &facts, &link.state)?;
        if let Some(made) = kept.as_ref().and_then(kept::find) {
            let receipt = kept::take(made, &spec, &facts, &mut link.state)?;
            match link.go_on(receipt)? {}
        }
        let mut plan = plan::resolve(&spec, &facts)?;
        for note in plan.notes().iter().filter(|note| note.lets_more_through) {
            chain::report::warn("seccomp-load", &note.text);
        }
        let watch = watch::prepare(&spec, &mut plan)?;
        apply::all(&plan, &mut link.state)?;
        kept::keep(kept, &plan, &link.state)?;
        if let Some(watch) = watch
            && let Some(status) = watch.over(&mut link.state)?
        {
            return Ok(status);
        }
        match link.go_on(plan.receipt())? {}
    })
}
