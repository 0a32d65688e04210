//! A cgroup that the command enters at the end: what cannot go with it.

use chain::oci::NamespaceKind;
use chain::spec::NsEnter;
use chain::state::State;
use chain::{Class, Error, Result};

/// Refuses what cannot be where the command enters its cgroup at the end: a cgroup namespace begins at the group that its
/// maker is in, and whoever lives in a namespace that is joined could reach the way in.
pub(crate) fn refuse(spec: &NsEnter, state: &State) -> Result<()> {
    if state.fds.groups.is_empty() {
        return Ok(());
    }
    let order = |what: &str| {
        let detail =
            format!("cg-apply --leaf lets the command alone enter its cgroup, at the end, and {what}");
        Err(Error::new(Class::Order, "enter namespaces", detail).cure("cg-apply without --leaf"))
    };
    match spec.namespaces.iter().find(|ns| ns.path.is_some() || ns.kind == NamespaceKind::Cgroup) {
        Some(ns) if ns.path.is_some() => order("no way into it may lead through a namespace of others"),
        Some(_) => order("a cgroup namespace would begin at the group that is left then"),
        None => Ok(()),
    }
}
