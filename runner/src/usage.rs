//! A command line that could not be read.

use crate::cli::{Args, LogFormat};
use crate::globals::Level;
use crate::{called, log};
use chain::near::nearest;
use chain::{Error, report};
use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, ValueEnum};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// What runc ends with where it has no such command.
const NO_SUCH_COMMAND: u8 = 3;

/// Help goes to stdout, the rest is one line, on stderr and in the log.
pub(crate) fn answer(error: &clap::Error) -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = if called::as_runc() { called::help(&words) } else { error.to_string() };
        return match report::stdout(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(log::FAILED),
        };
    }
    let format = option(&words, "--log-format").and_then(OsStr::to_str);
    let format = format.and_then(|word| LogFormat::from_str(word, false).ok()).unwrap_or(LogFormat::Text);
    log::open_as(option(&words, "--log").map(Path::new), format, Level::Warning);
    if let Some(word) = surplus(error) {
        if !words.iter().take_while(|w| **w != *word).any(|w| is_command(w)) {
            log::fail(&no_such_command(&word));
            return ExitCode::from(NO_SUCH_COMMAND);
        }
        let detail = format!("{} is one operand too many", word.escape_debug());
        return log::fail(&Error::usage("read the command line", detail).cure("runner --help"));
    }
    log::fail(&match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Error::usage("read the command line", "no command").cure("runner --help")
        }
        _ => chain::cli::usage("runner", error),
    })
}

/// The value of an option in words that clap refused.
fn option<'a>(words: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    let inline = |word: &'a OsString| {
        let bytes = word.as_encoded_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
    };
    let named = || words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_os_str());
    words.iter().find_map(inline).or_else(named)
}

/// A word that has no place on the command line. In front of any command it was meant for one, which clap would know only
/// where no command line may follow `--`.
fn surplus(error: &clap::Error) -> Option<String> {
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return None,
    };
    error.get(kind).map(ToString::to_string).filter(|word| !word.starts_with('-'))
}

fn is_command(word: &OsStr) -> bool {
    Args::command().get_subcommands().any(|command| command.get_name() == word)
}

fn no_such_command(word: &str) -> Error {
    let commands = Args::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    let word_shown = word.escape_debug();
    let detail = match called::as_runc() {
        true => format!("No help topic for '{word_shown}'"),
        false => format!("unknown command {word_shown}"),
    };
    let error = Error::usage("read the command line", detail);
    match nearest(word, names) {
        Some(near) => error.cure(format_args!("{near}?")),
        None => error.cure("runner --help"),
    }
}
