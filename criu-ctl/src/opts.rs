//! The command line in the words of CRIU's rpc.proto. Pure, but for how a network can be locked here.

use crate::cli::Args;
use crate::flags::{EmptyNamespace, NetworkLock};
use crate::known::Known;
use crate::namespaces;
use crate::rpc::{InheritFd, Opts, PageServer};
use chain::bytes::Bytes;
use chain::error::{Error, Result};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How much criu logs if nobody says otherwise: all of it, for the reason of a failure is often on a line that is no
/// error.
const LOG_LEVEL: u8 = 4;

/// CLONE_NEWNET of sched.h.
const NEWNET: u32 = 0x4000_0000;

pub(crate) fn usage(detail: impl std::fmt::Display) -> Error {
    Error::usage("read the command line", detail)
}

/// What dump and restore share.
pub(crate) fn common(args: &Args, known: &Known, log_file: &str) -> Opts {
    let more = &args.more;
    let root = more.root.as_ref().map(|root| Bytes::from(root.as_path())).or_else(|| known.root.clone());
    // The state of a network namespace of its own is not taken along: what is in there is its maker's to make again.
    let empty = more.empty_ns.contains(&EmptyNamespace::Network) || known.own_network;
    Opts {
        ext_unix_sk: args.ext_unix_sk,
        tcp_established: args.tcp_established,
        shell_job: args.shell_job,
        file_locks: args.file_locks,
        log_level: Some(i32::from(args.log_level.unwrap_or(LOG_LEVEL))),
        log_file: log_file.into(),
        root: root.map(|root| root.0),
        // 0 is "leave cgroups alone", and has to be said.
        manage_cgroups: more.manage_cgroups.is_some(),
        manage_cgroups_mode: Some(more.manage_cgroups.map_or(0, |mode| mode.number())),
        empty_ns: empty.then_some(NEWNET),
        lazy_pages: more.lazy_pages,
        auto_dedup: more.auto_dedup,
        network_lock: more.network_lock.map(|way| way as i32),
        config_file: more.config.as_ref().map(|path| path.as_os_str().as_bytes().to_vec()),
        external: more.external.iter().map(|word| word.as_bytes().to_vec()).collect(),
        // A terminal of its own, whose other end somebody outside holds.
        orphan_pts_master: more.meet_fd.is_some(),
        ..Opts::default()
    }
}

/// A dump's, and a pre-dump's.
pub(crate) fn dump(args: &Args, known: &Known, pid: i32) -> Result<Opts> {
    let more = &args.more;
    let opts = common(args, known, "dump.log");
    Ok(Opts {
        pid: Some(pid),
        leave_running: args.leave_running,
        ps: more.page_server.as_deref().map(server).transpose()?,
        parent_img: more.parent_path.as_ref().map(|path| path.as_os_str().as_bytes().to_vec()),
        // What a round before has watched is not watched any longer if this one does not say so.
        track_mem: more.track_mem || more.parent_path.is_some(),
        tcp_skip_in_flight: more.tcp_skip_in_flight,
        link_remap: more.link_remap,
        freeze_cgroup: more.freeze_cgroup.as_ref().map(|path| path.as_os_str().as_bytes().to_vec()),
        network_lock: opts.network_lock.or_else(|| other_lock(pid, args)),
        ..opts
    })
}

/// criu's default is iptables-restore, which not every host has any longer. With nftables it makes a table (70 ms of a
/// frozen tree) whatever there is to lock: in our own network namespace that is established connections alone.
fn other_lock(pid: i32, args: &Args) -> Option<i32> {
    let network = |who: &str| std::fs::metadata(format!("/proc/{who}/ns/net")).map(|file| file.ino());
    let ours = matches!((network("self"), network(&pid.to_string())), (Ok(own), Ok(its)) if own == its);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let iptables = std::env::split_paths(&path).any(|dir| dir.join("iptables-restore").is_file());
    lock(ours && !args.tcp_established && !configured(args.more.config.as_deref()), iptables)
}

/// Whether one of criu's own files, which win over flags, asks for established connections.
fn configured(file: Option<&Path>) -> bool {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".criu/default.conf"));
    let mut files = file.into_iter().chain([Path::new("/etc/criu/default.conf")]).chain(home.as_deref());
    files.any(|file| {
        let text = std::fs::read(file).unwrap_or_default();
        String::from_utf8_lossy(&text).contains("tcp-established")
    })
}

fn lock(nothing_to_lock: bool, iptables: bool) -> Option<i32> {
    (!nothing_to_lock && !iptables).then_some(NetworkLock::Nftables as i32)
}

/// A restore's; the images, and our own fds, come later.
pub(crate) fn restore(args: &Args, known: &Known) -> Result<Opts> {
    let more = &args.more;
    Ok(Opts {
        rst_sibling: true,
        tcp_close: more.tcp_close,
        lsm_profile: more.lsm_profile.clone(),
        lsm_mount_context: more.lsm_mount_context.clone(),
        inherit_fd: more
            .inherit_fd
            .iter()
            .map(|word| inherit(&word.to_string_lossy()))
            .collect::<Result<_>>()?,
        join_ns: namespaces::joined(&known.shared),
        // It was chosen at dump.
        network_lock: None,
        ..common(args, known, "restore.log")
    })
}

/// `fd[N]:KEY`.
fn inherit(word: &str) -> Result<InheritFd> {
    let parts = word.strip_prefix("fd[").and_then(|rest| rest.split_once("]:"));
    let parsed = parts.and_then(|(fd, key)| Some((fd.parse::<i32>().ok().filter(|fd| *fd > 2)?, key)));
    let (fd, key) =
        parsed.ok_or_else(|| usage(format_args!("--inherit-fd: '{word}' is not fd[N]:KEY, N above 2")))?;
    Ok(InheritFd { key: key.as_bytes().to_vec(), fd })
}

/// `ADDRESS:PORT`, an IPv6 address in brackets.
pub(crate) fn server(word: &str) -> Result<PageServer> {
    let parts = word.rsplit_once(':').filter(|(address, _)| !address.is_empty());
    let parsed =
        parts.and_then(|(address, port)| Some((address, port.parse::<u16>().ok().filter(|p| *p > 0)?)));
    let (address, port) =
        parsed.ok_or_else(|| usage(format_args!("--page-server: '{word}' is not ADDRESS:PORT")))?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    Ok(PageServer { address: Some(address.into()), port: Some(i32::from(port)), fd: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nftables_is_for_hosts_without_iptables_that_have_something_to_lock() {
        let nftables = Some(NetworkLock::Nftables as i32);
        assert_eq!([lock(false, false), lock(false, true)], [nftables, None]);
        assert_eq!([lock(true, false), lock(true, true)], [None, None]);
    }

    #[test]
    fn a_file_of_criu_s_may_ask_for_connections() {
        let file = std::env::temp_dir().join(format!("criu-ctl-config-{}", std::process::id()));
        for (text, asks) in [("tcp-established\n", true), ("ext-unix-sk\n", false)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(configured(Some(&file)), asks);
        }
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_server_is_an_address_and_a_port() {
        let of = |word| server(word).map(|s| (s.address.unwrap(), s.port.unwrap()));
        assert_eq!(of("127.0.0.1:27").unwrap(), ("127.0.0.1".into(), 27));
        assert_eq!(of("[::1]:27").unwrap(), ("::1".into(), 27));
        for bad in ["", "x", ":1", "x:", "x:0", "x:65536", "x:-1"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_fd_is_named_by_its_number_and_never_a_standard_stream() {
        let found = inherit("fd[7]:net[4]").unwrap();
        assert_eq!((found.fd, found.key), (7, b"net[4]".to_vec()));
        for bad in ["7:x", "fd[2]:x", "fd[x]:x", "fd[]:x", "fd[7]x"] {
            assert!(inherit(bad).is_err(), "{bad}");
        }
    }
}
