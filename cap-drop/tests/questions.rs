//! `--print`, `--check`, `--show`, receipts, help: what is said is what is so, and nothing happens.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Leftovers, Probe, StatusLog, TempDir, Tool, probe_path, requires, shell, tool};
use serde_json::Value;

fn cap_drop(line: &str) -> Tool {
    tool("cap-drop").args(line.split_whitespace())
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap_or("none"), 16).unwrap_or(u64::MAX)
}

/// What was announced and what the command then found.
#[track_caller]
fn agrees(applied: &Value, seen: &Probe) {
    let c = seen.caps;
    let named = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| hex(&applied[set]));
    assert_eq!(named, [c.inheritable, c.permitted, c.effective, c.bounding, c.ambient], "{applied:#}");
    assert_eq!(applied["NoNewPrivs"], u64::from(seen.no_new_privs), "{applied:#}");
    if !applied["Uid"].is_null() {
        assert_eq!(applied["Uid"], seen.uid);
        assert_eq!(applied["Gid"], seen.gid);
        let groups: Vec<u64> =
            applied["Groups"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        assert_eq!(groups, seen.groups.iter().map(|g| u64::from(*g)).collect::<Vec<_>>());
    }
}

/// The command's own sets are in the receipt, in `--print` and in `--check`, before there is a command.
#[test]
fn what_is_announced_is_what_the_command_has() {
    if !requires::root() {
        return;
    }
    for line in [
        "--all",
        "--keep chown,net_raw",
        "--user 1000:1001 --keep net_raw --groups 5,6 --umask 027",
        "--user nobody",
        "--user nobody --init-groups --allow-new-privs",
        "--cap-drop all --cap-add kill --user 1000:1000",
        "--bounding chown --inheritable kill",
        "--permitted chown --effective chown",
        "--securebits noroot,noroot_locked --ambient net_raw",
        "--all --allow-new-privs",
        "--umask 022 --allow-new-privs --no-keyring",
    ] {
        let log = StatusLog::new();
        let seen = cap_drop(&format!("-N {line} --status-fd 9")).fd(log.fd(), 9).probe();
        let receipts = log.of("receipt");
        assert_eq!(receipts.len(), 1, "{line}");
        let receipt = &receipts[0]["receipt"];
        assert_eq!(
            (receipt["tool"].as_str(), &receipt["verified"]),
            (Some("cap-drop"), &Value::Bool(true)),
            "{line}"
        );
        assert!(receipt["degraded"].as_array().is_none_or(Vec::is_empty), "{receipt:#}");
        agrees(&receipt["applied"], &seen);
        assert_eq!(log.of("exec").len(), 1);
        for question in ["--print", "--check"] {
            agrees(&cap_drop(&format!("-N {line} {question} --json")).run().succeeds().json(), &seen);
        }
    }
    let under = "setpriv --no-new-privs -- cap-drop -N --all --allow-new-privs ";
    let seen = shell(&format!("{under}-- $PROBE")).run().probe();
    agrees(&shell(&format!("{under}--print --json")).run().json(), &seen);
}

#[test]
fn printing_is_for_people_too_and_changes_nothing() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let line = "--user 1000:1001 --groups 5 --umask 027 --keep net_raw --securebits noroot --keyring k";
    for question in ["--print", "--check"] {
        let out = cap_drop(&format!("-N {line} {question}")).run();
        let text = &out.succeeds().stdout;
        for part in [
            "bounding     net_raw\n",
            "ambient      net_raw\n",
            "no_new_privs on\n",
            "user         uid 1000, gid 1001, groups [5]\n",
            "umask        0027\n",
            "securebits   noroot\n",
            "keyring      new: k\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let out = cap_drop(&format!("-N {line} {question}")).verb(["ran"]).run();
        assert!(!out.succeeds().stdout.contains("RAN"), "a question runs no command: {out:?}");
    }
    let out = cap_drop("-N --all --print --apparmor-profile p --selinux-label l").run();
    assert!(out.succeeds().stdout.contains("apparmor     p\n  selinux      l\n"), "{out:?}");
    leftovers.check();
}

/// What the kernel would refuse is found by trying it, which only the landing would do otherwise.
#[test]
fn a_check_finds_what_the_landing_would() {
    let user = if nix::unistd::geteuid().is_root() {
        "setpriv --reuid 65534 --regid 65534 --groups 65534 --inh-caps=-all -- "
    } else {
        ""
    };
    for line in ["--user 0:0", "--securebits noroot", "--groups 0"] {
        let out = shell(&format!("{user}cap-drop -N --check {line}")).run();
        out.refuses(125, "(EPERM)");
    }
    shell(&format!("{user}cap-drop -N --check --umask 022")).run().succeeds();
}

#[test]
fn what_is_shown_is_a_layer_that_makes_the_same() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let line = "-N --user 1000:1001 --groups 5,6 --umask 027 --keep net_raw,kill --no-keyring";
    let wanted = cap_drop(line).probe();
    let mut running = cap_drop(line).verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    let shown = cap_drop(&format!("--show {}", running.pid())).run();
    let layer = shown.succeeds().json();
    assert_eq!(
        (&layer["tool"], &layer["spec"]["user"]["uid"]),
        (&"cap-drop".into(), &1000.into()),
        "{layer:#}"
    );
    running.kill();
    let dir = TempDir::new();
    let plan = dir.file("plan.json", format!(r#"{{"catena":1,"layers":[{layer}],"complete":true}}"#));
    let seen = tool("seccomp-load").arg("--plan").arg(&plan).args(["-s", "add_key:EPERM"]).probe();
    seen.expect_user(1000, 1001, &[5, 6]).expect_no_new_privs(true).expect_filters(1);
    assert_eq!((seen.caps, seen.umask), (wanted.caps, 0o27));
    leftovers.check();
}

#[test]
fn a_process_that_is_not_there_cannot_be_shown() {
    for pid in ["999999999", "0", "-5"] {
        cap_drop(&format!("--show={pid}")).run().refuses(125, "there is no process");
    }
    for pid in ["", "self", "1x", "99999999999"] {
        tool("cap-drop").arg(format!("--show={pid}")).run().refuses(125, "--show");
    }
}

#[test]
fn an_error_is_told_on_the_status_fd_by_its_class() {
    for (line, class) in [
        ("--bogus", "usage"),
        ("--keep chwon", "usage"),
        ("--user no_such_user", "missing"),
        ("--keep cap_63", "unsupported"),
        ("--oci /nonexistent", "missing"),
    ] {
        let log = StatusLog::new();
        let out = cap_drop(&format!("-N --status-fd=9 {line}")).fd(log.fd(), 9).verb(["ran"]).run();
        assert_eq!((out.status, out.stdout.as_str()), (125, ""), "{out:?}");
        log.expect_error(class);
        assert_eq!((log.of("receipt").len(), log.of("exec").len()), (0, 0));
    }
    if requires::root() {
        let log = StatusLog::new();
        let line = "setpriv --bounding-set=-setpcap --inh-caps=-all -- cap-drop -N --status-fd 9 --all -- $PROBE ran";
        shell(line).fd(log.fd(), 9).run().refuses(125, "CAP_SETPCAP");
        log.expect_error("denied");
    }
}

/// In the chain the flags are the layer: both forms make the same process.
#[test]
fn as_a_filter_it_writes_a_plan_and_touches_nothing() {
    if !requires::root() {
        return;
    }
    let out = cap_drop("-N --user 1000:1001 --groups 5 --keep net_raw --umask 027").run();
    let plan = out.succeeds().json();
    let spec = &plan["layers"][0]["spec"];
    assert_eq!(spec["user"], serde_json::json!({"uid": 1000, "gid": 1001, "groups": ["5"], "umask": 23}));
    assert_eq!((&spec["noNewPrivileges"], &plan["complete"]), (&true.into(), &true.into()));
    let dir = TempDir::new();
    let file = dir.file("plan.json", &out.stdout);
    let exec = cap_drop("-N --user 1000:1001 --groups 5 --keep net_raw --umask 027")
        .then("seccomp-load", ["-s", "add_key:EPERM"])
        .probe();
    let pipe = tool("seccomp-load").arg("--plan").arg(&file).args(["-s", "add_key:EPERM"]).probe();
    exec.expect_like(&pipe);
    let fd = std::fs::File::open(&file).unwrap();
    let by_fd = tool("seccomp-load").fd(fd, 9).args(["--plan", "fd:9", "-s", "add_key:EPERM"]).probe();
    exec.expect_like(&by_fd);
}

#[test]
fn the_commands_fds_are_those_that_are_given_on() {
    let dir = TempDir::new();
    let text = dir.file("text", "said\n");
    let open = || std::fs::File::open(&text).unwrap();
    cap_drop("-N --umask 022").fd(open(), 7).probe().expect_only_std_fds();
    let seen = cap_drop("-N --umask 022 --keep-fd 7").fd(open(), 7).probe();
    seen.expect_fds(&[0, 1, 2, 7]);
    cap_drop("-N --umask 022 --keep-fd 77").verb(["ran"]).run().refuses(125, "fcntl(77)");
    cap_drop("-N --umask 022 --status-fd 77").verb(["ran"]).run().refuses(125, "fcntl(77)");
    let run = cap_drop("--umask 022 --stdin").arg(&text).verb(["cat"]).run();
    assert_eq!(run.succeeds().stdout, "said\nok\n");
}

#[test]
fn the_examples_of_the_help_are_lines_that_work() {
    let out = cap_drop("--help").run();
    let help = &out.succeeds().stdout;
    assert_eq!(help, &cap_drop("-h").run().succeeds().stdout);
    if !requires::root() {
        return;
    }
    let examples: Vec<&str> = help
        .lines()
        .filter_map(|l| Some(&l[l.find("cap-drop ")?..]))
        .filter(|l| l.contains(" -- ") && !l.contains('['))
        .collect();
    assert!(examples.len() >= 4, "{help}");
    for line in examples {
        let (own, _) = line.split_once(" -- ").unwrap();
        let own = own.replace("--user web", "--user nobody");
        shell(&format!("{own} -N -- $PROBE")).run().probe().expect_no_new_privs(true);
    }
}

#[test]
fn the_version_names_the_build_and_the_features() {
    let line = cap_drop("--version").run().succeeds().stdout.clone();
    let document = cap_drop("--version --json").run().json();
    assert_eq!(line, format!("cap-drop {}\n", document["build"].as_str().unwrap()));
    assert!(document["features"].as_array().is_some_and(|f| f.contains(&"ambient".into())), "{document}");
}

/// Every flag of the help stands in a test of this folder.
#[test]
fn every_flag_is_tested() {
    let help = cap_drop("--help").run().succeeds().stdout.clone();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let tests: String = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let flags: Vec<&str> = help
        .lines()
        .filter(|l| l.trim_start().starts_with('-'))
        .filter_map(|l| l.split_whitespace().find(|w| w.starts_with("--") && w.len() > 2))
        .map(|w| w.trim_end_matches(','))
        .collect();
    assert!(flags.len() > 30 && probe_path().is_file(), "{flags:?}");
    let untested: Vec<&&str> = flags
        .iter()
        .filter(|f| !["--new", "--help"].contains(*f))
        .filter(|f| {
            !tests.contains(&format!("{f} "))
                && !tests.contains(&format!("{f}\""))
                && !tests.contains(&format!("{f}="))
        })
        .collect();
    assert!(untested.is_empty(), "no test uses {untested:?}");
}

#[test]
fn what_is_asserted_of_a_process_holds_or_the_status_says_so() {
    let here = Probe::here();
    let pid = std::process::id().to_string();
    let ask = |words: &[&str]| {
        let words = words.iter().flat_map(|word| ["--assert", *word]);
        tool("cap-drop").args(["--show", &pid]).args(words).run()
    };
    let own = format!("uid={}", here.uid);
    let out = ask(&[&own, "no_new_privs=off"]);
    assert_eq!(out.status, i32::from(here.no_new_privs), "{out:?}");
    let out = ask(&["uid=4000000", &own]);
    assert_eq!((out.status, out.stdout), (1, format!("uid=4000000: it is {}\n", here.uid)));
    let none = if here.caps.bounding == 0 { 0 } else { 1 };
    assert_eq!(ask(&["bounding=none"]).status, none);
    for (word, said) in [
        ("bounding", "not WHAT=VALUE"),
        ("bonding=none", "'bonding' cannot be asserted"),
        ("bounding=", "is not known"),
        ("bounding=cap_chwon", "is not known"),
        ("bounding=all", "depends on the kernel"),
        ("uid=root", "not a number"),
        ("uid=", "not a number"),
        ("groups=wheel", "not numbers"),
        ("no_new_privs=1", "neither on nor off"),
    ] {
        ask(&[word]).refuses(125, said);
        // All are read first.
        ask(&["uid=4000000", word]).refuses(125, said);
    }
    tool("cap-drop")
        .args(["--all", "--assert", "bounding=none"])
        .command(["true"])
        .run()
        .refuses(125, "--show");
}

/// What people ask before they give one away.
#[test]
fn a_capability_is_explained() {
    let said = |line: &str| cap_drop(line).run().succeeds().stdout.clone();
    let one = said("--explain sys_ptrace");
    assert!(
        one.starts_with("CAP_SYS_PTRACE (19, since Linux 2.2)\n") && one.contains("as good as root"),
        "{one}"
    );
    assert_eq!(said("--explain=CAP_SYS_PTRACE"), one);
    assert_eq!(said("--explain 19"), one);
    assert_eq!(said("--explain all").matches("since Linux").count(), 41);
    // A word of what is to be done.
    let found = said("--explain mknod") + &said("--explain route");
    assert!(found.contains("CAP_MKNOD") && found.contains("CAP_NET_ADMIN"), "{found}");
    let json: Value = serde_json::from_str(&said("--explain bpf --json")).unwrap();
    assert_eq!((&json[0]["name"], &json[0]["dockerDefault"]), (&"CAP_BPF".into(), &false.into()));
    cap_drop("--explain sys_ptrase").run().fails(125, "sys_ptrace?");
    cap_drop("--explain 63").run().fails(125, "newer than this program");
    cap_drop("--explain kill").verb(["ran"]).run().refuses(125, "does nothing else");
    cap_drop("--explain kill --all").run().refuses(125, "does nothing else");
}
