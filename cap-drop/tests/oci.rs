//! The share of a config.json: user, capabilities, no_new_privs, exactly as it says.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{StatusLog, TempDir, Tool, requires, shell, tool};

/// cap-drop with its share of a config with this `process`.
fn with_process(dir: &TempDir, process: &str) -> Tool {
    let text = format!(r#"{{"ociVersion":"1.0.2","process":{process}}}"#);
    tool("cap-drop").args(["-N", "--oci"]).arg(dir.file("config.json", text))
}

#[test]
fn the_five_sets_are_exactly_those_of_the_config() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let caps = r#""capabilities":{"bounding":["CAP_CHOWN","CAP_KILL","CAP_NET_RAW"],"permitted":["CAP_CHOWN","CAP_NET_RAW"],
        "effective":["CAP_CHOWN"],"inheritable":["CAP_NET_RAW"],"ambient":["CAP_NET_RAW"]}"#;
    let user = with_process(
        &dir,
        &format!(r#"{{"user":{{"uid":1000,"gid":1001,"additionalGids":[5,6],"umask":63}},{caps}}}"#),
    );
    let seen = user.probe();
    seen.expect_user(1000, 1001, &[5, 6]).expect_bounding(&["chown", "kill", "net_raw"]);
    seen.expect_effective(&["net_raw"]).expect_permitted(&["net_raw"]).expect_ambient(&["net_raw"]);
    seen.expect_inheritable(&["net_raw"]).expect_no_new_privs(false);
    assert_eq!(seen.umask, 0o77);
    let seen = with_process(&dir, &format!(r#"{{"noNewPrivileges":true,{caps}}}"#)).probe();
    seen.expect_user(0, 0, &[]).expect_permitted(&["chown", "net_raw"]).expect_no_new_privs(true);
}

/// What a config leaves out is none, and not what the caller has.
#[test]
fn what_is_left_out_is_empty() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let groups = |process: &str| {
        let config = dir.file("config.json", format!(r#"{{"ociVersion":"1.0.2"{process}}}"#));
        let line =
            format!("umask 0; setpriv --groups 0,4,27 -- cap-drop -N --oci {} -- $PROBE", config.display());
        shell(&line).run().probe()
    };
    for process in ["", r#","process":{}"#, r#","process":{"user":{}}"#, r#","process":{"capabilities":{}}"#]
    {
        let seen = groups(process);
        seen.expect_user(0, 0, &[]).expect_caps_empty().expect_no_new_privs(false);
        assert_eq!(seen.umask, 0o22);
    }
    groups(r#","process":{"user":{"uid":5}}"#).expect_user(5, 0, &[]);
    let none = r#"{"capabilities":null,"apparmorProfile":"","selinuxLabel":""}"#;
    with_process(&dir, none).probe().expect_caps_empty();
    let bounding = r#"{"capabilities":{"bounding":["CAP_CHOWN"]}}"#;
    let seen = with_process(&dir, bounding).probe();
    seen.expect_bounding(&["chown"]);
}

/// As runc, crun and the specification have it: a name that is unknown is a warning. It is no capability either.
#[test]
fn a_name_that_is_unknown_is_told_and_gives_nothing() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let caps = |names: &str| {
        format!(r#"{{"capabilities":{{"bounding":{names},"permitted":{names},"effective":{names}}}}}"#)
    };
    let log = StatusLog::new();
    let names = r#"["CAP_CHOWN","CAP_FROM_TOMORROW","CAP_ALL","ALL","chown","cap_kill","kill"]"#;
    let run =
        with_process(&dir, &caps(names)).args(["--status-fd", "9"]).fd(log.fd(), 9).verb(["show"]).run();
    run.probe().expect_caps(&["chown"]).expect_bounding(&["chown"]);
    for name in ["CAP_FROM_TOMORROW", "CAP_ALL", "ALL", "chown", "cap_kill", "kill"] {
        assert!(run.stderr.contains(&format!("warning: {name}: process.capabilities names it")), "{run:?}");
    }
    assert_eq!(log.of("warning").len(), 6);
    let degraded = log.of("receipt")[0]["receipt"]["degraded"].as_array().map_or(0, Vec::len);
    assert_eq!(degraded, 6);
}

/// Engines write ambient sets that the kernel would not raise, and runtimes pass over it.
#[test]
fn ambient_beyond_permitted_and_inheritable_is_told_and_left_out() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let process = r#"{"user":{"uid":1000,"gid":1000},"capabilities":{"bounding":["CAP_CHOWN"],"permitted":["CAP_CHOWN"],
        "effective":["CAP_CHOWN"],"ambient":["CAP_CHOWN"]}}"#;
    let run = with_process(&dir, process).verb(["show"]).run();
    assert!(
        run.stderr.contains("process.capabilities.ambient: can't raise ambient capability CAP_CHOWN: not in"),
        "{run:?}"
    );
    run.probe().expect_caps(&[]);
}

#[test]
fn flags_come_on_top() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let names = r#"["CAP_CHOWN","CAP_KILL"]"#;
    let process = format!(
        r#"{{"user":{{"uid":1000,"gid":1000,"additionalGids":[5],"umask":63}},"noNewPrivileges":true,
        "capabilities":{{"bounding":{names},"permitted":{names},"effective":{names}}}}}"#
    );
    let run = |line: &str| with_process(&dir, &process).args(line.split_whitespace()).probe();
    run("--user 0").expect_user(0, 0, &[]).expect_caps(&["chown", "kill"]);
    run("--user 0 --groups 7").expect_user(0, 0, &[7]);
    run("--groups none").expect_user(1000, 1000, &[]);
    run("--all").expect_caps_empty();
    run("--user 0 --cap-drop kill").expect_caps(&["chown"]);
    run("--user 0 --cap-add net_raw").expect_caps(&["chown", "kill", "net_raw"]);
    run("--keep net_raw").expect_effective(&["net_raw"]).expect_bounding(&["net_raw"]);
    run("--allow-new-privs").expect_no_new_privs(false);
    let seen = run("--umask 0 --securebits noroot");
    assert_eq!((seen.umask, seen.securebits), (0, 1));
    assert_eq!(run("--keyring x").umask, 0o77);
}

/// `runc spec` as runc 1.1 and newer write it.
#[test]
fn the_config_that_runc_writes() {
    if !requires::root() {
        return;
    }
    let default = ["audit_write", "kill", "net_bind_service"];
    let dir = TempDir::new();
    let names = r#"["CAP_AUDIT_WRITE","CAP_KILL","CAP_NET_BIND_SERVICE"]"#;
    let process = format!(
        r#"{{"terminal":true,"user":{{"uid":0,"gid":0}},"args":["sh"],"env":["PATH=/bin","TERM=xterm"],"cwd":"/",
        "capabilities":{{"bounding":{names},"effective":{names},"permitted":{names}}},
        "rlimits":[{{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}}],"noNewPrivileges":true}}"#
    );
    let seen = with_process(&dir, &process).probe();
    seen.expect_user(0, 0, &[]).expect_caps(&default).expect_bounding(&default).expect_no_new_privs(true);
    if !requires::command("runc") {
        return;
    }
    let made = TempDir::new();
    shell("runc spec").cwd(&made).run().succeeds();
    let text = std::fs::read_to_string(made.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let seen = tool("cap-drop").args(["-N", "--oci"]).arg(made.join("config.json")).probe();
    seen.expect_user(0, 0, &[])
        .expect_bounding(&default)
        .expect_effective(&default)
        .expect_permitted(&default);
    let ambient = config["process"]["capabilities"]["ambient"].as_array().map_or(0, Vec::len);
    let inheritable = config["process"]["capabilities"]["inheritable"].as_array().map_or(0, Vec::len);
    seen.expect_ambient(if ambient > 0 && inheritable > 0 { &default } else { &[] });
}

/// In front of the root's change, so read before the host's paths are gone.
#[test]
fn behind_a_new_root_the_config_is_still_the_hosts() {
    if !requires::root() {
        return;
    }
    let root = catena_tests::rootfs();
    let config = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":1000,"gid":1000}}}"#;
    std::fs::write(root.parent().join("config.json"), config).unwrap();
    root.file("config.json", r#"{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0}}}"#);
    let seen = tool("ns-enter")
        .args(["-N", "-mp"])
        .then("rootfs-prep", ["--root", "./rootfs"])
        .then("cap-drop", ["--oci", "./config.json"])
        .cwd(root.parent())
        .probe_at("/probe");
    seen.expect_user(1000, 1000, &[]).expect_caps_empty();
}

#[test]
fn a_config_that_is_wrong_runs_nothing() {
    let dir = TempDir::new();
    for (process, text) in [
        (r#"{"user":{"uid":-1}}"#, "process.user.uid"),
        (r#"{"user":{"uid":4294967295}}"#, "4294967295"),
        (r#"{"user":{"gid":4294967295}}"#, "4294967295"),
        (r#"{"user":{"uid":4294967296}}"#, "process.user.uid"),
        (r#"{"user":{"uid":"root"}}"#, "process.user.uid"),
        (r#"{"user":{"additionalGids":[4294967295]}}"#, "4294967295"),
        (r#"{"user":{"additionalGids":5}}"#, "process.user.additionalGids"),
        (r#"{"user":{"umask":512}}"#, "umask: 512 is more than 511 (0777)"),
        (r#"{"capabilities":["CAP_CHOWN"]}"#, "process.capabilities"),
        (r#"{"capabilities":{"bounding":"CAP_CHOWN"}}"#, "process.capabilities.bounding"),
        (r#"{"capabilities":{"bounding":[0]}}"#, "process.capabilities.bounding"),
        (r#"{"noNewPrivileges":"true"}"#, "process.noNewPrivileges"),
        (r#"{"noNewPrivileges":1}"#, "process.noNewPrivileges"),
        (r#"{"apparmorProfile":1}"#, "process.apparmorProfile"),
        (r#"{"user":{"uid":0},"user":{"uid":1}}"#, "duplicate field"),
        (r#"{"user":{"uid":0}"#, "cut short"),
    ] {
        with_process(&dir, process).verb(["ran"]).run().refuses(125, text);
    }
    for (text, reason) in [
        ("", "cut short"),
        ("[]", "not a JSON object"),
        (r#"{"process":{}}"#, "ociVersion: missing"),
        (r#"{"ociVersion":"2.0.0"}"#, "ociVersion: 2.0.0"),
        (r#"{"ociVersion":"1.0.2"} x"#, "trailing characters"),
    ] {
        let path = dir.file("config.json", text);
        tool("cap-drop").args(["-N", "--oci"]).arg(path).verb(["ran"]).run().refuses(125, reason);
    }
    tool("cap-drop").args(["-N", "--oci", "/nonexistent"]).verb(["ran"]).run().refuses(125, "(ENOENT)");
    if requires::root() {
        let more = r#"{"capabilities":{"bounding":["CAP_CHOWN"],"permitted":["CAP_CHOWN"],"effective":["CAP_CHOWN","CAP_KILL"]}}"#;
        with_process(&dir, more)
            .verb(["ran"])
            .run()
            .refuses(125, "process.capabilities.effective: CAP_KILL: not in permitted");
    }
}
