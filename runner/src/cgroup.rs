//! What the runner does to a container's cgroup: find it again, look at it, empty it, remove it. The work is
//! `chain::cgroup`'s.

use chain::Result;
use chain::bytes::Bytes;
use chain::state::Receipt;

/// The folders that cg-apply's receipt names.
pub(crate) fn of_receipt(receipt: &Receipt) -> Vec<Bytes> {
    let paths = receipt.applied["cgroup"].as_array().cloned().unwrap_or_default();
    paths.iter().filter_map(|p| serde_json::from_value(p.clone()).ok()).collect()
}

/// Where the group `path` would be.
pub(crate) fn expected(_path: &Bytes) -> Result<Vec<Bytes>> {
    Ok(vec![])
}
pub(crate) fn is_frozen(_paths: &[Bytes]) -> bool {
    false
}
pub(crate) fn processes(_paths: &[Bytes]) -> Result<Vec<i32>> {
    Ok(vec![])
}
pub(crate) fn empty(_paths: &[Bytes]) -> Result<()> {
    Ok(())
}
pub(crate) fn thaw(_paths: &[Bytes]) -> Result<()> {
    Ok(())
}
pub(crate) fn remove(_paths: &[Bytes]) -> Result<()> {
    Ok(())
}
