//! `--pid`: maps for a namespace that another program made; and the questions.

mod user;

use catena_tests::{Output, requires, shell, tool};
use user::{GRANTS, possible, run};

/// A process in a fresh, unmapped user namespace, `$P`; then `line`.
fn with_target(line: &str) -> String {
    let wait = "until [ \"$(readlink /proc/$P/ns/user)\" != \"$(readlink /proc/self/ns/user)\" ]; do sleep 0.01; done";
    format!("unshare -U sleep 60 & P=$!; {wait}; {line}; R=$?; kill $P; wait $P 2>/dev/null; exit $R")
}

fn root(line: &str) -> Output {
    shell(&with_target(line)).run()
}

fn tight(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn root_maps_another_process() {
    if !requires::root() {
        return;
    }
    let args = "--map-users 0:100000:10 --map-groups 0:200000:20 --setgroups deny";
    let out =
        root(&format!("idmap --pid $P {args} && cat /proc/$P/uid_map /proc/$P/gid_map /proc/$P/setgroups"));
    assert_eq!(tight(&out.succeeds().stdout), "0 100000 10 0 200000 20 deny");
    let out = root("idmap --pid=$P -r --print && cat /proc/$P/uid_map");
    assert!(out.succeeds().stdout.contains("0 to 0 inside are 0 to 0 outside"));
    assert!(!tight(&out.stdout).ends_with("0 0 1"), "--print wrote");
}

#[test]
fn an_ordinary_user_maps_its_own_with_the_programs() {
    if !possible() {
        return;
    }
    let out = run(GRANTS, &with_target("idmap --pid $P --auto && cat /proc/$P/uid_map"));
    assert_eq!(tight(&out.succeeds().stdout), "0 54321 1 1 300000 65535");
    let out = run("", &with_target("idmap --pid $P -r && cat /proc/$P/gid_map /proc/$P/setgroups"));
    assert_eq!(tight(&out.succeeds().stdout), "0 54321 1 deny");
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    if !requires::root() {
        return;
    }
    root("idmap --pid $P -r; idmap --pid $P -r").refuses(125, "its user map is written already");
    root("idmap --pid $$ -r").refuses(125, "it is in our own user namespace");
    root("idmap --pid 999999999 -r").refuses(125, "pidfd_open(999999999): No such process (ESRCH)");
    root("idmap --pid 4194303 -r").refuses(125, "pidfd_open(4194303): No such process (ESRCH)");
    root("idmap --pid $P").refuses(125, "it says no ids to map");
    root("idmap --pid $P -r -- echo ran").refuses(125, "runs nothing");
    root("idmap --pid 0 -r").refuses(125, "--pid");
    root("idmap --pid -1 -r").refuses(125, "--pid");
}

#[test]
fn questions_are_answered_and_nothing_happens() {
    if !requires::root() {
        return;
    }
    let out = tool("idmap").args(["-r", "--print"]).run();
    assert!(out.succeeds().stdout.contains("written by the process itself"));
    let layer = tool("idmap").args(["--map-users", "0:1:2", "--print", "--json"]).run().json();
    assert_eq!(layer["spec"]["uidMappings"][0]["hostID"], 1);
    tool("idmap").args(["-r", "--check"]).run().succeeds();
    tool("idmap").args(["--map-users", "0:4000000000:5", "--check"]).run().succeeds();

    let out = root("idmap --pid $P --map-users 0:100000:10 && idmap --show $P");
    let layer = out.succeeds().clone().json();
    assert_eq!(layer["tool"], "idmap");
    assert_eq!(layer["spec"]["uidMappings"][0]["size"], 10);
    tool("idmap").args(["--show", "999999999"]).run().refuses(125, "999999999");

    let line = "echo 0 > /proc/sys/user/max_user_namespaces && exec idmap --map-user 0 --check";
    shell(&format!("exec unshare -rm bash -c '{line}'")).run().refuses(125, "unshare(CLONE_NEWUSER)");
}

#[test]
fn help_and_version_are_printed() {
    assert!(tool("idmap").arg("--help").run().succeeds().stdout.contains("Examples:"));
    let version = tool("idmap").args(["--version", "--json"]).run().json();
    assert_eq!(version["tool"], "idmap");
}
