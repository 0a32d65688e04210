//! A config without a mount namespace: the process shares the host's, has a root of its own all the same, and the host's
//! mounts are what they were.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, requires};
use common::Bundle;
use serde_json::{Value, json};

/// The bundle without its own mount namespace, nor the masks that want one to be of any use.
fn sharing(mut bundle: Bundle) -> Bundle {
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|ns| ns["type"] != "mount");
    bundle.write();
    bundle
}

/// The host's mounts that have to do with this bundle: others work on this machine too.
fn mounts(bundle: &Bundle) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |line: &&str| line.contains(bundle.dir()) || line.contains(bundle.id.as_str());
    text.lines().filter(ours).map(String::from).collect()
}

fn exec(bundle: &Bundle, line: &str) -> Output {
    bundle.runner(["exec", &bundle.id, "/bin/sh", "-c", line]).run()
}

#[test]
fn it_shares_the_hosts_mount_namespace_and_changes_nothing_in_it() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = sharing(Bundle::asleep());
    bundle.rootfs.file("etc/mark", "inside");
    let before = mounts(&bundle);
    bundle.create().succeeds();
    assert_eq!(mounts(&bundle), before, "created");
    bundle.start().succeeds();
    assert_eq!(mounts(&bundle), before, "running");
    let here = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(std::fs::read_link(format!("/proc/{}/ns/mnt", bundle.pid())).unwrap(), here);

    // What was mounted is there, after its fd was closed long ago, and shows in no list.
    let look = "cat /etc/mark; stat -f -c %T /proc /dev /sys /dev/shm; touch /x 2>/dev/null || echo ro; wc -l </proc/self/mountinfo; cat /proc/keys; touch /proc/sys/kernel/hostname";
    let out = exec(&bundle, look);
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines[..6], ["insideproc", "tmpfs", "sysfs", "tmpfs", "ro", "0"], "{out:?}");
    assert_eq!(lines.len(), 6, "a masked file is empty: {out:?}");
    assert!(out.stderr.contains("Read-only file system"), "{out:?}");
    assert_eq!(mounts(&bundle), before, "exec");

    bundle.runner(["delete", "--force", &bundle.id]).run().succeeds();
    assert_eq!(mounts(&bundle), before, "deleted");
    drop(bundle);
    leftovers.check();
}

#[test]
fn there_is_no_way_up_and_out_of_it() {
    if !requires::root() {
        return;
    }
    let climb = "cd /; cd ../../../../..; test -e probe && pwd; cd /etc; cd ../../../../../..; test -e probe && pwd; ls -d /proc/1/root/probe";
    // With all it takes to make a second root and to leave it.
    let all = json!(["CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    let sets = json!({"bounding": all, "effective": all, "permitted": all});
    let bundle = sharing(Bundle::sh(climb)).set("/process/capabilities", sets);
    let out = bundle.run();
    assert_eq!(out.succeeds().stdout, "/\n/\n/proc/1/root/probe\n", "{out:?}");
    let bundle = sharing(Bundle::asleep()).up();
    assert_eq!(exec(&bundle, climb).succeeds().stdout, "/\n/\n/proc/1/root/probe\n");
    let out = bundle.runner(["exec", "--cwd", "/proc/self/fd/7", &bundle.id, "/bin/pwd"]).run();
    assert_ne!(out.status, 0, "{out:?}");
}

#[test]
fn hooks_run_and_find_the_root() {
    if !requires::root() {
        return;
    }
    let bundle = sharing(Bundle::sh("cat /etc/hook"));
    let hook = |line: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", line]}]);
    let file = bundle.rootfs.parent().join("ran");
    let hooks = json!({
        "createRuntime": hook(&format!("touch {}", file.display())),
        "createContainer": hook("echo hooked >etc/hook"),
    });
    let bundle = bundle.set("/hooks", hooks).set("/root/readonly", json!(false));
    let before = mounts(&bundle);
    assert_eq!(bundle.run().succeeds().stdout, "hooked\n");
    assert!(file.exists());
    assert_eq!(mounts(&bundle), before);
}

#[test]
fn an_exec_lands_in_its_root_with_a_terminal_and_without_other_namespaces() {
    if !requires::root() {
        return;
    }
    let mut bundle = sharing(Bundle::asleep());
    bundle.config["linux"]["namespaces"] = json!([]);
    bundle.config["hostname"] = Value::Null;
    bundle.write();
    let bundle = bundle.up();
    assert_eq!(exec(&bundle, "test -e /probe && pwd").succeeds().stdout, "/\n");
    let out = bundle.exec(["-t"], ["/bin/sh", "-c", "test -e /probe && tty"]).run();
    assert_eq!((out.status, out.stdout.as_str()), (0, "/dev/pts/0\n"), "{out:?}");
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    bundle.becomes("stopped");
    bundle.runner(["delete", &bundle.id]).run().succeeds();
}

#[test]
fn what_wants_a_mount_namespace_is_refused_or_told() {
    if !requires::root() {
        return;
    }
    let run = |change: fn(&mut Value)| {
        let mut bundle = sharing(Bundle::sh("echo ran"));
        change(&mut bundle.config);
        bundle.write();
        bundle.run()
    };
    let out = run(|c| c["linux"]["rootfsPropagation"] = json!("rshared"));
    out.fails(1, "rootfsPropagation: without a mount namespace of its own nothing is shared");
    let out = run(|c| {
        let bind =
            json!({"destination": "/v", "type": "bind", "source": "/etc", "options": ["bind", "rshared"]});
        c["mounts"].as_array_mut().unwrap().push(bind);
    });
    out.fails(1, "/v: without a mount namespace of its own nothing is shared");
    let out = run(|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for map in ["uidMappings", "gidMappings"] {
            c["linux"][map] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        }
    });
    out.fails(1, "it belongs to a more privileged user namespace");
}
