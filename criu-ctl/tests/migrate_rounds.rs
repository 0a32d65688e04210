//! `criu-ctl migrate` between its rounds. What criu would do in them stands in a script that waits for the test, for few
//! kernels can tell which pages were written to.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counter;

use catena_tests::{Running, TempDir, requires};
use counter::migrating::{expect_nothing_happened, migrate, started};
use counter::{Counter, child_with, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;

/// `criu swrk FD` and `criu page-server`, of which every round takes one. It answers a round when there is a file `answer`
/// beside it, and ends when there is a file `end`.
const CRIU: &str = r#"#!/usr/bin/perl
use strict;
use warnings;
my ($dir) = $0 =~ m{(.*)/};
sub there { open my $file, '>', "$dir/$_[0]" or die }
sub wait_for { select undef, undef, undef, 0.01 until -e "$dir/$_[0]" }
my $verb = shift;
if ($verb eq 'page-server') {
    my ($fd) = "@ARGV" =~ /--ps-socket (\d+)/;
    open my $socket, '<&=', $fd or die;
    1 while sysread $socket, my $page, 4096;
    exit 0;
}
open my $socket, '+<&=', $ARGV[0] or die;
sysread $socket, my $request, 65536;
my $type = ord substr $request, 1, 1;
# The kernel can tell, and a round went well: types 9 and 13 of criu's rpc.proto.
syswrite $socket, "\x08\x09\x10\x01\x42\x02\x08\x01" if $type == 9;
if ($type == 13) {
    there('began');
    wait_for('answer');
    syswrite $socket, "\x08\x0d\x10\x01";
    there('answered');
    wait_for('end');
}
"#;

struct Migration {
    dir: TempDir,
    there: PathBuf,
    counter: Counter,
    running: Running,
}

impl Migration {
    /// One in its first round.
    fn begin() -> Migration {
        let dir = TempDir::new();
        let criu = dir.program("criu", CRIU);
        let there = dir.join("there");
        let counter = started(&dir, "LOOP");
        let running = migrate(counter.pid, &there, &format!("-d --criu {}", criu.display())).spawn();
        let migration = Migration { dir, there, counter, running };
        wait_for("a round begins", || migration.dir.join("began").exists());
        migration
    }

    /// It has been told, and looks at it next.
    fn signal(&self, signal: Signal) {
        self.running.signal(signal);
        let status = || std::fs::read_to_string(format!("/proc/{}/status", self.running.pid())).unwrap();
        let bit = 1_u64 << (signal as i32 - 1);
        let mask = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
            u64::from_str_radix(line, 16).unwrap() & bit != 0
        };
        wait_for("it has the signal held back", || mask(&status(), "SigBlk:"));
    }

    #[track_caller]
    fn fails(self, why: &str) {
        let Migration { dir: _dir, there, counter, running } = self;
        running.wait().fails(125, why);
        expect_nothing_happened(&counter, &there);
    }
}

#[test]
fn a_signal_in_a_round_ends_it_after_that_round() {
    if !requires::root() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let migration = Migration::begin();
        migration.signal(signal);
        for file in ["answer", "end"] {
            migration.dir.file(file, "");
        }
        migration.fails(&format!("{signal} came; it runs on where it is"));
    }
}

/// The round has answered, and the next criu, who would look for signals, is not there yet.
#[test]
fn a_signal_between_two_rounds_ends_it_there() {
    if !requires::root() {
        return;
    }
    let migration = Migration::begin();
    migration.dir.file("answer", "");
    wait_for("the round answers", || migration.dir.join("answered").exists());
    migration.signal(Signal::SIGTERM);
    migration.dir.file("end", "");
    migration.fails("SIGTERM came; it runs on where it is");
}

#[test]
fn a_page_server_that_is_killed_in_a_round_is_named() {
    if !requires::root() {
        return;
    }
    let migration = Migration::begin();
    let server = child_with(migration.running.pid(), "page-server").unwrap();
    kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
    for file in ["answer", "end"] {
        migration.dir.file(file, "");
    }
    migration.fails("cannot take pages at the destination: criu: signal: 9 (SIGKILL)");
}
