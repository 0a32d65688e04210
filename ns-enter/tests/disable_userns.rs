//! `--disable-userns`: nobody inside makes a user namespace, and all else is as without it.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Leftovers, Probe, requires, shell, tool};

/// Tries to make one, to raise the limit, and once more.
const TRIES: &str = "unshare -U true 2>/dev/null; echo $?; echo 99 2>/dev/null >/proc/sys/user/max_user_namespaces; \
    unshare -U true 2>/dev/null; echo $?";

const CHAINS: [&str; 5] = [
    "ns-enter -U",
    "ns-enter -Upm",
    "idmap -r -- ns-enter -mpniuC",
    "idmap -c -- ns-enter -n",
    "idmap -r -- ns-enter",
];

#[test]
fn no_user_namespace_can_be_made_inside() {
    let leftovers = Leftovers::watch();
    let limit = || std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
    let before = limit();
    for chain in CHAINS {
        let out = shell(&format!("{chain} --disable-userns -- sh -c '{TRIES}'")).run();
        assert_eq!(out.succeeds().stdout, "1\n1\n", "{chain}");
    }
    // Where idmap has done it, it is done.
    let line = format!("idmap -r --disable-userns -- ns-enter -m --disable-userns -- sh -c '{TRIES}'");
    assert_eq!(shell(&line).run().succeeds().stdout, "1\n1\n");
    assert_eq!(limit(), before, "the host keeps its limit");
    leftovers.check();
}

#[test]
fn all_else_is_as_without_it() {
    for chain in CHAINS.iter().filter(|chain| **chain != "idmap -r -- ns-enter") {
        let with = shell(&format!("{chain} --disable-userns -- \"$PROBE\"")).run().probe();
        let without = shell(&format!("{chain} -- \"$PROBE\"")).run().probe();
        let same = |p: &Probe| {
            (
                p.uid,
                p.gid,
                p.groups.clone(),
                p.caps,
                p.setgroups.clone(),
                p.ppid == 0,
                p.dumpable,
                p.pdeathsig,
            )
        };
        assert_eq!(same(&with), same(&without), "{chain}");
        with.expect_ns_differs(&["user"]).expect_only_std_fds().expect_plain_signals();
    }
}

#[test]
fn a_whole_box_can_be_made_in_it() {
    let line = "idmap -r -- ns-enter -mpniuC --disable-userns --hostname box -- rootfs-prep --tmpfs /mnt --proc /proc \
        -- sh -c 'mount | grep -c \" /mnt \"; uname -n; unshare -U true 2>/dev/null; echo $?'";
    assert_eq!(shell(line).run().succeeds().stdout, "1\nbox\n1\n");
}

#[test]
fn a_limit_of_others_is_not_touched() {
    let line = "--join uts=/proc/self/ns/uts --disable-userns";
    let run = tool("ns-enter").args(line.split(' ')).verb(["ran"]).run();
    run.refuses(125, "cannot disable further user namespaces: no user namespace is made");
    tool("ns-enter").arg("--disable-userns").verb(["ran"]).run().refuses(125, "no user namespace is made");
    if !requires::root() {
        return;
    }
    let line = "unshare -U sleep 60 & until [ \"$(readlink /proc/$!/ns/user)\" != \"$(readlink /proc/$$/ns/user)\" ]; do :; done; \
        ns-enter -t $! -U --disable-userns -- echo ran; status=$?; kill $!; exit $status";
    shell(line).run().refuses(125, "the user namespace is joined");
}
