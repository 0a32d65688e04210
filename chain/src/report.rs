//! Where errors and receipts go: one line on stderr, or one message to the `runner` that started the chain, and JSON
//! lines to `--status-fd`. An error is printed once, here.

use crate::error::Error;
use crate::state::write_all;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// A link is one thread in one process, so these are plain variables of the process.
static STATUS: AtomicI32 = AtomicI32::new(-1);
static LISTENER: AtomicI32 = AtomicI32::new(-1);

/// Sends JSON lines to `fd` from here on.
pub fn status_to(fd: RawFd) {
    STATUS.store(fd, Relaxed);
}

/// Whether anybody reads JSON lines.
pub fn has_status() -> bool {
    STATUS.load(Relaxed) >= 0
}

/// Sends errors to `fd` (the meeting socket, or the connection of `runner start`) instead of stderr.
pub fn errors_to(fd: RawFd) {
    LISTENER.store(fd, Relaxed);
}

/// Where errors go, if not to stderr: somebody waits there for the exec.
pub fn listener() -> Option<RawFd> {
    Some(LISTENER.load(Relaxed)).filter(|fd| *fd >= 0)
}

/// The fds in use here, which the landing keeps until the exec.
pub fn fds() -> impl Iterator<Item = RawFd> {
    [STATUS.load(Relaxed), LISTENER.load(Relaxed)].into_iter().filter(|fd| *fd >= 0)
}

/// One JSON line to the status fd, if there is one. A reader that went away is its own affair.
pub fn status(event: &impl Serialize) {
    let fd = STATUS.load(Relaxed);
    let (Ok(fd), Ok(mut line)) = (crate::sys::fd::borrow(fd), serde_json::to_vec(event)) else { return };
    line.push(b'\n');
    if write_all(fd, &line).is_err() {
        STATUS.store(-1, Relaxed);
    }
}

/// A warning: one line on stderr, or a message to the `runner` that started the chain, whose command's stderr it is; and
/// a line to the status fd.
pub fn warn(tool: &str, text: impl std::fmt::Display) {
    let text = text.to_string();
    status(&json!({"tool": tool, "event": "warning", "text": text}));
    let listener = LISTENER.load(Relaxed);
    if listener < 0 || !crate::meet::send_warning(listener, tool, &text) {
        stderr(&format!("{tool}: warning: {text}\n"));
    }
}

/// The error, once; gives the exit status.
pub fn error(tool: &str, error: &Error) -> u8 {
    status(&event(tool, error));
    let listener = LISTENER.load(Relaxed);
    if listener < 0 || !crate::meet::send_error(listener, tool, error) {
        stderr(&text(tool, error));
    }
    error.exit
}

/// The error as JSON, for `--status-fd` and `runner --log-format json`.
pub fn event(tool: &str, error: &Error) -> Value {
    let mut line =
        json!({"tool": tool, "event": "error", "class": error.class, "message": error.to_string()});
    if let Some(errno) = error.errno() {
        line["errno"] = json!(format!("{errno:?}"));
    }
    for (key, value) in [("call", &error.call), ("why", &error.why), ("try", &error.cure)] {
        if let Some(value) = value {
            line[key] = json!(value);
        }
    }
    line
}

/// The error as lines for people.
pub fn text(tool: &str, error: &Error) -> String {
    let mut text = format!("{tool}: {error}\n");
    for (word, value) in [("why", &error.why), ("try", &error.cure)] {
        if let Some(value) = value {
            writeln!(text, "{tool}: {word}: {value}").expect("a String takes all");
        }
    }
    text
}

/// In one write, so that lines of several processes do not mix. A closed stderr has nobody to tell.
pub fn stderr(text: &str) {
    write_all(rustix::stdio::stderr(), text.as_bytes()).unwrap_or(());
}

/// To stdout, which is where `--print` and plans go: a failure is the user's to know.
pub fn stdout(text: &[u8]) -> crate::error::Result<()> {
    use crate::error::Cannot;
    write_all(rustix::stdio::stdout(), text).cannot("write the output", "write(stdout)")
}
