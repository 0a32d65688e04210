//! No fd reaches the command but 0, 1, 2 and those that were asked for.

use catena_tests::{Probe, StatusLog, TempDir, requires, rootfs, shell, tool};

/// A directory of the host among them: that is CVE-2024-21626.
const LEAK: &str = "for n in {3..20} 100 1000; do eval \"exec $n</etc\"; done; ";

fn chains() -> Vec<&'static str> {
    let mut chains = vec![
        "cap-drop --all -- ",
        "seccomp-load @default -- ",
        "cap-drop --all -- seccomp-load @default -- ",
        "cap-drop --all | seccomp-load @default -- ",
        "cap-drop --all | cap-drop --print; cap-drop --all -- ",
    ];
    if requires::root() {
        chains.extend([
            "ns-enter -mpniuC -- ",
            "ns-enter -mpniuC | cap-drop --all -- ",
            "cg-apply -m 512M --try resources.memory -- ns-enter -mp -- cap-drop --all -- seccomp-load @default -- ",
            "idmap -r -- ns-enter -mp -- cap-drop --all -- ",
        ]);
    }
    chains
}

fn probe(line: &str) -> Probe {
    let out = shell(line).run();
    let text =
        out.stdout.lines().find(|l| l.starts_with("{\"pid\"")).unwrap_or_else(|| panic!("{line}: {out:?}"));
    serde_json::from_str(text).expect("the payload prints JSON")
}

#[test]
fn leaked_fds_do_not_reach_the_command() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for chain in chains() {
        let seen = probe(&format!("{LEAK}{chain}$PROBE"));
        seen.expect_only_std_fds();
        assert!(!seen.env.contains_key("CATENA_STATE"), "{chain}");
    }
}

#[test]
fn leaked_fds_do_not_cross_into_a_root_file_system() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    for line in [
        "ns-enter -mpniuC -- rootfs-prep --root ./rootfs -- cap-drop --all -- /probe",
        "ns-enter -mpniuC | rootfs-prep --root ./rootfs | cap-drop --all -- /probe",
    ] {
        let seen = shell(&format!("{LEAK}{line}")).cwd(root.parent()).run().probe();
        seen.expect_only_std_fds();
        assert_eq!(seen.cwd.as_deref(), Some("/"));
    }
}

#[test]
fn kept_fds_reach_the_command_and_no_others() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for chain in [
        "cap-drop --keep-fd 7 --keep-fd 100 --all -- ",
        "cap-drop --keep-fd 7 --all -- seccomp-load --keep-fd 100 @default -- ",
        "cap-drop --all | seccomp-load --keep-fd 7 --keep-fd 100 @default -- ",
        "seccomp-load --keep-fd 100 --keep-fd 7 --keep-fd 7 @default -- ",
    ] {
        let seen = probe(&format!("{LEAK}{chain}$PROBE"));
        seen.expect_fds(&[0, 1, 2, 7, 100]);
        assert_eq!((seen.fd_target(7), seen.fd_target(100)), ("/etc", "/etc"));
    }
}

#[test]
fn a_kept_fd_crosses_a_fork_and_a_pivot() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let file = root.parent().join("kept");
    std::fs::write(&file, "text").unwrap();
    let line = "exec 7<kept; ns-enter --keep-fd 7 -mp -- rootfs-prep --root ./rootfs -- cap-drop --all -- /bin/cat /dev/fd/7";
    let out = shell(&line.replace("/bin/cat /dev/fd/7", "/bin/sh -c 'cat <&7'")).cwd(root.parent()).run();
    assert_eq!(out.succeeds().stdout, "text");
}

/// A number that the user left closed is used by the chain itself: it must not be passed on by that name.
#[test]
fn a_closed_fd_cannot_be_kept() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let dir = TempDir::new();
    for fd in [3, 4, 5, 6, 7, 50] {
        for chain in [
            format!("cap-drop --keep-fd {fd} --all -- "),
            format!("cap-drop --keep-fd {fd} --all -- seccomp-load @default -- "),
            format!("cap-drop --all -- seccomp-load --keep-fd {fd} @default -- "),
            format!("cap-drop --all | seccomp-load --keep-fd {fd} @default -- "),
            format!("cap-drop --status-fd {fd} --all -- seccomp-load @default -- "),
            format!("cap-drop --all -- seccomp-load --status-fd {fd} @default -- "),
        ] {
            let out = shell(&format!("{chain}touch ran")).cwd(&dir).run();
            assert!(!dir.join("ran").exists(), "{chain} ran the command: {out:?}");
            out.refuses(125, "(EBADF)");
        }
    }
}

#[test]
fn the_status_fd_is_not_the_commands() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for chain in [
        "cap-drop --status-fd 9 --all -- seccomp-load @default -- ",
        "cap-drop --all | seccomp-load --status-fd 9 @default -- ",
    ] {
        let log = StatusLog::new();
        let seen = shell(&format!("{chain}$PROBE")).fd(log.fd(), 9).run().probe();
        seen.expect_only_std_fds();
        assert_eq!(log.of("exec").len(), 1, "{:?}", log.events());
    }
}

/// Whoever reads the status pipe sees its end when the command starts, not when it ends.
#[test]
fn the_status_pipe_ends_when_the_command_starts() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let line = "exec 5>&1; { cap-drop --status-fd 9 --all -- sh -c 'until [ -e seen ]; do sleep 0.01; done; echo command >&5' 9>&1 >/dev/null | { tail -1; : >seen; }; }";
    let dir = TempDir::new();
    let out = shell(&line.replace("--status-fd 9", "--status-fd 9 --keep-fd 5")).cwd(&dir).run();
    let lines: Vec<&str> =
        out.stdout.lines().map(|l| if l.contains("\"exec\"") { "exec" } else { l }).collect();
    assert_eq!(lines, ["exec", "command"], "{out:?}");
}

#[test]
fn standard_fds_may_be_closed() {
    if !requires::capability("SETPCAP") {
        return;
    }
    for fd in ["0", "1", "2"] {
        let keep = "exec 8>&1; ";
        let out = shell(&format!(
            "{keep}cap-drop --keep-fd 8 --all -- seccomp-load @default -- sh -c 'echo ok >&8' {fd}>&-"
        ))
        .run();
        assert_eq!((out.status, out.stdout.as_str()), (0, "ok\n"), "fd {fd} closed: {out:?}");
    }
}

#[test]
fn numbers_that_are_no_fds_are_refused() {
    for wrong in ["-1", "x", "99999999999", ""] {
        let out =
            tool("cap-drop").arg(format!("--keep-fd={wrong}")).args(["--all"]).verb(["exit", "0"]).run();
        out.refuses(125, "fd");
    }
}
