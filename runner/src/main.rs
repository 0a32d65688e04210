//! runner: strings the catena tools together from an OCI bundle; from the outside, an OCI runtime like runc.
#![forbid(unsafe_code)]

mod activation;
mod agent;
mod bundle;
mod called;
mod cgroup;
mod checkpoint;
mod cli;
mod container;
mod create;
mod delete;
mod draft;
mod ended;
mod events;
mod exec;
mod features;
mod filter;
mod globals;
mod home;
mod hooks;
mod id;
mod janitor;
mod kill;
mod late;
mod list;
mod log;
mod matching;
mod meeting;
mod narrow;
mod notify;
mod pause;
mod pidfile;
mod plan;
mod ps;
mod record;
mod restore;
mod run;
mod spec;
mod start;
mod systemd;
mod terminal;
mod time;
mod update;
mod usage;

use chain::Result;
use chain::sys::arena::Arena;
use cli::{Args, Verb};
use narrow::Chosen;
use std::process::ExitCode;

/// Most of it goes with the exec, or at the end: giving it back piece by piece is work for nothing.
#[global_allocator]
static MEMORY: Arena = Arena::new();

fn main() -> ExitCode {
    if let Some(status) = janitor::main() {
        return ExitCode::from(status);
    }
    let args = match narrow::parse() {
        Ok(args) => args,
        Err(error) => return usage::answer(&error),
    };
    log::open(&args);
    match act(&args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let failed = log::fail(&error);
            if matches!(args.verb, Some(Chosen(Verb::Exec(_)))) {
                ExitCode::from(exec::FAILED)
            } else {
                failed
            }
        }
    }
}

fn act(args: &Args) -> Result<u8> {
    if args.globals.v || args.common.version {
        return chain::report::stdout(called::version(&cli::version(args.common.json)).as_bytes())
            .map(|()| 0);
    }
    let root = container::StateRoot::new(args)?;
    match args.verb.as_ref().map(|chosen| &chosen.0) {
        None => plan::run(args),
        Some(Verb::Spec(options)) => spec::write(options),
        Some(Verb::Create(options)) => create::create(&root, args, options),
        Some(Verb::Run(options)) => run::run(&root, args, options),
        Some(Verb::Start { id }) => start::start(&root, id),
        Some(Verb::Exec(options)) => exec::exec(&root, args, options),
        Some(Verb::State { id }) => list::state(&root, id),
        Some(Verb::List(options)) => list::list(&root, options),
        Some(Verb::Ps(options)) => ps::ps(&root, options),
        Some(Verb::Kill(options)) => kill::kill(&root, options),
        Some(Verb::Delete(options)) => delete::delete(&root, options),
        Some(Verb::Pause { id }) => pause::pause(&root, id),
        Some(Verb::Resume { id }) => pause::resume(&root, id),
        Some(Verb::Update(options)) => update::update(&root, options),
        Some(Verb::Events(options)) => events::events(&root, options),
        Some(Verb::Checkpoint(options)) => checkpoint::checkpoint(&root, args, options),
        Some(Verb::Restore(options)) => restore::restore(&root, args, options),
        Some(Verb::Features) => features::print(),
    }
}
