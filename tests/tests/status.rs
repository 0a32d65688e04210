//! Exit statuses, and what `--status-fd` tells beyond them.

use catena_tests::{StatusLog, TempDir, requires, shell, tool};

const CHAINS: [&str; 3] = [
    "cap-drop --all -- ",
    "cap-drop --all -- seccomp-load @default -- ",
    "cap-drop --all | seccomp-load @default -- ",
];

/// With a fork in it, the status passes through the supervisor.
const FORKED: [&str; 2] = ["ns-enter -mp -- cap-drop --all -- ", "ns-enter -p | cap-drop --all -- "];

fn chains() -> Vec<&'static str> {
    let forked: &[&str] = if requires::root() { &FORKED } else { &[] };
    CHAINS.iter().chain(forked).copied().collect()
}

#[test]
fn the_commands_own_status_comes_back() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for chain in chains() {
        for status in [0, 1, 7, 124, 125, 126, 127, 128, 137, 255] {
            shell(&format!("{chain}$PROBE exit {status}")).run().exits(status);
        }
    }
}

#[test]
fn a_command_that_is_not_there_is_127_one_that_cannot_run_126() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let dir = TempDir::new();
    dir.file("plain", "text");
    dir.program("script", "#!/no/such/interpreter\n");
    for chain in chains() {
        let run = |command: &str| shell(&format!("{chain}{command}")).cwd(&dir).run();
        run("no-such-program")
            .refuses(127, "cannot run no-such-program: execve(no-such-program): No such file");
        run("/no/such/program").refuses(127, "cannot run /no/such/program");
        run("./script").refuses(127, "cannot run ./script");
        run("./plain").refuses(126, "cannot run ./plain: execve(./plain): Permission denied (EACCES)");
        run("./plain/x").refuses(126, "(ENOTDIR)");
        run("/etc").refuses(126, "cannot run /etc");
        run("''").refuses(127, "cannot run");
    }
}

#[test]
fn a_signal_is_128_and_its_number() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for chain in chains() {
        for signal in [1, 2, 6, 9, 10, 15, 31, 34] {
            // A first process cannot be killed from inside its namespace, so a shell stands in between.
            let out = shell(&format!("{chain}sh -c '$PROBE suicide {signal}; exit $?'")).run();
            assert_eq!(out.status, 128 + signal, "{chain} {out:?}");
        }
    }
    for chain in CHAINS {
        let out = shell(&format!("{chain}$PROBE suicide 10; exit $?")).run();
        assert_eq!(out.status, 138, "{chain} {out:?}");
    }
}

/// The command of a pid namespace, killed from outside.
#[test]
fn a_killed_first_process_is_137() {
    if !requires::root() {
        return;
    }
    let mut running = shell("exec ns-enter -mp -- cap-drop --all -- $PROBE sleep").spawn();
    assert_eq!(running.line(), "ready");
    let front = running.pid();
    let children = std::fs::read_to_string(format!("/proc/{front}/task/{front}/children")).unwrap();
    let child = nix::unistd::Pid::from_raw(children.trim().parse().unwrap());
    nix::sys::signal::kill(child, nix::sys::signal::SIGKILL).unwrap();
    running.wait().exits(137);
}

#[test]
fn our_own_failure_is_125() {
    for line in [
        "cap-drop --bogus -- true",
        "cap-drop --all extra -- true",
        "cap-drop --all -- seccomp-load --bogus -- true",
        "cap-drop --all -- seccomp-load /nonexistent/profile -- true",
        "cap-drop --keep no_such_cap -- true",
        "seccomp-load @default -- cap-drop --all -- true",
    ] {
        let out = shell(line).run();
        assert_eq!(out.status, 125, "{line}: {out:?}");
        out.refuses(125, "cannot");
    }
}

/// The command's 125 and ours look alike in `$?`, and not on the status fd.
#[test]
fn the_status_fd_tells_our_failure_from_the_commands() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for status in ["125", "126", "127", "1"] {
        let log = StatusLog::new();
        let run = tool("cap-drop").args(["--status-fd", "9", "--all"]).then("seccomp-load", ["@default"]);
        run.verb(["exit", status]).fd(log.fd(), 9).run().exits(status.parse().unwrap());
        assert_eq!((log.of("exec").len(), log.of("error").len()), (1, 0), "{:#?}", log.events());
        let receipts = log.of("receipt");
        let tools: Vec<_> = receipts.iter().map(|r| r["tool"].as_str().unwrap_or("?")).collect();
        assert_eq!(tools, ["cap-drop", "seccomp-load"]);
        assert!(receipts.iter().all(|r| r["receipt"]["verified"] == true), "{receipts:#?}");
    }
    let ours = |line: &str, class: &str| {
        let log = StatusLog::new();
        shell(line).fd(log.fd(), 9).run();
        assert!(log.of("exec").is_empty() || class == "missing" || class == "denied", "{:#?}", log.events());
        log.expect_error(class)
    };
    ours("cap-drop --status-fd 9 --keep no_such_cap -- true", "usage");
    ours("echo {} | cap-drop --status-fd 9 --all -- true", "usage");
    ours("cap-drop --status-fd 9 --plan /nonexistent --all -- true", "missing");
    ours("seccomp-load --status-fd 9 @default -- cap-drop --all -- true", "order");
    ours("cap-drop --status-fd 9 --all -- seccomp-load /nonexistent/profile -- true", "missing");
    let error = ours("cap-drop --status-fd 9 --all -- no-such-program", "missing");
    assert_eq!((error["tool"].as_str(), error["errno"].as_str()), (Some("cap-drop"), Some("ENOENT")));
    assert!(error["message"].as_str().unwrap().starts_with("cannot run no-such-program: "), "{error:#}");
    ours("cap-drop --status-fd 9 --all -- /etc/passwd", "denied");
}

/// Also an option that is misspelt, when the status fd stands before it.
#[test]
fn a_wrong_command_line_is_told_on_the_status_fd() {
    for line in [
        "cap-drop --status-fd 9 --bogus -- true",
        "cap-drop --status-fd=9 --bogus -- true",
        "cap-drop --bogus --status-fd 9 -- true",
    ] {
        let log = StatusLog::new();
        shell(line).fd(log.fd(), 9).run().refuses(125, "unknown option --bogus");
        log.expect_error("usage");
    }
}

#[test]
fn a_status_fd_that_nobody_reads_does_no_harm() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let line = "cap-drop --status-fd 9 --all -- $PROBE exit 3 9> >(exec 0<&-; true)";
    let out = shell(&format!("sleep 0.1; {line}")).run();
    assert_eq!(out.status, 3, "{out:?}");
}

#[test]
fn every_tool_says_who_it_is_and_how_it_is_used() {
    for name in ["cg-apply", "idmap", "ns-enter", "rootfs-prep", "cap-drop", "seccomp-load"] {
        let help = tool(name).args(["--help"]).run();
        assert!(help.succeeds().stdout.contains(&format!("{name} ")), "{help:?}");
        let version = tool(name).args(["--version"]).run();
        assert!(version.succeeds().stdout.starts_with(&format!("{name} ")), "{version:?}");
        let json = tool(name).args(["--version", "--json"]).run().json();
        assert_eq!(json["tool"], name);
        assert!(json["features"].is_array() && json["build"].is_string(), "{json}");
        tool(name).args(["--no-such-option"]).run().refuses(125, "unknown option --no-such-option");
        tool(name)
            .args(["--no-such-option"])
            .command(["touch", "/nonexistent/x"])
            .run()
            .refuses(125, "unknown option");
    }
}
