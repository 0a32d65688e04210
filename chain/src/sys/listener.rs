//! Loading a filter with a listener, which somebody else has to get before the filtered process may make any call: it
//! could be one that is asked about, and would wait for an agent who does not have the listener yet.

use super::check;
use super::seccomp::{FLAG_NEW_LISTENER, Instruction};
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Acquire, Ordering::Release};

/// Room for a message as JSON and its way into a socket.
const STACK: usize = 1 << 18;

const NOT_YET: RawFd = -1;
const FAILED: RawFd = -2;

/// What the two threads share.
struct Handover {
    /// NOT_YET, FAILED, or the listener.
    listener: AtomicI32,
    done: AtomicBool,
    give: *mut &'static mut dyn FnMut(OwnedFd),
}

/// Loads `program`, and has `give` called with its listener by a thread that the filter does not hold, since that was
/// there before it. Comes back when `give` has; until then this thread makes no system call at all.
pub fn load(program: &[Instruction], flags: u64, give: &mut dyn FnMut(OwnedFd)) -> Result<(), Errno> {
    // Never freed: the thread may still be on its way out when this process has gone on to the exec that ends both.
    let stack: &'static mut [u128] = vec![0; STACK / size_of::<u128>()].leak();
    // SAFETY: the thread is done with it before this function returns, whatever the lifetime says.
    let mut give: &'static mut dyn FnMut(OwnedFd) = unsafe { std::mem::transmute(give) };
    let handover = Handover {
        listener: AtomicI32::new(NOT_YET),
        done: AtomicBool::new(false),
        give: std::ptr::from_mut(&mut give),
    };
    let yields = is_real_time();
    let thread =
        libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let top = stack.as_mut_ptr_range().end;
    let shared = std::ptr::from_ref(&handover).cast_mut().cast();
    // SAFETY: the stack is the thread's alone. It has no thread-local memory of its own and uses ours (errno, malloc's
    // cache), but never while we do: until the filter is loaded it looks at one atomic and yields, and from then until
    // it is done we look at another.
    check(unsafe { libc::clone(give_listener, top.cast(), thread | libc::CLONE_SYSVSEM, shared) }.into())?;
    let loaded = super::seccomp::load_raw(program, flags | FLAG_NEW_LISTENER);
    handover.listener.store(*loaded.as_ref().unwrap_or(&FAILED), Release);
    while !handover.done.load(Acquire) {
        (0..1000).for_each(|_| std::hint::spin_loop());
        // On a processor that this thread does not leave by itself, the other one would never run.
        if yields {
            std::thread::yield_now();
        }
    }
    loaded.map(drop)
}

extern "C" fn give_listener(shared: *mut c_void) -> c_int {
    // SAFETY: it is alive until `done` is set, which is the last that is done with it.
    let shared = unsafe { &*shared.cast::<Handover>() };
    let listener = loop {
        match shared.listener.load(Acquire) {
            NOT_YET => std::thread::yield_now(),
            listener => break listener,
        }
    };
    if listener != FAILED {
        // SAFETY: a new fd, which nobody else knows.
        let listener = unsafe { OwnedFd::from_raw_fd(listener) };
        // SAFETY: the caller of `load` lent it, and stands still until `done` is set.
        unsafe { (*shared.give)(listener) };
    }
    shared.done.store(true, Release);
    // Back into clone(3), which ends this thread and not the process.
    0
}

fn is_real_time() -> bool {
    // SAFETY: takes and gives numbers.
    let policy = unsafe { libc::sched_getscheduler(0) };
    policy == libc::SCHED_FIFO || policy == libc::SCHED_RR
}
