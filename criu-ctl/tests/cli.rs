//! criu-ctl without criu: what it refuses, what it prints, and that a criu that dies or hangs leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Leftovers, Stdin, TempDir, Tool, shell, tool, until};
use nix::sys::signal::Signal;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn criu_ctl(line: &str) -> Tool {
    tool("criu-ctl").args(line.split_whitespace())
}

/// A program in place of criu.
fn stand_in(dir: &TempDir, script: &str) -> String {
    dir.program("criu", format!("#!/bin/sh\n{script}\n")).to_str().unwrap().into()
}

/// The folder of a dump that looks whole.
fn images(dir: &TempDir) -> String {
    let path = dir.file("img/inventory.img", "");
    path.parent().unwrap().to_str().unwrap().into()
}

#[test]
fn names_unknown_to_it_are_refused() {
    for (line, reason) in [
        ("dumpp", "'dumpp' is not possible"),
        ("dump --bogus", "unknown option --bogus"),
        ("dump -t x -D d", "'x'"),
        ("dump -t 1 -D d --log-level 5", "'5'"),
        ("restore d", "DIR is not for restore"),
        ("", "no command: check, dump, pre-dump, restore, migrate, show"),
        ("restore -D d --keep-fd 5", "criu-ctl has none"),
        ("check --feature=--help", "is no feature's name"),
    ] {
        criu_ctl(line).run().refuses(125, reason);
    }
}

#[test]
fn it_ends_a_chain() {
    criu_ctl("restore -D d -N").command(["true"]).run().refuses(125, "criu-ctl has no next program");
}

#[test]
fn help_has_an_example_and_version_has_the_features() {
    let help = criu_ctl("--help").run();
    help.succeeds();
    assert!(help.stdout.contains("cg-apply -m 1G -- criu-ctl restore -D img"), "{help:?}");
    let version = criu_ctl("--version --json").run();
    assert_eq!(version.succeeds().json()["tool"], "criu-ctl");
}

#[test]
fn print_changes_nothing() {
    let dir = TempDir::new();
    let folder = dir.join("img");
    let folder = folder.to_str().unwrap();
    let out = criu_ctl(&format!("dump -t 4194304 -D {folder} -j --print")).run();
    let document = out.succeeds().json();
    assert_eq!(document["type"], "DUMP");
    assert_eq!(document["images_dir"], folder);
    assert_eq!((&document["opts"]["pid"], &document["opts"]["shell_job"]), (&4_194_304.into(), &true.into()));
    assert!(!Path::new(folder).exists());
}

#[test]
fn no_criu_says_what_to_install() {
    let dir = TempDir::new();
    let out = criu_ctl(&format!("restore --criu /nowhere/criu -D {}", images(&dir))).run();
    out.refuses(125, "cannot start criu: execve(/nowhere/criu): No such file or directory (ENOENT)");
    out.refuses(125, "try: apt-get install criu");
}

#[test]
fn a_pid_that_is_not_there_is_refused_before_anything_is_made() {
    let dir = TempDir::new();
    let folder = dir.join("img");
    let out = criu_ctl(&format!("dump --criu /bin/true -t 4194304 -D {}", folder.display())).run();
    out.refuses(125, "cannot dump process 4194304: pidfd_open(4194304)");
    assert!(!folder.exists());
}

#[test]
fn a_folder_without_a_whole_dump_is_refused() {
    let dir = TempDir::new();
    let img = images(&dir);
    let restore = |folder: &str| criu_ctl(&format!("restore --criu /bin/true -D {folder}")).run();
    restore(&dir.join("none").display().to_string()).refuses(125, "No such file or directory (ENOENT)");
    std::fs::create_dir(dir.join("empty")).unwrap();
    restore(&dir.join("empty").display().to_string()).refuses(125, "inventory.img is not there");
    restore(&dir.file("file", "").display().to_string()).refuses(125, "Not a directory (ENOTDIR)");
    symlink(&img, dir.join("link")).unwrap();
    restore(&dir.join("link").display().to_string()).refuses(125, "it is a symbolic link");
    dir.file("img/catena-dump-unfinished", "cannot dump process 7: \x1b[2Jno\n");
    restore(&img).refuses(125, "its dump did not finish: cannot dump process 7: ?[2Jno");
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let dir = TempDir::new();
    let img = images(&dir);
    std::fs::set_permissions(&img, std::fs::Permissions::from_mode(0o777)).unwrap();
    for line in [format!("restore -D {img}"), format!("dump -t {} -D {img}", std::process::id())] {
        criu_ctl(&format!("{line} --criu /bin/true")).run().refuses(125, "others may write to");
    }
    assert_eq!(std::fs::read_dir(&img).unwrap().count(), 1, "nothing was written");
}

#[test]
fn a_log_that_is_a_link_is_not_written_through() {
    let dir = TempDir::new();
    let img = images(&dir);
    let victim = dir.file("victim", "whole");
    symlink(&victim, Path::new(&img).join("restore.log")).unwrap();
    let criu = stand_in(&dir, &format!("echo x > {img}/restore.log; exit 1"));
    criu_ctl(&format!("restore --criu {criu} -D {img}")).run().refuses(125, "went away without an answer");
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "whole");
}

#[test]
fn a_criu_that_dies_is_one_line() {
    let dir = TempDir::new();
    let watch = Leftovers::watch();
    for (script, reason) in [
        ("exit 3", "criu went away without an answer: it ended with status 3"),
        ("kill -9 $$", "criu went away without an answer: it was killed by signal 9"),
        ("echo no luck >&2; exit 1", "no luck"),
    ] {
        let criu = stand_in(&dir, script);
        let img = images(&dir);
        criu_ctl(&format!("restore --criu {criu} -D {img}")).run().refuses(125, reason);
        criu_ctl(&format!("check --criu {criu}")).run().refuses(125, reason);
        let mut target = shell("exec sleep 60").spawn();
        let pid = target.pid();
        criu_ctl(&format!("dump --criu {criu} -D {img} -t {pid}")).run().refuses(125, reason);
        // Neither half a dump, nor a whole one from before, is taken for this one.
        let unfinished = Path::new(&img).join("catena-dump-unfinished");
        assert!(std::fs::read_to_string(&unfinished).unwrap().contains(reason));
        criu_ctl(&format!("restore --criu {criu} -D {img}")).run().refuses(125, "its dump did not finish");
        std::fs::remove_file(unfinished).unwrap();
        assert!(!target.is_over());
        target.kill();
    }
    watch.check();
}

/// A restore makes processes before it fails.
#[test]
fn what_a_restore_left_half_made_is_killed() {
    let dir = TempDir::new();
    let watch = Leftovers::watch();
    let criu = stand_in(&dir, "sleep 60 & (sleep 61 & sleep 62 &) & exit 1");
    let img = images(&dir);
    criu_ctl(&format!("restore --criu {criu} -D {img}")).run().refuses(125, "it ended with status 1");
    watch.check();
}

#[test]
fn a_criu_that_hangs_ends_with_the_second_signal() {
    let dir = TempDir::new();
    let watch = Leftovers::watch();
    let (started, said, img) = (dir.join("started"), dir.join("said"), dir.join("img"));
    let criu = stand_in(&dir, &format!("touch {}; exec sleep 60", started.display()));
    let mut target = shell("exec sleep 60").spawn();
    let dump = format!("dump --criu {criu} -t {} -D {}", target.pid(), img.display());
    let running = shell(&format!("exec criu-ctl {dump} 2>{}", said.display())).spawn();
    until("criu is started", || started.exists());
    let holds_back = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
        let mask = u64::from_str_radix(mask, 16).unwrap();
        let is_in = |signal: Signal| mask >> (signal as i32 - 1) & 1 == 1;
        // While it starts a program, every signal is blocked.
        is_in(Signal::SIGTERM) && !is_in(Signal::SIGUSR1)
    };
    until("it holds signals back", holds_back);
    running.signal(Signal::SIGTERM);
    let text = || std::fs::read_to_string(&said).unwrap();
    until("it warns", || text().contains("the next one stops it\n"));
    running.signal(Signal::SIGTERM);
    let mut out = running.wait();
    out.stderr = text();
    out.refuses(125, "SIGTERM came for the second time");
    assert!(out.stderr.contains("warning: SIGTERM: criu is at work"), "{out:?}");
    target.kill();
    watch.check();
}

const PLAN: &str = r#"{"catena":1,"layers":[{"tool":"cg-apply","spec":{}},{"tool":"rootfs-prep","spec":{"root":
    {"path":"/r"},"mounts":[{"destination":"/data","source":"/d","options":["bind"]}]}}],"complete":true}"#;

#[test]
fn a_plan_names_the_root_and_the_mounts_and_no_limit_is_lost() {
    let dump = "dump -t 1 -D img --print";
    let from_file = TempDir::new();
    let path = from_file.file("plan.json", PLAN);
    for out in [criu_ctl(dump).input(PLAN).run(), criu_ctl(dump).arg("--plan").arg(path).run()] {
        let document = out.succeeds().json();
        assert_eq!(document["opts"]["root"], "/r");
        assert_eq!(document["opts"]["external"][0], "mnt[/data]:/data");
    }
    let restore = "restore -D img --print";
    criu_ctl(restore).input(PLAN).run().refuses(125, "does not carry out the layer of cg-apply");
    let out = criu_ctl(restore).input(PLAN.replace(r#"{"tool":"cg-apply","spec":{}},"#, "")).run();
    assert_eq!(out.succeeds().json()["opts"]["external"][0], "mnt[/data]:/d");
    // A stage before it that failed wrote nothing.
    criu_ctl(restore).input("").run().refuses(125, "it is empty");
    criu_ctl(restore).arg("-N").input(PLAN).run().succeeds();
    criu_ctl(restore).stdin(Stdin::Closed).run().succeeds();
}

#[test]
fn a_config_names_the_root_and_the_mounts() {
    let dir = TempDir::new();
    let config = dir.file(
        "bundle/config.json",
        r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"mounts":[{"destination":"/data","source":"vol","type":"bind"}]}"#,
    );
    let out = criu_ctl("restore -D img --print --oci").arg(&config).run();
    let document = out.succeeds().json();
    let bundle = config.parent().unwrap();
    assert_eq!(document["opts"]["root"], bundle.join("rootfs").to_str().unwrap());
    let wanted = format!("mnt[/data]:{}", bundle.join("vol").display());
    assert_eq!(document["opts"]["external"][0], wanted);
    let short = dir.file("short.json", r#"{"ociVersion":"#);
    criu_ctl("dump -t 1 -D img --oci").arg(short).run().refuses(125, "cut short");
}

#[test]
fn an_error_is_json_on_the_status_fd() {
    let out = shell("criu-ctl restore -D /nowhere/img --criu /bin/true --status-fd 7 7>&1 2>/dev/null").run();
    let event = out.json();
    assert_eq!((&event["event"], &event["class"]), (&"error".into(), &"missing".into()));
    assert_eq!(out.status, 125);
}
