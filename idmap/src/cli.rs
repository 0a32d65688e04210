//! The command line.

use chain::cli::{Common, Flags, Parsed};
use chain::ids::{Gid, Uid};
use chain::oci::IdMapping;
use chain::target::Target;
use chain::{Error, Result};
use std::ffi::OsString;
use std::str::FromStr;

const EXAMPLES: &str = "\
Examples:
  idmap -r -- ns-enter -mpn -- sh              root of a namespace of one's own
  idmap --auto -- apt-get install hello        with all ids that /etc/subuid grants
  idmap --map-users 0:100000:65536 --map-groups 0:100000:65536 -- id
  idmap --pick -- ns-enter -mpniuC -- sh       with 65536 ids that nobody else has
  idmap --pid 4711 --auto                      maps for a namespace that somebody else made
  idmap --auto --to-host 33                    who is www-data out here?
  idmap --pid 4711 --to-inside 100032

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
    /// --auto with the caller as itself, or as this user and group
    #[arg(long, value_name = "ID", num_args = 0..=1, require_equals = true, default_missing_value = "",
        conflicts_with_all = ["map_root_user", "map_current_user", "map_user", "map_group"])]
    pub(crate) keep_id: Option<String>,
    /// Map N users: I inside are O outside and on; or subids: those that /etc/subuid grants, each as itself; or all: those
    /// of the caller's own user namespace (repeatable)
    #[arg(long, value_name = "I:O:N|subids|all")]
    pub(crate) map_users: Vec<Ids>,
    /// Map N groups: I inside are O outside and on; subids; or all (repeatable)
    #[arg(long, value_name = "I:O:N|subids|all")]
    pub(crate) map_groups: Vec<Ids>,
    /// Map 0 to 65535 to ids that nobody has: no user, no group, no grant of /etc/subuid, no other user namespace
    #[arg(long, conflicts_with_all = ["map_root_user", "map_current_user", "map_user", "map_group", "auto",
        "keep_id", "map_users", "map_groups"])]
    pub(crate) pick: bool,
    /// The namespace is this user's and group's, who may join it and signal what is inside
    #[arg(long, value_name = "UID:GID")]
    pub(crate) owner: Option<Owner>,
    /// Whether setgroups(2) stays allowed; left out: denied only where the kernel demands it
    #[arg(long, value_name = "allow|deny")]
    pub(crate) setgroups: Option<Setgroups>,
    /// No user namespace can be made inside, by anybody: a way to the kernel that most commands do not need
    #[arg(long)]
    pub(crate) disable_userns: bool,
    /// Write the maps of this process' user namespace, and do nothing else
    #[arg(long, value_name = "PID|PID:INODE|fd:N", allow_hyphen_values = true)]
    pub(crate) pid: Option<Target>,
    /// What is this id of the inside outside? In the maps that the other options say, or those of --pid (g:ID: a group)
    #[arg(long, value_name = "ID|g:ID", conflicts_with = "to_inside")]
    pub(crate) to_host: Option<Which>,
    /// What is this id of the outside inside?
    #[arg(long, value_name = "ID|g:ID")]
    pub(crate) to_inside: Option<Which>,
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

/// `UID:GID`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(pub(crate) chain::spec::Owner);

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Owner, String> {
        let (uid, gid) = text.split_once(':').ok_or("not UID:GID")?;
        Ok(Owner(chain::spec::Owner { uid: uid.parse::<Uid>()?.0, gid: gid.parse::<Gid>()?.0 }))
    }
}

/// One word of `--map-users`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ids {
    /// `I:O:N`.
    Range(IdMapping),
    /// `subids`.
    Subids,
    /// `all`.
    All,
}

impl FromStr for Ids {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Ids, String> {
        match text {
            "subids" => Ok(Ids::Subids),
            "all" => Ok(Ids::All),
            _ => text.parse().map(|Range(range)| Ids::Range(range)),
        }
    }
}

/// An id to translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// A user's.
    User(u32),
    /// A group's.
    Group(u32),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Which, String> {
        let id = |word: &str| {
            let id = word.parse::<u32>().ok().filter(|_| word.bytes().all(|b| b.is_ascii_digit()));
            id.ok_or_else(|| format!("'{}' is no id: a number, or g: and a number", text.escape_debug()))
        };
        match text.split_once(':') {
            Some(("g", word)) => id(word).map(Which::Group),
            Some(("u", word)) => id(word).map(Which::User),
            _ => id(text).map(Which::User),
        }
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

impl Args {
    /// Is an id to be translated?
    pub(crate) fn translates(&self) -> bool {
        self.to_host.is_some() || self.to_inside.is_some()
    }
}

/// The flags, if `--pid` or a question about one id is among them: these forms have no next program and no plan.
pub(crate) fn alone() -> Result<Option<Args>> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (own, next) = chain::next::split(&argv);
    let named = |w: &OsString| {
        let word = w.to_string_lossy();
        ["--pid", "--to-host", "--to-inside"].contains(&word.split('=').next().unwrap_or(""))
    };
    if !own.iter().any(named) {
        return Ok(None);
    }
    let Parsed::Flags(args) = chain::cli::parse::<Args>("idmap", own)? else { return Ok(None) };
    // It may have been the value of another option.
    if args.pid.is_none() && !args.translates() {
        return Ok(None);
    }
    if next.is_some() && args.translates() {
        let detail = "--to-host and --to-inside answer a question and run nothing";
        return Err(
            Error::usage("read the command line", detail).cure("leave out -- and what stands behind it")
        );
    }
    if next.is_some() {
        return Err(Error::usage("read the command line", "--pid changes another process and runs nothing")
            .cure("leave out -- and what stands behind it"));
    }
    Ok(Some(args))
}
