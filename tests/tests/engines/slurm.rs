//! Slurm: beyond one machine an existing engine does the work.

use catena_tests::engines::Slurm;
use catena_tests::{Probe, rootfs, until};

#[test]
fn srun_runs_a_bundle_on_both_nodes() {
    let Some(slurm) = Slurm::start() else { return };
    let root = rootfs();
    let bundle = format!("--container={}", slurm.bundle(&root).display());
    let srun = |words: &[&str]| slurm.command(&[&["srun", "-N2", "-n2", &bundle], words].concat());

    let file = |task: &str| slurm.place().dir.join(format!("probe.{task}"));
    let output = format!("--output={}", file("%t").display());
    let out = srun(&[&output, "/probe"]).run();
    assert_eq!(out.status, 0, "{out:#?}");
    let probes = ["0", "1"].map(|task| std::fs::read_to_string(file(task)).unwrap());
    let probes = probes.map(|json| serde_json::from_str::<Probe>(&json).unwrap());
    for (node, probe) in ["n1", "n2"].iter().zip(&probes) {
        probe.expect_ns_differs(&["mount", "pid", "ipc", "uts"]).expect_no_new_privs(true);
        let cgroup = format!("{}.{node}.root.", slurm.place().parent);
        assert!(probe.cgroup.iter().all(|l| l.contains(&cgroup)), "{node}: {:?}", probe.cgroup);
    }

    srun(&["sh", "-c", "exit 7"]).run().fails(7, "Exited with exit code 7");
    srun(&["no-such-program"]).run().fails(1, "cannot run no-such-program");
    until("the runner knows of no container", || slurm.known_to_runner().is_empty());
}

/// What is cancelled ends, and leaves no container.
#[test]
fn scancel_ends_the_containers_of_both_nodes() {
    let Some(slurm) = Slurm::start() else { return };
    let root = rootfs();
    let bundle = format!("--container={}", slurm.bundle(&root).display());
    let mut running =
        slurm.command(&["srun", "-N2", "-n2", &bundle, "sh", "-c", "echo up; sleep 99"]).spawn();
    assert_eq!((running.line().as_str(), running.line().as_str()), ("up", "up"));
    assert_eq!(slurm.known_to_runner().len(), 2, "{:?}", slurm.known_to_runner());
    slurm.command(&["scancel", "--user=root"]).run().succeeds();
    let out = running.wait();
    assert!(out.status != 0, "{out:#?}");
}
