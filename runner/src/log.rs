//! Errors as engines want them: one line on stderr for people, and in the log file a line whose last one is the cause,
//! in logrus' two formats.

use crate::cli::{Args, LogFormat};
use chain::error::Error;
use chain::report;
use clap::error::{ContextKind, ErrorKind};
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde_json::json;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

/// Status of runc's own failures.
const FAILED: u8 = 1;

/// The log.
pub(crate) struct Log {
    file: Option<OwnedFd>,
    format: LogFormat,
}

impl Log {
    /// Opens `--log`. One that cannot be opened is said, and is no reason to leave a container alone.
    pub(crate) fn open(args: &Args) -> Log {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file =
            args.log.as_ref().and_then(|path| match openat(CWD, path, flags, Mode::from_raw_mode(0o644)) {
                Ok(file) => Some(file),
                Err(e) => {
                    report::warn("runner", format_args!("cannot log to {}: {e}", path.display()));
                    None
                }
            });
        Log { file, format: args.log_format }
    }

    /// Tells the error, once to people and once to the log.
    pub(crate) fn fail(&self, error: &Error) -> ExitCode {
        report::stderr(&report::text("runner", error));
        if let Some(file) = &self.file {
            let line = self.line("error", &one_line(error));
            if let Err(e) = chain::state::write_all(file.as_fd(), line.as_bytes()) {
                report::warn("runner", format_args!("cannot write the log: {e}"));
            }
        }
        ExitCode::from(FAILED)
    }

    fn line(&self, level: &str, message: &str) -> String {
        let time = timestamp();
        match self.format {
            LogFormat::Json => format!("{}\n", json!({"level": level, "msg": message, "time": time})),
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
        }
    }
}

/// Engines show the last line only, so cause and cure go into it.
fn one_line(error: &Error) -> String {
    let mut text = error.to_string();
    for (word, value) in [("why", &error.why), ("try", &error.cure)] {
        if let Some(value) = value {
            text.push_str(&format!(" ({word}: {value})"));
        }
    }
    text
}

/// A wrong command line, before there is a log: help goes to stdout, the rest is one line.
pub(crate) fn command_line(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match report::stdout(error.to_string().as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        };
    }
    let error = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Error::usage("read the command line", "no command").cure("runner --help")
        }
        ErrorKind::UnknownArgument => unknown(error),
        _ => chain::cli::usage("runner", error),
    };
    report::stderr(&report::text("runner", &error));
    ExitCode::from(FAILED)
}

/// A word in the place of a command is one, for clap too only where no command line may follow `--`.
fn unknown(error: &clap::Error) -> Error {
    match error.get(ContextKind::InvalidArg).map(ToString::to_string) {
        Some(word) if !word.starts_with('-') => {
            Error::usage("read the command line", format_args!("unknown command {word}"))
                .cure("runner --help")
        }
        _ => chain::cli::usage("runner", error),
    }
}

/// Now, as RFC 3339 in UTC.
pub(crate) fn timestamp() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    rfc3339(now.tv_sec, now.tv_nsec)
}

/// Days to civil date by the proleptic Gregorian calendar, in 400-year cycles that start on 1 March.
fn rfc3339(seconds: i64, nanos: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_over_leap_years() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(rfc3339(1_709_251_199, 0), "2024-02-29T23:59:59.000000000Z");
        assert_eq!(rfc3339(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }
}
