//! The command line.

use chain::cli::{Common, Flags, Parsed};
use chain::ids::{Gid, Uid};
use chain::oci::IdMapping;
use chain::{Error, Result};
use std::ffi::OsString;
use std::str::FromStr;

const EXAMPLES: &str = "\
Examples:
  idmap -r -- ns-enter -mpn -- sh              root of a namespace of one's own
  idmap --auto -- apt-get install hello        with all ids that /etc/subuid grants
  idmap --map-users 0:100000:65536 --map-groups 0:100000:65536 -- id
  idmap --pid 4711 --auto                      maps for a namespace that somebody else made

The command is what the caller is mapped to. As user 0 it holds every capability over the namespace; as anybody else
(-c, --map-user) it holds none, though the links before it do, unless a cap-drop link says otherwise.";

/// Make a user namespace, map ids into it, and execute the next program in there
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "idmap", disable_version_flag = true, after_help = EXAMPLES,
    override_usage = "idmap [OPTIONS] -- PROGRAM [ARGS…]")]
pub(crate) struct Args {
    /// Map the caller to user and group 0
    #[arg(short = 'r', long, conflicts_with_all = ["map_current_user", "map_user", "map_group"])]
    pub(crate) map_root_user: bool,
    /// Map the caller to itself
    #[arg(short = 'c', long, conflicts_with_all = ["map_user", "map_group"])]
    pub(crate) map_current_user: bool,
    /// Map the caller to this user
    #[arg(long, value_name = "UID", allow_negative_numbers = true)]
    pub(crate) map_user: Option<Uid>,
    /// Map the caller's group to this group
    #[arg(long, value_name = "GID", allow_negative_numbers = true)]
    pub(crate) map_group: Option<Gid>,
    /// Map all ids that /etc/subuid and /etc/subgid grant the caller around its own (-r if nothing else is said)
    #[arg(long)]
    pub(crate) auto: bool,
    /// Map N users: I inside are O outside and on (repeatable)
    #[arg(long, value_name = "I:O:N")]
    pub(crate) map_users: Vec<Range>,
    /// Map N groups: I inside are O outside and on (repeatable)
    #[arg(long, value_name = "I:O:N")]
    pub(crate) map_groups: Vec<Range>,
    /// Whether setgroups(2) stays allowed; left out: denied only where the kernel demands it
    #[arg(long, value_name = "allow|deny")]
    pub(crate) setgroups: Option<Setgroups>,
    /// Write the maps of this process' user namespace, and do nothing else
    #[arg(long, value_name = "PID", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,
    /// The flags of every tool.
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Flags for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// `I:O:N`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range(pub(crate) IdMapping);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Range, String> {
        let number = |word: &str| match word.parse::<u32>() {
            Ok(n) if word.bytes().all(|b| b.is_ascii_digit()) => Ok(n),
            _ => Err(format!("'{}' is not a number from 0 to 4294967295", word.escape_debug())),
        };
        let words: Vec<&str> = text.split(':').collect();
        let [inside, outside, size] = words[..] else {
            return Err("not inside:outside:count, as 0:100000:65536".into());
        };
        Ok(Range(IdMapping { container_id: number(inside)?, host_id: number(outside)?, size: number(size)? }))
    }
}

/// `--setgroups`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Setgroups {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
}

/// The flags, if `--pid` is among them: that form has no next program and no plan.
pub(crate) fn for_another() -> Result<Option<Args>> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (own, next) = chain::next::split(&argv);
    let named = |w: &OsString| w == "--pid" || w.as_encoded_bytes().starts_with(b"--pid=");
    if !own.iter().any(named) {
        return Ok(None);
    }
    let Parsed::Flags(args) = chain::cli::parse::<Args>("idmap", own)? else { return Ok(None) };
    // `--pid` may have been the value of another option.
    if args.pid.is_none() {
        return Ok(None);
    }
    if next.is_some() {
        return Err(Error::usage("read the command line", "--pid changes another process and runs nothing")
            .cure("leave out -- and what stands behind it"));
    }
    Ok(Some(args))
}
