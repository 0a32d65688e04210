//! How far it is, on standard error: a bar where that is a terminal, a line for each step everywhere.

use crate::NAME;
use chain::report;
use nix::sys::signal::SigSet;
use rustix::fs::{AtFlags, Dir, statat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a bar is drawn anew.
const EVERY: Duration = Duration::from_millis(100);

/// The bar itself, without its frame.
const WIDTH: u64 = 24;

/// Bytes.
pub(crate) const PAGE: u64 = 4096;

/// A line of its own.
pub(crate) fn say(line: impl std::fmt::Display) {
    report::stderr(&format!("{NAME}: {line}\n"));
}

/// A bar that is being drawn; gone when dropped.
pub(crate) struct Bar {
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Bar {
    /// Draws how many pages have come into the folder, of about so many.
    pub(crate) fn draw(folder: OwnedFd, label: String, expected: u64) -> Bar {
        if !rustix::termios::isatty(rustix::stdio::stderr()) {
            return Bar { drawing: None };
        }
        let (stop, stopped) = channel();
        let start = Instant::now();
        let draw = move || {
            // Signals are the other thread's.
            if SigSet::all().thread_block().is_err() {
                return;
            }
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
                let line = line(&label, pages_in(folder.as_fd()), expected, start.elapsed());
                report::stderr(&format!("\r{line}\x1b[K"));
            }
            report::stderr("\r\x1b[K");
        };
        Bar { drawing: Some((stop, std::thread::spawn(draw))) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawing.take() {
            drop(stop);
            thread.join().unwrap_or(());
        }
    }
}

/// `last round [######------------------]  25%  1000 of 4000 pages, 39 MiB/s`
fn line(label: &str, sent: u64, expected: u64, time: Duration) -> String {
    let part = |of: u64| (sent * of).checked_div(expected).unwrap_or(0).min(of);
    let done = part(WIDTH) as usize;
    let bar = format!("{}{}", "#".repeat(done), "-".repeat(WIDTH as usize - done));
    let speed = (sent * PAGE) as f64 / f64::from(1 << 20) / time.as_secs_f64().max(0.001);
    format!("{label} [{bar}] {:3}%  {sent} of {} pages, {speed:.0} MiB/s", part(100), expected.max(sent))
}

/// What a page server has written there so far.
fn pages_in(folder: BorrowedFd<'_>) -> u64 {
    let Ok(dir) = Dir::read_from(folder) else { return 0 };
    let size =
        |name: &std::ffi::CStr| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|s| s.st_size);
    let entries = dir.filter_map(Result::ok);
    let memory = entries.filter(|entry| entry.file_name().to_bytes().starts_with(b"pages-"));
    memory.filter_map(|entry| size(entry.file_name())).map(i64::unsigned_abs).sum::<u64>() / PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_how_much_of_what_and_how_fast() {
        let bar = |sent, expected| line("round 2", sent, expected, Duration::from_secs(1));
        assert_eq!(bar(0, 0), "round 2 [------------------------]   0%  0 of 0 pages, 0 MiB/s");
        assert_eq!(bar(2560, 5120), "round 2 [############------------]  50%  2560 of 5120 pages, 10 MiB/s");
        // What was expected was a guess.
        assert_eq!(bar(512, 256), "round 2 [########################] 100%  512 of 512 pages, 2 MiB/s");
        assert!(bar(u64::from(u32::MAX), u64::from(u32::MAX)).len() < 80 + 20);
    }
}
