//! exec: what the command gets, by default and by each flag.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Probe, Stdin, processes, requires, shell};
use common::Bundle;
use serde_json::json;
use std::os::unix::fs::MetadataExt;

/// Namespaces of the container's first process, as this process sees them.
fn namespaces(pid: i32) -> Vec<(String, u64)> {
    let ns = |kind: &str| {
        let inode = std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino();
        (kind.to_string(), inode)
    };
    ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"].map(ns).to_vec()
}

#[track_caller]
fn is_inside(probe: &Probe, bundle: &Bundle) {
    for (kind, inode) in namespaces(bundle.pid()) {
        assert_eq!(probe.ns.get(&kind), Some(&inode), "the {kind} namespace is not the container's");
    }
    probe.expect_only_std_fds().expect_plain_signals();
    assert!(probe.cwd.as_deref().is_some_and(|cwd| cwd.starts_with('/')), "{:?}", probe.cwd);
}

#[test]
fn the_command_is_in_the_container_as_its_config_says() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep()
        .set("/process/user", json!({"uid": 0, "gid": 7, "umask": 0o027, "additionalGids": [5, 6]}))
        .set("/process/cwd", json!("/etc"))
        .set("/process/oomScoreAdj", json!(500))
        .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]))
        .set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}),
        )
        .up();
    let probe = bundle.exec_probe([]);
    is_inside(&probe, &bundle);
    probe
        .expect_user(0, 7, &[5, 6])
        .expect_caps(&["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"])
        .expect_bounding(&["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"])
        .expect_no_new_privs(true)
        .expect_filters(1)
        .expect_rlimit("nofile", 100, 200);
    assert_eq!((probe.umask, probe.cwd.as_deref(), probe.oom_score_adj), (0o027, Some("/etc"), Some(500)));
    assert_eq!(probe.env.get("TERM").map(String::as_str), Some("xterm"));
    assert_eq!((probe.session, probe.pgid, probe.ppid), (probe.pid, probe.pid, 0));
    assert_eq!(probe.pdeathsig, Some(0), "as with runc, it outlives a runner that is killed");
    let of_first = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    // Seen through its own cgroup namespace, if it has one, all of them read "/".
    let here = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(probe.cgroup.iter().all(|line| of_first.contains(line.as_str()) || line.ends_with(":/")));
    assert!(!here.contains(&bundle.id) && of_first.contains(&bundle.id));
    drop(bundle);
    leftovers.check();
}

#[test]
fn the_bundle_is_not_asked_again() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    std::fs::write(bundle.rootfs.parent().join("config.json"), "{").unwrap();
    bundle.exec([], ["/bin/true"]).run().exits(0);
}

#[test]
fn each_flag_changes_what_it_names() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().set("/process/noNewPrivileges", json!(false)).up();
    let probe =
        bundle.exec_probe(["--cwd", "/etc", "-e", "A=1", "--env=TERM=dumb", "-e", "A=2=3", "-e", "E="]);
    assert_eq!(probe.cwd.as_deref(), Some("/etc"));
    let env = |key: &str| probe.env.get(key).map(String::as_str);
    assert_eq!((env("A"), env("TERM"), env("E")), (Some("2=3"), Some("dumb"), Some("")));
    assert!(probe.env.contains_key("PATH"), "the config's own stay");
    probe.expect_no_new_privs(false);
    bundle.exec_probe(["--no-new-privs"]).expect_no_new_privs(true);
    bundle.exec_probe(["-u", "7", "-g", "100", "--additional-gids", "44"]).expect_user(7, 0, &[44, 100]);
    bundle.exec_probe(["--user", "7:8"]).expect_user(7, 8, &[]);
    let probe = bundle.exec_probe(["-c", "CAP_SYS_PTRACE", "--cap", "net_raw"]);
    let all = ["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE", "SYS_PTRACE", "NET_RAW"];
    probe.expect_caps(&all).expect_bounding(&all);
    let words = ["/probe", "show", "-t", "--root", "--", "-x"];
    let probe = bundle.exec([], words).run().probe();
    assert_eq!(probe.args, words, "a command's own flags are its own");
    let probe = bundle.runner(["exec", &bundle.id, "--", "/probe", "show", "-d"]).run().probe();
    assert_eq!(probe.args, ["/probe", "show", "-d"]);
    bundle.runner(["exec", "--", &bundle.id, "/probe"]).run().probe();
}

#[test]
fn no_new_privs_can_be_taken_back_as_with_runc() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    bundle.exec_probe([]).expect_no_new_privs(true);
    bundle.exec_probe(["--no-new-privs=false"]).expect_no_new_privs(false);
}

#[test]
fn a_capability_is_ambient_if_it_was_inheritable() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().set("/process/capabilities/inheritable", json!(["CAP_NET_RAW"])).up();
    let probe = bundle.exec_probe(["-u", "1000", "-c", "CAP_NET_RAW", "-c", "CAP_SYS_ADMIN"]);
    probe.expect_ambient(&["NET_RAW"]).expect_effective(&["NET_RAW"]).expect_permitted(&["NET_RAW"]);
}

/// As a shell's `-p <(jq … process.json)` gives it. One without an end is not read to its end.
#[test]
fn a_process_may_come_through_a_pipe() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let exec = |text: &str| {
        let run = bundle.runner(["--debug", "exec", "-p", "/dev/fd/0", &bundle.id]);
        run.input(text).run()
    };
    let out = exec(r#"{"args": ["/bin/echo", "said"], "cwd": "/", "env": ["PATH=/bin"]}"#);
    assert_eq!((out.status, out.stdout.as_str()), (0, "said\n"), "{out:?}");
    assert!(out.stderr.contains("level=debug"), "the steps, because of --debug: {out:?}");
    let out = exec(&format!(r#"{{"args": ["{}"]}}"#, "x".repeat(17 << 20)));
    out.fails(255, "more than the 16777216 bytes that are read");
}

#[test]
fn a_process_file_says_everything() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let process = json!({
        "user": {"uid": 12, "gid": 13, "additionalGids": [14], "umask": 0o077},
        "args": ["/probe"], "env": ["ONLY=this"], "cwd": "/tmp", "oomScoreAdj": 700,
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]}
    });
    let probe = bundle.exec_process(&process).run().probe();
    is_inside(&probe, &bundle);
    probe.expect_user(12, 13, &[14]).expect_bounding(&["CHOWN"]).expect_ambient(&["CHOWN"]);
    probe.expect_no_new_privs(false).expect_rlimit("core", 0, 0);
    assert_eq!((probe.umask, probe.cwd.as_deref(), probe.oom_score_adj), (0o077, Some("/tmp"), Some(700)));
    assert_eq!(probe.env.keys().collect::<Vec<_>>(), ["HOME", "ONLY"]);
}

#[test]
fn what_a_process_file_leaves_out_is_the_containers() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep()
        .set("/process/user", json!({"uid": 5, "gid": 6, "umask": 0o017}))
        .set("/process/oomScoreAdj", json!(600))
        .set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]))
        .up();
    let probe = bundle.exec_process(&json!({"args": ["/probe"], "cwd": "/"})).run().probe();
    probe.expect_user(0, 0, &[]).expect_rlimit("core", 1, 2).expect_no_new_privs(false);
    probe.expect_bounding(&["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"]);
    assert_eq!((probe.umask, probe.oom_score_adj), (0o017, Some(600)));
}

#[test]
fn home_is_the_users_own_unless_it_is_set() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep();
    bundle.rootfs.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:2000:2000::/home/u:/bin/sh\n");
    let bundle = bundle.up();
    let home = |probe: Probe| probe.env.get("HOME").cloned().unwrap_or_default();
    assert_eq!(home(bundle.exec_probe([])), "/root");
    assert_eq!(home(bundle.exec_probe(["-u", "2000"])), "/home/u");
    assert_eq!(home(bundle.exec_probe(["-u", "3000"])), "/");
    assert_eq!(home(bundle.exec_probe(["-u", "2000", "-e", "HOME="])), "/home/u");
    assert_eq!(home(bundle.exec_probe(["-u", "2000", "-e", "HOME=/x"])), "/x");
}

#[test]
fn the_status_is_the_commands_own_and_255_is_ours() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    for status in [0, 1, 42, 125, 126, 127, 254] {
        bundle.exec_sh([], &format!("exit {status}")).exits(status);
    }
    bundle.exec([], ["/probe", "suicide", "15"]).run().exits(143);
    bundle.exec([], ["no-such-program"]).run().refuses(255, "execve(no-such-program): No such file");
    bundle.exec([], ["/etc"]).run().refuses(255, "execve(/etc): Permission denied (EACCES)");
    let pid_file = ["--pid-file", "/no/such/folder/pid"];
    bundle.exec(pid_file, ["/probe", "ran"]).run().refuses(255, "write the pid file");
    // What was given up is killed, and takes its time to go.
    bundle.comes_down_to(1);
}

#[test]
fn standard_streams_are_the_callers() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let out = bundle.exec([], ["/bin/sh", "-c", "cat; echo err >&2"]).input("typed").run();
    assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (0, "typed", "err\n"));
    // As half of all images log: a user's own, by a path.
    let out = bundle.exec_sh(["-u", "1000:1000"], "echo out >/dev/stdout; echo err >/dev/stderr");
    assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (0, "out\n", "err\n"));
    let file = bundle.rootfs.parent().join("input");
    std::fs::write(&file, "input").unwrap();
    bundle.exec(["-u", "1000:1000"], ["/bin/cat"]).stdin(Stdin::File(file.clone())).run().exits(0);
    assert_eq!(std::fs::metadata(&file).unwrap().uid(), 0, "a file of the host stays its owner's");
    assert_eq!(std::fs::metadata("/dev/null").unwrap().uid(), 0);
}

#[test]
fn fds_cross_only_if_they_are_asked_for() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let file = || std::fs::File::open("/proc/self/status").unwrap();
    let with = |n: &str| bundle.exec(["--preserve-fds", n], ["/probe"]).fd(file(), 3).fd(file(), 4);
    with("0").run().probe().expect_only_std_fds();
    with("1").run().probe().expect_fds(&[0, 1, 2, 3]);
    with("2").run().probe().expect_fds(&[0, 1, 2, 3, 4]);
    with("3").run().refuses(255, "cannot preserve fd 5: fcntl(5)");
    // Not one of the runner's own, which would have such a number.
    let log = bundle.rootfs.parent().join("log");
    let out = bundle
        .runner(["--log", log.to_str().unwrap(), "exec", "--preserve-fds=1", &bundle.id, "/probe"])
        .run();
    out.refuses(255, "cannot preserve fd 3");
}

#[test]
fn in_the_foreground_signals_are_the_commands() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let mut running = bundle.exec([], ["/probe", "signal-wait", "9"]).spawn();
    assert_eq!(running.line(), "ready");
    for (signal, name) in [
        (nix::sys::signal::SIGUSR1, "SIGUSR1"),
        (nix::sys::signal::SIGHUP, "SIGHUP"),
        (nix::sys::signal::SIGTERM, "SIGTERM"),
    ] {
        running.signal(signal);
        assert_eq!(running.line(), name);
    }
    running.wait().exits(9);
}

#[test]
fn a_command_outlives_a_runner_that_is_killed_as_with_runc() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().up();
    let mut running = bundle.exec([], ["/probe", "signal-wait", "9"]).spawn();
    assert_eq!(running.line(), "ready");
    running.kill();
    // The link that made the command may not quite have ended.
    bundle.comes_down_to(2);
    // And does not go on to fewer.
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(bundle.count(), 2);
    drop(bundle);
    leftovers.check();
}

#[test]
fn detached_it_leaves_a_pid_file_and_the_command() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().up();
    let dir = bundle.dir();
    let line = format!(
        "runner --root {} exec -d --pid-file {dir}/pid {} /probe sleep >{dir}/exec.out 2>&1 </dev/null",
        bundle.state.path().display(),
        bundle.id
    );
    shell(&line).run().succeeds();
    let pid: i32 = std::fs::read_to_string(bundle.rootfs.parent().join("pid")).unwrap().parse().unwrap();
    assert_ne!(pid, bundle.pid());
    assert_eq!(namespaces(pid), namespaces(bundle.pid()));
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(words, b"/probe\0sleep\0");
    assert_eq!((bundle.count(), processes()), (2, Vec::new()), "nothing of ours stays");
    drop(bundle);
    leftovers.check();
}

#[test]
fn the_pidfd_socket_gets_a_pidfd_of_the_command() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let path = bundle.rootfs.parent().join("pidfd");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut running =
        bundle.exec(["--pidfd-socket", path.to_str().unwrap()], ["/probe", "signal-wait", "3"]).spawn();
    let (stream, _) = listener.accept().unwrap();
    let pidfd = common::exec::receive(&stream);
    assert_eq!(running.line(), "ready");
    chain::sys::process::pidfd_signal(std::os::fd::AsFd::as_fd(&pidfd), libc::SIGTERM).unwrap();
    assert_eq!(running.line(), "SIGTERM");
    running.wait().exits(3);
}

#[test]
fn a_created_container_takes_a_command_before_it_is_started() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("exit 5");
    bundle.create().succeeds();
    is_inside(&bundle.exec_probe([]), &bundle);
    assert_eq!(bundle.status(), "created");
    bundle.start().succeeds();
}

#[test]
fn a_user_namespace_is_joined_with_the_rest() {
    if !requires::root() {
        return;
    }
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = Bundle::asleep()
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
    shell(&format!("chown -R 100000:100000 {}", bundle.rootfs.parent().join("rootfs").display()))
        .run()
        .succeeds();
    std::os::unix::fs::chown(bundle.rootfs.parent(), None, None).unwrap();
    shell(&format!("chmod 755 {}", bundle.dir())).run().succeeds();
    let bundle = bundle.up();
    let probe = bundle.exec_probe([]);
    is_inside(&probe, &bundle);
    probe.expect_user(0, 0, &[]).expect_caps(&["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"]);
    assert_eq!(probe.uid_map.unwrap()[0].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    bundle.exec_probe(["-u", "5:6"]).expect_user(5, 6, &[]);
    bundle.exec(["-u", "70000"], ["/probe", "ran"]).run().refuses(255, "that user id is not mapped");
}

#[test]
fn print_shows_the_chain_and_runs_nothing() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let plan = bundle.runner(["--print", "exec", &bundle.id, "/probe", "ran"]).run().succeeds().json();
    let tools: Vec<_> =
        plan["layers"].as_array().unwrap().iter().map(|l| l["tool"].as_str().unwrap()).collect();
    assert_eq!(tools, ["cg-apply", "ns-enter", "cap-drop"]);
    let first = format!("/proc/{}/ns/", bundle.pid());
    for ns in plan["layers"][1]["spec"]["namespaces"].as_array().unwrap() {
        assert!(ns["path"].as_str().unwrap().starts_with(&first), "{ns}");
    }
    assert_eq!(bundle.count(), 1);
}
