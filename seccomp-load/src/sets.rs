//! Sets of calls, `@mount` and its like, with the names that systemd's users know. What a set holds is fixed by this
//! build: a layer carries the calls, not the set.

/// By name, sorted. A word with an @ is a set in the set.
const SETS: [(&str, &str); 21] = [
    (
        "@aio",
        "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64 io_uring_setup
         io_uring_enter io_uring_register",
    ),
    ("@chown", "chown chown32 fchown fchown32 fchownat lchown lchown32"),
    ("@clock", "adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday stime"),
    ("@cpu-emulation", "modify_ldt subpage_prot switch_endian vm86 vm86old"),
    (
        "@debug",
        "ptrace process_vm_readv process_vm_writev pidfd_getfd perf_event_open kcmp lookup_dcookie rtas
         s390_runtime_instr sys_debug_setcontext",
    ),
    ("@io-uring", "io_uring_setup io_uring_enter io_uring_register"),
    (
        "@ipc",
        "ipc memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
         mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 process_madvise process_vm_readv
         process_vm_writev semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
    ),
    ("@keyring", "add_key keyctl request_key"),
    ("@memlock", "mlock mlock2 mlockall munlock munlockall"),
    ("@module", "delete_module finit_module init_module"),
    (
        "@mount",
        "chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root umount
         umount2",
    ),
    (
        "@network-io",
        "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
         recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair",
    ),
    (
        "@obsolete",
        "_sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx prof profil
         putpmsg query_module security sgetmask ssetmask stime stty sysfs tuxcall ulimit uselib ustat vserver",
    ),
    (
        "@privileged",
        "@chown @clock @module @raw-io @reboot @swap _sysctl acct bpf capset chroot fanotify_init fanotify_mark
         nfsservctl open_by_handle_at pivot_root quotactl quotactl_fd setdomainname sethostname setfsuid setfsuid32
         setgroups setgroups32 setresuid setresuid32 setreuid setreuid32 setuid setuid32 vhangup",
    ),
    (
        "@raw-io",
        "ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read s390_pci_mmio_write",
    ),
    ("@reboot", "kexec_file_load kexec_load reboot"),
    (
        "@resources",
        "ioprio_set mbind migrate_pages move_pages nice prlimit64 sched_setaffinity sched_setattr sched_setparam
         sched_setscheduler set_mempolicy set_mempolicy_home_node setpriority setrlimit",
    ),
    ("@sandbox", "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp"),
    (
        "@setuid",
        "setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
         setreuid32 setuid setuid32",
    ),
    ("@swap", "swapoff swapon"),
    ("@sync", "fdatasync fsync msync sync sync_file_range sync_file_range2 syncfs"),
];

/// Every name.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SETS.iter().map(|(name, _)| *name)
}

/// The calls of a set; None when there is no such set.
pub(crate) fn calls(name: &str) -> Option<Vec<&'static str>> {
    let (_, words) = SETS.iter().find(|(n, _)| *n == name)?;
    let mut found = Vec::new();
    for word in words.split_ascii_whitespace() {
        match word.starts_with('@') {
            true => found.extend(calls(word)?),
            false => found.push(word),
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_call_or_a_set() {
        for name in names() {
            let calls = calls(name).unwrap();
            for call in &calls {
                let known = crate::number::entries(call, crate::arch::native());
                assert!(known.is_some(), "{name}: {call}");
            }
            assert!(!calls.is_empty());
        }
        assert!(names().is_sorted());
        assert_eq!(calls("@mounts"), None);
        assert!(calls("@privileged").unwrap().contains(&"kexec_load"));
    }
}
