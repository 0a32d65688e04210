//! The proof: every new namespace is another one than before, every joined one is the one that was meant.

use crate::resolve::Plan;
use crate::targets::Targets;
use chain::oci::NamespaceKind;
use chain::{Cannot, Error, Result};
use rustix::fs::{AtFlags, statat};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

/// The namespaces that will be made anew, as they are before.
pub(crate) struct Before(Vec<(NamespaceKind, u64)>);

impl Before {
    /// Looks.
    pub(crate) fn look(plan: &Plan, proc: BorrowedFd<'_>) -> Result<Before> {
        let look = |kind: &NamespaceKind| Ok((*kind, inode(proc, kind.proc_name())?));
        plan.make.iter().map(look).collect::<Result<_>>().map(Before)
    }

    /// Looks again, and gives all namespaces made and joined. Before there was a fork, a pid namespace is that of the
    /// children to come.
    pub(crate) fn prove(
        &self,
        plan: &Plan,
        targets: &Targets,
        proc: BorrowedFd<'_>,
        forked: bool,
    ) -> Result<BTreeMap<NamespaceKind, u64>> {
        let mut all = BTreeMap::new();
        // Without a fork it is the next program's first child that comes into it, and until then it cannot be looked at.
        let looks = |kind: NamespaceKind| kind != NamespaceKind::Pid || forked;
        for (kind, before) in self.0.iter().filter(|(kind, _)| looks(*kind)) {
            let now = inode(proc, kind.proc_name())?;
            if now == *before {
                let object = format!("the new {} namespace", kind.as_str());
                return Err(Error::readback(object, format_args!("another than {before}"), now));
            }
            all.insert(*kind, now);
        }
        for target in targets.list.iter() {
            let now = if looks(target.kind) {
                inode(proc, target.kind.proc_name())
            } else {
                inode(proc, "pid_for_children")
            }?;
            if now != target.inode {
                let object = format!("the {} namespace joined", target.kind.as_str());
                return Err(Error::readback(object, target.inode, now));
            }
            all.insert(target.kind, now);
        }
        if let Some(mapped) = plan.mapped {
            let now = if plan.nest { inode(proc, NamespaceKind::User.proc_name())? } else { mapped };
            all.insert(NamespaceKind::User, now);
        }
        Ok(all)
    }
}

fn inode(proc: BorrowedFd<'_>, name: &str) -> Result<u64> {
    let path = format!("self/ns/{name}");
    let stat = statat(proc, &path, AtFlags::empty())
        .cannot("prove the namespaces", format_args!("stat(/proc/{path})"))?;
    Ok(stat.st_ino)
}
