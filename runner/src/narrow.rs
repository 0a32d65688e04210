//! The command line, read as quickly as it can be. To tell clap of every option of every command takes longer than most
//! commands do, so it is first told of the one command that the words seem to name. Where that does not fit, and for
//! help, it is told of all.

use crate::cli::{Args, Create, Delete, Kill, Run, Verb};
use crate::exec::Exec;
use clap::{Arg, ArgMatches, Args as _, Command, FromArgMatches, Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What engines and scripts call most.
const OFTEN: [&str; 7] = ["create", "run", "start", "exec", "state", "kill", "delete"];

/// Whether clap is to be told of one command only.
static NARROW: AtomicBool = AtomicBool::new(false);

/// Reads the command line of this process.
pub(crate) fn parse() -> Result<Args, clap::Error> {
    NARROW.store(true, Relaxed);
    let tried = Args::try_parse();
    NARROW.store(false, Relaxed);
    tried.or_else(|_| Args::try_parse())
}

/// A command, of all or of one.
#[derive(Debug)]
pub(crate) struct Chosen(pub(crate) Verb);

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Chosen, clap::Error> {
        Verb::from_arg_matches(matches).map(Chosen)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Subcommand for Chosen {
    fn augment_subcommands(command: Command) -> Command {
        let words: Vec<OsString> = std::env::args_os().skip(1).collect();
        match named(&words).filter(|_| NARROW.load(Relaxed)) {
            Some(name) => command.subcommand(alone(name)),
            None => Verb::augment_subcommands(command),
        }
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Verb::augment_subcommands_for_update(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Verb::has_subcommand(name)
    }
}

/// The first word that is the name of a command. It may be the value of an option, and then does not fit.
fn named(words: &[OsString]) -> Option<&'static str> {
    let help = |word: &OsString| [OsStr::new("-h"), OsStr::new("--help")].contains(&word.as_os_str());
    if words.iter().any(help) {
        return None;
    }
    words.iter().find_map(|word| OFTEN.into_iter().find(|name| word == name))
}

/// One of [`OFTEN`], with its options.
fn alone(name: &'static str) -> Command {
    let command = Command::new(name);
    match name {
        "create" => Create::augment_args(command),
        "run" => Run::augment_args(command),
        "exec" => Exec::augment_args(command),
        "kill" => Kill::augment_args(command),
        "delete" => Delete::augment_args(command),
        _ => command.arg(Arg::new("id").required(true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn one_command_is_what_it_is_among_all() {
        let all = Args::command();
        for name in OFTEN {
            let among = all.find_subcommand(name).unwrap();
            let told = |command: &Command| {
                let args = command.get_arguments();
                args.map(|a| {
                    let names = (a.get_id(), a.get_short(), a.get_long());
                    format!("{names:?} {:?} {}", a.get_num_args(), a.is_required_set())
                })
                .collect::<Vec<_>>()
            };
            assert_eq!(told(&alone(name)), told(among), "{name}");
            assert_eq!(alone(name).is_trailing_var_arg_set(), among.is_trailing_var_arg_set(), "{name}");
        }
    }

    #[test]
    fn help_and_what_is_rare_want_all() {
        let of = |line: &str| named(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of("--root run state x"), Some("run"));
        assert_eq!(of("--root /r start x"), Some("start"));
        for line in ["run --help", "-h run x", "list", "events x", "--version"] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
