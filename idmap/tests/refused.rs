//! What idmap refuses: the command never runs, and the sentence names what is wrong.

use catena_tests::{requires, shell, tool};

fn refused(args: &[&str], text: &str) {
    tool("idmap").args(args).command(["echo", "ran"]).run().refuses(125, text);
}

#[test]
fn maps_that_the_kernel_would_not_take() {
    refused(&["--map-users", "0:100000:0"], "uidMappings[0]: 0:100000:0 maps nothing");
    refused(
        &["--map-users", "0:1:10", "--map-users", "9:50:1"],
        "uidMappings[1]: 9:50:1 overlaps uidMappings[0]: 0:1:10 inside",
    );
    refused(
        &["--map-groups", "0:1:10", "--map-groups", "50:9:5"],
        "gidMappings[1]: 50:9:5 overlaps gidMappings[0]: 0:1:10 outside",
    );
    refused(&["-r", "--map-users", "0:100000:5"], "overlaps");
    refused(&["--map-users", "4294967290:0:10"], "goes beyond 4294967294 inside");
    refused(&["--map-users", "0:4294967295:1"], "goes beyond 4294967294 outside");
    refused(&["--map-users", "0:0:4294967296"], "not a number from 0 to 4294967295");
    let many: Vec<String> = (0..341).map(|i| format!("--map-users={i}:{i}:1")).collect();
    refused(&many.iter().map(String::as_str).collect::<Vec<_>>(), "341 ranges, and the kernel takes 340");
}

#[test]
fn words_that_say_nothing_or_too_much() {
    refused(&[], "it says no ids to map");
    refused(&["-r", "-c"], "exclude each other");
    refused(&["-r", "--map-user", "5"], "exclude each other");
    refused(&["--map-user", "-1"], "--map-user");
    refused(&["--map-user", "4294967295"], "not a user id");
    refused(&["--map-users", "0,100000,65536"], "not inside:outside:count");
    refused(&["--map-users", "0:root:1"], "'root' is not a number");
    refused(&["-r", "--bogus"], "unknown option --bogus");
    refused(&["-r", "--pid", "1"], "runs nothing");
    tool("idmap").args(["-r", "--"]).run().refuses(127, "nothing stands behind --");
}

#[test]
fn a_plan_that_asks_for_what_is_unknown() {
    let plan =
        |spec: &str| format!(r#"{{"catena":1,"layers":[{{"tool":"idmap","spec":{spec}}}],"complete":true}}"#);
    for (spec, text) in [
        (r#"{"uidMappings":[{"containerID":0,"hostID":0,"size":1,"x":1}]}"#, "x"),
        (r#"{"uidMappings":[{"containerID":0,"hostID":-1,"size":1}]}"#, "-1"),
        (r#"{"uidmappings":[]}"#, "uidmappings"),
        (r#"{"setgroups":"deny"}"#, "setgroups"),
    ] {
        let out = tool("ns-enter").args(["-n"]).command(["echo", "ran"]).input(plan(spec)).run();
        out.refuses(125, text);
    }
}

#[test]
fn a_chroot_is_named_as_the_cause() {
    if !requires::root() {
        return;
    }
    let root = catena_tests::rootfs();
    let path = root.path().display().to_string();
    let line = format!(
        "cp $(command -v idmap) {path}/; mount --bind /proc {path}/proc; exec chroot {path} /idmap -r -- /bin/echo ran"
    );
    let out = shell(&format!("exec unshare -m --propagation private bash -c '{line}'")).run();
    out.refuses(125, "unshare(CLONE_NEWUSER): Operation not permitted (EPERM)");
    assert!(out.stderr.contains("why: this process is in a chroot"), "{out:?}");
}

#[test]
fn a_host_without_user_namespaces_is_named() {
    if !requires::root() {
        return;
    }
    // The limit of a namespace of the test's own, not the host's.
    let line = "echo 0 > /proc/sys/user/max_user_namespaces && exec idmap --map-user 0 -- echo ran";
    let out = shell(&format!("exec unshare -rm bash -c '{line}'")).run();
    out.refuses(125, "unshare(CLONE_NEWUSER)");
    assert!(out.stderr.contains("why: user namespaces are switched off on this host"), "{out:?}");
}
