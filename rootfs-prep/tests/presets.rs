//! Presets: what they hold, what they hide, that they say what they stand for, and that flags have the last word.

mod common;

use catena_tests::{TempDir, Tool, requires, tool};
use common::{is_root, prep};
use std::path::Path;

/// The host's own programs are where the presets look for them.
fn merged_usr() -> bool {
    std::fs::read_link("/bin").is_ok_and(|to| to == Path::new("usr/bin"))
        || requires::skip("needs a host whose /bin is usr/bin")
}

fn preset(name: &str, more: &[&str]) -> Tool {
    prep([&["--preset", name], more].concat())
}

#[track_caller]
fn sh(tool: Tool, line: &str) -> String {
    tool.command(["/bin/sh", "-c", line]).run().succeeds().stdout.clone()
}

#[test]
fn minimal_is_empty_until_it_is_filled() {
    if !merged_usr() {
        return;
    }
    preset("minimal", &[]).command(["/bin/true"]).run().fails(127, "(ENOENT)");
    let found = sh(
        preset("minimal", &["--ro-bind", "/usr", "/usr"]),
        "ls -A / | tr '\\n' ' '; touch /tmp/x; ls -A /tmp /dev | wc -l",
    );
    for name in ["bin", "dev", "proc", "tmp", "usr"] {
        assert!(found.split_whitespace().any(|n| n == name), "no {name} in {found}");
    }
    for name in ["etc", "home", "root", "run", "sys", "var"] {
        assert!(!found.split_whitespace().any(|n| n == name), "{name} in {found}");
    }
}

#[test]
fn host_ro_shows_the_host_and_lets_nothing_be_changed() {
    let dir = TempDir::new();
    dir.file("mine", "mine");
    let path = dir.path().to_str().unwrap();
    // /tmp is empty, so the folder of the test is bound where it was.
    let line = format!(
        "cat {path}/mine; ls -A /tmp | wc -l; for f in /x /usr/x /etc/x /var/x {path}/x; do (echo x >$f) 2>/dev/null && echo wrote $f; done; \
         echo ok >/tmp/x && cat /tmp/x; ls /dev | grep -c sd; grep -c . /proc/self/status >/dev/null && echo proc"
    );
    let found = sh(preset("host-ro", &["--ro-bind", path, path]), &line);
    assert_eq!(found, "mine1\nok\n0\nproc\n");
    let found = sh(
        preset("host-ro", &["--bind", path, path]),
        &format!("echo new >{path}/new && echo wrote; ls -A /run | grep -v systemd | wc -l"),
    );
    assert_eq!(found, "wrote\n0\n");
    assert_eq!(std::fs::read_to_string(dir.join("new")).unwrap(), "new\n");
    let p = preset(
        "host-ro",
        &["--ro-bind", path, path, "--bind", catena_tests::probe_path().to_str().unwrap(), "/tmp/probe"],
    )
    .probe_at("/tmp/probe");
    p.expect_mount_options("/", &["ro", "nosuid", "nodev"]);
    p.expect_hidden("/proc/timer_list");
    p.expect_mount_options("/proc/sys", &["ro"]);
    assert_eq!(p.processes, Some(1));
}

#[test]
fn build_works_in_this_folder_and_in_no_other() {
    if !merged_usr() {
        return;
    }
    let dir = TempDir::new();
    dir.file("source", "text");
    let out = preset("build", &[]).cwd(dir.path()).command(["/bin/sh", "-c", "pwd; cat source; touch made; ls -d /home /root /etc/shadow /var /etc/passwd 2>/dev/null; (touch /usr/x) 2>/dev/null || echo ro"]).run();
    assert_eq!(out.succeeds().stdout, format!("{}\ntext/etc/passwd\nro\n", dir.path().display()));
    assert!(dir.join("made").exists());
    let elsewhere = preset("build", &["--chdir", "/tmp"]).cwd(dir.path()).command(["/bin/pwd"]).run();
    assert_eq!(elsewhere.succeeds().stdout, "/tmp\n");
    preset("build", &[]).cwd("/").command(["/bin/echo", "ran"]).run().refuses(125, "this is /");
}

#[test]
fn a_flag_takes_the_place_of_what_the_preset_has_there() {
    if !merged_usr() {
        return;
    }
    let dir = TempDir::new();
    dir.file("file", "mine");
    let path = dir.path().to_str().unwrap();
    let found = sh(
        preset("host-ro", &["--ro-bind", path, "/tmp"]),
        "cat /tmp/file; touch /tmp/x 2>/dev/null || echo ro",
    );
    assert_eq!(found, "minero\n");
    let found =
        sh(preset("minimal", &["--ro-bind", "/usr", "/usr", "--tmpfs", "/dev"]), "ls -A /dev | wc -l");
    assert_eq!(found, "0\n");
}

/// What `--print` says the preset is, typed in its place, makes the same layer.
#[test]
fn print_says_what_it_stands_for() {
    let dir = TempDir::new();
    for name in ["minimal", "host-ro", "build"] {
        let out = tool("rootfs-prep").args(["--print", "--preset", name]).cwd(dir.path()).run();
        let line = out.succeeds().stdout.lines().next().unwrap_or_default().to_string();
        let flags = line.strip_prefix(&format!("preset    {name}: ")).unwrap_or_else(|| panic!("{out:?}"));
        let json = |args: Vec<&str>| {
            let plan = tool("rootfs-prep").arg("-N").args(args).cwd(dir.path()).run().json();
            plan["layers"][0].clone()
        };
        let (mut ours, mut theirs) = (json(vec!["--preset", name]), json(flags.split(' ').collect()));
        // What may be made less of is the preset's own business, and where it works.
        for layer in [&mut ours, &mut theirs] {
            for key in ["try", "cwd"] {
                layer["spec"].as_object_mut().unwrap().remove(key);
            }
        }
        assert_eq!(ours, theirs);
    }
}

#[test]
fn a_preset_that_is_none() {
    let refused = |args: &[&str], text: &str| {
        prep(args.iter()).command(["/bin/echo", "ran"]).run().refuses(125, text);
    };
    refused(&["--preset", "maximal"], "--preset maximal: it is none of minimal, host-ro, build");
    refused(&["--preset", "build", "--root", "/"], "--root");
    refused(&["--preset", "minimal", "--preset", "build"], "--preset");
}

/// Without a pid namespace of its own /proc is the caller's, and it is said.
#[test]
fn without_a_new_pid_namespace() {
    if !is_root() || !merged_usr() {
        return;
    }
    let log = catena_tests::StatusLog::new();
    let out = common::behind("-m", ["--preset", "host-ro", "--status-fd", "9"])
        .fd(log.fd(), 9)
        .command(["/bin/ls", "/proc/self/fd"])
        .run();
    out.succeeds();
    let receipt = log.of("receipt").into_iter().find(|r| r["receipt"]["tool"] == "rootfs-prep").unwrap();
    assert!(receipt["receipt"]["degraded"].to_string().contains("the pid namespace is not new"), "{receipt}");
}
