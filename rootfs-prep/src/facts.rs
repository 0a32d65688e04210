//! What must be known of this place before anything is mounted: whose mount namespace it is, and which other
//! namespaces are new.

use chain::name::ToolName;
use chain::oci::NamespaceKind;
use chain::proc::{mounts, namespace, read, status_field};
use chain::spec::RootfsPrep;
use chain::state::State;
use chain::{Class, Error, Result};

/// Facts that the plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The pid namespace is not that of /proc as it is.
    pub(crate) new_pid: bool,
    /// The network namespace is not the host's.
    pub(crate) new_net: bool,
}

impl Facts {
    /// As behind `ns-enter -mpniuC`.
    pub(crate) const ALL_NEW: Facts = Facts { new_pid: true, new_net: true };
}

/// Looks, as far as the layer makes it necessary.
pub(crate) fn gather(spec: &RootfsPrep, state: &State) -> Result<Facts> {
    let asks = |kind: &str| {
        let depends = |at: &chain::bytes::Bytes| spec.fresh_proc || spec.attempt.contains(at);
        spec.mounts.iter().any(|m| m.kind.as_deref() == Some(kind) && depends(&m.destination))
    };
    // The first process of a pid namespace is in a new one, whatever /proc shows.
    let new_pid = !asks("proc") || is_new(state, NamespaceKind::Pid) || std::process::id() == 1;
    let new_net = !asks("sysfs") || is_new(state, NamespaceKind::Network);
    Ok(Facts { new_pid, new_net })
}

fn receipt(state: &State, kind: NamespaceKind) -> Option<u64> {
    state.receipt(ToolName::NsEnter).and_then(|r| r.ns.get(&kind)).copied()
}

/// Made by the link before, or another than that of the first process that /proc shows. Who may not look at that
/// process is in a user namespace of his own; then the inode that the kernel gives only the first namespaces decides.
fn is_new(state: &State, kind: NamespaceKind) -> bool {
    if receipt(state, kind).is_some() {
        return true;
    }
    let Ok(own) = namespace("self", kind) else { return false };
    match namespace("1", kind) {
        Ok(first) => first != own,
        // PROC_PID_INIT_INO of linux/proc_ns.h; the network namespace has no such number.
        Err(_) => kind == NamespaceKind::Pid && own != 0xeffffffc,
    }
}

/// Whether the cgroup namespace is a new one: the first has the inode PROC_CGROUP_INIT_INO of linux/proc_ns.h.
pub(crate) fn new_cgroup_namespace() -> bool {
    namespace("self", NamespaceKind::Cgroup).is_ok_and(|own| own != 0xeffffffb)
}

/// Whether the user namespace is not the first, which has the inode PROC_USER_INIT_INO of linux/proc_ns.h.
pub(crate) fn in_user_namespace() -> bool {
    namespace("self", NamespaceKind::User).is_ok_and(|own| own != 0xeffffffd)
}

/// What tells whose mount namespace this is.
#[derive(Clone, Copy, Debug)]
struct Lives {
    own: u64,
    /// That of the first process, and of the first kernel thread, that /proc shows. None: it may not be looked at,
    /// which also happens to root (of one who holds more capabilities), so it is no proof of anything.
    first: [Option<u64>; 2],
    /// That of the process that started this one, as far as /proc shows it.
    starter: Option<u64>,
    /// What ns-enter says to have made or joined.
    entered: Option<u64>,
    root_is_shared: bool,
}

/// Namespaces that were there before any program have the lowest numbers: a fixed one below PROC_DYNAMIC_FIRST of
/// fs/proc/generic.c since Linux 6.18, else one of the first that were given out. Between them and what a program makes
/// lie the hundreds of files of /proc itself, which are numbered from the same pool.
const MADE_AT_BOOT: u64 = 0xf000_0000 + 64;

impl Lives {
    fn judge(self) -> Result<()> {
        let wrong = |what: &str| {
            Err(Error::new(Class::Order, "prepare the root", what)
                .cure("ns-enter -mpniuC -- rootfs-prep … -- COMMAND"))
        };
        if self.own < MADE_AT_BOOT {
            return wrong("this is the host's mount namespace: every mount would be the host's");
        }
        if self.entered == Some(self.own) {
            return Ok(());
        }
        if self.first.contains(&Some(self.own)) {
            return wrong(
                "the first process lives in this mount namespace: every mount would be its own as well",
            );
        }
        if self.starter == Some(self.own) {
            return wrong(
                "who started this lives in this mount namespace: every mount would be its own as well",
            );
        }
        if self.root_is_shared {
            return wrong("the root mount is shared: every mount would spread to the host");
        }
        Ok(())
    }
}

/// Refuses to work in a mount namespace that others live in: every mount would be theirs too. The state may say what
/// it likes, the kernel decides.
pub(crate) fn own_mount_namespace(state: &State) -> Result<()> {
    let shared = |m: &chain::proc::MountInfo| m.propagation.iter().any(|p| p.starts_with("shared:"));
    let first = ["1", "2"].map(|who| namespace(who, NamespaceKind::Mount).ok());
    let root_is_shared = mounts()?.iter().rev().find(|m| m.target.0 == b"/").is_some_and(shared);
    let (own, entered) = (namespace("self", NamespaceKind::Mount)?, receipt(state, NamespaceKind::Mount));
    Lives { own, first, starter: starter(), entered, root_is_shared }.judge()
}

/// The mount namespace of the parent. The first process of a pid namespace was forked by who has to wait for it, one
/// that came into the new mount namespace only to do so (`unshare -mpf`): then it is that one's parent.
fn starter() -> Option<u64> {
    let parent = |who: &str| status_field(&read(&format!("/proc/{who}/status")).ok()?, "PPid");
    let mut who = parent("self")?;
    if std::process::id() == 1 {
        who = parent(&who)?;
    }
    namespace(&who, NamespaceKind::Mount).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: u64 = 4_026_532_300;
    const NEW: Lives =
        Lives { own: MADE, first: [None, None], starter: None, entered: None, root_is_shared: false };

    #[test]
    fn the_hosts_namespace_is_refused_even_where_the_first_process_may_not_be_looked_at() {
        // Of Linux 6.18, of 6.1, of 4.19, as seen.
        for own in [4_026_531_832, 4_026_531_841, 4_026_531_840] {
            for entered in [None, Some(own)] {
                let error = Lives { own, entered, ..NEW }.judge().unwrap_err();
                assert_eq!(error.class, Class::Order);
                assert!(error.to_string().contains("the host's mount namespace"), "{error}");
            }
        }
    }

    #[test]
    fn a_namespace_that_others_live_in_is_refused_unless_it_was_entered_on_purpose() {
        NEW.judge().unwrap();
        let init = Lives { first: [Some(MADE), None], ..NEW };
        init.judge().unwrap_err();
        Lives { entered: Some(MADE), ..init }.judge().unwrap();
        Lives { entered: Some(MADE + 1), ..init }.judge().unwrap_err();
        Lives { first: [None, Some(MADE)], ..NEW }.judge().unwrap_err();
        Lives { root_is_shared: true, ..NEW }.judge().unwrap_err();
        Lives { starter: Some(MADE), ..NEW }.judge().unwrap_err();
        Lives { starter: Some(MADE + 1), ..NEW }.judge().unwrap();
        Lives { starter: Some(MADE), entered: Some(MADE), ..NEW }.judge().unwrap();
        Lives { first: [Some(MADE - 1), Some(MADE - 1)], ..NEW }.judge().unwrap();
    }
}
