//! `--show PID`: what holds a process, without harm to it.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Probe, Running, Stdin, TempDir, requires, shell, tool, until};
use nix::sys::signal::Signal;
use serde_json::Value;

fn show(pid: i32) -> Value {
    tool("seccomp-load").args(["--show", &pid.to_string()]).run().succeeds().json()
}

fn filtered(line: &str) -> Running {
    let mut running =
        tool("seccomp-load").arg("-N").args(line.split_whitespace()).verb(["cat"]).stdin(Stdin::Pipe).spawn();
    running.write("here\n");
    assert_eq!(running.line(), "here");
    running
}

/// Whether the kernel tells filters to this test.
fn told() -> bool {
    let here = Probe::here();
    let config =
        shell("zcat /proc/config.gz 2>/dev/null || cat /boot/config-$(uname -r) 2>/dev/null").run().stdout;
    let kept = !config.contains("# CONFIG_CHECKPOINT_RESTORE is not set");
    requires::capability("SYS_ADMIN") && here.seccomp == Some(0) && kept
}

fn names(layer: &Value, action: &str) -> Vec<String> {
    let list = layer["calls"]["SCMP_ARCH_X86_64"][action].as_array().cloned().unwrap_or_default();
    list.iter().map(|name| name.as_str().unwrap().into()).collect()
}

#[test]
fn a_process_without_a_filter() {
    let running = shell("echo here; read x").stdin(Stdin::Pipe).spawn();
    let layer = show(running.pid());
    let here = Probe::here().seccomp;
    assert_eq!(layer["mode"], if here == Some(0) { "none" } else { "filter" });
    assert_eq!(layer["calls"].is_null(), here == Some(0), "{layer}");
}

#[test]
fn the_decisions_of_a_filter_are_shown_to_who_may_know_them() {
    let mut running = filtered("@default -s uname:EXDEV");
    let layer = show(running.pid());
    assert_eq!((&layer["mode"], &layer["spec"]["allowNewPrivileges"]), (&"filter".into(), &false.into()));
    if told() && std::env::consts::ARCH == "x86_64" {
        assert_eq!(layer["filters"], 1);
        assert_eq!(names(&layer, "EXDEV"), ["uname"]);
        assert!(
            names(&layer, "allow").contains(&"read".into())
                && names(&layer, "EPERM").contains(&"add_key".into())
        );
        let depends = &layer["calls"]["SCMP_ARCH_X86_64"]["arguments"];
        assert_eq!(depends["personality"], serde_json::json!(["EPERM", "allow"]), "{layer}");
        assert!(layer["instructions"][0].as_u64() > Some(100), "{layer}");
    } else if layer["calls"] == "unknown" {
        assert!(layer["why"].as_str().unwrap().len() > 10, "{layer}");
    }
    // It goes on as before, and nobody traces it.
    running.write("on\n");
    assert_eq!(running.line(), "on");
    assert_eq!(field(running.pid(), "TracerPid"), "0");
}

fn field(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().to_string()
}

#[test]
fn what_was_stopped_stays_stopped() {
    let mut running = filtered("-s uname:EXDEV");
    let pid = running.pid();
    running.signal(Signal::SIGSTOP);
    let stopped = || field(pid, "State").starts_with('T');
    until("it stops", stopped);
    let layer = show(pid);
    assert_eq!(layer["mode"], "filter");
    // Let go, it takes a moment to be stopped anew; had it gone on, it would read for ever.
    until("it stays stopped", stopped);
    running.signal(Signal::SIGCONT);
    running.write("on\n");
    assert_eq!(running.line(), "on");
}

#[test]
fn two_filters_are_shown_as_one_decision() {
    if !told() || std::env::consts::ARCH != "x86_64" {
        return;
    }
    let line = "seccomp-load -N -s uname:EXDEV,sync:EPERM -- bash -c 'exec seccomp-load -N -s uname:ENOSYS -- \"$PROBE\" cat'";
    let mut running = shell(line).stdin(Stdin::Pipe).spawn();
    running.write("here\n");
    assert_eq!(running.line(), "here");
    let layer = show(running.pid());
    assert_eq!((layer["filters"].as_u64(), layer["instructions"].as_array().unwrap().len()), (Some(2), 2));
    assert_eq!(
        (names(&layer, "ENOSYS"), names(&layer, "EPERM")),
        (vec!["uname".into()], vec!["sync".into()])
    );
}

#[test]
fn who_may_not_know_is_told_why() {
    if !requires::root() || !requires::command("setpriv") {
        return;
    }
    let running = filtered("-s uname:EXDEV");
    let pid = running.pid();
    let own = Probe::here().seccomp;
    for (line, why) in [
        (
            format!("seccomp-load -N -s sync:EPERM -- bash -c 'exec seccomp-load --show {pid}'"),
            "behind a filter",
        ),
        (
            format!("setpriv --reuid 65534 --regid 65534 --clear-groups seccomp-load --show {pid}"),
            "CAP_SYS_ADMIN",
        ),
    ] {
        let layer = shell(&line).run().succeeds().json();
        assert!(
            layer["calls"] == "unknown" && layer["why"].as_str().unwrap().contains(why) || own != Some(0),
            "{layer}"
        );
        assert_eq!(layer["mode"], "filter");
    }
    let gone = tool("seccomp-load").args(["--show", "4194304"]).run();
    gone.refuses(125, "there is no process 4194304");
}

/// A debugger is not disturbed.
#[test]
fn what_is_traced_already_is_left_alone() {
    if !told() || !requires::command("strace") {
        return;
    }
    let dir = TempDir::new();
    let log = dir.join("log");
    let line = format!("exec strace -o '{}' seccomp-load -N -s uname:EXDEV -- \"$PROBE\" cat", log.display());
    let mut running = shell(&line).stdin(Stdin::Pipe).spawn();
    running.write("here\n");
    assert_eq!(running.line(), "here");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
    let layer = show(children.trim().parse().unwrap());
    assert!(layer["why"].as_str().unwrap().contains("somebody traces it already"), "{layer}");
    running.write("on\n");
    assert_eq!(running.line(), "on");
}
