//! Children on this process's own memory. A fork copies the page tables, and afterwards each page that either side
//! writes; for a small program that is most of what a child costs.

use super::check;
use super::process::{CLONE_INTO_CGROUP, CloneArgs, exit_now};
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Room for a link to be started in: words, the state as JSON, a few paths.
const STACK: usize = 1 << 18;

/// Runs `run` in a child, on a stack of its own, while this process stands still (CLONE_VFORK) until the child has
/// become another program or has ended with the status that `run` gives; its pid. Fds are the child's own; memory is ours, so what `run` changes there
/// stays changed.
pub fn vfork(mut run: &mut dyn FnMut() -> u8) -> Result<i32, Errno> {
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: one past the end of an allocation that lives until the child is done; stacks grow down from it.
    let top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
    // SAFETY: we stand still while the child runs on our memory, so nothing is used by both at once.
    check(unsafe { libc::clone(enter, top.cast(), flags, std::ptr::from_mut(&mut run).cast()) }.into())
        .map(|pid| pid as i32)
}

extern "C" fn enter(run: *mut c_void) -> c_int {
    // SAFETY: it points to the caller's reference, and the caller stands still until this child is done with it.
    let run = unsafe { &mut *run.cast::<&mut dyn FnMut() -> u8>() };
    exit_now(run().into())
}

/// As [`vfork`], with more `flags` (CLONE_PARENT) and the child in this v2 cgroup from its first moment: clone3(2) as of
/// Linux 5.7, for which libc has no function. Its memory is ours until its exec: an OOM kill in that group ends us too.
/// ENOSYS on a processor for which nothing is written here.
pub fn vfork_into(mut run: &mut dyn FnMut() -> u8, flags: u64, cgroup: BorrowedFd<'_>) -> Result<i32, Errno> {
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let args = CloneArgs {
        flags: (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | CLONE_INTO_CGROUP | flags,
        // With CLONE_PARENT the child takes over our own exit signal, and naming one is EINVAL.
        exit_signal: if flags & libc::CLONE_PARENT as u64 != 0 { 0 } else { libc::SIGCHLD as u64 },
        stack: stack.as_mut_ptr() as u64,
        stack_size: (stack.capacity() * size_of::<u128>()) as u64,
        cgroup: cgroup.as_raw_fd() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: as in `vfork`: the stack outlives the child's use of it, and we stand still while it runs on our memory.
    let ret = unsafe { clone3_calling(&args, std::ptr::from_mut(&mut run).cast()) };
    if ret < 0 { Err(Errno::from_raw(-ret as i32)) } else { Ok(ret as i32) }
}

/// clone3(2) whose child, on the stack that `args` names, calls [`enter`] with `run` and never comes back; the kernel's
/// answer, in the parent.
///
/// # Safety
/// The stack must be the child's alone, and `run` what [`enter`] takes, for as long as the child runs on this memory.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3_calling(args: &CloneArgs, run: *mut c_void) -> i64 {
    let mut ret = libc::SYS_clone3;
    // SAFETY: the child has no frame of ours to return to: it calls `enter`, which ends it, on an aligned stack.
    unsafe {
        std::arch::asm!(
            "syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r13", "call r12", "ud2", "2:",
            inlateout("rax") ret, in("rdi") args, in("rsi") size_of::<CloneArgs>(), in("r12") enter as extern "C" fn(*mut c_void) -> c_int,
            in("r13") run, lateout("rcx") _, lateout("r11") _,
        );
    }
    ret
}

#[cfg(target_arch = "aarch64")]
unsafe fn clone3_calling(args: &CloneArgs, run: *mut c_void) -> i64 {
    let mut ret = std::ptr::from_ref(args) as i64;
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc #0", "cbnz x0, 2f", "mov x29, xzr", "mov x0, x21", "blr x20", "brk #1", "2:",
            inlateout("x0") ret, in("x1") size_of::<CloneArgs>(), in("x8") libc::SYS_clone3, in("x20") enter as extern "C" fn(*mut c_void) -> c_int,
            in("x21") run, out("x30") _,
        );
    }
    ret
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3_calling(_: &CloneArgs, _: *mut c_void) -> i64 {
    -i64::from(libc::ENOSYS)
}

/// What [`sentinel`]'s child needs; never freed, for it is used until the end of both.
struct Sentinel {
    closed: Vec<RawFd>,
    watched: BorrowedFd<'static>,
    kept: Vec<BorrowedFd<'static>>,
    argv: Vec<*const c_char>,
    stack: [u128; 256],
}

/// A child that sleeps until the other end of the socket `watched` is closed everywhere else. First it closes its own
/// copies of `closed`: that other end, and what else it is not to hold; at last it becomes this program once more with
/// the arguments `argv`, `watched` and `kept` still open. Until then it runs on our memory, beside us: it allocates
/// nothing, and its system calls leave errno alone.
pub fn sentinel(
    closed: Vec<RawFd>,
    watched: BorrowedFd<'static>,
    kept: &[BorrowedFd<'static>],
    argv: Vec<CString>,
) -> Result<i32, Errno> {
    extern "C" fn enter(sentinel: *mut c_void) -> c_int {
        // SAFETY: leaked below, and nobody but this child looks at it again.
        stand_guard(unsafe { &*sentinel.cast::<Sentinel>() })
    }
    let argv = argv.into_iter().map(|word| word.into_raw().cast_const()).chain([std::ptr::null()]).collect();
    let stack = [0; 256];
    let sentinel = Box::leak(Box::new(Sentinel { closed, watched, kept: kept.to_vec(), argv, stack }));
    let top = sentinel.stack.as_mut_ptr_range().end;
    // SAFETY: the stack is the child's alone and never freed; the child is as a thread that shares nothing it writes.
    let pid = unsafe {
        let flags = libc::CLONE_VM | libc::SIGCHLD;
        libc::clone(enter, top.cast(), flags, std::ptr::from_mut(sentinel).cast())
    };
    check(pid.into()).map(|pid| pid as i32)
}

fn stand_guard(sentinel: &Sentinel) -> c_int {
    for fd in &sentinel.closed {
        // SAFETY: this process's copy of the fd, which nothing in it uses.
        unsafe { rustix::io::close(*fd) };
    }
    // Asked for nothing, poll(2) still tells of a hang-up, and messages that arrive meanwhile wake nobody.
    let mut fds = [PollFd::from_borrowed_fd(sentinel.watched, PollFlags::empty())];
    while !fds[0].revents().contains(PollFlags::HUP) {
        // Who cannot sleep here is woken early, and waits for messages until the other end is closed.
        if !matches!(poll(&mut fds, None), Ok(_) | Err(rustix::io::Errno::INTR)) {
            break;
        }
    }
    if sentinel.kept.iter().any(|fd| fcntl_setfd(fd, FdFlags::empty()).is_err()) {
        return 1;
    }
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: `argv` ends in NULL and its words are never freed; whoever could change the environment is gone or waits.
    unsafe { libc::execve(c"/proc/self/exe".as_ptr(), sentinel.argv.as_ptr(), environ) };
    1
}
