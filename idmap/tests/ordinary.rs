//! idmap as an ordinary user: alone, and with newuidmap and newgidmap.

mod user;

use catena_tests::Leftovers;
use user::{GRANTS, ID, possible, run};

fn words(map: &Option<Vec<String>>) -> Vec<String> {
    let tight = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    map.as_deref().unwrap_or_default().iter().map(tight).collect()
}

#[test]
fn alone_it_maps_itself_and_setgroups_is_denied() {
    if !possible() {
        return;
    }
    let leftovers = Leftovers::watch();
    let p = run("", "idmap -r -- $PROBE").probe();
    p.expect_user(0, 0, &[]).expect_ns_differs(&["user"]);
    assert_eq!(words(&p.uid_map), [format!("0 {ID} 1")]);
    assert_eq!((words(&p.gid_map), p.setgroups.as_deref()), (vec![format!("0 {ID} 1")], Some("deny")));
    assert_eq!(p.caps.effective, p.caps.bounding);

    let p = run("", "idmap -c -- $PROBE").probe();
    p.expect_user(ID, ID, &[]).expect_caps(&[]);
    let p = run("", "idmap --map-user 7 -- $PROBE").probe();
    assert_eq!((p.uid, p.gid), (7, 65_534));
    leftovers.check();
}

#[test]
fn auto_gives_the_map_that_unshare_gives() {
    if !possible() {
        return;
    }
    let map = "-- cat /proc/self/uid_map /proc/self/gid_map";
    for (ours, theirs) in [
        (format!("idmap --auto {map}"), format!("unshare -r --map-auto {map}")),
        (format!("idmap -r --auto {map}"), format!("unshare -r --map-auto {map}")),
    ] {
        let (ours, theirs) = (run(GRANTS, &ours), run(GRANTS, &theirs));
        assert_eq!(ours.succeeds().stdout, theirs.stdout);
    }
    let p = run(GRANTS, "idmap --auto -- $PROBE").probe();
    p.expect_user(0, 0, &[]);
    assert_eq!(words(&p.uid_map), [format!("0 {ID} 1"), "1 300000 65535".into()]);
    assert_eq!(p.setgroups.as_deref(), Some("allow"));
}

#[test]
fn auto_around_the_callers_own_number_makes_it_that() {
    if !possible() {
        return;
    }
    let p = run(GRANTS, "idmap -c --auto -- $PROBE").probe();
    p.expect_user(ID, ID, &[]).expect_caps(&[]);
    let map: Vec<String> = words(&p.uid_map);
    assert!(map.contains(&format!("{ID} {ID} 1")) && map.contains(&format!("0 300000 {ID}")), "{map:?}");
    // The links in between are root of the namespace: what they make is root's.
    let line = "idmap -c --auto -- ns-enter -mpu --hostname h -- $PROBE";
    let p = run(GRANTS, line).probe();
    p.expect_user(ID, ID, &[]).expect_caps(&[]).expect_ns_differs(&["mnt", "pid", "uts"]);
}

#[test]
fn grants_by_number_and_in_several_lines_count() {
    if !possible() {
        return;
    }
    let grants = format!("someone:1:1\n{ID}:300000:10\ncatena-user:400000:20\n");
    let p = run(&grants, "idmap --auto -- $PROBE").probe();
    assert_eq!(words(&p.uid_map), [format!("0 {ID} 1"), "1 300000 10".into(), "11 400000 19".into()]);
}

#[test]
fn what_is_not_granted_is_refused_with_the_cause() {
    if !possible() {
        return;
    }
    let refused = |grants: &str, line: &str, cause: &str, why: &str| {
        let out = run(grants, line);
        out.refuses(125, cause);
        assert!(out.stderr.contains(why) && !out.stderr.contains("Success"), "{out:?}");
    };
    refused(
        "",
        "idmap --auto -- echo ran",
        "/etc/subuid has no line for catena-user (54321)",
        "usermod --add-subuids",
    );
    let line = "idmap --map-users 0:300000:65537 -- echo ran";
    refused(GRANTS, line, "newuidmap", "why: /etc/subuid does not grant 300000+65537 to catena-user (54321)");
    refused(
        "",
        "idmap --map-users 0:5:1 -- echo ran",
        "newuidmap",
        "why: /etc/subuid has no line for catena-user",
    );
    let line = "idmap -r --map-groups 1:5:1 -- echo ran";
    refused(GRANTS, line, "newgidmap", "why: /etc/subgid does not grant 5+1 to catena-user (54321)");
    refused("", "idmap -r --setgroups allow -- echo ran", "setgroups(2) is denied", "try: --setgroups deny");
}

#[test]
fn after_no_new_privs_the_right_chain_is_printed() {
    if !possible() {
        return;
    }
    let out = run(GRANTS, "setpriv --no-new-privs idmap --auto -- echo 'a b'");
    out.refuses(125, "no_new_privs is on already, so newuidmap would run without its privilege");
    assert!(out.stderr.contains("try: idmap --auto -- cap-drop -- echo 'a b'"), "{out:?}");
    // Its own ids want no program, so this is no hindrance.
    run(GRANTS, "setpriv --no-new-privs idmap -r -- true").succeeds();
}

#[test]
fn a_helper_that_is_missing_or_has_lost_its_privilege_is_named() {
    if !possible() {
        return;
    }
    let out = run(GRANTS, "I=$(command -v idmap); PATH=/nowhere exec $I --auto -- /bin/echo ran");
    out.refuses(125, "newuidmap is not in PATH");
    let line = "D=$(mktemp -d) && cp $(command -v newuidmap newgidmap) $D && PATH=$D:$PATH idmap --auto -- echo ran; R=$?; rm -r $D; exit $R";
    let out = run(GRANTS, line);
    out.refuses(125, "newuidmap");
    assert!(out.stderr.contains("is not set-user-ID"), "{out:?}");
    // One that says nothing and fails.
    let line = "D=$(mktemp -d) && printf '#!/bin/sh\\nexit 3' > $D/newuidmap && chmod 755 $D/newuidmap && PATH=$D:$PATH idmap --auto -- echo ran; R=$?; rm -r $D; exit $R";
    run(GRANTS, line).refuses(125, "newuidmap: exit status: 3");
    // One that says it did it and did not: the kernel is asked.
    let line = "D=$(mktemp -d) && printf '#!/bin/sh\\n' > $D/newuidmap && chmod 755 $D/newuidmap && PATH=$D:$PATH idmap --auto -- echo ran; R=$?; rm -r $D; exit $R";
    run(GRANTS, line).refuses(125, "the kernel says nothing");
}

#[test]
fn a_caller_that_ignores_sigchld_is_served() {
    if !possible() {
        return;
    }
    let line = "exec perl -e '$SIG{CHLD}=\"IGNORE\"; exec @ARGV' idmap --auto -- id -u";
    let out = run(GRANTS, line);
    assert_eq!(out.succeeds().stdout.trim(), "0");
}

#[test]
fn both_forms_give_the_same_maps() {
    if !possible() {
        return;
    }
    let exec = run(GRANTS, "idmap --auto -- ns-enter -m -- cat /proc/self/uid_map");
    let pipe = run(GRANTS, "idmap --auto | ns-enter -m -- cat /proc/self/uid_map");
    assert_eq!(exec.succeeds().stdout, pipe.succeeds().stdout);
    let plan = run(GRANTS, "idmap --auto").json();
    assert_eq!(plan["layers"][0]["spec"]["uidMappings"][0]["hostID"], ID);
}
