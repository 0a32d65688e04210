//! docs/recipes.md: every recipe is run to the letter, in a folder that has what it names.

use catena_tests::{
    Leftovers, Output, TempDir, copy_program, probe_path, recipe, recipes, requires, rootfs, shell,
};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Every heading has a test here, or in the lane that its program needs.
#[test]
fn every_recipe_is_run_by_a_test() {
    let here = include_str!("recipes.rs");
    let with_criu = include_str!("../../criu-ctl/tests/criu.rs");
    for (heading, _) in recipes() {
        let called = format!("\"{heading}\"");
        assert!(here.contains(&called) || with_criu.contains(&called), "no test runs '{heading}'");
    }
}

fn run_in(folder: &Path, heading: &str) -> Output {
    shell(&format!("set -e\n{}", recipe(heading))).cwd(folder).run()
}

/// The host's own programs are where the recipe looks for them.
fn merged_usr() -> bool {
    let merged = fs::read_link("/bin").is_ok_and(|to| to == Path::new("usr/bin"));
    requires::root() && (merged || requires::skip("needs a host whose /bin is usr/bin"))
}

#[test]
fn a_build() {
    if !merged_usr() || !requires::command("make") || !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let look = "ls -d /home /etc 2>/dev/null; ls -A /src; grep -c : /proc/net/dev; id -u";
    dir.file("Makefile", format!("test:\n\t@{look}; touch made; echo built\n"));
    let out = run_in(dir.path(), "A box from the host's own programs");
    assert_eq!(out.succeeds().stdout, "Makefile\n1\n0\nbuilt\n", "{out:?}");
    assert!(dir.join("made").exists());
    leftovers.check();
}

#[test]
fn a_judge() {
    if !requires::root() || !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    fs::create_dir(dir.join("box")).unwrap();
    copy_program(probe_path(), dir.join("box/solution"));
    dir.file("in", "42\n");
    let judge = |verb: &str| {
        let line = recipe("An online judge").replace("./solution ", &format!("./solution {verb} "));
        let status = shell(&line).cwd(&dir).run().status;
        let verdict: Value = serde_json::from_slice(&fs::read(dir.join("verdict.json")).unwrap()).unwrap();
        (status, verdict["exceeded"].as_str().unwrap_or("").to_string())
    };
    let judge = |verb: &str, status: i32, limit: &str, what: &str| {
        assert_eq!(judge(verb), (status, limit.into()), "{what}")
    };
    judge("cat", 0, "", "nothing");
    assert_eq!(fs::read_to_string(dir.join("out")).unwrap(), "42\nok\n");
    judge("exit 3", 3, "", "its own status");
    judge("eat-memory 512M", 137, "memory", "the memory limit");
    judge("sleep", 124, "wallTime", "the limit of time");
    judge("fork 20", 1, "", "the limit of processes");
    judge("try-syscall socket 2 1 0", 1, "", "no sockets");
    // On a busy machine either may be over first.
    assert_eq!(
        shell(&recipe("An online judge").replace("./solution ", "./solution spin ")).cwd(&dir).run().status,
        124
    );
    leftovers.check();
}

#[test]
fn a_converter() {
    if !merged_usr() || !requires::command("gzip") {
        return;
    }
    let dir = TempDir::new();
    shell("echo content | gzip >upload.gz").cwd(&dir).run().succeeds();
    run_in(dir.path(), "Data that may be hostile, from a pipe to a pipe").succeeds();
    assert_eq!(fs::read_to_string(dir.join("upload")).unwrap(), "content\n");
    // A plan in the data is data.
    dir.file("upload.gz", r#"{"catena":1,"layers":[],"complete":true}"#);
    let out = run_in(dir.path(), "Data that may be hostile, from a pipe to a pipe");
    assert!(out.stderr.contains("not in gzip format"), "{out:?}");
}

#[test]
fn another_distribution() {
    let Some(user) = requires::user() else { return };
    if !requires::command("newuidmap") {
        return;
    }
    let root = rootfs();
    let folder = root.parent();
    fs::create_dir(folder.join("src")).unwrap();
    let own = format!("chown -R {}:{} {}", user.uid, user.gid, folder.display());
    shell(&own).run().succeeds();
    let as_user = format!(
        "cd {} && exec setpriv --reuid {} --regid {} --clear-groups bash -c \"$1\"",
        folder.display(),
        user.uid,
        user.gid
    );
    let out = shell(&as_user).args(["sh", recipe("Another distribution, without root").as_str()]).run();
    assert_eq!(out.succeeds().stdout, "0\n", "{out:?}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(folder.join("src/made")).unwrap().uid(), user.uid);
}

#[test]
fn no_network() {
    if !requires::root() {
        return;
    }
    let out = run_in(Path::new("/"), "Tests without a network, but with localhost");
    // /sys is the caller's, so it still shows the caller's network; the namespace is asked instead.
    assert!(out.succeeds().stdout.ends_with("0\n"), "{out:?}");
}

#[test]
fn a_service() {
    if !requires::root() || !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    fs::create_dir(dir.join("data")).unwrap();
    let out = run_in(dir.path(), "A service, without a process between it and its supervisor");
    assert_eq!(out.succeeds().stdout, "33\n", "{out:?}");
    shell("cg-apply --rm svc").run().succeeds();
    leftovers.check();
}

#[test]
fn plans() {
    if !requires::root() || !requires::controller("memory") || !requires::command("jq") {
        return;
    }
    let root = rootfs();
    let out = run_in(root.parent(), "A box as a file");
    assert_eq!(out.succeeds().stdout, "box\n", "{out:?}");

    let root = rootfs();
    shell("mkdir bundle && mv rootfs bundle/").cwd(root.parent()).run().succeeds();
    let out = run_in(root.parent(), "From an OCI bundle to a plan, and back");
    assert_eq!(out.status, 0, "{out:?}");
    assert!(out.stderr.contains("process.terminal: the command has this shell's"), "{out:?}");
    assert!(out.stdout.starts_with("[\n"), "{out:?}");
    assert!(out.stdout.ends_with("]\ncatena\ncatena\n"), "{out:?}");
}

#[test]
fn receipts() {
    if !requires::root() || !requires::command("jq") {
        return;
    }
    let root = rootfs();
    let out = run_in(root.parent(), "What was done, for a program to read");
    let all = ["ns-enter", "rootfs-prep", "cap-drop"].map(|tool| format!("{tool} proven: true\n"));
    assert_eq!(out.succeeds().stdout, all.concat());
}

#[test]
fn what_is_in_force() {
    if !requires::command("jq") {
        return;
    }
    let out = run_in(Path::new("/"), "What is in force, for a process that runs");
    assert!(out.succeeds().stdout.lines().count() == 2, "{out:?}");
}

#[test]
fn tools_of_the_host() {
    if !requires::root() || !requires::command("pgrep") {
        return;
    }
    let out = run_in(Path::new("/"), "The tools of the host, in a container of somebody else's");
    assert_eq!(out.succeeds().stdout, "theirs\n", "{out:?}");
}

#[test]
fn an_older_kernel() {
    if !requires::command("make") {
        return;
    }
    let dir = TempDir::new();
    dir.file("Makefile", "test:\n\t@$$PROBE try-syscall clone3; $$PROBE try-syscall openat2; true\n");
    let out = run_in(dir.path(), "How would it do on an older kernel?");
    assert_eq!(out.succeeds().stdout, "ENOSYS\nENOSYS\n", "{out:?}");
}

#[test]
fn a_network_of_two() {
    if !requires::veth() {
        return;
    }
    let dir = TempDir::new();
    let out = run_in(dir.path(), "A network of two");
    assert!(out.succeeds().stdout.contains("10.93.0.2/24"), "{out:?}");
}

#[test]
fn no_further_user_namespaces() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let out = run_in(dir.path(), "Nobody inside becomes root of anything again");
    assert_eq!((out.status, out.stdout.as_str()), (0, "refused\n"), "{out:?}");
}

#[test]
fn a_box_that_is_kept() {
    if !merged_usr() {
        return;
    }
    let (leftovers, dir) = (Leftovers::watch(), TempDir::new());
    let out = run_in(dir.path(), "Made once, entered often");
    let lines: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| *line == lines[0]), "one network for all: {out:?}");
    assert!(!dir.join("kept").exists(), "{out:?}");
    leftovers.check();
}

#[test]
fn ids_of_nobody_else() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let out = run_in(dir.path(), "Ids that nobody else has");
    let words: Vec<&str> = out.succeeds().stdout.split_whitespace().collect();
    assert!(words[0] == "0" && words[2] == "65536", "{out:?}");
}
