//! cap-drop: become who the command is to be, holding what it may hold, and no more.
//!
//! Credentials do not all survive an exec, so this link resolves and checks; the landing, in whichever link is last,
//! applies them and reads them back.
#![forbid(unsafe_code)]

mod answer;
mod assert;
mod cli;
mod exec;
mod explain;
mod facts;
mod name;
mod plan;
mod securebits;
mod sets;
mod user;

use chain::link::Begun;
use chain::sys::arena::Arena;
use std::process::ExitCode;

/// Most of it goes with the exec, or at the end: giving it back piece by piece is work for nothing.
#[global_allocator]
static MEMORY: Arena = Arena::new();

/// For `--version --json`.
const FEATURES: &[&str] = &[
    "ambient",
    "apparmor",
    "assert",
    "bounding",
    "explain",
    "keyring",
    "no_new_privs",
    "securebits",
    "selinux",
];

fn main() -> ExitCode {
    chain::link::run("cap-drop", || {
        if let Some((word, json)) = cli::explain()? {
            return explain::explain(&word, json).map(|()| 0);
        }
        let begun = chain::link::begin(
            |config, folder| chain::share::cap_drop(config, folder),
            plan::from_flags,
            FEATURES,
        )?;
        let (mut link, spec) = match begun {
            Begun::Act(link, spec) => (link, spec),
            Begun::Ask(question, args, spec) => return answer::answer(question, &args, &spec),
            Begun::Done => return Ok(0),
        };
        let plan = plan::resolve(&spec, &facts::gather(&spec)?)?;
        for lost in &plan.degraded {
            chain::report::warn("cap-drop", lost);
        }
        plan.hand_to(&mut link.state.landing);
        match link.go_on(plan.receipt())? {}
    })
}
