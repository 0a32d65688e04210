//! What execve(2) makes of capabilities, capabilities(7) "Transformation of capabilities during execve()": asked sets
//! are sets before the exec, and the command only ever sees those after it.

use chain::landing::CapSets;

/// Who executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Executor {
    /// uid 0 of its user namespace, and no `noroot` among its secure bits: exec gives it bounding and inheritable.
    pub(crate) root: bool,
    /// Under no_new_privs the permitted set gains nothing at exec.
    pub(crate) no_new_privs: bool,
}

/// The sets after the exec of a program without file capabilities and without set-user-ID.
pub(crate) fn after(sets: CapSets, who: Executor) -> CapSets {
    let mut permitted = if who.root { sets.bounding | sets.inheritable } else { 0 };
    if who.no_new_privs {
        permitted &= sets.permitted;
    }
    permitted |= sets.ambient;
    let effective = if who.root { permitted } else { sets.ambient };
    CapSets { permitted, effective, ..sets }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: CapSets =
        CapSets { bounding: 0b1111, permitted: 0b0111, effective: 0b0001, inheritable: 0b1_0000, ambient: 0 };

    #[test]
    fn root_gets_bounding_and_inheritable_back() {
        let after = after(SETS, Executor { root: true, no_new_privs: false });
        assert_eq!((after.permitted, after.effective), (0b1_1111, 0b1_1111));
    }

    #[test]
    fn root_under_no_new_privs_gains_nothing_but_all_is_in_force() {
        let after = after(SETS, Executor { root: true, no_new_privs: true });
        assert_eq!((after.permitted, after.effective), (0b0111, 0b0111));
    }

    #[test]
    fn anybody_else_keeps_what_is_ambient() {
        let sets = CapSets { ambient: 0b0010, inheritable: 0b0010, ..SETS };
        let after = after(sets, Executor { root: false, no_new_privs: true });
        assert_eq!((after.permitted, after.effective, after.ambient), (0b0010, 0b0010, 0b0010));
    }
}
