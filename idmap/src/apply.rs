//! The operations, in order.

use crate::helper::{Helper, write_file};
use crate::plan::Kind;
use crate::resolve::{Map, Plan, Writer};
use crate::why;
use chain::landing::{CapSets, Ids};
use chain::name::ToolName;
use chain::oci::{IdMapping, NamespaceKind};
use chain::spec::Owner;
use chain::state::{Receipt, State};
use chain::sys::caps;
use chain::sys::process::prctl;
use chain::userns::{Settled, parse_map, settle};
use chain::{Cannot, Error, Result, nest, proc};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setegid, seteuid};
use serde_json::{Value, json};
use std::os::fd::{AsFd, BorrowedFd};

/// Makes the namespace, writes its maps, becomes user 0 in it; with no maps, nothing.
pub(crate) fn all(plan: &Plan, state: &mut State) -> Result<Receipt> {
    if plan.maps.is_empty() {
        return Ok(Receipt::verified(ToolName::Idmap, Value::Null));
    }

    // After unshare this process has no privilege outside any more, so whoever writes for it must be there before.
    let helper = Helper::start(plan)?;

    let made = plan.owner.map_or(Ok(()), become_owner).and_then(|()| {
        unshare(CloneFlags::CLONE_NEWUSER).cannot("make a user namespace", "unshare(CLONE_NEWUSER)")
    });
    if let Err(error) = made {
        helper.map_or(Ok(()), Helper::dismiss)?;
        return Err(why::of_unshare(error));
    }

    // Only before the group map is written: afterwards the kernel refuses to change it (CVE-2014-8989).
    let proc = proc::host()?;
    if plan.deny_setgroups {
        proc::write_at(proc.as_fd(), "self/setgroups", b"deny")
            .map_err(|e| Error { doing: "deny setgroups".into(), ..e })?;
    }
    for map in plan.maps.iter().filter(|m| m.writer == Writer::Itself) {
        write_file(map, "self")?;
    }
    if let Some(helper) = helper {
        helper.finish()?;
    }

    read_back(plan, proc.as_fd(), "self")?;
    let settled = settle(proc.as_fd(), state)?;
    if plan.disable_userns {
        nest::enter(proc.as_fd(), state).map_err(why::of_unshare)?;
    }
    if settled == Settled::Root {
        command_is_caller(plan, state)?;
    }
    let inode = proc::namespace("self", NamespaceKind::User)?;
    let applied = json!({
        "uidMappings": plan.map(Kind::User).map(|m| &m.lines),
        "gidMappings": plan.map(Kind::Group).map(|m| &m.lines),
        "setgroups": if plan.deny_setgroups { "deny" } else { "allow" },
        "owner": plan.owner, "root": settled == Settled::Root, "disableUserNamespaces": plan.disable_userns,
    });
    let mut receipt = Receipt::verified(ToolName::Idmap, applied);
    receipt.ns.insert(NamespaceKind::User, inode);
    Ok(receipt)
}

/// A user namespace is its maker's: whose effective ids these are. The other ids stay, and with them all privilege, until
/// the new namespace gives it anew.
fn become_owner(owner: Owner) -> Result<()> {
    let doing = format_args!("make a user namespace of user {}", owner.uid);
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    setegid(gid).cannot(doing, format_args!("setresgid(-1, {gid}, -1)"))?;
    seteuid(uid).cannot(doing, format_args!("setresuid(-1, {uid}, -1)"))?;
    // The kernel gives the files below /proc/self of who changed its user to root.
    prctl(libc::PR_SET_DUMPABLE, 1, 0).cannot(doing, "prctl(PR_SET_DUMPABLE)").map(drop)
}

/// Where the caller is somebody else than user 0 inside (`-c --auto`), the links are user 0, for what they make is to be
/// root's; the command is the caller, without capabilities, unless a cap-drop layer says otherwise.
fn command_is_caller(plan: &Plan, state: &mut State) -> Result<()> {
    let (Some(uid), gid) = plan.caller else { return Ok(()) };
    if uid != 0 {
        state.landing.user.get_or_insert(Ids { uid: Some(uid), gid, groups: None, umask: None });
        let bounding = caps::bounding().cannot("look at the capabilities", "prctl(PR_CAPBSET_READ)")?;
        state.landing.capabilities.get_or_insert(CapSets { bounding, ..CapSets::default() });
    }
    Ok(())
}

/// What the kernel holds must be what was asked, line by line; it may sort them.
pub(crate) fn read_back(plan: &Plan, proc: BorrowedFd<'_>, who: &str) -> Result<()> {
    for kind in [Kind::User, Kind::Group] {
        let found = sorted(parse_map(&proc::read_at(proc, &format!("{who}/{}", kind.file()))?)?);
        let asked = sorted(plan.map(kind).map_or_else(Vec::new, |m: &Map| m.lines.clone()));
        if found != asked {
            let object = format!("the {} map", kind.noun());
            return Err(Error::readback(object, shown(&asked), shown(&found)));
        }
    }
    if plan.deny_setgroups && !proc::read_at(proc, &format!("{who}/setgroups"))?.starts_with(b"deny") {
        return Err(Error::readback("setgroups", "deny", "allow"));
    }
    Ok(())
}

fn sorted(mut lines: Vec<IdMapping>) -> Vec<IdMapping> {
    lines.sort_by_key(|m| m.container_id);
    lines
}

fn shown(lines: &[IdMapping]) -> String {
    let words: Vec<String> =
        lines.iter().map(|m| format!("{}:{}:{}", m.container_id, m.host_id, m.size)).collect();
    if words.is_empty() { "nothing".into() } else { words.join(" ") }
}
