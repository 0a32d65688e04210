//! What survives the execs of a chain, row by row of the table in docs/design.md.

use catena_tests::{Probe, copy_program, requires, rootfs, shell};

/// A chain whose links change none of what the prelude sets up.
const CHAIN: &str = "cap-drop --allow-new-privs --securebits=no_setuid_fixup --no-keyring --keep-groups -- seccomp-load --allow-new-privs -s mount:EPERM -- ";

fn before_and_after(prelude: &str) -> (Probe, Probe) {
    let run = |chain: &str| shell(&format!("{prelude} {chain}$PROBE")).run().probe();
    (run(""), run(CHAIN))
}

fn probe(line: &str) -> Probe {
    let out = shell(line).run();
    assert_eq!(out.stderr, "", "{line}");
    out.probe()
}

/// namespaces, root, cwd, cgroup, mounts.
#[test]
fn where_the_process_is() {
    if !requires::root() {
        return;
    }
    let (before, after) = before_and_after("cd /usr; unshare -mniuC -- ");
    assert_eq!(after.cwd, before.cwd);
    assert_eq!((&after.cgroup, &after.root), (&before.cgroup, &before.root));
    after.expect_ns_differs(&["mnt", "net", "ipc", "uts", "cgroup"]).expect_ns_same(&["pid", "user", "time"]);
    let points = |p: &Option<Vec<catena_tests::Mount>>| {
        p.iter().flatten().map(|m| m.point.clone()).collect::<Vec<_>>()
    };
    assert_eq!(points(&after.mounts), points(&before.mounts));
}

/// rlimits, umask, nice, scheduler, affinity, ioprio, personality, oom_score_adj, keyring.
#[test]
fn how_the_process_is_run() {
    if !requires::capability("SYS_ADMIN") {
        return;
    }
    let cpu = *Probe::here().cpus.last().unwrap();
    let prelude = format!(
        "umask 027; ulimit -n 100; ulimit -c 0; choom -n 500 -- nice -n 5 ionice -c 2 -n 7 taskset -c {cpu} setarch -R chrt -b 0 "
    );
    let (before, after) = before_and_after(&prelude);
    assert_eq!((before.nice, before.oom_score_adj, before.umask), (Some(5), Some(500), 0o27));
    assert_eq!(
        (before.scheduler, before.cpus.as_slice(), before.ioprio),
        (Some(3), &[cpu][..], Some(2 << 13 | 7))
    );
    assert_eq!(before.personality, Some(0x0040000));
    before.expect_rlimit("nofile", 100, 100);
    assert_eq!(after.rlimits, before.rlimits);
    assert_eq!(
        (after.nice, after.oom_score_adj, after.umask),
        (before.nice, before.oom_score_adj, before.umask)
    );
    assert_eq!((after.scheduler, after.cpus, after.ioprio), (before.scheduler, before.cpus, before.ioprio));
    assert_eq!(after.personality, before.personality);
    assert_eq!(after.session_keyring, before.session_keyring);
}

/// uid, gid and groups; a session and a process group.
#[test]
fn whose_the_process_is() {
    if !requires::root() {
        return;
    }
    let (before, after) = before_and_after(
        "setpriv --reuid 1001 --regid 1002 --groups 7,8 --ambient-caps +sys_admin,+setpcap,+setuid,+setgid --inh-caps +sys_admin,+setpcap,+setuid,+setgid ",
    );
    assert_eq!((after.uids, after.gids, &after.groups), (before.uids, before.gids, &before.groups));
    after.expect_user(1001, 1002, &[7, 8]);
}

/// Ignored and blocked signals stay; caught ones cannot.
#[test]
fn signals() {
    if !requires::capability("SYS_ADMIN") {
        return;
    }
    let (before, after) = before_and_after("env --ignore-signal=USR1 --block-signal=USR2 ");
    assert_eq!(
        (before.signals.ignored.as_slice(), before.signals.blocked.as_slice()),
        (&[10][..], &[12][..])
    );
    assert_eq!(after.signals, before.signals);
    let caught = shell(&format!("trap 'true' USR1 TERM; {CHAIN}$PROBE")).run().probe();
    caught.expect_plain_signals();
    if requires::root() {
        let forked = probe("env --ignore-signal=USR1 --block-signal=USR2 ns-enter -p -- $PROBE");
        assert_eq!(forked.signals, before.signals);
    }
}

/// Rust's start-up ignores SIGPIPE; a pipeline in the container must end all the same.
#[test]
fn sigpipe_is_as_it_was() {
    if !requires::capability("SYS_ADMIN") {
        return;
    }
    probe(&format!("{CHAIN}$PROBE")).expect_plain_signals();
    let out = shell(&format!("{CHAIN}bash -c 'yes | head -1; echo ${{PIPESTATUS[0]}}'")).run();
    assert_eq!(out.succeeds().stdout, "y\n141\n");
}

/// securebits but not keep_caps; no_new_privs; a filter that is there already.
#[test]
fn what_was_given_up_stays_given_up() {
    if !requires::root() {
        return;
    }
    let (before, after) = before_and_after(
        "setpriv --securebits=+noroot,+noroot_locked --no-new-privs --inh-caps +sys_admin,+setpcap --ambient-caps +sys_admin,+setpcap ",
    );
    assert!(before.no_new_privs && after.no_new_privs);
    assert_eq!(before.securebits & 3, 3);
    assert_eq!(after.securebits & 3, 3);
    assert_eq!(after.securebits & 16, 0, "keep_caps must not outlive an exec");
    let twice = probe("seccomp-load -s mount:EPERM -- env seccomp-load -s umount2:EPERM -- $PROBE");
    twice.expect_no_new_privs(true).expect_filters(2);
}

/// Rows: the bounding set stays, root's permitted and effective are made anew from it at each exec.
#[test]
fn all_dropped_stays_dropped_through_more_execs() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let line = "cap-drop --all -- sh -c 'exec sh -c \"exec $PROBE\"'";
    probe(line).expect_caps_empty();
    if !requires::root() {
        return;
    }
    probe("cap-drop --keep net_admin,chown -- sh -c 'exec env $PROBE'")
        .expect_caps(&["chown", "net_admin"])
        .expect_bounding(&["chown", "net_admin"]);
    probe("cap-drop --all -- seccomp-load @default -- cat /dev/null; cap-drop --all -- $PROBE")
        .expect_caps_empty();
}

/// Through a setuid-root program too: no_new_privs keeps it from becoming root, and without that the bounding set is
/// empty.
#[test]
fn a_setuid_program_gets_nothing_back() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let setuid = root.path().join("setuid-probe");
    copy_program(root.path().join("probe"), &setuid);
    std::fs::set_permissions(&setuid, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let open = "chmod 755 .. . ; ";
    let run = |flags: &str| {
        let line = format!("{open}cap-drop --user 1000:1000 {flags} --all -- ./setuid-probe");
        shell(&line).cwd(root.path()).run().probe()
    };
    let held = run("");
    held.expect_caps_empty().expect_user(1000, 1000, &[]);
    let allowed = run("--allow-new-privs");
    assert_eq!(
        allowed.uids.effective, 0,
        "the file system honours setuid, so the test above means something"
    );
    allowed.expect_caps_empty();
}

/// What a user who is not root holds is lost at exec, unless it is ambient; so the chain raises it.
#[test]
fn a_user_keeps_what_is_ambient() {
    if !requires::root() {
        return;
    }
    let kept = probe("cap-drop --user 1000:1000 --keep net_raw -- seccomp-load -s mount:EPERM -- env $PROBE");
    kept.expect_ambient(&["net_raw"]).expect_effective(&["net_raw"]).expect_bounding(&["net_raw"]);
    kept.expect_user(1000, 1000, &[]);
    probe("cap-drop --user 1000:1000 --all -- $PROBE").expect_caps_empty();
}

/// A user's links in a user namespace of its own keep what the next link needs.
#[test]
fn a_user_in_a_namespace_of_its_own_can_go_on() {
    let Some(user) = requires::user() else { return };
    let drop = format!("setpriv --reuid {} --regid {} --clear-groups ", user.uid, user.gid);
    for map in ["-r", "-c"] {
        let seen = probe(&format!("{drop}idmap {map} -- ns-enter -mpniuC -- cap-drop --all -- $PROBE"));
        seen.expect_ns_differs(&["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]).expect_caps_empty();
        assert_eq!(seen.uid, if map == "-r" { 0 } else { user.uid });
    }
    let all = probe(&format!("{drop}idmap -r -- ns-enter -m -- $PROBE"));
    assert_eq!(all.caps.effective, all.caps.bounding, "root in its namespace");
}

/// A pid namespace is entered by a fork, and its first process may fork in turn.
#[test]
fn a_pid_namespace_is_entered() {
    if !requires::root() {
        return;
    }
    let seen = probe("ns-enter -mp -- cap-drop --all -- $PROBE");
    assert_eq!((seen.pid, seen.ppid), (1, 0));
    let out = shell("ns-enter -p -- cap-drop --all -- bash -c '(:); (:); echo forked'").run();
    assert_eq!(out.succeeds().stdout, "forked\n");
}

#[test]
fn a_time_namespace_is_entered() {
    if !requires::root() || !requires::namespace("time") {
        return;
    }
    let here = Probe::here();
    let seen = probe("ns-enter -T --boottime 100000 --monotonic 50000 -- cap-drop --all -- $PROBE");
    seen.expect_ns_differs(&["time", "time_for_children"]);
    assert_eq!(seen.ns["time"], seen.ns["time_for_children"]);
    assert!(seen.boottime - here.boottime >= 100_000 && seen.monotonic - here.monotonic >= 50_000);
}

/// pdeathsig outlives an exec but not a change of credentials: the landing sets it again.
#[test]
fn the_death_signal_outlives_a_change_of_user() {
    if !requires::root() {
        return;
    }
    let seen = probe("ns-enter -p -- cap-drop --user 1000:1000 --all -- seccomp-load @default -- $PROBE");
    assert_eq!(seen.pdeathsig, Some(9));
    assert_eq!(probe("ns-enter -p -- $PROBE").pdeathsig, Some(9));
    assert_eq!(probe("cap-drop --all -- $PROBE").pdeathsig, Some(0), "nobody supervises");
}

/// dumpable is made anew by the last exec; keep_caps is cleared.
#[test]
fn the_command_starts_dumpable_and_without_keep_caps() {
    if !requires::root() {
        return;
    }
    let seen = probe("cap-drop --user 1000:1000 --keep net_raw -- $PROBE");
    assert_eq!((seen.dumpable, seen.securebits & 16), (Some(1), 0));
}

/// no_new_privs would take newuidmap's privilege away: idmap says so, and the order keeps it from happening.
#[test]
fn no_new_privs_before_a_map_is_refused() {
    let Some(user) = requires::user() else { return };
    if !requires::command("newuidmap") {
        return;
    }
    let drop = format!("setpriv --reuid {} --regid {} --clear-groups ", user.uid, user.gid);
    let seen = probe(&format!("{drop}idmap --auto -- cap-drop --all -- $PROBE"));
    assert!(
        seen.uid_map.as_ref().unwrap().len() > 1
            || seen.uid_map.as_ref().unwrap()[0].ends_with(&user.subuids.to_string()),
        "{:?}",
        seen.uid_map
    );
    let out = shell(&format!("{drop}--no-new-privs idmap --auto -- touch /nonexistent/ran")).run();
    out.refuses(125, "no_new_privs");
}
