//! Hooks: all six kinds, when they run, where, as whom and with what.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell, tool};
use common::Bundle;
use common::hooked::{KINDS, all_tell, hook, kinds, log, sh, with_log};
use serde_json::{Value, json};

#[test]
fn each_runs_in_its_time_with_the_state_of_that_time() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = all_tell("exec sleep 60").set("/annotations", json!({"key": "value"}));
    bundle.create().succeeds();
    assert_eq!(kinds(&bundle), KINDS[..3]);
    let pid = bundle.state()["pid"].clone();
    bundle.start().succeeds();
    assert_eq!(kinds(&bundle), KINDS[..5]);
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    bundle.becomes("stopped");
    assert_eq!(kinds(&bundle), KINDS[..5]);
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    assert_eq!(kinds(&bundle), KINDS);

    let inside = json!(1);
    let expected = [
        ("creating", Some(&pid)),
        ("creating", Some(&pid)),
        ("creating", Some(&inside)),
        ("created", Some(&inside)),
        ("running", Some(&pid)),
        ("stopped", None),
    ];
    for (ran, (status, pid)) in log(&bundle).iter().zip(expected) {
        assert_eq!(ran.state["status"], status, "{ran:?}");
        assert_eq!(ran.state.get("pid"), pid, "{ran:?}");
        assert_eq!(ran.state["id"], bundle.id.as_str(), "{ran:?}");
        assert_eq!(ran.state["bundle"], bundle.dir(), "{ran:?}");
        assert_eq!(ran.state["annotations"], json!({"key": "value"}), "{ran:?}");
        assert_eq!(ran.state["ociVersion"], bundle.config["ociVersion"], "{ran:?}");
    }
    drop(bundle);
    leftovers.check();
}

#[test]
fn each_runs_in_the_namespaces_that_are_its_own() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = all_tell("readlink /proc/self/ns/mnt; readlink /proc/self/ns/pid");
    let out = bundle.run();
    let inside: Vec<&str> = out.succeeds().stdout.lines().collect();
    let here =
        |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let outside = [here("mnt"), here("pid")];
    assert_ne!(inside, outside);
    let cwd =
        [bundle.dir(), bundle.dir(), &format!("{}/rootfs", bundle.dir()), "/", bundle.dir(), bundle.dir()];
    let log = log(&bundle);
    assert_eq!(log.len(), 6, "{log:?}");
    for (ran, cwd) in log.iter().zip(cwd) {
        let found = [ran.mnt.as_str(), ran.pid_ns.as_str()];
        match ran.kind.as_str() {
            "createContainer" | "startContainer" => assert_eq!(found, inside[..], "{ran:?}"),
            _ => assert_eq!(found, outside, "{ran:?}"),
        }
        assert_eq!(ran.cwd, cwd, "{ran:?}");
    }
    drop(bundle);
    leftovers.check();
}

/// What hooks are for: a driver's files, mounted into the container by someone who enters its namespace and knows the
/// root by its path, and by someone who stands in it. The container sees both, the host none.
#[test]
fn what_hooks_mount_is_in_the_container_and_nowhere_else() {
    if !requires::root() || !requires::command("nsenter") || !requires::command("jq") {
        return;
    }
    let leftovers = Leftovers::watch();
    for propagation in ["rslave", "shared", "rprivate", "unbindable"] {
        let bundle =
            with_log("cat /mnt/by-path /home/by-cwd").set("/linux/rootfsPropagation", json!(propagation));
        for name in ["one", "two", "rootfs/mnt/by-path", "rootfs/home/by-cwd"] {
            std::fs::write(bundle.rootfs.parent().join(name), name).unwrap();
        }
        let dir = bundle.dir().to_string();
        let by_path =
            sh(&format!("nsenter -m -t $(jq -r .pid) mount --bind {dir}/one {dir}/rootfs/mnt/by-path"));
        let by_cwd = sh(&format!("mount --bind {dir}/two ./home/by-cwd"));
        let bundle = hook(hook(bundle, "createRuntime", by_path), "createContainer", by_cwd);
        let out = bundle.run();
        assert_eq!(out.succeeds().stdout, "onetwo", "{propagation}");
        let outside = std::fs::read_to_string(bundle.rootfs.path().join("mnt/by-path")).unwrap();
        assert_eq!(outside, "rootfs/mnt/by-path", "{propagation}");
    }
    leftovers.check();
}

/// As runc has it: the words as they stand, argv[0] too; the environment as it stands, an empty one too; and if none is
/// given, the runner's own outside and the command's inside. The chain's own variable is nobody's.
#[test]
fn words_and_environment_are_as_they_were_given() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let words = |env: Option<Value>| {
        let mut hook = json!({"path": "/bin/sh", "args": ["./sh", "-c",
            "f=/log/said; test -d /log || f=log/said; test -d ./rootfs || test -d /log || f=../log/said;
             { echo \"$0|$1|$2\"; tr '\\0' '\\n' </proc/self/environ; echo .; } >>$f", "zero", "a b", ""]});
        if let Some(env) = env {
            hook["env"] = env;
        }
        hook
    };
    let said = |bundle: Bundle| {
        let run = ["run", "--bundle", bundle.dir(), &bundle.id];
        bundle.runner(run).env("OF_THE_RUNNER", "yes").run().succeeds();
        std::fs::read_to_string(bundle.rootfs.parent().join("log/said")).unwrap()
    };
    for kind in KINDS {
        let given = said(hook(with_log("true"), kind, words(Some(json!(["B=2", "A=1", "odd"])))));
        assert_eq!(given, "zero|a b|\nB=2\nA=1\nodd\n.\n", "{kind}");
        let none = said(hook(with_log("true"), kind, words(None)));
        let of_runner = none.contains("\nOF_THE_RUNNER=yes\n");
        let of_command = none.contains("\nPATH=/usr/local/sbin:") && none.contains("\nHOME=/root\n");
        assert_eq!((of_runner, of_command), (kind != "startContainer", kind == "startContainer"), "{none}");
        assert!(!none.contains("CATENA_STATE"), "{none}");
        let empty = said(hook(with_log("true"), kind, words(Some(json!([])))));
        assert_eq!(empty.lines().count() == 2, kind != "startContainer", "{kind}: {empty}");
    }
    leftovers.check();
}

/// Nothing that the command may not do may be done by what the image's own hook program does.
#[test]
fn a_hook_inside_has_no_more_rights_than_the_command() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]});
    let look = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Umask)' /proc/self/status; ulimit -n; pwd;
        mkdir /log/x 2>&1; ls /proc/self/fd | wc -l";
    for nnp in [true, false] {
        let bundle = with_log(&format!("{{ {look}; }} >/log/command"))
            .set("/linux/seccomp", filter.clone())
            .set("/process/noNewPrivileges", json!(nnp))
            .set("/process/cwd", json!("/tmp"))
            .set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [29], "umask": 0o27}));
        let log = bundle.rootfs.parent().join("log");
        std::fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let bundle = hook(bundle, "startContainer", sh(&format!("{{ {look}; }} >/log/hook")));
        bundle.run().succeeds();
        let [hook, command] =
            ["hook", "command"].map(|name| std::fs::read_to_string(log.join(name)).unwrap());
        assert_eq!(hook, command);
        assert!(hook.contains("Operation not supported") && hook.contains("1000"), "{hook}");
        assert!(hook.contains("Seccomp:\t2") && hook.contains("\n/tmp\n"), "{hook}");
    }
    leftovers.check();
}

#[test]
fn hooks_do_without_a_pid_namespace() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut bundle = all_tell("true");
    let kinds_of = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    kinds_of.retain(|ns| ns["type"] != "pid");
    bundle.write();
    bundle.run().succeeds();
    let pids: Vec<Value> = log(&bundle).into_iter().map(|ran| ran.state["pid"].clone()).collect();
    assert!(pids[..5].iter().all(|pid| *pid == pids[0] && pid.as_i64() > Some(1)), "{pids:?}");
    drop(bundle);
    leftovers.check();
}

#[test]
fn hooks_run_where_the_root_is_not_pivoted() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = all_tell("ls -d /log");
    let out = bundle.runner(["run", "--no-pivot", "--bundle", bundle.dir(), &bundle.id]).run();
    assert_eq!(out.succeeds().stdout, "/log\n");
    assert_eq!(kinds(&bundle), KINDS);
    drop(bundle);
    leftovers.check();
}

/// The same bundle with runc: the same hooks in the same places with the same states. In runc 1.1 poststart is early:
/// before the command, and so says `created`.
#[test]
fn runc_runs_them_the_same_way() {
    if !requires::root() || !requires::command("runc") {
        return;
    }
    let leftovers = Leftovers::watch();
    let told = |runtime: &str| {
        let bundle = all_tell("true").set("/annotations", json!({"key": "value"}));
        let state = bundle.state.path().display();
        shell(&format!("{runtime} --root {state} run --bundle {} {}", bundle.dir(), bundle.id))
            .run()
            .succeeds();
        let mut log = log(&bundle);
        log.sort_by_key(|ran| KINDS.iter().position(|kind| *kind == ran.kind));
        let plain = |ran: &common::hooked::Ran| {
            let mut state = ran.state.clone();
            // runc's own version, not the config's; and what differs from one run to the next.
            for member in ["ociVersion", "id", "bundle"] {
                assert!(state[member].is_string(), "{state}");
                state[member] = json!("-");
            }
            if state["pid"].as_i64() > Some(1) {
                state["pid"] = json!("outside");
            }
            if ran.kind == "poststart" {
                state["status"] = json!("-");
            }
            format!("{} {} {state}", ran.kind, ran.cwd.replace(bundle.dir(), "BUNDLE"))
        };
        log.iter().map(plain).collect::<Vec<_>>()
    };
    assert_eq!(told("runner"), told("runc"));
    leftovers.check();
}

#[test]
fn a_config_with_hooks_prints_as_a_plan_without_them() {
    let bundle = all_tell("true");
    let out = tool("runner").args(["--print", "run", "--bundle", bundle.dir(), &bundle.id]).run();
    assert!(!out.succeeds().stdout.contains("hook"), "{out:?}");
    assert_eq!(kinds(&bundle), [""; 0]);
}
