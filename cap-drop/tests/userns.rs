//! In a user namespace: who is root there, who is not, and groups that cannot be set.

use catena_tests::{Output, StatusLog, requires, shell};

fn as_user(user: &requires::User, line: &str) -> Output {
    let drop =
        format!("setpriv --reuid {} --regid {} --clear-groups --inh-caps=-all -- ", user.uid, user.gid);
    shell(&format!("cd /; {drop}{line} -- $PROBE")).run()
}

#[test]
fn root_of_the_namespace_keeps_what_is_named() {
    let Some(user) = requires::user() else { return };
    let seen = as_user(&user, "idmap -r -- cap-drop --keep net_raw,chown").probe();
    seen.expect_ns_differs(&["user"])
        .expect_caps(&["net_raw", "chown"])
        .expect_bounding(&["net_raw", "chown"]);
    seen.expect_user(0, 0, &[]);
    as_user(&user, "idmap -r -- cap-drop --all").probe().expect_caps_empty();
    as_user(&user, "idmap -r -- ns-enter -n -- cap-drop --cap-drop all --cap-add net_raw")
        .probe()
        .expect_caps(&["net_raw"]);
}

#[test]
fn who_is_not_root_keeps_it_as_ambient() {
    let Some(user) = requires::user() else { return };
    for line in ["idmap -c -- cap-drop", "idmap --map-user 7 --map-group 8 -- ns-enter -n -- cap-drop"] {
        let seen = as_user(&user, &format!("{line} --keep net_raw")).probe();
        seen.expect_ambient(&["net_raw"]).expect_effective(&["net_raw"]).expect_bounding(&["net_raw"]);
        as_user(&user, &format!("{line} --all")).probe().expect_caps_empty();
        as_user(&user, &format!("{line} --keep net_raw -- seccomp-load -s add_key:EPERM"))
            .probe()
            .expect_effective(&["net_raw"]);
    }
}

/// A namespace of many ids, and another user in it.
#[test]
fn another_user_of_the_namespace() {
    let Some(user) = requires::user() else { return };
    if !requires::command("newuidmap") {
        return;
    }
    let line = "idmap -r --auto -- cap-drop --user 5:6 --groups 7 --keep net_raw";
    let seen = as_user(&user, line).probe();
    seen.expect_user(5, 6, &[7]).expect_ambient(&["net_raw"]).expect_effective(&["net_raw"]);
    let out = as_user(&user, "idmap -r --auto -- cap-drop --user 4000000:6");
    out.refuses(125, "setresuid(4000000): Invalid argument (EINVAL)");
    assert!(out.stderr.contains("why: that user id is not mapped in this user namespace"), "{out:?}");
    let out = as_user(&user, "idmap -r --auto -- cap-drop --user 5:4000000");
    assert!(out.stderr.contains("why: that group id is not mapped in this user namespace"), "{out:?}");
    as_user(&user, "idmap -r --auto -- cap-drop --user 5:6 --groups 4000000").refuses(125, "is not mapped");
}

#[test]
fn an_id_that_is_not_mapped_is_refused() {
    let Some(user) = requires::user() else { return };
    as_user(&user, "idmap -r -- cap-drop --user 1:1").refuses(125, "is not mapped in this user namespace");
    as_user(&user, "idmap -r -- cap-drop --user 0:1").refuses(125, "is not mapped in this user namespace");
}

/// Where setgroups is denied the groups stay, and that is not passed over.
#[test]
fn groups_that_cannot_be_dropped_are_refused() {
    if !requires::root() {
        return;
    }
    let with = |line: &str| {
        shell(&format!("setpriv --groups 4,27 -- idmap -r --setgroups deny -- cap-drop {line} -- $PROBE"))
    };
    for line in ["--user 0:0", "--groups none", "--groups 0", "--user 0:0 --all"] {
        let out = with(line).run();
        out.refuses(125, "this user namespace denies setgroups");
        assert!(out.stderr.contains("try: --keep-groups"), "{out:?}");
    }
    assert_eq!(with("--user 0:0 --keep-groups").run().probe().groups.len(), 2);
    let log = StatusLog::new();
    let out = with("--user 0:0 --try groups --status-fd 9").fd(log.fd(), 9).run();
    assert!(out.stderr.contains("warning: groups: "), "{out:?}");
    assert_eq!(out.probe().groups.len(), 2);
    assert_eq!(log.of("receipt").iter().filter(|r| r.to_string().contains("denies setgroups")).count(), 1);
    // Who has none needs no leave.
    let none = "setpriv --clear-groups -- idmap -r --setgroups deny -- cap-drop --user 0:0 --all -- $PROBE";
    shell(none).run().probe().expect_user(0, 0, &[]).expect_caps_empty();
    // The user's own group is no group too many.
    let own = "setpriv --groups 0 -- idmap -r --setgroups deny -- cap-drop --user 0:0 --all -- $PROBE";
    let out = shell(own).run();
    assert_eq!(out.stderr, "");
    out.probe().expect_user(0, 0, &[0]).expect_caps_empty();
}
