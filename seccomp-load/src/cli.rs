//! The command line.

use chain::cli::{Common, Flags};
use std::path::PathBuf;

/// Loads a system call filter last of all, then executes the next program.
#[derive(clap::Parser, Clone, Debug, Default)]
#[command(
    name = "seccomp-load",
    disable_version_flag = true, after_help = AFTER,
    override_usage = "seccomp-load [OPTIONS] [PROFILE] -- PROGRAM [ARGS…]"
)]
pub(crate) struct Args {
    /// `@default`, `@system-service`, or a file (or fd:N) with a profile: rules in lines (docs/seccomp.md), Docker's or
    /// podman's JSON, the object `linux.seccomp` of OCI, a policy of minijail's or Kafel's, or a program (struct sock_filter[])
    #[arg(value_name = "PROFILE")]
    pub(crate) profile: Option<PathBuf>,
    /// A rule for each call (or `@set` of calls), on top of the profile: `mount:EPERM,ptrace:kill`. An action is an errno by name or number,
    /// allow, log, notify, trap, trace, kill (the process) or kill-thread
    #[arg(short = 's', long = "syscall", value_name = "CALL:ACTION", value_delimiter = ',')]
    pub(crate) rules: Vec<String>,
    /// Refuse these calls with EPERM
    #[arg(long, value_name = "CALLS", value_delimiter = ',')]
    pub(crate) deny: Vec<String>,
    /// Let these calls through
    #[arg(long, value_name = "CALLS", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// What becomes of calls that no rule names, instead of what the profile says; without a profile they are allowed
    #[arg(long, value_name = "ACTION")]
    pub(crate) default: Option<String>,
    /// Ask the agent that listens on this socket about calls whose action is notify
    #[arg(long, value_name = "SOCKET")]
    pub(crate) notify: Option<PathBuf>,
    /// Refuse nothing: watch the command and its children, and write the calls they make into this file, as a profile; one
    /// that an earlier run wrote there is added to
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "rules", "deny", "allow", "default", "notify", "log", "oci", "explain"])]
    pub(crate) learn: Option<PathBuf>,
    /// Tell each call that the filter stops, with its arguments and what would let it through, on standard error
    #[arg(long)]
    pub(crate) explain: bool,
    /// Keep the finished filter in this folder, and take it from there the next time; the folder is made if it is not there,
    /// and one that others can write to is refused
    #[arg(long, value_name = "DIR", conflicts_with = "learn", help_heading = "More")]
    pub(crate) cache: Option<PathBuf>,
    /// Log to the audit log whatever is not allowed
    #[arg(long, help_heading = "More")]
    pub(crate) log: bool,
    /// Do not set no_new_privs; wants CAP_SYS_ADMIN
    #[arg(long, alias = "allow-new-privileges", help_heading = "More")]
    pub(crate) allow_new_privs: bool,
    /// May be done less of: syscalls (leave out those that this build does not know)
    #[arg(long = "try", value_name = "WHAT", value_delimiter = ',', help_heading = "More")]
    pub(crate) attempt: Vec<String>,
    /// With --print: the program for the kernel, struct sock_filter by struct sock_filter
    #[arg(long, requires = "print", conflicts_with = "json", help_heading = "More")]
    pub(crate) raw: bool,
    /// With --print: what becomes of this call, found out without the kernel; status 1 if it does not go through
    #[arg(long, value_name = "NAME(ARG,…)", requires = "print", conflicts_with_all = ["raw", "dump", "diff", "lint"])]
    pub(crate) test: Vec<String>,
    /// With --print: the filter written down, as far as it holds here: the object `linux.seccomp` of OCI (json), rules in
    /// lines (text), the program (bpf), or libseccomp's pseudo code (pfc)
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "json")]
    #[arg(requires = "print", conflicts_with_all = ["raw", "diff", "lint"])]
    pub(crate) dump: Option<String>,
    /// With --print: the calls of a set, or all sets
    #[arg(long, value_name = "@SET", num_args = 0..=1, requires = "print", conflicts_with_all = ["raw", "diff", "lint", "dump"])]
    pub(crate) list: Option<Option<String>>,
    /// The language of PROFILE, where it is not told from its content: json, text, bpf, minijail, kafel
    #[arg(long, value_name = "FORMAT", requires = "profile", help_heading = "More")]
    pub(crate) format: Option<String>,
    /// With --print: the calls that this other profile decides otherwise; status 1 if there are any
    #[arg(long, value_name = "PROFILE", requires = "print", conflicts_with_all = ["raw", "lint"])]
    pub(crate) diff: Option<PathBuf>,
    /// With --print: only the calls that are refused while others that do the same go through; status 1 if there are any
    #[arg(long, requires = "print", conflicts_with = "raw")]
    pub(crate) lint: bool,

    #[command(flatten)]
    pub(crate) common: Common,
}

const AFTER: &str = "\
A profile's calls newer than all that it names are answered with ENOSYS, so that programs fall back to what they did
before. Rules without a profile hold for every kind of program this kernel runs; under a profile, kinds of programs that
it does not name (32-bit ones, x32) are killed. Rules of @default that depend on a capability look at what the command
can come to hold.
Sets of calls are those of systemd 252 with what the kernel got since: --print --list @mount says what is in one.

Examples:
  seccomp-load @default -- sh
  seccomp-load profile.json -s mount:EPERM -- make
  seccomp-load rules -- make    with lines as: default EPERM / deny socket if family == AF_ALG / allow @system-service
  seccomp-load -s openat2:ENOSYS,clone3:ENOSYS -- make check
  seccomp-load --deny @mount,@module,@keyring -- ./game
  seccomp-load --default kill --allow read,write,exit_group,execve -- ./pure
  seccomp-load --learn make.json -- make      and then: seccomp-load make.json --explain -- make
  seccomp-load -s mount:notify --notify /run/agent.sock -- make install
  seccomp-load @default --print --test 'clone(CLONE_NEWUSER)' --test 'openat(AT_FDCWD)'
  seccomp-load @default --print --diff profile.json
  seccomp-load docker.json --print --dump=text >rules
  seccomp-load profile.json --print --raw >filter.bpf    bwrap --seccomp 9 9<filter.bpf …";

impl Flags for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// So that the examples of the help are lines that parse.
#[cfg(test)]
pub(crate) fn parse(line: &str) -> chain::Result<Args> {
    let words: Vec<std::ffi::OsString> = line.split_whitespace().map(Into::into).collect();
    match chain::cli::parse::<Args>("seccomp-load", &words)? {
        chain::cli::Parsed::Flags(args) => Ok(args),
        chain::cli::Parsed::Help(text) => panic!("{text}"),
    }
}
