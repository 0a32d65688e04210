//! Options that stand before any command and hold for all of them, besides those of the state and the log.

use crate::cli::Args;
use clap::{Args as Group, ValueEnum};
use std::path::PathBuf;

/// See the module.
#[derive(Group, Debug)]
pub(crate) struct Globals {
    /// What the log tells [default: warning; with --debug, debug]
    #[arg(long, value_name = "LEVEL", global = true)]
    pub(crate) log_level: Option<Level>,
    /// Who makes the cgroups; disabled: nobody
    #[arg(long, value_name = "MANAGER", global = true)]
    pub(crate) cgroup_manager: Option<Manager>,
    /// Let systemd make the cgroups, with linux.cgroupsPath as slice:prefix:name
    #[arg(long, global = true, conflicts_with = "cgroup_manager")]
    pub(crate) systemd_cgroup: bool,
    /// Go without a cgroup that the kernel refuses, if nothing in config.json needs one: true, false or auto
    #[arg(id = "when-rootless", long = "rootless", value_name = "WHEN", default_value = "auto", value_parser = when)]
    pub(crate) rootless: When,
    /// Where criu is; runc had this option up to 1.3 [default: criu, from PATH]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) criu: Option<PathBuf>,
    /// Print version and build
    #[arg(short = 'v', short_alias = 'V', hide = true)]
    pub(crate) v: bool,
}

/// What a log line is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// The reason why it failed.
    Error,
    /// What was done otherwise than one may think.
    Warning,
    /// Every step.
    Debug,
}

impl Level {
    /// The word of logrus.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Debug => "debug",
        }
    }
}

/// Who makes the cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Manager {
    /// We, in the file system.
    Cgroupfs,
    /// systemd, asked over D-Bus.
    Systemd,
    /// There is none.
    Disabled,
}

/// Three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Yes.
    True,
    /// No.
    False,
    /// Without root.
    Auto,
}

/// Go's words for a truth value, and `auto`.
fn when(word: &str) -> std::result::Result<When, String> {
    match word {
        "auto" => Ok(When::Auto),
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(When::True),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(When::False),
        _ => Err("not true, false or auto".into()),
    }
}

impl Args {
    /// The level up to which lines are logged.
    pub(crate) fn level(&self) -> Level {
        let usual = if self.debug { Level::Debug } else { Level::Warning };
        self.globals.log_level.unwrap_or(usual)
    }

    /// Who makes the container's cgroup.
    pub(crate) fn manager(&self) -> Manager {
        match self.globals.systemd_cgroup {
            true => Manager::Systemd,
            false => self.globals.cgroup_manager.unwrap_or(Manager::Cgroupfs),
        }
    }

    /// Whether to go without a cgroup that is refused: asked for, or an ordinary user, or root of a user namespace.
    pub(crate) fn is_rootless(&self) -> bool {
        match self.globals.rootless {
            When::True => true,
            When::False => false,
            When::Auto => !rustix::process::geteuid().is_root() || chain::proc::in_user_namespace(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_as_go_reads_it() {
        for (word, meant) in
            [("auto", When::Auto), ("true", When::True), ("0", When::False), ("T", When::True)]
        {
            assert_eq!(when(word), Ok(meant), "{word}");
        }
        for bad in ["", "yes", "tRUE", "Auto", "2"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}
