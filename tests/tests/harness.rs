//! The harness itself: what it says of a process must be true before any tool is judged by it.

use catena_tests::{Leftovers, Probe, Stdin, TempDir, processes, requires, rootfs, shell, v2_view};
use nix::sys::signal::Signal;
use std::time::Duration;

#[test]
fn the_payload_sees_what_a_shell_set_up() {
    let run = shell(
        "trap '' PIPE USR1; umask 027; ulimit -n 100; exec 7</etc/passwd; exec env A=b $PROBE show x y",
    );
    let seen = run.run().probe();
    assert_eq!(seen.signals.ignored, [Signal::SIGUSR1 as i32, Signal::SIGPIPE as i32]);
    assert_eq!(seen.umask, 0o27);
    seen.expect_rlimit("nofile", 100, 100).expect_fds(&[0, 1, 2, 7]);
    assert_eq!((seen.fd_target(0), seen.fd_target(7)), ("/dev/null", "/etc/passwd"));
    assert_eq!(
        (&seen.args[1..], seen.env["A"].as_str()),
        (&["show".into(), "x".into(), "y".into()][..], "b")
    );
    assert!(!seen.tty.controlling, "a test has no controlling terminal");
    seen.expect_ns_same(&["pid", "mnt", "net", "user", "cgroup"]);
}

#[test]
fn a_plain_process_has_nothing_but_the_standard() {
    let seen = Probe::here();
    seen.expect_only_std_fds().expect_plain_signals();
    assert_eq!(seen.closed_std, [0; 0]);
    let closed = shell("exec $PROBE").stdin(Stdin::Closed).run().probe();
    assert_eq!(closed.closed_std, [0]);
    closed.expect_fds(&[1, 2]);
}

#[test]
fn the_payload_needs_no_proc() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let seen =
        shell("exec chroot \"$1\" /probe").args(["sh".as_ref(), root.path().as_os_str()]).run().probe();
    assert!(seen.mounts.is_none() && seen.seccomp.is_none() && seen.ns.is_empty());
    assert_eq!(seen.cwd.as_deref(), Some("/"));
    assert!(seen.root.as_ref().unwrap().contains(&"probe".to_string()));
    seen.expect_only_std_fds();
    let applets =
        shell("chroot \"$1\" sh -c 'ls / && id'").args(["sh".as_ref(), root.path().as_os_str()]).run();
    assert!(applets.succeeds().stdout.contains("uid=0(root)"));
}

#[test]
fn verbs_tell_the_errno() {
    let run = |line: &str| shell(line).run();
    assert_eq!(run("$PROBE exit 7").status, 7);
    assert_eq!(run("$PROBE open /nonexistent").stdout, "ENOENT\n");
    assert_eq!(run("$PROBE try-syscall personality 0xffffffff").stdout, "ok 0\n");
    assert_eq!(run("$PROBE try-syscall clone3").stdout, "E2BIG\n");
    assert_eq!(run("$PROBE try-syscall 9999").stdout, "ENOSYS\n");
    assert_eq!(run("exec $PROBE suicide 10").signal, Some(10));
    assert_eq!(run("$PROBE suicide 10").status, 138);
    assert!(run("$PROBE eat-memory 8M").stdout.starts_with("ok 8388608"));
    let orphan = run("$PROBE orphan").stdout;
    assert!(orphan.starts_with("parent ") && orphan.contains("\nzombies "), "{orphan}");
}

#[test]
fn a_running_process_is_spoken_to_and_ended() {
    let mut waiting = shell("exec $PROBE signal-wait 3").spawn();
    assert_eq!(waiting.line(), "ready");
    waiting.signal(Signal::SIGUSR1);
    assert_eq!(waiting.line(), "SIGUSR1");
    waiting.signal(Signal::SIGTERM);
    assert_eq!(waiting.line(), "SIGTERM");
    waiting.wait().exits(3);

    let mut cat = shell("exec $PROBE cat").stdin(Stdin::Pipe).spawn();
    cat.write("one\n");
    cat.close_stdin();
    assert_eq!(cat.line(), "one");
    let pid = cat.pid();
    let mut sleeping = shell("exec $PROBE sleep").spawn();
    assert_eq!(sleeping.line(), "ready");
    assert!(processes().iter().any(|p| p.contains(&sleeping.pid().to_string())), "{:?}", processes());
    drop((cat, sleeping));
    assert!(processes().iter().all(|p| !p.contains(&format!("/{pid}:"))), "{:?}", processes());
}

#[test]
#[should_panic(expected = "did not end in time")]
fn what_hangs_is_killed_and_fails() {
    shell("$PROBE sleep & $PROBE sleep").timeout(Duration::from_millis(300)).run();
}

#[test]
#[should_panic(expected = "process /proc/")]
fn a_process_left_behind_fails_the_test() {
    let before = Leftovers::watch();
    // Time to become timeout: in the middle of an exec a process shows no environment.
    shell("timeout 15 $PROBE sleep >/dev/null 2>&1 & disown; sleep 0.2").run();
    before.check();
}

#[test]
fn nothing_left_behind_passes() {
    let before = Leftovers::watch();
    shell("$PROBE exit 0").run();
    before.check();
}

#[test]
fn fds_come_under_their_numbers() {
    let dir = TempDir::new();
    let (a, b) = (dir.file("a", "one"), dir.file("b", "two"));
    let open = |p| std::fs::File::open(p).unwrap();
    let run = shell("exec $PROBE").fd(open(&a), 5).fd(open(&b), 3).stdin(Stdin::File(a.clone())).run();
    let seen = run.probe();
    seen.expect_fds(&[0, 1, 2, 3, 5]);
    assert_eq!((seen.fd_target(5), seen.fd_target(3)), (a.to_str().unwrap(), b.to_str().unwrap()));
}

#[test]
fn the_v2_view_is_pure() {
    if !requires::cgroup_v2() {
        return;
    }
    let seen = v2_view("cat /sys/fs/cgroup/cgroup.controllers >/dev/null && exec $PROBE").run().probe();
    seen.expect_mounted("/sys/fs/cgroup", "cgroup2");
    assert!(seen.mounts.iter().flatten().all(|m| m.fstype != "cgroup"));
    seen.expect_ns_differs(&["mnt"]);
}
