//! The command line.

use chain::cli::{Common, Flags, Parsed};
use chain::{Error, Result};
use std::ffi::OsString;

/// Drops capabilities and becomes a user, then executes the next program.
#[derive(clap::Parser, Clone, Debug, Default)]
#[command(
    name = "cap-drop",
    disable_version_flag = true, after_help = AFTER,
    override_usage = "cap-drop [OPTIONS] -- PROGRAM [ARGS…]"
)]
pub(crate) struct Args {
    /// Drop every capability, from all five sets
    #[arg(long)]
    pub(crate) all: bool,
    /// Drop all but these; the command holds them, also where it is not root (they are made ambient then)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) keep: Vec<String>,
    /// Drop these from all five sets; `all` drops every one (docker's)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cap_drop: Vec<String>,
    /// Keep these in bounding, permitted and effective (docker's: a command that is not root loses them at its exec)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cap_add: Vec<String>,
    /// Make these ambient: held over an exec by any user. Empty unless given
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) ambient: Option<Vec<String>>,
    /// The bounding set: `a,b` is exactly these, `none` is none, `+a,-b` and `-all,+c` change it
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "One set each"
    )]
    pub(crate) bounding: Option<Vec<String>>,
    /// The permitted set
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "One set each"
    )]
    pub(crate) permitted: Option<Vec<String>>,
    /// The effective set
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "One set each"
    )]
    pub(crate) effective: Option<Vec<String>>,
    /// The inheritable set
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "One set each"
    )]
    pub(crate) inheritable: Option<Vec<String>>,

    /// Become this user, by name or number, of the root this link runs in; without other words its supplementary
    /// groups are none. A number that /etc/passwd does not list wants a group
    #[arg(long, value_name = "USER[:GROUP]", help_heading = "User")]
    pub(crate) user: Option<String>,
    /// Supplementary groups, exactly these
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "User", conflicts_with_all = ["init_groups", "keep_groups"])]
    pub(crate) groups: Option<Vec<String>>,
    /// Supplementary groups of the user as /etc/group has them
    #[arg(long, help_heading = "User", requires = "user", conflicts_with = "keep_groups")]
    pub(crate) init_groups: bool,
    /// Leave the supplementary groups as they are
    #[arg(long, help_heading = "User")]
    pub(crate) keep_groups: bool,
    /// File mode creation mask, octal
    #[arg(long, value_name = "MASK", help_heading = "User")]
    pub(crate) umask: Option<String>,

    /// Secure bits as in capabilities(7): `noroot,noroot_locked`; a `-` clears one
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "More"
    )]
    pub(crate) securebits: Vec<String>,
    /// Do not set no_new_privs
    #[arg(long, help_heading = "More")]
    pub(crate) allow_new_privs: bool,
    /// Name of the new session keyring (default: a new one without a name)
    #[arg(long, value_name = "NAME", help_heading = "More", conflicts_with = "no_keyring")]
    pub(crate) keyring: Option<String>,
    /// Leave the caller's session keyring to the command
    #[arg(long, help_heading = "More")]
    pub(crate) no_keyring: bool,
    /// AppArmor profile of the command
    #[arg(long, value_name = "NAME", help_heading = "More")]
    pub(crate) apparmor_profile: Option<String>,
    /// SELinux label of the command
    #[arg(long, value_name = "LABEL", help_heading = "More")]
    pub(crate) selinux_label: Option<String>,
    /// May be done less of: bounding (cut it only if CAP_SETPCAP is held), groups, ambient
    #[arg(long = "try", value_name = "WHAT", value_delimiter = ',', help_heading = "More")]
    pub(crate) attempt: Vec<String>,

    /// With --show: is it so? `bounding=none`, `effective=chown,kill`, `no_new_privs=on`, `uid=1000`, `groups=none`; status 1
    /// if not (repeatable)
    #[arg(long, value_name = "WHAT=VALUE", requires = "show", help_heading = "More")]
    pub(crate) assert: Vec<String>,

    /// Say what this capability lets a process do, and do nothing else: a name, a number, `all`, or a word that is in the
    /// text, as `mount`
    #[arg(long, value_name = "CAP|WORD", help_heading = "More")]
    pub(crate) explain: Option<String>,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// `--explain`, where it is given: it takes no program, and no plan.
pub(crate) fn explain() -> Result<Option<(String, bool)>> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (own, next) = chain::next::split(&argv);
    let is_it =
        |word: &OsString| word.to_str().is_some_and(|w| w == "--explain" || w.starts_with("--explain="));
    if !own.iter().any(is_it) {
        return Ok(None);
    }
    let Parsed::Flags(args) = chain::cli::parse::<Args>("cap-drop", own)? else { return Ok(None) };
    // It may have been the value of another option.
    let Some(word) = args.explain else { return Ok(None) };
    let others = own.iter().filter(|w| *w != "--json" && !is_it(w) && **w != *word).count();
    if next.is_some() || others > 0 {
        let detail = "--explain says what a capability is for, and does nothing else";
        return Err(Error::usage("read the command line", detail).cure("leave out all other words"));
    }
    Ok(Some((word, args.common.json)))
}

const AFTER: &str = "\
Capabilities are named with or without CAP_, in any case; those newer than this program by number: cap_41.
What is asked for is what the command has after its exec: root would get everything in the bounding set back, and
another user loses what is not ambient, so a request that exec would undo is refused.

Examples:
  cap-drop --all -- sh
  cap-drop --user web --keep net_bind_service -- webd -f
  cap-drop --cap-drop all --cap-add chown,setuid -- apt-get update
  cap-drop --show 4711 --assert bounding=none --assert no_new_privs=on
  cap-drop --explain sys_ptrace
  setpriv's way: cap-drop --bounding=-all,+net_raw --inheritable=-all -- ping ::1";

impl Args {
    /// Words for credentials, besides those that only take something off a default.
    pub(crate) fn asks(&self) -> bool {
        let lists = [&self.keep, &self.cap_drop, &self.cap_add, &self.securebits];
        let sets = [
            &self.ambient,
            &self.bounding,
            &self.permitted,
            &self.effective,
            &self.inheritable,
            &self.groups,
        ];
        let words = [&self.user, &self.umask, &self.keyring, &self.apparmor_profile, &self.selinux_label];
        let bits = [self.all, self.init_groups, self.keep_groups];
        bits.contains(&true)
            || lists.iter().any(|l| !l.is_empty())
            || sets.iter().any(|s| s.is_some())
            || words.iter().any(|w| w.is_some())
    }
}

impl Flags for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// So that the examples of the help are lines that parse.
#[cfg(test)]
pub(crate) fn parse(line: &str) -> chain::Result<Args> {
    let words: Vec<std::ffi::OsString> = line.split_whitespace().map(Into::into).collect();
    match chain::cli::parse::<Args>("cap-drop", &words)? {
        chain::cli::Parsed::Flags(args) => Ok(args),
        chain::cli::Parsed::Help(text) => panic!("{text}"),
    }
}
