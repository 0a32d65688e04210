//! A v1 cpuset beside one that has a CPU for itself alone, which holds for the whole host: so it is a test that nothing
//! runs beside.

mod common;

use catena_tests::{Leftovers, requires, tool};
use common::Group;

#[test]
fn beside_an_exclusive_cpuset_a_group_needs_cpus_of_its_own() {
    if !requires::cgroup_v1("cpuset") || !requires::cpus(2) {
        return;
    }
    let leftovers = Leftovers::watch();
    let mount = requires::cgroup_mount("cpuset").unwrap();
    let whole = std::fs::read_to_string(mount.join("cpuset.cpus")).unwrap();
    let last: u32 = whole.trim().rsplit(['-', ',']).next().unwrap().parse().unwrap();
    let other = Group::new();
    let dir = other.dir("cpuset");
    std::fs::create_dir(&dir).unwrap();
    for (file, value) in [("cpus", &*last.to_string()), ("mems", "0"), ("cpu_exclusive", "1")] {
        std::fs::write(dir.join(format!("cpuset.{file}")), value).unwrap();
    }

    // What its parent has would be one CPU too many, and it is not what was asked for.
    let group = Group::new();
    let run = tool("cg-apply").args(["--cgroup", group.path(), "--cpuset-cpus", "0"]);
    assert_eq!(run.probe().cpus, [0]);
    let run = tool("cg-apply").args(["--cgroup", group.path(), "--cpuset-cpus", &last.to_string()]);
    run.command(["echo", "ran"]).run().refuses(125, "cpuset.cpus");
    // Where nobody says which CPUs, or one may do without, the parent's are what there is.
    for args in [&["--pids", "9"][..], &["--cpuset-cpus", "0", "--try", "resources.cpu"]] {
        let run = tool("cg-apply").args(["--cgroup", group.path()]).args(args).command(["echo", "ran"]).run();
        run.refuses(125, "another child may have some of them for itself (cpuset.cpu_exclusive)");
    }
    group.expect_gone();
    drop(other);
    leftovers.check();
}
