//! `--disable-userns`.

use crate::resolve::Facts;
use chain::oci::NamespaceKind;
use chain::spec::NsEnter;
use chain::{Error, Result};

/// Whether there is to be a second user namespace; that of others is not ours to limit.
pub(crate) fn resolve(
    spec: &NsEnter,
    make: &[NamespaceKind],
    join: &[NamespaceKind],
    facts: &Facts,
) -> Result<bool> {
    let doing = "disable further user namespaces";
    if !spec.disable_user_namespaces || facts.disabled {
        return Ok(false);
    }
    if join.contains(&NamespaceKind::User) {
        return Err(Error::usage(
            doing,
            "the user namespace is joined, and its limit is everybody's in there",
        ));
    }
    if !make.contains(&NamespaceKind::User) && facts.mapped.is_none() {
        return Err(Error::usage(doing, "no user namespace is made, and the limit here is everybody's")
            .cure("idmap -r -- ns-enter --disable-userns …, or -U"));
    }
    Ok(true)
}
