//! A limit that the chain could not live in: of one process, itself, and no other. Its links fork in the container's
//! cgroup, so this limit comes when they are done and the command has not begun.

use crate::container::Record;
use crate::update;
use chain::Result;
use chain::oci::{Config, Pids, Resources};
use chain::spec::CgApply;

/// Leaves the chain room for the one that it forks.
pub(crate) fn loosen(layer: &mut CgApply) {
    let limit = layer.resources.as_mut().and_then(|r| r.pids.as_mut()).and_then(|p| p.limit.as_mut());
    if let Some(limit) = limit.filter(|limit| is_too_tight(**limit)) {
        *limit = 2;
    }
}

/// Sets what the config asks for.
pub(crate) fn tighten(config: &Config, record: &Record) -> Result<()> {
    let limit = config.linux.as_ref().and_then(|l| l.resources.as_ref()?.pids.as_ref()?.limit);
    match limit.filter(|limit| is_too_tight(*limit) && !record.cgroups.is_empty()) {
        Some(_) => {
            let pids = Some(Pids { limit });
            update::apply(record, &Resources { pids, ..Resources::default() }, "limit the container".into())
        }
        None => Ok(()),
    }
}

fn is_too_tight(limit: i64) -> bool {
    (0..2).contains(&limit)
}
