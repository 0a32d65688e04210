//! Who the command is: ids, groups, umask, all of it and nothing of the caller's.

use catena_tests::{Output, Probe, Tool, requires, shell, tool};

fn cap_drop(line: &str) -> Tool {
    tool("cap-drop").arg("-N").args(line.split_whitespace())
}

fn as_root_with_groups(line: &str) -> Probe {
    run_with_groups(line).probe()
}

fn run_with_groups(line: &str) -> Output {
    shell(&format!("setpriv --groups 0,4,27 -- cap-drop -N {line} -- $PROBE")).run()
}

#[test]
fn nothing_of_roots_groups_stays_with_another_user() {
    if !requires::root() {
        return;
    }
    for line in ["", "--all", "--keep net_raw", "--umask 077", "--allow-new-privs", "--groups none"] {
        as_root_with_groups(&format!("--user 1000:1001 {line}")).expect_user(1000, 1001, &[]);
        as_root_with_groups(&format!("--user nobody {line}")).expect_user(65534, 65534, &[]);
    }
    as_root_with_groups("--user 0:0").expect_user(0, 0, &[]);
    as_root_with_groups("--user 0").expect_user(0, 0, &[]);
    // Only who says so keeps them; and whose user does not change has them anyway.
    as_root_with_groups("--user 1000:1001 --keep-groups").expect_user(1000, 1001, &[0, 4, 27]);
    as_root_with_groups("--all").expect_user(0, 0, &[0, 4, 27]);
    as_root_with_groups("--all --groups none").expect_user(0, 0, &[]);
}

#[test]
fn groups_are_exactly_those_that_are_named() {
    if !requires::root() {
        return;
    }
    as_root_with_groups("--user 1000:1001 --groups 7,8").expect_user(1000, 1001, &[7, 8]);
    as_root_with_groups("--user 1000:1001 --groups 8 --groups 7,8").expect_user(1000, 1001, &[7, 8]);
    as_root_with_groups("--groups tty,7").expect_user(0, 0, &[5, 7]);
    as_root_with_groups("--groups 4294967294").expect_user(0, 0, &[4_294_967_294]);
}

/// Real, effective, saved and file system id; a saved 0 would be root again at will.
#[test]
fn no_id_is_left_behind() {
    if !requires::root() {
        return;
    }
    for caller in ["", "setpriv --ruid 1001 -- ", "setpriv --rgid 1001 --clear-groups -- "] {
        for line in ["--user 1000:1002", "--user 1000:1002 --all", "--user 1000:1002 --keep chown"] {
            let seen = shell(&format!("{caller}cap-drop -N {line} -- $PROBE")).run().probe();
            seen.expect_user(1000, 1002, &[]);
            assert_eq!(seen.status["Uid"], "1000 1000 1000 1000");
            assert_eq!(seen.status["Gid"], "1002 1002 1002 1002");
        }
    }
    for call in ["setuid 0", "setgid 0", "setgroups 0 0"] {
        let words = ["try-syscall"].into_iter().chain(call.split(' '));
        assert_eq!(cap_drop("--user 1000:1000").verb(words).run().stdout, "EPERM\n", "{call}");
    }
    cap_drop("--user 4294967294:4294967294").probe().expect_user(4_294_967_294, 4_294_967_294, &[]);
}

#[test]
fn a_mask_is_set_and_otherwise_left() {
    if !requires::root() {
        return;
    }
    for (mask, found) in [("027", 0o27), ("0", 0), ("777", 0o777), ("0077", 0o77)] {
        assert_eq!(cap_drop(&format!("--umask {mask}")).probe().umask, found);
        assert_eq!(cap_drop(&format!("--user 1000:1000 --umask {mask}")).probe().umask, found);
    }
    let left = shell("umask 031; cap-drop -N --user 1000:1000 -- $PROBE").run().probe();
    assert_eq!(left.umask, 0o31);
}

/// A user who may change nothing is told, and does not run as who they are.
#[test]
fn who_may_not_become_another_is_refused() {
    let user = if nix::unistd::geteuid().is_root() {
        "setpriv --reuid 65534 --regid 65534 --groups 65534 --inh-caps=-all -- "
    } else {
        ""
    };
    for line in ["--user 0:0", "--user root", "--user 1:1", "--groups 0"] {
        let out = shell(&format!("{user}cap-drop -N {line} -- $PROBE ran")).run();
        out.refuses(125, "Operation not permitted (EPERM)");
    }
}

#[test]
fn words_that_are_no_user() {
    for (line, text) in [
        ("--user=-1", "'-1' is not a user id"),
        ("--user=-1:0", "'-1' is not a user id"),
        ("--user 4294967295", "'4294967295' is not a user id"),
        ("--user 4294967295:0", "'4294967295' is not a user id"),
        ("--user 0:4294967295", "'4294967295' is not a group id"),
        ("--user 0:-1", "'-1' is not a group id"),
        ("--user 4294967296:0", "'4294967296' is not a user id"),
        ("--user 99999999999:0", "'99999999999' is not a user id"),
        ("--user 1x:0", "'1x' is not a user id"),
        ("--user 0x0:0", "'0x0' is not a user id"),
        ("--user +0:0", "'+0' is not a user id"),
        ("--user :", "':' is not USER[:GROUP]"),
        ("--user :0", "':0' is not USER[:GROUP]"),
        ("--user 0:", "'0:' is not USER[:GROUP]"),
        ("--user root:", "'root:' is not USER[:GROUP]"),
        ("--user 0:0:0", "group"),
        ("--user=", "'' is not USER[:GROUP]"),
        ("--user no_such_user", "'no_such_user' is not in /etc/passwd"),
        ("--user Root", "'Root' is not in /etc/passwd"),
        ("--user root:no_such_group", "'no_such_group' is not in /etc/group"),
        ("--user 987654", "/etc/passwd has no line for it"),
        ("--user 987654 --groups 5", "/etc/passwd has no line for it"),
        ("--user 987654:1 --init-groups", "/etc/passwd does not list the user"),
        ("--groups no_such_group", "'no_such_group' is not in /etc/group"),
        ("--groups 4294967295", "'4294967295' is not a group id"),
        ("--groups=-1", "'-1' is not a group id"),
        ("--groups=", "'' is not in /etc/group"),
        ("--groups 5,,6", "'' is not in /etc/group"),
        ("--user 0:0 --groups none,5", "'none' is not in /etc/group"),
        ("--umask 8", "'8' is not an octal mask"),
        ("--umask 1777", "'1777' is not an octal mask"),
        ("--umask u=rwx", "'u=rwx' is not an octal mask"),
        ("--umask=-1", "'-1' is not an octal mask"),
        ("--umask=", "'' is not an octal mask"),
    ] {
        cap_drop(line).verb(["ran"]).run().refuses(125, text);
    }
    cap_drop("--user 987654").verb(["ran"]).run().refuses(125, "try: --user 987654:987654");
}

#[test]
fn words_that_contradict_each_other() {
    for (line, text) in [
        ("--user 0:0 --groups 5 --keep-groups", "exclude each other"),
        ("--user 0:0 --groups 5 --init-groups", "exclude each other"),
        ("--user 0:0 --init-groups --keep-groups", "exclude each other"),
        ("--init-groups", "--user <USER[:GROUP]> is missing"),
        ("--user 0:0 --user 1:1", "--user <USER[:GROUP]>"),
    ] {
        cap_drop(line).verb(["ran"]).run().refuses(125, text);
    }
}
