//! Scheduler, I/O priority, CPU affinity, memory policy: of the command and all that it starts, and of nobody else.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Leftovers, Output, Probe, Tool, requires, tool};

/// What it wrote; a link may have warned of a bounding set that an ordinary user cannot change.
#[track_caller]
fn wrote(tool: Tool) -> String {
    let out = tool.run();
    assert_eq!(out.status, 0, "{out:?}");
    out.stdout
}

/// Fields of proc_pid_stat(5) of the command: nice, rt_priority, policy.
fn schedule(tool: Tool) -> (i32, u32, u32) {
    let text = wrote(tool.verb(["read", "/proc/self/stat"]));
    let fields: Vec<&str> = text[text.rfind(')').unwrap() + 1..].split_whitespace().collect();
    (fields[16].parse().unwrap(), fields[37].parse().unwrap(), fields[38].parse().unwrap())
}

fn of(args: &[&str]) -> Tool {
    tool("cg-apply").args(args)
}

fn status(tool: Tool, field: &str) -> String {
    let text = wrote(tool.verb(["read", "/proc/self/status"]));
    text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(":")).unwrap().trim().to_string()
}

/// `cg-apply ARGS -- COMMAND` without CAP_SYS_NICE, nor CAP_SYS_ADMIN, which serves for disks as well.
fn weak(args: &[&str]) -> Output {
    let held = Probe::here().caps.effective & catena_tests::cap_bit("SYS_NICE") != 0;
    let drop = ["cap-drop", "-N", "--cap-drop", "sys_nice,sys_admin", "--", "env"];
    let line =
        [if held { &drop[..] } else { &[] }, &["cg-apply", "-N"], args, &["--", "echo", "ran"]].concat();
    tool("cg-apply").arg("-N").command(["env"].into_iter().chain(line)).run()
}

#[test]
fn what_needs_a_privilege_is_refused_without_it_and_can_be_tried() {
    let leftovers = Leftovers::watch();
    for (args, field, text) in [
        (
            &["--fifo", "1"][..],
            "scheduler",
            "the scheduler SCHED_FIFO: sched_setattr(SCHED_FIFO, priority 1)",
        ),
        (&["--nice", "-20"], "scheduler", "sched_setattr(SCHED_OTHER, nice -20)"),
        (&["--class", "realtime"], "ioPriority", "ioprio_set(IOPRIO_CLASS_RT 4)"),
    ] {
        let out = weak(args);
        out.refuses(125, text);
        assert!(out.stderr.contains("CAP_SYS_NICE"), "{out:?}");
        let tried = weak(&[args, &["--try", field]].concat());
        assert_eq!((tried.status, tried.stdout.as_str()), (0, "ran\n"), "{tried:?}");
    }
    // A fork of the chain would be refused, so the landing sets it, and it is as strict.
    let deadline = ["--deadline", "--sched-runtime", "100000", "--sched-period", "1000000"];
    let out = weak(&deadline);
    out.refuses(125, "sched_setattr(SCHED_DEADLINE, 100000/1000000/1000000 ns)");
    leftovers.check();
}

#[test]
fn what_cannot_be_meant_runs_nothing() {
    for (args, text) in [
        (&["--fifo", "100"][..], "scheduler.priority: 100 is not from 1 to 99"),
        (&["--nice", "20"], "scheduler.nice: 20"),
        (&["--idle", "--batch"], "exclude each other"),
        (&["--idle", "--nice", "3"], "--nice: SCHED_IDLE has none"),
        (&["--deadline"], "--sched-runtime"),
        (&["--reset-on-fork"], "is missing"),
        (&["--class", "best-effort", "--classdata", "8"], "ioPriority.priority: 8"),
        (&["--classdata", "1"], "--class"),
        (&["--cpu-list", "0-x"], "execCPUAffinity.final: '0-x'"),
        (&["--cpu-list", ""], "--cpu-list: an empty list"),
        (&["--interleave", "0-9876543210"], "invalid memory policy node"),
        (&["--interleave", "0", "--localalloc"], "exclude each other"),
    ] {
        of(args).command(["echo", "ran"]).run().refuses(125, text);
    }
}

#[test]
fn the_policy_is_the_commands_through_the_whole_chain() {
    assert_eq!(schedule(of(&["--batch", "--nice", "7"])), (7, 0, 3));
    assert_eq!(schedule(of(&["--idle"])).2, 5);
    assert_eq!(schedule(of(&["--nice", "9"])), (9, 0, 0));
    let rest = |tool: Tool| tool.then("cap-drop", ["--all", "--try", "bounding"]);
    assert_eq!(schedule(rest(of(&["--batch"]))).2, 3);
    if !requires::capability("SYS_NICE") {
        return;
    }
    assert_eq!(schedule(rest(of(&["--rr", "3"]))), (0, 3, 2));
    let forks = |tool: Tool| tool.then("ns-enter", ["-p"]).then("cap-drop", ["--all"]);
    assert_eq!(schedule(forks(of(&["--fifo", "4"]))).1, 4);
    // A fork would lose the one and refuse the other.
    assert_eq!(schedule(forks(of(&["--fifo", "4", "--reset-on-fork"]))).1, 4);
    let deadline = ["--deadline", "--sched-runtime", "100000", "--sched-deadline", "900000"];
    assert_eq!(schedule(forks(of(&deadline))).2, 6);
}

#[test]
fn the_disks_priority_is_the_commands() {
    if !requires::command("ionice") {
        return;
    }
    for (args, said) in [
        (&["--class", "best-effort", "--classdata", "6"][..], "best-effort: prio 6\n"),
        (&["--class", "idle"], "idle\n"),
    ] {
        let out = of(args).then("cap-drop", ["--all", "--try", "bounding"]).command(["ionice"]);
        assert_eq!(wrote(out), said, "{args:?}");
    }
}

#[test]
fn the_command_runs_on_these_cpus_and_on_no_fewer_than_were_asked_for() {
    assert_eq!(status(of(&["--cpu-list", "0"]), "Cpus_allowed_list"), "0");
    let out = of(&["--cpu-list", "0,65535"]).command(["echo", "ran"]).run();
    out.refuses(125, "prove the final CPU affinity");
    let tried = of(&["--cpu-list", "65535", "--try", "execCPUAffinity"]).command(["echo", "ran"]).run();
    assert_eq!((tried.status, tried.stdout.as_str()), (0, "ran\n"), "{tried:?}");
    of(&["--cpu-list", "65535"]).command(["echo", "ran"]).run().refuses(125, "sched_setaffinity(");
}

#[test]
fn a_real_time_process_is_told_which_budget_it_lacks() {
    if !requires::real_time_budgets() || !requires::capability("SYS_NICE") {
        return;
    }
    let leftovers = Leftovers::watch();
    let limited = ["env", "cg-apply", "-N", "--pids", "9", "--", "echo", "ran"];
    let out = of(&["-N", "--fifo", "1"]).command(limited).run();
    out.refuses(125, "needs a budget in it: cpu.rt_runtime_us");
    leftovers.check();
}

#[test]
fn a_deadline_and_a_cpuset_exclude_each_other_and_the_error_says_so() {
    if !requires::controller("cpuset") || !requires::capability("SYS_NICE") || !requires::cpus(2) {
        return;
    }
    let leftovers = Leftovers::watch();
    let deadline = ["--deadline", "--sched-runtime", "100000", "--sched-period", "1000000"];
    let out = of(&deadline).args(["--cpuset-cpus", "0", "--cpuset-mems", "0"]).command(["echo", "ran"]).run();
    out.refuses(125, "sched_setattr(SCHED_DEADLINE");
    assert!(out.stderr.contains("AllowedCPUs (resources.cpu.cpus)"), "{out:?}");
    leftovers.check();
}

#[test]
fn memory_comes_from_these_nodes() {
    let first = |args: &[&str]| {
        let tool = of(args).then("cap-drop", ["--all", "--try", "bounding"]);
        let text = wrote(tool.verb(["read", "/proc/self/numa_maps"]));
        text.lines().next().unwrap().split_whitespace().nth(1).unwrap().to_string()
    };
    if !requires::numa() {
        // It must not run with less.
        let out = of(&["--interleave", "0"]).command(["echo", "ran"]).run();
        out.refuses(125, "set_mempolicy(MPOL_INTERLEAVE 0)");
        return;
    }
    assert_eq!(first(&["--interleave", "0"]), "interleave:0");
    assert_eq!(first(&["--membind", "0"]), "bind:0");
    assert_eq!(first(&["--localalloc"]), "local");
    let out = of(&["--membind", "1000"]).command(["echo", "ran"]).run();
    out.refuses(125, "set_mempolicy(MPOL_BIND 1000)");
    assert!(out.stderr.contains("none of the nodes is there"), "{out:?}");
    of(&["--interleave", "0,1000"]).command(["echo", "ran"]).run().refuses(125, "prove the memory policy");
}

#[test]
fn print_says_it_and_show_finds_it() {
    let out =
        of(&["--print", "--batch", "--nice", "4", "--class", "idle", "--cpu-list", "0", "--membind", "0"])
            .run();
    for line in [
        "schedule  SCHED_BATCH, nice 4",
        "disks     IOPRIO_CLASS_IDLE 0",
        "memory    MPOL_BIND 0",
        "cpus      0x1",
    ] {
        assert!(out.succeeds().stdout.contains(line), "{line}: {out:?}");
    }
    let line = "cg-apply -N --show $$";
    let out = of(&["--batch", "--nice", "4", "--class", "idle"]).command(["bash", "-c", line]).run();
    let spec = out.json()["spec"].clone();
    assert_eq!(spec["scheduler"], serde_json::json!({"policy": "SCHED_BATCH", "nice": 4}), "{out:?}");
    assert_eq!(spec["ioPriority"], serde_json::json!({"class": "IOPRIO_CLASS_IDLE"}), "{out:?}");
}
