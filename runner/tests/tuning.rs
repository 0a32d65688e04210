//! How a container's processes are scheduled and where their memory comes from: of the first one and of those that join.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, TempDir, requires, shell};
use common::Bundle;
use serde_json::{Value, json};

/// Policy and nice value in a line of proc_pid_stat(5).
fn schedule(text: &str) -> (i32, u32) {
    let fields: Vec<&str> = text[text.rfind(')').unwrap() + 1..].split_whitespace().collect();
    (fields[16].parse().unwrap(), fields[38].parse().unwrap())
}

fn exec(bundle: &Bundle, process: &Value) -> catena_tests::Output {
    let dir = TempDir::new();
    let file = dir.file("process.json", process.to_string());
    let path = file.to_str().unwrap();
    bundle.runner(["exec", "--process", path, &bundle.id]).run()
}

fn reads(path: &str) -> Value {
    json!({"args": ["/probe", "read", path], "cwd": "/", "user": {"uid": 0, "gid": 0}})
}

#[test]
fn what_is_refused_leaves_no_container() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let memory = |policy: Value| ("/linux/memoryPolicy", policy);
    for ((pointer, value), said) in [
        (
            ("/process/scheduler", json!({"policy": "SCHED_FROB"})),
            "scheduler.policy: unknown policy 'SCHED_FROB'",
        ),
        (
            ("/process/scheduler", json!({"policy": "SCHED_FIFO"})),
            "scheduler.priority: 0 is not from 1 to 99",
        ),
        // What the kernel refuses, at landing.
        (
            ("/process/scheduler", json!({"policy": "SCHED_DEADLINE", "runtime": 5})),
            "sched_setattr(SCHED_DEADLINE, 5/0/0",
        ),
        (("/process/ioPriority", json!({"class": "IOPRIO_CLASS_FROB"})), "ioPriority.class"),
        (("/process/execCPUAffinity", json!({"final": "x"})), "process.execCPUAffinity.final: 'x'"),
        (memory(json!({})), "invalid memory policy mode ''"),
        (
            memory(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["x"]})),
            "invalid memory policy flag 'x'",
        ),
        (("/linux/intelRdt", json!({"closID": "catena-none"})), "linux.intelRdt: "),
    ] {
        let bundle = Bundle::sh("echo ran").set(pointer, value);
        bundle.create().refuses(1, said);
        bundle.runner(["state", &bundle.id]).run().refuses(1, "does not exist");
    }
    leftovers.check();
}

#[test]
fn the_first_process_has_it_and_so_have_those_that_join() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3}));
    let bundle = bundle.up();
    let first = std::fs::read_to_string(format!("/proc/{}/stat", bundle.pid())).unwrap();
    assert_eq!(schedule(&first), (3, 3));
    let joined = bundle.runner(["exec", &bundle.id, "/probe", "read", "/proc/self/stat"]).run();
    assert_eq!(schedule(&joined.succeeds().stdout), (3, 3));
    let mut own = reads("/proc/self/stat");
    own["scheduler"] = json!({"policy": "SCHED_IDLE"});
    assert_eq!(schedule(&exec(&bundle, &own).succeeds().stdout).1, 5);
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_deadline_task_is_made_at_landing_behind_the_hooks_that_it_could_not_fork() {
    if !requires::root() || !requires::capability("SYS_NICE") {
        return;
    }
    let leftovers = Leftovers::watch();
    let deadline =
        json!({"policy": "SCHED_DEADLINE", "runtime": 100_000, "deadline": 500_000, "period": 1_000_000});
    let bundle = Bundle::of(["/probe", "read", "/proc/self/stat"]).set("/process/scheduler", deadline);
    assert_eq!(schedule(&bundle.run().succeeds().stdout).1, 6);
    let hook = json!({"startContainer": [{"path": "/probe", "args": ["probe", "exit", "0"]}]});
    let bundle = bundle.set("/hooks", hook);
    assert_eq!(schedule(&bundle.run().succeeds().stdout).1, 6);
    drop(bundle);
    leftovers.check();
}

#[test]
fn who_joins_may_have_cpus_of_its_own_before_and_after() {
    if !requires::root() || !requires::cpus(2) {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().up();
    let mut process = reads("/proc/self/status");
    let cpus = |text: &str| {
        text.lines().find_map(|l| Some(l.strip_prefix("Cpus_allowed_list:")?.trim().to_string()))
    };
    for last in ["0", "1"] {
        process["execCPUAffinity"] = json!({"initial": "0", "final": last});
        let out = exec(&bundle, &process);
        assert_eq!(cpus(&out.succeeds().stdout).as_deref(), Some(last));
    }
    process["execCPUAffinity"] = json!({"final": "0,65535"});
    exec(&bundle, &process).refuses(255, "prove the final CPU affinity");
    drop(bundle);
    leftovers.check();
}

#[test]
fn what_the_runner_is_bound_to_is_nothing_to_the_container() {
    if !requires::root() || !requires::cpus(2) || !requires::command("taskset") {
        return;
    }
    let leftovers = Leftovers::watch();
    let line = |text: &str| text.lines().find(|l| l.starts_with("Cpus_allowed_list:")).map(String::from);
    let here = line(&std::fs::read_to_string("/proc/self/status").unwrap());
    let bundle = Bundle::of(["/probe", "read", "/proc/self/status"]);
    let (state, dir) = (bundle.state.path().display(), bundle.dir());
    let bound = format!("taskset -c 0 runner --root {state}");
    let out = shell(&format!("{bound} run -b {dir} {}", bundle.id)).run();
    assert_eq!(line(&out.succeeds().stdout), here);
    let sleeper = Bundle::asleep().up();
    let state = sleeper.state.path().display();
    let joins =
        format!("taskset -c 0 runner --root {state} exec {} /probe read /proc/self/status", sleeper.id);
    assert_eq!(line(&shell(&joins).run().succeeds().stdout), here);
    drop((bundle, sleeper));
    leftovers.check();
}

#[test]
fn memory_comes_from_these_nodes_in_both() {
    if !requires::root() || !requires::numa() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"})).up();
    let bound = |text: &str| text.lines().next().is_some_and(|l| l.contains(" bind:0 "));
    let first = std::fs::read_to_string(format!("/proc/{}/numa_maps", bundle.pid())).unwrap();
    assert!(bound(&first), "{first}");
    let joined = bundle.runner(["exec", &bundle.id, "/probe", "read", "/proc/self/numa_maps"]).run();
    assert!(bound(&joined.succeeds().stdout), "{joined:?}");
    drop(bundle);
    leftovers.check();
}
