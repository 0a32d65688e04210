//! The options of exec.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options of exec.
#[derive(Args, Debug)]
#[command(
    override_usage = "runner exec [OPTIONS] ID COMMAND [ARG]...\n       runner exec [OPTIONS] --process FILE ID"
)]
pub(crate) struct Exec {
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the command
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Working directory, in the container
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<OsString>,
    /// Set a variable (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    pub(crate) env: Vec<OsString>,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User, and group if it is another than the container's, by number
    #[arg(short, long, value_name = "UID[:GID]", allow_hyphen_values = true)]
    pub(crate) user: Option<String>,
    /// One more group, by number (repeatable)
    #[arg(short = 'g', long = "additional-gids", value_name = "GID", allow_hyphen_values = true)]
    pub(crate) additional_gids: Vec<String>,
    /// The whole process, as in config.json, instead of a command
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Do not wait for the command
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// File to write the command's pid to
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// SELinux label of the command
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    /// AppArmor profile of the command
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,
    /// Set no_new_privs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) no_new_privs: Option<bool>,
    /// A capability more: bounding, permitted and effective (repeatable)
    #[arg(short, long, value_name = "CAPABILITY")]
    pub(crate) cap: Vec<String>,
    /// Give fds 3 to 3+N-1 to the command
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// A cgroup below the container's; on v1 by controllers (repeatable)
    #[arg(long, value_name = "[CONTROLLER,...:]PATH")]
    pub(crate) cgroup: Vec<String>,
    /// In a paused container too: the command goes on when the container does
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// The container, and what to run in it
    #[arg(value_name = "ID COMMAND", required = true, trailing_var_arg = true)]
    pub(crate) words: Vec<OsString>,
}

impl Exec {
    /// The container.
    pub(crate) fn id(&self) -> String {
        self.words.first().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The command. A `--` behind the id is a habit, and no command is called so.
    pub(crate) fn command(&self) -> &[OsString] {
        let words = self.words.get(1..).unwrap_or_default();
        words.strip_prefix(&[OsString::from("--")]).unwrap_or(words)
    }
}
