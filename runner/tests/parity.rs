//! The process that `runner run` makes of a `runc spec` bundle is the process that `runc run` makes of it: field by
//! field, on the same machine, on hybrid cgroups and in a pure v2 view.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Probe, TempDir, TempRootfs, requires, rootfs, shell, v2_view};
use common::world::same_world;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

/// `runc spec`, with the payload for a command and no terminal; edited by `edit`.
fn bundle(edit: impl FnOnce(&mut Value)) -> TempRootfs {
    let rootfs = rootfs();
    let dir = rootfs.parent().display();
    shell(&format!("cd {dir} && runc spec")).run().succeeds();
    let text = std::fs::read(rootfs.parent().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/probe"]);
    edit(&mut config);
    rootfs.config(&config);
    rootfs
}

/// Tests run side by side, and a cgroup is one container's.
static COUNT: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Copy)]
enum View {
    Native,
    V2,
}

fn both(view: View, edit: impl FnOnce(&mut Value)) -> (Probe, Probe) {
    let bundle = bundle(edit);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let run = |runtime: &str| {
        let state = TempDir::new();
        let id = format!("parity-{}-{number}-{runtime}", std::process::id());
        let path = state.path().display();
        let line = format!("{runtime} --root {path} run --bundle {} {id}", bundle.parent().display());
        let tool = match view {
            View::Native => shell(&line),
            View::V2 => v2_view(&line),
        };
        tool.run().probe()
    };
    (run("runner"), run("runc"))
}

#[track_caller]
fn same(view: View, edit: impl FnOnce(&mut Value)) {
    let (ours, theirs) = both(view, edit);
    same_world(&ours, &theirs);
}

fn ready() -> bool {
    requires::root() && requires::command("runc")
}

#[test]
fn a_runc_spec_bundle_is_the_same_process_on_hybrid_cgroups() {
    if ready() {
        same(View::Native, |_| {});
    }
}

#[test]
fn a_runc_spec_bundle_is_the_same_process_in_the_v2_view() {
    if ready() && requires::cgroup_v2() {
        same(View::V2, |_| {});
    }
}

#[test]
fn with_a_cgroup_namespace() {
    let edit = |config: &mut Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        // runc writes one by itself where it finds cgroup v2 alone.
        if !namespaces.contains(&json!({"type": "cgroup"})) {
            namespaces.push(json!({"type": "cgroup"}));
        }
    };
    if ready() {
        same(View::Native, edit);
        same(View::V2, edit);
    }
}

#[test]
fn with_another_user_groups_and_umask() {
    if ready() {
        same(View::Native, |config| {
            config["process"]["user"] =
                json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 44], "umask": 0o077});
            config["process"]["noNewPrivileges"] = json!(false);
            config["process"]["cwd"] = json!("/home");
        });
    }
}

#[test]
fn with_ambient_and_inheritable_capabilities() {
    if ready() {
        same(View::Native, |config| {
            let set = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            for name in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
                config["process"]["capabilities"][name] = set.clone();
            }
        });
    }
}

#[test]
fn without_capabilities_in_the_config() {
    if ready() {
        same(View::Native, |config| {
            config["process"].as_object_mut().unwrap().remove("capabilities");
        });
    }
}

#[test]
fn with_a_writable_root_binds_and_devices() {
    if ready() {
        // Not of the host's root, which may be read-only: runc takes that flag away where it sets another.
        let dir = TempDir::new();
        let file = dir.file("hostname", "bound");
        same(View::Native, |config| {
            config["root"]["readonly"] = json!(false);
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/mnt", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "rprivate"]}));
            mounts.push(json!({"destination": "/new/dir", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "size=1m"]}));
            mounts.push(json!({"destination": "/etc/hostname", "type": "bind", "source": file, "options": ["bind", "nodev"]}));
            config["linux"]["devices"] = json!([
                {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 5}
            ]);
        });
    }
}

#[test]
fn with_a_seccomp_filter_and_limits() {
    if ready() {
        same(View::Native, |config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
            });
            if requires::cgroup_mount("memory").is_some() {
                config["linux"]["resources"]["memory"] = json!({"limit": 268_435_456});
            }
            if requires::cgroup_mount("pids").is_some() {
                config["linux"]["resources"]["pids"] = json!({"limit": 100});
            }
            config["process"]["oomScoreAdj"] = json!(500);
        });
    }
}
