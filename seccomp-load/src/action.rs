//! What happens to a call: OCI's names, the words of the command line, the kernel's return values.

use chain::{Error, Result, near};
use nix::errno::Errno;
use std::fmt;

/// An action, with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    // From the strictest on, in the order in which the kernel lets one of several filters win.
    KillProcess,
    KillThread,
    Trap,
    Errno(u16),
    Notify,
    Trace(u16),
    Log,
    Allow,
}

const EPERM: u32 = libc::EPERM as u32;
/// MAX_ERRNO of linux/err.h: the kernel takes a larger one for this.
const MAX_ERRNO: u32 = 4095;

/// The words of `-s NAME:WORD` and `--default WORD`, and what OCI calls them.
const WORDS: [(&str, &str); 7] = [
    ("allow", "SCMP_ACT_ALLOW"),
    ("log", "SCMP_ACT_LOG"),
    ("trap", "SCMP_ACT_TRAP"),
    ("trace", "SCMP_ACT_TRACE"),
    ("notify", "SCMP_ACT_NOTIFY"),
    ("kill", "SCMP_ACT_KILL_PROCESS"),
    ("kill-thread", "SCMP_ACT_KILL_THREAD"),
];

impl Action {
    /// OCI's; `at` is the JSON path of the action.
    pub(crate) fn of_oci(name: &str, errno: Option<u32>, at: &str) -> Result<Action> {
        let doing = "read the filter";
        let data = errno.unwrap_or(EPERM);
        match name {
            "SCMP_ACT_ERRNO" if data > MAX_ERRNO => {
                return Err(Error::usage(doing, format_args!("{at}: {data} is no errno (0 to {MAX_ERRNO})")));
            }
            "SCMP_ACT_TRACE" if data > u16::MAX.into() => {
                return Err(Error::usage(
                    doing,
                    format_args!("{at}: {data} is more than a tracer can be told"),
                ));
            }
            _ => {}
        }
        let action = match name {
            "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
            "SCMP_ACT_TRAP" => Action::Trap,
            "SCMP_ACT_ERRNO" => Action::Errno(data as u16),
            "SCMP_ACT_TRACE" => Action::Trace(data as u16),
            "SCMP_ACT_LOG" => Action::Log,
            "SCMP_ACT_ALLOW" => Action::Allow,
            "SCMP_ACT_NOTIFY" => Action::Notify,
            other => {
                let detail = format!("{at}: '{}' is not an action", other.escape_debug());
                return Err(Error::usage(doing, detail).cure("SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_LOG, SCMP_ACT_NOTIFY, SCMP_ACT_TRACE, SCMP_ACT_TRAP"));
            }
        };
        // The specification: an errno with an action that has none is an error.
        if errno.is_some() && !matches!(action, Action::Errno(_) | Action::Trace(_)) {
            return Err(Error::usage(doing, format_args!("{at}: {name} takes no errno")));
        }
        Ok(action)
    }

    /// As the kernel wants it from a filter: SECCOMP_RET_* of linux/seccomp.h.
    pub(crate) fn ret(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Notify => 0x7fc0_0000,
            Action::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    /// The action of a return value of ours.
    pub(crate) fn of_ret(ret: u32) -> Action {
        let data = ret as u16;
        match ret & 0xffff_0000 {
            0x8000_0000 => Action::KillProcess,
            0x0003_0000 => Action::Trap,
            0x0005_0000 => Action::Errno(data),
            0x7fc0_0000 => Action::Notify,
            0x7ff0_0000 => Action::Trace(data),
            0x7ffc_0000 => Action::Log,
            0x7fff_0000 => Action::Allow,
            _ => Action::KillThread,
        }
    }

    /// OCI's name, and the errno that stands beside it.
    pub(crate) fn oci(self) -> (&'static str, Option<u32>) {
        match self {
            Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
            Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
            Action::Trap => ("SCMP_ACT_TRAP", None),
            Action::Errno(errno) => ("SCMP_ACT_ERRNO", Some(errno.into())),
            Action::Notify => ("SCMP_ACT_NOTIFY", None),
            Action::Trace(data) => ("SCMP_ACT_TRACE", Some(data.into())),
            Action::Log => ("SCMP_ACT_LOG", None),
            Action::Allow => ("SCMP_ACT_ALLOW", None),
        }
    }

    /// Whether the call takes place (or an agent or a tracer decides).
    pub(crate) fn lets_through(self) -> bool {
        matches!(self, Action::Allow | Action::Log | Action::Notify | Action::Trace(_))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::KillProcess => f.write_str("kill"),
            Action::KillThread => f.write_str("kill-thread"),
            Action::Trap => f.write_str("trap"),
            Action::Errno(errno) => f.write_str(&errno_name(*errno)),
            Action::Notify => f.write_str("notify"),
            Action::Trace(data) => write!(f, "trace({data})"),
            Action::Log => f.write_str("log"),
            Action::Allow => f.write_str("allow"),
        }
    }
}

fn errno_name(errno: u16) -> String {
    match Errno::from_raw(errno.into()) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

/// The number of `EPERM`.
pub(crate) fn errno(name: &str) -> Option<u32> {
    // EOPNOTSUPP and EDEADLK are how nix spells these two.
    let name = match name {
        "ENOTSUP" => "EOPNOTSUPP",
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        name => name,
    };
    if name == "UnknownErrno" {
        return None;
    }
    (1..134).find(|n| format!("{:?}", Errno::from_raw(*n)) == name).map(|n| n as u32)
}

/// A word of the command line as OCI's action and errno: `EPERM`, `38`, `allow`.
pub(crate) fn of_word(word: &str) -> Result<(String, Option<u32>)> {
    if let Some((_, action)) = WORDS.iter().find(|(w, _)| *w == word) {
        return Ok((action.to_string(), None));
    }
    let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { word.parse().ok().filter(|n| *n <= MAX_ERRNO) } else { errno(word) };
    match number {
        Some(errno) => Ok(("SCMP_ACT_ERRNO".into(), Some(errno))),
        None => {
            let words: Vec<&str> = WORDS.iter().map(|(w, _)| *w).collect();
            let detail = format!("'{}' is not an action", word.escape_debug());
            Err(Error::usage("read the command line", detail)
                .cure(format_args!("an errno as EPERM, {}", words.join(", "))))
        }
    }
}

/// The words that a line of the text language can begin with, besides an errno.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    ["deny"].into_iter().chain(WORDS.iter().map(|(word, _)| *word))
}

/// As `of_word`, with `deny`, and with the data that a tracer is told: `trace:7`.
pub(crate) fn of_line(word: &str) -> Option<Action> {
    if word == "deny" {
        return Some(Action::Errno(libc::EPERM as u16));
    }
    if let Some(data) = word.strip_prefix("trace:") {
        let digits = data.bytes().all(|b| b.is_ascii_digit());
        return data.parse().ok().filter(|_| digits).map(Action::Trace);
    }
    let (name, errno) = of_word(word).ok()?;
    Action::of_oci(&name, errno, "").ok()
}

/// The word that `of_line` reads as this action.
pub(crate) fn line_word(action: Action) -> String {
    match action {
        Action::Trace(data) => format!("trace:{data}"),
        Action::Errno(number) if errno(&errno_name(number)).is_none() => number.to_string(),
        other => other.to_string(),
    }
}

/// The errno whose name is nearest to a word that is none.
pub(crate) fn nearest_errno(word: &str) -> Option<String> {
    let names: Vec<String> = (1..134).map(errno_name).filter(|name| !name.starts_with("errno ")).collect();
    near::nearest(word, names.iter().map(String::as_str)).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_names_and_numbers() {
        assert_eq!(of_word("EPERM").unwrap(), ("SCMP_ACT_ERRNO".into(), Some(1)));
        assert_eq!(of_word("ENOTSUP").unwrap().1, Some(95));
        assert_eq!(of_word("0").unwrap().1, Some(0));
        assert_eq!(of_word("kill").unwrap().0, "SCMP_ACT_KILL_PROCESS");
        for bad in ["", "EPREM", "4096", "-1", "eperm", "Allow", "Notify", "UnknownErrno"] {
            assert!(of_word(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_action_of_oci_and_no_other() {
        let of = |name, errno| Action::of_oci(name, errno, "x");
        assert_eq!(of("SCMP_ACT_ERRNO", None).unwrap(), Action::Errno(1));
        assert_eq!(of("SCMP_ACT_ERRNO", Some(38)).unwrap().ret(), 0x0005_0026);
        assert_eq!(of("SCMP_ACT_KILL", None).unwrap(), of("SCMP_ACT_KILL_THREAD", None).unwrap());
        assert_eq!(of("SCMP_ACT_NOTIFY", None).unwrap().ret(), 0x7fc0_0000);
        for bad in ["", "SCMP_ACT_DENY", "scmp_act_allow", "ALLOW"] {
            assert!(of(bad, None).is_err(), "{bad:?}");
        }
        for (name, errno) in [
            ("SCMP_ACT_ERRNO", 4096),
            ("SCMP_ACT_TRACE", 65536),
            ("SCMP_ACT_ALLOW", 1),
            ("SCMP_ACT_NOTIFY", 1),
        ] {
            assert!(of(name, Some(errno)).is_err(), "{name} {errno}");
        }
    }

    #[test]
    fn there_and_back() {
        let plain = [
            Action::KillProcess,
            Action::KillThread,
            Action::Trap,
            Action::Notify,
            Action::Log,
            Action::Allow,
        ];
        for action in plain.into_iter().chain([
            Action::Errno(38),
            Action::Errno(0),
            Action::Errno(4095),
            Action::Trace(7),
        ]) {
            assert_eq!(Action::of_ret(action.ret()), action);
            assert_eq!(of_line(&line_word(action)), Some(action));
            let (name, errno) = action.oci();
            assert_eq!(Action::of_oci(name, errno, "x").unwrap(), action);
        }
    }

    #[test]
    fn the_stricter_is_the_smaller() {
        assert!(Action::KillProcess < Action::Errno(1) && Action::Errno(1) < Action::Allow);
    }
}
