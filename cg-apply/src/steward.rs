//! Who removes the group: a supervisor that stays outside of it, unless it is to be kept.

use crate::plan::Plan;
use chain::Result;
use chain::cgroup::Group;
use chain::state::State;
use chain::supervise::{Side, split};

/// Forks where a group is to be removed at the end. In the child, which goes on with the chain: None. In the
/// supervisor: the command's status, when it has ended and the group is gone.
pub(crate) fn stay(plan: &mut Plan, state: &mut State) -> Result<Option<u8>> {
    let Some(group) = plan.group.as_mut().filter(|_| !plan.keep) else { return Ok(None) };
    let side = split(0, state);
    match side {
        Ok(Side::Child) => Ok(None),
        Ok(Side::Supervisor(mut child)) => {
            let status = child.wait();
            clean_up(group)?;
            status.map(Some)
        }
        Err(error) => {
            group.undo()?;
            Err(error)
        }
    }
}

/// Whatever the command left in the group ends with it. A group that was there before us is not ours to empty.
fn clean_up(group: &mut Group) -> Result<()> {
    if group.dirs.iter().all(chain::cgroup::Dir::is_new) {
        if !group.procs()?.is_empty() {
            group.kill()?;
        }
        group.remove()?;
    }
    group.undo()
}
