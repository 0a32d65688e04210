//! What a hostile image or container must not reach of the host; docs/cves.md names these tests.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Probe, TempDir, requires, shell, tool};
use common::Bundle;
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, symlink};

/// A fd of the host's that some process of the chain has open, as the working directory (CVE-2024-21626).
#[test]
fn a_working_directory_by_way_of_an_fd_is_refused() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let host = TempDir::new();
    host.file("marker", "");
    let bundle = Bundle::sh("echo RAN; ls; ls ..");
    let line = format!(
        "for n in {{3..64}}; do eval \"exec $n<{}\"; done; exec runner --root {} run --bundle {} {}",
        host.path().display(),
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    symlink("/proc/self/fd", bundle.rootfs.path().join("fds")).unwrap();
    let mut bundle = bundle;
    // Those that were left open, and those that the runner opens itself.
    for n in 3..70 {
        let ways = [format!("/proc/self/fd/{n}"), format!("/fds/{n}"), format!("/proc/1/fd/{n}/new")];
        for cwd in ways.into_iter().take(if n < 12 || n % 16 == 0 { 3 } else { 1 }) {
            bundle = bundle.set("/process/cwd", json!(cwd));
            let out = shell(&line).run();
            assert_eq!((out.status, out.stdout.as_str()), (1, ""), "{cwd}: {out:?}");
        }
    }
    bundle = bundle.set("/process/cwd", json!("/tmp"));
    assert!(shell(&line).run().stdout.starts_with("RAN\n"), "it is the working directory that is refused");
    drop(bundle);
    leftovers.check();
}

fn run_on_a_terminal(bundle: &Bundle) -> catena_tests::Output {
    let run = format!(
        "runner --root {} run --bundle {} {}",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    shell(&format!("script -qefc '{run}' /dev/null </dev/null")).run()
}

/// Without the mount of this destination.
fn without_mount(mut bundle: Bundle, at: &str) -> Bundle {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| m["destination"] != at);
    bundle.write();
    bundle
}

/// The terminal is bound over /dev/console by fd, and nothing is followed there (CVE-2015-3627, CVE-2025-52565).
#[test]
fn a_console_that_is_a_link_is_refused() {
    if !requires::root() || !requires::command("script") {
        return;
    }
    let leftovers = Leftovers::watch();
    let host = TempDir::new();
    let marker = host.file("marker", "whole");
    let terminal = || Bundle::sh("echo RAN").set("/process/terminal", json!(true));
    let bundle = without_mount(terminal(), "/dev");
    std::fs::create_dir(bundle.rootfs.path().join("dev/pts")).unwrap();
    let console = bundle.rootfs.path().join("dev/console");
    for target in
        [marker.to_str().unwrap(), "/etc/passwd", "/proc/sysrq-trigger", "../etc/passwd", "/nowhere"]
    {
        symlink(target, &console).unwrap();
        let out = run_on_a_terminal(&bundle);
        assert!(out.status == 1 && !out.stdout.contains("RAN"), "{target}: {out:?}");
        assert!(out.stdout.contains("/dev/console"), "{target}: {out:?}");
        std::fs::remove_file(&console).unwrap();
    }
    assert!(run_on_a_terminal(&bundle).stdout.contains("RAN"));
    // A devpts that is none: a folder of the image, or of another container.
    let fake = host.join("pts");
    std::fs::create_dir(&fake).unwrap();
    symlink(&marker, fake.join("0")).unwrap();
    symlink(&marker, fake.join("ptmx")).unwrap();
    let bundle = without_mount(terminal(), "/dev/pts");
    let mount = json!({"destination": "/dev/pts", "type": "bind", "source": fake, "options": ["bind"]});
    let bundle = bundle.set("/mounts/-", mount);
    for _ in 0..2 {
        let out = run_on_a_terminal(&bundle);
        assert!(out.status == 1 && !out.stdout.contains("RAN"), "{out:?}");
        assert!(out.stdout.contains("/dev/pts/ptmx is no pty multiplexer"), "{out:?}");
        std::fs::remove_file(fake.join("ptmx")).unwrap();
        std::fs::write(fake.join("ptmx"), "").unwrap();
    }
    assert_eq!(std::fs::read_to_string(&marker).unwrap(), "whole");
    drop(bundle);
    leftovers.check();
}

/// A terminal that is shared with the caller takes typed words (TIOCSTI) for the caller's shell (CVE-2017-5226).
#[test]
fn without_a_terminal_of_its_own_it_has_none() {
    if !requires::root() || !requires::command("script") {
        return;
    }
    let bundle = Bundle::new();
    let out = run_on_a_terminal(&bundle);
    let line = out.stdout.lines().find(|l| l.starts_with('{')).unwrap_or_else(|| panic!("{out:?}"));
    let seen: Probe = serde_json::from_str(line).unwrap();
    assert!(!seen.tty.controlling, "{:?}", seen.tty);
    assert_eq!(seen.session, seen.pid, "it leads a session of its own");
}

/// Another user of the host reads nothing of it, and cannot start it (CVE-2021-41103, CVE-2024-25621).
#[test]
fn the_state_is_nobody_elses() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/bin/true"]);
    let create = format!(
        "umask 0; exec runner --root {} create --bundle {} {} >/dev/null 2>&1 </dev/null",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    shell(&create).run().exits(0);
    let folder = bundle.state.path().join(&bundle.id);
    let mode = |path: &std::path::Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o077;
    assert_eq!(mode(&folder), 0, "{}", folder.display());
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(files.iter().any(|f| f.ends_with("gate")), "{files:?}");
    for (program, path) in [("ls", folder.clone()), ("cat", folder.join("config.json"))] {
        let line = format!("setpriv --reuid 65534 --regid 65534 --clear-groups {program} {}", path.display());
        assert!(shell(&line).run().stderr.contains("Permission denied"), "{line}");
    }
}

/// An abstract socket is reached by whoever is in the same network namespace, which may be a container
/// (CVE-2020-15257).
#[test]
fn no_socket_is_reached_through_the_network_namespace() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/bin/true"]);
    let create = format!(
        "runner --root {} create --bundle {} {} >/dev/null 2>&1 </dev/null; cat /proc/net/unix",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    let out = shell(&format!("unshare -n sh -c '{create}'")).run();
    let sockets: Vec<&str> = out.stdout.lines().skip(1).filter_map(|l| l.split_whitespace().nth(7)).collect();
    assert!(sockets.iter().any(|s| s.ends_with("/gate")), "the start gate is one: {out:?}");
    assert!(sockets.iter().all(|s| s.starts_with('/')), "{sockets:?}");
}

/// A length that does not fit its field let one value become several (CVE-2021-43784).
#[test]
fn values_beyond_64_kib_stay_one_value() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let long = "x".repeat(100_000);
    let bundle = Bundle::new().set("/process/env/-", json!(format!("LONG={long}")));
    let bundle = bundle.set("/annotations", json!({"long": long}));
    let seen: Probe = serde_json::from_str(&bundle.run().succeeds().stdout).unwrap();
    assert_eq!((seen.env["LONG"].len(), seen.uid), (100_000, 0));
    let mount = json!({"destination": format!("/{long}"), "type": "tmpfs", "source": "tmpfs"});
    let out = Bundle::sh("echo RAN").set("/mounts/-", mount).run();
    assert!(out.status == 1 && out.stdout.is_empty() && out.stderr.contains("ENAMETOOLONG"), "{out:?}");
    let lines: Vec<Value> =
        (0..5000).map(|n| json!({"containerID": n, "hostID": 100_000 + 2 * n, "size": 1})).collect();
    let bundle = Bundle::sh("echo RAN").set("/linux/namespaces/-", json!({"type": "user"}));
    let bundle = bundle.set("/linux/uidMappings", json!(lines)).set("/linux/gidMappings", json!(lines));
    let out = bundle.run();
    assert!(out.status == 1 && out.stdout.is_empty() && out.stderr.contains("5000 ranges"), "{out:?}");
    drop(bundle);
    leftovers.check();
}

/// What is inheritable meets the inheritable set of a file, and is back (CVE-2022-29162, CVE-2022-27650).
#[test]
fn the_config_of_spec_makes_nothing_inheritable() {
    let dir = TempDir::new();
    tool("runner").args(["spec", "--bundle"]).arg(dir.path()).run().succeeds();
    let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let sets = &config["process"]["capabilities"];
    assert!(sets["bounding"].as_array().is_some_and(|s| !s.is_empty()), "{sets}");
    for set in ["inheritable", "ambient"] {
        assert!(sets[set].as_array().is_none_or(Vec::is_empty), "{set}: {sets}");
    }
    if requires::root() {
        let seen: Probe = serde_json::from_str(&Bundle::new().run().succeeds().stdout).unwrap();
        seen.expect_inheritable(&[]).expect_ambient(&[]).expect_no_new_privs(true);
    }
}
