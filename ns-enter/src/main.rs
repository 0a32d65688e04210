//! ns-enter: makes or joins namespaces, sets what belongs to them, and executes the next program in there.
#![forbid(unsafe_code)]

mod answer;
mod apply;
mod cli;
mod fork;
mod init;
mod inside;
mod join;
mod leaf;
mod net;
mod persist;
mod plan;
mod resolve;
mod sysctl;
mod targets;
mod terminal;
mod userns;
mod verify;

use apply::Outcome;
use chain::link::Begun;
use chain::mapped;
use chain::oci::NamespaceKind;
use chain::sys::arena::Arena;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Most of it goes with the exec, or at the end: giving it back piece by piece is work for nothing.
#[global_allocator]
static MEMORY: Arena = Arena::new();

const FEATURES: &[&str] = &[
    "mount",
    "uts",
    "ipc",
    "net",
    "pid",
    "user",
    "cgroup",
    "time",
    "join",
    "pidfd",
    "hostname",
    "domainname",
    "sysctl",
    "time-offsets",
    "loopback",
    "personality",
    "net-devices",
    "veth",
    "init",
    "persist",
    "tty",
    "disable-userns",
    "try",
];

fn main() -> ExitCode {
    chain::link::run("ns-enter", || {
        if let Some(places) = cli::unpersist()? {
            return places.iter().try_for_each(persist::unpersist).map(|()| 0);
        }
        let (mut link, mut spec) = match chain::link::begin(
            |config, folder| chain::share::ns_enter(config, folder),
            plan::from_flags,
            FEATURES,
        )? {
            Begun::Act(link, spec) => (link, spec),
            Begun::Ask(question, args, spec) => return answer::answer(question, &args, &spec),
            Begun::Done => return Ok(0),
        };
        // Whoever lives in a namespace that is joined can open this process' program by /proc/PID/exe, and write to it.
        if join::may_be_seen(&spec) && !join::program_is_read_only()? {
            return Err(link.restart_read_only(&spec));
        }
        // Everything that can be refused is refused here.
        resolve::order(&link.state)?;
        leaf::refuse(&spec, &link.state)?;
        let kept = persist::make(&mut spec, &mut link.state)?;
        let mut targets = targets::open(&spec, link.state.fds.process.take())?;
        let facts = resolve::facts(&spec, &targets, &link.state)?;
        let plan = resolve::resolve(&spec, &facts)?;
        if let Some(user) = targets.list.iter().find(|t| t.kind == NamespaceKind::User && !t.here) {
            mapped::open_sources(&mut link.state, mapped::Container::Namespace(user.fd.as_fd()))?;
        }
        let root = targets.root.take();
        match apply::all(&plan, &targets, root, kept, &mut link.state)? {
            Outcome::Inside(receipt) => {
                // The landing closes all fds, and may come back with an error after that.
                drop(targets);
                match link.go_on(receipt)? {}
            }
            Outcome::Outside(child, held) => {
                drop(targets);
                apply::look_after(child, held, &link.state)
            }
            Outcome::First(child) => {
                drop(targets);
                init::look_after(child, &link.state)
            }
            Outcome::HandedOver => Ok(0),
        }
    })
}
