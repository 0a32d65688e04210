//! Containers that count, taken off the machine and brought back with a real criu.

use super::Bundle;
use catena_tests::{Output, shell, until};
use serde_json::json;
use std::path::PathBuf;

/// Whether /sys/fs/cgroup is cgroup v2 and nothing else.
pub fn v2_alone() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// It writes one number a line into /count, and never the same twice.
pub const COUNTS: &str = "while :; do i=$((i+1)); echo $i >>/count; sleep 0.02; done";

pub fn counter() -> Bundle {
    counting(COUNTS)
}

pub fn counting(line: &str) -> Bundle {
    Bundle::sh(line).set("/root/readonly", json!(false))
}

/// The numbers so far.
pub fn numbers(bundle: &Bundle) -> Vec<usize> {
    let text = std::fs::read_to_string(bundle.rootfs.path().join("count")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

/// It counts on from where it is, and nobody counts beside it.
#[track_caller]
pub fn counts_on(bundle: &Bundle) {
    let then = numbers(bundle).len();
    until("it counts on", || numbers(bundle).len() > then + 3);
    let numbers = numbers(bundle);
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

pub fn images(bundle: &Bundle) -> PathBuf {
    bundle.rootfs.parent().join("img")
}

pub fn checkpoint<const N: usize>(bundle: &Bundle, flags: [&str; N]) -> Output {
    bundle.runner(["checkpoint", "--image-path"]).arg(images(bundle)).args(flags).arg(&bundle.id).run()
}

/// Detached; its output would keep our pipes open for as long as the container lives.
pub fn restore(bundle: &Bundle, flags: &str) -> Output {
    let (root, dir, img) = (bundle.state.path().display(), bundle.dir(), images(bundle));
    let line = format!(
        "runner --root {root} restore -d --bundle {dir} --image-path {} {flags} {} >{dir}/out2 2>{dir}/err </dev/null; \
         s=$?; cat {dir}/err >&2; exit $s",
        img.display(),
        bundle.id
    );
    shell(&line).run()
}
