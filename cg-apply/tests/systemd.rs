//! A scope of systemd's instead of a group of one's own.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{requires, shell, tool};

#[test]
fn a_command_in_a_scope() {
    if !requires::systemd() {
        return;
    }
    let line = "cat /proc/self/cgroup; cd /sys/fs/cgroup/batch.slice/job-7.scope; cat memory.max pids.max; \
        systemctl show job-7.scope --value -p ActiveState";
    let out = tool("cg-apply")
        .args(["--scope", "job-7", "--slice", "batch.slice", "-m", "64M", "--pids", "30"])
        .command(["sh", "-c", line])
        .run();
    assert_eq!(out.succeeds().stdout, "0::/batch.slice/job-7.scope\n67108864\n30\nactive\n");
    let gone = "for i in $(seq 100); do [ -e /sys/fs/cgroup/batch.slice/job-7.scope ] || exit 0; sleep 0.1; done; exit 1";
    shell(gone).run().succeeds();
    // The status is the command's: there is no process of ours between.
    tool("cg-apply").args(["--scope", "job-8"]).command(["sh", "-c", "exit 41"]).run().exits(41);
}

#[test]
fn print_shows_what_systemd_is_asked_for_and_asks_nothing() {
    if !requires::systemd() {
        return;
    }
    let out = tool("cg-apply").args(["--scope", "job-9", "-m", "64M", "--print"]).run();
    let text = &out.succeeds().stdout;
    assert!(text.contains("systemd for job-9.scope") && text.contains("MemoryMax = 67108864"), "{text}");
    shell("systemctl show job-9.scope --value -p LoadState").run().succeeds();
    let state = shell("systemctl show job-9.scope --value -p LoadState").run();
    assert_eq!(state.stdout, "not-found\n");
}

/// A user's scopes are made by the user's own systemd, asked at its socket or over the user's bus.
#[test]
fn an_ordinary_user_has_a_systemd_too() {
    if !requires::systemd() {
        return;
    }
    shell("systemctl start user-runtime-dir@1000.service user@1000.service").run().succeeds();
    for bus in ["XDG_RUNTIME_DIR=/run/user/1000", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus"] {
        let line = format!(
            "setpriv --reuid 1000 --regid 1000 --init-groups env XDG_RUNTIME_DIR=/run/user/1000 \
             systemd-run --user --quiet --pipe --wait -E PATH=$PATH env -u XDG_RUNTIME_DIR -u DBUS_SESSION_BUS_ADDRESS \
             {bus} cg-apply --scope mine -m 32M -- sh -c 'cat /proc/self/cgroup; cat /sys/fs/cgroup$(cut -c4- /proc/self/cgroup)/memory.max'"
        );
        let out = shell(&line).run();
        let path = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/mine.scope\n33554432\n";
        assert_eq!(out.succeeds().stdout.replace("/session.slice/", "/app.slice/"), path, "{bus}: {out:?}");
    }
}
