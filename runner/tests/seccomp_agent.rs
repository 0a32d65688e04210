//! Filters that ask an agent (`SCMP_ACT_NOTIFY`): who is told what, when, and that nothing runs where nobody can be asked.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Agent, Leftovers, requires};
use common::Bundle;
use common::hooked::{hook, sh};
use serde_json::{Value, json};
use std::path::Path;

/// `mkdirat` is asked about, at this socket.
fn asking(bundle: Bundle, socket: &Path, calls: Value, no_new_privs: bool) -> Bundle {
    bundle.set("/process/noNewPrivileges", json!(no_new_privs)).set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "listenerMetadata": "who asks",
            "syscalls": [{"names": calls, "action": "SCMP_ACT_NOTIFY"}]}),
    )
}

fn mkdirat() -> Value {
    json!(["mkdirat"])
}

const TRY: [&str; 3] = ["/probe", "try-syscall", "mkdirat"];

#[test]
fn the_agent_of_run_and_exec_is_told_of_each_process_and_decides() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for no_new_privs in [true, false] {
        let agent = Agent::refusing(libc::SYS_mkdirat);
        let bundle = asking(Bundle::of(TRY), &agent.path(), mkdirat(), no_new_privs)
            .set("/annotations", json!({"key": "value"}));
        assert_eq!(bundle.run().stdout, "EXDEV\n", "no_new_privs: {no_new_privs}");
        let told = agent.told();
        assert!(told.fds == 1 && told.closed, "{told:?}");
        let state = json!({"ociVersion": bundle.config["ociVersion"], "id": bundle.id, "status": "created",
            "pid": told.document["pid"], "bundle": bundle.dir(), "annotations": {"key": "value"}});
        let document = json!({"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": told.document["pid"],
            "metadata": "who asks", "state": state});
        assert_eq!(told.document, document);
        assert!(agent.was_asked(libc::SYS_mkdirat) && !agent.knows_more());

        let bundle = asking(Bundle::asleep(), &agent.path(), mkdirat(), no_new_privs).up();
        assert_eq!(agent.told().document["pid"], bundle.pid());
        assert_eq!(bundle.exec([], TRY).run().stdout, "EXDEV\n");
        let told = agent.told().document;
        assert_eq!(
            (&told["state"]["pid"], &told["state"]["status"]),
            (&json!(bundle.pid()), &json!("running"))
        );
        assert_ne!(told["pid"], bundle.pid());
        assert!(!agent.knows_more());
    }
    leftovers.check();
}

#[test]
fn a_created_container_asks_from_its_start_on() {
    if !requires::root() {
        return;
    }
    let agent = Agent::refusing(libc::SYS_mkdirat);
    let bundle = asking(Bundle::of(TRY), &agent.path(), mkdirat(), true);
    bundle.create().succeeds();
    assert!(!agent.knows_more());
    bundle.start().succeeds();
    assert_eq!(agent.told().document["state"]["id"], bundle.id);
    bundle.becomes("stopped");
    assert_eq!(bundle.output(), "EXDEV\n");
}

#[test]
fn calls_that_a_start_makes_itself_can_be_asked_about_and_no_fd_crosses() {
    if !requires::root() {
        return;
    }
    let calls = json!([
        "execve",
        "openat",
        "open",
        "read",
        "close",
        "fcntl",
        "sendmsg",
        "recvmsg",
        "chdir",
        "prctl",
        "capset",
        "setuid",
        "setgroups",
        "getcwd",
        "futex",
        "sched_yield",
        "exit_group"
    ]);
    for no_new_privs in [true, false] {
        let agent = Agent::refusing(-1);
        let bundle = asking(Bundle::new(), &agent.path(), calls.clone(), no_new_privs);
        bundle.run().probe().expect_only_std_fds().expect_filters(1);
        assert!(agent.told().fds == 1 && agent.was_asked(libc::SYS_execve));
    }
}

#[test]
fn nothing_runs_where_there_is_no_agent() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let agent = Agent::refusing(-1);
    let nobody = agent.folder().join("nobody.sock");
    let missing = "failed to connect with seccomp agent";
    for no_new_privs in [true, false] {
        let bundle = asking(Bundle::of(["/probe", "ran"]), &nobody, mkdirat(), no_new_privs);
        bundle.run().refuses(1, missing);
        bundle.create().succeeds();
        bundle.start().refuses(1, missing);
        bundle.becomes("stopped");
        assert_eq!(bundle.output(), "");
        drop(bundle);

        let bundle = asking(Bundle::asleep(), &nobody, mkdirat(), no_new_privs);
        std::os::unix::fs::symlink(agent.path(), &nobody).unwrap();
        let bundle = bundle.up();
        std::fs::remove_file(&nobody).unwrap();
        bundle.exec([], ["/probe", "ran"]).run().refuses(255, missing);
    }
    leftovers.check();
}

#[test]
fn a_call_whose_agent_has_gone_is_enosys() {
    if !requires::root() {
        return;
    }
    let agent = Agent::that_leaves();
    assert_eq!(asking(Bundle::of(TRY), &agent.path(), mkdirat(), true).run().stdout, "ENOSYS\n");
}

#[test]
fn what_nobody_could_answer_is_refused() {
    if !requires::root() {
        return;
    }
    let agent = Agent::refusing(-1);
    let ran = || Bundle::of(["/probe", "ran"]);
    let write = asking(ran(), &agent.path(), json!(["write"]), true);
    write.run().refuses(1, "SCMP_ACT_NOTIFY cannot be used for the write syscall");
    let all = asking(ran(), &agent.path(), mkdirat(), true)
        .set("/linux/seccomp/defaultAction", json!("SCMP_ACT_NOTIFY"));
    all.run().refuses(1, "SCMP_ACT_NOTIFY cannot be used as default action");
    let nobody = asking(ran(), Path::new(""), mkdirat(), true);
    nobody.run().refuses(1, "linux.seccomp.listenerPath: missing");
    let elsewhere = asking(ran(), Path::new("agent.sock"), mkdirat(), true);
    elsewhere.run().refuses(1, "'agent.sock' is not an absolute path");
    assert!(!agent.knows_more());
    // Nobody is asked, so nobody need be there.
    let unused = asking(ran(), &agent.folder().join("nobody"), mkdirat(), true)
        .set("/linux/seccomp/syscalls", json!([]))
        .set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    assert_eq!(unused.run().stdout, "RAN\n");
}

#[test]
fn a_start_container_hook_asks_too() {
    if !requires::root() {
        return;
    }
    let agent = Agent::refusing(libc::SYS_mkdirat);
    let bundle = asking(Bundle::of(TRY), &agent.path(), mkdirat(), true);
    let line = "[ $(/probe try-syscall mkdirat) = EXDEV ] && [ $(ls /proc/self/fd | wc -l) = 4 ]";
    let bundle = hook(bundle, "startContainer", sh(line));
    assert_eq!(bundle.run().stdout, "EXDEV\n");
    assert!(agent.told().fds == 1 && agent.told().fds == 1 && !agent.knows_more());
}

#[test]
fn an_agent_can_ask_for_calls_that_only_a_fatal_signal_ends() {
    if !requires::root() {
        return;
    }
    let agent = Agent::refusing(libc::SYS_mkdirat);
    let bundle = asking(Bundle::of(TRY), &agent.path(), mkdirat(), true)
        .set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    let out = bundle.runner(["--debug", "run", "--bundle", bundle.dir(), &bundle.id]).run();
    if out.status != 0 && out.stderr.contains("WAIT_KILLABLE_RECV with 5.19") {
        requires::skip("the kernel has no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
        return;
    }
    assert_eq!(out.stdout, "EXDEV\n", "{out:?}");
    assert!(out.stderr.contains("seccomp filter flags: 40"), "{out:?}");
}
