//! Containers of an ordinary user: on cgroups that are not theirs, and in a v2 subtree that is.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, requires, shell, until};
use common::Bundle;
use serde_json::{Value, json};
use std::os::unix::fs::chown;

/// In nobody's /etc/passwd.
const ID: u32 = 54_321;

/// A bundle of `runner spec --rootless` that belongs to the user, as its state does.
struct Rootless(Bundle);

impl Rootless {
    fn new(line: &str, edit: impl FnOnce(&mut Value)) -> Rootless {
        let mut rootless = Rootless(Bundle::new());
        let bundle = &rootless.0;
        let file = bundle.rootfs.parent().join("config.json");
        std::fs::remove_file(&file).unwrap();
        for path in [bundle.rootfs.parent(), &bundle.rootfs.path(), bundle.state.path()] {
            chown(path, Some(ID), Some(ID)).unwrap();
        }
        rootless.sh(&format!("runner spec --rootless --bundle {}", bundle.dir())).succeeds();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sh", "-c", line]);
        edit(&mut config);
        rootless.0.config = config;
        rootless.0.write();
        rootless
    }

    /// A line of the user's.
    fn as_user(&self, line: &str) -> String {
        format!("exec setpriv --reuid {ID} --regid {ID} --clear-groups bash -c '{line}'")
    }

    fn sh(&self, line: &str) -> Output {
        shell(&self.as_user(line)).run()
    }

    /// `runner --root STATE WORDS`
    fn line(&self, words: &str) -> String {
        format!("runner --root {} {words}", self.0.state.path().display())
    }

    fn runner(&self, words: &str) -> Output {
        self.sh(&self.line(words))
    }

    /// Waits until its own user sees it so; root does not believe a state that somebody else can write.
    #[track_caller]
    fn becomes(&self, status: &str) {
        let state = format!("state {}", self.0.id);
        until(&format!("it is {status}"), || self.runner(&state).stdout.contains(status));
    }

    /// `run --bundle DIR ID`, as words.
    fn run(&self) -> String {
        format!("run --bundle {} {}", self.0.dir(), self.0.id)
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        self.runner(&format!("delete --force {}", self.0.id));
    }
}

fn possible() -> bool {
    requires::root() && requires::command("setpriv")
}

#[test]
fn root_inside_is_the_user_outside() {
    if !possible() {
        return;
    }
    let leftovers = Leftovers::watch();
    let rootless = Rootless::new("exec /probe", |_| {});
    let out = rootless.runner(&rootless.run());
    // Not a word about what a user cannot have and nobody asked for.
    assert_eq!(out.stderr, "");
    let p = out.probe();
    assert_eq!((p.uid, p.uid_map.as_deref()), (0, Some(["0 54321 1".to_string()].as_slice())));
    p.expect_ns_differs(&["user", "mount", "pid", "ipc", "uts"]);
    assert!(p.caps.bounding.count_ones() < 10, "{:?}", p.caps);
    drop(rootless);
    leftovers.check();
}

#[test]
fn a_whole_life() {
    if !possible() {
        return;
    }
    let leftovers = Leftovers::watch();
    let rootless = Rootless::new("echo up; exec sleep 99", |_| {});
    let (id, dir) = (rootless.0.id.clone(), rootless.0.dir().to_string());
    rootless.runner(&format!("create --bundle {dir} {id} >{dir}/out 2>{dir}/err </dev/null")).succeeds();
    rootless.runner(&format!("exec {id} sh -c \"id -u\"")).succeeds();
    rootless.runner(&format!("start {id}")).succeeds();
    rootless.becomes("running");
    let comm = || rootless.runner(&format!("exec {id} cat /proc/1/comm")).stdout;
    until("its shell has become sleep", || comm() == "sleep\n");
    let out = rootless.runner(&format!("exec --env A=b {id} sh -c \"id -u; echo \\$A; cat /proc/1/comm\""));
    assert_eq!(out.succeeds().stdout, "0\nb\nsleep\n", "{out:?}");
    let list = rootless.runner("list");
    assert!(list.succeeds().stdout.contains(&id), "{list:?}");
    // What needs a cgroup says so, in one line and a reason.
    for verb in ["ps", "pause", "events --stats"] {
        rootless.runner(&format!("{verb} {id}")).fails(1, "it has no cgroup");
    }
    rootless.runner(&format!("delete {id}")).fails(1, "it is running");
    rootless.runner(&format!("kill {id} KILL")).succeeds();
    rootless.becomes("stopped");
    rootless.runner(&format!("kill {id} 0")).fails(1, "container not running");
    assert_eq!(rootless.runner(&format!("kill --all {id} 0")).status, 0);
    rootless.runner(&format!("delete {id}")).succeeds();
    assert_eq!(std::fs::read_dir(rootless.0.state.path()).unwrap().count(), 0);
    drop(rootless);
    leftovers.check();
}

/// Nothing that was asked for is left out; only what nobody named is.
#[test]
fn a_limit_that_cannot_be_set_is_refused() {
    if !possible() || !requires::controller("pids") {
        return;
    }
    let leftovers = Leftovers::watch();
    let limited =
        Rootless::new("echo ran", |config| config["linux"]["resources"] = json!({"pids": {"limit": 20}}));
    let named = Rootless::new("echo ran", |config| config["linux"]["cgroupsPath"] = json!("/mine"));
    let plain = Rootless::new("echo ran", |_| {});
    for (rootless, flags) in [(&limited, ""), (&named, ""), (&plain, "--rootless=false ")] {
        let out = rootless.runner(&format!("{flags}{}", rootless.run()));
        out.fails(1, "cannot make the cgroup").fails(1, "EACCES");
        assert_eq!(out.stdout, "");
    }
    for (rootless, words) in [
        (&limited, "cannot set pids limit: container could not join or create cgroup"),
        (&named, "unable to apply cgroup configuration"),
    ] {
        // Scripts look for this.
        let dir = rootless.0.dir();
        let line = format!("ln -s $(command -v runner) {dir}/runc; $_ --root {dir}/none {}", rootless.run());
        let out = rootless.sh(&line);
        assert!(out.status == 1 && out.stderr.contains(words), "{out:?}");
        assert!(out.stderr.to_lowercase().contains("permission denied"), "{out:?}");
    }
    assert_eq!(plain.runner(&plain.run()).succeeds().stdout, "ran\n");
    drop((limited, named, plain));
    leftovers.check();
}

#[test]
fn a_container_whose_processes_cannot_be_found_is_warned_of() {
    if !possible() {
        return;
    }
    let shared = Rootless::new("echo ran", |config| {
        let proc = json!({"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]});
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/proc" {
                *mount = proc.clone();
            }
        }
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "pid");
    });
    let out = shared.runner(&shared.run());
    assert!(out.status == 0 && out.stderr.contains("no cgroup and no pid namespace of its own"), "{out:?}");
}

/// With a range of /etc/subuid there are other users inside.
#[test]
fn a_range_of_ids_is_written_by_newuidmap() {
    let Some(user) = requires::user() else { return };
    if !requires::command("newuidmap") {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut bundle = Bundle::new();
    let map = |own: u32| {
        json!([
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": user.subuid, "size": 1000}
        ])
    };
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    bundle.config["linux"]["uidMappings"] = map(user.uid);
    bundle.config["linux"]["gidMappings"] = map(user.gid);
    bundle.config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    bundle.config["process"]["capabilities"] = json!({});
    bundle.config["linux"].as_object_mut().unwrap().remove("resources");
    bundle.write();
    for path in [bundle.rootfs.parent(), &bundle.rootfs.path(), bundle.state.path()] {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
    let state = bundle.state.path().display();
    let line = format!(
        "exec setpriv --reuid {} --regid {} --clear-groups runner --root {state} run --bundle {} {}",
        user.uid,
        user.gid,
        bundle.dir(),
        bundle.id
    );
    let p = shell(&line).run().probe();
    p.expect_user(5, 6, &[7]).expect_caps_empty();
    assert_eq!(p.uid_map.map(|map| map.len()), Some(2));
    drop(bundle);
    leftovers.check();
}

/// Runs `line` as the user in a v2 group that was given to them, in a view where /sys/fs/cgroup is v2.
fn delegated(rootless: &Rootless, line: &str) -> Output {
    let group = format!("/sys/fs/cgroup/catena-rootless-{}", rootless.0.id);
    let tidy = format!("find {group} -depth -type d -exec rmdir {{}} +");
    let line = format!(
        "mkdir -p {group}/own && for c in memory pids; do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done 2>/dev/null
         chown -R {ID}:{ID} {group}
         ( echo $BASHPID >{group}/own/cgroup.procs; {} ); s=$?; {tidy} || s=99; exit $s",
        rootless.as_user(line)
    );
    catena_tests::v2_view(&line).run()
}

/// CVE-2023-25809: a container of a user who has been given a cgroup reached it below the /sys of the host, and could
/// move itself, or lift its limits.
#[test]
fn a_cgroup_of_the_users_own_cannot_be_written_from_inside() {
    if !possible() || !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let line = "cat /proc/self/cgroup | tail -n 1
        for dir in $(find /sys/fs/cgroup -type d); do mkdir $dir/x 2>/dev/null && echo made $dir/x; done
        find /sys/fs/cgroup -name cgroup.procs -exec sh -c \"echo 0 >>{}\" \";\" 2>/dev/null
        cat /proc/self/cgroup | tail -n 1; mkdir /sys/fs/cgroup/x";
    let rootless = Rootless::new(line, |_| {});
    let out = delegated(&rootless, &rootless.line(&rootless.run()));
    assert!(out.stderr.contains("Read-only file system"), "{out:?}");
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1] && lines[0].starts_with("0::/"), "{out:?}");
    assert!(!out.stdout.contains("made"), "{out:?}");
    drop(rootless);
    leftovers.check();
}

#[test]
fn limits_are_set_in_a_subtree_of_the_users_own() {
    if !possible() || !requires::cgroup_v2_controller("pids") {
        return;
    }
    let leftovers = Leftovers::watch();
    let rootless = Rootless::new("cat /proc/self/cgroup; exec sleep 99", |config| {
        config["linux"]["resources"] = json!({"pids": {"limit": 20}});
        // Seen from outside of a cgroup namespace of its own.
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "cgroup");
    });
    let id = &rootless.0.id;
    let line = [
        format!("run --detach --bundle {} {id} >{}/out 2>&1 </dev/null", rootless.0.dir(), rootless.0.dir()),
        format!("update --pids-limit 7 {id}"),
        format!("events --stats {id}"),
        format!("pause {id}"),
        format!("resume {id}"),
        format!("delete --force {id}"),
    ];
    let line: Vec<String> = line.iter().map(|words| rootless.line(words)).collect();
    let out = delegated(&rootless, &line.join(" && "));
    assert_eq!(out.succeeds().json()["data"]["pids"]["limit"], 7, "{out:?}");
    assert_eq!(rootless.0.output(), format!("0::/catena-rootless-{id}/{id}\n"));
    drop(rootless);
    leftovers.check();
}
