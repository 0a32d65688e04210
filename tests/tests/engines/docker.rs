//! Docker.

use crate::claims;
use catena_tests::engines::{Docker, Engine, IMAGE};

macro_rules! claims {
    ($($name:ident;)*) => {$(
        #[test]
        fn $name() {
            if let Some(docker) = Docker::start() {
                claims::$name(&docker);
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

/// Docker asks for every capability there is, not for those that root has.
#[test]
fn privileged_is_all_that_root_has() {
    if !catena_tests::requires::capability("SYS_RESOURCE") {
        return;
    }
    let Some(docker) = Docker::start() else { return };
    claims::privileged_is_all_that_root_has(&docker);
}

#[test]
fn inspect_and_info_name_the_runtime() {
    let Some(docker) = Docker::start() else { return };
    docker.start(&["--name=named"], &["sleep", "99"]);
    assert_eq!(docker.inspect("{{.HostConfig.Runtime}}", "named"), "catena");
    assert_eq!(docker.ok(&["info", "--format", "{{.DefaultRuntime}}"]), "catena");
}

#[test]
fn a_health_check_is_run_inside() {
    let Some(docker) = Docker::start() else { return };
    docker.start(
        &["--name=well", "--health-cmd=test -f /etc/image", "--health-interval=100ms"],
        &["sleep", "99"],
    );
    docker.becomes("{{.State.Health.Status}}", "well", "healthy");
}

/// Each RUN is a container; what the last stage takes from the first is there, what it does not is not.
#[test]
fn a_build_of_two_stages() {
    let Some(docker) = Docker::start() else { return };
    let lines = format!(
        "FROM {IMAGE} AS one\nRUN echo made > /made && echo secret > /secret\nFROM {IMAGE}\nCOPY --from=one /made /made\n\
         USER 1000\nRUN id -u > /tmp/who\nRUN test ! -e /secret\nCMD [\"cat\", \"/made\", \"/tmp/who\"]\n"
    );
    let file = docker.place().dir.file("build/Dockerfile", lines);
    let folder = file.parent().unwrap().to_str().unwrap().to_string();
    docker.ok(&["build", "--network=none", "--tag=two", &folder]);
    let out = docker.cli(&["run", "--rm", "--network=none", "two"]).run();
    assert_eq!(out.succeeds().stdout, "made\n1000\n");
    let fails =
        docker.place().dir.file("fails/Dockerfile", format!("FROM {IMAGE}\nRUN exit 3\nRUN echo went on\n"));
    let out = docker.cli(&["build", "--network=none", fails.parent().unwrap().to_str().unwrap()]).run();
    assert!(out.status != 0 && out.stderr.contains("non-zero code: 3"), "{out:#?}");
    assert!(!out.stdout.contains("Step 3/3"), "{out:#?}");
}
