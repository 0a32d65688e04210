//! `--init`: the first process of a pid namespace that is not the command. It reaps what is left to it, passes signals on,
//! and ends with the command, and everything else in there with it.

use crate::apply;
use crate::join::dumpable;
use chain::state::State;
use chain::supervise::Supervised;
use chain::sys::caps;
use chain::sys::process::prctl;
use chain::{Cannot, Result};

/// CAP_KILL of linux/capability.h.
const CAP_KILL: u32 = 5;
/// CAP_LAST_CAP may grow up to here.
const CAPS: u32 = 63;

/// Waits for `child`; its status.
pub(crate) fn look_after(child: Supervised, state: &State) -> Result<u8> {
    harmless(1 << CAP_KILL, false)?;
    apply::look_after(child, apply::Held::default(), state)
}

/// It lives inside for as long as the command, whose filter and capabilities it has not. So it keeps nothing but `caps`
/// (of the first process: the power to signal other users' processes), gains nothing by an exec, and is no dump to be
/// read, unless it is to be `seen` by its user.
pub(crate) fn harmless(caps: u64, seen: bool) -> Result<()> {
    let doing = "give up the capabilities of who stays inside";
    dumpable(seen)?;
    let held = caps::get().cannot(doing, "capget")?;
    let bounding = caps::bounding().cannot(doing, "prctl(PR_CAPBSET_READ)")?;
    for cap in (0..=CAPS).filter(|cap| bounding & 1 << cap != 0) {
        let drop = prctl(libc::PR_CAPBSET_DROP, u64::from(cap), 0);
        drop.cannot(doing, format_args!("prctl(PR_CAPBSET_DROP, {cap})"))?;
    }
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)
        .cannot(doing, "prctl(PR_CAP_AMBIENT_CLEAR_ALL)")?;
    let left = held.permitted & caps;
    caps::set(caps::Sets { effective: left, permitted: left, inheritable: 0 }).cannot(doing, "capset")?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).cannot(doing, "prctl(PR_SET_NO_NEW_PRIVS)").map(drop)
}
