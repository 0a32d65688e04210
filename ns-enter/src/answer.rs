//! `--print`, `--check`, `--show`: answers that change nothing.

use crate::apply::{self, Outcome};
use crate::cli::Args;
use crate::fork::Fork;
use crate::net;
use crate::persist;
use crate::resolve::{self, Plan};
use crate::targets::{self, Targets};
use chain::canary::canary;
use chain::link::Question;
use chain::oci::{Namespace, NamespaceKind};
use chain::plan::Layer;
use chain::spec::{NsEnter, Tty};
use chain::state::State;
use chain::{Class, Error, Result, landing, proc, report};
use std::fmt::Write;
use std::os::fd::AsFd;

/// Answers `question`.
pub(crate) fn answer(question: Question, args: &Args, spec: &NsEnter) -> Result<u8> {
    let json = args.common.json;
    match question {
        Question::Show(pid) => layer(&in_force(pid)?)?,
        Question::Print if json => layer(spec)?,
        Question::Print => {
            let (plan, targets) = plan(spec)?;
            let mut text = shown(&plan, &targets);
            for place in &spec.persist {
                let what = place.kind.map_or("all".into(), |kind| format!("the {} namespace", kind.as_str()));
                writeln!(text, "{:<12}{what} in {}", "keep", place.path).expect("a String takes all");
            }
            report::stdout(text.as_bytes())?;
        }
        Question::Check => {
            check(spec)?;
            let text =
                if json { "{\"tool\":\"ns-enter\",\"check\":true}\n" } else { "this host can do it\n" };
            report::stdout(text.as_bytes())?;
        }
    }
    Ok(0)
}

fn plan(spec: &NsEnter) -> Result<(Plan, Targets)> {
    let targets = targets::open(spec, None)?;
    let plan = resolve::resolve(spec, &resolve::facts(spec, &targets, &State::default())?)?;
    Ok((plan, targets))
}

/// Really does it, in a child, and in a child of that where it takes a fork: both come back here as the canary.
fn check(spec: &NsEnter) -> Result<()> {
    if !spec.persist.is_empty() {
        persist::check(spec)?;
    }
    let spec = NsEnter { hand_over: false, persist: Vec::new(), ..spec.clone() };
    let (mut plan, targets) = plan(&spec)?;
    // A device that somebody works with is looked for, and not moved.
    drop(net::look(&plan.net, proc::host()?.as_fd())?);
    plan.net.devices.clear();
    plan.net.give_back = false;
    let mut state = State::default();
    canary(|| match apply::all(&plan, &targets, None, None, &mut state)? {
        Outcome::Inside(_) if state.landing.no_typing => landing::rehearse(&state, None),
        Outcome::Inside(_) | Outcome::HandedOver => Ok(()),
        Outcome::Outside(mut child, _) | Outcome::First(mut child) => match child.wait()? {
            0 => Ok(()),
            status => {
                Err(Error::new(Class::Internal, "try it out", format_args!("it ended with status {status}")))
            }
        },
    })
}

fn layer(spec: &NsEnter) -> Result<()> {
    let mut text = serde_json::to_vec(&Layer::of(spec)?)
        .map_err(|e| Error::new(Class::Internal, "write the layer", e))?;
    text.push(b'\n');
    report::stdout(&text)
}

/// The layer that joins what process `pid` is in and we are not.
fn in_force(pid: i32) -> Result<NsEnter> {
    let who = pid.to_string();
    let mut spec = NsEnter::default();
    for kind in NamespaceKind::ALL {
        // A kernel without that kind has no file for it, neither for us.
        let Ok(ours) = proc::namespace("self", kind) else { continue };
        if proc::namespace(&who, kind)? != ours {
            let path = format!("/proc/{pid}/ns/{}", kind.proc_name());
            spec.namespaces.push(Namespace { kind, path: Some(path.into()) });
        }
    }
    Ok(spec)
}

fn shown(plan: &Plan, targets: &Targets) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        writeln!(text, "{what:<12}{value}").expect("a String takes all");
    };
    if plan.mapped.is_some() {
        line("user", "made by idmap".into());
    }
    for kind in &plan.make {
        line("make", kind.as_str().into());
    }
    for target in &targets.list {
        let here = if target.here { " (we are in it already)" } else { "" };
        line("join", format!("{} {} (inode {}){here}", target.kind.as_str(), target.path, target.inode));
    }
    for lost in &plan.degraded {
        line("leave out", lost.clone());
    }
    if plan.fork != Fork::No {
        line("fork", "the command is a child, and this process looks after it".into());
    }
    if plan.init {
        line("init", "the first process reaps, and the command is its child".into());
    }
    if plan.nest {
        line("userns", "no further ones inside".into());
    }
    match plan.tty {
        Some(Tty::Filter) => line("terminal", "ours, and a filter against typing into it".into()),
        Some(Tty::Pty) => line("terminal", "one of its own".into()),
        Some(Tty::Setsid) => line("terminal", "none, in a session of its own".into()),
        None => {}
    }
    if let Some(name) = &plan.hostname {
        line("hostname", name.clone());
    }
    if let Some(name) = &plan.domainname {
        line("domainname", name.clone());
    }
    for offset in plan.time_offsets.iter().flat_map(|t| t.lines()) {
        line("clock", offset.into());
    }
    if plan.loopback {
        line("lo", "up".into());
    }
    for device in &plan.net.devices {
        let back = if plan.net.give_back { ", and back at the end" } else { "" };
        line("device", format!("{} becomes {}{back}", device.from, device.to));
    }
    for pair in &plan.net.pairs {
        line("veth", format!("{} outside, {} inside", pair.outside.name, pair.inside.name));
    }
    for sysctl in &plan.sysctls {
        line("sysctl", format!("/proc/{} = {}", sysctl.path, sysctl.value));
    }
    if text.is_empty() { "no namespace\n".into() } else { text }
}
