//! A chain of joining links, from the config that the state keeps: the same cutting as for a new container, with the
//! container's own cgroup and namespaces in the place of new ones.

use super::cgroup;
use super::cli::Exec;
use crate::container::Record;
use chain::bytes::Bytes;
use chain::landing::Command;
use chain::oci::{Config, Namespace, NamespaceKind};
use chain::plan::Layer;
use chain::spec::{CgApply, Existing, NsEnter, RootfsPrep};
use chain::state::State;
use chain::{Class, Error, Result, share};
use std::path::Path;

/// No path of a share that is taken here is relative to a bundle.
const NO_BUNDLE: &str = "/";

/// The state that the chain starts with; fds are added at the launch. `met` says that a runner waits for it.
pub(super) fn state(record: &Record, config: &Config, options: &Exec, met: bool) -> Result<State> {
    let folder = Path::new(NO_BUNDLE);
    let mut state = State::default();
    let process = config.process.clone().unwrap_or_default();
    let cg_apply = cg_apply(record, config, options, met)?;
    if cg_apply != CgApply::default() {
        state.layers.push(Layer::of(&cg_apply)?);
    }
    state.layers.push(Layer::of(&ns_enter(record, config, met)?)?);
    if process.terminal && met {
        let console_size = process.console_size.map(|s| (s.height, s.width));
        let terminal = RootfsPrep { terminal: true, console_size, ..RootfsPrep::default() };
        state.layers.push(Layer::of(&terminal)?);
    }
    let mut cap_drop = share::cap_drop(config, folder)?;
    if !record.no_new_keyring {
        cap_drop.session_keyring = Some(format!("_ses.{}", record.id));
    }
    state.layers.push(Layer::of(&cap_drop)?);
    let seccomp_load = share::seccomp_load(config, folder)?;
    if seccomp_load.seccomp.is_some() {
        state.layers.push(Layer::of(&seccomp_load)?);
    }
    state.landing.command = Some(Command { args: process.args, env: process.env });
    state.landing.cwd = Some(process.cwd);
    state.landing.new_session = true;
    Ok(state)
}

/// The process's own share; the group is there and has its limits.
fn cg_apply(record: &Record, config: &Config, options: &Exec, met: bool) -> Result<CgApply> {
    let below = cgroup::parse(&options.cgroup)?;
    if record.cgroups.is_empty() && !below.is_empty() {
        return Err(Error::new(Class::Missing, "carry out --cgroup", "the container has no cgroup"));
    }
    let rdt = record.rdt.iter().flat_map(|rdt| std::iter::once(&rdt.path).chain(&rdt.monitor));
    let existing = Existing { paths: record.cgroups.clone(), below, process: Some(record.pid) };
    Ok(CgApply {
        cgroups_path: None,
        resources: None,
        intel_rdt: None,
        rdt_join: rdt.cloned().collect(),
        exec_cpu_affinity: config.process.as_ref().and_then(|p| p.exec_cpu_affinity.clone()),
        reset_cpu_affinity: met,
        existing: (!record.cgroups.is_empty()).then_some(existing),
        ..share::cg_apply(config, Path::new(NO_BUNDLE))?
    })
}

/// All namespaces that the container made or joined, of its first process.
fn ns_enter(record: &Record, config: &Config, met: bool) -> Result<NsEnter> {
    let linux = config.linux.clone().unwrap_or_default();
    let of_first = |kind: NamespaceKind| {
        let path = format!("/proc/{}/ns/{}", record.pid, kind.proc_name());
        Namespace { kind, path: Some(Bytes::from(path.as_str())) }
    };
    let mut namespaces: Vec<Namespace> = linux.namespaces.iter().map(|ns| of_first(ns.kind)).collect();
    // Beside a tree that criu has restored, in another time namespace, a process could not be checkpointed with it again.
    if record.restored_in_time && !namespaces.iter().any(|ns| ns.kind == NamespaceKind::Time) {
        namespaces.push(of_first(NamespaceKind::Time));
    }
    // In our own mount namespace it has its root for itself alone.
    let shared = !namespaces.iter().any(|ns| ns.kind == NamespaceKind::Mount);
    let root = shared.then(|| Bytes::from(format!("/proc/{}/root", record.pid)));
    Ok(NsEnter { namespaces, root, personality: linux.personality, hand_over: met, ..NsEnter::default() })
}
