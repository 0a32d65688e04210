//! podman where cgroup v2 is all there is: what it then does in another way than on v1. The rest of what it does is in
//! `engines`.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "engines/claims.rs"]
#[allow(dead_code, reason = "some are enough here")]
mod claims;

use catena_tests::engines::Podman;
use catena_tests::requires;

macro_rules! claims {
    ($($name:ident;)*) => {$(
        #[test]
        fn $name() {
            // podman limits pids unless told otherwise.
            if !requires::root() || !requires::cgroup_v2_controller("pids") {
                return;
            }
            if let Some(podman) = Podman::start() {
                claims::$name(&podman);
            }
        }
    )*};
}

/// An ordinary user's: without any right to cgroups, and with one that is theirs.
macro_rules! claims_of_a_user {
    ($start:ident: $($name:ident;)*) => {$(
        #[test]
        fn $name() {
            if requires::root() && requires::cgroup_v2_controller("pids") && let Some(podman) = Podman::$start() {
                claims::$name(&podman);
            }
        }
    )*};
}

mod of_a_user {
    use super::{Podman, claims, requires};

    claims_of_a_user! {
        start_for_user:
        run_is_the_commands;
    }
}

mod of_a_user_with_a_cgroup {
    use super::{Podman, claims, requires};

    claims_of_a_user! {
        start_for_user_with_a_cgroup:
        limits_are_in_the_cgroup;
        pause_stops_the_clock;
    }
}

claims! {
    limits_are_in_the_cgroup;
    a_life_in_the_background;
    pause_stops_the_clock;
    a_killed_container_is_gone;
    update_changes_the_limit;
}
