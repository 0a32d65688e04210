//! `--explain`: what a capability lets a process do, and how near it is to being root. Facts of capabilities(7), Linux
//! 6.12, and of what the kernel asks for since.

use crate::name;
use chain::oci::names::CAPABILITIES;
use chain::{Error, Result, report};
use serde_json::json;
use std::fmt::Write;

/// What whoever holds it, on a host and not only in a user namespace of his own, can become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Root itself, in a step or two.
    Root,
    /// Over other users' processes, files or the whole machine's service, but not root by it alone.
    Others,
    /// Little.
    Own,
}

use Reach::{Others, Own, Root};

/// In the order of their bits: since which Linux, how far it reaches, what it is for.
const ALL: [(&str, Reach, &str); 41] = [
    ("2.2", Root, "give any file to any user or group: chown(2)"),
    ("2.2", Root, "read, write and execute any file, whatever its permissions"),
    ("2.2", Others, "read any file and search any folder; open_by_handle_at(2), which leads out of a chroot"),
    (
        "2.2",
        Root,
        "what only a file's owner may: chmod(2), utime(2), extended attributes, deleting from sticky folders",
    ),
    (
        "2.2",
        Others,
        "keep set-user-ID and set-group-ID bits when a file is changed, and set the latter for any group",
    ),
    ("2.2", Others, "send signals to any process: kill(2)"),
    (
        "2.2",
        Root,
        "become any group, have any supplementary groups, map groups in a user namespace: setgid(2), setgroups(2)",
    ),
    ("2.2", Root, "become any user, root as well, and map users in a user namespace: setuid(2)"),
    ("2.2", Others, "drop from the bounding set, add inheritable capabilities, change secure bits: prctl(2)"),
    ("2.2", Others, "set and clear the immutable and append-only flags of files: FS_IOC_SETFLAGS"),
    ("2.2", Own, "listen on ports below 1024 (net.ipv4.ip_unprivileged_port_start)"),
    ("2.2", Own, "nothing in today's kernel"),
    (
        "2.2",
        Others,
        "configure the network: devices, addresses, routes, firewall, traffic control, promiscuous mode",
    ),
    ("2.2", Others, "open raw and packet sockets: see and forge packets, as ping and tcpdump do"),
    ("2.2", Own, "lock memory beyond RLIMIT_MEMLOCK: mlock(2), huge pages of shared memory"),
    ("2.2", Others, "use any System V queue, semaphore and shared memory, whatever its permissions"),
    ("2.2", Root, "load and unload kernel modules: whatever the kernel can do"),
    ("2.2", Root, "reach ports, memory and disks beside the kernel: iopl(2), /dev/mem, raw SCSI commands"),
    (
        "2.2",
        Others,
        "chroot(2), and setns(2) to a mount namespace; together with open folders a way out of a chroot",
    ),
    (
        "2.2",
        Root,
        "read, change and stop any process: ptrace(2), process_vm_writev(2), /proc/PID/mem, pidfd_getfd(2)",
    ),
    ("2.2", Own, "switch process accounting on and off: acct(2)"),
    (
        "2.2",
        Root,
        "mount, make and join namespaces, set the host name, configure disks, and much that has no name of its own",
    ),
    ("2.2", Others, "reboot the machine and load another kernel: reboot(2), kexec_load(2)"),
    (
        "2.2",
        Others,
        "raise priorities, choose real-time schedulers and processors, for other users' processes too",
    ),
    (
        "2.2",
        Others,
        "exceed and raise limits: setrlimit(2), quotas, reserved disk space, message queues, clocks of cgroups",
    ),
    ("2.2", Others, "set the clocks of the machine: settimeofday(2), clock_settime(2)"),
    ("2.2", Others, "hang up and configure virtual terminals: vhangup(2), keyboard maps"),
    (
        "2.4",
        Root,
        "make device nodes: with one of a disk, and a device rule that allows it, all of its files",
    ),
    ("2.4", Own, "be told when any file is opened: F_SETLEASE of fcntl(2)"),
    ("2.6.11", Own, "write to the kernel's audit log"),
    ("2.6.11", Others, "switch auditing on and off and change its rules"),
    ("2.6.24", Root, "give files capabilities, and map user 0 into a user namespace"),
    ("2.6.25", Root, "pass over mandatory access control (Smack)"),
    ("2.6.25", Root, "change mandatory access control: policies, labels (Smack, AppArmor, SELinux)"),
    ("2.6.37", Others, "read the kernel's log, clear it, and see addresses of the kernel: syslog(2)"),
    ("3.0", Own, "wake the machine up: CLOCK_BOOTTIME_ALARM"),
    ("3.5", Own, "keep the machine awake: /proc/sys/wake_lock, EPOLLWAKEUP"),
    ("3.16", Others, "read the audit log by netlink multicast"),
    ("5.8", Others, "watch the whole machine's performance: perf_event_open(2), some BPF operations"),
    ("5.8", Others, "load most BPF programs and make most maps: bpf(2)"),
    (
        "5.9",
        Others,
        "choose pids of new processes and read /proc/PID/map_files, for checkpoints: clone3(2) with set_tid",
    ),
];

/// What Docker leaves a container, unless told otherwise.
const CONTAINERS: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// Of one by its name or number; of all; or of those whose text has the word in it.
pub(crate) fn explain(word: &str, json: bool) -> Result<()> {
    let named = name::parse(word);
    let numbers: Vec<u32> = match (&named, word.to_lowercase()) {
        (Ok(name::Word::All), _) => (0..ALL.len() as u32).collect(),
        (Ok(name::Word::One(number)), _) => vec![*number],
        (Err(_), word) => (0..)
            .zip(ALL)
            .filter(|(_, (.., text))| text.to_lowercase().contains(&word))
            .map(|(n, _)| n)
            .collect(),
    };
    if numbers.is_empty() {
        return named.map(drop);
    }
    let mut text = String::new();
    let mut list = Vec::new();
    for number in numbers {
        let known = ALL.get(number as usize).zip(CAPABILITIES.get(number as usize));
        let Some(((since, reach, what), name)) = known else {
            let detail = format_args!("{word} is newer than this program").to_string();
            return Err(Error::usage("explain a capability", detail));
        };
        let in_containers = CONTAINERS.contains(&number);
        let reach = match reach {
            Root => "as good as root: it can be turned into all the others",
            Others => "over other users, or the machine",
            Own => "over little but the process itself",
        };
        list.push(json!({"name": name, "number": number, "since": since, "allows": what, "reach": reach,
            "dockerDefault": in_containers}));
        let default = if in_containers { "held" } else { "not held" };
        // A string takes everything.
        writeln!(text, "{name} ({number}, since Linux {since})\n  allows    {what}\n  reach     {reach}\n  default   {default} in Docker's containers")
            .unwrap_or(());
    }
    match json {
        true => report::stdout(format!("{:#}\n", serde_json::Value::from(list)).as_bytes()),
        false => report::stdout(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_a_text_and_the_defaults_are_dockers() {
        assert_eq!(ALL.len(), CAPABILITIES.len());
        let names: Vec<String> = CONTAINERS.iter().map(|n| name::of(*n)).collect();
        let expected = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW \
             SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP";
        let expected: Vec<String> = expected.split_whitespace().map(|name| format!("CAP_{name}")).collect();
        assert_eq!(names, expected);
        let of = |name: &str| ALL[name::number(name).unwrap() as usize].2;
        for (name, word) in [
            ("chown", "chown(2)"),
            ("sys_admin", "mount"),
            ("sys_ptrace", "ptrace(2)"),
            ("mknod", "device nodes"),
            ("bpf", "bpf(2)"),
            ("checkpoint_restore", "set_tid"),
            ("audit_read", "multicast"),
            ("syslog", "kernel's log"),
            ("setfcap", "files capabilities"),
        ] {
            assert!(of(name).contains(word), "{name}: {}", of(name));
        }
    }
}
