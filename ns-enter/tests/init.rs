//! `--init`: the first process of the pid namespace reaps, forwards, ends with the command, and is no way out.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Leftovers, Tool, requires, shell, tool};
use nix::sys::signal::Signal;

fn enter(args: &[&str]) -> Tool {
    tool("ns-enter").args(["-m", "-p", "--init"]).args(args)
}

/// A shell line as the command, with a /proc of its own.
fn inside(line: &str) -> Tool {
    shell(&format!("exec ns-enter -N -mp --init -- rootfs-prep --proc /proc -- sh -c '{line}'"))
}

#[test]
fn the_command_is_a_child_of_the_first_process() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let out = inside("echo $$ $PPID; cat /proc/1/comm; ls -l /proc/1/fd | grep -c pidfd").run();
    let words: Vec<_> = out.stdout.split_whitespace().collect();
    assert_eq!(words[..2], ["2", "1"], "{out:?}");
    let seen = enter(&[]).probe();
    let plain = tool("ns-enter").args(["-m", "-p"]).probe();
    assert_eq!(seen.caps, plain.caps, "the command loses nothing that the first process gave up");
    assert_eq!(seen.no_new_privs, plain.no_new_privs);
    seen.expect_plain_signals().expect_only_std_fds();
    leftovers.check();
}

#[test]
fn orphans_are_reaped() {
    if !requires::root() {
        return;
    }
    // Ten grandchildren whose parents are gone end, and none stays as a zombie.
    let line = "for i in 1 2 3 4 5 6 7 8 9 10; do (true & exec true); done; \
        for i in $(seq 200); do \
        n=$(grep -ls \"^State:.Z\" /proc/[0-9]*/status | wc -l); [ $n = 0 ] && break; sleep 0.05; done; echo zombies $n";
    let out = inside(line).run();
    assert!(out.succeeds().stdout.ends_with("zombies 0\n"), "{out:?}");
}

#[test]
fn its_end_is_the_end_of_all_and_its_status_comes_back() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for (line, status) in
        [("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("sleep 50 & exit 0", 0)]
    {
        inside(line).run().exits(status);
    }
    enter(&[]).command(["/no/such"]).run().fails(127, "/no/such");
    leftovers.check();
}

#[test]
fn signals_reach_the_command() {
    if !requires::root() {
        return;
    }
    for (signal, status) in [(Signal::SIGTERM, 11), (Signal::SIGUSR1, 12)] {
        let trap = "trap \"exit 11\" TERM; trap \"exit 12\" USR1; echo ready; while :; do sleep 0.02; done";
        let mut running = inside(trap).spawn();
        assert_eq!(running.line(), "ready");
        running.signal(signal);
        running.wait().exits(status);
    }
    // One that does not care ends as anywhere: it is no first process, which the kernel would shield.
    let mut running = enter(&[]).verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    running.signal(Signal::SIGTERM);
    running.wait().exits(143);
}

#[test]
fn the_first_process_is_no_way_out() {
    if !requires::root() {
        return;
    }
    // Its program cannot be written to, it may nothing but signal, and in the end nothing of it is open.
    let line = "until [ $(ls /proc/1/fd | wc -l) = 5 ]; do sleep 0.01; done; \
        (exec 3>/proc/1/exe) 2>/dev/null && echo writable; grep -E \"^(Cap(Eff|Prm|Inh|Bnd|Amb)|NoNewPrivs)\" /proc/1/status; \
        ls /proc/1/fd | wc -l; readlink /proc/1/fd/* | grep -v -e anon_inode: -e pipe: -e /dev/null";
    let out = inside(line).run();
    assert!(!out.stdout.contains("writable"), "{out:?}");
    for (set, mask) in [("CapEff", 1 << 5), ("CapPrm", 1 << 5), ("CapInh", 0), ("CapBnd", 0), ("CapAmb", 0)] {
        assert!(out.stdout.contains(&format!("{set}:\t{mask:016x}")), "{set}: {out:?}");
    }
    assert!(out.stdout.contains("NoNewPrivs:\t1"), "{out:?}");
    assert!(out.stdout.ends_with("\n5\n"), "0, 1, 2, a pidfd and a signalfd: {out:?}");
}

#[test]
fn where_there_is_no_new_pid_namespace_it_is_refused() {
    for args in [
        &["-u", "--init"][..],
        &["-p", "--no-fork", "--init"],
        &["--join", "pid=/proc/self/ns/pid", "--init"],
    ] {
        let out = tool("ns-enter").args(args).verb(["ran"]).run();
        out.refuses(125, "a reaper is the first process of a new pid namespace");
    }
}

#[test]
fn an_ordinary_user_has_one_too() {
    let line = "exec idmap -N -r -- ns-enter -mp --init -- rootfs-prep --proc /proc -- sh -c 'echo $$ $PPID; exit 3'";
    if shell("unshare -Urmp true").run().status != 0
        && !requires::skip("needs user namespaces for ordinary users")
    {
        return;
    }
    let out = shell(line).run();
    assert_eq!((out.status, out.stdout.as_str()), (3, "2 1\n"), "{out:?}");
}
