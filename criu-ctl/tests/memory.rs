//! A gibibyte of memory, every page of it touched: dumped, restored, and looked at by the process that it is of.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counter;

use catena_tests::{TempDir, requires, tool};
use counter::{criu_ctl, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Command, Stdio};

/// 1024 blocks that all differ, made of a random one that only this process has. Asked to, it says which are still right.
const PROGRAM: &str = r#"
    my ($dir) = @ARGV;
    open my $random, '<', '/dev/urandom' or die; read $random, my $base, 1 << 20; close $random;
    sub block { return $base ^ (pack('N', $_[0]) x (1 << 18)) }
    my @memory = map { block($_) } 0 .. 1023;
    sub note { open my $file, '>', "$dir/$_[0].new" or die; print $file $_[1]; close $file; rename "$dir/$_[0].new", "$dir/$_[0]" }
    note('ready', '');
    select undef, undef, undef, 0.02 until -e "$dir/look";
    note('found', scalar(grep { $memory[$_] eq block($_) } 0 .. 1023));
    select undef, undef, undef, 0.02 while 1;
"#;

fn available_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn free_bytes(folder: &Path) -> u64 {
    let fs = nix::sys::statvfs::statvfs(folder).unwrap();
    fs.blocks_available() as u64 * fs.fragment_size() as u64
}

#[test]
fn a_gibibyte_comes_back_as_it_was() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    // The process, and its images, which may be in memory too.
    if available_kib() < 4 << 20 || free_bytes(dir.path()) < 3 << 29 {
        requires::skip("needs 4 GiB of free memory, and 1.5 of free disk");
        return;
    }
    let (img, mark) = (dir.join("img"), dir.path().display().to_string());
    let mut program = Command::new("setsid");
    program
        .args(["perl", "-e", PROGRAM, &mark])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = program.spawn().unwrap();
    let pid = child.id() as i32;
    wait_for("its memory is full", || dir.join("ready").exists());
    let numbers = criu_ctl("dump", &img, &format!("-t {pid} --json")).run();
    child.wait().unwrap();
    assert!(numbers.succeeds().json()["pages_written"].as_u64().unwrap() >= 1 << 18, "{numbers:?}");
    assert!(tool("criu-ctl").arg("show").arg(&img).run().succeeds().stdout.starts_with("a whole dump\n"));

    criu_ctl("restore", &img, "-d").run().succeeds();
    assert!(!dir.join("found").exists(), "it looked before it was asked");
    dir.file("look", "");
    wait_for("it has looked", || dir.join("found").exists());
    let found = std::fs::read_to_string(dir.join("found")).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_for("it is gone", || counter::processes_with(&mark).is_empty());
    assert_eq!(found, "1024", "so many of 1024 blocks are what they were");
}
