//! A call as it would be written: `openat(AT_FDCWD, "/etc/shadow", O_RDONLY)`. For who reads it; nothing is decided by it.

use crate::value::CONSTANTS;
use chain::sys::notify::Notified;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::io::IoSliceMut;

/// Longer texts are cut.
const LONGEST: usize = 200;
const PAGE: usize = 4096;

/// What the arguments of a call are, a letter for each: `d` folder by fd, `f` fd, `p` path or text, `i` number, `x` bits,
/// `m` mode, `a` address; `o` O_, `c` CLONE_, `F` AF_, `T` SOCK_, `r` PR_, `M` MS_, `P` PTRACE_, `I` an ioctl, `s` SIG.
const SHAPES: &str = "accept:faa accept4:faax access:pm acct:p add_key:ppaii adjtimex:a bind:fai bpf:iai capset:aa chdir:p \
chmod:pm chown:pii chroot:p clock_settime:ia clone:c clone3:ai close:f connect:fai creat:pm delete_module:po dup:f dup2:ff \
dup3:ffo execve:p execveat:dp faccessat:dpm faccessat2:dpmx fchmod:fm fchmodat:dpm fchmodat2:dpmx fchown:fii fchownat:dpiix \
finit_module:fpx flock:fi fsetxattr:fpaix fsmount:fxx fsopen:px fspick:dpx ftruncate:fi getdents64:fai getxattr:pp \
init_module:aip inotify_add_watch:fpx ioctl:fI io_uring_setup:ia ioperm:iii iopl:i kexec_load:iiax keyctl:i kill:is lchown:pii \
link:pp linkat:dpdpx listen:fi lsetxattr:ppaix lstat:p memfd_create:px mkdir:pm mkdirat:dpm mknod:pmi mknodat:dpmi mlock:ai \
mlockall:x mount:pppM mount_setattr:dpx move_mount:dpdpx name_to_handle_at:dp newfstatat:dp open:pom open_by_handle_at:fao \
open_tree:dpx openat:dpom openat2:dp perf_event_open:aiif personality:x pidfd_getfd:ffi pidfd_open:ix pidfd_send_signal:fs \
pivot_root:pp prctl:rxxxx process_vm_readv:i process_vm_writev:i ptrace:Pi quotactl:xp readlink:p readlinkat:dp reboot:xxx \
recvfrom:faix recvmsg:fax removexattr:pp rename:pp renameat:dpdp renameat2:dpdpx request_key:ppp rmdir:p seccomp:ix \
sendmsg:fax sendto:faixai setdomainname:pi setgid:i setgroups:ia sethostname:pi setns:fc setpriority:iii setregid:ii \
setresgid:iii setresuid:iii setreuid:ii setrlimit:ia setsockopt:fiiai settimeofday:aa setuid:i setxattr:ppaix shutdown:fi \
socket:FTi socketpair:FTi stat:p statfs:p statx:dpxx swapoff:p swapon:px symlink:pp symlinkat:pdp sysfs:i syslog:iai \
tgkill:iis tkill:is truncate:pi umount2:px unlink:p unlinkat:dpx unshare:c userfaultfd:x utimensat:dp vhangup: write:fai";

/// The call. `is_its` is asked when texts have been read: only then it is sure whose memory they were in.
pub(crate) fn call(name: &str, call: &Notified, is_its: impl Fn() -> bool) -> String {
    let shape =
        SHAPES.split_ascii_whitespace().find_map(|entry| entry.split_once(':').filter(|(n, _)| *n == name));
    let Some((_, shape)) = shape else { return format!("{name}(…)") };
    let args: Vec<String> =
        shape.chars().zip(call.args).map(|(kind, value)| arg(kind, value, call.pid, &is_its)).collect();
    format!("{name}({})", args.join(", "))
}

fn arg(kind: char, value: u64, pid: u32, is_its: &impl Fn() -> bool) -> String {
    match kind {
        'd' if value as i32 == libc::AT_FDCWD => "AT_FDCWD".into(),
        'd' | 'f' | 'i' => (value as i32).to_string(),
        'p' => match text(value, pid).filter(|_| is_its()) {
            Some((text, whole)) => format!("\"{}\"{}", text.escape_debug(), if whole { "" } else { "…" }),
            None => address(value),
        },
        'm' => format!("0{:o}", value & 0xffff),
        'o' => flags("O_", value & 0xffff_ffff, value & libc::O_ACCMODE as u64),
        'c' => flags("CLONE_", value & 0xffff_ff00, 1 << 63),
        'M' => flags("MS_", value & 0xffff_ffff, 1 << 63),
        'F' => one("AF_", value),
        'T' => flags("SOCK_", value & !0xf, value & 0xf),
        'r' => one("PR_", value),
        'P' => one("PTRACE_", value),
        's' => one("SIG", value),
        'I' => one("TIOC", value),
        'a' => address(value),
        _ => format!("{:#x}", value & 0xffff_ffff),
    }
}

fn address(value: u64) -> String {
    if value == 0 { "NULL".into() } else { "…".into() }
}

fn one(prefix: &str, value: u64) -> String {
    let value = value & 0xffff_ffff;
    let found =
        CONSTANTS.iter().find(|(name, constant)| name.starts_with(prefix) && *constant as u64 == value);
    found.map_or_else(|| format!("{value:#x}"), |(name, _)| name.to_string())
}

/// `choice` is the part that is one of several; 1 << 63 where there is none.
fn flags(prefix: &str, bits: u64, choice: u64) -> String {
    let mut words = Vec::new();
    let mut left = bits;
    if choice != 1 << 63 {
        words.push(one(prefix, choice));
        left &= !choice;
    }
    let mut known: Vec<&(&str, i64)> =
        CONSTANTS.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
    // Those of several bits first.
    known.sort_by_key(|(_, value)| std::cmp::Reverse(value.count_ones()));
    for (name, value) in known {
        let value = *value as u64;
        if value > 3 && left & value == value {
            words.push(name.to_string());
            left &= !value;
        }
    }
    if left != 0 || words.is_empty() {
        words.push(format!("{left:#x}"));
    }
    words.join("|")
}

/// What lies in the memory of `pid`, up to its NUL, and whether that is all of it.
fn text(address: u64, pid: u32) -> Option<(String, bool)> {
    let mut found = Vec::new();
    while found.len() < LONGEST {
        let base = usize::try_from(address).ok()?.checked_add(found.len())?;
        // What comes after the end of a page need not be there.
        let mut chunk = [0; LONGEST];
        let len = (PAGE - base % PAGE).min(LONGEST - found.len());
        let from = [RemoteIoVec { base, len }];
        let pid = Pid::from_raw(pid as i32);
        let read = process_vm_readv(pid, &mut [IoSliceMut::new(&mut chunk[..len])], &from)
            .ok()
            .filter(|n| *n > 0)?;
        if let Some(end) = chunk[..read].iter().position(|b| *b == 0) {
            found.extend(&chunk[..end]);
            return Some((String::from_utf8_lossy(&found).into_owned(), true));
        }
        found.extend(&chunk[..read]);
    }
    Some((String::from_utf8_lossy(&found).into_owned(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, args: [u64; 6]) -> String {
        call(name, &Notified { id: 0, pid: std::process::id(), number: 0, arch: 0, args }, || true)
    }

    #[test]
    fn arguments_as_people_write_them() {
        let path = c"/tmp/a \"b\"\n".as_ptr() as u64;
        let here = libc::AT_FDCWD as u64;
        let flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC) as u64;
        assert_eq!(
            said("openat", [here, path, flags, 0o644, 9, 9]),
            r#"openat(AT_FDCWD, "/tmp/a \"b\"\n", O_WRONLY|O_CREAT|O_CLOEXEC, 0644)"#
        );
        assert_eq!(
            said("socket", [16, 3 | 0x80000, 9, 0, 0, 0]),
            "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, 9)"
        );
        assert_eq!(said("unshare", [0x1002_0000, 0, 0, 0, 0, 0]), "unshare(CLONE_NEWUSER|CLONE_NEWNS)");
        assert_eq!(said("mkdirat", [5, 0, 0o755, 0, 0, 0]), "mkdirat(5, NULL, 0755)");
        assert_eq!(said("mkdir", [1, 0o755, 0, 0, 0, 0]), "mkdir(…, 0755)");
        assert_eq!(said("nosuchcall", [0; 6]), "nosuchcall(…)");
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = std::ffi::CString::new(vec![b'x'; 300]).unwrap();
        let said = said("chdir", [long.as_ptr() as u64, 0, 0, 0, 0, 0]);
        assert_eq!(said, format!("chdir(\"{}\"…)", "x".repeat(LONGEST)));
    }

    #[test]
    fn every_shape_is_of_a_call() {
        for entry in SHAPES.split_ascii_whitespace() {
            let (name, shape) = entry.split_once(':').unwrap();
            assert!(crate::number::entries(name, crate::arch::native()).is_some(), "{name}");
            assert!(shape.len() <= 6 && shape.chars().all(|c| "dfpixmaocFTrMPIs".contains(c)), "{entry}");
        }
    }
}
