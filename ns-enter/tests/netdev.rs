//! Network devices: what moves in keeps its addresses and comes back, also when the command never ran; what cannot move
//! stays where it is. Each test is in a network namespace of its own, whose devices are the host's to the tool.
#![allow(clippy::unwrap_used, reason = "tests")]

mod target;

use catena_tests::{Output, StatusLog, Tool, requires, shell, tool};
use serde_json::{Value, json};

/// Two devices, v0 and its peer v1, and what stands in `line`.
fn net(line: &str) -> Tool {
    let line = format!("ip link add v0 type veth peer name v1 || exit; {line}");
    shell("exec unshare -n bash -c \"$LINE\"").env("LINE", line)
}

/// `ip -j address` on a line of its own.
const SHOW: &str = "ip -j address show dev";

/// The documents that a line printed.
fn shown(out: &Output) -> Vec<Value> {
    let lines = out.stdout.lines().filter(|line| line.starts_with('['));
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()[0].clone()).collect()
}

/// The addresses of a device, without what belongs to the place and the moment.
fn addresses(device: &Value) -> Vec<Value> {
    let mut list = device["addr_info"].as_array().unwrap().clone();
    list.retain(|a| a["scope"] == "global");
    for address in &mut list {
        for gone in ["tentative", "label"] {
            address.as_object_mut().unwrap().remove(gone);
        }
    }
    list
}

const ADDRESSES: &str = "ip link set v0 mtu 1400 address 02:00:00:00:00:77 \
    && ip address add 10.1.0.1/24 brd 10.1.0.255 label v0:web dev v0 \
    && ip address add 10.1.0.2/24 dev v0 noprefixroute \
    && ip address add 10.3.0.1 peer 10.3.0.9/32 dev v0 metric 77 \
    && ip address add 10.4.0.1/24 dev v0 preferred_lft 0 \
    && ip address add fd00:77::1/64 dev v0 nodad noprefixroute";

#[test]
fn a_device_moves_with_every_attribute_of_its_addresses_and_comes_back() {
    if !requires::veth() {
        return;
    }
    let line = format!(
        "{ADDRESSES} && ip link set v0 up && {SHOW} v0 \
         && ns-enter -N -n --netdev v0=eth%d -- {SHOW} eth0 && {SHOW} v0"
    );
    let out = net(&line).run();
    let [before, inside, after] = shown(out.succeeds()).try_into().unwrap();
    assert_eq!(addresses(&before).len(), 5, "{before:#}");
    for now in [&inside, &after] {
        assert_eq!(addresses(now), addresses(&before), "{now:#}");
        assert_eq!((&now["mtu"], &now["address"]), (&json!(1400), &json!("02:00:00:00:00:77")));
        assert!(now["flags"].as_array().unwrap().contains(&json!("UP")), "{now:#}");
    }
    let labels = |device: &Value| device["addr_info"][0]["label"].clone();
    assert_eq!((labels(&inside), labels(&after)), (json!("eth0:web"), json!("v0:web")));
}

#[test]
fn addresses_that_mean_nothing_elsewhere_stay_behind() {
    if !requires::veth() {
        return;
    }
    let line = format!(
        "ip address add 127.0.0.33/8 dev v0 && ip address add 169.254.1.1/16 scope link dev v0 \
         && ip address add 10.9.0.1/24 dev v0 valid_lft 600 preferred_lft 600 && ip address add 10.1.0.1/24 dev v0 \
         && exec ns-enter -N -n --netdev v0 -- {SHOW} v0"
    );
    let inside = shown(net(&line).run().succeeds()).remove(0);
    let found: Vec<&Value> = inside["addr_info"].as_array().unwrap().iter().map(|a| &a["local"]).collect();
    let found: Vec<_> = found.into_iter().filter(|a| !a.as_str().unwrap().starts_with("fe80")).collect();
    assert_eq!(found, [&json!("10.1.0.1")]);
}

#[test]
fn a_device_that_was_down_is_up_inside_and_down_afterwards() {
    if !requires::veth() {
        return;
    }
    let line = format!("ip link set v1 up; ns-enter -N -n --netdev v0 -- {SHOW} v0 && {SHOW} v0");
    let [inside, after] = shown(net(&line).run().succeeds()).try_into().unwrap();
    let up = |device: &Value| device["flags"].as_array().unwrap().contains(&json!("UP"));
    assert!(up(&inside) && !up(&after));
}

#[test]
fn what_the_command_changed_is_as_it_was() {
    if !requires::veth() {
        return;
    }
    let change = "ip link set eth0 down; ip link set eth0 mtu 1300 address 02:00:00:00:00:01; ip address flush dev eth0; \
        ip link set eth0 name other; ip address add 10.6.6.6/8 dev other";
    let line = format!("{ADDRESSES} && ns-enter -N -n --netdev v0=eth0 -- sh -c '{change}' && {SHOW} v0");
    let after = shown(net(&line).run().succeeds()).remove(0);
    assert_eq!(addresses(&after).len(), 5, "{after:#}");
    assert_eq!((&after["mtu"], &after["address"]), (&json!(1400), &json!("02:00:00:00:00:77")));
}

#[test]
fn a_template_is_filled_in_where_its_first_names_are_taken() {
    if !requires::veth() {
        return;
    }
    let line = "ip link add v2 type veth peer name v3 && ip link add v4 type veth peer name v5 \
        && exec ns-enter -N -n --netdev v0=eth%d --netdev v2=eth%d --netdev v4=x%d --status-fd 9 -- ls /sys/class/net";
    let log = StatusLog::new();
    net(line).fd(log.fd(), 9).run().succeeds();
    let told = log.of("receipt")[0]["receipt"]["applied"]["netDevices"].clone();
    assert_eq!(told, json!([["v0", "eth0"], ["v2", "eth1"], ["v4", "x0"]]));
    // In a namespace that has an eth0, a device of that name gets the next one too.
    let line = "ip link set v0 name eth0; unshare -n sh -c 'ip link add eth0 type veth; echo $$; exec sleep 20' | { \
        read pid; ns-enter -N --join net=/proc/$pid/ns/net --netdev eth0=eth%d -- sh -c 'ip -br link | cut -d@ -f1'; kill $pid; }";
    let out = net(line).run();
    assert!(out.succeeds().stdout.lines().any(|l| l == "eth1"), "{out:?}");
}

/// Nothing runs, and both devices are where they were.
#[track_caller]
fn refused(options: &str, text: &str) {
    let line = format!("{ADDRESSES} && {SHOW} v0; ns-enter -N {options} -- echo ran; echo $?; {SHOW} v0");
    let out = net(&line).run();
    assert!(out.stderr.contains(text) && !out.stdout.contains("ran"), "{options}: {out:?}");
    assert!(out.stdout.lines().any(|l| l == "125"), "{options}: {out:?}");
    let [before, after] = shown(&out).try_into().unwrap();
    assert_eq!(addresses(&before), addresses(&after), "{options}");
}

#[test]
fn what_cannot_be_moved_stays_and_the_command_does_not_run() {
    if !requires::veth() {
        return;
    }
    refused("-n --netdev none", "cannot move the network device none: there is no such device");
    refused("-n --netdev v0 --netdev none", "there is no such device");
    refused("-n --netdev v0 --netdev v1=v0", "two devices are to be called v0");
    refused("-n --netdev v0=lo", "there is a lo in the namespace already");
    refused("-n --netdev v0 --netdev lo=lo2", "cannot move the network device lo: netlink(RTM_NEWLINK)");
    refused("-n --netdev v0=a/b", "not a name of a network device");
    refused("-n --netdev v0=", "the name is empty");
    refused("-n --netdev v0 --netdev v0", "a second time");
    refused("-u --netdev v0", "no network namespace is made or joined");
    refused("-Un --netdev v0", "another user namespace");
    refused("-n --netdev v0 -p --no-fork", "noFork and giveBack exclude each other");
    // What fails after it has moved: a parameter of the device that there is none of.
    refused("-n --netdev v0=eth0 --sysctl net.ipv4.conf.eth0.no_such=1", "no_such");
    refused("-n --netdev v0 --veth v1=eth0", "there is a v1 outside already");
}

#[test]
fn it_comes_back_whatever_becomes_of_the_command() {
    if !requires::veth() {
        return;
    }
    for (command, status) in [("/no/such/program", 127), ("sh -c 'kill -9 $$'", 137), ("sh -c 'exit 7'", 7)] {
        let line = format!("ns-enter -N -n --netdev v0=eth0 -- {command}; echo $?; {SHOW} v0");
        let out = net(&line).run();
        assert!(out.stdout.lines().any(|l| l == status.to_string()), "{command}: {out:?}");
        assert_eq!(shown(&out).len(), 1, "{command}: {out:?}");
    }
    // Whoever is asked to end gives it back first.
    let line = format!(
        "ns-enter -N -n --netdev v0=eth0 -- sh -c 'ls /sys/class/net; exec sleep 20' >&2 & \
         while ip link show v0 >/dev/null 2>&1; do :; done; kill $!; wait $!; echo $?; {SHOW} v0"
    );
    let out = net(&line).run();
    assert!(out.stdout.lines().any(|l| l == "143") && shown(&out).len() == 1, "{out:?}");
}

#[test]
fn a_device_that_the_command_removed_is_told_of() {
    if !requires::veth() {
        return;
    }
    let out = net("exec ns-enter -N -n --netdev v0 -- ip link del v0").run();
    assert!(out.status == 0 && out.stderr.contains("the network device v0 is gone"), "{out:?}");
}

#[test]
fn its_parameters_can_be_set() {
    if !requires::veth() {
        return;
    }
    let line = "exec ns-enter -N -n --netdev v0=eth0 --sysctl net/ipv4/conf/eth0/forwarding=1 -- \
        cat /proc/sys/net/ipv4/conf/eth0/forwarding";
    assert_eq!(net(line).run().succeeds().stdout, "1\n");
}

#[test]
fn a_config_moves_a_device_and_leaves_it_to_the_owner_of_the_namespace() {
    if !requires::veth() {
        return;
    }
    // The specification: the runtime does not take it out again.
    let config = r#"{"ociVersion":"1.3.0","linux":{"namespaces":[{"type":"network","path":"'$ns'"}],"netDevices":{"v0":{"name":"ctr0"}}}}"#;
    let line = format!(
        "{ADDRESSES}; unshare -n sh -c 'echo $$; exec sleep 20' | {{ read pid; ns=/proc/$pid/ns/net; \
         dir=$(mktemp -d); echo '{config}' >$dir/config.json; ns-enter -N --oci $dir/config.json -- {SHOW} ctr0; echo $?; \
         rm -r $dir; nsenter --net=$ns {SHOW} ctr0; kill $pid; }}; ip -br link | cut -d@ -f1"
    );
    let out = net(&line).run();
    let [inside, later] = shown(&out).try_into().unwrap_or_else(|_| panic!("{out:?}"));
    assert_eq!((addresses(&inside).len(), addresses(&later).len()), (5, 5));
    assert!(!out.stdout.lines().any(|l| l == "v0"), "{out:?}");
}

#[test]
fn a_pair_is_a_network_of_two() {
    if !requires::veth() {
        return;
    }
    let options = "--veth box,10.9.0.1/24,fd09::1/64=eth0,10.9.0.2/24,fd09::2/64";
    // The end outside is looked at while the command waits for what is seen.
    let line = format!(
        "{{ for i in {{1..2000}}; do ip address show box 2>/dev/null | grep -q fd09: && break; sleep 0.01; done; {SHOW} box; }} | \
         ns-enter -N -n {options} -- sh -c 'cat; {SHOW} eth0'; \
         for i in {{1..2000}}; do ip link show box >/dev/null 2>&1 || break; sleep 0.01; done; ip -br link | cut -d@ -f1"
    );
    let out = net(&line).run();
    let both = shown(out.succeeds());
    assert_eq!(both.len(), 2, "{out:?}");
    for (device, name, ip) in [("box", "box", "1"), ("eth0", "eth0", "2")] {
        let device = both.iter().find(|d| d["ifname"] == device).unwrap();
        let found: Vec<_> = addresses(device)
            .iter()
            .map(|a| format!("{}/{}", a["local"].as_str().unwrap(), a["prefixlen"]))
            .collect();
        assert_eq!(found, [format!("10.9.0.{ip}/24"), format!("fd09::{ip}/64")], "{name}");
    }
    // Its end is the end of both; the kernel takes its time for that.
    assert!(!out.stdout.lines().any(|l| l == "box"), "{out:?}");
    refused("-n --veth box=v0,10.9.0.2/99", "as 10.0.0.1/24");
    refused("-n --veth box,10.9.0.1/24=eth0,10.9.0.2/24,10.9.0.2/24", "give eth0 the address 10.9.0.2/24");
    refused("--join net=/proc/$PPID/ns/net --veth box=eth0", "only a new network namespace takes one");
    refused("-n --veth box", "not OUTSIDE=INSIDE");
}

#[test]
fn an_ordinary_user_is_told_what_is_missing() {
    if !requires::root() || !target::user_namespaces() {
        return;
    }
    let out = target::as_user("ns-enter -N -n --netdev lo -- echo ran").run();
    out.refuses(125, "CLONE_NEWNET");
    let out = tool("ns-enter").args(["-n", "--netdev", "no-such"]).verb(["ran"]).run();
    out.refuses(125, "there is no such device");
}

#[test]
fn questions_move_nothing() {
    if !requires::veth() {
        return;
    }
    let line = format!(
        "ns-enter -N -n --netdev v0=eth0 --print; ns-enter -N -n --netdev v0=eth0 --check && {SHOW} v0"
    );
    let out = net(&line).run();
    assert!(out.succeeds().stdout.contains("device      v0 becomes eth0, and back at the end"), "{out:?}");
    assert!(out.stdout.contains("this host can do it") && shown(&out).len() == 1, "{out:?}");
    let out = net("exec ns-enter -N -n --netdev none --check").run();
    assert!(out.stderr.contains("there is no such device") && out.status == 125, "{out:?}");
}
