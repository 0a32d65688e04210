//! Pure cgroup v2, on any host: in a mount namespace where /sys/fs/cgroup is a cgroup2 mount.

mod common;

use catena_tests::{Leftovers, TempDir, requires, until, v2_view};
use common::{Group, config, is_alive, plan};

#[test]
fn made_joined_and_removed() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let dir = format!("/sys/fs/cgroup{}", group.path());
    let line = format!(
        "cg-apply -N --cgroup {0}/a -- bash -c 'grep ^0: /proc/self/cgroup; ls -d {dir}/a'; ls {dir}",
        group.path()
    );
    let out = v2_view(&line).run();
    assert_eq!(out.stdout, format!("0::{}/a\n{dir}/a\n", group.path()), "{out:?}");
    let out = v2_view(&format!("cg-apply -N --cgroup {} --print", group.path())).run();
    let expected = format!(
        "make      {dir} (v2)\njoin      it\nat last   the group goes, with all that is left in it\n"
    );
    assert_eq!(out.succeeds().stdout, expected);
    let out = v2_view(&format!("cg-apply -N --cgroup {} --check", group.path())).run();
    assert_eq!(out.succeeds().stdout, "this host can do it\n");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn what_is_left_in_it_ends_in_one_stroke() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let line = format!(
        "cg-apply -N --cgroup {} -- bash -c 'mkdir /sys/fs/cgroup{0}/sub; for i in 1 2 3; do setsid sleep 300 <&- >&- 2>&- & echo $!; done; echo $! > /sys/fs/cgroup{0}/sub/cgroup.procs'",
        group.path()
    );
    let out = v2_view(&line).run();
    let pids: Vec<i32> = out.succeeds().stdout.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    for pid in pids {
        until("the orphan's end", || !is_alive(pid));
    }
    group.expect_gone();
    leftovers.check();
}

#[test]
fn exclusive_sees_a_frozen_one() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let line = format!(
        "cg-apply -N --keep --cgroup {0} -- true && echo 1 > /sys/fs/cgroup{0}/cgroup.freeze && cg-apply -N --exclusive --cgroup {0} -- echo ran; S=$?; echo 0 > /sys/fs/cgroup{0}/cgroup.freeze; cg-apply --rm {0}; exit $S",
        group.path()
    );
    v2_view(&line).run().refuses(125, "container's cgroup unexpectedly frozen");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn devices_by_a_program() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let path = config(&dir, r#""resources":{"devices":[{"allow":false,"access":"rwm"}]}"#, "");
    let line = |device: &str| format!("cg-apply -N --oci {} -- $PROBE open {device}", path.display());
    assert_eq!(v2_view(&line("/dev/null")).run().stdout, "ok\n");
    assert_eq!(v2_view(&line("/dev/kmsg")).run().stdout, "EPERM\n");
    leftovers.check();
}

#[test]
fn a_controller_that_v1_holds_is_named_and_may_be_left_out() {
    if !requires::cgroup_v1("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let line = |more: &str| format!("cg-apply -N -m 64M {more} -- echo ran");
    let out = v2_view(&line("")).run();
    out.refuses(125, "resources.memory.limit: this host has no cgroup controller 'memory'");
    assert!(out.stderr.contains("try: --try resources.memory.limit"), "{out:?}");
    assert_eq!(v2_view(&line("--try resources.memory")).run().succeeds().stdout, "ran\n");
    let out = v2_view(&line("--try resources.memory --print")).run();
    assert!(out.succeeds().stdout.contains("less      resources.memory.limit: cannot"), "{out:?}");
    leftovers.check();
}

#[test]
fn huge_pages() {
    if !requires::cgroup_v2() {
        return;
    }
    let controllers = v2_view("cat /sys/fs/cgroup/cgroup.controllers").run().stdout;
    let there = controllers.split_whitespace().any(|c| c == "hugetlb");
    let small = std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
    if !(there && small) {
        requires::skip("needs the cgroup v2 controller hugetlb");
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let linux = format!(
        r#""cgroupsPath":"{}","resources":{{"hugepageLimits":[{{"pageSize":"2MB","limit":4194305}}]}}"#,
        group.path()
    );
    let path = config(&dir, &linux, "");
    let file = format!("/sys/fs/cgroup{}/hugetlb.2MB.max", group.path());
    let line = format!("cg-apply -N --oci {} -- bash -c 'cat {file}; cg-apply --show $$'", path.display());
    let out = v2_view(&line).run();
    let (value, layer) = out.succeeds().stdout.split_once('\n').unwrap();
    assert_eq!(value, "4194304");
    assert!(
        layer.contains(r#""hugepageLimits":[{"pageSize":"2MB","limit":4194304}]"#)
            || layer.contains(r#""limit":4194304,"pageSize":"2MB""#),
        "{layer}"
    );
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_group_is_its_owners_with_the_files_that_the_kernel_names_and_no_others() {
    if !requires::cgroup_v2() || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let path = plan(&dir, &format!(r#"{{"cgroupsPath":"{}","owner":4711}}"#, group.path()));
    let here = format!("/sys/fs/cgroup{}", group.path());
    let line = format!(
        "runner --plan {} -- bash -c 'cd {here} && stat -c \"%u %n\" . cgroup.procs cgroup.max.depth && \
         setpriv --reuid 4711 --clear-groups mkdir below && rmdir below && ! setpriv --reuid 4711 --clear-groups bash -c \"echo 1 >cgroup.freeze\" 2>&-'",
        path.display()
    );
    let out = v2_view(&line).run();
    assert_eq!(out.succeeds().stdout, "4711 .\n4711 cgroup.procs\n0 cgroup.max.depth\n");
    group.expect_gone();
    leftovers.check();
}
