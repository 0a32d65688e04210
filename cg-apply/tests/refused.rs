//! What cg-apply refuses: one sentence, 125, no group anywhere, and the command never runs.

mod common;

use catena_tests::{Leftovers, StatusLog, TempDir, requires, tool};
use common::{Group, Version, config, controller, plan};

#[track_caller]
fn refused(args: &[&str], text: &str) {
    let out = tool("cg-apply").arg("-N").args(args).command(["echo", "ran"]).run();
    out.refuses(125, text);
}

#[test]
fn words_that_are_wrong() {
    let leftovers = Leftovers::watch();
    for (args, text) in [
        (&["--bogus"][..], "unknown option --bogus"),
        (&["--memroy", "5M"], "unknown option --memroy"),
        (&["word"], "neither an option nor behind --"),
        (&["-m"], "--memory"),
        (&["-m", ""], "is not a size"),
        (&["-m", "lots"], "'lots' is not a size"),
        (&["-m", "1P"], "'1P' is not a size"),
        (&["-m", "0"], "0 bytes would let nothing run"),
        (&["-m", "-2"], "'-2' is not a size"),
        (&["-m", "9999999999999T"], "is more than 2^63 bytes"),
        (&["--memory-swap", "x"], "--memory-swap"),
        (&["-m", "64M", "-m", "32M"], "--memory"),
        (&["--pids", "0"], "0 would let nothing run"),
        (&["--pids", "many"], "'many' is not a number"),
        (&["--pids", "1.5"], "'1.5' is not a number"),
        (&["--cpus", "0"], "the least that the kernel can do is 0.01"),
        (&["--cpus", "all"], "'all' is not a number of CPUs"),
        (&["--cpus", "1", "--cpu-quota", "5000"], "exclude each other"),
        (&["--cpu-shares", "1"], "--cpu-shares"),
        (&["--cpu-weight", "0"], "--cpu-weight"),
        (&["--cpu-weight", "5", "--cpu-shares", "5"], "exclude each other"),
        (&["--cpu-period", "999"], "--cpu-period"),
        (&["--cpuset-cpus", "one"], "resources.cpu.cpus: 'one' is not a list such as 0-3,7"),
        (&["--cpuset-cpus", "3-1"], "resources.cpu.cpus: '3-1' is not a list"),
        (&["--cpuset-mems", "-"], "resources.cpu.mems: '-' is not a list"),
        (&["--oom-score-adj", "1001"], "--oom-score-adj"),
        (&["--oom-score-adj", "high"], "--oom-score-adj"),
        (&["--rlimit", "nofile"], "not NAME=SOFT[:HARD]"),
        (&["--rlimit", "nofle=5"], "unknown resource limit RLIMIT_NOFLE, did you mean RLIMIT_NOFILE?"),
        (&["--rlimit", "nofile=-5"], "'-5' is not a number or 'unlimited'"),
        (&["--rlimit", "nofile=5:4"], "RLIMIT_NOFILE: the soft limit 5 is above the hard one 4"),
        (&["--rlimit", "core=1", "--rlimit", "RLIMIT_CORE=2"], "RLIMIT_CORE is there twice"),
        (&["--try", "resources.memry"], "unknown field 'resources.memry'"),
        (&["--try", "everything"], "unknown field 'everything'"),
    ] {
        refused(args, text);
    }
    leftovers.check();
}

#[test]
fn a_slip_of_the_fingers_is_named() {
    refused(&["--try", "resources.memry"], "try: resources.memory?");
}

#[test]
fn nothing_to_run_is_nothing_done() {
    let leftovers = Leftovers::watch();
    tool("cg-apply").args(["-N", "-m", "64M", "--"]).run().refuses(127, "nothing stands behind --");
    // Without --, it is a filter that touches nothing.
    let out = tool("cg-apply").args(["-N", "-m", "64M", "--cgroup", "/cg-test-filter"]).run();
    assert!(out.succeeds().stdout.contains(r#""limit":67108864"#), "{out:?}");
    leftovers.check();
}

#[test]
fn paths_that_lead_out_or_nowhere() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let long = format!("/{}", "a".repeat(256));
    for (path, text) in [
        ("../x", "'..' could lead out of the hierarchy"),
        ("/../x", "'..' could lead out of the hierarchy"),
        ("/a/../../b", "'..' could lead out of the hierarchy"),
        ("a/..", "'..' could lead out of the hierarchy"),
        ("/", "it names no group below the root"),
        ("//", "it names no group below the root"),
        (".", "it names no group below the root"),
        ("", "it names no group below the root"),
        ("/a\nb", "a newline"),
        (&long, "longer than 255 bytes"),
        // A name that is a file of the parent's.
        ("/cgroup.procs", "cgroup.procs"),
        ("/cgroup.procs/x", "cgroup.procs"),
    ] {
        let log = StatusLog::new();
        let run = tool("cg-apply").args(["--cgroup", path, "--status-fd", "7"]).fd(log.fd(), 7);
        run.command(["echo", "ran"]).run().refuses(125, text);
        assert_eq!(log.of("error").len(), 1, "{:?}", log.events());
        assert!(log.of("receipt").is_empty() && log.of("exec").is_empty());
    }
    leftovers.check();
}

#[test]
fn what_the_kernel_refuses_leaves_no_group() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let run = |args: &[&str], text: &str| {
        let run = tool("cg-apply").args(["--cgroup", &group.below("x")]).args(args);
        run.command(["echo", "ran"]).run().refuses(125, text);
        group.expect_gone();
    };
    if controller("cpuset").is_some() {
        run(&["--cpuset-cpus", "4000"], "cpuset.cpus");
        run(&["--cpuset-mems", "4000"], "cpuset.mems");
    }
    if controller("cpu").is_some() {
        run(&["--cpu-quota", "5"], "why: a quota is from 1000 µs");
    }
    if controller("pids").is_some() {
        run(&["--pids", "99999999999"], "pids.max");
    }
    if let Some(version) = controller("memory") {
        run(
            &["-m", "64M", "--memory-swap", "32M"],
            "resources.memory.swap: 33554432 is below the memory limit",
        );
        if version == Version::V2 {
            run(&["--memory-swap", "32M"], "it is memory and swap together, so memory needs a limit too");
        }
    }
    leftovers.check();
}

#[test]
fn a_plan_that_asks_for_what_is_unknown() {
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    for (spec, text) in [
        (r#"{"cgroup":"/x"}"#, "cgroup"),
        (r#"{"cgroupsPath":5}"#, "cgroupsPath"),
        (r#"{"resources":{"memory":{"limit":"64M"}}}"#, "limit"),
        (r#"{"resources":{"memory":{"limits":5}}}"#, "resources.memory.limits"),
        (r#"{"resources":{"pids":{"max":5}}}"#, "resources.pids.max"),
        (r#"{"resources":{"cpus":{"shares":5}}}"#, "resources.cpus"),
        (
            r#"{"rlimits":[{"type":"RLIMIT_NOFILES","soft":1,"hard":1}]}"#,
            "rlimits[0]: unknown resource limit",
        ),
        (r#"{"rlimits":[{"type":"RLIMIT_NOFILE","soft":1}]}"#, "hard"),
        (r#"{"rlimits":[{"type":"RLIMIT_NOFILE","soft":-1,"hard":1}]}"#, "-1"),
        (r#"{"oomScoreAdj":2000}"#, "oomScoreAdj: 2000 is not from -1000 to 1000"),
        (r#"{"oomScoreAdj":"high"}"#, "oomScoreAdj"),
        (r#"{"try":["resources.memroy"]}"#, "unknown field 'resources.memroy'"),
        (r#"{"keep":"yes"}"#, "keep"),
    ] {
        let out = tool("cap-drop")
            .args(["--all", "--try", "bounding", "--plan"])
            .arg(plan(&dir, spec))
            .command(["echo", "ran"])
            .run();
        out.refuses(125, text);
    }
    leftovers.check();
}

#[test]
fn resources_that_say_nonsense() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    for (resources, text) in [
        (r#""unified":{"memory.maximum.nonsense":"1"}"#, "memory.maximum.nonsense"),
        (
            r#""unified":{"nonsense.max":"1"}"#,
            "invalid configuration: cgroup v2 has no controller 'nonsense' on this host",
        ),
        (r#""unified":{"cgroup.nonsense":"1"}"#, "this kernel has no such limit"),
        (r#""unified":{"cgroup.procs":"1"}"#, "not the name of a file that sets a limit"),
        (r#""unified":{"cgroup.kill":"1"}"#, "not the name of a file that sets a limit"),
        (r#""unified":{"../cgroup.max.depth":"1"}"#, "not the name of a file that sets a limit"),
        (r#""unified":{"memory":"1"}"#, "not the name of a file that sets a limit"),
        (r#""unified":{"cgroup.max.depth":"deep"}"#, "cgroup.max.depth"),
        (
            r#""devices":[{"allow":true,"type":"x","access":"r"}]"#,
            "resources.devices[0].type: 'x' is not a, b or c",
        ),
        (
            r#""devices":[{"allow":true,"access":"ax"}]"#,
            "resources.devices[0].access: 'ax' is not of r, w, m",
        ),
        (r#""devices":[{"allow":true}]"#, "resources.devices[0].access: missing"),
        (
            r#""devices":[{"allow":true,"type":"c","major":-7,"access":"r"}]"#,
            "resources.devices[0].major: -7 is no device number",
        ),
        (r#""memory":{"limit":-7}"#, "resources.memory.limit: -7 is below -1"),
        (r#""network":{"classId":5}"#, "resources.network: unknown member 'classId'"),
        (r#""rdma":{"mlx5_1":{"hcaHandles":"3"}}"#, "resources.rdma.mlx5_1: hcaHandles: not a number"),
        (
            r#""hugepageLimits":[{"pageSize":"2 MB","limit":5}]"#,
            "hugepageLimits[0]: pageSize: not as 2MB, 1GB",
        ),
        (
            r#""hugepageLimits":[{"pageSize":"../../x","limit":5}]"#,
            "hugepageLimits[0]: pageSize: not as 2MB, 1GB",
        ),
    ] {
        let path = config(&dir, &format!(r#""resources":{{{resources}}}"#), "");
        let out = tool("cg-apply").args(["-N", "--oci"]).arg(path).command(["echo", "ran"]).run();
        out.refuses(125, text);
    }
    leftovers.check();
}

#[test]
fn where_no_cgroups_are_mounted() {
    if !requires::root() {
        return;
    }
    let line = "umount -R /sys/fs/cgroup && exec cg-apply -N";
    let run = |rest: &str| {
        let line = format!("exec unshare -m --propagation private bash -c '{line} {rest}'");
        catena_tests::shell(&line).run()
    };
    let out = run("-m 64M -- echo ran");
    out.refuses(125, "no cgroup file system is mounted here");
    assert!(out.stderr.contains("try: mount -t cgroup2 cgroup2 /sys/fs/cgroup"), "{out:?}");
    run("-m 64M --check").refuses(125, "no cgroup file system is mounted here");
    run("--rm /x").refuses(125, "no cgroup file system is mounted here");
    // What needs none is done.
    assert_eq!(run("--rlimit nofile=50 -- bash -c \"ulimit -n\"").succeeds().stdout, "50\n");
}
