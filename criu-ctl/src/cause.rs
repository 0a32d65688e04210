//! Failures that everybody meets, told by a line of criu's log, with what would cure them.

use crate::rpc::Opts;
use chain::error::Class;

/// Why it failed, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    pub class: Class,
    pub why: &'static str,
    pub cure: Option<&'static str>,
}

/// How a cause is told.
struct Sign {
    /// Any of these in an error line.
    words: &'static [&'static str],
    /// Whether it does not hold because the flag that cures it was given.
    given: fn(&Opts) -> bool,
    cause: Cause,
}

const fn flag(why: &'static str, cure: &'static str) -> Cause {
    Cause { class: Class::Usage, why, cure: Some(cure) }
}

fn never(_: &Opts) -> bool {
    false
}

/// In the order in which they hide each other.
const SIGNS: &[Sign] = &[
    Sign {
        words: &["dangling tty", "without correspond master peer", "is not a session leader", "--shell-job"],
        given: |o| o.shell_job,
        cause: flag("the tree belongs to the session and the terminal of a shell outside it", "--shell-job"),
    },
    Sign {
        words: &["Connected TCP socket"],
        given: |o| o.tcp_established,
        cause: flag("a TCP connection of the tree is established", "--tcp-established"),
    },
    Sign {
        words: &["--ext-unix-sk", "External socket is used"],
        given: |o| o.ext_unix_sk,
        cause: flag("the other end of a unix socket is outside the tree", "--ext-unix-sk"),
    },
    Sign {
        words: &["Ext stream not supported", "Can't dump half of stream unix connection"],
        given: never,
        cause: Cause {
            class: Class::Unsupported,
            why: "the other end of a stream socket is outside the tree, and of that CRIU takes no half",
            cure: None,
        },
    },
    Sign {
        words: &["file locks are hold", "--file-locks"],
        given: |o| o.file_locks,
        cause: flag("a process of the tree holds a file lock", "--file-locks"),
    },
    Sign {
        words: &["Can't fork for", "Pid already exists", "Unable to set pid"],
        given: never,
        cause: Cause {
            class: Class::Conflict,
            why: "a pid of the tree is in use here",
            cure: Some("ns-enter -mp -- rootfs-prep --proc -- criu-ctl restore …"),
        },
    },
    Sign {
        words: &["Can't open file fd/"],
        given: never,
        cause: Cause {
            class: Class::Denied,
            why: "CRIU opens a standard stream that is a file once more, as root of the tree's user namespace",
            cure: Some("chown it to that user, before the tree is dumped, or a pipe"),
        },
    },
    Sign {
        words: &["vdso: ", "kerndat_vdso"],
        given: never,
        cause: Cause {
            class: Class::Unsupported,
            why: "this criu is too old for the vDSO of this kernel",
            cure: Some("--criu with a newer one: 4.1.1, which Debian 13 has, knows Linux 6.18"),
        },
    },
    Sign {
        // SO_PASSCRED, which is for unix and netlink sockets alone since Linux 6.16.
        words: &["Can't get 1:16 opt"],
        given: never,
        cause: Cause {
            class: Class::Unsupported,
            why: "this criu is too old for the sockets of this kernel: up to 4.1.1 it asks each for an option that none \
                  but unix and netlink sockets has since Linux 6.16",
            cure: Some("--criu with a newer one"),
        },
    },
    Sign {
        words: &["criu itself is within dumped tree"],
        given: never,
        cause: Cause { class: Class::Usage, why: "criu-ctl runs inside the tree it is to dump", cure: None },
    },
    Sign {
        words: &["Tracking memory is not available"],
        given: never,
        cause: Cause {
            class: Class::Unsupported,
            why: "this kernel does not tell which pages were written to (criu-ctl check --feature mem_dirty_track)",
            cure: Some("a dump of all of it, without a round before"),
        },
    },
    Sign {
        words: &["No space left on device"],
        given: never,
        cause: Cause { class: Class::Conflict, why: "no space is left on the disk", cure: None },
    },
    Sign {
        words: &["doesn't have a proper root mount", "is not found in the host's mounts"],
        given: |o| !o.external.is_empty(),
        cause: flag(
            "a mount in there comes from outside the tree",
            "--oci config.json, which names its bind mounts",
        ),
    },
];

/// The cause that the lines of `text` tell.
pub(crate) fn find(text: &str, opts: &Opts) -> Option<Cause> {
    let mut lines = text.lines().filter(|line| line.contains("Error (") || line.contains("Consider using"));
    lines.find_map(|line| {
        let sign = SIGNS.iter().find(|sign| sign.words.iter().any(|word| line.contains(word)))?;
        Some(sign).filter(|sign| !(sign.given)(opts)).map(|sign| sign.cause)
    })
}
