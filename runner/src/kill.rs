//! kill: a signal to the container's first process by pidfd, so that a pid given away again is never hit.

use crate::cli::Kill;
use crate::container::{Container, StateRoot};
use crate::matching;
use chain::sys::process::{pidfd_open, pidfd_signal};
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::os::fd::AsFd;

/// `runner kill`.
pub(crate) fn kill(root: &StateRoot, options: &Kill) -> Result<u8> {
    let signal = parse(&options.signal)?;
    matching::each(root, &options.id, options.regex, |id| one(&root.container(id)?, signal, options.all))
}

fn one(container: &Container, signal: i32, all: bool) -> Result<()> {
    let doing = format_args!("send signal {signal} to {}", container.record.id);
    let has_group = !container.record.cgroups.is_empty();
    if all && !has_group {
        crate::log::warn(format_args!(
            "{} has no cgroup: only its first process is known",
            container.record.id
        ));
    }
    if all && has_group {
        return everybody(container, signal);
    }
    // Without a pid namespace nothing takes the others along, and they may outlive the first.
    let shared = signal == libc::SIGKILL && !container.record.own_pid_namespace && has_group;
    if shared && !crate::cgroup::processes(&container.record.cgroups)?.is_empty() {
        return everybody(container, signal);
    }
    let Some(pidfd) = container.pidfd()? else {
        if all {
            // As of a group in which nobody is left.
            return Ok(());
        }
        return Err(Error::new(Class::Conflict, doing, "container not running"));
    };
    match pidfd_signal(pidfd.as_fd(), signal) {
        Err(Errno::ESRCH) => Err(Error::new(Class::Conflict, doing, "container not running")),
        other => other.cannot(doing, format_args!("pidfd_send_signal({signal})")),
    }
}

fn everybody(container: &Container, signal: i32) -> Result<()> {
    let doing = format_args!("send signal {signal} to all of {}", container.record.id);
    // Nobody left is nobody to tell: --all of a stopped container is no error, as with runc.
    for pid in crate::cgroup::processes(&container.record.cgroups)? {
        let Ok(pidfd) = pidfd_open(pid) else { continue };
        match pidfd_signal(pidfd.as_fd(), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(Error::call(doing, format_args!("pidfd_send_signal({pid}, {signal})"), e)),
        }
    }
    Ok(())
}

/// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`.
fn parse(word: &str) -> Result<i32> {
    let unknown =
        || Error::usage(format_args!("send signal '{}'", word.escape_debug()), "there is no such signal");
    if let Ok(number) = word.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let name = word.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    // Real-time signals as the C library counts them: it keeps 32 and 33 for itself.
    for (base, number, sign) in [("RTMIN", 34, 1), ("RTMAX", 64, -1)] {
        if let Some(rest) = name.strip_prefix(base) {
            let digits = rest.get(1..).unwrap_or("0");
            let offset = if rest.is_empty() { 0 } else { digits.parse::<i32>().map_err(|_| unknown())? };
            let marked = rest.is_empty() || rest.starts_with(if sign > 0 { '+' } else { '-' });
            let signal = number + sign * offset;
            return if marked && (34..=64).contains(&signal) { Ok(signal) } else { Err(unknown()) };
        }
    }
    format!("SIG{name}").parse::<Signal>().map(|s| s as i32).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_any_name() {
        for (word, number) in [
            ("15", 15),
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("0", 0),
        ] {
            assert_eq!(parse(word).unwrap(), number, "{word}");
        }
        for bad in ["", "65", "-1", "SIGFOO", "RTMIN-1", "RTMIN+99", "RTMAX+1", "SIGSIGTERM", "RTMINé"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
