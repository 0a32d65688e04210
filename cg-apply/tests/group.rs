//! Which group: fresh, named, nested, there before; who is in it, and when it goes.

mod common;

use catena_tests::{Leftovers, Probe, TempDir, requires, tool};
use common::{Group, Version, config, controller, hierarchies, is_alive};
use nix::sys::signal::Signal;
use std::path::Path;

/// A limit that every v2 mount has, whatever its controllers: enough to ask for a group.
const CORE: &str = r#""resources":{"unified":{"cgroup.max.depth":"7"}}"#;

fn line_of<'a>(probe: &'a Probe, controllers: &str) -> &'a str {
    let found = probe.cgroup.iter().find_map(|l| {
        let mut words = l.splitn(3, ':').skip(1);
        (words.next() == Some(controllers)).then(|| words.next().unwrap_or_default())
    });
    found.unwrap_or_else(|| panic!("no line of '{controllers}' in {:?}", probe.cgroup))
}

fn join(base: &str, name: &str) -> String {
    format!("{}/{name}", base.trim_end_matches('/'))
}

/// The controllers of each line of /proc/PID/cgroup that a group takes part in.
fn lines(probe: &Probe) -> Vec<String> {
    let mounts = hierarchies();
    let mounted = |names: &str| match names {
        "" => mounts.iter().any(|m| m.fstype == "cgroup2"),
        names => mounts.iter().any(|m| m.fstype == "cgroup" && names.split(',').all(|n| m.has(n))),
    };
    let names = probe.cgroup.iter().filter_map(|l| l.split(':').nth(1).map(String::from));
    names.filter(|n| mounted(n)).collect()
}

#[test]
fn without_a_name_it_is_a_fresh_one_and_goes_with_the_command() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let path = config(&dir, CORE, "");
    let here = Probe::here();
    let run = || tool("cg-apply").arg("--oci").arg(&path).probe();
    let (one, two) = (run(), run());
    for controllers in lines(&one) {
        let name = Path::new(line_of(&one, &controllers)).file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("catena-"), "{:?}", one.cgroup);
        let base = line_of(&here, &controllers);
        let base = if controllers.is_empty() {
            Path::new(base).parent().map_or("/", |p| p.to_str().unwrap())
        } else {
            base
        };
        assert_eq!(line_of(&one, &controllers), join(base, name));
    }
    assert_ne!(one.cgroup, two.cgroup);
    one.expect_only_std_fds().expect_plain_signals();
    leftovers.check();
}

#[test]
fn nothing_to_limit_makes_no_group_and_no_supervisor() {
    let here = Probe::here();
    let running = tool("cg-apply").arg("-N").verb(["show"]).spawn();
    let pid = running.pid();
    let seen = running.wait().probe();
    assert_eq!((seen.pid, &seen.cgroup), (pid, &here.cgroup));
}

#[test]
fn an_absolute_name_is_from_the_root_of_every_hierarchy() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let seen = tool("cg-apply").args(["--cgroup", group.path()]).probe();
    for controllers in lines(&seen) {
        assert_eq!(line_of(&seen, &controllers), group.path());
    }
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_relative_name_is_from_the_callers_own_group() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    // The caller sits in a group of its own, in every hierarchy; in v2 the new one comes beside it.
    let (outer, inner) = (Group::new(), "relative");
    let line = ["--cgroup", &outer.below("own"), "--", "cg-apply", "-N", "--cgroup", inner];
    let seen = tool("cg-apply").args(["--keep"]).args(line).command([catena_tests::probe_path()]).run();
    // A link does not come twice in one chain.
    seen.refuses(125, "cg-apply");
    let line = format!("exec cg-apply -N --cgroup {inner} -- $PROBE");
    let out = tool("cg-apply")
        .args(["--cgroup", &outer.below("own")])
        .env("PROBE", catena_tests::probe_path())
        .command(["bash", "-c", &line])
        .run();
    let seen = out.probe();
    for controllers in lines(&seen) {
        let expected = if controllers.is_empty() { outer.below(inner) } else { outer.below("own/relative") };
        assert_eq!(line_of(&seen, &controllers), expected);
    }
    outer.expect_gone();
    leftovers.check();
}

#[test]
fn nested_names_are_made_from_the_top_and_removed_from_the_bottom() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let path = group.below("a/b/c");
    let seen = tool("cg-apply").args(["--cgroup", &path]).probe();
    assert_eq!(line_of(&seen, ""), path);
    group.expect_gone();
    // What was there before stays, what was made goes.
    tool("cg-apply").args(["--keep", "--cgroup", &group.below("a")]).command(["true"]).run().succeeds();
    tool("cg-apply").args(["--cgroup", &path]).command(["true"]).run().succeeds();
    for dir in group.dirs() {
        assert!(dir.join("a").is_dir() && !dir.join("a/b").exists(), "{}", dir.display());
    }
    drop(group);
    leftovers.check();
}

#[test]
fn without_keep_the_supervisor_is_outside_and_with_it_there_is_none() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let mut running = tool("cg-apply").args(["--cgroup", group.path()]).verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    let inside = group.procs();
    assert!(inside.len() == 1 && inside[0] != running.pid(), "{inside:?}");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().status, 143);
    group.expect_gone();

    let mut running = tool("cg-apply").args(["--keep", "--cgroup", group.path()]).verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    assert_eq!(group.procs(), [running.pid()]);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().signal, Some(Signal::SIGTERM as i32));
    group.expect_there();
    drop(group);
    leftovers.check();
}

#[test]
fn a_group_that_is_there_is_joined_and_neither_emptied_nor_removed() {
    let Some(version) = controller("pids") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let args = ["--keep", "--cgroup", group.path(), "--pids", "50"];
    let mut first = tool("cg-apply").args(args).verb(["sleep"]).spawn();
    assert_eq!(first.line(), "ready");
    // Without limits of its own, the second one leaves those of the first.
    let mut second = tool("cg-apply").args(["--cgroup", group.path()]).verb(["sleep"]).spawn();
    assert_eq!(second.line(), "ready");
    assert_eq!((group.procs().len(), group.read("pids", "pids.max")), (2, "50".into()));
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().status, 143);
    assert_eq!(group.procs(), [first.pid()]);
    // And with one, the limit is changed for all that are in it.
    tool("cg-apply").args(["--cgroup", group.path(), "--pids", "60"]).command(["true"]).run().succeeds();
    assert_eq!(group.read("pids", "pids.max"), "60");
    assert!(is_alive(first.pid()), "{version:?}");
    first.kill();
    drop((first, group));
    leftovers.check();
}

#[test]
fn exclusive_takes_an_empty_group_and_no_other() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let exclusive =
        || tool("cg-apply").args(["--exclusive", "--cgroup", group.path()]).command(["echo", "ran"]).run();
    assert_eq!(exclusive().succeeds().stdout, "ran\n");
    tool("cg-apply").args(["--keep", "--cgroup", group.path()]).command(["true"]).run().succeeds();
    assert_eq!(exclusive().succeeds().stdout, "ran\n");
    group.expect_there();

    let mut inside =
        tool("cg-apply").args(["--keep", "--cgroup", &group.below("deep")]).verb(["sleep"]).spawn();
    assert_eq!(inside.line(), "ready");
    exclusive().refuses(125, "container's cgroup is not empty: 1 process(es)");
    assert!(is_alive(inside.pid()));
    inside.kill();

    let (file, value) = match requires::cgroup_mount("freezer") {
        Some(_) => ("freezer.state", "FROZEN"),
        None => ("cgroup.freeze", "1"),
    };
    group.write("freezer", file, value);
    exclusive().refuses(125, "container's cgroup unexpectedly frozen");
    drop((inside, group));
    leftovers.check();
}

#[test]
fn a_chain_that_cannot_go_on_takes_the_group_back() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    for keep in [&[][..], &["--keep"]] {
        let run = |command: &str| {
            tool("cg-apply").args(keep).args(["--cgroup", group.path()]).command([command]).run()
        };
        run("/nowhere/nothing").refuses(127, "(ENOENT)");
        group.expect_gone();
        run("/etc/passwd").refuses(126, "(EACCES)");
        group.expect_gone();
    }
    // A later link that refuses ends as a command does.
    let later =
        tool("cg-apply").args(["--cgroup", group.path()]).then("cap-drop", ["--cap-drop", "nonsense"]);
    later.command(["echo", "ran"]).run().refuses(125, "nonsense");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_process_in_the_way_of_v2s_controllers_is_named() {
    if controller("memory") != Some(Version::V2) {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let mut inside = tool("cg-apply").args(["--keep", "--cgroup", group.path()]).verb(["sleep"]).spawn();
    assert_eq!(inside.line(), "ready");
    let below = group.below("child");
    // Some controllers could be given even so, and would turn the group into another kind.
    for limit in [["-m", "64M"], ["--pids", "5"]] {
        let out = tool("cg-apply").args(["--cgroup", &below]).args(limit).command(["echo", "ran"]).run();
        out.refuses(125, "the parent holds 1 process(es) itself");
        assert!(!group.dir("pids").join("child").exists());
        assert_eq!(group.read("pids", "cgroup.subtree_control"), "");
        assert_eq!(group.read("pids", "cgroup.type"), "domain");
    }
    // Without a limit there is nothing in the way.
    tool("cg-apply").args(["--cgroup", &below]).command(["true"]).run().succeeds();
    inside.kill();
    drop((inside, group));
    leftovers.check();
}
