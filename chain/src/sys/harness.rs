//! What the tests need besides: a system call by number, fork, what Rust's runtime changes before `main`, and what a
//! child does between fork and exec. Behind the feature `harness`, which only catena-tests asks for. Where cargo builds
//! the tools together with the tests, the tools' chain has it too; the linker then leaves it out, as nothing calls it.
//! A release is built without the tests, and without this (scripts/build.sh).

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bit 0 to 2: that fd was closed; bit 3: SIGPIPE was ignored. Before Rust's runtime opened and ignored them.
static EARLY: AtomicU32 = AtomicU32::new(0);

/// glibc runs this before Rust's runtime ignores SIGPIPE and fills closed standard fds. Not `#[used]`: it goes into the
/// programs that ask for what it found, and into no other.
// SAFETY: an entry of .init_array is a function pointer, and before_main touches nothing but an atomic.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// Remembers what the runtime is about to change.
extern "C" fn before_main() {
    let mut found = 0;
    for fd in 0..3 {
        // SAFETY: F_GETFD takes no pointer.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            found |= 1 << fd;
        }
    }
    found |= u32::from(is_ignored(libc::SIGPIPE)) << 3;
    EARLY.store(found, Relaxed);
}

fn early() -> u32 {
    // What is referred to is linked.
    std::hint::black_box(&BEFORE_MAIN);
    EARLY.load(Relaxed)
}

/// Which of 0, 1, 2 were closed at the start.
pub fn closed_at_start() -> Vec<i32> {
    (0..3).filter(|fd| early() >> fd & 1 == 1).collect()
}

/// Was SIGPIPE ignored at the start?
pub fn sigpipe_ignored_at_start() -> bool {
    early() >> 3 & 1 == 1
}

/// Is the signal ignored now?
pub fn is_ignored(signal: i32) -> bool {
    let mut old = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and `old` has room for one; all zeroes are a valid sigaction if the call fails.
    let failed = unsafe { libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) } != 0;
    // SAFETY: zeroed above, or filled by the kernel.
    let old = unsafe { old.assume_init() };
    !failed && old.sa_sigaction == libc::SIG_IGN
}

/// A system call with numbers for arguments. The caller answers for what they mean to this process: a payload's whole
/// purpose is to try, and nothing of it is used after a call that changed its memory.
pub fn call(number: i64, a: [i64; 6]) -> Result<i64, Errno> {
    // SAFETY: not sound for every number; see above. What the probe itself calls takes no pointers.
    let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    Errno::result(result)
}

/// TIOCSTI: puts a byte into the input of a terminal, as if it had been typed there.
pub fn type_byte(terminal: BorrowedFd<'_>, byte: u8) -> Result<(), Errno> {
    // SAFETY: the kernel reads one byte, which lives across the call.
    let ret = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, std::ptr::from_ref(&byte)) };
    Errno::result(ret).map(drop)
}

/// fork(2), which filters allow where they refuse clone3; the payload has one thread.
pub fn fork() -> Result<Option<i32>, Errno> {
    // SAFETY: the payload has one thread, so no lock can be held by another in the child.
    let pid = Errno::result(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// A child that leaves our session, for `Command::pre_exec`.
pub fn in_new_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches no memory.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
}

/// Gives the child `ours` as fd `theirs`, for each pair; closes its standard input if told so.
pub fn with_fds(command: &mut Command, pairs: Vec<(OwnedFd, i32)>, close_stdin: bool) {
    let give = move || {
        if close_stdin {
            // SAFETY: nothing in the child uses fd 0 between here and exec.
            unsafe { libc::close(0) };
        }
        for (ours, theirs) in &pairs {
            // SAFETY: dup2 is async-signal-safe and takes no pointers; `ours` is open, for `pairs` owns it.
            if unsafe { libc::dup2(ours.as_raw_fd(), *theirs) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: see inside; nothing is allocated there.
    unsafe { command.pre_exec(give) };
}
