//! containerd: its own shim for runc, given `runner`'s path, by the command line and by the config.

use crate::claims::{SIZED, shown};
use catena_tests::engines::Containerd;

#[test]
fn ctr_runs_a_container_with_the_runc_binary_of_its_command_line() {
    let Some(containerd) = Containerd::start() else { return };
    let p = containerd.run(&["--rm"], "one", &["/probe"]).run().probe();
    p.expect_ns_differs(&["mount", "pid", "network", "ipc", "uts"]);
    assert_eq!((p.pid, p.env["IMAGE"].as_str()), (1, "base"));
    let out = containerd.run(&["--rm"], "two", &["sh", "-c", "echo out; echo err >&2; exit 42"]).run();
    assert_eq!((out.status, out.stdout.as_str()), (42, "out\n"), "{out:#?}");
    let out = containerd.run(&["--rm"], "three", &["no-such-program"]).run();
    assert!(out.status != 0 && out.stderr.contains("cannot run no-such-program"), "{out:#?}");
    assert!(containerd.known_to_runner().is_empty());
}

#[test]
fn a_task_is_paused_execd_into_listed_killed_and_deleted() {
    let Some(containerd) = Containerd::start() else { return };
    let ok = |out: catena_tests::Output| {
        assert_eq!(out.status, 0, "{out:#?}");
        out.stdout
    };
    ok(containerd.run(&["--detach"], "task", &["sleep", "99"]).run());
    assert_eq!(containerd.known_to_runner(), ["task"]);
    let status = || ok(containerd.ctr(["tasks", "ls"]).run());
    assert!(status().contains("RUNNING"), "{}", status());
    let exec = ["tasks", "exec", "--exec-id=e", "task", "sh", "-c", "cat /etc/image; exit 4"];
    let out = containerd.ctr(exec).run();
    assert_eq!((out.status, out.stdout.as_str()), (4, "sacred\n"), "{out:#?}");
    let processes = ok(containerd.ctr(["tasks", "ps", "task"]).run());
    assert_eq!(processes.lines().count(), 2, "{processes}");
    ok(containerd.ctr(["tasks", "pause", "task"]).run());
    assert!(status().contains("PAUSED"), "{}", status());
    ok(containerd.ctr(["tasks", "resume", "task"]).run());
    assert!(ok(containerd.ctr(["tasks", "metrics", "task"]).run()).contains("memory"));
    ok(containerd.ctr(["tasks", "kill", "--signal=KILL", "task"]).run());
    while status().contains("RUNNING") {}
    containerd.ctr(["tasks", "delete", "task"]).run().fails(0, "exit code 137");
    ok(containerd.ctr(["containers", "delete", "task"]).run());
    assert!(containerd.known_to_runner().is_empty());
}

#[test]
fn a_terminal_is_one() {
    let Some(containerd) = Containerd::start() else { return };
    // ctr deletes the task when it has ended, with whatever of its output had not come through yet.
    let out = containerd
        .run_in_terminal(
            &["--rm", "--tty"],
            "term",
            &["sh", "-c", &format!("tty; {SIZED}; stty size; sleep 1; exit 3")],
        )
        .run();
    assert_eq!((out.status, shown(&out).as_str()), (3, "/dev/pts/0\n33 91\n"), "{out:#?}");
}
