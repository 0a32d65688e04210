//! The command line. Flags that build the tree keep their order, for a later one may stand on an earlier one.

use chain::cli::{Common, Flags};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use std::ffi::OsString;
use std::path::PathBuf;

/// Builds and enters a root file system, then executes the next program.
#[derive(clap::Parser, Clone, Debug, Default)]
#[command(name = "rootfs-prep", disable_version_flag = true, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Args {
    /// Make this folder `/` (pivot_root), with the mounts a container is expected to have; see below
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Start with a root for many purposes, which the flags add to: minimal, host-ro or build; see below
    #[arg(long, value_name = "NAME", conflicts_with_all = ["root", "oci"])]
    pub(crate) preset: Option<String>,
    /// Mount nothing of oneself with --root: no /proc, /dev, /sys, no masks
    #[arg(long)]
    pub(crate) no_defaults: bool,

    #[command(flatten)]
    pub(crate) ops: Ops,

    /// Mask and write-protect what OCI engines do in /proc and /sys
    #[arg(long, help_heading = "Hide")]
    pub(crate) mask_default: bool,

    /// Working directory of the command; made if it is missing
    #[arg(long, value_name = "DIR", help_heading = "More")]
    pub(crate) chdir: Option<OsString>,
    /// Propagation of the root mount: private, slave, shared, unbindable, or with an r in front for all mounts
    #[arg(long, value_name = "KIND", help_heading = "More")]
    pub(crate) propagation: Option<String>,
    /// chroot instead of pivot_root, for an initramfs, whose root cannot be pivoted
    #[arg(long, help_heading = "More")]
    pub(crate) no_pivot: bool,
    /// Stay in the caller's mount namespace: the root is made aside, and is in no list of mounts
    #[arg(long, help_heading = "More")]
    pub(crate) no_mount_namespace: bool,

    #[command(flatten)]
    pub(crate) common: Common,
}

const AFTER: &str = "\
Sources are the caller's paths; destinations are paths in the new root, and are made if they are missing. Links in the
root are followed as a process inside would follow them. A mount that would hide an earlier flag's is refused.

With --root, unless --no-defaults: a fresh /proc, a tmpfs on /dev with the devices every program expects, /dev/pts,
/dev/shm, /dev/mqueue, /sys read-only, and the masks of --mask-default. A flag that mounts on one of these, or above,
replaces it. Where the pid (network) namespace is not new or the kernel does not let a fresh one be mounted, /proc (/sys,
read-only) is the caller's own; /dev/mqueue is left out where it is not permitted. --print shows all of it.
Without --root, a first --tmpfs / or --bind DIR / makes the root; else mounts are made in the present one.

A preset is flags that stand in front of the others, where a flag that mounts on the same place or above takes the
place of the preset's; --print shows them. All have the masks of --mask-default, /proc, /dev and an empty /tmp.
  minimal  an empty root, with the host's own links to /usr (/bin, /lib64…): what is in it the flags say
  host-ro  the host's whole tree, read-only and without devices; /run is empty
  build    /usr and what compilers look up in /etc, read-only; this folder, for writing, is the working directory

--file, --bind-data and --ro-bind-data read FD from its start, if it is no pipe, so one FD can be read many times.
--bind-fd binds the very file or folder that FD is, whatever stands at its path by now; the number stays the caller's.
--bind and --ro-bind take all that is mounted below along, without devices and set-user-ID; --dev-bind with devices.

Examples:
  ns-enter -mpniuC -- rootfs-prep --root ./rootfs -- sh
  ns-enter -mp -- rootfs-prep --tmpfs / --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib \\
      --symlink usr/lib64 /lib64 --proc /proc --dev /dev --bind . /src --chdir /src -- make
  ns-enter -m -- rootfs-prep --tmpfs /tmp:size=64M --read-only /etc -- sh";

/// One flag that builds the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    /// Which, without the dashes.
    pub(crate) flag: &'static str,
    /// Its values, one to three.
    pub(crate) values: Vec<OsString>,
}

/// All of them, in the order of the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ops(pub(crate) Vec<Op>);

/// Name, names of its values, what it does.
const OPS: [(&str, &[&str], &str); 31] = [
    ("bind", &["SRC", "DEST"], "Bind a file or folder of the host"),
    ("ro-bind", &["SRC", "DEST"], "Bind it read-only, with all below"),
    ("dev-bind", &["SRC", "DEST"], "Bind it, and let devices in it be opened"),
    ("bind-try", &["SRC", "DEST"], "As --bind; nothing if SRC is missing"),
    ("ro-bind-try", &["SRC", "DEST"], "As --ro-bind; nothing if SRC is missing"),
    ("dev-bind-try", &["SRC", "DEST"], "As --dev-bind; nothing if SRC is missing"),
    ("bind-fd", &["FD", "DEST"], "As --bind, of what the caller has open as FD"),
    ("ro-bind-fd", &["FD", "DEST"], "As --ro-bind, of what the caller has open as FD"),
    (
        "dev-bind-glob",
        &["PATTERN"],
        "Bind every device of the host that PATTERN matches (/dev/nvidia*), and folders of such, at its own path",
    ),
    ("dev-bind-glob-try", &["PATTERN"], "As --dev-bind-glob; nothing if none matches"),
    (
        "tmpfs",
        &["PATH[:OPTIONS]"],
        "Mount an empty tmpfs: size=64M,mode=1777,ro,noexec…; copyup copies what it hides",
    ),
    ("proc", &["PATH"], "Mount a procfs of the new pid namespace"),
    ("sys", &["PATH"], "Mount a sysfs, read-only"),
    ("dev", &["PATH"], "Mount a tmpfs with the default devices and links, pts and shm"),
    ("devpts", &["PATH"], "Mount a devpts of its own"),
    ("mqueue", &["PATH"], "Mount the message queues of the ipc namespace"),
    ("cgroup", &["PATH"], "Mount the cgroups, read-only"),
    ("mount", &["type=T,source=S,target=D,OPTION…"], "Mount anything, with any option of mount(8)"),
    ("overlay-src", &["SRC"], "A layer for the overlay that follows; each lies on top of those before it"),
    (
        "overlay",
        &["UPPER", "WORK", "DEST"],
        "Mount the layers as one; changes go to UPPER, WORK is beside it and empty",
    ),
    ("tmp-overlay", &["DEST"], "Mount the layers as one; changes are in memory, and gone at the end"),
    ("ro-overlay", &["DEST"], "Mount two layers or more as one, read-only"),
    ("perms", &["MODE"], "Of the --dir, --file or data that follows, in octal"),
    ("file", &["FD", "PATH"], "Make a file with what is behind FD"),
    ("bind-data", &["FD", "PATH"], "Mount a file in memory with what is behind FD"),
    ("ro-bind-data", &["FD", "PATH"], "Mount it read-only"),
    ("dir", &["PATH"], "Make a folder"),
    ("symlink", &["TARGET", "PATH"], "Make a symbolic link"),
    ("mknod", &["PATH:c|b:MAJOR:MINOR[:MODE]"], "Make a device (or PATH:p[:MODE], a FIFO)"),
    ("mask", &["PATH"], "Make it unreadable, if it is there"),
    ("read-only", &["PATH"], "Make it read-only, with all below; / is the root mount itself"),
];

impl clap::Args for Ops {
    fn augment_args(command: Command) -> Command {
        OPS.iter().fold(command, |command, (name, values, help)| {
            let hides = matches!(*name, "mask" | "read-only");
            command.arg(
                Arg::new(*name)
                    .long(*name)
                    .num_args(values.len())
                    .value_names(values.iter().copied())
                    .action(ArgAction::Append)
                    .value_parser(clap::value_parser!(OsString))
                    .help(*help)
                    .help_heading(if hides { "Hide" } else { "Build, in this order" }),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Ops {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Ops, clap::Error> {
        let mut found = Vec::new();
        for (flag, values, _) in &OPS {
            let (Some(indices), Some(words)) = (matches.indices_of(flag), matches.get_many::<OsString>(flag))
            else {
                continue;
            };
            let indices: Vec<usize> = indices.collect();
            let words: Vec<OsString> = words.cloned().collect();
            for (index, values) in indices.chunks(values.len()).zip(words.chunks(values.len())) {
                found.push((index[0], Op { flag, values: values.to_vec() }));
            }
        }
        found.sort_by_key(|(index, _)| *index);
        Ok(Ops(found.into_iter().map(|(_, op)| op).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Ops::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flags for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// For tests: a line as a shell would split it.
#[cfg(test)]
pub(crate) fn parse(line: &str) -> chain::Result<Args> {
    let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
    match chain::cli::parse::<Args>("rootfs-prep", &words)? {
        chain::cli::Parsed::Flags(args) => Ok(args),
        chain::cli::Parsed::Help(text) => panic!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_command_line_is_kept_across_flags() {
        let args = parse("--tmpfs /a --root /r --bind x /a/b --proc /proc --tmpfs /c:size=1M --ro-bind y /d")
            .unwrap();
        let order: Vec<(&str, usize)> = args.ops.0.iter().map(|op| (op.flag, op.values.len())).collect();
        assert_eq!(order, [("tmpfs", 1), ("bind", 2), ("proc", 1), ("tmpfs", 1), ("ro-bind", 2)]);
        assert_eq!(args.ops.0[3].values, ["/c:size=1M"]);
        assert_eq!(args.ops.0[4].values, ["y", "/d"]);
    }

    #[test]
    fn a_missing_value_or_an_unknown_flag_is_refused() {
        for bad in [
            "--bind x",
            "--proc",
            "--bogus",
            "--root",
            "stray",
            "--ro-bind-data 3",
            "--root /r --preset build",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
