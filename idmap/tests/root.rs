//! idmap as root: every way to say a map, and what the process is then.

use catena_tests::{Leftovers, requires, tool};

const NONE: u64 = 0;

fn words(map: &Option<Vec<String>>) -> Vec<String> {
    let tight = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    map.as_deref().unwrap_or_default().iter().map(tight).collect()
}

#[test]
fn root_becomes_root_of_a_namespace_and_may_still_change_groups() {
    if !requires::root() {
        return;
    }
    for args in [vec!["-r"], vec!["--map-root-user"], vec!["-c"], vec!["--map-user", "0", "--map-group", "0"]]
    {
        let p = tool("idmap").args(args).probe();
        p.expect_ns_differs(&["user"]).expect_ns_same(&["mnt", "pid", "net", "uts", "ipc", "cgroup"]);
        p.expect_user(0, 0, &[]);
        assert_eq!((words(&p.uid_map), words(&p.gid_map)), (vec!["0 0 1".into()], vec!["0 0 1".into()]));
        assert_eq!(p.setgroups.as_deref(), Some("allow"));
        assert!(p.caps.effective == p.caps.bounding && p.caps.permitted != NONE);
        assert_eq!((p.caps.ambient, p.caps.inheritable), (NONE, NONE));
    }
}

#[test]
fn a_range_elsewhere_makes_it_another_user_of_the_host() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let args = ["--map-users", "0:100000:65536", "--map-groups", "0:200000:65536"];
    let p = tool("idmap").args(args).probe();
    p.expect_user(0, 0, &[]).expect_plain_signals().expect_only_std_fds();
    assert_eq!(words(&p.uid_map), ["0 100000 65536"]);
    assert_eq!(words(&p.gid_map), ["0 200000 65536"]);
    // What it is outside is seen on a file that it makes.
    let dir = catena_tests::TempDir::new();
    std::os::unix::fs::chown(dir.path(), Some(100_000), Some(200_000)).unwrap();
    let file = dir.join("made");
    tool("idmap").args(args).command(["touch".as_ref(), file.as_os_str()]).run().succeeds();
    let made = std::fs::metadata(&file).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((made.uid(), made.gid()), (100_000, 200_000));
    leftovers.check();
}

#[test]
fn several_ranges_and_a_user_that_is_nobody() {
    if !requires::root() {
        return;
    }
    let args = ["-r", "--map-users", "1:100000:10", "--map-users", "20:200000:10", "--map-groups", "7:7:1"];
    let p = tool("idmap").args(args).probe();
    assert_eq!(words(&p.uid_map), ["0 0 1", "1 100000 10", "20 200000 10"]);
    assert_eq!(words(&p.gid_map), ["0 0 1", "7 7 1"]);
    // Neither the caller nor 0 is mapped: nobody, without capabilities once the command runs.
    let p = tool("idmap").args(["--map-users", "5:100000:10"]).probe();
    assert_eq!(p.uid, 65_534);
    p.expect_caps(&[]);
}

#[test]
fn the_most_lines_the_kernel_takes() {
    if !requires::root() {
        return;
    }
    let ranges: Vec<String> = (0..340).map(|i| format!("{i}:{}:1", i * 2)).collect();
    let args = ranges.iter().flat_map(|r| ["--map-users", r.as_str()]);
    let p = tool("idmap").args(args).args(["--map-group", "0"]).probe();
    assert_eq!((p.uid_map.unwrap().len(), p.uid), (340, 0));
}

#[test]
fn setgroups_is_as_asked() {
    if !requires::root() {
        return;
    }
    let p = tool("idmap").args(["-r", "--setgroups", "deny"]).probe();
    assert_eq!(p.setgroups.as_deref(), Some("deny"));
    let p = tool("idmap").args(["-r", "--setgroups", "allow"]).probe();
    assert_eq!(p.setgroups.as_deref(), Some("allow"));
    tool("idmap").args(["-r", "--setgroups", "perhaps"]).command(["true"]).run().refuses(125, "perhaps");
}

#[test]
fn later_links_keep_their_capabilities_where_nobody_is_root() {
    if !requires::root() {
        return;
    }
    // ns-enter after it could make nothing without CAP_SYS_ADMIN; the command has no capability.
    let p =
        tool("idmap").args(["--map-user", "1000", "--map-group", "1000"]).then("ns-enter", ["-mun"]).probe();
    p.expect_ns_differs(&["user", "mnt", "uts", "net"]).expect_caps(&[]);
    assert_eq!((p.uid, p.gid), (1000, 1000));
}

#[test]
fn a_config_is_mapped_as_it_stands_and_one_without_a_new_user_namespace_is_not() {
    if !requires::root() {
        return;
    }
    let dir = catena_tests::TempDir::new();
    let maps = r#""uidMappings":[{"containerID":0,"hostID":1000,"size":5}],"gidMappings":[{"containerID":0,"hostID":2000,"size":6}]"#;
    let config =
        |linux: String| dir.file("config.json", format!(r#"{{"ociVersion":"1.0.2","linux":{{{linux}}}}}"#));
    let path = config(format!(r#""namespaces":[{{"type":"user"}}],{maps}"#));
    let p = tool("idmap").arg("--oci").arg(&path).probe();
    assert_eq!((words(&p.uid_map), words(&p.gid_map)), (vec!["0 1000 5".into()], vec!["0 2000 6".into()]));
    // Flags take the place of the config's maps.
    let p = tool("idmap").arg("--oci").arg(&path).arg("-r").probe();
    assert_eq!(words(&p.uid_map), ["0 0 1"]);
    for namespaces in [r#"[{"type":"user","path":"/proc/self/ns/user"}]"#, "[]"] {
        let path = config(format!(r#""namespaces":{namespaces},{maps}"#));
        tool("idmap").arg("--oci").arg(&path).probe().expect_ns_same(&["user"]);
    }
    let path = config(r#""namespaces":[{"type":"user"}]"#.into());
    let out = tool("idmap").arg("--oci").arg(&path).command(["echo", "ran"]).run();
    out.refuses(125, "linux.uidMappings: missing");
}
