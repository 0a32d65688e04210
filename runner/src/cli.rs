//! The command line: runc's, for the commands that are here.

use crate::globals::Globals;
use crate::narrow::Chosen;
use crate::{checkpoint, events, ps, restore, update};
use chain::plan::BUILD;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// An OCI runtime made of small tools
#[derive(Parser, Debug)]
#[command(
    name = "runner",
    disable_version_flag = true,
    args_override_self = true,
    after_help = "Example:\n  runner spec --bundle b && runner run --bundle b first\n  runner --print run --bundle b first > plan.json && runner --plan plan.json -- sh\n\nExit status: 1 for a failure of our own, else the container's."
)]
pub(crate) struct Args {
    /// Folder of the containers' state [default: /run/catena, or $XDG_RUNTIME_DIR/catena without root]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) root: Option<PathBuf>,
    /// Append log lines to this file
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) log: Option<PathBuf>,
    /// Format of log lines
    #[arg(long, value_name = "FORMAT", default_value = "text", global = true)]
    pub(crate) log_format: LogFormat,
    /// Log more
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(flatten)]
    pub(crate) common: chain::cli::Common,
    #[command(subcommand)]
    pub(crate) verb: Option<Chosen>,
    /// With --plan: what the plan's chain ends in
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// A command.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Write a config.json to start from
    Spec(Spec),
    /// Create a container; its command waits for start
    Create(Create),
    /// Create a container and start it
    Run(Run),
    /// Start the command of a created container
    Start {
        /// The container
        id: String,
    },
    /// Run one more command in a container
    Exec(Box<crate::exec::Exec>),
    /// Print a container's state as JSON
    State {
        /// The container
        id: String,
    },
    /// List containers
    List(List),
    /// List a container's processes
    Ps(ps::Ps),
    /// Send a signal to a container's first process
    Kill(Kill),
    /// Remove a container that has stopped
    Delete(Delete),
    /// Freeze all processes of a container
    Pause {
        /// The container
        id: String,
    },
    /// Let a paused container go on
    Resume {
        /// The container
        id: String,
    },
    /// Change a container's limits
    Update(Box<update::Update>),
    /// Print what a container uses, and when its memory is out
    Events(events::Events),
    /// Write a container's processes to files
    Checkpoint(Box<checkpoint::Checkpoint>),
    /// Make a container from such files
    Restore(Box<restore::Restore>),
    /// Print what this build can do, as JSON
    Features,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// `time="…" level=error msg="…"`
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// Options of spec.
#[derive(Group, Debug)]
pub(crate) struct Spec {
    /// Folder to write config.json to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// File to write, instead of config.json
    #[arg(short, long, value_name = "FILE", default_value = "config.json")]
    pub(crate) file: PathBuf,
    /// For a container that an ordinary user starts
    #[arg(long)]
    pub(crate) rootless: bool,
}

/// Options of create, and of run.
#[derive(Group, Debug)]
pub(crate) struct Create {
    /// The new container's id
    pub(crate) id: String,
    /// Folder of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// The configuration, instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the first process
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// File to write the first process's pid to
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Move the root over / instead of pivot_root, for a host whose root is an initramfs
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Give fds 3 to 3+N-1 to the command
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
}

/// Options of run.
#[derive(Group, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) create: Create,
    /// Do not wait for the command
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// When it has ended, write times, peaks, oom kills and the exit to this file, as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    pub(crate) report: Option<PathBuf>,
    /// Do not delete the container when it ends
    #[arg(long)]
    pub(crate) keep: bool,
    /// Do not adopt processes that the container leaves behind
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}

/// Options of list.
#[derive(Group, Debug)]
pub(crate) struct List {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: ListFormat,
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How a list looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// Columns
    Table,
    /// An array of states
    Json,
}

/// Options of kill.
#[derive(Group, Debug)]
pub(crate) struct Kill {
    /// Send it to all processes of the container
    #[arg(short, long)]
    pub(crate) all: bool,
    /// To all containers whose id matches
    #[arg(short, long)]
    pub(crate) regex: bool,
    /// The container, or a POSIX extended regular expression
    pub(crate) id: String,
    /// The signal, by name or number
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: String,
}

/// Options of delete.
#[derive(Group, Debug)]
pub(crate) struct Delete {
    /// Kill it first if it runs; say nothing if it is not there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// All containers whose id matches
    #[arg(short, long)]
    pub(crate) regex: bool,
    /// The container, or a POSIX extended regular expression
    pub(crate) id: String,
}

/// Version of the specification.
pub(crate) const SPEC: &str = "1.3.0";

/// runc's lines, which engines read: the name and the version, which Docker takes from the last line with the word
/// `version` in it, `commit:`, and `spec:`.
pub(crate) fn version(json: bool) -> String {
    if json {
        return chain::cli::version("runner", true, &FEATURES);
    }
    let (version, commit) = BUILD.split_once('+').unwrap_or((BUILD, "unknown"));
    format!("runner version {version}\ncommit: {commit}\nspec: {SPEC}\n")
}

const FEATURES: [&str; 18] = [
    "spec",
    "create",
    "run",
    "start",
    "exec",
    "state",
    "kill",
    "delete",
    "list",
    "ps",
    "pause",
    "resume",
    "update",
    "events",
    "checkpoint",
    "restore",
    "features",
    "regex",
];
