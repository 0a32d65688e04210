//! A tree that counts: a shell that writes one number a line, with a child now and then.

#![allow(dead_code, reason = "each test file takes its part")]

pub(crate) mod migrating;

use catena_tests::{Output, Running, TempDir, Tool, tool};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One of its verbs on a folder of images.
pub(crate) fn criu_ctl(verb: &str, folder: &Path, flags: &str) -> Tool {
    tool("criu-ctl").arg(verb).arg("-D").arg(folder).args(flags.split_whitespace())
}

/// Takes the counter into a folder.
pub(crate) fn dump(counter: &Counter, folder: &Path, flags: &str) -> Output {
    criu_ctl("dump", folder, &format!("-t {} {flags}", counter.pid)).run()
}

/// Waits until it is so; the test fails when it does not come.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The last whole number in a file.
pub(crate) fn last(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().last().map_or(0, |line| line.parse().unwrap())
}

/// Processes that are alive and have `mark` on their command line.
pub(crate) fn processes_with(mark: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let zombie = line.is_empty();
        !zombie && String::from_utf8_lossy(&line).split('\0').any(|word| word == mark)
    };
    pids.filter(has).collect()
}

/// The child of a criu-ctl that has this word on its command line.
pub(crate) fn child_with(pid: i32, word: &str) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
    };
    children.split_whitespace().map(|pid| pid.parse().unwrap()).find(has)
}

/// Up to five times, in new folders: none is what an attempt gives that came too late.
#[track_caller]
pub(crate) fn in_time(attempt: impl Fn() -> Option<()>) {
    assert!((0..5).any(|_| attempt().is_some()), "criu was over before it could be killed, five times");
}

/// Kills the criu of a criu-ctl; none when its work was done before.
#[track_caller]
pub(crate) fn kill_criu(
    mut running: Running,
    at_work: impl Fn() -> bool,
    is_done: impl Fn() -> bool,
) -> Option<Output> {
    wait_for("criu is at work", || at_work() || is_done() || running.is_over());
    let path = format!("/proc/{0}/task/{0}/children", running.pid());
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let is_criu =
        |pid: &i32| std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|c| c.starts_with(b"criu"));
    let criu = children.split_whitespace().map(|pid| pid.parse().unwrap()).find(is_criu);
    let killed = criu.is_some_and(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
    wait_for("criu-ctl knows of its end", || is_done() || running.is_over());
    if is_done() {
        running.kill();
        return None;
    }
    let out = running.wait();
    assert!(killed || out.status == 0, "it failed by itself: {out:?}");
    (out.status != 0).then_some(out)
}

/// See the module. Killed when dropped.
pub(crate) struct Counter {
    pub(crate) pid: i32,
    /// Its last argument, which nobody else has.
    pub(crate) mark: String,
    count: PathBuf,
    child: Option<Child>,
    group: Pid,
}

impl Counter {
    /// What it runs.
    pub(crate) const LOOP: &str = "while :; do echo $((++i)) >>COUNT; sleep 0.02; done";

    /// Starts one in a session of its own.
    pub(crate) fn start(dir: &TempDir) -> Counter {
        Counter::running(dir, Counter::LOOP)
    }

    /// Starts one that runs this.
    pub(crate) fn running(dir: &TempDir, script: &str) -> Counter {
        Counter::with_stdin(dir, script, Stdio::null())
    }

    /// Starts one that runs this, with this standard input.
    pub(crate) fn with_stdin(dir: &TempDir, script: &str, stdin: Stdio) -> Counter {
        let path = Counter::script(dir, script);
        let mut command = Command::new("setsid");
        command.arg("bash").arg(&path).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let counter = Counter::of(dir, child.id() as i32, Some(child));
        wait_for("it counts", || counter.last() > 2);
        counter
    }

    /// The script of one.
    pub(crate) fn script(dir: &TempDir, script: &str) -> PathBuf {
        let count = dir.join("count").display().to_string();
        dir.file("count.sh", script.replace("LOOP", Counter::LOOP).replace("COUNT", &count) + "\n")
    }

    /// One that somebody else started and wrote the pid of.
    pub(crate) fn watch(dir: &TempDir, pid: &Path) -> Counter {
        wait_for("it counts", || last(&dir.join("count")) > 2);
        let written = || std::fs::read_to_string(pid).unwrap_or_default();
        wait_for("its pid is written", || written().ends_with('\n'));
        let pid = written().trim().parse().unwrap();
        Counter::of(dir, pid, None)
    }

    fn of(dir: &TempDir, pid: i32, child: Option<Child>) -> Counter {
        let mark = dir.join("count.sh").display().to_string();
        // A child of ours may not have come to its setsid yet, but will.
        let pid_of = Pid::from_raw(pid);
        let group = if child.is_some() { pid_of } else { getpgid(Some(pid_of)).unwrap() };
        Counter { pid, mark, count: dir.join("count"), child, group }
    }

    /// Where it is.
    pub(crate) fn last(&self) -> u64 {
        last(&self.count)
    }

    /// 1, 2, 3… as one process counts that was never started anew.
    #[track_caller]
    pub(crate) fn expect_every_number_once(&self) {
        let text = std::fs::read_to_string(&self.count).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let numbers: Vec<usize> = whole.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    }

    /// Somebody waits for it from here on, so that its number is free as soon as it has ended.
    pub(crate) fn hand_over(&mut self) {
        let mut child = self.child.take().expect("it is our child");
        std::thread::spawn(move || child.wait());
    }

    /// It was killed, and its number is free again.
    #[track_caller]
    pub(crate) fn expect_gone(&mut self) {
        let child = self.child.as_mut().expect("it is our child");
        wait_for("it has ended", || child.try_wait().unwrap().is_some());
        self.child = None;
        self.wait_until_free();
    }

    /// No process of its group is left, not even one that nobody has waited for yet: all its numbers are free.
    #[track_caller]
    pub(crate) fn wait_until_free(&self) {
        wait_for("all of the tree is gone", || killpg(self.group, None).is_err());
    }

    /// Ends all of it. A group that is left keeps the number of its leader taken.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The harness's own group is never meant: the counter was started by setsid.
            killpg(Pid::from_raw(self.pid), Signal::SIGKILL).unwrap_or(());
            child.wait().map(drop).unwrap_or(());
            self.wait_until_free();
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.kill();
        for pid in processes_with(&self.mark) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or(());
        }
    }
}
