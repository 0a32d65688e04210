//! podman.

use crate::claims;
use catena_tests::engines::{Engine, Podman};

macro_rules! claims {
    ($($name:ident;)*) => {$(
        #[test]
        fn $name() {
            if let Some(podman) = Podman::start() {
                claims::$name(&podman);
            }
        }
    )*};
}

claims! {
    run_is_the_commands;
    a_command_that_cannot_run_says_why;
    a_plain_container_is_confined;
    limits_are_in_the_cgroup;
    read_only_is;
    capabilities_are_those_asked_for;
    privileged_is_all_that_root_has;
    the_filter_is_the_one_given;
    the_process_is_as_asked_for;
    a_terminal_is_one;
    a_life_in_the_background;
    exec_joins;
    pause_stops_the_clock;
    attach_and_wait;
    a_killed_container_is_gone;
    update_changes_the_limit;
}

#[test]
fn inspect_and_ps_name_the_runtime() {
    let Some(podman) = Podman::start() else { return };
    podman.start(&["--name=named"], &["sleep", "99"]);
    assert_eq!(podman.inspect("{{.OCIRuntime}}", "named"), "catena");
    let info = podman.ok(&["info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Version}}"]);
    assert!(info.starts_with("catena runner version"), "{info}");
}

/// Its command is an exec.
#[test]
fn a_health_check_is_run_inside() {
    let Some(podman) = Podman::start() else { return };
    let check =
        ["--name=well", "--health-cmd=test -f /well", "--health-interval=disable", "--health-retries=1"];
    podman.start(&check, &["sleep", "99"]);
    podman.cli(&["healthcheck", "run", "well"]).run().fails(1, "");
    podman.ok(&["exec", "well", "touch", "/well"]);
    podman.ok(&["healthcheck", "run", "well"]);
    assert_eq!(podman.inspect("{{.State.Health.Status}}", "well"), "healthy");
}

/// The containers of a pod join the namespaces of its first one.
#[test]
fn a_pod_shares_its_namespaces() {
    let Some(podman) = Podman::start() else { return };
    podman.pod("pod");
    let line = "for n in ipc net uts; do readlink /proc/self/ns/$n; done";
    let one = podman.in_pod("pod", line);
    let other = podman.in_pod("pod", line);
    assert_eq!(one, other, "ipc, network and UTS are the pod's");
    assert_eq!(podman.in_pod("pod", "touch /mine; ls -d /mine"), "/mine");
    assert_eq!(podman.in_pod("pod", "ls -d /mine 2>&1 || :"), "ls: /mine: No such file or directory");
    podman.ok(&["pod", "pause", "pod"]);
    podman.ok(&["pod", "unpause", "pod"]);
    podman.ok(&["pod", "stop", "--time=0", "pod"]);
    podman.remove_pods();
}

/// Root in it is nobody outside.
#[test]
fn ids_are_mapped() {
    let Some(podman) = Podman::start() else { return };
    let map = ["--rm", "--uidmap=0:100000:1000", "--gidmap=0:100000:1000"];
    let p = podman.run(&map, &["/probe"]).probe();
    assert_eq!((p.uid, p.uid_map.as_deref()), (0, Some(["0 100000 1000".to_string()].as_slice())));
    p.expect_ns_differs(&["user"]);
    podman.run(&map, &["sh", "-c", "touch /etc/mine && ls -ln /etc/mine"]).succeeds();
}

/// The engine and its containers are an ordinary user's, without any right to cgroups.
mod of_a_user {
    use crate::claims;
    use catena_tests::engines::Podman;

    macro_rules! claims {
        ($($name:ident;)*) => {$(
            #[test]
            fn $name() {
                if let Some(podman) = Podman::start_for_user() {
                    claims::$name(&podman);
                }
            }
        )*};
    }

    claims! {
        run_is_the_commands;
        a_command_that_cannot_run_says_why;
        read_only_is;
        capabilities_are_those_asked_for;
        a_terminal_is_one;
        a_life_in_the_background;
        exec_joins;
        attach_and_wait;
        a_killed_container_is_gone;
    }
}
