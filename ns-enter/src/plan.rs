//! From flags to the layer.

use crate::cli::{self, Args, Kind, NO_PATH, Unshare};
use crate::persist;
use chain::bytes::Bytes;
use chain::files::Files;
use chain::oci::{Namespace, NamespaceKind, NetDevice, TimeOffset};
use chain::spec::{NsEnter, Persist, Tty, Veth};
use chain::sys::caps;
use chain::target::Target;
use chain::{Cannot, Error, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// CAP_SYS_ADMIN of linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;

/// Flags on top of a share of an OCI config: a kind that flags name is theirs.
pub(crate) fn from_flags(args: &Args, base: NsEnter, _files: &Files<'_>) -> Result<NsEnter> {
    let privileged =
        caps::get().cannot("see what the caller may", "capget")?.effective & 1 << CAP_SYS_ADMIN != 0;
    let known = |kind: NamespaceKind| {
        std::path::Path::new("/proc/self/ns").join(kind.proc_name()).symlink_metadata().is_ok()
    };
    compose(args, base, privileged, &known)
}

/// The same, with what it looks up given.
fn compose(
    args: &Args,
    mut spec: NsEnter,
    privileged: bool,
    known: &dyn Fn(NamespaceKind) -> bool,
) -> Result<NsEnter> {
    let mut named = Vec::new();
    let target = args.target.as_ref().map(Target::pid).transpose()?;
    letters(args, target, &mut named)?;
    let mut keeper = None;
    for word in &args.join {
        let folder = Bytes::from(word.as_os_str());
        if word.as_bytes().contains(&b'=') || !persist::is_place(&folder) {
            add(&mut named, join(word)?)?;
            continue;
        }
        let found = persist::found(&folder)?;
        keeper = found.keeper.or(keeper);
        found.namespaces.into_iter().try_for_each(|(kind, path)| add(&mut named, joined(kind, path)))?;
    }
    for kind in unshared(args, privileged)? {
        add(&mut named, Namespace { kind, path: None })?;
    }
    if let (Some(pid), true) = (target, args.all) {
        // All that nothing else was said of, and this kernel has: a process that is gone, or shows nothing, is an error when they are opened.
        let missing = |kind: &NamespaceKind| !named.iter().any(|n: &Namespace| n.kind == *kind);
        let all: Vec<_> = NamespaceKind::ALL.into_iter().filter(|k| missing(k) && known(*k)).collect();
        named.extend(all.into_iter().map(|kind| joined(kind, proc_path(pid, kind).into())));
    }
    let nothing = |detail| {
        Err(Error::usage("read the command line", detail).cure("-mpniuC, --unshare all, or -t PID -a"))
    };
    let joins_of_target =
        || args.letters().iter().any(|(_, given)| given.as_ref().is_some_and(|p| p == NO_PATH));
    if args.target.is_some() && !args.all && !joins_of_target() {
        return nothing("-t says no namespace to join");
    }
    // In the user namespace that idmap made.
    if named.is_empty() && args.common.oci.is_none() && !args.disable_userns {
        return nothing("it says no namespace");
    }
    spec.namespaces.retain(|ns| !named.iter().any(|n| n.kind == ns.kind));
    spec.namespaces.extend(named);

    // A bare pid is known by its paths.
    let exact = args.target.filter(|target| !matches!(target, Target::Pid(_)));
    spec.target = exact.map(|target| target.to_string()).or(keeper).or(spec.target);
    spec.persist.extend(args.persist.iter().map(|word| kept(word)).collect::<Result<Vec<_>>>()?);
    spec.init |= args.init;
    spec.hostname = args.hostname.clone().or(spec.hostname);
    spec.domainname = args.domainname.clone().or(spec.domainname);
    spec.no_loopback |= args.no_lo;
    spec.no_fork |= args.no_fork;
    spec.disable_user_namespaces |= args.disable_userns;
    let tty = args.tty.map(|tty| match tty {
        cli::Tty::Filter => Tty::Filter,
        cli::Tty::Pty => Tty::Pty,
        cli::Tty::Setsid => Tty::Setsid,
    });
    spec.tty = tty.or(spec.tty);
    spec.attempt.extend(args.attempt.iter().map(|k| k.0));
    for (clock, secs) in [("monotonic", args.monotonic), ("boottime", args.boottime)] {
        if let Some(secs) = secs {
            spec.time_offsets.insert(clock.into(), TimeOffset { secs, nanosecs: 0 });
        }
    }
    for (i, word) in args.sysctl.iter().enumerate() {
        let Some((key, value)) = word.split_once('=') else {
            return Err(Error::usage(
                "read the command line",
                format_args!("--sysctl {word}: not KEY=VALUE"),
            ));
        };
        if args.sysctl[..i].iter().any(|other| other.split_once('=').is_some_and(|(k, _)| k == key)) {
            return Err(Error::usage(format_args!("set {key}"), "it is given a second time"));
        }
        spec.sysctl.insert(key.into(), value.into());
    }
    devices(args, &mut spec)?;
    Ok(spec)
}

/// `--netdev` and `--veth`.
fn devices(args: &Args, spec: &mut NsEnter) -> Result<()> {
    for word in &args.netdev {
        let (from, name) = match word.split_once('=') {
            Some((_, "")) => {
                let detail = format!("--netdev {word}: the name is empty");
                return Err(Error::usage("read the command line", detail));
            }
            Some((from, name)) => (from, Some(name.to_string())),
            None => (word.as_str(), None),
        };
        if spec.net_devices.insert(from.into(), NetDevice { name }).is_some() {
            return Err(Error::usage(
                format_args!("move the network device {from}"),
                "it is given a second time",
            ));
        }
        spec.give_back = true;
    }
    for word in &args.veth {
        let Some((outside, inside)) = word.split_once('=') else {
            let detail = format!("--veth {word}: not OUTSIDE=INSIDE, as box,10.9.0.1/24=eth0,10.9.0.2/24");
            return Err(Error::usage("read the command line", detail));
        };
        spec.veth.push(Veth { outside: crate::net::end(outside), inside: crate::net::end(inside) });
    }
    Ok(())
}

fn proc_path(pid: i32, kind: NamespaceKind) -> String {
    format!("/proc/{pid}/ns/{}", kind.proc_name())
}

fn joined(kind: NamespaceKind, path: Bytes) -> Namespace {
    Namespace { kind, path: Some(path) }
}

/// `-n` makes, `-t PID -n` joins, `--net=PATH` joins.
fn letters(args: &Args, target: Option<i32>, named: &mut Vec<Namespace>) -> Result<()> {
    for (kind, given) in args.letters() {
        let Some(path) = given else { continue };
        let path = match target {
            _ if path.is_empty() => {
                // `--net=$NS` with nothing in it does not mean a new one.
                let detail = format!("the path of the {} namespace is empty", kind.as_str());
                return Err(Error::usage("read the command line", detail));
            }
            _ if path != NO_PATH => Some(Bytes::from(path.as_os_str())),
            Some(pid) => Some(proc_path(pid, kind).into()),
            None => None,
        };
        add(named, Namespace { kind, path })?;
    }
    Ok(())
}

/// `KIND=PATH`, `KIND=fd:N`.
fn join(word: &OsStr) -> Result<Namespace> {
    let wrong =
        |what: String| Error::usage("read the command line", format!("--join {}: {what}", word.display()));
    let bytes = word.as_bytes();
    let equals = bytes.iter().position(|b| *b == b'=').ok_or_else(|| wrong("not KIND=PATH".into()))?;
    let (kind, path) = (String::from_utf8_lossy(&bytes[..equals]), &bytes[equals + 1..]);
    let Kind(kind) = kind.parse().map_err(&wrong)?;
    if path.is_empty() {
        return Err(wrong("the path is empty".into()));
    }
    Ok(joined(kind, Bytes(path.to_vec())))
}

/// `DIR`, `KIND=FILE`.
fn kept(word: &OsStr) -> Result<Persist> {
    let bytes = word.as_bytes();
    let split = bytes.iter().position(|b| *b == b'=').map(|at| (&bytes[..at], &bytes[at + 1..]));
    let (kind, path) = match split.filter(|(kind, _)| !kind.contains(&b'/')) {
        Some((kind, path)) => {
            let kind = String::from_utf8_lossy(kind).parse();
            let Kind(kind) = kind.map_err(|what: String| {
                let detail = format!("--persist {}: {what}", word.display());
                Error::usage("read the command line", detail)
            })?;
            (Some(kind), path)
        }
        None => (None, bytes),
    };
    if path.is_empty() {
        let detail = format!("--persist {}: the path is empty", word.display());
        return Err(Error::usage("read the command line", detail));
    }
    Ok(Persist { kind, path: Bytes(path.to_vec()) })
}

/// One kind can be made or joined once. Asking twice for a new one is asking for a new one.
fn add(named: &mut Vec<Namespace>, ns: Namespace) -> Result<()> {
    match named.iter().find(|n| n.kind == ns.kind) {
        None => named.push(ns),
        Some(same) if *same == ns => {}
        Some(_) => {
            let detail = format!("two different {} namespaces are asked for", ns.kind.as_str());
            return Err(Error::usage("read the command line", detail));
        }
    }
    Ok(())
}

fn unshared(args: &Args, privileged: bool) -> Result<Vec<NamespaceKind>> {
    let mut kinds = Vec::new();
    for word in &args.unshare {
        match word {
            Unshare::One(kind) => kinds.push(*kind),
            // A caller with privilege needs no user namespace, and one without maps would make it nobody.
            Unshare::All => {
                kinds.extend(
                    NamespaceKind::ALL.into_iter().filter(|k| *k != NamespaceKind::User || !privileged),
                );
            }
        }
    }
    for Kind(kind) in &args.share {
        if !kinds.contains(kind) && (*kind != NamespaceKind::User || kinds.is_empty()) {
            let detail = format!("--share {0}: --unshare does not name {0}", kind.as_str());
            return Err(Error::usage("read the command line", detail));
        }
    }
    kinds.retain(|kind| !args.share.contains(&Kind(*kind)));
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn spec_of(line: &str, privileged: bool) -> Result<NsEnter> {
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        compose(&args, NsEnter::default(), privileged, &|kind| kind != NamespaceKind::Time)
    }

    fn shown(line: &str) -> String {
        let spec = spec_of(line, true).unwrap();
        let word = |n: &Namespace| {
            n.path.as_ref().map_or(n.kind.as_str().into(), |p| format!("{}={p}", n.kind.as_str()))
        };
        spec.namespaces.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn letters_make_and_with_a_target_they_join() {
        assert_eq!(shown("x -mpniuC"), "mount uts ipc network pid cgroup");
        assert_eq!(shown("x -U -T"), "user time");
        assert_eq!(shown("x -t 7 -np"), "network=/proc/7/ns/net pid=/proc/7/ns/pid");
        assert_eq!(shown("x -m --net=/run/n"), "mount network=/run/n");
        assert_eq!(shown("x -t 7 -n --unshare mnt"), "network=/proc/7/ns/net mount");
        assert!(!shown("x -t 7 -a").contains("time") && shown("x -t 7 -a").contains("user=/proc/7/ns/user"));
        assert_eq!(shown("x --join net=fd:5 --join mnt=/a=b"), "network=fd:5 mount=/a=b");
        assert_eq!(shown("x -m --unshare mount,uts"), "mount uts");
    }

    #[test]
    fn all_leaves_the_user_namespace_to_those_who_need_it() {
        let kinds = |line, privileged| -> Vec<_> {
            spec_of(line, privileged).unwrap().namespaces.iter().map(|n| n.kind.as_str()).collect()
        };
        assert_eq!(
            kinds("x --unshare all", true),
            ["mount", "uts", "ipc", "network", "pid", "cgroup", "time"]
        );
        assert_eq!(kinds("x --unshare all", false)[0], "user");
        assert_eq!(kinds("x --unshare all --share net,time", true), ["mount", "uts", "ipc", "pid", "cgroup"]);
        assert!(!kinds("x --unshare all --share user", false).contains(&"user"));
        kinds("x --unshare all --share user", true);
    }

    #[test]
    fn contradictions_and_nothing_are_refused() {
        for (line, text) in [
            ("x", "says no namespace"),
            ("x -t 7", "-t says no namespace"),
            ("x -t 7 --unshare net", "-t says no namespace"),
            ("x -t 7 --net=/a", "-t says no namespace"),
            ("x -n --sysctl net.x=1 --sysctl net.x=1", "a second time"),
            ("x -n --join net=/a", "two different network"),
            ("x --join net=/a --join network=/b", "two different network"),
            ("x --join net", "not KIND=PATH"),
            ("x --join net=", "path is empty"),
            ("x --net=", "path of the network namespace is empty"),
            ("x --join nett=/a", "no namespace is called 'nett'"),
            ("x -m --share net", "does not name network"),
            ("x -n --sysctl net.x", "not KEY=VALUE"),
        ] {
            let error = spec_of(line, true).unwrap_err().to_string();
            assert!(error.contains(text), "{line}: {error}");
        }
        for line in ["x -a", "x -t 0 -a", "x -t x -a", "x --unshare pidd", "x --try al", "x -mp7", "x -m -m"]
        {
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn flags_take_their_kinds_from_a_config() {
        let base = NsEnter {
            namespaces: vec![
                joined(NamespaceKind::Network, "/a".into()),
                joined(NamespaceKind::Ipc, "/b".into()),
            ],
            hostname: Some("old".into()),
            ..NsEnter::default()
        };
        let args = Args::try_parse_from("x -n --hostname new".split(' ')).unwrap();
        let spec = compose(&args, base, true, &|_| true).unwrap();
        assert_eq!(spec.namespaces.len(), 2);
        assert_eq!((spec.namespaces[1].path.clone(), spec.hostname.as_deref()), (None, Some("new")));
    }
}
