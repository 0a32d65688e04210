//! The process that `runner exec` puts into a container is the one that `runc exec` puts into a container of the same
//! bundle: field by field, on the same machine, on hybrid cgroups and in a pure v2 view. Not the umask, which runc 1.1
//! leaves at 0022 for such a process; runc 1.2 and later have it as here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Probe, requires, shell, v2_view};
use common::Bundle;
use common::world::same_world;
use serde_json::{Value, json};

#[derive(Clone, Copy)]
enum View {
    Native,
    V2,
}

/// A program of Go's raises its soft limit of open files to the hard one, and old ones (runc 1.1) hand that on: both
/// runtimes start with the two equal.
const EQUAL_LIMITS: &str = "ulimit -Sn $(ulimit -Hn);";

fn ready() -> bool {
    requires::root() && requires::command("runc")
}

/// A container of each runtime on one bundle, a command with the same options in each, and both gone again.
fn both(view: View, bundle: &Bundle, options: &str) -> (Probe, Probe) {
    let (dir, state) = (bundle.dir(), bundle.state.path().display());
    let of = |runtime: &str| {
        let id = format!("{}-{runtime}", bundle.id);
        let runtime = format!("{runtime} --root {state}/{runtime}");
        let line = format!(
            "{EQUAL_LIMITS} {runtime} run -d --bundle {dir} {id} </dev/null >{dir}/log 2>&1 || {{ cat {dir}/log >&2; exit 1; }}
             {runtime} exec {options} {id} /probe; s=$?; {runtime} delete -f {id} >&2; exit $s"
        );
        let tool = match view {
            View::Native => shell(&line),
            View::V2 => v2_view(&line),
        };
        tool.run().probe()
    };
    (of("runner"), of("runc"))
}

#[track_caller]
fn same(view: View, bundle: &Bundle, options: &str) {
    let (ours, theirs) = both(view, bundle, options);
    same_world(&without_numbers(ours), &without_numbers(theirs));
}

/// runc has had some pids of the container before it comes to the command.
fn without_numbers(mut probe: Probe) -> Probe {
    assert!(probe.pid > 1);
    let relative = |n: i32| n - probe.pid;
    (probe.session, probe.pgid) = (relative(probe.session), relative(probe.pgid));
    probe.pid = 0;
    probe.status.remove("NStgid");
    probe
}

/// As `runc spec` writes it, so that nothing of ours decides what the bundle says.
fn bundle(edit: impl FnOnce(&mut Value)) -> Bundle {
    let mut bundle = Bundle::asleep();
    let file = bundle.rootfs.parent().join("config.json");
    std::fs::remove_file(&file).unwrap();
    shell(&format!("cd {} && runc spec", bundle.dir())).run().succeeds();
    bundle.config = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    bundle.config["process"]["terminal"] = json!(false);
    bundle.config["process"]["args"] = json!(["/probe", "sleep"]);
    edit(&mut bundle.config);
    bundle.write();
    bundle
}

#[test]
fn by_default_it_is_the_same_process() {
    if ready() {
        let bundle = bundle(|_| {});
        same(View::Native, &bundle, "");
        same(View::V2, &bundle, "");
    }
}

#[test]
fn with_all_that_a_config_says_of_a_process() {
    if ready() {
        let bundle = bundle(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 44]});
            config["process"]["cwd"] = json!("/etc");
            config["process"]["noNewPrivileges"] = json!(false);
            config["process"]["oomScoreAdj"] = json!(400);
            config["process"]["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 222, "hard": 222},
                {"type": "RLIMIT_CORE", "soft": 1000, "hard": 2000}
            ]);
            config["process"]["env"] = json!(["PATH=/bin", "A=1", "B=2", "A=3"]);
            for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
                config["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_CHOWN"]);
            }
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
            });
        });
        same(View::Native, &bundle, "");
    }
}

#[test]
fn with_flags() {
    if ready() {
        let bundle = bundle(|config| config["process"]["noNewPrivileges"] = json!(false));
        same(View::Native, &bundle, "-u 7:8 -g 44 -g 45 --cwd /tmp -e X=1 -e TERM=vt100 --no-new-privs");
        same(View::Native, &bundle, "-c CAP_SYS_PTRACE -c CAP_NET_RAW");
        same(View::Native, &bundle, "-u 1000 -c CAP_NET_RAW");
    }
}

#[test]
fn with_a_process_file() {
    if ready() {
        for full in [true, false] {
            by_file(full);
        }
    }
}

/// With all that a file can say, or with the least, where the rest is the container's.
fn by_file(full: bool) {
    let bundle = bundle(|config| {
        config["process"]["user"] = json!({"uid": 1, "gid": 1, "additionalGids": [9]});
        config["process"]["oomScoreAdj"] = json!(300);
        // Of a file without limits runc gives the command its caller's, and runner the container's.
        config["process"].as_object_mut().unwrap().remove("rlimits");
    });
    let least = json!({"user": {"uid": 0, "gid": 0}, "args": ["/probe"], "env": ["PATH=/bin"], "cwd": "/"});
    let all = json!({
        "user": {"uid": 12, "gid": 13, "additionalGids": [14]},
        "args": ["/probe"], "env": ["PATH=/bin", "ONLY=this"], "cwd": "/var", "noNewPrivileges": true,
        "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    });
    let process = if full { all } else { least };
    let file = bundle.rootfs.file("../process.json", process.to_string());
    // Neither takes a command beside it, so the payload's name behind the id is not there.
    let (dir, state) = (bundle.dir(), bundle.state.path().display());
    let of = |runtime: &str| {
        let id = format!("{}-{runtime}", bundle.id);
        let runtime = format!("{runtime} --root {state}/{runtime}");
        let file = file.display();
        shell(&format!(
            "{EQUAL_LIMITS} {runtime} run -d --bundle {dir} {id} </dev/null >{dir}/log 2>&1 || exit 1
                 {runtime} exec -p {file} {id}; s=$?; {runtime} delete -f {id} >&2; exit $s"
        ))
        .run()
        .probe()
    };
    same_world(&without_numbers(of("runner")), &without_numbers(of("runc")));
}

#[test]
fn in_a_user_namespace() {
    if ready() {
        let bundle = bundle(|config| {
            let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            config["linux"]["uidMappings"] = maps.clone();
            config["linux"]["gidMappings"] = maps;
        });
        shell(&format!("chmod 755 {0} && chown -R 100000:100000 {0}/rootfs", bundle.dir())).run().succeeds();
        for options in ["", "-u 5:6"] {
            let (mut ours, mut theirs) = both(View::Native, &bundle, options);
            // What was mounted when the container was made.
            (ours.dev, theirs.dev) = (None, None);
            same_world(&without_numbers(ours), &without_numbers(theirs));
        }
    }
}
