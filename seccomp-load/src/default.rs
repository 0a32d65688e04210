//! `@default`: what a program in a container may ask of the kernel. What is left out is what no such program needs and
//! what exploits start with; what wants a capability is let through to those who hold it.
//!
//! The coverage is that of Docker's default profile, so that what runs there runs here.

use chain::oci::{ArchMap, Condition, Profile, ProfileRule, SyscallArg};

const ALLOW: &str = "SCMP_ACT_ALLOW";
const ERRNO: &str = "SCMP_ACT_ERRNO";

/// What everybody may do, by what it is about. Calls of other architectures are among them: `chown32` is i386's.
const ALLOWED: [&str; 19] = [
    // Open, close, what an fd is.
    "open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 flock ioctl memfd_create memfd_secret
     pipe pipe2 name_to_handle_at",
    // Read and write.
    "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek readahead sendfile
     sendfile64 copy_file_range splice tee vmsplice fadvise64 fadvise64_64",
    // Size, and the way to the disk.
    "truncate truncate64 ftruncate ftruncate64 fallocate fsync fdatasync sync syncfs sync_file_range cachestat",
    // Names: folders, links, special files.
    "access faccessat faccessat2 link linkat symlink symlinkat readlink readlinkat rename renameat renameat2 unlink
     unlinkat mkdir mkdirat rmdir mknod mknodat getdents getdents64 chdir fchdir getcwd umask",
    // What a file is like.
    "stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 statmount
     listmount utime utimes futimesat utimensat utimensat_time64",
    // Whose it is.
    "chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32",
    "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr
     listxattrat removexattr lremovexattr fremovexattr removexattrat",
    // Waiting for fds, and watching files.
    "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl
     epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1
     inotify_add_watch inotify_rm_watch fanotify_mark",
    // Asynchronous I/O of the older kind; io_uring is left out, for it goes around the filter.
    "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64",
    // Memory.
    "brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall mseal
     membarrier remap_file_pages pkey_alloc pkey_free pkey_mprotect map_shadow_stack",
    // A process: its start, its end, its kin.
    "execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid getpgid setpgid getpgrp getsid
     setsid prctl set_tid_address pidfd_open pidfd_send_signal process_mrelease restart_syscall uretprobe
     riscv_hwprobe",
    // Threads.
    "futex futex_time64 futex_wait futex_wake futex_waitv futex_requeue set_robust_list get_robust_list
     set_thread_area get_thread_area rseq",
    // Signals.
    "kill tkill tgkill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn
     rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigaltstack sigprocmask sigreturn signalfd signalfd4",
    // Its share of the machine.
    "getpriority setpriority getrlimit ugetrlimit setrlimit prlimit64 getrusage times sysinfo uname getcpu ioprio_get
     ioprio_set sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam
     sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
     sched_rr_get_interval sched_rr_get_interval_time64",
    // Who it is, and giving that up.
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32
     getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid
     setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset
     seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    // Clocks: adjtimex and its like read for everybody, and set for who holds CAP_SYS_TIME.
    "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep
     clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64 getrandom",
    // Timers.
    "alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
     timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    // Sockets, once there is one.
    "accept accept4 bind connect getpeername getsockname getsockopt setsockopt listen recv recvfrom recvmmsg
     recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto shutdown socketcall socketpair",
    // System V's and POSIX's queues, semaphores, shared memory.
    "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
     mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 mq_timedsend
     mq_timedsend_time64",
];

/// What the holder of a capability may do besides.
const WITH: [(&str, &str); 14] = [
    // Namespaces, mounts, and what looks into or changes the whole machine.
    ("CAP_SYS_ADMIN", "clone clone3 unshare setns mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig
      fsmount fspick sethostname setdomainname quotactl quotactl_fd bpf perf_event_open fanotify_init lookup_dcookie
      syslog lsm_get_self_attr lsm_set_self_attr lsm_list_modules"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "init_module finit_module delete_module"),
    ("CAP_SYS_NICE", "get_mempolicy set_mempolicy set_mempolicy_home_node mbind"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
];

/// What only some architectures have a use for, by the names that Go has for these.
const ON: [(&[&str], &str); 5] = [
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    (&["riscv64"], "riscv_flush_icache"),
    (&["s390", "s390x"], "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET of linux/sched.h.
const CLONE_NEW: u64 = 0x7e02_0000;
/// AF_ALG and AF_VSOCK of linux/socket.h: the kernel's own cryptography, whose parsers had many holes, and the host of a
/// virtual machine, which is not in any network namespace.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// AF_MCTP, the last one that Linux 6.18 knows.
const AF_LAST: u64 = 45;
/// PER_LINUX, PER_LINUX32, each alone and with UNAME26, of linux/personality.h; all ones only asks.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile.
pub(crate) fn profile() -> Profile {
    let caps = |list: &[&str]| Some(Condition { caps: words(list), ..Condition::default() });
    let mut syscalls: Vec<ProfileRule> = ALLOWED.iter().map(|names| rule(names, ALLOW)).collect();
    for (cap, names) in WITH {
        syscalls.push(ProfileRule { includes: caps(&[cap]), ..rule(names, ALLOW) });
    }
    for (arches, names) in ON {
        let here = Condition { arches: words(arches), ..Condition::default() };
        syscalls.push(ProfileRule { includes: Some(here), ..rule(names, ALLOW) });
    }
    // Threads and processes for everybody, new namespaces for nobody else.
    let plain = arg(0, "SCMP_CMP_MASKED_EQ", CLONE_NEW);
    syscalls.push(ProfileRule {
        args: vec![plain],
        excludes: caps(&["CAP_SYS_ADMIN"]),
        ..rule("clone", ALLOW)
    });
    // clone3 has its flags in memory, where no filter can look. ENOSYS makes the C library fall back to clone.
    let enosys = Some(libc::ENOSYS as u32);
    syscalls.push(ProfileRule {
        excludes: caps(&["CAP_SYS_ADMIN"]),
        errno_ret: enosys,
        ..rule("clone3", ERRNO)
    });
    // Of the family, an int, the kernel drops the upper half at which these operators look as well: all that lies above
    // AF_VSOCK would have AF_VSOCK itself among it, with a bit set up there.
    let families = [AF_ALG + 1].into_iter().chain(AF_VSOCK + 1..=AF_LAST);
    let families = families.map(|family| ("SCMP_CMP_EQ", family));
    for (op, family) in [("SCMP_CMP_LT", AF_ALG)].into_iter().chain(families) {
        syscalls.push(ProfileRule { args: vec![arg(0, op, family)], ..rule("socket", ALLOW) });
    }
    for value in PERSONALITIES {
        syscalls.push(ProfileRule { args: vec![arg(0, "SCMP_CMP_EQ", value)], ..rule("personality", ALLOW) });
    }
    // Before 4.8 a tracer could change the number of a call after the filter had looked at it.
    let since = Condition { min_kernel: Some("4.8".into()), ..Condition::default() };
    let tracing = rule("ptrace process_vm_readv process_vm_writev", ALLOW);
    syscalls.push(ProfileRule { includes: Some(since), ..tracing });
    Profile {
        default_action: ERRNO.into(),
        default_errno_ret: Some(libc::EPERM as u32),
        arch_map: arch_map(),
        syscalls,
        ..Profile::default()
    }
}

/// Who runs 32-bit programs on a 64-bit kernel goes through the same profile.
fn arch_map() -> Vec<ArchMap> {
    let map = |architecture: &str, below: &[&str]| ArchMap {
        architecture: architecture.into(),
        sub_architectures: words(below),
    };
    vec![
        map("SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        map("SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
    ]
}

fn rule(names: &str, action: &str) -> ProfileRule {
    let names = names.split_ascii_whitespace().map(String::from).collect();
    ProfileRule { names, action: action.into(), ..ProfileRule::default() }
}

fn arg(index: u32, op: &str, value: u64) -> SyscallArg {
    SyscallArg { index, op: op.into(), value, value_two: 0 }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
