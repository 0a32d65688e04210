//! idmap: makes a user namespace, writes its maps, and becomes user 0 in there if the maps have one.
#![forbid(unsafe_code)]

mod answer;
mod apply;
mod cli;
mod helper;
mod other;
mod pick;
mod plan;
mod resolve;
mod subid;
mod translate;
mod why;

use chain::link::Begun;
use chain::mapped;
use chain::sys::arena::Arena;
use std::process::ExitCode;

/// Most of it goes with the exec, or at the end: giving it back piece by piece is work for nothing.
#[global_allocator]
static MEMORY: Arena = Arena::new();

const FEATURES: &[&str] =
    &["user-namespace", "auto", "newuidmap", "pid", "disable-userns", "translate", "pick", "owner"];

fn main() -> ExitCode {
    chain::link::run("idmap", || {
        if let Some(args) = cli::alone()? {
            return if args.pid.is_some() && !args.translates() {
                other::map(&args)
            } else {
                translate::answer(&args)
            };
        }
        let (mut link, mut spec) = match chain::link::begin(
            |config, folder| chain::share::idmap(config, folder),
            plan::from_flags,
            FEATURES,
        )? {
            Begun::Act(link, spec) => (link, spec),
            Begun::Ask(question, args, spec) => return answer::answer(question, &args, &spec),
            Begun::Done => return Ok(0),
        };
        // Everything that can be refused is refused here.
        resolve::order(&link.state)?;
        let picked = pick::pick(&mut spec)?;
        let plan = resolve::resolve(&spec, &resolve::facts()?)?;
        let container = mapped::Container::Maps(&spec.uid_mappings, &spec.gid_mappings);
        if !plan.maps.is_empty() {
            mapped::open_sources(&mut link.state, container)?;
        }
        let receipt = apply::all(&plan, &mut link.state)?;
        drop(picked);
        match link.go_on(receipt)? {}
    })
}
