//! Kernel parameters that belong to a namespace: which file, and which namespace must be ours for it.

use chain::oci::NamespaceKind;
use chain::proc;
use chain::{Error, Result};
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

/// One to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysctl {
    /// As the user wrote it.
    pub(crate) key: String,
    /// Below /proc.
    pub(crate) path: String,
    /// What is written.
    pub(crate) value: String,
}

/// Those of an IPC namespace, ipc_namespaces(7).
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// The file of `key` below /proc, and its namespace. Only namespaced parameters: any other would be the host's.
pub(crate) fn find(key: &str) -> Result<(String, NamespaceKind)> {
    let refuse = |what: &str| Error::usage("set a kernel parameter", format_args!("{key}: {what}"));
    let path = path(key);
    if path.is_empty() || key.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refuse("not the name of a parameter"));
    }
    let kind = match path.split_once('/') {
        Some(("net", _)) => NamespaceKind::Network,
        Some(("kernel", name)) if IPC.contains(&name) => NamespaceKind::Ipc,
        Some(("kernel", "hostname" | "domainname")) => NamespaceKind::Uts,
        // The limits of a user namespace, which hold for it and all below it.
        Some(("user", name)) if !name.contains('/') => NamespaceKind::User,
        Some(("fs", name)) if name.starts_with("mqueue/") => NamespaceKind::Ipc,
        _ => return Err(refuse("it belongs to no namespace: setting it would change the host")),
    };
    Ok((format!("sys/{path}"), kind))
}

/// As sysctl(8) reads it: the first separator says which of `.` and `/` separates, the other is a part of a name.
fn path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_string(),
    }
}

/// Writes it and reads it back, where it can be read.
pub(crate) fn set(proc: BorrowedFd<'_>, sysctl: &Sysctl) -> Result<()> {
    let doing = || format!("set {} to {}", sysctl.key, sysctl.value.trim_end());
    proc::write_at(proc, &sysctl.path, sysctl.value.as_bytes())
        .map_err(|error| Error { doing: doing(), ..error })?;
    let found = match proc::read_at(proc, &sysctl.path) {
        // A few, as net.ipv4.route.flush, can only be written, by root too.
        Err(error) if error.errno() == Some(nix::errno::Errno::EACCES) => return Ok(()),
        other => other?,
    };
    let found = String::from_utf8_lossy(&found).into_owned();
    if same(&sysctl.value, &found) {
        return Ok(());
    }
    Err(Error::readback(&sysctl.key, sysctl.value.trim(), found.trim()))
}

/// The kernel puts tabs between numbers and writes them in decimal, and lists of ports in its own order.
fn same(asked: &str, found: &str) -> bool {
    let number = |word: &str| match word.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => word.parse::<i128>().ok(),
    };
    let equal = |(a, b): (&str, &str)| {
        a == b
            || number(a).is_some_and(|n| Some(n) == number(b))
            || ports(a).is_some_and(|set| Some(set) == ports(b))
    };
    let (asked, found): (Vec<_>, Vec<_>) =
        (asked.split_whitespace().collect(), found.split_whitespace().collect());
    asked.len() == found.len() && asked.into_iter().zip(found).all(equal)
}

/// `8080,9000-9004` of net.ipv4.ip_local_reserved_ports.
fn ports(list: &str) -> Option<BTreeSet<u16>> {
    let mut set = BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        set.extend(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_a_namespace_have_a_file() {
        for (key, path, kind) in [
            ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward", NamespaceKind::Network),
            (
                "net/ipv4/conf/eth0.100/forwarding",
                "sys/net/ipv4/conf/eth0.100/forwarding",
                NamespaceKind::Network,
            ),
            (
                "net.ipv4.conf.eth0/100.forwarding",
                "sys/net/ipv4/conf/eth0.100/forwarding",
                NamespaceKind::Network,
            ),
            ("kernel.sem", "sys/kernel/sem", NamespaceKind::Ipc),
            ("fs.mqueue.msg_max", "sys/fs/mqueue/msg_max", NamespaceKind::Ipc),
            ("user.max_net_namespaces", "sys/user/max_net_namespaces", NamespaceKind::User),
            ("kernel.domainname", "sys/kernel/domainname", NamespaceKind::Uts),
        ] {
            assert_eq!(find(key).unwrap(), (path.to_string(), kind));
        }
        for key in [
            "",
            ".",
            "net",
            "kernel.panic",
            "kernel.shmmax.x",
            "vm.swappiness",
            "fs.file-max",
            "fs.mqueue",
            "net..x",
            "net/../kernel/panic",
            "/net/x",
            "net/x/",
            "net.\0",
            "user",
            "user.a.b",
            "kernel/../net/x",
        ] {
            assert!(find(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn values_are_compared_as_the_kernel_writes_them() {
        assert!(same("250 32000  32 128", "250\t32000\t32\t128\n"));
        assert!(same("0x10", "16\n") && same("cubic", "cubic\n"));
        assert!(same("9001,8080,9000,9002-9004", "8080,9000-9004\n") && !same("1,2", "1\n"));
        assert!(!same("1", "0\n") && !same("1 2", "1\n") && !same("", "1\n"));
    }
}
