//! From flags to a layer, and from a layer and the host's facts to what the landing does; everything that can be refused
//! is refused here.

use crate::cli::Args;
use crate::exec::{self, Executor};
use crate::facts::Facts;
use crate::{name, securebits, sets, user};
use chain::files::Files;
use chain::ids::{Gid, Uid};
use chain::landing::{CapSets, Ids, Landing};
use chain::spec::{CapChange, CapDrop, UserSpec};
use chain::state::Receipt;
use chain::{Class, Error, Result, ToolName};
use serde_json::{Value, json};

/// What `--try` can be said of.
const TRY: [&str; 3] = ["ambient", "bounding", "groups"];

/// Flags on top of a share of config.json, or of nothing.
pub(crate) fn from_flags(args: &Args, base: CapDrop, _files: &Files<'_>) -> Result<CapDrop> {
    layer(args, base)
}

/// As [`from_flags`]; no flag names a file.
pub(crate) fn layer(args: &Args, base: CapDrop) -> Result<CapDrop> {
    let oci = args.common.oci.is_some();
    if !oci && !args.asks() && args.common.show.is_none() && !args.common.check {
        return Err(Error::usage("drop anything", "no option says what").cure("cap-drop --all -- …"));
    }
    let mut spec = base;
    if let Some(change) = change(args)? {
        spec.change = Some(change);
    }
    if let Some(user) = user_of(args, spec.user.take())? {
        spec.user = Some(user);
    }
    // config.json says itself whether it wants no_new_privs.
    spec.no_new_privileges = !args.allow_new_privs && (!oci || spec.no_new_privileges);
    securebits::parse(&args.securebits, 0)?;
    spec.securebits.extend(args.securebits.iter().cloned());
    spec.session_keyring = match (&args.keyring, args.no_keyring) {
        (_, true) => None,
        (Some(name), _) => Some(keyring(name)?),
        (None, false) => Some(String::new()),
    };
    if let Some(profile) = label(&args.apparmor_profile, "--apparmor-profile")? {
        spec.apparmor_profile = Some(profile);
    }
    if let Some(label) = label(&args.selinux_label, "--selinux-label")? {
        spec.selinux_label = Some(label);
    }
    if let Some(word) = args.attempt.iter().find(|w| !TRY.contains(&w.as_str())) {
        let detail = format!("--try: '{}' is not known", word.escape_debug());
        return Err(
            Error::usage("read the command line", detail).cure(format_args!("--try {}", TRY.join(",")))
        );
    }
    spec.attempt.extend(args.attempt.iter().cloned());
    Ok(spec)
}

fn keyring(name: &str) -> Result<String> {
    // The kernel keeps names that start with a dot for itself.
    match !name.is_empty() && !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(name.to_string()),
        false => {
            Err(Error::usage("name the keyring", format_args!("'{}' is not possible", name.escape_debug())))
        }
    }
}

fn label(word: &Option<String>, flag: &str) -> Result<Option<String>> {
    match word {
        Some(word) if word.is_empty() || word.contains('\0') => Err(Error::usage(
            "read the command line",
            format_args!("{flag}: '{}' is not possible", word.escape_debug()),
        )),
        other => Ok(other.clone()),
    }
}

fn change(args: &Args) -> Result<Option<CapChange>> {
    let change = CapChange {
        drop_all: args.all || !args.keep.is_empty(),
        drop: args.cap_drop.clone(),
        add: args.cap_add.clone(),
        keep: args.keep.clone(),
        ambient: args.ambient.clone(),
        bounding: args.bounding.clone(),
        permitted: args.permitted.clone(),
        effective: args.effective.clone(),
        inheritable: args.inheritable.clone(),
    };
    let all = |list: &[String]| list.iter().any(|w| w.eq_ignore_ascii_case("all"));
    if all(&change.add) && (all(&change.drop) || change.drop_all) {
        return Err(Error::usage("read the command line", "all cannot be both dropped and added"));
    }
    // A name that is not known fails here, before anything of the chain has acted.
    let sets = [&change.ambient, &change.bounding, &change.permitted, &change.effective, &change.inheritable];
    for word in sets.into_iter().flatten().flatten() {
        if word != "none" {
            name::parse(word.strip_prefix(['+', '-']).unwrap_or(word))?;
        }
    }
    for word in change.drop.iter().chain(&change.add).chain(&change.keep) {
        name::parse(word)?;
    }
    Ok(if change == CapChange::default() { None } else { Some(change) })
}

fn user_of(args: &Args, base: Option<UserSpec>) -> Result<Option<UserSpec>> {
    let mut spec = base.unwrap_or_default();
    if let Some(word) = &args.user {
        (spec.uid, spec.gid, spec.name) = user_word(word, args.init_groups)?;
        spec.additional_gids = None;
    }
    if let Some(groups) = &args.groups {
        spec.groups = Some(if groups == &["none"] { Vec::new() } else { groups.clone() });
        spec.additional_gids = None;
    }
    if args.init_groups || args.keep_groups {
        spec.additional_gids = None;
    }
    spec.init_groups |= args.init_groups;
    spec.keep_groups |= args.keep_groups;
    if let Some(mask) = &args.umask {
        spec.umask = Some(umask(mask)?);
    }
    Ok(if spec == UserSpec::default() { None } else { Some(spec) })
}

type UserWord = (Option<Uid>, Option<Gid>, Option<String>);

/// Numbers as numbers, unless the account is `needed`; whatever is to be looked up as the word it is.
fn user_word(word: &str, needed: bool) -> Result<UserWord> {
    let (user, group) = word.split_once(':').map_or((word, None), |(u, g)| (u, Some(g)));
    if user.is_empty() || group == Some("") {
        return Err(Error::usage(
            "find the user",
            format_args!("'{}' is not USER[:GROUP]", word.escape_debug()),
        ));
    }
    match (user.parse::<Uid>(), group.map(str::parse::<Gid>)) {
        (Ok(uid), Some(Ok(gid))) if !needed => Ok((Some(uid), Some(gid), None)),
        _ => Ok((None, None, Some(word.to_string()))),
    }
}

fn umask(mask: &str) -> Result<u32> {
    let octal = !mask.is_empty() && mask.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let value = u32::from_str_radix(mask, 8).ok().filter(|m| octal && *m <= 0o777);
    value.ok_or_else(|| {
        Error::usage("set the umask", format_args!("'{}' is not an octal mask", mask.escape_debug()))
    })
}

/// What the landing is to do, and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// User, groups, umask.
    pub(crate) user: Option<Ids>,
    /// The sets before the exec.
    pub(crate) sets: CapSets,
    /// The sets the command will have.
    pub(crate) after: CapSets,
    /// Secure bits, if they change.
    pub(crate) securebits: Option<u32>,
    /// no_new_privs, set or on already.
    pub(crate) no_new_privs: bool,
    /// Session keyring, by name.
    pub(crate) keyring: Option<String>,
    /// AppArmor profile.
    pub(crate) apparmor: Option<String>,
    /// SELinux label.
    pub(crate) selinux: Option<String>,
    /// What will be done less of than asked.
    pub(crate) degraded: Vec<String>,
}

/// Names to numbers, and every refusal.
pub(crate) fn resolve(spec: &CapDrop, facts: &Facts) -> Result<Plan> {
    let mut degraded = Vec::new();
    let mut ids = spec.user.as_ref().map(|u| user::resolve(u, &facts.database)).transpose()?;
    if let Some(ids) = &mut ids {
        groups_can_be_set(ids, spec, facts, &mut degraded)?;
    }
    let bits = securebits::parse(&spec.securebits, facts.securebits)?;
    let root = facts.root_rule(ids.as_ref().and_then(|i| i.uid), bits);
    let sets = sets::resolve(spec, &facts.present, root, &mut degraded)?;
    let no_new_privs = spec.no_new_privileges || facts.no_new_privs;
    let after = exec::after(sets, Executor { root, no_new_privs });
    if let Some(change) = &spec.change {
        exec_keeps_what_was_asked(change, sets, after, root)?;
    }
    Ok(Plan {
        user: ids,
        sets: if root || by_config(spec) { sets } else { gives_files_nothing(sets) },
        after,
        securebits: (!spec.securebits.is_empty()).then_some(bits),
        no_new_privs,
        keyring: spec.session_keyring.clone(),
        apparmor: spec.apparmor_profile.clone(),
        selinux: spec.selinux_label.clone(),
        degraded,
    })
}

/// A user namespace made by an ordinary user who mapped only themself denies setgroups, so the groups stay. Runtimes pass
/// over that when config.json asks for none; on a command line it has to be allowed.
fn groups_can_be_set(ids: &mut Ids, spec: &CapDrop, facts: &Facts, degraded: &mut Vec<String>) -> Result<()> {
    let Some(groups) = &ids.groups else { return Ok(()) };
    if !facts.setgroups_denied || groups.is_empty() && facts.groups.is_empty() {
        return Ok(());
    }
    // The user's own group among them gives nothing that the user does not have.
    if groups.is_empty() && facts.groups.iter().all(|group| Some(*group) == ids.gid) {
        ids.groups = None;
        return Ok(());
    }
    let detail = format!("groups: {:?} stay, for this user namespace denies setgroups", facts.groups);
    let oci = spec.user.as_ref().is_some_and(|u| u.additional_gids.is_some());
    if groups.is_empty() && oci || spec.attempt.iter().any(|w| w == "groups") {
        ids.groups = None;
        degraded.push(detail);
        return Ok(());
    }
    Err(Error::new(Class::Denied, "set the supplementary groups", detail).cure("--keep-groups"))
}

/// The sets are those of config.json, with no flag on top.
fn by_config(spec: &CapDrop) -> bool {
    spec.capabilities.is_some() && spec.change.is_none()
}

/// Under no_new_privs a program with file capabilities gets what of them is permitted to whoever executes it. So before
/// its exec a user holds no more than is left after that of any other program.
fn gives_files_nothing(sets: CapSets) -> CapSets {
    CapSets { permitted: sets.ambient, effective: sets.ambient, ..sets }
}

/// Who names the permitted or the effective set means the command's, and execve(2) has the last word on both.
fn exec_keeps_what_was_asked(change: &CapChange, asked: CapSets, after: CapSets, root: bool) -> Result<()> {
    let pinned = [
        ("permitted", change.permitted.is_some(), asked.permitted, after.permitted),
        ("effective", change.effective.is_some(), asked.effective, after.effective),
    ];
    for (set, named, asked, after) in pinned {
        if !named || asked == after {
            continue;
        }
        let (more, less) = (name::few(after & !asked), name::few(asked & !after));
        let detail = match more.is_empty() {
            false => format!("{set}: its exec would give {more}"),
            true => format!("{set}: its exec would take {less}"),
        };
        let error = Error::usage("give the command these capabilities", detail);
        return Err(match (more.is_empty(), root) {
            (false, _) => error
                .why("root gets at exec what is in bounding and inheritable")
                .cure("--keep, or --bounding too, or --securebits noroot"),
            (true, true) => error
                .why("root gets at exec no more than what is in bounding and inheritable")
                .cure("--bounding too"),
            (true, false) => error
                .why("who is not root keeps at exec only what is ambient")
                .cure("--keep, or --ambient too"),
        });
    }
    Ok(())
}

impl Plan {
    /// Leaves it to the landing.
    pub(crate) fn hand_to(&self, landing: &mut Landing) {
        landing.user = self.user.clone();
        landing.capabilities = Some(self.sets);
        landing.securebits = self.securebits;
        landing.no_new_privs |= self.no_new_privs;
        landing.session_keyring = self.keyring.clone();
        landing.apparmor = self.apparmor.clone();
        landing.selinux = self.selinux.clone();
    }

    /// Resolved and checked here; proven at the landing, which reads everything back before the exec.
    pub(crate) fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::verified(ToolName::CapDrop, self.document());
        receipt.degraded = self.degraded.clone();
        receipt
    }

    /// In the kernel's words, as /proc/PID/status will have them.
    pub(crate) fn document(&self) -> Value {
        let hex = |mask: u64| format!("{mask:016x}");
        let mut document = json!({
            "CapInh": hex(self.after.inheritable), "CapPrm": hex(self.after.permitted),
            "CapEff": hex(self.after.effective), "CapBnd": hex(self.after.bounding),
            "CapAmb": hex(self.after.ambient), "NoNewPrivs": u8::from(self.no_new_privs),
        });
        if let Some(ids) = &self.user {
            document["Uid"] = json!(ids.uid);
            document["Gid"] = json!(ids.gid);
            document["Groups"] = json!(ids.groups);
            document["Umask"] = json!(ids.umask.map(|m| format!("{m:04o}")));
        }
        if let Some(bits) = self.securebits {
            document["securebits"] = json!(securebits::list(bits));
        }
        for (key, value) in
            [("keyring", &self.keyring), ("apparmor", &self.apparmor), ("selinux", &self.selinux)]
        {
            if let Some(value) = value {
                document[key] = json!(value);
            }
        }
        document
    }
}
