//! Where the plan comes from, the same for every tool: the state first (see [`crate::link`]), then `--plan`, then
//! standard input if it is a pipe and nobody said `-N`, else a new plan. And what becomes of standard input then.

use crate::cli::Common;
use crate::error::{Cannot, Error, Result};
use crate::plan::{PLAN_MAX, Plan};
use crate::{report, sys};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// `CATENA_STDIN=command` says for a whole script what `-N` says for one tool.
pub const STDIN_ENV: &str = "CATENA_STDIN";

/// The plan, and whether standard input was used up for it.
pub fn plan(common: &Common, tool: &str) -> Result<(Plan, bool)> {
    if let Some(from) = &common.plan {
        return named(from, tool);
    }
    if !common.new && !stdin_is_commands()? && is_pipe()? {
        return Ok((read(rustix::stdio::stdin(), "standard input", tool)?, true));
    }
    Ok((Plan::default(), false))
}

fn stdin_is_commands() -> Result<bool> {
    match std::env::var_os(STDIN_ENV) {
        None => Ok(false),
        Some(value) if value == "command" => Ok(true),
        Some(value) => {
            let detail = format!("{STDIN_ENV}={}: only 'command' is known", value.display());
            Err(Error::usage("find out whose standard input is", detail))
        }
    }
}

fn is_pipe() -> Result<bool> {
    match fstat(rustix::stdio::stdin()) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Fifo),
        Err(rustix::io::Errno::BADF) => Ok(false),
        Err(e) => Err(Error::call("look at standard input", "fstat(0)", e)),
    }
}

fn named(from: &OsStr, tool: &str) -> Result<(Plan, bool)> {
    if from == "-" {
        return Ok((read(rustix::stdio::stdin(), "standard input", tool)?, true));
    }
    let whence = from.display().to_string();
    if let Some(n) = from.to_str().and_then(|f| f.strip_prefix("fd:")) {
        let doing = format_args!("read the plan from {whence}");
        let n = n.parse().map_err(|_| Error::usage(doing, "not a number"))?;
        let fd = sys::fd::borrow(n).cannot(doing, format_args!("fcntl({n})"))?;
        return Ok((read(fd, &whence, tool)?, n == 0));
    }
    let fd = openat(CWD, from, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot(format_args!("read the plan from {whence}"), format_args!("open({whence})"))?;
    Ok((read(fd.as_fd(), &whence, tool)?, false))
}

fn read(fd: BorrowedFd<'_>, whence: &str, tool: &str) -> Result<Plan> {
    let doing = format_args!("read the plan from {whence}");
    say_what_is_waited_for(fd, whence, tool)?;
    let mut text = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => return Plan::parse(&text, whence),
            Ok(n) => text.extend_from_slice(&buffer[..n]),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::call(doing, format_args!("read({})", fd.as_raw_fd()), e)),
        }
        if text.len() > PLAN_MAX {
            return Err(Error::usage(doing, format_args!("more than {PLAN_MAX} bytes: this is not a plan")));
        }
    }
}

fn say_what_is_waited_for(fd: BorrowedFd<'_>, whence: &str, tool: &str) -> Result<()> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(1000_u16)) {
        Ok(0) => {
            let text = format!("waiting for a plan on {whence}; say -N if that input belongs to the command");
            report::warn(tool, text);
            Ok(())
        }
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(e) => Err(Error::call("wait for the plan", "poll", e)),
    }
}

/// Gives the command its standard input: `--stdin`, or, where the plan used it up, the controlling terminal if we are
/// in its foreground, else /dev/null.
pub fn stdin(common: &Common, used_up: bool) -> Result<()> {
    let doing = "give the command its standard input";
    if let Some(from) = &common.stdin {
        if let Some(n) = from.to_str().and_then(|f| f.strip_prefix("fd:")) {
            let n = n.parse().map_err(|_| Error::usage(doing, format_args!("--stdin {}", from.display())))?;
            let fd = sys::fd::borrow(n).cannot(doing, format_args!("fcntl({n})"))?;
            return rustix::stdio::dup2_stdin(fd).cannot(doing, format_args!("dup2({n}, 0)"));
        }
        let fd = openat(CWD, from, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .cannot(doing, format_args!("open({})", from.display()))?;
        return rustix::stdio::dup2_stdin(fd).cannot(doing, "dup2(0)");
    }
    if !used_up {
        return Ok(());
    }
    let terminal = openat(CWD, "/dev/tty", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok();
    let ours = terminal
        .filter(|tty| rustix::termios::tcgetpgrp(tty).is_ok_and(|group| group == rustix::process::getpgrp()));
    let fd = match ours {
        Some(tty) => tty,
        None => openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .cannot(doing, "open(/dev/null)")?,
    };
    rustix::stdio::dup2_stdin(fd).cannot(doing, "dup2(0)")
}
