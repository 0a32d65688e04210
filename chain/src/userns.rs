//! What a process does right after it came into a user namespace: whoever made or joined it holds every capability in
//! there, and the next exec takes them away again from all but user 0.

use crate::error::{Cannot, Class, Error, Result};
use crate::landing::CapSets;
use crate::oci::IdMapping;
use crate::proc;
use crate::state::State;
use crate::sys::caps;
use crate::sys::process::{prctl, set_gids, set_groups, set_uids};
use nix::errno::Errno;
use std::os::fd::BorrowedFd;

/// Reads a uid_map or gid_map, user_namespaces(7).
pub fn parse_map(text: &[u8]) -> Result<Vec<IdMapping>> {
    let wrong =
        || Error::new(Class::Internal, "read an id map", String::from_utf8_lossy(text).escape_debug());
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().map(str::parse::<u32>);
        let mut next = || words.next()?.ok();
        Some(IdMapping { container_id: next()?, host_id: next()?, size: next()? })
    };
    text.lines().map(|l| line(l).ok_or_else(wrong)).collect()
}

/// Who this process is in its new user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// User 0: keeps its capabilities over exec by being that.
    Root,
    /// Somebody else, or nobody: keeps them over exec by the ambient set, as far as the landing.
    Ambient,
}

/// Becomes user and group 0 of the present user namespace where they are mapped. Where they are not, raises all
/// capabilities in the ambient set, so that later links keep them; the command does not, unless a cap-drop layer says
/// otherwise, as unshare(1) and nsenter(1) do it. `proc` is a procfs that shows this process.
pub fn settle(proc: BorrowedFd<'_>, state: &mut State) -> Result<Settled> {
    let maps_zero = |path: &str| {
        let map = parse_map(&proc::read_at(proc, path)?)?;
        Ok(map.iter().any(|m| m.container_id == 0 && m.size > 0))
    };
    let settled = if maps_zero("self/uid_map")? {
        if maps_zero("self/gid_map")? {
            leave_groups(proc)?;
            set_gids(0).cannot("become group 0 of the user namespace", "setresgid(0)")?;
        }
        set_uids(0).cannot("become user 0 of the user namespace", "setresuid(0)")?;
        Settled::Root
    } else {
        keep_over_exec()?;
        let bounding = caps::bounding().cannot("look at the capabilities", "prctl(PR_CAPBSET_READ)")?;
        state.landing.capabilities.get_or_insert(CapSets { bounding, ..CapSets::default() });
        Settled::Ambient
    };
    // The kernel forgets the death signal with every change of user.
    if let Some(signal) = state.landing.death_signal {
        let doing = "die with the supervisor";
        prctl(nix::libc::PR_SET_PDEATHSIG, signal as u64, 0).cannot(doing, "prctl(PR_SET_PDEATHSIG)")?;
    }
    Ok(settled)
}

/// Supplementary groups of the outside give access inside; where setgroups is denied they stay, for dropping a group
/// can widen access as well.
fn leave_groups(proc: BorrowedFd<'_>) -> Result<()> {
    match set_groups(&[]) {
        Err(Errno::EPERM) if proc::read_at(proc, "self/setgroups")?.starts_with(b"deny") => Ok(()),
        other => other.cannot("leave the supplementary groups", "setgroups([])"),
    }
}

fn keep_over_exec() -> Result<()> {
    let doing = "keep capabilities for the later links";
    let held = caps::get().cannot(doing, "capget")?;
    let all =
        caps::Sets { effective: held.permitted, permitted: held.permitted, inheritable: held.permitted };
    caps::set(all).cannot(doing, "capset")?;
    for cap in (0..64).filter(|cap| held.permitted & 1 << cap != 0) {
        caps::raise_ambient(cap).cannot(doing, format_args!("prctl(PR_CAP_AMBIENT_RAISE, {cap})"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_as_the_kernel_writes_them() {
        let map = parse_map(b"         0       1001          1\n         1     100000 4294867295\n").unwrap();
        assert_eq!(map[1], IdMapping { container_id: 1, host_id: 100_000, size: 4_294_867_295 });
        assert_eq!((map.len(), map[0].host_id), (2, 1001));
        assert!(parse_map(b"").unwrap().is_empty());
        for bad in [&b"0 1"[..], b"0 1 x\n", b"0 1 -1\n", b"\xff\n"] {
            assert!(parse_map(bad).is_err());
        }
    }
}
