//! `--disable-userns`: a second user namespace in the first. The first one may have one below it, and that is this; who
//! lives in the second has no power over the limit of the first.

use crate::apply::read_back;
use crate::helper::Helper;
use crate::resolve::{Map, Plan, Writer};
use crate::why;
use chain::canary::canary;
use chain::oci::IdMapping;
use chain::state::State;
use chain::sys::process::prctl;
use chain::userns::settle;
use chain::{Cannot, Error, Result, proc};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use std::os::fd::BorrowedFd;

const LIMIT: &str = "sys/user/max_user_namespaces";

/// Goes into it, as whom we are; its maps are those of the first, id by id.
pub(crate) fn enter(plan: &Plan, proc: BorrowedFd<'_>, state: &mut State) -> Result<()> {
    let doing = "make a user namespace that has none below it";
    let nested = same(plan);
    // Of the user namespace of whoever opens it.
    proc::write_at(proc, LIMIT, b"1").map_err(|e| Error { doing: doing.into(), ..e })?;
    // The change of user made the files of this process root's, and whoever writes the maps is none out here.
    dumpable(true)?;
    let helper = Helper::start(&nested)?;
    if let Err(error) = unshare(CloneFlags::CLONE_NEWUSER).cannot(doing, "unshare(CLONE_NEWUSER)") {
        helper.map_or(Ok(()), Helper::dismiss)?;
        return Err(why::of_unshare(error));
    }
    if let Some(helper) = helper {
        helper.finish()?;
    }
    dumpable(false)?;
    read_back(&nested, proc, "self")?;
    settle(proc, state)?;
    prove()
}

/// The ids inside, each as itself; written by who stays in the first, where all of them are.
fn same(plan: &Plan) -> Plan {
    let line = |m: &IdMapping| IdMapping { host_id: m.container_id, ..*m };
    let map =
        |m: &Map| Map { kind: m.kind, lines: m.lines.iter().map(line).collect(), writer: Writer::Privileged };
    // A denied setgroups is inherited.
    Plan {
        maps: plan.maps.iter().map(map).collect(),
        deny_setgroups: plan.deny_setgroups,
        caller: plan.caller,
        disable_userns: false,
    }
}

fn dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(on), 0)
        .cannot("let the maps be written", format_args!("prctl(PR_SET_DUMPABLE, {})", u8::from(on)))
        .map(drop)
}

fn prove() -> Result<()> {
    let tried = canary(|| unshare(CloneFlags::CLONE_NEWUSER).cannot("try it", "unshare(CLONE_NEWUSER)"));
    match tried.err().and_then(|e| e.errno()) {
        Some(Errno::ENOSPC | Errno::EUSERS) => Ok(()),
        other => Err(Error::readback("a further user namespace", "refused", format_args!("{other:?}"))),
    }
}
