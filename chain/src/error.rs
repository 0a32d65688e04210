//! The one error of the project: a sentence that names what the user wanted, the call, its object and the errno.
//!
//! `cannot mount proc on /proc: fsmount(proc): Operation not permitted (EPERM)`, then at most one `why:` and one
//! `try:` line. Exit statuses follow coreutils' `env` and `chroot`: 125 for a failure of our own, 126 and 127 when
//! the next program cannot be run or is not there.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// What kind of thing went wrong; stable words for `--status-fd`, so that scripts need not read sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The command line, plan or configuration is wrong.
    Usage,
    /// This kernel, build or host cannot do it.
    Unsupported,
    /// The kernel said no: EPERM, EACCES.
    Denied,
    /// Something named does not exist.
    Missing,
    /// Something exists or is busy that must not be.
    Conflict,
    /// A link stands where its precondition does not hold.
    Order,
    /// Anything else; also a read-back that differs from what was asked.
    Internal,
}

/// Exit status of a failure of our own.
pub const EXIT_OURS: u8 = 125;
/// Exit status when the next program is there but cannot be run.
pub const EXIT_CANNOT_RUN: u8 = 126;
/// Exit status when the next program is not there.
pub const EXIT_NOT_FOUND: u8 = 127;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Error {
    /// Its class.
    pub class: Class,
    /// What the user wanted, as the words that follow "cannot".
    pub doing: String,
    /// `syscall(object)`, when a call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The errno of that call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// The reason, when no call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Found by read-only probes after the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What would cure it.
    #[serde(default, rename = "try", skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// The status to exit with.
    pub exit: u8,
}

/// The project's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure that no system call reported.
    pub fn new(class: Class, doing: impl Display, detail: impl Display) -> Error {
        Error {
            class,
            doing: doing.to_string(),
            call: None,
            errno: None,
            detail: Some(detail.to_string()),
            why: None,
            cure: None,
            exit: EXIT_OURS,
        }
    }

    /// A wrong command line, plan or configuration.
    pub fn usage(doing: impl Display, detail: impl Display) -> Error {
        Error::new(Class::Usage, doing, detail)
    }

    /// A system call that failed.
    pub fn call(doing: impl Display, call: impl Display, errno: impl IntoErrno) -> Error {
        let errno = errno.into_errno();
        Error {
            class: class_of(errno),
            doing: doing.to_string(),
            call: Some(call.to_string()),
            errno: Some(errno as i32),
            detail: None,
            why: None,
            cure: None,
            exit: EXIT_OURS,
        }
    }

    /// What the kernel holds is not what was asked for.
    pub fn readback(object: impl Display, asked: impl Display, found: impl Display) -> Error {
        Error::new(
            Class::Internal,
            format_args!("prove {object}"),
            format_args!("asked for {asked}, the kernel says {found}"),
        )
    }

    /// Adds the `why:` line.
    #[must_use]
    pub fn why(mut self, why: impl Display) -> Error {
        self.why = Some(why.to_string());
        self
    }

    /// Adds the `try:` line.
    #[must_use]
    pub fn cure(mut self, cure: impl Display) -> Error {
        self.cure = Some(cure.to_string());
        self
    }

    /// Sets the class.
    #[must_use]
    pub fn class(mut self, class: Class) -> Error {
        self.class = class;
        self
    }

    /// Sets the exit status.
    #[must_use]
    pub fn exit(mut self, exit: u8) -> Error {
        self.exit = exit;
        self
    }

    /// The errno, if a call failed.
    pub fn errno(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.doing)?;
        if let Some(call) = &self.call {
            write!(f, ": {call}")?;
        }
        if let Some(errno) = self.errno() {
            write!(f, ": {} ({errno:?})", errno.desc())?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

fn class_of(errno: Errno) -> Class {
    match errno {
        Errno::EPERM | Errno::EACCES | Errno::EROFS => Class::Denied,
        Errno::ENOENT | Errno::ESRCH | Errno::ENODEV | Errno::ENXIO | Errno::ENOTDIR => Class::Missing,
        Errno::EEXIST | Errno::EBUSY | Errno::ENOTEMPTY | Errno::ETXTBSY => Class::Conflict,
        Errno::ENOSYS | Errno::EOPNOTSUPP => Class::Unsupported,
        _ => Class::Internal,
    }
}

/// Whatever carries an errno.
pub trait IntoErrno {
    /// The errno in it; EIO where the error carries none.
    fn into_errno(self) -> Errno;
}

impl IntoErrno for Errno {
    fn into_errno(self) -> Errno {
        self
    }
}

impl IntoErrno for rustix::io::Errno {
    fn into_errno(self) -> Errno {
        Errno::from_raw(self.raw_os_error())
    }
}

impl IntoErrno for std::io::Error {
    fn into_errno(self) -> Errno {
        Errno::from_raw(self.raw_os_error().unwrap_or(nix::libc::EIO))
    }
}

/// `call().cannot("set the host name", format_args!("sethostname({name})"))?`
pub trait Cannot<T> {
    /// Turns an errno into an [`Error`] that says what was wanted and which call failed on what.
    fn cannot(self, doing: impl Display, call: impl Display) -> Result<T>;
}

impl<T, E: IntoErrno> Cannot<T> for std::result::Result<T, E> {
    fn cannot(self, doing: impl Display, call: impl Display) -> Result<T> {
        self.map_err(|e| Error::call(doing, call, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_with_wish_call_object_and_errno() {
        let e = Error::call("mount proc on /proc", "fsmount(proc)", Errno::EPERM);
        assert_eq!(
            e.to_string(),
            "cannot mount proc on /proc: fsmount(proc): Operation not permitted (EPERM)"
        );
        assert_eq!(e.class, Class::Denied);
    }

    #[test]
    fn a_refusal_without_a_call_gives_its_reason() {
        let e = Error::usage("read the plan", "it is empty").cure("-N");
        assert_eq!(e.to_string(), "cannot read the plan: it is empty");
        assert_eq!(e.exit, EXIT_OURS);
    }
}
