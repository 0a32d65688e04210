//! Both forms mean the same: the process of the exec form and that of the pipe form are alike, field by field.

use catena_tests::{Leftovers, Probe, TempRootfs, requires, rootfs, shell};
use std::path::Path;

fn exec(links: &[&str], command: &str) -> String {
    format!("{} -- {command}", links.join(" -- "))
}

fn pipe(links: &[&str], command: &str) -> String {
    format!("{} -- {command}", links.join(" | "))
}

fn probe(line: &str, dir: &Path) -> Probe {
    let out = shell(line).cwd(dir).run();
    assert!(out.stderr.lines().all(|l| l.contains(": warning: ")), "{line}\n{out:?}");
    out.probe()
}

/// Runs both, compares, and gives the process.
#[track_caller]
fn alike(links: &[&str], command: &str, dir: &Path) -> Probe {
    let before = Leftovers::watch();
    let (one, other) = (probe(&exec(links, command), dir), probe(&pipe(links, command), dir));
    one.expect_like(&other);
    one.expect_only_std_fds();
    for mixed in mixtures(links, command) {
        probe(&mixed, dir).expect_like(&one);
    }
    before.check();
    one
}

/// The first links as a pipe, the rest as a chain behind the stage that has the command.
fn mixtures(links: &[&str], command: &str) -> Vec<String> {
    let line = |cut: usize| format!("{} | {}", links[..cut].join(" | "), exec(&links[cut..], command));
    (1..links.len().saturating_sub(1)).map(line).collect()
}

#[test]
fn credentials_and_filter() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let dir = std::env::temp_dir();
    let seen = alike(&["cap-drop --all", "seccomp-load @default"], "$PROBE", &dir);
    seen.expect_caps_empty().expect_no_new_privs(true).expect_filters(1);
    alike(&["cap-drop --keep net_raw,chown --umask 077", "seccomp-load -s mount:EPERM"], "$PROBE", &dir);
    alike(&["cap-drop --user 1000:1000 --groups 5,6 --keep net_raw"], "$PROBE", &dir)
        .expect_user(1000, 1000, &[5, 6])
        .expect_ambient(&["net_raw"]);
}

#[test]
fn namespaces() {
    if !requires::root() {
        return;
    }
    let dir = std::env::temp_dir();
    let seen = alike(&["ns-enter -mpniuC --hostname box", "cap-drop --all"], "$PROBE", &dir);
    seen.expect_ns_differs(&["mnt", "pid", "net", "ipc", "uts", "cgroup"]).expect_ns_same(&["user"]);
    assert_eq!((seen.pid, seen.hostname.as_str()), (1, "box"));
    alike(&["ns-enter -u", "cap-drop --all"], "$PROBE", &dir);
}

#[test]
fn namespaces_in_one_of_users_and_a_clock() {
    if !requires::root() || !requires::namespace("time") {
        return;
    }
    let dir = std::env::temp_dir();
    let mapped = alike(
        &["idmap -r", "ns-enter -mpniuCT --boottime 1000", "cap-drop --keep net_admin"],
        "$PROBE",
        &dir,
    );
    mapped.expect_ns_differs(&["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"]);
    mapped.expect_caps(&["net_admin"]);
}

#[test]
fn cgroup_and_limits() {
    if !requires::controller("memory") {
        return;
    }
    let dir = std::env::temp_dir();
    let links = ["cg-apply -m 512M --pids 100 --rlimit nofile=64:128", "cap-drop --all"];
    let seen = alike(&links, "$PROBE", &dir);
    seen.expect_rlimit("nofile", 64, 128);
    assert_ne!(seen.cgroup, Probe::here().cgroup);
}

const ALL: [&str; 5] = [
    "cg-apply -m 512M",
    "ns-enter -mpniuC",
    "rootfs-prep --root ./rootfs",
    "cap-drop --all",
    "seccomp-load @default",
];

#[test]
fn the_whole_chain() {
    if !requires::controller("memory") {
        return;
    }
    let root = rootfs();
    let seen = alike(&ALL, "/probe", root.parent());
    seen.expect_caps_empty().expect_no_new_privs(true).expect_plain_signals();
    seen.expect_ns_differs_where_known();
    assert_eq!((seen.pid, seen.cwd.as_deref()), (1, Some("/")));
    assert!(seen.root.as_ref().unwrap().contains(&"probe".to_string()));
    let mut more = ALL;
    more[2] = "rootfs-prep --root ./rootfs --proc /proc --dev /dev --tmpfs /tmp --mask-default";
    more[3] = "cap-drop --user app --keep net_bind_service";
    let seen = alike(&more, "/probe", root.parent());
    seen.expect_user(1000, 1000, &[]).expect_ambient(&["net_bind_service"]).expect_filters(1);
    seen.expect_ns_differs(&["mnt", "pid", "net", "ipc", "uts", "cgroup"]);
    seen.expect_mounted("/proc", "proc");
}

trait Known {
    fn expect_ns_differs_where_known(&self);
}

impl Known for Probe {
    /// Without a /proc in there, nothing can be said.
    fn expect_ns_differs_where_known(&self) {
        if !self.ns.is_empty() {
            self.expect_ns_differs(&["mnt", "pid", "net", "ipc", "uts", "cgroup"]);
        }
    }
}

/// The two lines of docs/design.md, letter by letter.
const EXEC: &str = "cg-apply -m 512M -- ns-enter -mpniuC -- rootfs-prep --root ./rootfs -- cap-drop --all -- seccomp-load @default -- sh";
const PIPE: &str = "cg-apply -m 512M | ns-enter -mpniuC | rootfs-prep --root ./rootfs | cap-drop --all | seccomp-load @default -- sh";

/// What is typed into the shell at the end of them.
const TYPED: &str = "test -f /etc/passwd && test $$ = 1 && echo inside; ls -d /probe; hostname; exit 7\n";

fn on_a_terminal(line: &str, root: &TempRootfs) -> catena_tests::Output {
    let typed = "(sleep 1; printf '%s' \"$2\"; sleep 1) | script -qec \"$1\" /dev/null";
    shell(typed).args(["sh", line, TYPED]).cwd(root.parent()).run()
}

#[test]
fn the_printed_lines_work_as_they_stand() {
    if !requires::controller("memory") || !requires::command("script") {
        return;
    }
    let root = rootfs();
    let before = Leftovers::watch();
    for line in [EXEC, PIPE] {
        let out = on_a_terminal(line, &root);
        assert_eq!(out.status, 7, "{line}\n{out:?}");
        assert!(out.stdout.contains("\ninside\r") && out.stdout.contains("\n/probe\r"), "{line}\n{out:?}");
        assert!(!out.stdout.contains("cannot"), "{line}\n{out:?}");
    }
    // Without a terminal the pipe form's shell reads /dev/null.
    shell(PIPE).cwd(root.parent()).run().succeeds();
    let file = root.parent().join("typed");
    std::fs::write(&file, TYPED).unwrap();
    let out = shell(EXEC).cwd(root.parent()).stdin(catena_tests::Stdin::File(file)).run();
    out.exits(7);
    assert!(out.stdout.starts_with("inside\n/probe\n"), "{out:?}");
    before.check();
}

/// Every tool takes its own share of one config.json, in both forms.
#[test]
fn shares_of_a_config() {
    if !requires::controller("memory") || !requires::command("runc") {
        return;
    }
    let root = rootfs();
    let spec = shell("runc spec && sed -i 's/\"sh\"/\"\\/probe\"/' config.json").cwd(root.parent()).run();
    spec.succeeds();
    let links = ["cg-apply", "ns-enter", "rootfs-prep", "cap-drop", "seccomp-load"]
        .map(|t| format!("{t} --oci config.json"));
    let links: Vec<&str> = links.iter().map(String::as_str).take(4).collect();
    let seen = alike(&links, "/probe", root.parent());
    seen.expect_no_new_privs(true).expect_bounding(&["audit_write", "kill", "net_bind_service"]);
    seen.expect_rlimit("nofile", 1024, 1024);
    assert_eq!(seen.hostname, "runc");
    let masked = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/sys/firmware"];
    let there: Vec<_> = masked.iter().filter(|path| Path::new(path).exists()).collect();
    assert!(!there.is_empty(), "this host has nothing to mask");
    for path in there {
        seen.expect_hidden(path);
    }
}
