//! What the payload can do besides printing itself. Each verb prints `ok` or the errno's name, and exits 0 or 1.

use chain::sys::harness as sys;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Runs one verb.
pub fn run(verb: &str, args: &[String]) -> ExitCode {
    let word = |n: usize| args.get(n).map_or("", String::as_str);
    let number = |n: usize, default: i64| args.get(n).map_or(default, |w| parse(w));
    match verb {
        "exit" => ExitCode::from(number(0, 0) as u8),
        "sleep" => sleep(args.first().map(|_| number(0, 0) as u64)),
        "open" => say(std::fs::File::open(word(0)).map(drop)),
        "read" => read(word(0)),
        "write" => say(write(word(0), word(1), false)),
        "create" => say(write(word(0), word(1), true)),
        "mkdir" => say(std::fs::create_dir(word(0))),
        "unlink" => say(std::fs::remove_file(word(0))),
        "stat" => stat(word(0)),
        "mknod" => say(mknod(word(0), number(1, 1), number(2, 3))),
        "mount" => say(nix::mount::mount(
            Some(word(0)),
            word(1),
            Some(word(0)),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )
        .map_err(Into::into)),
        "bind" => say(nix::mount::mount(
            Some(word(0)),
            word(1),
            None::<&str>,
            nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(Into::into)),
        "umount" => say(nix::mount::umount2(word(0), nix::mount::MntFlags::MNT_DETACH).map_err(Into::into)),
        "chown" => {
            say(std::os::unix::fs::chown(word(0), Some(number(1, 0) as u32), Some(number(2, 0) as u32)))
        }
        "try-syscall" => try_syscall(word(0), args.get(1..).unwrap_or(&[])),
        "try-in-thread" => std::thread::scope(|scope| {
            let call = || try_syscall(word(0), args.get(1..).unwrap_or(&[]));
            scope.spawn(call).join().unwrap_or(ExitCode::FAILURE)
        }),
        "eat-memory" => eat_memory(number(0, 1 << 20) as usize),
        "fork" => fork(number(0, 1)),
        "orphan" => orphan(),
        "signal-wait" => signal_wait(number(0, 0) as u8),
        "suicide" => suicide(number(0, 9) as i32),
        "read-only" => match std::fs::File::open(word(0)) {
            Ok(file) => {
                println!("{}", if can_never_be_written(&file) { "read-only" } else { "writable" });
                ExitCode::SUCCESS
            }
            Err(e) => say(Err(e)),
        },
        "type-in" => say(type_in(&args.join(" "))),
        "ran" => {
            ready("RAN");
            ExitCode::SUCCESS
        }
        "attack" => attack(Duration::from_secs(number(0, 5) as u64)),
        "watch-fds" => crate::watch::fds(),
        #[cfg(target_arch = "x86_64")]
        "faults" => crate::faults::run(args),
        "notify" => match notify(word(0)) {
            Ok(()) if word(1) == "hold" => sleep(None),
            other => say(other),
        },
        "cat" => say(std::io::copy(&mut std::io::stdin(), &mut std::io::stdout()).map(drop)),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "touch" => match write(word(0), "", true) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => say(Err(e)),
        },
        _ => {
            eprintln!("probe: no verb {verb}");
            ExitCode::from(64)
        }
    }
}

fn parse(word: &str) -> i64 {
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |d| (-1, d));
    let (radix, digits) = digits.strip_prefix("0x").map_or((10, digits), |d| (16, d));
    let unit = match digits.chars().last() {
        Some('k') => 1 << 10,
        Some('M') => 1 << 20,
        Some('G') => 1 << 30,
        _ => 1,
    };
    let digits = if unit == 1 { digits } else { &digits[..digits.len() - 1] };
    sign * unit * i64::from_str_radix(digits, radix).unwrap_or_else(|_| panic!("{word} is no number"))
}

fn say(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(e) => {
            println!("{:?}", Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)));
            ExitCode::from(1)
        }
    }
}

/// One line, at once, so that the harness knows that we are there.
fn ready(text: impl std::fmt::Display) {
    println!("{text}");
    std::io::stdout().flush().unwrap_or(());
}

fn sleep(seconds: Option<u64>) -> ExitCode {
    ready("ready");
    std::thread::sleep(seconds.map_or(Duration::MAX, Duration::from_secs));
    ExitCode::SUCCESS
}

/// As sd_notify(3).
fn notify(text: &str) -> std::io::Result<()> {
    let path = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    std::os::unix::net::UnixDatagram::unbound()?.send_to(text.as_bytes(), path).map(drop)
}

fn read(path: &str) -> ExitCode {
    let mut text = Vec::new();
    match std::fs::File::open(path).and_then(|mut f| f.read_to_end(&mut text)) {
        Ok(_) => {
            std::io::stdout().write_all(&text).unwrap_or(());
            ExitCode::SUCCESS
        }
        Err(e) => say(Err(e)),
    }
}

/// Into whatever terminal there is: a standard stream, or the controlling one.
fn type_in(text: &str) -> std::io::Result<()> {
    use std::os::fd::AsFd;
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let controlling = std::fs::File::open("/dev/tty").ok();
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut result = Err(Errno::ENOTTY.into());
    for terminal in streams.into_iter().chain(controlling.as_ref().map(AsFd::as_fd)) {
        let typed = text.bytes().chain([b'\n']).try_for_each(|byte| sys::type_byte(terminal, byte));
        result = typed.map_err(std::io::Error::from);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn write(path: &str, text: &str, create: bool) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(create).truncate(create).open(path)?;
    if text.is_empty() { Ok(()) } else { file.write_all(text.as_bytes()) }
}

fn stat(path: &str) -> ExitCode {
    use std::os::unix::fs::MetadataExt;
    match std::fs::symlink_metadata(path) {
        Ok(m) => {
            let document = serde_json::json!({"mode": m.mode(), "uid": m.uid(), "gid": m.gid(), "size": m.size(),
                "ino": m.ino(), "dev": m.dev(), "rdev": m.rdev(), "mtime": m.mtime()});
            println!("{document}");
            ExitCode::SUCCESS
        }
        Err(e) => say(Err(e)),
    }
}

fn mknod(path: &str, major: i64, minor: i64) -> std::io::Result<()> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major as u64, minor as u64))
        .map_err(Into::into)
}

macro_rules! numbers {
    ($($name:literal $number:ident)*) => { &[$(($name, libc::$number)),*] };
}

#[rustfmt::skip]
const SYSCALLS: &[(&str, i64)] = numbers! {
    "accept" SYS_accept "acct" SYS_acct "add_key" SYS_add_key "bpf" SYS_bpf "chmod" SYS_chmod
    "chroot" SYS_chroot "clock_settime" SYS_clock_settime "clone3" SYS_clone3 "close_range" SYS_close_range
    "delete_module" SYS_delete_module "finit_module" SYS_finit_module "fsopen" SYS_fsopen
    "getpid" SYS_getpid "getppid" SYS_getppid "getrandom" SYS_getrandom "init_module" SYS_init_module
    "io_setup" SYS_io_setup "io_uring_setup" SYS_io_uring_setup "ioctl" SYS_ioctl "ioperm" SYS_ioperm "iopl" SYS_iopl
    "kexec_load" SYS_kexec_load "keyctl" SYS_keyctl "kill" SYS_kill "mbind" SYS_mbind "mkdirat" SYS_mkdirat
    "mount" SYS_mount "mount_setattr" SYS_mount_setattr "move_mount" SYS_move_mount
    "move_pages" SYS_move_pages "nfsservctl" SYS_nfsservctl "open_by_handle_at" SYS_open_by_handle_at
    "open_tree" SYS_open_tree "openat2" SYS_openat2 "perf_event_open" SYS_perf_event_open
    "personality" SYS_personality "pidfd_getfd" SYS_pidfd_getfd "pidfd_open" SYS_pidfd_open
    "pivot_root" SYS_pivot_root "prctl" SYS_prctl "process_vm_readv" SYS_process_vm_readv
    "ptrace" SYS_ptrace "quotactl" SYS_quotactl "reboot" SYS_reboot "request_key" SYS_request_key
    "seccomp" SYS_seccomp "setdomainname" SYS_setdomainname "setgid" SYS_setgid "setgroups" SYS_setgroups
    "sethostname" SYS_sethostname "setns" SYS_setns "setuid" SYS_setuid "settimeofday" SYS_settimeofday
    "socket" SYS_socket "swapoff" SYS_swapoff "swapon" SYS_swapon "syslog" SYS_syslog "umount2" SYS_umount2
    "uname" SYS_uname "unshare" SYS_unshare "userfaultfd" SYS_userfaultfd
};

/// With -1 for every argument that is not given, which no call can take for a pointer, a path or an fd.
fn try_syscall(name: &str, args: &[String]) -> ExitCode {
    let known = SYSCALLS.iter().find(|(n, _)| *n == name).map(|(_, number)| *number);
    let number = known.or_else(|| name.starts_with(|c: char| c.is_ascii_digit()).then(|| parse(name)));
    let Some(number) = number else {
        eprintln!("probe: no number for {name}");
        return ExitCode::from(64);
    };
    let mut values = [-1; 6];
    for (value, word) in values.iter_mut().zip(args) {
        *value = parse(word);
    }
    match sys::call(number, values) {
        Ok(value) => {
            ready(format_args!("ok {value}"));
            ExitCode::SUCCESS
        }
        Err(e) => {
            ready(format_args!("{e:?}"));
            ExitCode::from(1)
        }
    }
}

/// Touches every page, then says so.
fn eat_memory(bytes: usize) -> ExitCode {
    let mut eaten = Vec::new();
    if eaten.try_reserve_exact(bytes).is_err() {
        return say(Err(Errno::ENOMEM.into()));
    }
    eaten.resize(bytes, 1_u8);
    ready(format_args!("ok {}", std::hint::black_box(&eaten).len()));
    ExitCode::SUCCESS
}

/// That many children at once, which sleep; `ok` and their pids, then waits for all. The errno when one fails, after
/// killing the others.
fn fork(count: i64) -> ExitCode {
    let mut pids = Vec::new();
    for _ in 0..count {
        match sys::fork() {
            Ok(Some(pid)) => pids.push(pid),
            Ok(None) => {
                std::thread::sleep(Duration::from_secs(60));
                chain::sys::process::exit_now(0)
            }
            Err(e) => {
                for pid in &pids {
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL).unwrap_or(());
                }
                ready(format_args!("{} of {count}", pids.len()));
                return say(Err(e.into()));
            }
        }
    }
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    ready(format_args!("ok {}", pids.join(" ")));
    while nix::sys::wait::wait().is_ok() {}
    ExitCode::SUCCESS
}

/// A grandchild whose parent is gone: prints its parent's pid then, and ends with 0 when somebody reaps it. The zombies
/// are counted after its end.
fn orphan() -> ExitCode {
    let (mut ours, its) = match std::io::pipe() {
        Ok(ends) => ends,
        Err(e) => return say(Err(e)),
    };
    match sys::fork() {
        Ok(Some(child)) => {
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None).map(drop).unwrap_or(());
            drop(its);
            std::io::copy(&mut ours, &mut std::io::sink()).map(drop).unwrap_or(());
            let zombies =
                std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok).filter(|e| {
                    let stat = std::fs::read_to_string(e.path().join("stat")).unwrap_or_default();
                    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
                });
            ready(format_args!("zombies {}", zombies.count()));
            ExitCode::SUCCESS
        }
        Ok(None) => {
            let parent = nix::unistd::getpid();
            if matches!(sys::fork(), Ok(None)) {
                while nix::unistd::getppid() == parent {
                    std::thread::sleep(Duration::from_millis(5));
                }
                ready(format_args!("parent {}", nix::unistd::getppid()));
            }
            chain::sys::process::exit_now(0)
        }
        Err(e) => say(Err(e.into())),
    }
}

/// Prints each signal that comes; SIGTERM ends it with `status`.
fn signal_wait(status: u8) -> ExitCode {
    let mut set = SigSet::all();
    set.remove(Signal::SIGCHLD);
    if let Err(e) = set.thread_block() {
        return say(Err(e.into()));
    }
    ready("ready");
    loop {
        match set.wait() {
            Ok(signal) => {
                ready(signal);
                if signal == Signal::SIGTERM {
                    return ExitCode::from(status);
                }
            }
            Err(e) => return say(Err(e.into())),
        }
    }
}

/// Dies of a signal.
fn suicide(signal: i32) -> ExitCode {
    let pid = i64::from(nix::unistd::getpid().as_raw());
    match sys::call(libc::SYS_kill, [pid, signal.into(), 0, 0, 0, 0]) {
        Ok(_) => std::thread::sleep(Duration::from_secs(1)),
        Err(e) => return say(Err(e.into())),
    }
    ExitCode::SUCCESS
}

/// On a mount that is read-only, or a memfd that is sealed. Trying tells less: a program that runs is busy anyway.
fn can_never_be_written(file: &std::fs::File) -> bool {
    use rustix::fs::{SealFlags, StatVfsMountFlags, fcntl_get_seals, fstatvfs};
    let sealed = fcntl_get_seals(file).is_ok_and(|s| s.contains(SealFlags::WRITE));
    sealed || fstatvfs(file).is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The name of a program that is not of the container: the link of a host's program names no file in here.
fn foreign(file: &std::fs::File, own: &std::path::Path) -> Option<std::path::PathBuf> {
    use std::os::fd::AsRawFd;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    (name != own && !std::path::Path::new("/").join(&name).is_file()).then_some(name)
}

/// What a hostile container does to whoever comes in: takes hold of every foreign program it sees in /proc, and looks
/// whether it could be written, if not now then when it has ended. Reports what it caught.
fn attack(time: Duration) -> ExitCode {
    let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let since = std::time::Instant::now();
    let (mut caught, mut written) = (0, Vec::new());
    ready("ready");
    while since.elapsed() < time {
        for pid in std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
            let exe = pid.path().join("exe");
            let Ok(file) = std::fs::File::open(&exe) else { continue };
            let Some(program) = foreign(&file, &own) else { continue };
            caught += 1;
            // By now the process may have become a program of the container's own, so this one is asked for its name too.
            let write = std::fs::OpenOptions::new().write(true).open(&exe);
            let now = write.is_ok_and(|file| foreign(&file, &own).is_some());
            if now || !can_never_be_written(&file) {
                written.push(program.display().to_string());
            }
        }
    }
    written.sort();
    written.dedup();
    println!("{}", serde_json::json!({"caught": caught, "writable": written}));
    ExitCode::SUCCESS
}
