//! Options that hold for every command: where they may stand, what the log gets, who makes the cgroup.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, TempDir, requires, shell, tool};
use common::Bundle;
use serde_json::{Value, json};

/// The lines of a JSON log.
fn log_lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn runner<const N: usize>(args: [&str; N]) -> Output {
    tool("runner").args(args).run()
}

#[test]
fn version_tells_what_engines_look_for() {
    let version = runner(["--version"]);
    version.succeeds();
    assert_eq!(runner(["-v"]), version);
    assert_eq!(runner(["-V"]), version);
    let lines: Vec<&str> = version.stdout.lines().collect();
    assert!(
        lines[0].strip_prefix("runner version ").is_some_and(|v| v.split('.').count() == 3),
        "{version:?}"
    );
    assert!(lines[1].strip_prefix("commit: ").is_some_and(|c| !c.is_empty()), "{version:?}");
    assert_eq!(lines[2], "spec: 1.3.0");
    // Docker takes the version from the last line that has the word in it.
    assert_eq!(version.stdout.matches("version").count(), 1, "{version:?}");
}

/// A link of that name.
fn runc_in(dir: &TempDir) -> std::path::PathBuf {
    let link = dir.path().join("runc");
    std::os::unix::fs::symlink(catena_tests::tool_path("runner"), &link).unwrap();
    link
}

/// And what it writes into a log that scripts look through, or says of a command that is not there.
#[test]
fn under_the_name_of_runc_a_debug_log_and_a_missing_command_are_in_its_words() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let link = runc_in(&dir);
    let bundle = Bundle::sh("sleep 60");
    let log = dir.path().join("log");
    let line = |words: &str| {
        let (link, state, log) = (link.display(), bundle.state.path().display(), log.display());
        shell(&format!("{link} --root {state} --debug --log {log} {words}"))
    };
    let told = || {
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        text
    };
    line(&format!("run -d -b {} {} >/dev/null 2>&1 </dev/null", bundle.dir(), bundle.id)).run().succeeds();
    let words = ["runc exeseal: using", "nsexec container setup", "child process in init()"];
    let text = told();
    for word in words.iter().chain(&["init: closing the pipe to signal completion"]) {
        assert!(text.contains(word), "{word}: {text}");
    }
    line(&format!("exec {} true", bundle.id)).run().succeeds();
    let text = told();
    for word in words.iter().chain(&["setns_init: about to exec"]) {
        assert!(text.contains(word), "{word}: {text}");
    }
    let out = line(&format!("exec {} /not-there", bundle.id)).run();
    assert_eq!((out.status, &*out.stderr), (255, "exec /not-there: no such file or directory\n"), "{out:?}");
    let out = line(&format!("exec {} not-there", bundle.id)).run();
    let expected = "exec: \"not-there\": executable file not found in $PATH\n";
    assert_eq!((out.status, &*out.stderr), (255, expected), "{out:?}");
    // Under its own name they are not made up.
    bundle.runner(["--debug", "--log", log.to_str().unwrap(), "exec", &bundle.id, "true"]).run().succeeds();
    let text = told();
    assert!(text.contains("CapDrop") && !text.contains("setns_init"), "{text}");
}

/// A link of that name, for scripts that read what runc says of itself.
#[test]
fn under_the_name_of_runc_version_and_help_have_its_layout() {
    let dir = TempDir::new();
    let link = runc_in(&dir);
    let runc = |words: &str| shell(&format!("{} {words}", link.display())).run();
    let version = runc("-v").succeeds().stdout.clone();
    let lines: Vec<&str> = version.lines().collect();
    assert!(lines[0].strip_prefix("runc version ").is_some_and(|v| v.split('.').count() == 3), "{version}");
    assert!(lines[1].starts_with("commit: ") && lines[2] == "spec: 1.3.0", "{version}");
    // It does not hide whose it is.
    assert!(lines[3].starts_with("runner: ") && version.matches("version").count() == 1, "{version}");
    for words in ["-h", "--help"] {
        let help = runc(words).succeeds().stdout.clone();
        assert!(help.starts_with("NAME:\n   runc - Open Container Initiative runtime\n"), "{help}");
        assert!(help.contains("--systemd-cgroup") && help.contains("  delete "), "{help}");
        for command in ["exec", "features", "kill"] {
            let help = runc(&format!("{command} {words}")).succeeds().stdout.clone();
            assert!(help.starts_with(&format!("NAME:\n   runc {command} - ")), "{help}");
            assert!(help.contains(&format!("runc {command}")) && !help.contains("runner exec"), "{help}");
        }
    }
    runc("foo -h").fails(3, "No help topic for 'foo'");
    // Nothing else changes with the name.
    runc(&format!("--root {} state nobody", dir.path().display())).refuses(1, "container does not exist");
}

#[test]
fn an_unknown_command_is_one_line_with_the_nearest_one() {
    for (word, near) in
        [("pasue", "try: pause?"), ("delte", "try: delete?"), ("frobnicate", "try: runner --help")]
    {
        let out = runner(["--root", "/nowhere", word, "x"]);
        out.refuses(3, &format!("unknown command {word}"));
        assert!(out.stderr.contains(near), "{out:?}");
    }
    runner(["state", "a", "b"]).refuses(1, "b is one operand too many");
    runner(["state"]).refuses(1, "<ID> is missing");
    runner(["list", "--frob"]).refuses(1, "unknown option --frob");
    runner(["list", "-f", "xml"]).refuses(1, "'xml' is not possible");
    runner(["--rootless", "perhaps", "list"]).refuses(1, "not true, false or auto");
    runner(["--log-level", "loud", "list"]).refuses(1, "'loud' is not possible");
}

#[test]
fn help_is_there_for_all_and_for_each() {
    let help = runner(["help"]);
    assert_eq!(help.status, 0);
    assert_eq!(help.stdout, runner(["--help"]).stdout);
    for command in ["ps", "pause", "resume", "features", "kill", "delete", "spec", "list", "run", "create"] {
        assert!(help.stdout.contains(&format!("  {command} ")), "{command}: {help:?}");
        assert!(runner(["help", command]).stdout.contains("Usage: runner"), "{command}");
        assert!(runner([command, "--help"]).stdout.contains("--root"), "{command}");
    }
}

#[test]
fn options_stand_before_the_command_and_behind_it() {
    let state = TempDir::new();
    let path = state.path().to_str().unwrap();
    for line in [
        ["--root", path, "--debug", "list", "-q"],
        ["list", "--root", path, "--debug", "-q"],
        ["--debug", "list", "-q", "--root", path],
    ] {
        runner(line).succeeds();
    }
    for accepted in [
        ["--criu", "/usr/sbin/criu", "list", "-q", "--root", path],
        ["--rootless", "true", "--root", path, "list", "-q"],
        ["--rootless=false", "--log-level", "error", "--root", path, "list"],
        ["--cgroup-manager", "cgroupfs", "list", "-q", "--root", path],
        ["--cgroup-manager=disabled", "--log-format=text", "--root", path, "list", "-q"],
    ] {
        runner(accepted).succeeds();
    }
    runner(["--systemd-cgroup", "--cgroup-manager", "cgroupfs", "list"]).refuses(1, "exclude each other");
}

/// podman writes some twice, and finds out what there is by leaving the argument out.
#[test]
fn what_is_given_twice_counts_once_and_the_last_value_counts() {
    let dir = TempDir::new();
    let path = dir.path().to_str().unwrap();
    runner(["--root", "/nowhere", "list", "--quiet", "-q", "--root", path]).succeeds();
    runner(["--root", path, "checkpoint", "--leave-running", "--leave-running", "nobody"])
        .refuses(1, "container does not exist");
    runner(["restore", "--lsm-mount-context"]).refuses(1, "flag needs an argument: --lsm-mount-context");
}

#[test]
fn the_log_is_appended_to_and_its_last_line_is_the_cause() {
    let dir = TempDir::new();
    let log = dir.path().join("log");
    let path = log.to_str().unwrap();
    let root = dir.path().join("root");
    let root = root.to_str().unwrap();
    for (place, behind) in [(path.to_string(), false), (format!("file:{path}"), true)] {
        let front: &[&str] = if behind { &["state", "nobody"] } else { &[] };
        let back: &[&str] = if behind { &[] } else { &["state", "nobody"] };
        let out = tool("runner")
            .args(front)
            .args(["--root", root, "--log", &place, "--log-format", "json"])
            .args(back)
            .run();
        out.refuses(1, "container does not exist");
    }
    // A command line that is wrong is told to the log as well, wherever the log stands on it.
    runner(["--log", path, "--log-format", "json", "delet", "x"]).refuses(3, "unknown command delet");
    runner(["--log-format=json", "list", "--frob", &format!("--log={path}")])
        .refuses(1, "unknown option --frob");
    let lines = log_lines(&log);
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in &lines {
        assert_eq!(line["level"], "error");
        assert!(line["time"].as_str().is_some_and(|t| t.starts_with("20") && t.ends_with('Z')), "{line}");
    }
    assert!(lines[2]["msg"].as_str().unwrap().contains("delete?"), "{}", lines[2]);
    assert!(lines[3]["msg"].as_str().unwrap().contains("unknown option --frob"), "{}", lines[3]);
}

#[test]
fn without_a_file_json_lines_go_to_stderr() {
    let dir = TempDir::new();
    let out = runner(["--root", dir.path().to_str().unwrap(), "--log-format", "json", "state", "nobody"]);
    assert_eq!((out.status, out.stdout.as_str()), (1, ""));
    let line: Value = serde_json::from_str(&out.stderr).unwrap();
    assert_eq!(line["level"], "error");
}

#[test]
fn a_log_that_cannot_be_is_said_and_no_reason_to_stop() {
    let dir = TempDir::new();
    let root = dir.path().to_str().unwrap();
    for (place, said) in [
        ("journald:x", "cannot log to journald"),
        ("syslog:x", "cannot log to syslog"),
        ("/no/such/folder/log", "cannot log to /no/such/folder/log"),
    ] {
        let out = runner(["--root", root, "--log", place, "list", "-q"]);
        out.fails(0, said);
        assert!(out.stderr.starts_with("runner: warning: "), "{out:?}");
        // Whoever wants errors only is spared.
        runner(["--root", root, "--log", place, "--log-level", "error", "list", "-q"]).succeeds();
    }
}

#[test]
fn debug_tells_the_steps_and_nothing_else_does() {
    if !requires::root() {
        return;
    }
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]});
    let bundle = Bundle::sh("exit 0").set("/linux/seccomp", filter);
    let log = bundle.rootfs.parent().join("log.json");
    let run = |flags: &[&str]| {
        let runner = bundle.runner(["--log", log.to_str().unwrap(), "--log-format", "json"]).args(flags);
        runner.args(["run", "--bundle", bundle.dir(), &bundle.id]).run().succeeds();
        let lines = log_lines(&log);
        std::fs::remove_file(&log).unwrap();
        lines
    };
    assert_eq!(run(&[]), Vec::<Value>::new());
    assert_eq!(run(&["--debug", "--log-level", "error"]), Vec::<Value>::new());
    for flags in [&["--debug"][..], &["--log-level", "debug"]] {
        let lines = run(flags);
        assert!(lines.len() > 1 && lines.iter().all(|line| line["level"] == "debug"), "{lines:?}");
        // Each link has its say, and of the filter runc's words are there.
        let told =
            |text: &str| lines.iter().any(|line| line["msg"].as_str().is_some_and(|m| m.contains(text)));
        for tool in ["CgApply", "NsEnter", "RootfsPrep", "CapDrop", "SeccompLoad"] {
            assert!(told(&format!("tool: {tool}")), "{tool}: {lines:?}");
        }
        assert!(told("seccomp filter flags: 2"), "{lines:?}");
    }
}

#[test]
fn without_systemd_its_scopes_cannot_be_had() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo RAN").set("/linux/cgroupsPath", json!("user.slice:docker:abc"));
    for flag in [&["--systemd-cgroup"][..], &["--cgroup-manager", "systemd"]] {
        let run = |more: &[&str]| {
            let out = tool("runner").args(["--root", bundle.state.path().to_str().unwrap()]).args(flag);
            out.args(more).args(["run", "-b", bundle.dir(), &bundle.id]).run()
        };
        let plan = run(&["--print"]).succeeds().json();
        let asked = json!({"unit": "docker-abc.scope", "slice": "user.slice"});
        assert_eq!(plan.pointer("/layers/0/spec/systemd"), Some(&asked), "{plan}");
        assert_eq!(plan.pointer("/layers/0/spec/cgroupsPath"), None, "{plan}");
        if std::path::Path::new("/run/systemd/private").exists() {
            continue;
        }
        let out = run(&[]);
        assert!(out.status == 1 && out.stdout.is_empty() && out.stderr.contains("systemd"), "{out:?}");
        assert!(out.stderr.contains("--cgroup-manager cgroupfs"), "{out:?}");
    }
    assert_eq!(std::fs::read_dir(bundle.state.path()).unwrap().count(), 0);
    let bundle = Bundle::sh("echo RAN").set("/linux/cgroupsPath", json!("/a/b"));
    let out = bundle.runner(["--systemd-cgroup", "run", "-b", bundle.dir(), &bundle.id]).run();
    out.refuses(1, "SLICE:PREFIX:NAME");
    drop(bundle);
    leftovers.check();
}

#[test]
fn without_a_cgroup_manager_there_is_no_cgroup() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let here = catena_tests::Probe::here().cgroup;
    let mut bundle = Bundle::new();
    // In a cgroup namespace it would be the root.
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "cgroup");
    bundle.write();
    let out = bundle.runner(["--cgroup-manager", "disabled", "run", "-b", bundle.dir(), &bundle.id]).run();
    assert_eq!(out.probe().cgroup, here);
    // What wants one says so; what does not works.
    let bundle = Bundle::sh("exec sleep 60");
    let line = format!(
        "runner --root {} --cgroup-manager disabled run -d -b {} {} >/dev/null 2>&1 </dev/null",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    catena_tests::shell(&line).run().succeeds();
    assert_eq!(bundle.status(), "running");
    bundle.runner(["ps", &bundle.id]).run().refuses(1, "it has no cgroup");
    bundle.runner(["pause", &bundle.id]).run().refuses(1, "it has no cgroup");
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    bundle.becomes("stopped");
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    // A limit has nowhere to be.
    let bundle = Bundle::new().set("/linux/resources/memory", json!({"limit": 1 << 28}));
    let out = bundle.runner(["--cgroup-manager", "disabled", "run", "-b", bundle.dir(), &bundle.id]).run();
    out.refuses(1, "linux.resources.memory: it needs a cgroup");
    drop(bundle);
    leftovers.check();
}

#[test]
fn one_regular_expression_for_many_containers() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let state = TempDir::new();
    let root = state.path().to_str().unwrap();
    let bundle = Bundle::sh("exec sleep 60");
    let ids = ["a1", "a2", "b1"].map(|name| format!("{name}-{}", bundle.id));
    for id in &ids {
        let line = format!("runner --root {root} run -d -b {} {id} >/dev/null 2>&1 </dev/null", bundle.dir());
        catena_tests::shell(&line).run().succeeds();
    }
    let listed = || runner(["--root", root, "list", "-q"]).stdout.lines().count();
    runner(["--root", root, "kill", "--regex", "^z"]).succeeds();
    runner(["--root", root, "delete", "--regex", "("])
        .refuses(1, "cannot find the containers that '(' matches");
    // Without the flag it is an id.
    runner(["--root", root, "kill", "^a"]).refuses(1, "only letters, digits");
    runner(["--root", root, "delete", "--regex", "^(a|b)[12]-"]).refuses(1, "3 of 3 containers");
    assert_eq!(listed(), 3);
    runner(["--root", root, "delete", "-f", "-r", "^a[0-9]"]).succeeds();
    assert_eq!(listed(), 1);
    runner(["--root", root, "kill", "-r", "b", "KILL"]).succeeds();
    runner(["--root", root, "delete", "--force", "--regex", "."]).succeeds();
    assert_eq!(listed(), 0);
    drop((bundle, state));
    leftovers.check();
}

#[test]
fn spec_writes_the_file_that_is_named() {
    let dir = TempDir::new();
    let path = dir.path().to_str().unwrap();
    runner(["spec", "-b", path, "--file", "other.json"]).succeeds();
    let text = std::fs::read_to_string(dir.path().join("other.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["ociVersion"], "1.3.0");
    assert!(!dir.path().join("config.json").exists());
    runner(["spec", "-b", path, "-f", "other.json"]).refuses(1, "EEXIST");
}
