//! Numbers as rules and questions write them: `O_WRONLY|O_CREAT`, `0x5401`, `-1`.

use chain::{Error, near};
use std::fmt::Display;

/// A number that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// As an argument has it, in 64 bits.
    pub(crate) bits: u64,
    /// It was below zero: what a program hands over for it is an int, with any upper half.
    pub(crate) negative: bool,
}

/// What is wrong with a word that is no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// In words.
    pub(crate) text: String,
    /// What would cure it.
    pub(crate) cure: String,
}

impl Wrong {
    pub(crate) fn error(self, doing: &str, at: impl Display) -> Error {
        Error::usage(doing, format_args!("{at}{}", self.text)).cure(self.cure)
    }
}

/// `A|B`: numbers and names of constants.
pub(crate) fn of(word: &str) -> Result<Value, Wrong> {
    let mut sum = Value { bits: 0, negative: false };
    for part in word.split('|').map(str::trim) {
        let value = one(part)?;
        sum = Value { bits: sum.bits | value.bits, negative: sum.negative | value.negative };
    }
    Ok(sum)
}

fn one(word: &str) -> Result<Value, Wrong> {
    let (minus, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
    let radix = |text: &str, radix| {
        text.bytes().all(|b| (b as char).is_digit(radix)).then(|| u64::from_str_radix(text, radix).ok())
    };
    let number = match digits.split_at_checked(2) {
        Some(("0x" | "0X", rest)) => radix(rest, 16),
        Some(("0o", rest)) => radix(rest, 8),
        Some(("0b", rest)) => radix(rest, 2),
        _ if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let text = format!("'{word}' could be meant in octal or not");
            return Err(Wrong { text, cure: format!("0o{}", digits.trim_start_matches('0')) });
        }
        _ => radix(digits, 10),
    };
    match number.flatten() {
        Some(number) if minus && number <= 1 << 63 => {
            Ok(Value { bits: number.wrapping_neg(), negative: number != 0 })
        }
        Some(number) if !minus => Ok(Value { bits: number, negative: false }),
        _ => constant(word),
    }
}

fn constant(word: &str) -> Result<Value, Wrong> {
    if let Some((_, value)) = CONSTANTS.iter().find(|(name, _)| *name == word) {
        return Ok(Value { bits: *value as u64, negative: *value < 0 });
    }
    let near = near::nearest(word, CONSTANTS.iter().map(|(name, _)| *name));
    let text = format!("'{}' is no number, and no constant known here", word.escape_debug());
    Err(Wrong { text, cure: near.map_or("its number".into(), |near| format!("{near}?")) })
}

macro_rules! constants {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name as i64)),*] };
}

/// Those that filters ask for.
pub(crate) const CONSTANTS: &[(&str, i64)] = constants! {
    AT_FDCWD AT_EMPTY_PATH AT_SYMLINK_NOFOLLOW AT_SYMLINK_FOLLOW AT_REMOVEDIR AT_EACCESS
    AF_UNSPEC AF_UNIX AF_LOCAL AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_ALG AF_VSOCK AF_BLUETOOTH AF_CAN AF_TIPC AF_XDP
    AF_KEY AF_RDS AF_X25 AF_AX25
    SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_SEQPACKET SOCK_CLOEXEC SOCK_NONBLOCK
    IPPROTO_TCP IPPROTO_UDP IPPROTO_ICMP IPPROTO_SCTP NETLINK_ROUTE NETLINK_AUDIT NETLINK_NETFILTER NETLINK_KOBJECT_UEVENT
    SOL_SOCKET SO_PEERCRED SO_REUSEADDR SO_ATTACH_FILTER SO_TIMESTAMP
    O_ACCMODE O_RDONLY O_WRONLY O_RDWR O_CREAT O_EXCL O_TRUNC O_APPEND O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_PATH O_NONBLOCK
    O_NOCTTY O_SYNC O_DSYNC O_NOATIME O_TMPFILE O_DIRECT
    CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_THREAD CLONE_VFORK CLONE_PARENT CLONE_SYSVSEM CLONE_SETTLS
    CLONE_PARENT_SETTID CLONE_CHILD_SETTID CLONE_CHILD_CLEARTID CLONE_UNTRACED CLONE_PTRACE CLONE_IO CLONE_DETACHED
    CLONE_NEWUSER CLONE_NEWNS CLONE_NEWPID CLONE_NEWNET CLONE_NEWIPC CLONE_NEWUTS CLONE_NEWCGROUP CLONE_PIDFD
    SIGCHLD SIGKILL SIGTERM SIGSTOP SIGSEGV SIGABRT SIGHUP SIGINT SIGUSR1 SIGUSR2
    TIOCSTI TIOCLINUX TIOCSCTTY TIOCNOTTY TIOCGWINSZ TIOCSWINSZ TIOCGPGRP TIOCSPGRP TCGETS TCSETS TCSETSW TCSETSF FIONREAD
    FIONBIO FIOCLEX FIONCLEX SIOCGIFCONF SIOCGIFNAME SIOCGIFINDEX
    PROT_NONE PROT_READ PROT_WRITE PROT_EXEC MAP_PRIVATE MAP_SHARED MAP_ANONYMOUS MAP_FIXED MAP_STACK MAP_NORESERVE
    MAP_DENYWRITE MAP_GROWSDOWN MAP_HUGETLB MAP_LOCKED MAP_POPULATE
    MADV_NORMAL MADV_DONTNEED MADV_FREE MADV_WILLNEED MADV_DONTDUMP MADV_HUGEPAGE MADV_NOHUGEPAGE MADV_MERGEABLE
    F_DUPFD F_DUPFD_CLOEXEC F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_SETOWN F_ADD_SEALS F_GET_SEALS FD_CLOEXEC
    FUTEX_WAIT FUTEX_WAKE FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET FUTEX_LOCK_PI
    FUTEX_UNLOCK_PI FUTEX_PRIVATE_FLAG FUTEX_CLOCK_REALTIME
    PR_SET_NAME PR_GET_NAME PR_SET_DUMPABLE PR_GET_DUMPABLE PR_SET_NO_NEW_PRIVS PR_GET_NO_NEW_PRIVS PR_SET_SECCOMP
    PR_GET_SECCOMP PR_SET_PDEATHSIG PR_CAP_AMBIENT PR_CAPBSET_DROP PR_CAPBSET_READ PR_SET_SECUREBITS PR_SET_KEEPCAPS
    PR_SET_PTRACER PR_SET_TIMERSLACK PR_SET_MM PR_SET_VMA PR_SET_CHILD_SUBREAPER PR_SET_TSC PR_SET_THP_DISABLE
    MS_BIND MS_REC MS_REMOUNT MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_MOVE MS_PRIVATE MS_SLAVE MS_SHARED
    MNT_DETACH MNT_FORCE UMOUNT_NOFOLLOW
    PTRACE_TRACEME PTRACE_ATTACH PTRACE_SEIZE PTRACE_PEEKDATA PTRACE_POKEDATA PTRACE_GETREGS PTRACE_SETREGS PTRACE_CONT
    PTRACE_DETACH PTRACE_SYSCALL
    S_ISUID S_ISGID S_IFMT S_IFREG S_IFBLK S_IFCHR S_IFIFO S_IFSOCK
    R_OK W_OK X_OK F_OK SEEK_SET SEEK_CUR SEEK_END PRIO_PROCESS PRIO_PGRP PRIO_USER
    CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_BOOTTIME CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID TIMER_ABSTIME
    GRND_NONBLOCK GRND_RANDOM MFD_CLOEXEC MFD_ALLOW_SEALING EFD_CLOEXEC EFD_NONBLOCK EPOLL_CLOEXEC SFD_CLOEXEC
    IN_CLOEXEC IN_NONBLOCK RLIMIT_NOFILE RLIMIT_STACK RLIMIT_CORE RLIMIT_AS RLIMIT_NPROC
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_spelling_and_no_guess() {
        let bits = |word| of(word).map(|value| value.bits);
        for (word, value) in [
            ("0", 0),
            ("18446744073709551615", u64::MAX),
            ("0xFf", 255),
            ("0o644", 0o644),
            ("0b101", 5),
            ("-1", u64::MAX),
            ("-0", 0),
            ("1|2 | 0x10", 19),
            ("O_WRONLY|O_CREAT", 0o101),
            ("AT_FDCWD", -100_i64 as u64),
        ] {
            assert_eq!(bits(word), Ok(value), "{word}");
        }
        assert!(
            of("AT_FDCWD").unwrap().negative && of("-1").unwrap().negative && !of("-0").unwrap().negative
        );
        for bad in [
            "",
            "0x",
            "0xg",
            "+1",
            "1 2",
            "0644",
            "1|",
            "O_CRAET",
            "18446744073709551616",
            "-9223372036854775809",
            "0x-1",
            "é",
            "--1",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(of("0644").unwrap_err().cure, "0o644");
        assert_eq!(of("O_CRAET").unwrap_err().cure, "O_CREAT?");
    }
}
