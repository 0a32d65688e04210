//! A v1 cpuset beside one that has a CPU for itself alone, which holds for the whole host: so it is a test that nothing
//! runs beside.

mod common;

use catena_tests::{Leftovers, Probe, requires, tool};
use common::Group;

#[test]
fn beside_an_exclusive_cpuset_a_group_needs_cpus_of_its_own() {
    if !requires::cgroup_v1("cpuset") || !requires::cpus(2) {
        return;
    }
    let leftovers = Leftovers::watch();
    let cpus = Probe::here().cpus;
    let (first, taken) = (cpus[0].to_string(), cpus[1].to_string());
    let other = Group::new();
    let dir = other.dir("cpuset");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("cpuset.cpus"), &taken).unwrap();
    if std::fs::write(dir.join("cpuset.cpu_exclusive"), "1").is_err() {
        requires::skip("needs a CPU that no other cpuset has");
        return;
    }

    // What its parent has would be one CPU too many, and it is not what was asked for.
    let group = Group::new();
    let run = tool("cg-apply").args(["--cgroup", group.path(), "--cpuset-cpus", &first]);
    assert_eq!(run.probe().cpus, cpus[..1]);
    let run = tool("cg-apply").args(["--cgroup", group.path(), "--cpuset-cpus", &taken]);
    run.command(["echo", "ran"]).run().refuses(125, "nothing that another child has for itself");
    // Where nobody says which CPUs, or one may do without, the parent's are what there is.
    for args in [&["--pids", "9"][..], &["--cpuset-cpus", &first, "--try", "resources.cpu"]] {
        let run = tool("cg-apply").args(["--cgroup", group.path()]).args(args).command(["echo", "ran"]).run();
        run.refuses(125, "another child may have some of them for itself (cpuset.cpu_exclusive)");
    }
    group.expect_gone();
    drop(other);
    leftovers.check();
}
