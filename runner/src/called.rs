//! Under the name `runc`, as a link or a copy may have it: version and help in runc's layout, the words of its debug log
//! at the moments they stand for, and its form for a command that cannot be run, a cgroup that cannot be made and a
//! limit that is below what is in use, for scripts that read them. All else is the same under any name.

use crate::cli::Args;
use chain::error::Error;
use chain::meet::Message;
use chain::name::ToolName;
use clap::CommandFactory;
use std::ffi::OsString;
use std::path::Path;

const NAME: &str = "runc";

/// The layout, for the program or for a command of it.
fn layout(name: &str) -> String {
    format!("NAME:\n   {name} - {{about}}\n\nUSAGE:\n   {{usage}}\n\n{{all-args}}\n")
}

/// Whether that is the name.
pub(crate) fn as_runc() -> bool {
    let word = std::env::args_os().next().unwrap_or_default();
    Path::new(&word).file_name().is_some_and(|name| name == NAME)
}

/// What runc's debug log says when it protects its own program, which here every tool is from the start.
pub(crate) const SEALED: &str = "the tools run from a read-only detached mount, which is what \
    'runc exeseal: using /proc/self/exe clone' and \
    'runc exeseal: using overlayfs for sealed /proc/self/exe' are for";

/// What runc's debug log says at this moment.
pub(crate) fn words(message: &Message, exec: bool) -> &'static [&'static str] {
    match message {
        Message::Receipt(receipt) if receipt.tool == ToolName::NsEnter => {
            &["nsexec container setup", "child process in init()"]
        }
        Message::Ready if exec => &["setns_init: about to exec"],
        Message::Ready => &["init: closing the pipe to signal completion"],
        _ => &[],
    }
}

/// The error in runc's form, if it has one that is looked for.
pub(crate) fn error(error: &Error) -> Option<String> {
    execve_error(error).or_else(|| cgroup_error(error)).or_else(|| memory_error(error))
}

/// That a limit is below what is in use, where that was not to be.
fn memory_error(error: &Error) -> Option<String> {
    let text = error.to_string();
    let limit = if text.contains("limit memory+swap to") { "memory+swap" } else { "memory" };
    text.contains("checkBeforeUpdate is set").then(|| format!("rejecting {limit} limit: {text}"))
}

/// That a cgroup may not be made, for a limit or at all; and our own sentence.
fn cgroup_error(error: &Error) -> Option<String> {
    use nix::errno::Errno::{EACCES, EPERM, EROFS};
    let denied = error.errno().filter(|errno| [EACCES, EPERM, EROFS].contains(errno))?;
    error.doing.strip_prefix("make the cgroup ")?;
    let limit =
        error.why.as_deref().and_then(|why| why.strip_prefix("resources.")?.strip_suffix(" needs it"));
    Some(match limit.and_then(|path| path.split('.').next()) {
        Some(limit) => {
            format!("cannot set {limit} limit: container could not join or create cgroup: {error}")
        }
        None => {
            let desc = denied.desc().to_lowercase();
            format!("unable to apply cgroup configuration: {error}: {desc}")
        }
    })
}

/// As Go says that a command cannot be run.
fn execve_error(error: &Error) -> Option<String> {
    let program = error.call.as_deref()?.strip_prefix("execve(")?.strip_suffix(')')?;
    if error.why.as_deref().is_some_and(|why| why.contains("not in PATH=")) {
        return Some(format!("exec: {program:?}: executable file not found in $PATH"));
    }
    let errno = nix::errno::Errno::from_raw(error.errno?);
    Some(format!("exec {program}: {}", errno.desc().to_lowercase()))
}

/// What program this says to be. The version is our own under this name too, and a last line says whose it is.
pub(crate) fn version(text: &str) -> String {
    match text.strip_prefix("runner ") {
        Some(rest) if as_runc() => format!("{NAME} {rest}runner: {}\n", chain::plan::BUILD),
        _ => text.into(),
    }
}

/// Help for what these words name: a command, or all of them.
pub(crate) fn help(words: &[OsString]) -> String {
    let all =
        Args::command().name(NAME).bin_name(NAME).about("Open Container Initiative runtime").after_help("");
    let mut all = all.help_template(layout(NAME)).mut_subcommands(|command| {
        let template = layout(&format!("{NAME} {}", command.get_name()));
        command.help_template(template)
    });
    all.build();
    let named =
        words.iter().filter_map(|word| word.to_str()).find(|word| all.find_subcommand(word).is_some());
    let text = match named.and_then(|name| all.find_subcommand_mut(name)) {
        Some(command) => command.render_help().to_string(),
        None => all.render_help().to_string(),
    };
    // Where a command says itself how it is used.
    text.replace("runner exec", "runc exec")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn what_scripts_look_for_is_in_runcs_words_with_our_sentence() {
        let denied = || Error::call("make the cgroup /a", "mkdir(/a)", Errno::EACCES);
        let in_use = |limit| {
            let said = "to 8 bytes: 9 bytes are in use, and resources.memory.checkBeforeUpdate is set";
            Error::usage("update c", format_args!("cg-apply cannot limit {limit} {said}"))
        };
        for (found, words) in [
            (denied(), "unable to apply cgroup configuration: cannot make the cgroup /a"),
            (
                denied().why("resources.pids.limit needs it"),
                "cannot set pids limit: container could not join",
            ),
            (in_use("memory"), "rejecting memory limit: cannot update c"),
            (in_use("memory+swap"), "rejecting memory+swap limit: cannot update c"),
            (Error::call("run x", "execve(/x)", Errno::ENOENT), "exec /x: no such file or directory"),
        ] {
            let text = error(&found).unwrap();
            assert!(text.starts_with(words), "{text}");
        }
        assert_eq!(error(&Error::call("make the cgroup /a", "mkdir(/a)", Errno::ENOSPC)), None);
    }
}
