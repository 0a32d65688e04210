//! `linux.netDevices`: what the specification says of them, from `create` to `delete`. Each test is in a network namespace of
//! its own, whose devices are the runtime's.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Output, requires, shell};
use common::Bundle;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A container whose network namespace is new, or the one at `path`, and that gets v0 under `name`.
fn bundle(command: &str, path: Option<&str>, name: Value) -> Bundle {
    let bundle = Bundle::sh(command).set("/linux/netDevices", json!({"v0": name}));
    let mut namespaces = bundle.config["linux"]["namespaces"].clone();
    for ns in namespaces.as_array_mut().unwrap() {
        if let (true, Some(path)) = (ns["type"] == "network", path) {
            ns["path"] = json!(path);
        }
    }
    bundle.set("/linux/namespaces", namespaces)
}

/// `line` where there are v0, with an address, and v1; `$R` is the runner with its state, `$B` the bundle, `$ID` its id.
fn run(bundle: &Bundle, line: &str) -> Output {
    let runner = format!("runner --root {}", bundle.state.path().display());
    let devices = "ip link add v0 type veth peer name v1 && ip address add 10.1.0.1/24 brd + dev v0 && ip link set v0 mtu 1789";
    shell("exec unshare -n bash -c \"$LINE\"")
        .env("LINE", format!("{devices} && {line}"))
        .env("R", runner)
        .env("B", bundle.dir())
        .env("ID", &bundle.id)
        .run()
}

const LOOK: &str = "cat /proc/net/dev | grep -o '[a-z]*[0-9]:'; cat /sys/class/net/*/mtu; ip address show";

#[test]
fn a_new_network_namespace_gets_the_device() {
    if !requires::veth() {
        return;
    }
    let bundle = bundle(LOOK, None, json!({}));
    let out = run(&bundle, "$R run -b $B $ID; echo $?; ip -br link | cut -d@ -f1");
    assert!(out.stdout.contains("v0:") && out.stdout.contains("inet 10.1.0.1/24 brd 10.1.0.255"), "{out:?}");
    assert!(out.stdout.contains("1789") && out.stdout.contains("UP"), "{out:?}");
}

#[test]
fn a_template_is_the_kernels_to_fill_in() {
    if !requires::veth() {
        return;
    }
    let bundle = bundle(LOOK, None, json!({"name": "eth%d"}));
    let out = run(&bundle, "$R run -b $B $ID");
    assert!(out.succeeds().stdout.contains("eth0:") && out.stdout.contains("inet 10.1.0.1/24"), "{out:?}");
}

#[test]
fn a_namespace_of_somebody_else_keeps_it_after_delete() {
    if !requires::veth() {
        return;
    }
    let dir = catena_tests::TempDir::new();
    let ns = dir.path().join("ns");
    std::fs::write(&ns, "").unwrap();
    let ns = ns.to_str().unwrap();
    let bundle = bundle("sleep 20", Some(ns), json!({"name": "ctr0"}));
    // The shell stays to the end: its namespace has the other end of the pair.
    let out = run(
        &bundle,
        &format!(
            "exec unshare -m --propagation private bash -c 'unshare -n mount --bind /proc/self/ns/net {ns} && \
             $R run -d -b $B $ID </dev/null >/dev/null && $R delete --force $ID && \
             nsenter --net={ns} ip address show dev ctr0; exit $?'"
        ),
    );
    assert!(out.succeeds().stdout.contains("inet 10.1.0.1/24") && out.stdout.contains("mtu 1789"), "{out:?}");
}

/// The same container, whose root is 200000 of the host.
fn with_a_user_namespace(bundle: Bundle) -> Bundle {
    for folder in [PathBuf::from(bundle.dir()), bundle.rootfs.path()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let range = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
    bundle
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", range.clone())
        .set("/linux/gidMappings", range)
}

#[test]
fn a_user_namespace_gets_the_device_too() {
    if !requires::veth() {
        return;
    }
    let look = format!("cat /proc/self/uid_map /proc/sys/net/ipv4/conf/ctr0/forwarding; {LOOK}");
    let bundle = with_a_user_namespace(bundle(&look, None, json!({"name": "ctr%d"})))
        .set("/linux/sysctl", json!({"net.ipv4.conf.ctr0.forwarding": "1"}));
    let out = run(&bundle, "$R run -b $B $ID; echo $?; ip -br link | cut -d@ -f1");
    let words: Vec<&str> = out.stdout.split_whitespace().take(4).collect();
    assert_eq!(words, ["0", "200000", "65536", "1"], "{out:?}");
    for there in ["ctr0:", "inet 10.1.0.1/24 brd 10.1.0.255", "1789", "UP"] {
        assert!(out.stdout.contains(there), "{there}: {out:?}");
    }
}

#[test]
fn a_container_that_does_not_come_to_be_keeps_no_device() {
    if !requires::veth() {
        return;
    }
    let makes: [fn(Bundle) -> Bundle; 2] = [std::convert::identity, with_a_user_namespace];
    for make in makes {
        let missing =
            json!({"destination": "/x", "type": "bind", "source": "/catena-none", "options": ["bind"]});
        let bundle = make(bundle("echo ran", None, json!({"name": "eth%d"}))).set("/mounts/-", missing);
        let out = run(&bundle, "$R run -b $B $ID; echo $?; $R list -q; ip address show dev v0");
        assert!(out.stderr.contains("/catena-none") && !out.stdout.contains("ran"), "{out:?}");
        assert!(out.stdout.starts_with("1\n") && !out.stdout.contains(&bundle.id), "{out:?}");
        assert!(out.stdout.contains("inet 10.1.0.1/24") && out.stdout.contains("mtu 1789"), "{out:?}");
    }
}

#[test]
fn what_cannot_be_moved_makes_no_container() {
    if !requires::veth() {
        return;
    }
    for (edit, text) in [
        (json!({"none": {}}), "there is no such device"),
        (json!({"v0": {"name": "lo"}}), "there is a lo in the namespace already"),
        (json!({"v0": {"name": "a/b"}}), "not a name of a network device"),
    ] {
        let bundle = bundle("echo ran", None, json!({})).set("/linux/netDevices", edit);
        let out = run(&bundle, "$R run -b $B $ID; echo $?; $R list -q; ip -br link | cut -d@ -f1");
        assert!(out.stderr.contains(text) && !out.stdout.contains("ran"), "{out:?}");
        assert!(out.stdout.starts_with("1\n") && out.stdout.lines().any(|l| l.starts_with("v0")), "{out:?}");
        assert!(!out.stdout.contains(&bundle.id), "{out:?}");
    }
    let bundle = bundle("echo ran", None, json!({}));
    let mut namespaces = bundle.config["linux"]["namespaces"].clone();
    namespaces.as_array_mut().unwrap().retain(|ns| ns["type"] != "network");
    let bundle = bundle.set("/linux/namespaces", namespaces);
    let out = run(&bundle, "$R run -b $B $ID");
    assert!(out.status == 1 && out.stderr.contains("no network namespace is made or joined"), "{out:?}");
}
