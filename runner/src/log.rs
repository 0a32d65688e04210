//! What runc's callers read: one line on stderr for people, and in the log file lines in one of logrus' two formats, of
//! which the last is the cause.

use crate::called;
use crate::cli::{Args, LogFormat};
use crate::globals::Level;
use crate::time;
use chain::error::Error;
use chain::meet::Message;
use chain::{ToolName, report};
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde_json::json;
use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Status of runc's own failures.
pub(crate) const FAILED: u8 = 1;

struct Log {
    file: Option<OwnedFd>,
    format: LogFormat,
    level: Level,
}

/// One for the process, as stderr is.
static LOG: OnceLock<Log> = OnceLock::new();

/// Opens `--log`. One that cannot be opened is said, and is no reason to leave a container alone.
pub(crate) fn open(args: &Args) {
    open_as(args.log.as_deref(), args.log_format, args.level());
}

/// As [`open`], for a command line that could not be read.
pub(crate) fn open_as(path: Option<&Path>, format: LogFormat, level: Level) {
    let (file, complaint) = match path.map(open_file) {
        None => (None, None),
        Some(Ok(file)) => (Some(file), None),
        Some(Err(complaint)) => (None, Some(complaint)),
    };
    LOG.get_or_init(|| Log { file, format, level });
    if let Some(complaint) = complaint {
        warn(complaint);
    }
}

/// `file:PATH` is crun's way to say PATH; it has two more places, which are not files.
fn open_file(path: &Path) -> Result<OwnedFd, String> {
    let word = path.to_string_lossy();
    if let Some(kind) = ["journald", "syslog"].into_iter().find(|kind| word.starts_with(&format!("{kind}:")))
    {
        return Err(format!("cannot log to {kind}: not carried out yet; --log FILE"));
    }
    let path = word.strip_prefix("file:").map_or_else(|| path.to_path_buf(), PathBuf::from);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(CWD, &path, flags, Mode::from_raw_mode(0o644))
        .map_err(|e| format!("cannot log to {}: {e}", path.display()))
}

/// Tells the error, as the end of it.
pub(crate) fn fail(error: &Error) -> ExitCode {
    tell(error);
    ExitCode::from(FAILED)
}

/// Tells the error, once to people and once to the log.
pub(crate) fn tell(error: &Error) {
    let as_runc = called::error(error).filter(|_| called::as_runc());
    let text = || as_runc.map_or_else(|| report::text("runner", error), |text| format!("{text}\n"));
    match LOG.get() {
        Some(log @ Log { file: Some(_), .. }) => {
            report::stderr(&text());
            log.put(Level::Error, &one_line(error));
        }
        Some(log @ Log { format: LogFormat::Json, .. }) => log.put(Level::Error, &one_line(error)),
        _ => report::stderr(&text()),
    }
}

/// What somebody should know and nothing failed of.
pub(crate) fn warn(text: impl Display) {
    match LOG.get() {
        Some(log) if log.file.is_some() || log.format == LogFormat::Json => {
            log.put(Level::Warning, &text.to_string())
        }
        Some(log) if log.level < Level::Warning => {}
        _ => report::warn("runner", text),
    }
}

/// Whether every step is told.
pub(crate) fn is_debug() -> bool {
    LOG.get().is_some_and(|log| log.level >= Level::Debug)
}

/// A step: what the chain of a container, or of an `exec`, told. What of it runc tells too is told in its words, for
/// those who look for them.
pub(crate) fn heard(message: &Message, exec: bool) {
    let Some(log) = LOG.get().filter(|log| log.level >= Level::Debug) else { return };
    log.put(Level::Debug, &format!("the chain says {message:?}"));
    if let Message::Receipt(receipt) = message {
        let flags = receipt.applied.get("flags").filter(|_| receipt.tool == ToolName::SeccompLoad);
        let mask = receipt.applied.pointer("/execCPUAffinity/initial").and_then(|mask| mask.as_str());
        flags.iter().for_each(|flags| log.put(Level::Debug, &format!("seccomp filter flags: {flags}")));
        mask.iter().for_each(|mask| log.put(Level::Debug, &format!("nsexec: affinity: {mask}")));
    }
    if called::as_runc() {
        for words in called::words(message, exec) {
            log.put(Level::Debug, words);
        }
    }
}

/// That the chain's programs are open, each where nobody can write to it.
pub(crate) fn tools_are_open() {
    if let Some(log) = LOG.get().filter(|log| log.level >= Level::Debug)
        && called::as_runc()
    {
        log.put(Level::Debug, called::SEALED);
    }
}

impl Log {
    /// One line in one write: others append to the same file.
    fn put(&self, level: Level, message: &str) {
        if level > self.level {
            return;
        }
        let line = self.line(level.as_str(), message);
        let Some(file) = &self.file else { return report::stderr(&line) };
        if let Err(e) = chain::state::write_all(file.as_fd(), line.as_bytes()) {
            report::warn("runner", format_args!("cannot write the log: {e}"));
        }
    }

    fn line(&self, level: &str, message: &str) -> String {
        let time = time::stamp();
        match self.format {
            LogFormat::Json => format!("{}\n", json!({"level": level, "msg": message, "time": time})),
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
        }
    }
}

/// Engines show the last line only, so cause and cure go into it; and they look for the kernel's words as Go writes them,
/// in small letters, to tell a command that is not there (127) and one that cannot be executed (126) from the rest.
fn one_line(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some(errno) = error.errno.map(nix::errno::Errno::from_raw) {
        text = text.replace(errno.desc(), &errno.desc().to_lowercase());
    }
    for (word, value) in [("why", &error.why), ("try", &error.cure)] {
        if let Some(value) = value {
            text.push_str(&format!(" ({word}: {value})"));
        }
    }
    text
}
