//! Reads what criu says when it fails: one generic line in its answer, the reason deep in its log.

use crate::cause;
use crate::rpc::{Opts, Resp};
use chain::error::{Class, Error};

/// What is left of a failure.
pub(crate) struct Failed<'a> {
    /// criu's answer, if it gave one.
    pub answer: Option<&'a Resp>,
    /// Its log.
    pub log: &'a [u8],
    /// What it printed before it had a log.
    pub printed: &'a [u8],
    /// What it was asked.
    pub opts: &'a Opts,
    /// Where the log is, for people.
    pub place: String,
    /// The disk has no room.
    pub full: bool,
}

/// `error` with criu's own reason, and the flag that would cure it.
pub(crate) fn explain(error: Error, failed: &Failed<'_>) -> Error {
    let mut error = error;
    let text = [failed.log, b"\n", failed.printed].concat();
    let text = String::from_utf8_lossy(&text);
    let answer = failed.answer.and_then(|answer| answer.cr_errmsg.as_deref()).unwrap_or_default();
    let answer = String::from_utf8_lossy(answer);
    let message = error_line(&answer).or_else(|| last_line(&answer)).filter(|line| !is_noise(line));
    error.detail = Some(match (reason(&text), message) {
        (Some(line), Some(message)) if !line.contains(&message) => format!("{line}; {message}"),
        (Some(line), _) => line,
        (None, Some(message)) => message,
        (None, None) => match (error.detail, last_line(&text)) {
            (Some(detail), Some(line)) => format!("{detail}: {line}"),
            (detail, line) => detail.or(line).unwrap_or_else(|| "criu gave no reason".into()),
        },
    });
    match cause::find(&text, failed.opts) {
        Some(cause) => {
            error.class = cause.class;
            error = error.why(format_args!("{} ({})", cause.why, failed.place));
            if let Some(cure) = cause.cure {
                error = error.cure(cure);
            }
        }
        None if failed.full => error = error.why("no space is left on the disk of the images"),
        None if !failed.log.is_empty() => {
            error = error.why(format_args!("{} has the whole story", failed.place))
        }
        None => {}
    }
    error
}

/// An error for an answer of `criu(what)` that is no success.
pub(crate) fn refusal(doing: &str, what: &str, answer: &Resp) -> Error {
    let mut error = match answer.cr_errno.filter(|errno| *errno > 0) {
        Some(errno) => Error::call(doing, "", nix::errno::Errno::from_raw(errno)),
        None => Error::new(Class::Internal, doing, ""),
    };
    error.call = Some(format!("criu({what})"));
    error.detail = None;
    error
}

/// The first line of the log that is an error and says something.
pub(crate) fn reason(text: &str) -> Option<String> {
    text.lines().filter_map(error_line).find(|line| !is_noise(line))
}

/// `(00.012345)     15: Error (criu/tty.c:1825): tty: Found …` without what stands in front.
fn error_line(line: &str) -> Option<String> {
    let (before, error) = line.split_once("Error (")?;
    let prefix = |c: char| c.is_ascii_digit() || "(). :pie".contains(c);
    let (_, message) = error.split_once("): ").filter(|_| before.chars().all(prefix))?;
    Some(clean(message)).filter(|m| !m.is_empty())
}

/// Lines that only say that there was an error before, by a helper that sees its other end go among them, and one that is
/// none: without CAP_SYS_RESOURCE criu goes on with the limit it has.
fn is_noise(line: &str) -> bool {
    let noise =
        ["exited, status=", "cg: cgroupd: recv req error", "rlimit: Can't setup RLIMIT_NOFILE for self"];
    noise.iter().any(|start| line.starts_with(start)) || line.ends_with("FAILED")
}

fn last_line(text: &str) -> Option<String> {
    let message = |line: &str| {
        let labelled = line.starts_with("Warn") || line.starts_with("Error");
        clean(line.split_once("): ").filter(|_| labelled).map_or(line, |(_, message)| message))
    };
    text.lines().map(message).rfind(|line| !line.is_empty())
}

/// One line without control characters: names in it come from the tree, or from images.
pub(crate) fn clean(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "(00.000004) Version: 4.1.1 (gitid 0)\n\
        (00.009637) Error (criu/util.c:642): exited, status=1\n\
        (00.012345)     15: Error (criu/tty.c:1825): tty: Found dangling tty with sid 7 pgid 9 (pts) on peer fd 0.\n\
        (00.012399) Error (criu/cr-dump.c:2128): Dumping FAILED.\n";

    #[test]
    fn the_first_error_with_a_meaning_is_the_reason() {
        assert_eq!(reason(LOG).unwrap(), "tty: Found dangling tty with sid 7 pgid 9 (pts) on peer fd 0");
        let helper = "(00.1)     11: Error (criu/cgroup.c:1): cg: cgroupd: recv req error: No such file or directory\n";
        assert_eq!(reason(&format!("{helper}{LOG}")), reason(LOG));
        assert_eq!(reason("(00.1) Dumping a file named Error (x): y\n"), None);
        assert_eq!(reason("pie: 7: Error (criu/pie/restorer.c:1): Can't\x1b[2J\n").unwrap(), "Can't?[2J");
    }

    fn explained(log: &str, answer: &Resp, opts: &Opts) -> Error {
        let place = "img/dump.log".to_string();
        let failed =
            Failed { answer: Some(answer), log: log.as_bytes(), printed: b"", opts, place, full: false };
        explain(refusal("dump process 7", "dump", answer), &failed)
    }

    #[test]
    fn a_known_reason_comes_with_the_flag_that_cures_it() {
        let answer = Resp {
            cr_errno: Some(16),
            cr_errmsg: Some(b"tty: Found dangling tty".to_vec()),
            ..Resp::default()
        };
        let error = explained(LOG, &answer, &Opts::default());
        let text = "cannot dump process 7: criu(dump): Device or resource busy (EBUSY): \
            tty: Found dangling tty with sid 7 pgid 9 (pts) on peer fd 0";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.cure.as_deref(), Some("--shell-job"));
        assert_eq!(error.class, Class::Usage);
        // With the flag given, the same advice would be no help.
        let given = Opts { shell_job: true, ..Opts::default() };
        assert_eq!(explained(LOG, &answer, &given).cure, None);
    }

    #[test]
    fn without_a_log_the_answer_speaks_and_without_that_the_last_line_printed() {
        let answer = Resp { cr_errmsg: Some(b"Can't open it\n".to_vec()), ..Resp::default() };
        let error = explained("", &answer, &Opts::default());
        assert_eq!(error.to_string(), "cannot dump process 7: criu(dump): Can't open it");
        let error = explained("CRIU needs root\n\n", &Resp::default(), &Opts::default());
        assert_eq!(error.to_string(), "cannot dump process 7: criu(dump): CRIU needs root");
    }
}
