//! `--disable-userns`: nobody inside makes a user namespace, and all else is as without it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod user;

use catena_tests::{requires, shell, tool};
use user::{GRANTS, possible, run};

const TRIES: &str = "unshare -U true 2>&1; echo $?; echo 99 2>/dev/null >/proc/sys/user/max_user_namespaces; \
    unshare -U true 2>/dev/null; echo $?";

#[test]
fn no_user_namespace_can_be_made_inside() {
    if !possible() {
        return;
    }
    for options in ["-r", "-c", "--auto", "-c --auto"] {
        let plain = run(GRANTS, &format!("idmap {options} -- unshare -U true; echo $?")).stdout;
        assert_eq!(plain, "0\n", "{options}: this host can");
        let out = run(GRANTS, &format!("idmap {options} --disable-userns -- sh -c '{TRIES}'"));
        let lines: Vec<_> = out.succeeds().stdout.lines().map(String::from).collect();
        assert!(
            lines[0].contains("No space left on device") || lines[0].contains("Too many users"),
            "{options}: {out:?}"
        );
        assert_eq!(lines[1..], ["1", "1"], "{options}: {out:?}");
    }
}

#[test]
fn the_ids_are_those_without_it() {
    if !possible() {
        return;
    }
    for options in ["-r", "-c", "--auto", "-c --auto"] {
        let with = run(GRANTS, &format!("idmap {options} --disable-userns -- $PROBE")).probe();
        let without = run(GRANTS, &format!("idmap {options} -- $PROBE")).probe();
        assert_eq!(
            (with.uid, with.gid, &with.groups),
            (without.uid, without.gid, &without.groups),
            "{options}"
        );
        assert_eq!((&with.caps, &with.setgroups), (&without.caps, &without.setgroups), "{options}");
        // A file that root of the inside makes is the same user's outside.
        let map = |probe: &catena_tests::Probe| probe.uid_map.as_ref().map(Vec::len);
        assert_eq!(map(&with), map(&without), "{options}");
    }
}

#[test]
fn a_whole_box_can_be_made_in_it() {
    if !possible() {
        return;
    }
    let line = "idmap -r --disable-userns -- ns-enter -mpniuC -- rootfs-prep --tmpfs /tmp --proc /proc -- sh -c 'mount | grep -c \" /tmp \"; unshare -U true 2>/dev/null; echo $?'";
    assert_eq!(run(GRANTS, line).succeeds().stdout, "1\n1\n");
}

#[test]
fn root_has_it_too_and_the_host_keeps_its_limit() {
    if !requires::root() {
        return;
    }
    let limit = || std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
    let before = limit();
    let args = ["--map-users", "0:100000:65536", "--map-groups", "0:100000:65536", "--disable-userns"];
    let out = tool("idmap").args(args).command(["sh", "-c", TRIES]).run();
    assert!(out.succeeds().stdout.ends_with("\n1\n1\n"), "{out:?}");
    assert_eq!(limit(), before);
    let shown = tool("idmap").args(args).arg("--print").run();
    assert!(shown.succeeds().stdout.contains("no further user namespaces inside"));
}

#[test]
fn without_a_user_namespace_there_is_nothing_to_limit() {
    let plan =
        r#"{"catena":1,"layers":[{"tool":"idmap","spec":{"disableUserNamespaces":true}}],"complete":true}"#;
    let line = format!("echo '{plan}' | cap-drop --all -- echo ran");
    shell(&line).run().refuses(125, "no user namespace is made here");
    shell("idmap --pid 1 -r --disable-userns").run().refuses(125, "exclude each other");
}
