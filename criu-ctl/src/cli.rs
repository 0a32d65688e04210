//! The command line.

use crate::NAME;
use crate::flags::More;
use crate::migrate;
use chain::cli::{self, Common, Parsed};
use chain::error::{Cannot, Error, Result};
use chain::{next, report, sys};
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLE: &str = "\
Examples:
  criu-ctl dump -t 4242 -D img                             take the tree of 4242 into the folder img
  cg-apply -m 1G -- criu-ctl restore -D img                bring it back, under a limit, and wait for it
  criu-ctl dump -t $(pidof top) -D img -j -R               a job of a terminal, which stays running
  criu-ctl migrate -t 4242 -D there --netns new -d         go on over there, and say how long it stood still
  criu-ctl check --for 4242 --tcp-established              what would be in the way of that dump?
  criu-ctl check --feature mem_dirty_track                 can this host do it?";

/// What to do.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Prove that this kernel and this criu can do it
    Check,
    /// Take a process tree into a folder
    Dump,
    /// Take its memory only, and leave it running
    PreDump,
    /// Bring it back
    Restore,
    /// Take a running tree to another place on this machine: its memory in rounds while it runs, then the rest
    Migrate,
    /// Tell what is in a folder of images
    Show,
    /// Take pages from a dump elsewhere, at --page-server ADDRESS:PORT
    PageServer,
    /// Hand memory out to a restore with --lazy-pages, from the folder or from --page-server
    LazyPages,
}

/// Checkpoint and restore a process tree with CRIU
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "criu-ctl", disable_version_flag = true, after_help = EXAMPLE)]
// Every tool's flags, but these are for a next program or a layer; given all the same, they are refused by name.
#[command(mut_arg("show", |a| a.hide(true)), mut_arg("stdin", |a| a.hide(true)), mut_arg("keep_fd", |a| a.hide(true)))]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum)]
    pub verb: Option<Verb>,
    /// show: the folder of the images
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// check: this feature of criu alone, by criu's name for it
    #[arg(long, value_name = "NAME")]
    pub feature: Option<OsString>,
    /// check: what would be in the way of a dump of this process and all below it; status 1 if anything is
    #[arg(long = "for", value_name = "PID", conflicts_with = "feature")]
    pub for_tree: Option<i32>,
    /// dump, migrate: the process at the root of the tree
    #[arg(short = 't', long, value_name = "PID")]
    pub tree: Option<i32>,
    /// dump, restore, migrate: the folder of the images; dump and migrate make it, with mode 0700
    #[arg(short = 'D', long, value_name = "DIR", visible_alias = "image-path")]
    pub images_dir: Option<PathBuf>,
    /// dump, restore: the folder of criu's log; that of the images if left out
    #[arg(short = 'W', long, value_name = "DIR", visible_alias = "work-path")]
    pub work_dir: Option<PathBuf>,
    /// dump: leave the tree running
    #[arg(short = 'R', long)]
    pub leave_running: bool,
    /// dump, restore: the tree belongs to a shell's session and terminal
    #[arg(short = 'j', long)]
    pub shell_job: bool,
    /// dump, restore: with established TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// dump, restore: with file locks
    #[arg(short = 'l', long)]
    pub file_locks: bool,
    /// dump, restore: with unix sockets whose other end is outside the tree
    #[arg(short = 'x', long)]
    pub ext_unix_sk: bool,
    /// restore, migrate: do not wait for the tree
    #[arg(short = 'd', long)]
    pub detach: bool,
    /// restore, migrate: write the pid of the tree's root here
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// dump, restore: how much criu writes to its log, 0 to 4 (default 4)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=4))]
    pub log_level: Option<u8>,
    /// The criu to use instead of the one in PATH
    #[arg(long, value_name = "PATH")]
    pub criu: Option<PathBuf>,
    #[command(flatten)]
    pub migrate: migrate::Flags,
    #[command(flatten)]
    pub more: More,
    #[command(flatten)]
    pub common: Common,
}

/// The flags; nothing when help or the version was asked for and given.
pub(crate) fn read(features: &[&str]) -> Result<Option<Args>> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (own, next) = next::split(&argv);
    let args: Args = match cli::parse(NAME, own)? {
        Parsed::Flags(args) => args,
        Parsed::Help(text) => return report::stdout(text.as_bytes()).map(|()| None),
    };
    if args.common.version {
        let text = cli::version(NAME, args.common.json, features);
        return report::stdout(text.as_bytes()).map(|()| None);
    }
    if let Some(fd) = args.common.status_fd {
        let doing = format_args!("use fd {fd}");
        let borrowed = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
        if fd > 2 {
            sys::fd::set_cloexec(borrowed, true).cannot(doing, "fcntl(F_SETFD)")?;
        }
        report::status_to(fd);
    }
    if let Some(fd) = args.more.meet_fd {
        sys::fd::borrow(fd).cannot(format_args!("use fd {fd}"), format_args!("fcntl({fd})"))?;
        report::errors_to(fd);
    }
    if let Some(next) = next {
        let word = next.first().map_or("…".into(), |w| w.display().to_string());
        return Err(Error::usage("read the command line", "criu-ctl has no next program: it ends a chain")
            .cure(format_args!("{word} … -- criu-ctl …")));
    }
    Ok(Some(args))
}
