//! `--pick`: ids that nobody has; `--owner`: a namespace for somebody else.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Leftovers, Probe, TempDir, requires, shell, tool};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

/// The one line of a map: first inside, first outside, count.
fn line(map: &Option<Vec<String>>) -> [u32; 3] {
    let lines = map.as_deref().unwrap_or_default();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let numbers: Vec<u32> = lines[0].split_whitespace().map(|n| n.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn picked(p: &Probe) -> u32 {
    let users = line(&p.uid_map);
    assert_eq!(users, line(&p.gid_map), "users and groups alike");
    assert_eq!((users[0], users[2], users[1] % 65_536), (0, 65_536, 0));
    assert!((0x8_0000..0x7000_0000).contains(&users[1]), "{users:?}");
    users[1]
}

#[test]
fn ids_that_are_picked_are_nobody_elses() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let p = tool("idmap").args(["--pick"]).probe();
    p.expect_user(0, 0, &[]).expect_only_std_fds();
    let granted = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    let first = picked(&p);
    for grant in granted.lines() {
        let words: Vec<u64> = grant.split(':').skip(1).filter_map(|w| w.parse().ok()).collect();
        let [start, count] = words[..] else { continue };
        let (first, end) = (u64::from(first), u64::from(first) + 65_536);
        assert!(start >= end || start + count <= first, "{grant} and {first}");
    }
    leftovers.check();
}

#[test]
fn many_that_pick_at_once_get_different_ones() {
    if !requires::root() {
        return;
    }
    let (leftovers, dir) = (Leftovers::watch(), TempDir::new());
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    // Each holds its ids until all have theirs.
    let out = shell(
        "for i in 1 2 3 4 5 6 7 8; do
             idmap --pick -- bash -c \"cat /proc/self/uid_map >$D/$i; until [ -e $D/go ]; do sleep 0.01; done\" &
         done
         until [ $(cat $D/[1-8] 2>/dev/null | wc -l) = 8 ]; do sleep 0.01; done
         : >$D/go; wait; cat $D/[1-8]",
    );
    let out = out.env("D", dir.path()).run();
    let firsts = out.succeeds().stdout.lines().map(|line| line.split_whitespace().nth(1).unwrap());
    assert_eq!(firsts.collect::<BTreeSet<_>>().len(), 8, "{out:?}");
    leftovers.check();
}

#[test]
fn who_has_no_privilege_cannot_pick_or_give_away() {
    if !requires::root() {
        return;
    }
    let user = "setpriv --reuid 4321 --regid 4321 --clear-groups --inh-caps=-all";
    for (words, cure) in [("--pick", "try: --auto"), ("--owner 0:0 -r", "CAP_SETUID")] {
        let out = shell(&format!("exec {user} idmap {words} -- \"$PROBE\" ran")).run();
        out.refuses(125, "");
        assert!(out.stderr.contains(cure), "{out:?}");
    }
    tool("idmap").args(["--pick", "-r"]).verb(["ran"]).run().refuses(125, "exclude each other");
    // In a user namespace that has only itself there is nothing to pick from.
    let out = shell("exec idmap -r -- idmap --pick -- \"$PROBE\" ran").run();
    out.refuses(125, "");
    let out = shell("exec unshare -r idmap --pick -- \"$PROBE\" ran").run();
    out.refuses(125, "no 65536 in a row are left");
}

#[test]
fn a_namespace_is_its_owners() {
    if !requires::root() {
        return;
    }
    let (leftovers, dir) = (Leftovers::watch(), TempDir::new());
    let user = "setpriv --reuid 4321 --regid 4321 --clear-groups --inh-caps=-all";
    let maps = "--map-users 0:100000:65536 --map-groups 0:100000:65536";
    // The owner joins it with nsenter(1), and has it all; another user does not.
    let script = format!(
        "idmap -N {maps} --owner 4321:4321 -- bash -c 'echo $(id -u) $(id -g); read _' <$D/hold >$D/out &
         exec 9>$D/hold; until [ -s $D/out ]; do sleep 0.01; done; cat $D/out
         pid=$(pgrep -P $! || echo $!)
         {user} nsenter -t $pid -U -S 0 -G 0 sh -c 'id -u; grep CapEff /proc/self/status'
         setpriv --reuid 4322 --regid 4322 --clear-groups --inh-caps=-all nsenter -t $pid -U true 2>/dev/null || echo refused
         echo >&9; wait"
    );
    nix::unistd::mkfifo(&dir.join("hold"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let out = shell(&script).env("D", dir.path()).run();
    let lines: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert_eq!((lines[0], lines[1], lines[3]), ("0 0", "0", "refused"), "{out:?}");
    assert!(!lines[2].ends_with("0000000000000000"), "{out:?}");
    leftovers.check();
}

#[test]
fn an_owner_wants_somebody_to_be_inside() {
    if !requires::root() {
        return;
    }
    for words in [
        "--owner 4321:4321 --map-users 1:100000:1 --map-groups 0:100000:1",
        "--owner 4321:4321 --map-users 0:0:1",
    ] {
        let out = shell(&format!("exec idmap {words} -- \"$PROBE\" ran")).run();
        out.refuses(125, "no user or no group 0 is mapped");
    }
    for owner in ["4321", "x:1", "4294967295:0", "-1:0", "1:"] {
        tool("idmap").args(["-r", &format!("--owner={owner}")]).verb(["ran"]).run().refuses(125, "--owner");
    }
}
