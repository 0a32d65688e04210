//! `--notify`: an agent is asked, without a runner.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Agent, TempDir, requires, rootfs, tool};

#[test]
fn the_agent_decides_and_knows_who_asks() {
    let agent = Agent::refusing(libc::SYS_mkdirat);
    let line = ["-N", "-s", "mkdirat:notify,execve:notify", "--notify"];
    let run = || tool("seccomp-load").args(line).arg(agent.path());
    assert_eq!(run().verb(["try-syscall", "mkdirat"]).run().stdout, "EXDEV\n");
    let told = agent.told();
    assert!(told.fds == 1 && told.closed, "{told:?}");
    assert!(told.document["pid"].as_i64() > Some(0) && told.document["fds"][0] == "seccompFd", "{told:?}");
    assert!(agent.was_asked(libc::SYS_execve) && !agent.knows_more());
    run().probe().expect_only_std_fds().expect_filters(1);
}

#[test]
fn an_agent_of_the_host_is_found_in_a_chain_that_has_left_it() {
    if !requires::root() {
        return;
    }
    let (agent, rootfs) = (Agent::refusing(libc::SYS_mkdirat), rootfs());
    let out = tool("ns-enter")
        .args(["-N", "-m", "--", "rootfs-prep", "--root"])
        .arg(rootfs.path())
        .args(["--", "seccomp-load", "-s", "mkdirat:notify", "--notify"])
        .arg(agent.path())
        .args(["--", "/probe", "try-syscall", "mkdirat"])
        .run();
    assert_eq!(out.stdout, "EXDEV\n", "{out:?}");
    assert_eq!(agent.told().fds, 1);
}

#[test]
fn nothing_runs_where_nobody_can_be_asked() {
    let dir = TempDir::new();
    let path = dir.join("nobody.sock");
    let path = path.to_str().unwrap();
    for (line, said) in [
        (&["-s", "mkdirat:notify"][..], "--notify: missing, and SCMP_ACT_NOTIFY asks whoever listens there"),
        (&["-s", "mkdirat:notify", "--notify", path], "failed to connect with seccomp agent"),
        (&["-s", "mkdirat:notify", "--notify", "x.sock"], "'x.sock' is not an absolute path"),
        (&["-s", "mkdirat:EPERM", "--notify", path], "--notify: no rule asks anybody"),
        (&["-s", "write:notify", "--notify", path], "SCMP_ACT_NOTIFY cannot be used for the write syscall"),
        (&["--default", "notify", "--notify", path], "SCMP_ACT_NOTIFY cannot be used as default action"),
    ] {
        tool("seccomp-load").arg("-N").args(line).verb(["ran"]).run().refuses(125, said);
    }
}
