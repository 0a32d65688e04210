//! A pod of Kubernetes, as a kubelet asks containerd for one.

use catena_tests::engines::Cri;

#[test]
fn a_pod_with_the_handler_of_a_runtime_class() {
    let Some(cri) = Cri::start() else { return };
    let pod = cri.sandbox("catena");
    assert_eq!(cri.known_to_runner(), [pod.as_str()]);
    let one = cri.container(&pod, &["sleep", "99"]).unwrap();
    let other = cri.container(&pod, &["sh", "-c", "exit 3"]).unwrap();
    assert!(cri.known_to_runner().contains(&one));

    let (output, status) =
        cri.exec(&one, &["sh", "-c", "cat /etc/image; readlink /proc/self/ns/ipc; exit 3"]);
    assert!(output.starts_with("sacred\nipc:") && status == 3, "{status}: {output}");
    // The pod's first process is the sandbox's.
    let (ids, _) = cri.exec(&one, &["sh", "-c", "cat /proc/1/cgroup; echo; cat /proc/self/cgroup"]);
    let (first, own) = ids
        .split_once(
            "

",
        )
        .unwrap();
    assert!(first.contains(&pod) && own.contains(&one), "{ids}");
    cri.limit_memory(&one, 64 << 20);
    let read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(cri.exec(&one, &["sh", "-c", read]).0, "67108864\n");
    let why = cri.container(&pod, &["no-such-program"]).unwrap_err();
    assert!(why.contains("cannot run no-such-program"), "{why}");
    cri.stop(&one);
    cri.stop(&other);
    cri.remove(&pod);
    assert!(cri.known_to_runner().is_empty(), "{:?}", cri.known_to_runner());
}
