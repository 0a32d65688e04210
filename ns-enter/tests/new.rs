//! New namespaces: exactly those that were asked for, and nothing of what happens in there outside.

mod target;

use catena_tests::{Leftovers, Probe, StatusLog, TempDir, requires, shell, tool};
use target::{expect_exactly_new, kinds};

fn ns_enter(line: &str) -> Probe {
    tool("ns-enter").args(line.split_whitespace()).probe()
}

#[test]
fn each_kind_alone() {
    if !requires::root() {
        return;
    }
    for (letter, long, name) in kinds() {
        expect_exactly_new(&ns_enter(letter), &[name]);
        expect_exactly_new(&ns_enter(&format!("--unshare {long}")), &[name]);
        expect_exactly_new(&ns_enter(&format!("--unshare={name}")), &[name]);
        let flag = if long == "network" { "net" } else { long };
        expect_exactly_new(&ns_enter(&format!("--{flag}")), &[name]);
    }
}

#[test]
fn every_pair() {
    if !requires::root() {
        return;
    }
    for (first, _, one) in kinds() {
        for (second, _, other) in kinds().into_iter().filter(|(letter, ..)| *letter > first) {
            expect_exactly_new(&ns_enter(&format!("{first} {second}")), &[one, other]);
        }
    }
}

#[test]
fn all_together() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let every: Vec<&str> = kinds().iter().map(|k| k.2).collect();
    let letters: Vec<&str> = kinds().iter().map(|k| k.0).collect();
    expect_exactly_new(&ns_enter(&letters.join(" ")), &every);
    // With privilege, all needs no user namespace.
    let all: Vec<&str> = every.iter().copied().filter(|n| *n != "user").collect();
    let without_time = if all.contains(&"time") { "" } else { "--share time" };
    expect_exactly_new(&ns_enter(&format!("--unshare all {without_time}")), &all);
    let some: Vec<&str> = all.iter().copied().filter(|n| !["net", "time", "uts"].contains(n)).collect();
    expect_exactly_new(&ns_enter("--unshare all --share network,time --share uts"), &some);
    leftovers.check();
}

#[test]
fn asked_for_twice_is_asked_for() {
    if !requires::root() {
        return;
    }
    expect_exactly_new(&ns_enter("-u --unshare uts,uts,ipc"), &["uts", "ipc"]);
}

#[test]
fn the_command_is_as_it_would_be_without() {
    if !requires::root() {
        return;
    }
    let seen = ns_enter("-muinC");
    seen.expect_only_std_fds().expect_plain_signals().expect_user(0, 0, &Probe::here().groups);
    assert!(!seen.env.contains_key("CATENA_STATE"));
    assert_eq!((seen.dumpable, seen.pdeathsig), (Some(1), Some(0)));
    assert_eq!(seen.caps, Probe::here().caps);
    assert_eq!(seen.cwd, Probe::here().cwd);
    assert_eq!(seen.hostname, Probe::here().hostname);
}

#[test]
fn a_new_user_namespace_without_maps_makes_the_command_nobody_and_later_links_able() {
    if !requires::root() {
        return;
    }
    let seen = ns_enter("-Un");
    seen.expect_caps(&[]).expect_only_std_fds();
    assert_eq!((seen.uid, seen.uid_map.as_deref()), (65_534, Some(&[][..])));
    let line = "ns-enter -Um -- rootfs-prep --tmpfs /mnt -- \"$PROBE\"";
    let seen = shell(line).run().probe();
    seen.expect_mounted("/mnt", "tmpfs");
    seen.expect_caps(&[]);
}

#[test]
fn a_mount_made_inside_is_not_seen_outside_nor_the_other_way_round() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    for name in ["inside", "outside"] {
        std::fs::create_dir(dir.join(name)).expect("a folder can be made");
    }
    // Both sides in a mount namespace of the test's own, where everything is shared; each waits for the other's mount.
    let inside = dir.file(
        "inside.sh",
        "mount -t tmpfs inner inside; touch made-inside; until [ -e made-outside ]; do sleep 0.01; done; \
        grep -c ' [^ ]*/outside ' /proc/self/mountinfo; umount inside",
    );
    let outside = dir.file(
        "outside.sh",
        "mount --make-rshared /; ns-enter -m -- bash inside.sh & until [ -e made-inside ]; do sleep 0.01; done; \
        grep -c ' [^ ]*/inside ' /proc/self/mountinfo; mount -t tmpfs outer outside; touch made-outside; wait",
    );
    assert!(inside.exists() && outside.exists());
    let out = shell("exec unshare -m bash outside.sh").cwd(&dir).run();
    assert_eq!(out.succeeds().stdout, "0\n0\n");
    let seen = ns_enter("-m");
    for mount in seen.mounts.as_deref().unwrap_or_default() {
        assert!(mount.propagation.is_empty(), "{mount:?}");
    }
    leftovers.check();
}

#[test]
fn loopback_is_up_unless_it_was_not_wanted() {
    if !requires::root() {
        return;
    }
    let up = |line: &str| {
        let seen = ns_enter(line).interfaces.expect("the interfaces can be seen");
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["lo"], "{line}");
        (seen["lo"].up, seen["lo"].address)
    };
    assert_eq!(up("-n"), (true, true));
    assert_eq!(up("--unshare net,pid,mount"), (true, true));
    assert_eq!(up("-U -n"), (true, true));
    assert!(!up("-n --no-lo").0);
}

#[test]
fn the_receipt_names_what_was_made() {
    if !requires::root() {
        return;
    }
    let log = StatusLog::new();
    let seen =
        tool("ns-enter").args(["-mpun", "--hostname", "box", "--status-fd", "9"]).fd(log.fd(), 9).probe();
    let receipts = log.of("receipt");
    assert_eq!((receipts.len(), log.of("exec").len(), log.of("child").len()), (1, 1, 1));
    assert_eq!(log.events().len(), 3);
    assert_eq!(receipts[0]["tool"], "ns-enter");
    let receipt = &receipts[0]["receipt"];
    assert_eq!(receipt["verified"], true, "{receipt:#}");
    assert_eq!(receipt["asked"]["hostname"], "box");
    assert_eq!(
        (&receipt["applied"]["hostname"], &receipt["applied"]["forked"]),
        (&"box".into(), &true.into())
    );
    let ns = receipt["ns"].as_object().expect("an object");
    let names = [("mount", "mnt"), ("pid", "pid"), ("uts", "uts"), ("network", "net")];
    assert_eq!(ns.len(), names.len());
    for (kind, name) in names {
        assert_eq!(ns[kind].as_u64(), seen.ns.get(name).copied(), "{kind}");
    }
    seen.expect_only_std_fds();
}
