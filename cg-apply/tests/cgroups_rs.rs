//! The crate cgroups-rs: why cg-apply does not go through its `apply`, and that it reads of a group what cg-apply says.

mod common;

use catena_tests::{Leftovers, tool};
use cgroups_rs::fs::cgroup::Cgroup;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::hierarchies;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Controller, MaxValue, Resources};
use common::{Group, Version, controller};

/// The group as the crate finds it: by path, below what it takes for the hierarchies.
fn load(group: &Group) -> Cgroup {
    Cgroup::load(hierarchies::auto(), &group.path()[1..])
}

fn kept(group: &Group, args: &[&str]) {
    let run = tool("cg-apply").args(["--keep", "--cgroup", group.path()]).args(args);
    run.command(["true"]).run().succeeds();
}

#[test]
fn its_apply_passes_over_a_cpuset_that_the_kernel_refused() {
    let Some(_) = controller("cpuset") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    kept(&group, &["--cpuset-cpus", "0"]);
    let cgroup = load(&group);
    let cpuset: &CpuSetController = cgroup.controller_of().unwrap();
    // The kernel does refuse it, and the setter tells.
    cpuset.set_cpus("4000").unwrap_err();
    let mut wish = Resources::default();
    wish.cpu.cpus = Some("4000".into());
    cpuset.apply(&wish).expect("it says that all went well");
    cgroup.apply(&wish).expect("and so does the whole group");
    assert_eq!(group.read("cpuset", "cpuset.cpus"), "0", "nothing was done");
    let args = ["--cgroup", group.path(), "--cpuset-cpus", "4000"];
    tool("cg-apply").args(args).command(["echo", "ran"]).run().refuses(125, "cpuset.cpus");
    drop(group);
    leftovers.check();
}

#[test]
fn its_apply_passes_over_a_memory_limit_that_the_kernel_refused() {
    let Some(version) = controller("memory") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    kept(&group, &["-m", "64M", "--memory-swap", "64M"]);
    let cgroup = load(&group);
    let memory: &MemController = cgroup.controller_of().unwrap();
    memory.set_limit(-7).unwrap_err();
    let mut wish = Resources::default();
    wish.memory.memory_hard_limit = Some(-7);
    memory.apply(&wish).expect("it says that all went well");
    // Memory above memory and swap together, which v1 does not take.
    if version == Version::V1 {
        memory.set_limit(128 << 20).unwrap_err();
        wish.memory.memory_hard_limit = Some(128 << 20);
        memory.apply(&wish).expect("it says that all went well");
        cgroup.apply(&wish).expect("and so does the whole group");
        let args = ["--cgroup", group.path(), "-m", "128M"];
        tool("cg-apply").args(args).command(["echo", "ran"]).run().refuses(125, "(EINVAL)");
    }
    assert_eq!(memory.memory_stat().limit_in_bytes, 64 << 20, "nothing was done");
    drop(group);
    leftovers.check();
}

#[test]
fn its_swappiness_is_v2s_limit_of_swap() {
    if controller("memory") != Some(Version::V2) {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    kept(&group, &["-m", "64M", "--memory-swap", "128M"]);
    let cgroup = load(&group);
    let memory: &MemController = cgroup.controller_of().unwrap();
    memory.set_swappiness(60).unwrap();
    assert_eq!(group.read("memory", "memory.swap.max"), "0", "60 bytes, in whole pages");
    drop(group);
    leftovers.check();
}

#[test]
fn it_reads_what_cg_apply_wrote() {
    let Some(version) = controller("memory") else { return };
    let (Some(_), Some(_)) = (controller("pids"), controller("cpu")) else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let args = ["-m", "64M", "--memory-swap", "96M", "--memory-reservation", "32M", "--pids", "17"];
    let cpu_args = ["--cpu-shares", "512", "--cpu-quota", "20000", "--cpu-period", "50000"];
    let run = tool("cg-apply").args(["--cgroup", group.path()]).args(args).args(cpu_args);
    let mut running = run.verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    let cgroup = load(&group);
    assert_eq!(cgroup.v2(), version == Version::V2);

    let memory: &MemController = cgroup.controller_of().unwrap();
    let stat = memory.memory_stat();
    assert_eq!((stat.limit_in_bytes, stat.soft_limit_in_bytes), (64 << 20, 32 << 20));
    // Together in v1, swap alone in v2.
    let swap = if version == Version::V1 { 96 << 20 } else { 32 << 20 };
    assert_eq!(memory.memswap().limit_in_bytes, swap);

    let pids: &PidController = cgroup.controller_of().unwrap();
    assert_eq!(pids.get_pid_max().unwrap(), MaxValue::Value(17));
    assert_eq!(pids.get_pid_current().unwrap(), 1);

    let cpu: &CpuController = cgroup.controller_of().unwrap();
    let (shares, quota) = match version {
        Version::V1 => (512, 20_000),
        Version::V2 => (59, 20_000),
    };
    assert_eq!(cpu.shares().unwrap(), shares);
    assert_eq!((cpu.cfs_quota().unwrap(), cpu.cfs_period().unwrap()), (quota, 50_000));

    let inside: Vec<i32> = memory.procs().iter().map(|p| p.pid as i32).collect();
    assert_eq!(inside, group.procs());
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    group.expect_gone();
    leftovers.check();
}

#[test]
fn it_reads_the_cpuset_that_cg_apply_wrote() {
    let Some(_) = controller("cpuset") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    kept(&group, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]);
    let cgroup = load(&group);
    let found = cgroup.controller_of::<CpuSetController>().unwrap().cpuset();
    assert_eq!((found.cpus, found.mems), (vec![(0, 0)], vec![(0, 0)]));
    drop(group);
    leftovers.check();
}
