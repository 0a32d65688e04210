//! events prints what runc prints: one JSON line each, and ends with the container.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell, until};
use common::Bundle;
use serde_json::Value;
use std::time::{Duration, Instant};

fn running(line: &str) -> Bundle {
    let bundle = Bundle::sh(line);
    bundle.create().succeeds();
    bundle.start().succeeds();
    bundle.becomes("running");
    bundle
}

#[test]
fn what_is_not_there_has_no_events() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("exit 0");
    bundle.runner(["events", "--stats", &bundle.id]).run().refuses(1, "container does not exist");
    bundle.create().succeeds();
    for bad in ["0s", "5", "soon", "-1s"] {
        bundle
            .runner(["events", &format!("--interval={bad}"), &bundle.id])
            .run()
            .refuses(1, "not a time above 0");
    }
    bundle.start().succeeds();
    bundle.becomes("stopped");
    bundle.runner(["events", &bundle.id]).run().refuses(1, "container not running");
    bundle.runner(["events", "--stats", &bundle.id]).run().refuses(1, "container not running");
}

/// Members of `theirs` that are numbers, lists or objects are the same kind of thing in ours.
fn shape(path: &str, theirs: &Value, ours: &Value) {
    // Zeros are left out, and what is not zero differs from one process to the next.
    let may_be_left_out = [
        "usage",
        "max",
        "cache",
        "total",
        "periods",
        "throttledPeriods",
        "throttledTime",
        "current",
        "limit",
        "percpu_kernel",
        "percpu_user",
        "ioServiceBytesRecursive",
        "ioServicedRecursive",
    ];
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, value) in theirs {
                match ours.get(key) {
                    Some(mine) => shape(&format!("{path}/{key}"), value, mine),
                    None if may_be_left_out.contains(&key.as_str()) => {}
                    None => panic!("{path}/{key} is missing"),
                }
            }
        }
        (Value::Number(_), Value::Number(_))
        | (Value::Array(_), Value::Array(_))
        | (Value::Null, Value::Null) => {}
        _ if theirs == ours => {}
        _ => panic!("{path}: {theirs} and {ours}"),
    }
}

#[test]
fn one_line_of_stats_in_the_shape_of_runc() {
    if !requires::root() || !requires::command("runc") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = running("n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; exec sleep 60");
    let (dir, id) = (bundle.dir(), &bundle.id);
    let line = format!(
        "runc --root {dir}/runc run -d -b {dir} x{id} >/dev/null 2>&1 </dev/null; runc --root {dir}/runc events --stats x{id}; \
         runc --root {dir}/runc delete -f x{id}"
    );
    let theirs = shell(&line).run().json();
    let out = bundle.runner(["events", "--stats", id]).run();
    assert_eq!(out.succeeds().stdout.lines().count(), 1);
    let ours = out.json();
    assert_eq!((ours["type"].as_str(), ours["id"].as_str()), (Some("stats"), Some(id.as_str())));
    shape("data", &theirs["data"], &ours["data"]);
    // And it is this container's.
    let number = |path: &str| ours["data"].pointer(path).and_then(Value::as_u64).unwrap_or(0);
    if requires::cgroup_mount("cpuacct").is_some() {
        assert!(number("/cpu/usage/total") > 0, "{ours}");
    }
    if requires::cgroup_mount("pids").is_some() {
        assert!(number("/pids/current") > 0, "{ours}");
    }
    if requires::cgroup_mount("memory").is_some() {
        assert!(number("/memory/usage/usage") > 0, "{ours}");
        // The kernel adds up what it counted on each processor every two seconds.
        until("its faults are counted", || {
            let out = bundle.runner(["events", "--stats", id]).run().json();
            out.pointer("/data/memory/raw/pgfault").and_then(Value::as_u64) > Some(0)
        });
    }
    drop(bundle);
    leftovers.check();
}

/// The number of poll(2), which is made by ppoll(2) where there is no other.
#[cfg(target_arch = "x86_64")]
const POLL: libc::c_long = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
const POLL: libc::c_long = libc::SYS_ppoll;

#[test]
fn lines_come_at_intervals_until_the_container_ends() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = running("exec sleep 60");
    let mut events = bundle.runner(["events", "--interval", "50ms", &bundle.id]).spawn();
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&events.line()).unwrap();
        assert_eq!(line["type"], "stats");
    }
    // One that waits for longer than the container lives comes back all the same.
    let slow = bundle.runner(["events", "--interval", "1h", &bundle.id]).spawn();
    let fds = format!("/proc/{}/fd", slow.pid());
    let looks = || {
        let links = std::fs::read_dir(&fds).into_iter().flatten().flatten();
        links
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .any(|l| l.to_string_lossy().contains("pidfd"))
    };
    let sleeps = || match std::fs::read_to_string(format!("/proc/{}/syscall", slow.pid())) {
        Ok(call) => call.starts_with(&format!("{POLL} ")),
        // Not every kernel tells.
        Err(_) => true,
    };
    until("it waits for the container's end", || looks() && sleeps());
    let before = Instant::now();
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    assert_eq!(events.wait().status, 0);
    let out = slow.wait();
    assert_eq!((out.status, out.stdout.as_str()), (0, ""), "{out:?}");
    assert!(before.elapsed() < Duration::from_secs(5));
    drop(bundle);
    leftovers.check();
}

#[test]
fn memory_that_is_out_is_told_at_once() {
    if !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    // It eats when it is told to, so that nobody is late to look; the shell outlives the one that is killed.
    let bundle = Bundle::sh("while [ ! -e /tmp/go ]; do sleep 0.02; done; /probe eat-memory 64M; sleep 0.2")
        .set("/root/readonly", serde_json::json!(false))
        .set("/linux/resources/memory", serde_json::json!({"limit": 16 << 20, "swap": 16 << 20}));
    std::fs::create_dir(bundle.rootfs.path().join("tmp")).unwrap_or(());
    bundle.create().succeeds();
    bundle.start().succeeds();
    let mut events = bundle.runner(["events", "--interval", "150ms", &bundle.id]).spawn();
    // Watched from before the first line.
    let first: Value = serde_json::from_str(&events.line()).unwrap();
    assert_eq!(first["type"], "stats");
    std::fs::write(bundle.rootfs.path().join("tmp/go"), "").unwrap();
    let out = events.wait();
    assert!(
        out.stdout.lines().any(|line| line == format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", bundle.id)),
        "{out:?}"
    );
    // The last line has it in words.
    let last: Value = serde_json::from_str(out.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["data"]["oomKills"]), (&"oom-kill".into(), &1.into()), "{last}");
    assert!(
        last["data"]["message"].as_str().unwrap().starts_with("killed by its memory limit of 16 MiB ("),
        "{last}"
    );
    drop(bundle);
    leftovers.check();
}
