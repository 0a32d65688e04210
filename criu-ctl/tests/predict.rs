//! `check --for PID`: what would be in the way of a dump, told before it. Wants no criu; that the real one says the same
//! is in tests/criu.rs.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Output, Running, TempDir, copy_program, requires, shell, tool, until};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

fn check(pid: u32, flags: &str) -> Output {
    tool("criu-ctl").args(["check", "--for", &pid.to_string()]).args(flags.split_whitespace()).run()
}

/// A shell in a session of its own that has done `script` and waits.
fn tree(dir: &TempDir, script: &str) -> (Running, u32) {
    let ready = dir.join("pid");
    let line = format!(
        "exec bash -c '{script}; echo $$ >{0}.new; mv {0}.new {0}; exec sleep 600' <>/dev/null",
        ready.display()
    );
    let running = shell(&format!("{line} >/dev/null 2>&1")).spawn();
    until("it is ready", || ready.exists());
    let pid: u32 = std::fs::read_to_string(&ready).unwrap().trim().parse().unwrap();
    // Until then the shell's last `mv` may still be there.
    let comm = || std::fs::read_to_string(format!("/proc/{pid}/comm"));
    until("it waits", || comm().is_ok_and(|comm| comm == "sleep\n"));
    (running, pid)
}

#[test]
fn a_plain_tree_has_nothing_in_the_way() {
    let dir = TempDir::new();
    let (mut running, pid) = tree(&dir, "sleep 600 & :");
    let out = check(pid, "");
    assert_eq!(out.status, 0, "{out:?}");
    assert!(out.stdout.contains("nothing is in the way") && out.stdout.contains("2 processes"), "{out:?}");
    assert_eq!(check(pid, "--json").succeeds().json()["inTheWay"], serde_json::json!([]));
    running.kill();
}

#[test]
fn what_needs_a_flag_is_told_with_it_and_not_when_it_is_given() {
    let dir = TempDir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 5<>/dev/tcp/127.0.0.1/{port}; exec 6>{}; flock 6", dir.join("lock").display());
    let (mut running, pid) = tree(&dir, &script);
    let out = check(pid, "");
    assert_eq!(out.status, 1, "{out:?}");
    assert!(
        out.stdout.contains("fd 5 is an established TCP connection, 127.0.0.1:")
            && out.stdout.contains("try: --tcp-established"),
        "{out:?}"
    );
    assert!(out.stdout.contains("fd 6 holds a lock") && out.stdout.contains("try: --file-locks"), "{out:?}");
    let list = check(pid, "--json --file-locks");
    assert_eq!(list.status, 1, "{list:?}");
    assert_eq!(list.json()["inTheWay"][0]["try"], "--tcp-established");
    assert_eq!(list.json()["inTheWay"][1], serde_json::Value::Null);
    check(pid, "--file-locks --tcp-established").succeeds();
    running.kill();
}

#[test]
fn what_no_flag_cures_is_told_too() {
    let dir = TempDir::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let removed = dir.join("removed");
    let script = format!("exec 7>{0}; truncate -s 2M {0}; rm {0}", removed.display());
    let ready = dir.join("pid");
    let line = format!("{script}; echo $$ >{0}.new; mv {0}.new {0}; exec sleep 600", ready.display());
    let mut child = std::process::Command::new("setsid")
        .args(["bash", "-c", &line])
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("it is ready", || ready.exists());
    let pid = std::fs::read_to_string(&ready).unwrap().trim().parse().unwrap();
    let out = check(pid, "--ext-unix-sk --link-remap");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(ours);
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.stdout.contains("fd 0 is a unix socket whose other end"), "{out:?}");
    assert!(out.stdout.contains("of 2097152 bytes") && out.stdout.contains("ghost-limit"), "{out:?}");
}

#[test]
fn a_job_of_somebody_s_session_wants_to_be_called_one() {
    let dir = TempDir::new();
    let (mut running, leader) = tree(&dir, "sleep 600 & :");
    let children = std::fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).unwrap();
    let job = children.split_whitespace().next().unwrap().parse().unwrap();
    let out = check(job, "");
    assert_eq!(out.status, 1, "{out:?}");
    let words = format!("it belongs to the session of process {leader}, outside the tree");
    assert!(out.stdout.contains(&words) && out.stdout.contains("try: --shell-job"), "{out:?}");
    check(job, "--shell-job").succeeds();
    running.kill();
}

#[test]
fn a_part_of_the_host_s_tree_in_a_container_is_named() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let (root, volume) = (dir.join("root"), dir.join("vol"));
    for folder in [&root, &volume] {
        std::fs::create_dir(folder).unwrap();
    }
    copy_program("/bin/busybox", root.join("busybox"));
    let line = format!(
        "exec ns-enter -m -- rootfs-prep --bind {root} / --bind {volume} /vol -- /busybox sleep 600",
        root = root.display(),
        volume = volume.display()
    );
    let mut running = shell(&format!("{line} </dev/null >/dev/null 2>&1")).spawn();
    let pid = running.pid() as u32;
    let comm = format!("/proc/{pid}/comm");
    until("it waits", || std::fs::read_to_string(&comm).is_ok_and(|comm| comm == "busybox\n"));
    let out = check(pid, "");
    running.kill();
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.stdout.contains("what is mounted on /vol comes from outside the tree"), "{out:?}");
}

#[test]
fn who_is_not_there_is_said() {
    tool("criu-ctl").args(["check", "--for", "2147483647"]).run().refuses(125, "there is no such process");
    tool("criu-ctl").args(["check", "--for=-1"]).run().refuses(125, "--for");
}
