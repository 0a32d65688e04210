//! What the runner does to a container's cgroup: find it again, look at it, empty it, remove it. The work is
//! `chain::cgroup`'s.

use chain::Result;
use chain::bytes::Bytes;
use chain::cgroup::{Group, Hierarchies};
use chain::state::Receipt;

/// The folders that cg-apply's receipt names.
pub(crate) fn of_receipt(receipt: &Receipt) -> Vec<Bytes> {
    let paths = receipt.applied["cgroup"].as_array().cloned().unwrap_or_default();
    paths.iter().filter_map(|path| serde_json::from_value(path.clone()).ok()).collect()
}

/// The folders that the group `path` would have.
pub(crate) fn expected(path: &Bytes) -> Result<Vec<Bytes>> {
    Ok(Hierarchies::detect()?.group(Some(path), "")?.paths().cloned().collect())
}

/// Whether its processes stand still. A group that is gone is not frozen.
pub(crate) fn is_frozen(paths: &[Bytes]) -> bool {
    Group::at(paths).and_then(|group| group.is_frozen()).unwrap_or(false)
}

/// Its processes, and those of groups below it.
pub(crate) fn processes(paths: &[Bytes]) -> Result<Vec<i32>> {
    Group::at(paths)?.procs()
}

/// Kills what is in it.
pub(crate) fn empty(paths: &[Bytes]) -> Result<()> {
    let group = Group::at(paths)?;
    if group.procs()?.is_empty() { Ok(()) } else { group.kill() }
}

/// Lets frozen processes go on, to their end if they were killed.
pub(crate) fn thaw(paths: &[Bytes]) -> Result<()> {
    let group = Group::at(paths)?;
    if group.is_frozen()? { group.freeze(false) } else { Ok(()) }
}

/// Removes it.
pub(crate) fn remove(paths: &[Bytes]) -> Result<()> {
    Group::at(paths)?.remove()
}
