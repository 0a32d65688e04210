//! podman's `container checkpoint` and `container restore`, with Debian 13's criu.

use catena_tests::engines::{Engine, Podman};

/// It prints one number a line, and never the same twice.
const COUNTS: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";

/// The numbers so far.
fn numbers(podman: &Podman, name: &str) -> Vec<usize> {
    let text = podman.ok(&["logs", name]);
    text.lines().map(|line| line.trim().parse().expect("a number")).collect()
}

/// It counts on from `then`, and leaves out none.
#[track_caller]
fn counts_on(podman: &Podman, name: &str, then: usize) -> usize {
    podman.logs(name, &(then + 3).to_string());
    let numbers = numbers(podman, name);
    let first = *numbers.first().expect("it counts");
    assert!(first <= then + 1, "it went on at {first}, not at {}", then + 1);
    assert_eq!(numbers, (first..first + numbers.len()).collect::<Vec<_>>());
    first + numbers.len() - 1
}

/// What `podman ps -a` says of a container: `Up` or `Exited`.
fn listed(podman: &Podman, name: &str) -> String {
    let filter = format!("--filter=name=^{name}$");
    let line = podman.ok(&["ps", "--all", &filter, "--format", "{{.Status}}"]);
    line.split(' ').next().unwrap_or_default().to_string()
}

#[track_caller]
fn runs(podman: &Podman, name: &str, wanted: bool) {
    podman.becomes("{{.State.Status}}", name, if wanted { "running" } else { "exited" });
    assert_eq!(listed(podman, name), if wanted { "Up" } else { "Exited" });
}

fn archive(podman: &Podman, name: &str) -> String {
    podman.place().dir.join(name).display().to_string()
}

#[test]
fn a_container_is_taken_away_and_goes_on() {
    let Some(podman) = Podman::start_with_criu() else { return };
    for options in [&["--name=plain"][..], &["--name=terminal", "--tty"]] {
        let name = options[0].trim_start_matches("--name=");
        let id = podman.start(options, &["sh", "-c", COUNTS]);
        counts_on(&podman, name, 0);
        // podman gives the runtime this flag twice then.
        podman.ok(&["container", "checkpoint", "--keep", "--leave-running", name]);
        runs(&podman, name, true);
        counts_on(&podman, name, numbers(&podman, name).len());
        podman.ok(&["container", "checkpoint", name]);
        runs(&podman, name, false);
        assert!(podman.known_to_runner().is_empty());
        let then = numbers(&podman, name).len();
        podman.ok(&["container", "restore", name]);
        runs(&podman, name, true);
        assert_eq!(podman.known_to_runner(), [id]);
        let before = counts_on(&podman, name, then);
        assert_eq!(numbers(&podman, name)[0], 1);
        podman.ok(&["exec", name, "true"]);
        // It is a container like others, and once more.
        podman.ok(&["container", "checkpoint", name]);
        podman.ok(&["container", "restore", name]);
        counts_on(&podman, name, before);
        podman.ok(&["stop", "--time=0", name]);
        runs(&podman, name, false);
        podman.ok(&["rm", name]);
    }
}

/// One archive, two containers; one of them is exported again.
#[test]
fn exported_it_goes_on_under_other_names() {
    let Some(podman) = Podman::start_with_criu() else { return };
    let (first, second) = (archive(&podman, "first.tar.gz"), archive(&podman, "second.tar.gz"));
    let kept = podman.place().dir.file("volume/kept", "");
    let volume = format!("--volume={}:/volume", kept.parent().unwrap().display());
    let options = ["--name=one", &volume, "--tmpfs=/scratch", "--hostname=inside"];
    podman.start(&options, &["sh", "-c", COUNTS]);
    counts_on(&podman, "one", 0);
    podman.ok(&["exec", "one", "touch", "/new", "/scratch/new"]);
    let stats = podman.ok(&["container", "checkpoint", "--print-stats", "--export", &first, "one"]);
    assert!(stats.contains("\"pages_written\""), "{stats}");
    let then = numbers(&podman, "one").len();
    podman.ok(&["rm", "one"]);
    for name in ["two", "three"] {
        podman.ok(&["container", "restore", "--import", &first, "--name", name]);
        runs(&podman, name, true);
        counts_on(&podman, name, then);
        podman.ok(&["exec", name, "ls", "/new", "/scratch/new", "/volume/kept"]);
        assert_eq!(podman.ok(&["exec", name, "hostname"]), "inside");
    }
    podman.ok(&["container", "checkpoint", "--export", &second, "two"]);
    runs(&podman, "two", false);
    runs(&podman, "three", true);
    let then = *numbers(&podman, "two").last().expect("it counts");
    podman.ok(&["container", "restore", "--import", &second, "--name", "four"]);
    counts_on(&podman, "four", then);
    runs(&podman, "four", true);
}

/// Root of its user namespace may look neither into podman's storage nor into the images.
#[test]
fn one_with_mapped_ids_comes_back() {
    let Some(podman) = Podman::start_with_criu() else { return };
    let export = archive(&podman, "mapped.tar.gz");
    let map = ["--name=mapped", "--uidmap=0:100000:1000", "--gidmap=0:100000:1000"];
    podman.start(&map, &["sh", "-c", COUNTS]);
    counts_on(&podman, "mapped", 0);
    podman.ok(&["container", "checkpoint", "--export", &export, "mapped"]);
    runs(&podman, "mapped", false);
    let then = numbers(&podman, "mapped").len();
    podman.ok(&["container", "restore", "mapped"]);
    counts_on(&podman, "mapped", then);
    podman.ok(&["container", "restore", "--import", &export, "--name=other"]);
    counts_on(&podman, "other", then);
    let uids = podman.ok(&["exec", "other", "cat", "/proc/1/uid_map"]);
    assert_eq!(uids.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "1000"]);
}

/// podman asks a runtime whether it can by an option without its argument.
#[test]
fn into_a_pod_it_comes_back_in_its_namespaces() {
    let Some(podman) = Podman::start_with_criu() else { return };
    let export = archive(&podman, "pod.tar.gz");
    let pod = podman.pod("pod");
    podman.start_in_pod(&pod, "member", COUNTS);
    counts_on(&podman, "member", 0);
    podman.ok(&["container", "checkpoint", "--export", &export, "member"]);
    let then = numbers(&podman, "member").len();
    podman.ok(&["rm", "member"]);
    let other = podman.pod("other");
    podman.ok(&["container", "restore", "--import", &export, "--pod", &other]);
    runs(&podman, "member", true);
    counts_on(&podman, "member", then);
    let line = "for n in ipc uts; do readlink /proc/self/ns/$n; done";
    let member = podman.ok(&["exec", "member", "sh", "-c", line]);
    assert_eq!(member, podman.in_pod("other", line));
    assert_ne!(member, podman.in_pod("pod", line));
    podman.remove_pods();
}
