//! The flags that every tool has, and clap's errors as one line of ours.

use crate::error::{Class, Error, Result};
use clap::error::{ContextKind, ErrorKind};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Flags of every tool.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Chain")]
pub struct Common {
    /// Start a new plan; standard input belongs to the command
    #[arg(short = 'N', long)]
    pub new: bool,
    /// Read the plan from here: a file, fd:N, or - for standard input
    #[arg(long, value_name = "FILE|fd:N|-", conflicts_with = "new")]
    pub plan: Option<OsString>,
    /// Take this tool's share of an OCI config.json; flags come on top
    #[arg(long, value_name = "CONFIG")]
    pub oci: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub print: bool,
    /// Prove whether this host can do it, and do nothing else
    #[arg(long)]
    pub check: bool,
    /// Show what is in force for a process, as a layer
    #[arg(long, value_name = "PID")]
    pub show: Option<i32>,
    /// JSON instead of lines for people
    #[arg(long)]
    pub json: bool,
    /// Write receipts, errors and the exec as JSON lines to this fd
    #[arg(long, value_name = "FD")]
    pub status_fd: Option<RawFd>,
    /// Standard input of the command
    #[arg(long, value_name = "PATH|fd:N")]
    pub stdin: Option<OsString>,
    /// An fd the command is to have besides 0, 1 and 2 (repeatable)
    #[arg(long, value_name = "FD")]
    pub keep_fd: Vec<RawFd>,
    /// When all is set up, wait for a byte on this fd before the command runs; its end without one is a refusal
    #[arg(long, value_name = "FD")]
    pub block_fd: Option<RawFd>,
    /// Print version and build
    #[arg(long)]
    pub version: bool,
}

/// A tool's flags.
pub trait Flags: clap::Parser {
    /// The common ones.
    fn common(&self) -> &Common;
}

/// What parsing led to.
pub enum Parsed<A> {
    /// Flags.
    Flags(A),
    /// Help was asked for; here it is.
    Help(String),
}

/// `--status-fd` in a tool's own words, read before the rest: a command line that is wrong elsewhere is told there too.
pub fn status_fd(words: &[OsString]) -> Option<RawFd> {
    let inline = words.iter().find_map(|w| w.to_str()?.strip_prefix("--status-fd="));
    let named = || words.windows(2).find(|pair| pair[0] == "--status-fd").and_then(|pair| pair[1].to_str());
    inline.or_else(named)?.parse().ok()
}

/// Parses a tool's own words (without those behind `--`).
pub fn parse<A: clap::Parser>(tool: &str, words: &[OsString]) -> Result<Parsed<A>> {
    let argv = std::iter::once(OsString::from(tool)).chain(words.iter().cloned());
    match A::try_parse_from(argv) {
        Ok(flags) => Ok(Parsed::Flags(flags)),
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Parsed::Help(e.to_string()))
        }
        Err(e) => Err(usage(tool, &e)),
    }
}

/// One sentence out of clap's several lines.
pub fn usage(tool: &str, e: &clap::Error) -> Error {
    let given = |kind| e.get(kind).map(|value| value.to_string());
    let context = |kind| given(kind).filter(|v| !v.is_empty());
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    // An empty one has a reason too, where a parser of ours refused it.
    let value = match std::error::Error::source(e) {
        Some(_) => given(ContextKind::InvalidValue),
        None => context(ContextKind::InvalidValue),
    };
    let detail = match e.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => format!("unknown option {argument}"),
        ErrorKind::UnknownArgument => format!("{argument} is neither an option nor behind --"),
        ErrorKind::InvalidSubcommand => {
            format!("unknown command {}", context(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg).unwrap_or_default();
            format!("{argument} and {other} exclude each other")
        }
        _ => match (value, std::error::Error::source(e)) {
            (Some(value), Some(source)) => format!("{argument}: '{}': {source}", value.escape_debug()),
            (Some(value), None) => format!("{argument}: '{}' is not possible", value.escape_debug()),
            (None, _) if argument.is_empty() => e.kind().to_string(),
            // In runc's words, by which podman finds out that a runtime has an option.
            (None, None) if e.kind() == ErrorKind::InvalidValue => {
                format!("flag needs an argument: {argument}")
            }
            (None, _) => format!("{argument}: {}", e.kind()),
        },
    };
    let cure = context(ContextKind::SuggestedArg)
        .or_else(|| context(ContextKind::SuggestedSubcommand))
        .or_else(|| context(ContextKind::SuggestedValue));
    let error = Error::new(Class::Usage, "read the command line", detail.replace('\n', " "));
    match cure {
        Some(word) => error.cure(format_args!("{word}?")),
        None if e.kind() == ErrorKind::UnknownArgument && !argument.starts_with('-') => {
            error.cure(format_args!("{tool} … -- {argument}"))
        }
        None => error.cure(format_args!("{tool} --help")),
    }
}

/// `--version`, with `--json` the features too.
pub fn version(tool: &str, json: bool, features: &[&str]) -> String {
    let build = crate::plan::BUILD;
    if json {
        let version = env!("CARGO_PKG_VERSION");
        let document =
            serde_json::json!({"tool": tool, "version": version, "build": build, "features": features});
        return format!("{document}\n");
    }
    format!("{tool} {build}\n")
}
