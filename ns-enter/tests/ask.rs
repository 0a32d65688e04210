//! `--print`, `--check`, `--show`, `--json`, `--try`, `--oci`, plans: what is said is so, and a question changes nothing.

mod target;

use catena_tests::{Leftovers, Probe, StatusLog, TempDir, Tool, requires, shell, tool};
use target::{Target, expect_exactly_new, inode, kinds};

fn enter(line: &str) -> Tool {
    tool("ns-enter").args(line.split_whitespace())
}

#[test]
fn print_says_what_would_be_done() {
    let said = |line: &str| {
        let out = enter(line).arg("--print").run();
        out.succeeds().stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let text = said("-mpnu --hostname box --domainname d --sysctl net.ipv4.ip_forward=1");
    for part in [
        "make mount",
        "make uts",
        "make network",
        "make pid",
        "fork the command is a child",
        "hostname box",
        "domainname d",
        "lo up",
        "sysctl /proc/sys/net/ipv4/ip_forward = 1",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!said("-n --no-lo").contains("lo up") && !said("-p --no-fork").contains("fork"));
    assert!(said("-T --boottime 7").contains("clock boottime 7 0"));
    let text = said("--join net=/proc/self/ns/net");
    assert!(text.contains("join network /proc/self/ns/net (inode") && text.contains("already"), "{text}");
    enter("--print -m").verb(["ran"]).run().succeeds();
    assert!(!enter("--print -m").verb(["ran"]).run().stdout.contains("RAN"));
    // What could not be done is refused here as well.
    for line in
        ["--hostname x -n", "-t 999999999 -n", "--join net=/proc/self/ns/uts", "-n --sysctl vm.swappiness=1"]
    {
        enter(line).arg("--print").run().refuses(125, "");
    }
}

#[test]
fn print_as_json_is_the_layer() {
    let layer = enter("-np --hostname h --unshare uts --print --json").run().json();
    assert_eq!(layer["tool"], "ns-enter");
    assert_eq!(layer["spec"]["hostname"], "h");
    let kinds: Vec<&str> = layer["spec"]["namespaces"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|n| n["type"].as_str())
        .collect();
    assert_eq!(kinds, ["network", "pid", "uts"]);
}

#[test]
fn check_does_it_and_leaves_nothing() {
    if !requires::root() {
        return;
    }
    let (leftovers, before) = (Leftovers::watch(), Probe::here());
    let target = Target::full();
    for line in [
        "-m".into(),
        "-mpniuC --hostname checked --sysctl net.ipv4.ip_forward=1".into(),
        "-U -p".into(),
        format!("-t {} -a", target.pid),
        "--try time -uT".into(),
    ] {
        let out = enter(&line).arg("--check").run();
        assert_eq!(out.succeeds().stdout, "this host can do it\n", "{line}");
        assert!(!enter(&line).arg("--check").verb(["ran"]).run().stdout.contains("RAN"));
    }
    assert_eq!(enter("-u --check --json").run().json()["check"], true);
    enter("-n --check --sysctl net.ipv4.ip_forward=x").run().refuses(125, "(EINVAL)");
    enter("-n --check --sysctl net.ipv4.no_such=1").run().refuses(125, "(ENOENT)");
    enter("-p -n --check --sysctl net.ipv4.no_such=1").run().refuses(125, "(ENOENT)");
    drop(target);
    before.expect_like(&Probe::here());
    leftovers.check();
}

#[test]
fn check_says_what_the_host_cannot() {
    if !requires::root() {
        return;
    }
    // Limits of a user namespace of the test's own.
    let limited = |kind: &str, line: &str| {
        let inner = format!("echo 0 > /proc/sys/user/max_{kind}_namespaces && exec ns-enter {line}");
        shell(&format!("exec unshare -rm bash -c '{inner}'")).run()
    };
    let out = limited("uts", "-u --check");
    out.refuses(125, "unshare(CLONE_NEWUTS): No space left on device (ENOSPC)");
    assert!(out.stderr.contains("why: a limit below /proc/sys/user is reached"), "{out:?}");
    let out = limited("pid", "-mp -- $PROBE ran");
    out.refuses(125, "clone3(CLONE_NEWNS|CLONE_NEWPID): No space left on device (ENOSPC)");
    let out = limited("net", "-un -- $PROBE ran");
    out.refuses(125, "unshare(CLONE_NEWUTS|CLONE_NEWNET)");
}

#[test]
fn try_leaves_out_what_cannot_be_made_and_tells() {
    if !requires::root() {
        return;
    }
    let limited = |line: &str, log: &StatusLog| {
        let inner =
            format!("echo 0 > /proc/sys/user/max_net_namespaces && exec ns-enter --status-fd 9 {line}");
        shell(&format!("exec unshare -rm bash -c '{inner}'")).fd(log.fd(), 9).run()
    };
    let log = StatusLog::new();
    let seen = limited("-un --try net -- $PROBE", &log).probe();
    seen.expect_ns_same(&["net"]).expect_ns_differs(&["uts"]);
    let receipt = &log.of("receipt")[0]["receipt"];
    assert!(
        receipt["degraded"][0].as_str().is_some_and(|d| d.starts_with("network namespace: ")),
        "{receipt:#}"
    );
    assert_eq!(receipt["ns"].as_object().map(|ns| ns.len()), Some(1), "{receipt:#}");
    // What belongs to it is not done to the host's instead.
    let log = StatusLog::new();
    let out = limited("-un --try net --sysctl net.ipv4.ip_forward=1 -- $PROBE ran", &log);
    out.refuses(125, "no network namespace");
    // Only what was named.
    limited("-un --try uts -- $PROBE ran", &StatusLog::new()).refuses(125, "(ENOSPC)");
    // One that can be made is made.
    let log = StatusLog::new();
    let seen = enter("-un --try net,uts --status-fd 9").fd(log.fd(), 9).probe();
    expect_exactly_new(&seen, &["uts", "net"]);
    let none = serde_json::json!([]);
    let degraded = &log.of("receipt")[0]["receipt"]["degraded"];
    assert!(degraded.is_null() || *degraded == none, "{degraded}");
}

/// What is tried is tried where it will be made: with the privilege of the user namespace that is joined or made.
#[test]
fn try_in_another_user_namespace() {
    if !requires::root() {
        return;
    }
    let target = Target::new("-r -m");
    let mut user = String::from("setpriv --bounding-set=-sys_admin --inh-caps=-all -- ");
    user.push_str(&format!("ns-enter -t {} -U --unshare net --try net -- $PROBE", target.pid));
    let seen = shell(&user).run().probe();
    seen.expect_ns_differs(&["net", "user"]);
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && exec ns-enter -U -u --try user,uts -- $PROBE";
    let seen = shell(&format!("exec unshare -rm bash -c '{none}'")).run().probe();
    assert_eq!(seen.uid, 0);
    seen.expect_ns_differs(&["uts"]);
}

#[test]
fn show_is_a_layer_that_joins() {
    if !requires::root() {
        return;
    }
    let target = Target::full();
    let layer = enter(&format!("--show {}", target.pid)).run().json();
    let shown = layer["spec"]["namespaces"].as_array().expect("a list").clone();
    let full: Vec<&str> = kinds().into_iter().map(|k| k.2).filter(|n| *n != "user").collect();
    assert_eq!(shown.len(), full.len(), "{layer:#}");
    for (_, long, name) in kinds().into_iter().filter(|k| k.2 != "user") {
        let wanted = serde_json::json!({"type": long, "path": target.path(name)});
        assert!(shown.contains(&wanted), "{wanted} is not in {layer:#}");
    }
    let plan = serde_json::json!({"catena": 1, "layers": [layer], "complete": true}).to_string();
    // "complete" has to stand last.
    let plan =
        plan.replace(r#""complete":true,"#, "").replace("}}]}", "}}]").trim_end_matches('}').to_string();
    let plan = format!("{plan},\"complete\":true}}");
    let plan = if serde_json::from_str::<serde_json::Value>(&plan).is_ok() {
        plan
    } else {
        format!(r#"{{"catena":1,"layers":[{layer}],"complete":true}}"#)
    };
    let seen = tool("cap-drop").args(["--keep", "chown"]).input(plan).probe();
    target.expect_joined(&seen, &full);

    let own = enter(&format!("--show {}", std::process::id())).run().json();
    assert!(own["spec"]["namespaces"].as_array().is_none_or(Vec::is_empty), "{own:#}");
    for pid in ["999999999", "0", "-1", "x", "99999999999"] {
        enter(&format!("--show={pid}")).run().refuses(125, pid);
    }
}

#[test]
fn the_share_of_a_config() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let target = Target::new("-i");
    let ipc = target.path("ipc");
    let text = format!(
        r#"{{"ociVersion":"1.2.0","hostname":"fromconfig","domainname":"dom","process":{{"cwd":"/","args":["x"]}},
        "root":{{"path":"nowhere"}},"linux":{{"namespaces":[{{"type":"mount"}},{{"type":"uts"}},{{"type":"network","path":""}},
        {{"type":"ipc","path":"{ipc}"}},{{"type":"pid"}}],"sysctl":{{"net.ipv4.ip_forward":"1","kernel.msgmni":"55"}},
        "maskedPaths":["/proc/kcore"]}}}}"#
    );
    dir.file("config.json", text);
    let config = |line: &str| enter(&format!("--oci config.json {line}")).cwd(&dir);
    let seen = config("").probe();
    assert_eq!((seen.hostname.as_str(), seen.domainname.as_str(), seen.pid), ("fromconfig", "dom", 1));
    seen.expect_ns_differs(&["mnt", "uts", "net", "ipc", "pid"]).expect_ns_same(&["cgroup", "user"]);
    assert_eq!(seen.ns["ipc"], inode(target.pid, "ipc"));
    // Flags come on top, and a kind that they name is theirs.
    let seen = config("--unshare ipc --hostname flag -C --no-lo").probe();
    assert_eq!((seen.hostname.as_str(), seen.domainname.as_str()), ("flag", "dom"));
    assert_ne!(seen.ns["ipc"], inode(target.pid, "ipc"));
    seen.expect_ns_differs(&["cgroup", "ipc"]);
    let out = config("--sysctl kernel.msgmni=66").command(["cat", "/proc/sys/kernel/msgmni"]).run();
    assert_eq!(out.succeeds().stdout, "66\n");
    // As a later link, whose file the first one opened.
    let line = "cg-apply --rlimit nofile=64:64 -- ns-enter --oci config.json -- $PROBE";
    assert_eq!(shell(line).cwd(&dir).run().probe().hostname, "fromconfig");
    // A config without namespaces runs in ours.
    dir.file("config.json", r#"{"ociVersion":"1.2.0"}"#);
    expect_exactly_new(&config("").probe(), &[]);
}

#[test]
fn both_forms_make_the_same_process() {
    if !requires::root() {
        return;
    }
    let exec = shell("ns-enter -mpniuC --hostname h -- cap-drop --all -- $PROBE").run().probe();
    let pipe = shell("ns-enter -mpniuC --hostname h | cap-drop --all -- $PROBE").run().probe();
    pipe.expect_like(&exec);
}

#[test]
fn help_and_version() {
    assert!(enter("--help").run().succeeds().stdout.contains("Examples:"));
    assert!(enter("--version").run().succeeds().stdout.starts_with("ns-enter "));
    let version = enter("--version --json").run().json();
    assert!(version["features"].as_array().is_some_and(|f| f.contains(&"time".into())), "{version}");
}
