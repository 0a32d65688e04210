//! kill: who gets the signal, and what a signal does to a container that waits for its start.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, until};
use common::Bundle;
use serde_json::Value;

#[test]
fn all_processes_get_the_signal_of_kill_all() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("sleep 60 & echo up; wait $!; echo ended $?");
    bundle.create().succeeds();
    bundle.start().succeeds();
    bundle.becomes("running");
    until("the command is up", || bundle.output() == "up\n");
    let sleeps = |pid: &Value| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    };
    until("both are there, and the other one sleeps", || {
        let pids = bundle.runner(["ps", "-f", "json", &bundle.id]).run().json();
        let pids = pids.as_array().unwrap();
        pids.len() == 2 && pids.iter().any(sleeps)
    });
    bundle.runner(["kill", "--all", &bundle.id, "USR1"]).run().succeeds();
    bundle.becomes("stopped");
    // Engines end with it what may have ended already.
    bundle.runner(["kill", "--all", &bundle.id, "KILL"]).run().succeeds();
    bundle.runner(["kill", &bundle.id, "KILL"]).run().fails(1, "container not running");
}

/// Its first process would be deaf to them, as the first one of a pid namespace.
#[test]
fn a_created_container_ends_of_the_signals_that_end_a_process() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let bundle = Bundle::sh("echo RAN");
        bundle.create().succeeds();
        bundle.runner(["kill", &bundle.id, signal]).run().succeeds();
        bundle.becomes("stopped");
        bundle.start().fails(1, "its first process has ended");
        assert_eq!(bundle.output(), "");
    }
    leftovers.check();
}

#[test]
fn the_command_hears_the_signals_that_its_wait_for_the_start_heard() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("grep -e SigBlk -e SigPnd -e ShdPnd /proc/self/status");
    bundle.create().succeeds();
    bundle.start().succeeds();
    bundle.becomes("stopped");
    let none = "0000000000000000";
    assert_eq!(bundle.output(), format!("SigPnd:\t{none}\nShdPnd:\t{none}\nSigBlk:\t{none}\n"));
}

/// Without a pid namespace they outlive it, and only the cgroup knows them.
#[test]
fn kill_ends_what_outlives_the_first_process() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut bundle = Bundle::sh("(setsid sleep 61 >/dev/null 2>&1 &) ; exec true");
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|ns| ns["type"] != "pid");
    bundle.write();
    bundle.create().succeeds();
    bundle.start().succeeds();
    bundle.becomes("stopped");
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    let gone = || bundle.runner(["kill", &bundle.id, "KILL"]).run().status == 1;
    until("what is killed is gone", gone);
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    drop(bundle);
    leftovers.check();
}
