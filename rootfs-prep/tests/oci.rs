//! `--oci`: the tool's share of a config.json, as `runner spec` writes it and as engines do.

mod common;

use catena_tests::{TempRootfs, requires, rootfs, tool};
use common::{prep, there};
use serde_json::{Value, json};

/// What `runner spec` writes (for an ordinary user: `--rootless`), without the terminal, which only runner makes.
fn spec(root: &TempRootfs) -> Value {
    let rootless = (!common::is_root()).then_some("--rootless");
    tool("runner").arg("spec").args(rootless).arg("--bundle").arg(root.parent()).run().succeeds();
    let path = root.parent().join("config.json");
    let text = std::fs::read_to_string(&path).expect("it was written");
    std::fs::remove_file(&path).expect("it can be removed");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    config["process"]["terminal"] = false.into();
    config
}

fn run(root: &TempRootfs, config: &Value, more: &[&str]) -> catena_tests::Tool {
    let path = root.config(config);
    let args = [&["--oci", path.to_str().expect("text")], more].concat();
    prep(args)
}

#[test]
fn the_default_bundle() {
    let root = rootfs();
    let p = run(&root, &spec(&root), &[]).probe_at("/probe");
    p.expect_mount_options("/", &["ro"]);
    for (point, kind, options) in [
        ("/proc", "proc", &["rw"][..]),
        ("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec", "ptmxmode=666", "mode=620"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "size=65536k"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["ro", "nosuid", "noexec", "nodev"]),
    ] {
        p.expect_mounted(point, kind);
        p.expect_mount_options(point, options);
    }
    assert!(["cgroup2", "tmpfs"].contains(&p.mount_at("/sys/fs/cgroup").unwrap().fstype.as_str()));
    for path in ["/proc/keys", "/proc/timer_list"] {
        p.expect_hidden(path);
    }
    p.expect_mount_options("/proc/sys", &["ro"]);
    let dev = p.dev.as_ref().unwrap();
    for name in
        ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "stdout", "stderr"]
    {
        assert!(dev.contains_key(name), "{name}");
    }
    assert_eq!(p.cwd.as_deref(), Some("/"));
}

#[test]
fn mounts_of_a_config_in_its_own_words() {
    let root = rootfs();
    root.file("../vol/f", "volume");
    let mut config = spec(&root);
    config["root"]["readonly"] = false.into();
    config["process"]["cwd"] = "/work/dir".into();
    config["linux"]["rootfsPropagation"] = "shared".into();
    let more = json!([
        // Relative to the bundle.
        {"destination": "/vol", "type": "bind", "source": "vol", "options": ["rbind", "ro"]},
        {"destination": "no/slash", "type": "none", "source": "vol", "options": ["bind", "rw", "nosuid"]},
        {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["size=1m,mode=700", "nodev"]},
        {"destination": "/etc", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]},
    ]);
    config["mounts"].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
    let p = run(&root, &config, &["--tmpfs", "/from/flag"]).probe_at("/probe");
    p.expect_mount_options("/vol", &["ro"]);
    p.expect_mount_options("/no/slash", &["rw", "nosuid"]);
    p.expect_mount_options("/t", &["size=1024k", "mode=700", "nodev"]);
    p.expect_mounted("/from/flag", "tmpfs");
    assert_eq!(p.cwd.as_deref(), Some("/work/dir"));
    assert!(p.mount_at("/").unwrap().propagation[0].starts_with("shared:"));
    let out = run(&root, &config, &[]).command(["/bin/cat", "/vol/f", "/etc/hostname"]).run();
    assert!(out.stdout.starts_with("volume"), "{out:?}");
    let out = run(&root, &config, &[]).command(["/bin/grep", "-c", "root", "/etc/passwd"]).run();
    assert_eq!(out.succeeds().stdout.trim(), "1");
}

/// A --root on the command line is another root; the rest of the config stays.
#[test]
fn flags_come_on_top() {
    let (root, other) = (rootfs(), rootfs());
    other.file("here", "");
    let path = other.path();
    let p = run(&root, &spec(&root), &["--root", path.to_str().unwrap(), "--mask", "/etc/passwd"])
        .probe_at("/probe");
    p.expect_mount_options("/", &["ro"]);
    p.expect_hidden("/etc/passwd");
    assert!(p.root.unwrap().contains(&"here".to_string()));
}

/// A config that shares the pid namespace means it: engines write that.
#[test]
fn a_shared_pid_namespace_is_the_configs_own_business() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let path = root.config(&spec(&root));
    let p = common::behind("-mniuC", ["--oci", path.to_str().unwrap()]).probe_at("/probe");
    p.expect_mounted("/proc", "proc");
    assert!(p.processes.unwrap() > 1);
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let root = rootfs();
    let with = |path: &[&str], value: Value| {
        let mut config = spec(&root);
        let mut at = &mut config;
        for key in path {
            at = match key.parse::<usize>() {
                Ok(n) => &mut at[n],
                Err(_) => &mut at[*key],
            };
        }
        *at = value;
        config
    };
    for (config, text) in [
        (with(&["mounts", "0", "destination"], json!("")), "mounts[0].destination"),
        (with(&["mounts", "1"], json!({"destination": "/x"})), "mounts[1].type: missing"),
        (with(&["mounts", "1"], json!({"destination": "/x", "type": "bind"})), "mounts[1].source: missing"),
        (
            with(
                &["mounts", "1"],
                json!({"destination": "/x", "type": "bind", "source": "/etc", "options": ["nosiud"]}),
            ),
            "nosiud",
        ),
        (with(&["mounts", "0", "destination"], json!(7)), "mounts[0].destination"),
        (with(&["linux", "rootfsPropagation"], json!("rshard")), "rootfsPropagation"),
        (with(&["linux", "maskedPaths"], json!([""])), "maskedPaths[0]"),
        (with(&["linux", "readonlyPaths"], json!("/x")), "readonlyPaths"),
        (with(&["root"], json!({"path": "no-such"})), "no-such"),
        (with(&["root"], json!({"path": ""})), ""),
        (
            with(&["mounts", "0", "uidMappings"], json!([{"containerID": 0, "hostID": 1, "size": 1}])),
            "mounts[0].gidMappings: missing",
        ),
        (with(&["linux", "mountLabel"], json!(5)), "mountLabel"),
    ] {
        run(&root, &config, &[]).command(["/bin/echo", "ran"]).run().refuses(125, text);
    }
    let missing = root.parent().join("no-config.json");
    prep(["--oci", missing.to_str().unwrap()])
        .command(["/bin/echo", "ran"])
        .run()
        .refuses(125, "no-config.json");
    let broken = root.file("../config.json", "{\"ociVersion\": ");
    prep(["--oci", broken.to_str().unwrap()]).command(["/bin/echo", "ran"]).run().refuses(125, "config.json");
    assert!(!there(&root, "x").exists());
}

/// A label wants SELinux; where the kernel has none, it is refused and not left out.
#[test]
fn a_label_without_selinux_is_refused() {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        return;
    }
    let root = rootfs();
    let mut config = spec(&root);
    config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2".into();
    run(&root, &config, &[]).command(["/bin/echo", "ran"]).run().refuses(125, "");
}
