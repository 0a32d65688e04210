//! What the kernel calls the arguments of its calls, and which of them are ints: of these it looks at the lower 32 bits
//! alone, whatever a program puts above them.

use crate::rule::INT;
use crate::value::Wrong;
use chain::near;

/// Calls that have their arguments in common, and these in order, as the kernel's own sources name them; `^` is for one
/// that is wider than an int, `~` for one that is half as wide. Those that filters look at: what no filter can tell apart, pointers alone, is left out.
const PARAMS: &[(&str, &str)] = &[
    ("accept", "fd ^upeer_sockaddr ^upeer_addrlen"),
    ("accept4", "fd ^upeer_sockaddr ^upeer_addrlen flags"),
    ("access", "^filename mode"),
    ("arch_prctl", "code ^addr"),
    ("bind connect", "fd ^umyaddr addrlen"),
    ("bpf", "cmd ^uattr size"),
    ("chmod creat mkdir", "^filename ~mode"),
    ("chown lchown", "^filename user group"),
    ("clock_adjtime clock_getres clock_gettime clock_settime", "which_clock ^tp"),
    ("clock_nanosleep", "which_clock flags ^rqtp ^rmtp"),
    ("clone", "^clone_flags ^newsp ^parent_tidptr ^child_tidptr ^tls"),
    ("clone3", "^uargs ^size"),
    ("close fchdir fdatasync fsync syncfs", "fd"),
    ("close_range", "fd max_fd flags"),
    ("copy_file_range splice", "fd_in ^off_in fd_out ^off_out ^len flags"),
    ("delete_module", "^name_user flags"),
    ("dup", "fildes"),
    ("dup2", "oldfd newfd"),
    ("dup3", "oldfd newfd flags"),
    ("epoll_create", "size"),
    ("epoll_create1 inotify_init1 userfaultfd", "flags"),
    ("epoll_ctl", "epfd op fd ^event"),
    ("eventfd", "count"),
    ("eventfd2", "count flags"),
    ("execve", "^filename ^argv ^envp"),
    ("execveat", "fd ^filename ^argv ^envp flags"),
    ("exit exit_group", "error_code"),
    ("faccessat", "dfd ^filename mode"),
    ("faccessat2", "dfd ^filename mode flags"),
    ("fadvise64", "fd ^offset ^len advice"),
    ("fallocate", "fd mode ^offset ^len"),
    ("fanotify_init", "flags event_f_flags"),
    ("fanotify_mark", "fanotify_fd flags ^mask dfd ^pathname"),
    ("fchmod", "fd ~mode"),
    ("fchmodat mkdirat", "dfd ^filename ~mode"),
    ("fchmodat2", "dfd ^filename ~mode flags"),
    ("fchown", "fd user group"),
    ("fchownat", "dfd ^filename user group flag"),
    ("fcntl fcntl64 ioctl", "fd cmd ^arg"),
    ("finit_module", "fd ^uargs flags"),
    ("flock", "fd cmd"),
    ("fsconfig", "fd cmd ^_key ^_value aux"),
    ("fsmount", "fs_fd flags attr_flags"),
    ("fsopen", "^_fs_name flags"),
    ("fspick", "dfd ^path flags"),
    ("ftruncate", "fd ^length"),
    ("futex", "^uaddr op val ^utime ^uaddr2 val3"),
    ("getpriority", "which who"),
    ("getrandom", "^buf ^count flags"),
    ("getrlimit setrlimit", "resource ^rlim"),
    ("getrusage", "who ^ru"),
    ("getsockopt setsockopt", "fd level optname ^optval ^optlen"),
    ("io_uring_enter", "fd to_submit min_complete flags ^argp ^argsz"),
    ("io_uring_register", "fd opcode ^arg nr_args"),
    ("io_uring_setup", "entries ^params"),
    ("ioperm", "^from ^num turn_on"),
    ("iopl", "level"),
    ("ioprio_set", "which who ioprio"),
    ("kcmp", "pid1 pid2 type ^idx1 ^idx2"),
    ("kexec_file_load", "kernel_fd initrd_fd ^cmdline_len ^cmdline_ptr ^flags"),
    ("kexec_load", "^entry ^nr_segments ^segments ^flags"),
    ("keyctl", "option ^arg2 ^arg3 ^arg4 ^arg5"),
    ("kill tkill", "pid sig"),
    ("linkat", "olddfd ^oldname newdfd ^newname flags"),
    ("listen", "fd backlog"),
    ("lseek", "fd ^offset whence"),
    ("madvise", "^start ^len_in behavior"),
    ("memfd_create", "^uname flags"),
    ("mknod", "^filename ~mode dev"),
    ("mknodat", "dfd ^filename ~mode dev"),
    ("mlock2", "^start ^len flags"),
    ("mlockall", "flags"),
    ("mmap", "^addr ^len ^prot ^flags ^fd ^off"),
    ("mount", "^dev_name ^dir_name ^type ^flags ^data"),
    ("mount_setattr open_tree_attr", "dfd ^path flags ^uattr ^usize"),
    ("move_mount", "from_dfd ^from_pathname to_dfd ^to_pathname flags"),
    ("mprotect", "^start ^len ^prot"),
    ("mremap", "^addr ^old_len ^new_len ^flags ^new_addr"),
    ("msync", "^start ^len flags"),
    ("name_to_handle_at", "dfd ^name ^handle ^mnt_id flag"),
    ("newfstatat", "dfd ^filename ^statbuf flag"),
    ("open", "^filename flags ~mode"),
    ("open_by_handle_at", "mountdirfd ^handle flags"),
    ("open_tree", "dfd ^filename flags"),
    ("openat", "dfd ^filename flags ~mode"),
    ("openat2", "dfd ^filename ^how ^usize"),
    ("perf_event_open", "^attr_uptr pid cpu group_fd ^flags"),
    ("personality", "personality"),
    ("pidfd_getfd", "pidfd fd flags"),
    ("pidfd_open", "pid flags"),
    ("pidfd_send_signal", "pidfd sig ^info flags"),
    ("pipe2", "^fildes flags"),
    ("pkey_mprotect", "^start ^len ^prot pkey"),
    ("prctl", "option ^arg2 ^arg3 ^arg4 ^arg5"),
    ("pread64 pwrite64", "fd ^buf ^count ^pos"),
    ("preadv pwritev", "^fd ^vec ^vlen ^pos_l ^pos_h"),
    ("prlimit64", "pid resource ^new_rlim ^old_rlim"),
    ("process_vm_readv process_vm_writev", "pid ^lvec ^liovcnt ^rvec ^riovcnt ^flags"),
    ("ptrace", "^request ^pid ^addr ^data"),
    ("quotactl", "cmd ^special id ^addr"),
    ("read write", "fd ^buf ^count"),
    ("readv writev", "^fd ^vec ^vlen"),
    ("reboot", "magic1 magic2 cmd ^arg"),
    ("recvfrom", "fd ^ubuf ^size flags ^addr ^addr_len"),
    ("recvmsg sendmsg", "fd ^msg flags"),
    ("renameat2", "olddfd ^oldname newdfd ^newname flags"),
    ("rt_sigaction", "sig ^act ^oact ^sigsetsize"),
    ("rt_sigprocmask", "how ^nset ^oset ^sigsetsize"),
    ("rt_sigqueueinfo", "pid sig ^uinfo"),
    ("rt_tgsigqueueinfo", "tgid pid sig ^uinfo"),
    ("sched_setaffinity sched_getaffinity", "pid len ^user_mask_ptr"),
    ("sched_setattr", "pid ^uattr flags"),
    ("sched_setscheduler", "pid policy ^param"),
    ("seccomp", "op flags ^uargs"),
    ("sendfile", "out_fd in_fd ^offset ^count"),
    ("sendto", "fd ^buff ^len flags ^addr addr_len"),
    ("setfsgid setgid", "gid"),
    ("setfsuid setuid", "uid"),
    ("setns", "fd flags"),
    ("setpgid", "pid pgid"),
    ("setpriority", "which who niceval"),
    ("setregid", "rgid egid"),
    ("setresgid", "rgid egid sgid"),
    ("setresuid", "ruid euid suid"),
    ("setreuid", "ruid euid"),
    ("shmat", "shmid ^shmaddr shmflg"),
    ("shmget", "key ^size shmflg"),
    ("shutdown", "fd how"),
    ("signalfd4", "ufd ^user_mask ^sizemask flags"),
    ("socket", "family type protocol"),
    ("socketcall", "call ^args"),
    ("socketpair", "family type protocol ^usockvec"),
    ("statx", "dfd ^filename flags mask ^buffer"),
    ("swapon", "^specialfile swap_flags"),
    ("syslog", "type ^buf len"),
    ("tgkill", "tgid pid sig"),
    ("timer_create", "which_clock ^timer_event_spec ^created_timer_id"),
    ("timerfd_create", "clockid flags"),
    ("timerfd_settime", "ufd flags ^utmr ^otmr"),
    ("truncate", "^path ^length"),
    ("umask", "mask"),
    ("umount2", "^name flags"),
    ("unlinkat", "dfd ^pathname flag"),
    ("unshare", "^unshare_flags"),
    ("utimensat", "dfd ^filename ^utimes flags"),
    ("wait4", "upid ^stat_addr options ^ru"),
    ("waitid", "which upid ^infop options ^ru"),
];

/// Which argument of `call` this is, and the bits that it has.
pub(super) fn find(call: &str, name: &str) -> Result<(u8, u64), Wrong> {
    let Some((_, list)) = PARAMS.iter().find(|(calls, _)| calls.split(' ').any(|c| c == call)) else {
        let text = format!("what the arguments of '{call}' are called is not known here");
        return Err(Wrong { text, cure: "its number: arg0, or int0 for an int".into() });
    };
    let names = || list.split(' ').map(|word| word.trim_start_matches(['^', '~']));
    let found = list.split(' ').enumerate().find(|(_, word)| word.trim_start_matches(['^', '~']) == name);
    match found {
        Some((index, word)) => match word.as_bytes()[0] {
            b'^' => Ok((index as u8, u64::MAX)),
            b'~' => Ok((index as u8, 0xffff)),
            _ => Ok((index as u8, INT)),
        },
        None => {
            let near = near::nearest(name, names()).map(|near| format!("{near}?"));
            let text = format!("'{call}' has no argument '{}'", name.escape_debug());
            Err(Wrong {
                text,
                cure: near.unwrap_or_else(|| {
                    format!("{}, or arg0 to arg5", names().collect::<Vec<_>>().join(", "))
                }),
            })
        }
    }
}

/// The bits that argument `index` of `call` has.
pub(crate) fn width(call: &str, index: usize) -> Result<u64, Wrong> {
    let list = PARAMS.iter().find(|(calls, _)| calls.split(' ').any(|c| c == call)).map(|(_, list)| list);
    let name =
        list.and_then(|list| list.split(' ').nth(index)).map(|word| word.trim_start_matches(['^', '~']));
    match name {
        Some(name) => find(call, name).map(|(_, width)| width),
        None => {
            let text = format!("how wide argument {index} of '{call}' is, is not known here");
            Err(Wrong { text, cure: "a rule in lines: arg0, or int0 for an int".into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_one_and_stands_once() {
        let mut seen = Vec::new();
        for call in PARAMS.iter().flat_map(|(calls, _)| calls.split(' ')) {
            assert!(crate::number::entries(call, crate::arch::native()).is_some(), "{call}");
            assert!(!seen.contains(&call), "{call}");
            seen.push(call);
        }
        assert!(PARAMS.iter().all(|(_, list)| list.split(' ').count() <= 6));
    }

    #[test]
    fn ints_are_told_from_what_is_wider() {
        assert_eq!(find("ioctl", "cmd"), Ok((1, INT)));
        assert_eq!(find("clone", "clone_flags"), Ok((0, u64::MAX)));
        assert_eq!(find("socket", "famly").unwrap_err().cure, "family?");
        assert!(find("getpid", "pid").unwrap_err().text.contains("not known here"));
    }
}
