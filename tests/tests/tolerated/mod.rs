//! What may fail in a start, and why that is right.

pub(crate) mod call;

/// The kernel never answers these with an error, close(2) of what these close included (and Rust's own assertion at a
/// close, in a build for tests).
pub(crate) const NEVER_FAIL: &[&str] = &[
    "close",
    "fcntl.1",
    "arch_prctl",
    "brk",
    "exit",
    "exit_group",
    "getegid",
    "geteuid",
    "getgid",
    "getpgrp",
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "rt_sigreturn",
    "set_tid_address",
    "umask",
];

/// Calls without which Rust's or C's own start-up gives up: by a panic, before anything was made.
pub(crate) const RUNTIME: &[&str] =
    &["getrandom", "mmap", "mprotect", "poll", "ppoll", "rt_sigaction", "sigaltstack"];

/// Calls that may fail under a start that goes well, and why that is right. What the payload sees must be the same all
/// the same: no reason stands for less.
pub(crate) const TOLERATED: &[(&str, &str)] = &[
    // listmount and open_tree_attr, which the header of Debian 12 does not have.
    ("458", "where the path of each mount leads, and mountinfo, instead"),
    ("467", "open_tree and mount_setattr, or mount(2), instead"),
    ("access", "a look before ENOENT would tell"),
    (
        "chdir",
        "tried as root and as the user: one of both may be refused, and where the command is is proven",
    ),
    ("close_range", "its fallback closes one by one, and the landing looks what is open"),
    ("fcntl.3", "how a standard stream was opened: for the next owner of a terminal"),
    ("fsconfig", "the source that mountinfo shows; what is mounted is proven by its kind"),
    ("fsmount", "a procfs of its own: the one at /proc instead, which is proven to be one"),
    ("fstat", "of a standard stream: what is no terminal is not given to the user"),
    ("fstatfs", "is the state on a disk: what cannot be told is taken for one"),
    ("getrandom", "C's malloc wants some for itself, and does without"),
    ("ioctl.21505", "is it a terminal"),
    ("keyctl.1", "refused to the command as well, so it has none of the caller's keys; a warning says so"),
    ("keyctl.6", "the keyring has no name then, and a warning says so"),
    ("lseek", "a file that is read whole from where it is"),
    ("mmap", "C's malloc takes another piece"),
    (
        "mount_setattr",
        "a sealed copy in memory instead of a program on a read-only mount; in a root, mount(2) instead",
    ),
    ("mprotect", "C's malloc takes another piece"),
    ("munmap", "memory of a process that is about to exec"),
    (
        "newfstatat",
        "whose namespaces these are, of which several looks tell; what a path names, for a message",
    ),
    ("open_tree", "a sealed copy in memory instead of a program on a read-only mount"),
    ("openat", "whose namespaces these are, of which several looks tell; the kernel's release"),
    ("openat2", "a walk, component by component, instead"),
    ("poll", "Rust's start-up looks at its standard streams in another way then; the janitor is woken early"),
    ("ppoll", "the same"),
    ("prctl.1096112214", "rustix looks for the vDSO, and makes its calls without"),
    ("prctl.1398164801", "C names its memory"),
    ("prctl.39", "read back once more after it was set"),
    ("prlimit64", "C's own look at the stack"),
    ("read", "how many processors, for Rust; whose namespaces these are"),
    ("readlink", "what a path names, for a message"),
    ("readlinkat", "what an fd is called, for a message"),
    ("renameat", "a filter is not kept for other containers then, and a warning says so"),
    ("rseq", "C does without"),
    ("rt_sigaction", "Rust's message for a stack overflow"),
    ("sched_setaffinity", "the caller's own affinity stays, which the cgroup bounds"),
    ("set_robust_list", "C's mutexes between processes, of which there are none"),
    ("setgroups", "there were no groups to leave, and that is read back"),
    ("sigaltstack", "Rust's message for a stack overflow"),
    ("statfs", "which version of cgroups: both layouts lead to the same groups"),
    ("statx", "fstat(2) instead"),
    ("wait4", "of what has ended: a zombie goes with its parent"),
];

/// Calls in place of which something else is done, which shows in what the payload sees: members that may differ.
pub(crate) const OTHERWISE: &[(&str, &str)] = &[
    // A device that cannot be made is bound from the host's /dev, as in a user namespace.
    ("mknodat", "mounts"),
    // A user database that cannot be read is none, and without one HOME is /.
    ("read", "env.HOME"),
    ("openat", "env.HOME"),
];

/// What may fail, always or once; what must be said then; and why that is right.
pub(crate) const WARNED: &[(&str, &str, &str)] =
    &[("waitid", "warning: cannot wait for the chain's end", "of what has ended: init waits for it then")];

/// What may fail once, though not always; what must be said then; and why that is right.
pub(crate) const ONCE: &[(&str, &str, &str)] = &[
    ("fcntl.1034", "", "the program is sealed, and is copied and sealed once more"),
    ("mkdirat", "warning: cannot keep filters", "a filter is not kept for other containers"),
    ("move_mount", "", "by the fd of the place instead of its name in the fd of its folder"),
    ("pread64", "warning: cannot take the filter", "a kept filter is made anew"),
    ("setns", "", "one namespace after the other instead of all at once"),
    ("write", "warning: cannot keep the filter", "a filter is not kept for other containers"),
];

/// The same for an ordinary user, without a word.
pub(crate) const ONCE_BY_USER: &[&str] = &[
    // A group, which no hierarchy lets a user make: the start goes on without in any case.
    "mkdirat",
];

/// Where rootfs-prep is asked for its own default mounts: what it does without, or takes from the caller, and says so in
/// `degraded`.
pub(crate) const DEFAULT_MOUNTS: &[(&str, &str)] = &[
    ("fsopen", "mounts"),
    ("fsopen", "dev.mqueue"),
    ("fsconfig", "mounts"),
    ("fsconfig", "dev.mqueue"),
    ("fsmount", "mounts"),
    ("fsmount", "dev.mqueue"),
];
