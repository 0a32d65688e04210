//! exec: in which cgroup the command is, and that there is no way out of the container's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell, v2_view};
use common::Bundle;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The container's directories, as its state records them.
fn groups(bundle: &Bundle) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(bundle.state.path().join(&bundle.id).join("state.json")).unwrap();
    let state: Value = serde_json::from_str(&text).unwrap();
    state["cgroups"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().into()).collect()
}

/// Where a process is, hierarchy by hierarchy.
fn places(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

/// `runner exec -d OPTIONS`, and where its command is.
fn place_of(bundle: &Bundle, options: &str) -> String {
    let (dir, state, id) = (bundle.dir(), bundle.state.path().display(), &bundle.id);
    let line = format!(
        "runner --root {state} exec -d --pid-file {dir}/pid {options} {id} /probe sleep >{dir}/err 2>&1 </dev/null"
    );
    let out = shell(&line).run();
    let said = std::fs::read_to_string(format!("{dir}/err")).unwrap();
    if out.status != 0 {
        return format!("refused: {said}");
    }
    let pid: i32 = std::fs::read_to_string(format!("{dir}/pid")).unwrap().parse().unwrap();
    let found = places(pid);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    found
}

#[test]
fn it_is_where_the_first_process_is_in_every_hierarchy() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().up();
    assert!(!groups(&bundle).is_empty());
    assert_eq!(place_of(&bundle, ""), places(bundle.pid()));
    assert_eq!(place_of(&bundle, "--cgroup /"), places(bundle.pid()));
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_group_below_is_joined_where_it_is_and_no_other() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().up();
    let all = groups(&bundle);
    let below = |name: &str| all.iter().map(|dir| dir.join(name)).collect::<Vec<_>>();
    let make = |dir: &PathBuf| {
        std::fs::create_dir(dir).unwrap();
        // A new v1 cpuset takes no process before it has these.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = std::fs::read_to_string(dir.join("..").join(file)) {
                std::fs::write(dir.join(file), value.trim()).unwrap_or(());
            }
        }
    };
    below("sub").iter().for_each(make);
    let found = place_of(&bundle, "--cgroup sub");
    assert!(found.contains(&format!("{}/sub", bundle.id)), "{found}");
    for line in places(bundle.pid()).lines().filter(|line| line.contains(&bundle.id)) {
        assert!(found.contains(&format!("{line}/sub\n")), "{line}: {found}");
    }
    // Beside it, with a name that begins like its own.
    let beside: Vec<PathBuf> = all.iter().map(|dir| dir.with_file_name(format!("{}-x", bundle.id))).collect();
    beside.iter().for_each(make);
    for out in ["..", "/..", "../", "sub/..", "sub/../..", &format!("../{}-x", bundle.id), "../../../../.."] {
        let found = place_of(&bundle, &format!("--cgroup {out}"));
        assert!(found.contains("bad sub cgroup path"), "{out}: {found}");
    }
    let found = place_of(&bundle, "--cgroup nonexistent");
    assert!(found.contains(" adding pid ") && found.contains("No such file or directory"), "{found}");
    let found = place_of(&bundle, "--cgroup whaaat:/");
    assert!(found.contains("unknown controller whaaat"), "{found}");
    let found = place_of(&bundle, "--cgroup a --cgroup b");
    assert!(found.contains("it is for all, and must stand alone"), "{found}");
    assert_eq!(bundle.count(), 1);
    let gone = |dir: &PathBuf| while std::fs::remove_dir(dir).is_err() && dir.is_dir() {};
    below("sub").iter().chain(&beside).for_each(gone);
    drop(bundle);
    leftovers.check();
}

#[test]
fn on_v1_each_controller_has_its_own() {
    if !requires::cgroup_v1("memory") || !requires::cgroup_v1("pids") {
        return;
    }
    let bundle = Bundle::asleep().up();
    let of = |name: &str| {
        let mount = requires::cgroup_mount(name).unwrap();
        groups(&bundle).into_iter().find(|dir| dir.starts_with(&mount)).unwrap().join("deep/er")
    };
    let dirs = [of("memory"), of("pids")];
    for dir in dirs.iter().flat_map(|dir| [dir.parent().unwrap(), dir.as_path()]) {
        std::fs::create_dir(dir).unwrap();
    }
    let found = place_of(&bundle, "--cgroup memory:deep/er --cgroup pids:/deep");
    let own = places(bundle.pid());
    for line in own.lines() {
        let expected = match line.split(':').nth(1).unwrap() {
            "memory" => format!("{line}/deep/er\n"),
            "pids" => format!("{line}/deep\n"),
            _ => format!("{line}\n"),
        };
        assert!(found.contains(&expected), "{expected}: {found}");
    }
    for dir in &dirs {
        let gone = |dir: &Path| while std::fs::remove_dir(dir).is_err() && dir.is_dir() {};
        gone(dir);
        gone(dir.parent().unwrap());
    }
}

/// A container that may write its cgroups moves into one below its own and gives controllers away: then its own takes no
/// process any more.
#[test]
fn on_v2_it_goes_where_the_first_process_went() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh(
        "mkdir /sys/fs/cgroup/in && echo $$ >/sys/fs/cgroup/in/cgroup.procs && \
         for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done; \
         echo there; exec sleep 1000",
    );
    let mut bundle = bundle;
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|ns| ns["type"] != "cgroup");
    namespaces.push(json!({"type": "cgroup"}));
    for mount in bundle.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/sys/fs/cgroup" {
            mount["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
        }
    }
    bundle.write();
    let (dir, root, id) = (bundle.dir(), bundle.state.path().display(), &bundle.id);
    let runner = format!("runner --root {root}");
    let line = format!(
        "{runner} run -d --bundle {dir} {id} >{dir}/out 2>&1 </dev/null || exit 9
         until grep -q there {dir}/out; do :; done
         {runner} exec {id} grep ^0:: /proc/self/cgroup; echo $?
         {runner} exec --cgroup in {id} grep ^0:: /proc/self/cgroup; echo $?
         {runner} exec {id} cat /sys/fs/cgroup/cgroup.subtree_control | wc -w
         {runner} exec --cgroup / {id} true; echo $?
         {runner} delete -f {id}"
    );
    let out = v2_view(&line).run();
    assert!(out.stdout.starts_with("0::/in\n0\n0::/in\n0\n"), "{out:#?}");
    // Where there is a controller to give away, its own group is refused to whoever asks for just that.
    let lines: Vec<&str> = out.stdout.lines().skip(4).collect();
    let refused = out.stderr.contains(" adding pid ") && out.stderr.contains("Device or resource busy");
    match lines.as_slice() {
        ["0", "0"] => assert_eq!(out.stderr, ""),
        [_, "255"] => assert!(refused, "{out:#?}"),
        _ => panic!("{out:#?}"),
    }
    drop(bundle);
    leftovers.check();
}
