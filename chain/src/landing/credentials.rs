//! Groups, gid, uid, capabilities, secure bits, no_new_privs: the order in which the kernel lets all of it be set, and
//! all of it read back.

use super::{CapSets, Ids, Landing};
use crate::error::{Cannot, Error, Result};
use crate::proc;
use crate::sys::process::prctl;
use crate::sys::{self, caps};
use nix::errno::Errno;

/// Becomes who the command is to be. Nothing of this can be undone, and nothing of it is believed before it was read
/// back.
pub(super) fn assume(landing: &Landing) -> Result<()> {
    if let Some(sets) = landing.capabilities {
        cut_bounding(sets)?;
    }
    if let Some(user) = &landing.user {
        become_user(user, landing)?;
    }
    // Ambient capabilities are wiped by the change of user, and can be raised until a secure bit forbids it; setting
    // that bit wants CAP_SETPCAP, which the final sets may lack. So: ambient, bits, sets.
    if let Some(sets) = landing.capabilities {
        raise_ambient(sets)?;
    }
    if let Some(bits) = landing.securebits {
        set_securebits(bits)?;
    }
    if let Some(sets) = landing.capabilities {
        set_capabilities(sets)?;
    }
    if landing.no_new_privs {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).cannot("set no_new_privs", "prctl(PR_SET_NO_NEW_PRIVS)")?;
    }
    read_back(landing)
}

/// Everything that is permitted, put in force, with `inheritable` beside it; gives what was permitted.
fn in_force(inheritable: Option<u64>) -> Result<u64> {
    let doing = "set the capabilities";
    let held = caps::get().cannot(doing, "capget")?;
    let wanted = caps::Sets {
        effective: held.permitted,
        inheritable: inheritable.unwrap_or(held.inheritable),
        permitted: held.permitted,
    };
    if wanted != held {
        caps::set(wanted).cannot(doing, "capset")?;
    }
    Ok(held.permitted)
}

/// The inheritable set comes first: the kernel lets it gain only what the bounding set still has, and leaves alone what
/// it holds when the bounding set shrinks.
fn cut_bounding(sets: CapSets) -> Result<()> {
    in_force(Some(sets.inheritable))?;
    let doing = "drop capabilities from the bounding set";
    let unwanted = caps::bounding().cannot(doing, "prctl(PR_CAPBSET_READ)")? & !sets.bounding;
    for cap in (0..64).filter(|cap| unwanted & 1 << cap != 0) {
        caps::drop_bounding(cap)
            .cannot(doing, format_args!("prctl(PR_CAPBSET_DROP, {cap})"))
            .map_err(|e| e.why("the bounding set can be cut only by who holds CAP_SETPCAP"))?;
    }
    Ok(())
}

fn become_user(user: &Ids, landing: &Landing) -> Result<()> {
    if let Some(groups) = &user.groups {
        set_groups(groups)?;
    }
    if let Some(gid) = user.gid {
        sys::process::set_gids(gid)
            .cannot(format_args!("become group {gid}"), format_args!("setresgid({gid})"))
            .map_err(|e| unmapped(e, "group"))?;
    }
    if let Some(uid) = user.uid {
        // A change from root to another user empties the permitted set unless this bit is on; it goes off at exec.
        if landing.capabilities.is_some() {
            prctl(libc::PR_SET_KEEPCAPS, 1, 0)
                .cannot("keep capabilities over setuid", "prctl(PR_SET_KEEPCAPS)")?;
        }
        sys::process::set_uids(uid)
            .cannot(format_args!("become user {uid}"), format_args!("setresuid({uid})"))
            .map_err(|e| unmapped(e, "user"))?;
        if landing.capabilities.is_some() {
            prctl(libc::PR_SET_KEEPCAPS, 0, 0)
                .cannot("stop keeping capabilities", "prctl(PR_SET_KEEPCAPS)")?;
        }
    }
    if let Some(mask) = user.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
    Ok(())
}

/// EINVAL of the set*id calls has one cause.
fn unmapped(error: Error, what: &str) -> Error {
    match error.errno() {
        Some(Errno::EINVAL) => error.why(format_args!("that {what} id is not mapped in this user namespace")),
        _ => error,
    }
}

fn set_groups(groups: &[u32]) -> Result<()> {
    match sys::process::set_groups(groups) {
        // Where a user namespace denies setgroups, having none already is as good as setting none.
        Err(Errno::EPERM) if groups.is_empty() && rustix::process::getgroups().is_ok_and(|g| g.is_empty()) => Ok(()),
        other => other.cannot("set the supplementary groups", format_args!("setgroups({groups:?})")).map_err(|e| {
            let denied = proc::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"));
            match denied {
                true => e.why("this user namespace denies setgroups, as one that an ordinary user mapped alone must"),
                false => unmapped(e, "group"),
            }
        }),
    }
}

fn raise_ambient(sets: CapSets) -> Result<()> {
    let doing = "set the ambient capabilities";
    in_force(Some(sets.inheritable))?;
    caps::clear_ambient().cannot(doing, "prctl(PR_CAP_AMBIENT_CLEAR_ALL)")?;
    for cap in (0..64).filter(|cap| sets.ambient & 1 << cap != 0) {
        caps::raise_ambient(cap).cannot(doing, format_args!("prctl(PR_CAP_AMBIENT_RAISE, {cap})"))?;
    }
    Ok(())
}

fn set_securebits(bits: u32) -> Result<()> {
    in_force(None)?;
    prctl(libc::PR_SET_SECUREBITS, u64::from(bits), 0)
        .cannot("set the secure bits", format_args!("prctl(PR_SET_SECUREBITS, {bits:#x})"))
        .map(drop)
}

fn set_capabilities(sets: CapSets) -> Result<()> {
    let CapSets { effective, permitted, inheritable, .. } = sets;
    caps::set(caps::Sets { effective, permitted, inheritable }).cannot("set the capabilities", "capset")
}

/// What the kernel holds now must be what was asked: a tool that reports success on a full bounding set is worse than
/// none.
fn read_back(landing: &Landing) -> Result<()> {
    if let Some(asked) = landing.capabilities {
        prove_capabilities(asked)?;
    }
    if let Some(user) = &landing.user {
        prove_ids(user)?;
    }
    if landing.no_new_privs && prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0) != Ok(1) {
        return Err(Error::readback("no_new_privs", 1, 0));
    }
    if let Some(bits) = landing.securebits {
        let found = prctl(libc::PR_GET_SECUREBITS, 0, 0).cannot("prove the secure bits", "prctl")?;
        if found as u32 != bits {
            return Err(Error::readback(
                "the secure bits",
                format_args!("{bits:#x}"),
                format_args!("{found:#x}"),
            ));
        }
    }
    Ok(())
}

fn prove_capabilities(asked: CapSets) -> Result<()> {
    let doing = "prove the capabilities";
    let held = caps::get().cannot(doing, "capget")?;
    let (known, bounding) = caps::known_and_bounding().cannot(doing, "prctl(PR_CAPBSET_READ)")?;
    // An ambient capability is always permitted and inheritable, so where nothing is both, none can be left.
    let ambient = match held.permitted & held.inheritable {
        0 => 0,
        _ => caps::ambient().cannot(doing, "prctl(PR_CAP_AMBIENT_IS_SET)")?,
    };
    let found = CapSets {
        bounding,
        effective: held.effective,
        permitted: held.permitted,
        inheritable: held.inheritable,
        ambient,
    };
    // Bits above the last capability the kernel knows mean nothing to it.
    let asked = mask_all(asked, if known >= 64 { u64::MAX } else { (1 << known) - 1 });
    if found != asked {
        return Err(Error::readback("the capabilities", hex(asked), hex(found)));
    }
    Ok(())
}

fn mask_all(sets: CapSets, mask: u64) -> CapSets {
    CapSets {
        bounding: sets.bounding & mask,
        effective: sets.effective & mask,
        permitted: sets.permitted & mask,
        inheritable: sets.inheritable & mask,
        ambient: sets.ambient & mask,
    }
}

fn hex(sets: CapSets) -> String {
    let CapSets { bounding, effective, permitted, inheritable, ambient } = sets;
    format!(
        "bounding {bounding:x} effective {effective:x} permitted {permitted:x} inheritable {inheritable:x} ambient {ambient:x}"
    )
}

fn prove_ids(user: &Ids) -> Result<()> {
    let uids = nix::unistd::getresuid().cannot("prove the user", "getresuid")?;
    let gids = nix::unistd::getresgid().cannot("prove the group", "getresgid")?;
    let all =
        |a: u32, b: u32, c: u32, asked: Option<u32>| asked.is_none_or(|id| a == id && b == id && c == id);
    if !all(uids.real.as_raw(), uids.effective.as_raw(), uids.saved.as_raw(), user.uid) {
        return Err(Error::readback("the user", user.uid.unwrap_or(0), format_args!("{uids:?}")));
    }
    if !all(gids.real.as_raw(), gids.effective.as_raw(), gids.saved.as_raw(), user.gid) {
        return Err(Error::readback("the group", user.gid.unwrap_or(0), format_args!("{gids:?}")));
    }
    if let Some(groups) = &user.groups {
        let found = rustix::process::getgroups().cannot("prove the groups", "getgroups")?;
        let mut found: Vec<u32> = found.iter().map(|g| g.as_raw()).collect();
        let mut asked = groups.clone();
        found.sort_unstable();
        asked.sort_unstable();
        if found != asked {
            return Err(Error::readback("the groups", format_args!("{asked:?}"), format_args!("{found:?}")));
        }
    }
    Ok(())
}
