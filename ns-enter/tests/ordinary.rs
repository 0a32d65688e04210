//! An ordinary user: everything below a user namespace of its own, and a refusal with its cause without one.

mod target;

use catena_tests::{Leftovers, StatusLog, shell};
use target::{Target, as_user, kinds, user_namespaces};

fn privileged_kinds() -> Vec<(&'static str, &'static str, &'static str)> {
    kinds().into_iter().filter(|k| k.2 != "user").collect()
}

#[test]
fn without_a_user_namespace_it_is_refused_and_the_way_is_shown() {
    let leftovers = Leftovers::watch();
    for (letter, _, _) in privileged_kinds() {
        let out = as_user(&format!("ns-enter {letter} -- $PROBE ran")).run();
        out.refuses(125, "Operation not permitted (EPERM)");
        assert!(out.stderr.contains("why: the caller is not privileged"), "{out:?}");
        assert!(out.stderr.contains("try: idmap -r -- ns-enter"), "{out:?}");
    }
    as_user("ns-enter -un --check").run().refuses(125, "(EPERM)");
    leftovers.check();
}

#[test]
fn with_one_all_kinds_can_be_made() {
    if !user_namespaces() {
        return;
    }
    let leftovers = Leftovers::watch();
    for (letter, _, name) in privileged_kinds() {
        let seen = as_user(&format!("ns-enter -U {letter} -- $PROBE")).run().probe();
        target::expect_exactly_new(&seen, &["user", name]);
        seen.expect_caps(&[]).expect_only_std_fds();
        assert_eq!(seen.uid, 65_534);
        let seen = as_user(&format!("idmap -r -- ns-enter {letter} -- $PROBE")).run().probe();
        target::expect_exactly_new(&seen, &["user", name]);
        assert_eq!(seen.uid, 0);
    }
    let every: Vec<&str> = kinds().iter().map(|k| k.2).collect();
    let share = if every.contains(&"time") { "" } else { "--share time" };
    // Without privilege, all means the user namespace too.
    let seen = as_user(&format!("ns-enter --unshare all {share} -- $PROBE")).run().probe();
    target::expect_exactly_new(&seen, &every);
    assert_eq!(seen.pid, 1);
    let seen = as_user(&format!("idmap -r -- ns-enter --unshare all {share} -- $PROBE")).run().probe();
    target::expect_exactly_new(&seen, &every);
    leftovers.check();
}

#[test]
fn what_is_set_inside_is_set() {
    if !user_namespaces() {
        return;
    }
    let set = "-mpniu --hostname box --domainname d --sysctl net.ipv4.ip_forward=1";
    for chain in [format!("ns-enter -U {set}"), format!("idmap -r -- ns-enter {set}")] {
        let seen = as_user(&format!("{chain} -- $PROBE")).run().probe();
        assert_eq!((seen.hostname.as_str(), seen.domainname.as_str()), ("box", "d"), "{chain}");
        let up = seen.interfaces.expect("the interfaces can be seen")["lo"].up;
        assert!(up && seen.pid == 1, "{chain}");
        for mount in seen.mounts.as_deref().unwrap_or_default() {
            assert!(!mount.propagation.iter().any(|p| p.starts_with("shared")), "{chain}: {mount:?}");
        }
    }
    if kinds().iter().any(|k| k.2 == "time") {
        for chain in [
            "ns-enter -UT --boottime 99",
            "idmap -r -- ns-enter -T --boottime 99",
            "ns-enter -UTp --boottime 99",
        ] {
            let seen = as_user(&format!("{chain} -- $PROBE")).run().probe();
            assert_eq!(seen.time_offsets.expect("they can be read")["boottime"], 99, "{chain}");
        }
    }
}

#[test]
fn later_links_can_do_their_work() {
    if !user_namespaces() {
        return;
    }
    for chain in ["ns-enter -Umu", "idmap -r -- ns-enter -mu"] {
        let line = format!(
            "{chain} -- rootfs-prep --tmpfs /mnt -- cap-drop --all -- seccomp-load @default -- $PROBE"
        );
        let seen = as_user(&line).run().probe();
        seen.expect_mounted("/mnt", "tmpfs");
        seen.expect_caps_empty().expect_no_new_privs(true);
        assert_eq!(seen.seccomp, Some(2), "{chain}");
    }
}

#[test]
fn ones_own_namespaces_can_be_joined() {
    if !user_namespaces() {
        return;
    }
    let time = if kinds().iter().any(|k| k.2 == "time") { "-T" } else { "" };
    let target = Target::by(as_user(&format!(
        "exec unshare -r -muinpC {time} --fork --kill-child -- \"$PROBE\" sleep"
    )));
    let pid = target.pid;
    let every: Vec<&str> = kinds().iter().map(|k| k.2).collect();
    let seen = as_user(&format!("ns-enter -t {pid} -a -- $PROBE")).run().probe();
    target.expect_joined(&seen, &every);
    seen.expect_user(0, 0, &seen.groups.clone());
    for (letter, _, name) in privileged_kinds() {
        let seen = as_user(&format!("ns-enter -t {pid} -U {letter} -- $PROBE")).run().probe();
        target.expect_joined(&seen, &["user", name]);
    }
    let line = format!(
        "ns-enter --join user=/proc/{pid}/ns/user --join pid=/proc/{pid}/task/{pid}/ns/pid -- $PROBE"
    );
    target.expect_joined(&as_user(&line).run().probe(), &["user", "pid"]);
    // New ones that belong to it, clocks too.
    let line = format!("ns-enter -t {pid} -U --unshare net,pid,uts --hostname x -- $PROBE");
    let seen = as_user(&line).run().probe();
    assert_eq!((seen.ns["user"], seen.hostname.as_str(), seen.pid), (target::inode(pid, "user"), "x", 1));
    if !time.is_empty() {
        let line = format!("ns-enter -t {pid} -U --unshare time --boottime 77 -- $PROBE");
        // Who joins hides from those inside, and a hidden process may not write its own clocks' file.
        let out = as_user(&line).run();
        out.refuses(
            125,
            "set the clocks to boottime 77 0: open(self/timens_offsets): Permission denied (EACCES)",
        );
        assert!(out.stderr.contains("why: beside a user namespace that is joined"), "{out:?}");
        let line = format!("ns-enter -t {pid} -U -- env ns-enter -T --boottime 77 -- $PROBE");
        let seen = as_user(&line).run().probe();
        assert_eq!(seen.time_offsets.expect("they can be read")["boottime"], 77);
    }
    // Without the user namespace they are not its to join.
    let out = as_user(&format!("ns-enter -t {pid} -n -- $PROBE ran")).run();
    out.refuses(125, "join the network namespace");
    assert!(out.stderr.contains("why: this process has no CAP_SYS_ADMIN over it"), "{out:?}");
}

#[test]
fn those_of_others_cannot() {
    if !user_namespaces() || !catena_tests::requires::root() {
        return;
    }
    let target = Target::new("-r -mup");
    for letters in ["-U", "-a", "-mu", "-p"] {
        let log = StatusLog::new();
        let line = format!("ns-enter --status-fd 9 -t {} {letters} -- $PROBE ran", target.pid);
        let out = as_user(&line).fd(log.fd(), 9).run();
        out.refuses(125, "namespace");
        log.expect_error("denied");
    }
    let out = shell(&format!(
        "exec 8</proc/{}/ns/user; {}",
        target.pid, "exec setpriv --reuid 54321 --clear-groups ns-enter --join user=fd:8 -- $PROBE ran"
    ))
    .run();
    out.refuses(125, "join the user namespace fd:8: setns(fd:8): Operation not permitted (EPERM)");
    assert!(out.stderr.contains("why: joining a user namespace wants to be its owner"), "{out:?}");
}
