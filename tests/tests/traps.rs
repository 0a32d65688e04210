//! Traps that tools of this kind are known to fall into, each a line that a user would type.

use catena_tests::{Leftovers, Probe, StatusLog, TempDir, requires, rootfs, shell, tool};

/// The command must not run; this status, this text.
#[track_caller]
fn refused(line: &str, text: &str) {
    let dir = TempDir::new();
    let out = shell(&format!("{line} -- touch ran")).cwd(&dir).run();
    assert!(!dir.join("ran").exists(), "{line}: the command ran\n{out:?}");
    out.refuses(125, text);
}

/// With chroot(1) or `unshare -R` the next tool is not found any more.
#[test]
fn an_empty_root_still_reaches_the_last_link() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    std::fs::create_dir(dir.join("empty")).unwrap();
    let log = StatusLog::new();
    let line = "ns-enter -mp --status-fd 9 -- rootfs-prep --root ./empty -- cap-drop --all -- seccomp-load @default -- sh";
    let out = shell(line).cwd(&dir).fd(log.fd(), 9).run();
    out.refuses(127, "cannot run sh: execve(sh): No such file or directory (ENOENT)");
    assert!(out.stderr.starts_with("seccomp-load: "), "{out:?}");
    let tools: Vec<String> =
        log.of("receipt").iter().map(|r| r["tool"].as_str().unwrap_or("?").to_string()).collect();
    assert_eq!(tools, ["ns-enter", "rootfs-prep", "cap-drop", "seccomp-load"]);
}

#[test]
fn names_that_are_misspelt_are_errors() {
    for (line, text) in [
        ("seccomp-load -s mkdirr:EPERM", "mkdirr"),
        ("seccomp-load -s mkdir:EPREM", "EPREM"),
        ("seccomp-load @defualt", "@defualt"),
        ("cap-drop --keep net_rwa", "net_rwa"),
        ("cap-drop --cap-drop CAP_SYS_ADMN", "CAP_SYS_ADMN"),
        ("cap-drop --securebits norooot", "norooot"),
        ("cap-drop --user no_such_user", "no_such_user"),
        ("ns-enter --unshare mnt,nett", "nett"),
        ("ns-enter --join nett=/proc/self/ns/net", "nett"),
        ("cg-apply --rlimit nofiles=1", "nofiles"),
        ("cg-apply -m 5Q", "5Q"),
        ("idmap --map-users 0:1", "0:1"),
    ] {
        refused(line, text);
    }
    if requires::root() {
        refused("ns-enter -m -- rootfs-prep --tmpfs /mnt:sizzle=1", "sizzle");
        refused("ns-enter -n --sysctl net.ipv4.no_such=1", "net.ipv4.no_such");
    }
}

/// setpriv passes over it in silence.
#[test]
fn a_bounding_set_that_cannot_be_emptied_is_an_error() {
    if !requires::root() {
        return;
    }
    let without = "setpriv --bounding-set=-setpcap --inh-caps=-all -- ";
    refused(&format!("{without}cap-drop --all"), "SETPCAP");
    let log = StatusLog::new();
    let line = format!("{without}cap-drop --status-fd 9 --try bounding --all -- $PROBE");
    let seen = shell(&line).fd(log.fd(), 9).run().probe();
    assert_ne!(seen.caps.bounding, 0);
    let receipts = log.of("receipt");
    assert!(receipts[0]["receipt"]["degraded"].to_string().contains("bounding"), "{receipts:#?}");
}

/// `setpriv --reuid` leaves gid 0 and root's groups.
#[test]
fn another_user_keeps_nothing_of_roots_groups() {
    if !requires::root() {
        return;
    }
    let as_root = "setpriv --groups 0,4,27 -- ";
    refused(&format!("{as_root}cap-drop --user 4242"), "group");
    let seen = shell(&format!("{as_root}cap-drop --user 4242:4243 -- $PROBE")).run().probe();
    seen.expect_user(4242, 4243, &[]);
    let seen = shell(&format!("{as_root}cap-drop --user nobody -- $PROBE")).run().probe();
    seen.expect_user(65534, 65534, &[]);
}

/// Where other tools change the host's mounts.
#[test]
fn the_hosts_mounts_are_never_touched() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    for line in [
        "rootfs-prep --root ./rootfs -- touch ran",
        "rootfs-prep --tmpfs /mnt -- touch ran",
        "ns-enter -p -- rootfs-prep --root ./rootfs -- touch ran",
        "ns-enter -uinC -- rootfs-prep --tmpfs /mnt -- touch ran",
        "ns-enter -u | rootfs-prep --root ./rootfs | cap-drop --all -- touch ran",
    ] {
        let out = shell(line).cwd(root.parent()).run();
        out.refuses(125, "mount namespace");
        assert!(out.stderr.contains("ns-enter"), "the right chain is not in it: {out:?}");
    }
    assert_eq!(mounts(), before);
    assert!(!root.parent().join("ran").exists() && !root.path().join("ran").exists());
}

/// The mounts a chain makes are not seen from where it was started, even if that is a shared mount.
#[test]
fn mounts_do_not_leak_to_the_caller() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let before = Leftovers::watch();
    let inner = "mount --make-rshared / && ns-enter -mp -- rootfs-prep --root ./rootfs --tmpfs /mnt --proc /proc -- /bin/true; grep -c rootfs /proc/self/mountinfo";
    let out = shell(&format!("unshare -m sh -c '{inner}'")).cwd(root.parent()).run();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("0\n", ""), "{out:?}");
    before.check();
}

#[test]
fn what_the_profile_denies_and_what_it_does_not_know() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let call = |call: &str| {
        shell(&format!("cap-drop --all -- seccomp-load @default -- $PROBE try-syscall {call}")).run().stdout
    };
    assert_eq!(call("9999"), "ENOSYS\n");
    assert_eq!(call("kexec_load"), "EPERM\n");
    assert_eq!(call("add_key"), "EPERM\n");
    assert!(call("getpid").starts_with("ok "));
}

/// A chain in a chain: the inner one starts with a state of its own.
#[test]
fn a_chain_in_a_chain() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let inner = "cap-drop --keep chown -- seccomp-load -s mount:EPERM -- $PROBE";
    let line = format!(
        "cap-drop --keep chown,net_raw,sys_admin,setpcap -- seccomp-load @default -- sh -c '{inner}'"
    );
    let seen = shell(&line).run().probe();
    seen.expect_filters(2).expect_only_std_fds().expect_no_new_privs(true);
    assert!(!seen.env.contains_key("CATENA_STATE"));
    if !requires::root() {
        return;
    }
    seen.expect_caps(&["chown"]);
    let deep =
        "ns-enter -mpn -- sh -c 'ns-enter -mpn -- sh -c \"ns-enter -mpn -- cap-drop --all -- $PROBE\"'";
    let seen = shell(deep).run().probe();
    assert_eq!(seen.pid, 1);
    seen.expect_caps_empty().expect_only_std_fds();
}

/// The tools that a chain runs are those beside the first, not those that happen to be first in PATH.
#[test]
fn a_tool_of_the_same_name_in_path_is_not_run() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let dir = TempDir::new();
    let fake = dir.file("seccomp-load", "#!/bin/sh\ntouch \"$FAKE\"\n");
    std::fs::set_permissions(fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let line = "first=$(command -v cap-drop); export FAKE=$PWD/ran; PATH=$PWD:$PATH; $first --all -- seccomp-load @default -- $PROBE";
    let seen = shell(line).cwd(&dir).run().probe();
    assert!(!dir.join("ran").exists());
    seen.expect_filters(1);
}

/// There is more than one way to change a mode.
#[test]
fn chmod_alone_denied_is_told() {
    let out = tool("seccomp-load").args(["-N", "--print", "-s", "chmod:EPERM", "--lint"]).run();
    assert!(out.status == 1 && out.stdout.contains("fchmodat"), "{out:?}");
}

#[test]
fn the_switch_that_forbids_user_namespaces_is_named() {
    if !requires::root() {
        return;
    }
    for question in ["--check", "-- touch ran"] {
        let dir = TempDir::new();
        let line =
            format!("echo 0 > /proc/sys/user/max_user_namespaces && exec idmap --map-user 0 {question}");
        let out = shell(&format!("exec unshare -rm bash -c '{line}'")).cwd(&dir).run();
        out.refuses(125, "try: sysctl user.max_user_namespaces");
        assert!(!dir.join("ran").exists(), "{question}");
    }
}

/// What `runner --print` writes is the container's chain, and makes the container's process.
#[test]
fn the_printed_plan_of_a_container_makes_its_process() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (root, state) = (rootfs(), TempDir::new());
    let line = "runner spec && sed -i 's/\"sh\"/\"\\/probe\"/; s/\"terminal\": true/\"terminal\": false/' config.json";
    shell(line).cwd(root.parent()).run().succeeds();
    let runner = format!("runner --root {}", state.path().display());
    let id = format!("trap-{}", std::process::id());
    let run = shell(&format!("{runner} run {id}")).cwd(root.parent()).run().probe();
    let line = format!(
        "{runner} --print run {id} > plan.json && env -i PATH=\"$PATH\" {runner} --plan plan.json -- /probe"
    );
    let planned = shell(&line).cwd(root.parent()).run().probe();
    let (run, planned) = (run.shape(), planned.shape());
    let parts = ["caps.", "ns.", "rlimits.", "uids.", "gids.", "mounts"];
    let several = run.keys().filter(|key| parts.iter().any(|part| key.starts_with(part))).map(String::as_str);
    let single = ["groups", "no_new_privs", "seccomp", "hostname", "root", "cwd", "umask"];
    for key in several.chain(single) {
        assert!(run.contains_key(key), "{key}");
        assert_eq!(run.get(key), planned.get(key), "{key}");
    }
    leftovers.check();
}

/// What a link changes is read back; what cannot be changed is said, and nothing is half done.
#[test]
fn the_caller_is_as_it_was_after_a_refusal() {
    let here = Probe::here();
    let line = "cap-drop --all -- no-such-program; ns-enter --bogus -- true; cg-apply -m 5Q -- true; seccomp-load @nope -- true; exec $PROBE";
    let after: Probe = {
        let out = shell(line).run();
        serde_json::from_str(out.stdout.trim()).unwrap()
    };
    after.expect_like(&here);
}
