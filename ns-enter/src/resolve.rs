//! From the layer and what the host says to what will be done, or a refusal. Nothing is touched here.

use crate::fork::{self, Fork};
use crate::join::{dumpable, enter};
use crate::net::{self, Wanted};
use crate::sysctl::{self, Sysctl};
use crate::targets::Targets;
use crate::userns;
use chain::canary::canary;
use chain::name::ToolName;
use chain::oci::{NamespaceKind, Personality, TimeOffset};
use chain::spec::{NsEnter, Tty};
use chain::state::State;
use chain::{Cannot, Class, Error, Result};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;

/// What the host says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Inode of the user namespace that an idmap link made.
    pub(crate) mapped: Option<u64>,
    /// It disabled further ones as well.
    pub(crate) disabled: bool,
    /// Namespaces to join in which we are already.
    pub(crate) here: Vec<NamespaceKind>,
    /// Kinds marked `try` that cannot be made, and why.
    pub(crate) impossible: BTreeMap<NamespaceKind, String>,
    /// A rootfs-prep link follows, which sets the propagation of mounts itself.
    pub(crate) rootfs_follows: bool,
    /// A runner waits for the container.
    pub(crate) runner: bool,
}

/// Looks them up.
pub(crate) fn facts(spec: &NsEnter, targets: &Targets, state: &State) -> Result<Facts> {
    let idmap = state.receipt(ToolName::Idmap);
    let mapped = idmap.and_then(|r| r.ns.get(&NamespaceKind::User).copied());
    let mut facts = Facts {
        mapped,
        disabled: idmap.is_some_and(|r| r.applied["disableUserNamespaces"] == true),
        here: targets.list.iter().filter(|t| t.here).map(|t| t.kind).collect(),
        impossible: BTreeMap::new(),
        rootfs_follows: state.fds.tools.contains_key(&ToolName::RootfsPrep),
        runner: state.fds.meet.is_some(),
    };
    let makes = |kind| spec.namespaces.iter().any(|ns| ns.kind == kind && ns.path.is_none());
    // Who has no privilege yet gets it from the user namespace that is made or joined, so that comes first.
    let joined = targets.list.iter().find(|t| t.kind == NamespaceKind::User && !t.here);
    let mut with = if makes(NamespaceKind::User) && mapped.is_none() { libc::CLONE_NEWUSER } else { 0 };
    let mut kinds: Vec<NamespaceKind> = spec.attempt.iter().copied().filter(|kind| makes(*kind)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let tried = canary(|| {
            if let Some(user) = joined {
                dumpable(false)?;
                enter(&[user], None)?;
            }
            make(kind.clone_flag() | with)
        });
        if let Err(error) = tried {
            facts.impossible.insert(kind, error.to_string());
            with &= !kind.clone_flag();
        }
    }
    Ok(facts)
}

/// unshare(2).
pub(crate) fn make(flags: i32) -> Result<()> {
    unshare(CloneFlags::from_bits_retain(flags))
        .cannot("make namespaces", format_args!("unshare({})", flag_names(flags)))
}

/// `CLONE_NEWNS|CLONE_NEWPID`.
pub(crate) fn flag_names(flags: i32) -> String {
    let name = |kind: NamespaceKind| match kind {
        NamespaceKind::Mount => "CLONE_NEWNS".into(),
        NamespaceKind::Network => "CLONE_NEWNET".into(),
        other => format!("CLONE_NEW{}", other.as_str().to_uppercase()),
    };
    let named = NamespaceKind::ALL.into_iter().filter(|k| flags & k.clone_flag() != 0).map(name);
    named.collect::<Vec<String>>().join("|")
}

/// Refuses where this link or a later one ran already.
pub(crate) fn order(state: &State) -> Result<()> {
    match state.receipts.iter().find(|r| r.tool >= ToolName::NsEnter) {
        Some(receipt) => {
            let detail = format!("{} ran already, in the namespaces it found", receipt.tool);
            Err(Error::new(Class::Order, "enter namespaces", detail)
                .cure(format_args!("ns-enter … -- {} … -- PROGRAM", receipt.tool)))
        }
        None => Ok(()),
    }
}

/// What will be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Made, in the kernel's order: user first.
    pub(crate) make: Vec<NamespaceKind>,
    /// Joined; those we are in already are left out.
    pub(crate) join: Vec<NamespaceKind>,
    /// See [`Fork`].
    pub(crate) fork: Fork,
    /// Made already, by an idmap link.
    pub(crate) mapped: Option<u64>,
    /// A second user namespace in the new one, which can have no other.
    pub(crate) nest: bool,
    /// What /proc/self/timens_offsets takes.
    pub(crate) time_offsets: Option<String>,
    /// Host name.
    pub(crate) hostname: Option<String>,
    /// NIS domain name.
    pub(crate) domainname: Option<String>,
    /// Bring lo up.
    pub(crate) loopback: bool,
    /// Cut the mounts off from those outside.
    pub(crate) private_mounts: bool,
    /// Kernel parameters.
    pub(crate) sysctls: Vec<Sysctl>,
    /// personality(2).
    pub(crate) personality: Option<u64>,
    /// The first process of the pid namespace is ours, a reaper.
    pub(crate) init: bool,
    /// See [`Tty`].
    pub(crate) tty: Option<Tty>,
    /// Network devices.
    pub(crate) net: Wanted,
    /// For the receipt.
    pub(crate) degraded: Vec<String>,
}

impl Plan {
    /// CLONE_NEW* of what is made, but for time: clone(2) cannot make that and give it offsets. And for network where
    /// devices are given back: who does that lives in there. And for a user namespace that gets one below it, which all
    /// others are to belong to.
    pub(crate) fn flags(&self) -> i32 {
        let apart = |kind| match kind {
            NamespaceKind::Time => true,
            NamespaceKind::Network => self.net.give_back,
            NamespaceKind::User => self.nest,
            _ => false,
        };
        let kinds = self.make.iter().filter(|k| !apart(**k));
        kinds.fold(0, |flags, kind| flags | kind.clone_flag())
    }

    /// Is this one made?
    pub(crate) fn makes(&self, kind: NamespaceKind) -> bool {
        self.make.contains(&kind)
    }
}

/// See the module.
pub(crate) fn resolve(spec: &NsEnter, facts: &Facts) -> Result<Plan> {
    let doing = "enter namespaces";
    let (mut make, mut join, mut degraded) = (Vec::new(), Vec::new(), Vec::new());
    for (i, ns) in spec.namespaces.iter().enumerate() {
        let name = ns.kind.as_str();
        if spec.namespaces[..i].iter().any(|other| other.kind == ns.kind) {
            return Err(Error::usage(doing, format_args!("namespaces[{i}]: {name} is there twice")));
        }
        match (&ns.path, facts.impossible.get(&ns.kind)) {
            (Some(_), _) if ns.kind == NamespaceKind::User && facts.mapped.is_some() => {
                let detail = "a user namespace is to be joined, and idmap made one already";
                return Err(Error::new(Class::Order, doing, detail).cure("leave out idmap"));
            }
            (Some(_), _) if facts.here.contains(&ns.kind) => {}
            (Some(_), _) => join.push(ns.kind),
            (None, _) if ns.kind == NamespaceKind::User && facts.mapped.is_some() => {}
            (None, Some(why)) => degraded.push(format!("{name} namespace: {why}")),
            (None, None) => make.push(ns.kind),
        }
    }
    make.sort_unstable();
    let mapped = |kind| kind == NamespaceKind::User && facts.mapped.is_some();
    let ours = |kind: NamespaceKind| make.contains(&kind) || join.contains(&kind) || mapped(kind);
    let needs = |what: &str, kind: NamespaceKind| {
        let kind = kind.as_str();
        Error::usage(
            format_args!("set {what}"),
            format_args!("no {kind} namespace is made or joined, so it would be the host's"),
        )
        .cure(format_args!("--unshare {kind}"))
    };
    for (what, name) in [("the host name", &spec.hostname), ("the domain name", &spec.domainname)] {
        if let Some(name) = name {
            if !ours(NamespaceKind::Uts) {
                return Err(needs(what, NamespaceKind::Uts));
            }
            check_name(what, name)?;
        }
    }
    let sysctls = sysctls(spec, &ours, &needs)?;
    let time_offsets = time_offsets(&spec.time_offsets, make.contains(&NamespaceKind::Time))?;
    if spec.init && (!make.contains(&NamespaceKind::Pid) || spec.no_fork || spec.hand_over) {
        let detail =
            "a reaper is the first process of a new pid namespace, and there is none to be entered here";
        return Err(Error::usage("start a reaper", detail).cure("--unshare pid"));
    }
    let net = net::resolve(spec, &make, &join, facts.mapped.is_some(), facts.runner)?;
    let fork = fork::resolve(spec, ours(NamespaceKind::Pid), net.give_back)?;
    Ok(Plan {
        fork,
        mapped: facts.mapped,
        nest: userns::resolve(spec, &make, &join, facts)?,
        time_offsets,
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        loopback: make.contains(&NamespaceKind::Network) && !spec.no_loopback,
        private_mounts: make.contains(&NamespaceKind::Mount) && !facts.rootfs_follows,
        sysctls,
        personality: spec.personality.as_ref().map(personality).transpose()?,
        net,
        init: spec.init,
        tty: spec.tty,
        degraded,
        make,
        join,
    })
}

fn check_name(what: &str, name: &str) -> Result<()> {
    // __NEW_UTS_LEN of linux/utsname.h.
    if name.len() > 64 || name.contains('\0') {
        let detail = format!("'{}': more than 64 bytes, or a NUL in it", name.escape_debug());
        return Err(Error::usage(format_args!("set {what}"), detail));
    }
    Ok(())
}

fn sysctls(
    spec: &NsEnter,
    ours: &dyn Fn(NamespaceKind) -> bool,
    needs: &dyn Fn(&str, NamespaceKind) -> Error,
) -> Result<Vec<Sysctl>> {
    let mut sysctls: Vec<Sysctl> = Vec::new();
    for (key, value) in &spec.sysctl {
        let (path, kind) = sysctl::find(key)?;
        // `net.x` and `net/x` are the same.
        if sysctls.iter().any(|other| other.path == path) {
            return Err(Error::usage(format_args!("set {key}"), "it is given a second time"));
        }
        if !ours(kind) {
            return Err(needs(key, kind));
        }
        let twice = path.ends_with("/hostname") && spec.hostname.is_some()
            || path.ends_with("/domainname") && spec.domainname.is_some();
        if twice && kind == NamespaceKind::Uts {
            return Err(Error::usage(
                format_args!("set {key}"),
                "it is given a second time, by its own name",
            ));
        }
        sysctls.push(Sysctl { key: key.clone(), path, value: value.clone() });
    }
    Ok(sysctls)
}

fn time_offsets(offsets: &BTreeMap<String, TimeOffset>, makes_time: bool) -> Result<Option<String>> {
    let mut text = String::new();
    for (clock, TimeOffset { secs, nanosecs }) in offsets {
        let refuse =
            |what: &str| Err(Error::usage("set the clocks", format_args!("timeOffsets.{clock}: {what}")));
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return refuse("no such clock; there are monotonic and boottime");
        }
        if *nanosecs > 999_999_999 {
            return refuse("more than a second of nanoseconds");
        }
        if !makes_time {
            return refuse("only a new time namespace takes an offset");
        }
        text += &format!("{clock} {secs} {nanosecs}\n");
    }
    Ok(Some(text).filter(|t| !t.is_empty()))
}

/// The specification's two domains; PER_LINUX and PER_LINUX32 of linux/personality.h.
fn personality(asked: &Personality) -> Result<u64> {
    if !asked.flags.is_empty() {
        return Err(Error::usage(
            "set the personality",
            format_args!("personality.flags: '{}' is unknown", asked.flags[0]),
        ));
    }
    match asked.domain.as_str() {
        "LINUX" => Ok(0x0000),
        "LINUX32" => Ok(0x0008),
        other => {
            Err(Error::usage("set the personality", format_args!("personality.domain: '{other}' is unknown")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> NsEnter {
        serde_json::from_str(json).unwrap()
    }

    fn of(json: &str, facts: &Facts) -> Result<Plan> {
        resolve(&spec(json), facts)
    }

    #[test]
    fn what_is_made_what_is_joined_and_what_is_there() {
        let facts = Facts { mapped: Some(7), here: vec![NamespaceKind::Ipc], ..Facts::default() };
        let text = r#"{"namespaces":[{"type":"pid"},{"type":"user"},{"type":"ipc","path":"/i"},{"type":"network","path":"/n"}]}"#;
        let plan = of(text, &facts).unwrap();
        assert_eq!(
            (plan.make.as_slice(), plan.join.as_slice()),
            (&[NamespaceKind::Pid][..], &[NamespaceKind::Network][..])
        );
        assert_eq!((plan.fork, plan.flags(), plan.loopback), (Fork::Supervise, libc::CLONE_NEWPID, false));
        let plan =
            of(r#"{"namespaces":[{"type":"time"},{"type":"mount"},{"type":"user"}]}"#, &Facts::default())
                .unwrap();
        assert_eq!(plan.make[0], NamespaceKind::User);
        assert_eq!((plan.fork, plan.flags()), (Fork::No, libc::CLONE_NEWUSER | libc::CLONE_NEWNS));
        assert!(plan.private_mounts);
    }

    #[test]
    fn one_fork_where_the_kernel_wants_it_or_the_runner() {
        let fork = |json: &str| of(json, &Facts::default()).unwrap().fork;
        assert_eq!(fork(r#"{"namespaces":[{"type":"pid"}],"noFork":true}"#), Fork::No);
        assert_eq!(fork(r#"{"namespaces":[{"type":"pid","path":"/p"}]}"#), Fork::Supervise);
        assert_eq!(fork(r#"{"namespaces":[{"type":"mount"}],"handOver":true}"#), Fork::HandOver);
        assert_eq!(fork(r#"{"namespaces":[]}"#), Fork::No);
    }

    #[test]
    fn what_would_reach_the_host_is_refused() {
        for (json, text) in [
            (r#"{"namespaces":[],"hostname":"h"}"#, "no uts namespace"),
            (r#"{"namespaces":[{"type":"mount"}],"domainname":"h"}"#, "no uts namespace"),
            (r#"{"namespaces":[{"type":"uts","path":"/u"}],"hostname":"h"}"#, "no uts namespace"),
            (r#"{"namespaces":[],"sysctl":{"net.ipv4.ip_forward":"1"}}"#, "no network namespace"),
            (r#"{"namespaces":[{"type":"network"}],"sysctl":{"kernel.sem":"1"}}"#, "no ipc namespace"),
            (r#"{"namespaces":[{"type":"ipc"}],"sysctl":{"vm.swappiness":"1"}}"#, "belongs to no namespace"),
            (
                r#"{"namespaces":[{"type":"uts"}],"hostname":"a","sysctl":{"kernel.hostname":"b"}}"#,
                "second time",
            ),
            (r#"{"namespaces":[],"timeOffsets":{"monotonic":{"secs":1}}}"#, "only a new time"),
            (
                r#"{"namespaces":[{"type":"time","path":"/t"}],"timeOffsets":{"boottime":{"secs":1}}}"#,
                "only a new time",
            ),
            (r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"realtime":{"secs":1}}}"#, "no such clock"),
            (
                r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"boottime":{"nanosecs":1000000000}}}"#,
                "nanoseconds",
            ),
            (r#"{"namespaces":[{"type":"pid"},{"type":"pid"}]}"#, "namespaces[1]: pid is there twice"),
            (r#"{"namespaces":[{"type":"pid"},{"type":"pid","path":"/x"}]}"#, "twice"),
            (r#"{"namespaces":[],"personality":{"domain":"LINUX64"}}"#, "LINUX64"),
            (r#"{"namespaces":[],"personality":{"domain":"LINUX","flags":["x"]}}"#, "flags"),
        ] {
            let facts = Facts { here: vec![NamespaceKind::Uts], ..Facts::default() };
            let error = of(json, &facts).unwrap_err();
            assert!(error.to_string().contains(text), "{json}: {error}");
        }
        let long = "x".repeat(65);
        let text = format!(r#"{{"namespaces":[{{"type":"uts"}}],"hostname":"{long}"}}"#);
        assert!(of(&text, &Facts::default()).is_err());
    }

    #[test]
    fn try_takes_away_what_cannot_be_made_and_says_so() {
        let impossible = BTreeMap::from([(NamespaceKind::Time, "no".to_string())]);
        let facts = Facts { impossible, ..Facts::default() };
        let plan = of(r#"{"namespaces":[{"type":"time"},{"type":"uts"}]}"#, &facts).unwrap();
        assert_eq!((plan.make.as_slice(), plan.degraded.len()), (&[NamespaceKind::Uts][..], 1));
    }

    #[test]
    fn offsets_are_one_line_per_clock() {
        let text = r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"monotonic":{"secs":-5},"boottime":{"secs":7,"nanosecs":9}}}"#;
        let plan = of(text, &Facts::default()).unwrap();
        assert_eq!(plan.time_offsets.unwrap(), "boottime 7 9\nmonotonic -5 0\n");
    }
}
