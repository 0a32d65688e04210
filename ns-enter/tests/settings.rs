//! What belongs to a namespace: names, clocks, parameters, personality. Set where it is ours, refused where it would be
//! the host's.

mod target;

use catena_tests::{Probe, StatusLog, TempDir, Tool, requires, shell, tool};
use target::Target;

fn enter(args: &[&str]) -> Tool {
    tool("ns-enter").args(args)
}

/// The layer as a plan would bring it, for what no flag says.
fn layer(spec: &str) -> Tool {
    let plan = format!(r#"{{"catena":1,"layers":[{{"tool":"ns-enter","spec":{spec}}}],"complete":true}}"#);
    tool("seccomp-load").args(["-s", "swapon:EPERM"]).input(plan)
}

#[test]
fn names_are_set_inside_and_nowhere_else() {
    if !requires::root() {
        return;
    }
    let before = Probe::here();
    let seen = enter(&["-u", "--hostname", "box", "--domainname", "example.org"]).probe();
    assert_eq!((seen.hostname.as_str(), seen.domainname.as_str()), ("box", "example.org"));
    let seen = enter(&["--unshare", "all", "--share", "time", "--hostname", "Käse box"]).probe();
    assert_eq!((seen.hostname.as_str(), &seen.domainname), ("Käse box", &before.domainname));
    let longest = "x".repeat(64);
    let seen = enter(&["-u", "--hostname", &longest, "--domainname", ""]).probe();
    assert_eq!((seen.hostname, seen.domainname), (longest, String::new()));
    let after = Probe::here();
    assert_eq!((after.hostname, after.domainname), (before.hostname, before.domainname));
}

#[test]
fn names_in_a_joined_namespace() {
    if !requires::root() {
        return;
    }
    let target = Target::new("-u");
    let pid = target.pid.to_string();
    enter(&["-t", &pid, "-u", "--hostname", "theirs"]).verb(["exit", "0"]).run().succeeds();
    assert_eq!(enter(&["-t", &pid, "-u"]).probe().hostname, "theirs");
    assert_ne!(Probe::here().hostname, "theirs");
}

#[test]
fn names_that_would_be_the_hosts_or_are_none() {
    let long = "x".repeat(65);
    let refused = |args: &[&str], text: &str| enter(args).verb(["ran"]).run().refuses(125, text).clone();
    for option in ["--hostname", "--domainname"] {
        let out = refused(&["-n", option, "h"], "no uts namespace is made or joined");
        assert!(out.stderr.contains("try: --unshare uts"), "{out:?}");
        refused(&[option, "h"], "it says no namespace");
        refused(&["-u", option, &long], "more than 64 bytes");
        refused(&["--join", "uts=/proc/self/ns/uts", option, "h"], "no uts namespace");
        refused(&["-u", option, "a", option, "b"], option);
    }
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"\xff");
    tool("ns-enter").args(["-u", "--hostname"]).arg(bytes).verb(["ran"]).run().refuses(125, "UTF-8");
    for name in ["hostname", "domainname"] {
        let spec = format!(r#"{{"namespaces":[{{"type":"uts"}}],"{name}":"a\u0000b"}}"#);
        layer(&spec).verb(["ran"]).run().refuses(125, "'a\\0b': more than 64 bytes, or a NUL in it");
    }
}

#[test]
fn parameters_are_set_and_read_back() {
    if !requires::root() {
        return;
    }
    let read = |args: &[&str], key: &str| {
        enter(args).command(["cat", &format!("/proc/sys/{key}")]).run().succeeds().stdout.trim().to_string()
    };
    let forward = std::fs::read("/proc/sys/net/ipv4/ip_forward").expect("it can be read");
    assert_eq!(read(&["-n", "--sysctl", "net.ipv4.ip_forward=1"], "net/ipv4/ip_forward"), "1");
    assert_eq!(
        read(&["-n", "--sysctl", "net/ipv4/conf/lo/forwarding=1"], "net/ipv4/conf/lo/forwarding"),
        "1"
    );
    let sem = ["-i", "--sysctl", "kernel.sem=111 32000  32 128", "--sysctl=kernel.shmmni=0x10"];
    assert_eq!(read(&sem, "kernel/sem"), "111\t32000\t32\t128");
    assert_eq!(read(&sem, "kernel/shmmni"), "16");
    assert_eq!(read(&["-u", "--sysctl", "kernel.hostname=box"], "kernel/hostname"), "box");
    // The kernel writes a list its own way.
    let ports = ["-n", "--sysctl", "net.ipv4.ip_local_reserved_ports=9001,8080,9000,9002-9004"];
    assert_eq!(read(&ports, "net/ipv4/ip_local_reserved_ports"), "8080,9000-9004");
    let range = ["-n", "--sysctl", "net.ipv4.ip_local_port_range=2000 3000"];
    assert_eq!(read(&range, "net/ipv4/ip_local_port_range"), "2000\t3000");
    assert_eq!(std::fs::read("/proc/sys/net/ipv4/ip_forward").expect("it can be read"), forward);
    // One that can only be written.
    enter(&["-n", "--sysctl", "net.ipv4.route.flush=1"]).verb(["exit", "0"]).run().succeeds();
}

#[test]
fn parameters_in_joined_namespaces() {
    if !requires::root() {
        return;
    }
    let target = Target::new("-in");
    let pid = target.pid.to_string();
    let args = ["-t", &pid, "-in", "--sysctl", "kernel.msgmni=77", "--sysctl", "net.ipv4.ip_forward=1"];
    enter(&args).verb(["exit", "0"]).run().succeeds();
    let out = enter(&["-t", &pid, "-in"])
        .command(["cat", "/proc/sys/kernel/msgmni", "/proc/sys/net/ipv4/ip_forward"])
        .run();
    assert_eq!(out.succeeds().stdout, "77\n1\n");
}

#[test]
fn parameters_of_the_host_are_refused() {
    let refused = |args: &[&str], text: &str| {
        enter(args).verb(["ran"]).run().refuses(125, text);
    };
    for key in [
        "kernel.panic",
        "vm.swappiness",
        "fs.file-max",
        "kernel.core_pattern",
        "user.max_user_namespaces",
        "net/../kernel/panic",
        "net",
        "..",
        "/kernel/sem",
    ] {
        refused(&["-nui", "--sysctl", &format!("{key}=1")], key);
    }
    refused(&["-n", "--sysctl", "kernel.core_pattern=|/x"], "it belongs to no namespace");
    refused(&["-u", "--sysctl", "net.ipv4.ip_forward=1"], "no network namespace is made or joined");
    refused(&["-n", "--sysctl", "kernel.sem=1"], "no ipc namespace");
    refused(&["-n", "--sysctl", "kernel.hostname=x"], "no uts namespace");
    refused(&["-n", "--sysctl", "net.ipv4.ip_forward"], "not KEY=VALUE");
    refused(&["-n", "--sysctl", "=1"], "not the name of a parameter");
    let same = ["-n", "--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "net/ipv4/ip_forward=0"];
    refused(&same, "net/ipv4/ip_forward: it is given a second time");
    let same = ["-n", "--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "net.ipv4.ip_forward=0"];
    refused(&same, "net.ipv4.ip_forward: it is given a second time");
    refused(&["-u", "--hostname", "a", "--sysctl", "kernel.hostname=b"], "second time");
    if !requires::root() {
        return;
    }
    refused(
        &["-n", "--sysctl", "net.ipv4.no_such=1"],
        "cannot set net.ipv4.no_such to 1: open(sys/net/ipv4/no_such): No such file or directory (ENOENT)",
    );
    refused(&["-n", "--sysctl", "net.ipv4.ip_forward=many"], "(EINVAL)");
    refused(&["-n", "--sysctl", "net.ipv4.ip_default_ttl=999"], "(EINVAL)");
}

/// The limits below /proc/sys/user are those of the user namespace of whoever opens them.
#[test]
fn limits_of_a_user_namespace_are_its_own() {
    if !requires::root() {
        return;
    }
    let file = "/proc/sys/user/max_net_namespaces";
    let before = std::fs::read(file).expect("it can be read");
    for line in [
        "idmap -r -- ns-enter -n --sysctl user.max_net_namespaces=7",
        "idmap --map-users 0:5000:10 --map-groups 0:5000:10 -- ns-enter -n --sysctl user/max_net_namespaces=7",
    ] {
        let out = shell(&format!("{line} -- cat {file}")).run();
        assert_eq!(out.succeeds().stdout, "7\n", "{line}");
    }
    assert_eq!(std::fs::read(file).expect("it can be read"), before);
    let out = enter(&["-n", "--sysctl", "user.max_net_namespaces=7"]).verb(["ran"]).run();
    out.refuses(125, "no user namespace is made or joined");
}

#[test]
fn clocks_are_shifted() {
    if !requires::root() || !requires::namespace("time") {
        return;
    }
    let here = Probe::here();
    let seen = enter(&["-T", "--monotonic", "86400", "--boottime=-5"]).probe();
    let offsets = seen.time_offsets.expect("they can be read");
    assert_eq!((offsets["monotonic"], offsets["boottime"]), (86400, -5));
    assert!((seen.monotonic - here.monotonic - 86400).abs() < 10, "{} {}", seen.monotonic, here.monotonic);
    assert!((seen.boottime - here.boottime + 5).abs() < 10);
    for args in [["-T", "-p"], ["-T", "-U"]] {
        let seen = enter(&args).args(["--boottime", "1000"]).probe();
        assert_eq!(seen.time_offsets.expect("they can be read")["boottime"], 1000, "{args:?}");
    }
    let spec =
        r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"boottime":{"secs":7,"nanosecs":500000000}}}"#;
    let out = layer(spec).command(["cat", "/proc/self/timens_offsets"]).run();
    let text = out.succeeds().stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(text, "monotonic 0 0 boottime 7 500000000");
    // Not in a joined one: its clocks are set.
    let target = Target::new("-T --boottime 60");
    let pid = target.pid.to_string();
    assert_eq!(enter(&["-t", &pid, "-T"]).probe().time_offsets.expect("they can be read")["boottime"], 60);
    let out = enter(&["-t", &pid, "-T", "--boottime", "5"]).verb(["ran"]).run();
    out.refuses(125, "only a new time namespace takes an offset");
}

#[test]
fn clocks_that_cannot_be() {
    let refused = |args: &[&str], text: &str| enter(args).verb(["ran"]).run().refuses(125, text).clone();
    refused(&["-u", "--boottime", "5"], "timeOffsets.boottime: only a new time namespace");
    refused(&["--boottime", "5"], "it says no namespace");
    refused(&["-T", "--boottime", "soon"], "'soon'");
    refused(&["-T", "--monotonic", "99999999999999999999"], "--monotonic");
    if !requires::root() || !requires::namespace("time") {
        return;
    }
    for secs in ["-99999999", "9999999999"] {
        let out = refused(&["-T", "--monotonic", secs], &format!("set the clocks to monotonic {secs} 0: "));
        assert!(out.stderr.contains("(ERANGE)") && out.stderr.contains("why: the clock would be"), "{out:?}");
    }
}

#[test]
fn personality_comes_from_a_config() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let config = |personality: &str| {
        let text = format!(r#"{{"ociVersion":"1.2.0","linux":{{"personality":{personality}}}}}"#);
        dir.file("config.json", text);
        enter(&["--oci", "config.json", "-u"]).cwd(&dir)
    };
    let seen = config(r#"{"domain":"LINUX32"}"#).probe();
    assert_eq!(seen.personality, Some(8));
    if cfg!(target_arch = "x86_64") && requires::command("setarch") {
        // User-mode Linux takes the personality and does not tell it.
        let theirs = shell("setarch i686 uname -m").run();
        assert!(theirs.status != 0 || seen.machine == theirs.stdout.trim(), "{} {theirs:?}", seen.machine);
    }
    assert_eq!(config(r#"{"domain":"LINUX"}"#).probe().personality, Some(0));
    config(r#"{"domain":"LINUX64"}"#)
        .verb(["ran"])
        .run()
        .refuses(125, "personality.domain: 'LINUX64' is unknown");
    config(r#"{"domain":"LINUX","flags":["x"]}"#).verb(["ran"]).run().refuses(125, "personality.flags: 'x'");
}

#[test]
fn what_was_set_is_in_the_receipt() {
    if !requires::root() {
        return;
    }
    let log = StatusLog::new();
    let args = ["-nu", "--domainname", "d", "--sysctl", "net.ipv4.ip_forward=1", "--status-fd", "9"];
    enter(&args).fd(log.fd(), 9).verb(["exit", "0"]).run().succeeds();
    let applied = &log.of("receipt")[0]["receipt"]["applied"];
    assert_eq!(applied["domainname"], "d");
    assert_eq!(applied["loopback"], true);
    assert_eq!(applied["sysctl"], serde_json::json!([["sys/net/ipv4/ip_forward", "1"]]));
    // A value that the kernel does not take ends the chain without one.
    let log = StatusLog::new();
    let args = ["-n", "--sysctl", "net.ipv4.ip_forward=x", "--status-fd", "9"];
    enter(&args).fd(log.fd(), 9).verb(["ran"]).run().refuses(125, "net/ipv4/ip_forward");
    assert!(log.of("receipt").is_empty() && log.of("exec").is_empty(), "{:#?}", log.events());
    assert_eq!(log.expect_error("internal")["errno"], "EINVAL");
}

/// What a later mount namespace of the command hides is not where the value went.
#[test]
fn a_proc_that_is_covered_does_not_take_the_value() {
    if !requires::root() {
        return;
    }
    let inner = "mount -t tmpfs t /proc/sys && mkdir -p /proc/sys/net/ipv4 && echo 0 > /proc/sys/net/ipv4/ip_forward \
        && ns-enter -n --sysctl net.ipv4.ip_forward=1 -- sh -c \"cat /proc/sys/net/ipv4/ip_forward; umount /proc/sys; cat /proc/sys/net/ipv4/ip_forward\"";
    let out = shell(&format!("exec unshare -m --propagation private sh -c '{inner}'")).run();
    assert_eq!(out.succeeds().stdout, "0\n1\n");
    let inner = "mount -t tmpfs t /proc && exec ns-enter -n -- /bin/echo ran";
    let out = shell(&format!("exec unshare -m --propagation private sh -c '{inner}'")).run();
    assert_eq!((out.status, out.stdout.as_str()), (125, ""), "{out:?}");
}
