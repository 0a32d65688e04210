//! What the plan asks of the host: read, and nothing changed.

use chain::landing::Landing;
use chain::spec::SeccompLoad;
use chain::sys::caps;
use chain::sys::process::prctl;
use chain::{Cannot, Error, Result};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Capabilities that the command can come to hold; looked up only for a profile, whose rules can depend on them.
    pub(crate) caps: u64,
    /// Version of this kernel; likewise.
    pub(crate) kernel: (u32, u32),
    /// no_new_privs is on already, or the landing sets it for cap-drop.
    pub(crate) no_new_privs: bool,
    /// CAP_SYS_ADMIN is in force here.
    pub(crate) sys_admin: bool,
}

/// Looks. `landing` is what cap-drop, if it stood before, left to be done.
pub(crate) fn gather(spec: &SeccompLoad, landing: &Landing) -> Result<Facts> {
    let held = caps::get().cannot("look at the capabilities", "capget")?;
    let now = prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0)
        .cannot("look at no_new_privs", "prctl(PR_GET_NO_NEW_PRIVS)")?;
    let mut facts = Facts {
        no_new_privs: now == 1 || landing.no_new_privs,
        sys_admin: held.effective & ::caps::Capability::CAP_SYS_ADMIN.bitmask() != 0,
        ..Facts::default()
    };
    if spec.profile.is_some() {
        let (bounding, permitted) = match &landing.capabilities {
            Some(sets) => (sets.bounding, sets.permitted),
            None => {
                let bounding =
                    caps::bounding().cannot("look at the capabilities", "prctl(PR_CAPBSET_READ)")?;
                (bounding, held.permitted)
            }
        };
        facts.caps = reach(bounding, permitted, facts.no_new_privs || !spec.allow_new_privileges);
        facts.kernel = kernel()?;
    }
    Ok(facts)
}

/// What an exec can give at most: what is in the bounding set, and under no_new_privs nothing that is not held before.
fn reach(bounding: u64, permitted: u64, no_new_privs: bool) -> u64 {
    if no_new_privs { bounding & permitted } else { bounding }
}

fn kernel() -> Result<(u32, u32)> {
    let doing = "ask which kernel this is";
    let uname = nix::sys::utsname::uname().cannot(doing, "uname")?;
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => Err(Error::new(
            chain::Class::Unsupported,
            doing,
            format_args!("uname: '{release}' is no version"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_new_privileges_what_is_not_held_is_out_of_reach() {
        assert_eq!(reach(0b111, 0b001, true), 0b001);
        assert_eq!(reach(0b111, 0b001, false), 0b111);
        assert_eq!(reach(0b010, 0b001, true), 0);
    }

    #[test]
    fn this_kernel_has_a_version() {
        assert!(kernel().unwrap() >= (4, 0));
    }
}
