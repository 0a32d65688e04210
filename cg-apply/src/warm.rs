//! A small group is not charged for the programs of the chain: the kernel charges a page of a file to whoever reads it
//! first, and keeps it for everybody.

use chain::spec::CgApply;
use chain::state::State;
use rustix::fs::{Advice, CWD, Mode, OFlags, fadvise, fstat, openat};
use std::num::NonZeroU64;
use std::path::Path;

/// All the programs together need less; a group that may have more gets over it.
const SMALL: i64 = 32 << 20;

/// As much as the kernel reads at once when it is asked to.
const AT_ONCE: NonZeroU64 = NonZeroU64::new(128 << 10).unwrap();

/// Has the programs in memory before the group is entered, if it is a small one. What fails here is read later, by those
/// in the group.
pub(crate) fn programs(spec: &CgApply, state: &State) {
    let limit = spec.resources.as_ref().and_then(|r| r.memory.as_ref()?.limit);
    if limit.is_none_or(|limit| !(1..SMALL).contains(&limit)) {
        return;
    }
    read(Path::new("/proc/self/exe"));
    for fd in state.fds.tools.values() {
        // It is a path, of which nothing can be read.
        read(Path::new(&format!("/proc/self/fd/{fd}")));
    }
}

fn read(path: &Path) {
    let Ok(file) = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let size = fstat(&file).map_or(0, |stat| stat.st_size as u64);
    for at in (0..size).step_by(AT_ONCE.get() as usize) {
        if fadvise(&file, at, Some(AT_ONCE), Advice::WillNeed).is_err() {
            return;
        }
    }
}
