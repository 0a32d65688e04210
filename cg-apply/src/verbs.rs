//! Words in place of a program: what is done to groups that are there, or told of them.

use crate::top;
use chain::bytes::Bytes;
use chain::cgroup::stream::{Asked, End, follow, stats};
use chain::cgroup::{Group, Hierarchies, Stats};
use chain::cli::{self, Parsed};
use chain::{Class, Error, Result};
use std::ffi::OsString;
use std::time::Duration;

/// Look at groups, and stop what is in them
#[derive(clap::Parser, Debug)]
#[command(name = "cg-apply", disable_version_flag = true, disable_help_subcommand = true)]
struct Verbs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// What groups use, one JSON line each
    Stats(Groups),
    /// What a group uses, at intervals, and what the kernel tells of it, at once, as JSON lines; until it is empty
    Events {
        /// The group: absolute from the root of each hierarchy, or relative to the caller's own
        group: OsString,
        #[command(flatten)]
        asked: Asked,
    },
    /// A table of what groups use, those that use most first
    Top(Top),
    /// Stop all that is in a group, without its help
    Freeze {
        /// The group
        group: OsString,
    },
    /// Let it go on
    Thaw {
        /// The group
        group: OsString,
    },
    /// Kill all that is in a group, and in those below it
    Kill {
        /// The group
        group: OsString,
    },
}

/// Which groups.
#[derive(clap::Args, Debug)]
pub(crate) struct Groups {
    /// The groups
    #[arg(required = true)]
    groups: Vec<OsString>,
    /// Those below them too
    #[arg(short, long)]
    recursive: bool,
}

/// Options of top.
#[derive(clap::Args, Debug)]
pub(crate) struct Top {
    /// The groups, each with those below it (default: all)
    pub(crate) groups: Vec<OsString>,
    /// Time between two tables, as 2s, 500ms
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = chain::cgroup::duration)]
    pub(crate) delay: Duration,
    /// So many tables, and no more
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) iterations: Option<u64>,
}

const WORDS: [&str; 6] = ["stats", "events", "top", "freeze", "thaw", "kill"];

/// Carries the word out, if the command line begins with one of them.
pub(crate) fn run() -> Result<Option<u8>> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    if !argv.first().is_some_and(|first| WORDS.iter().any(|word| first == word)) {
        return Ok(None);
    }
    let verb = match cli::parse::<Verbs>("cg-apply", &argv)? {
        Parsed::Flags(Verbs { verb }) => verb,
        Parsed::Help(text) => return chain::report::stdout(text.as_bytes()).map(|()| Some(0)),
    };
    match verb {
        Verb::Stats(options) => tell_stats(&options)?,
        Verb::Events { group, asked } => events(group, &asked)?,
        Verb::Top(options) => top::run(&options)?,
        Verb::Freeze { group } => named(&Hierarchies::detect()?, &group.into())?.freeze_and_wait(true)?,
        Verb::Thaw { group } => named(&Hierarchies::detect()?, &group.into())?.freeze_and_wait(false)?,
        Verb::Kill { group } => kill(&group.into())?,
    }
    Ok(Some(0))
}

/// The group, which has to be there.
pub(crate) fn named(hierarchies: &Hierarchies, path: &Bytes) -> Result<Group> {
    let group = hierarchies.group(Some(path), "")?;
    match group.exists()? {
        true => Ok(group),
        false => {
            Err(Error::new(Class::Missing, format_args!("use the cgroup {path}"), "there is no such group"))
        }
    }
}

fn tell_stats(options: &Groups) -> Result<()> {
    let (hierarchies, reader) = (Hierarchies::detect()?, Stats::new());
    for path in &options.groups {
        let path = Bytes::from(path.clone());
        let group = named(&hierarchies, &path)?;
        stats(&path.to_string(), &group, &reader)?;
        if options.recursive {
            for (name, below) in group.below()? {
                stats(&format!("{path}/{name}"), &below, &reader)?;
            }
        }
    }
    Ok(())
}

fn events(path: OsString, asked: &Asked) -> Result<()> {
    let path = Bytes::from(path);
    let group = named(&Hierarchies::detect()?, &path)?;
    if !asked.stats && group.procs()?.is_empty() {
        let doing = format_args!("follow the cgroup {path}");
        return Err(Error::new(Class::Missing, doing, "nothing is in it"));
    }
    follow(&path.to_string(), &group, &Stats::new(), asked, &End::Group)
}

fn kill(path: &Bytes) -> Result<()> {
    let group = named(&Hierarchies::detect()?, path)?;
    if group.procs()?.contains(&(std::process::id() as i32)) {
        let doing = format_args!("kill what is in the cgroup {path}");
        return Err(Error::new(Class::Conflict, doing, "this process itself is in it"));
    }
    group.kill()
}
