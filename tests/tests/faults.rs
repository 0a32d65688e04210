//! Each kind of system call of a start fails always, in each process of it, as behind a filter. Whatever fails: the
//! command runs as it does when nothing fails, or not at all; and nothing is left behind.
//!
//! Each single call of each process of a run fails once, too, with one of three errnos, or the process is killed there, in
//! turn. For the other starts each process is killed at the first of each kind.
//!
//! `CATENA_FAULTS=each` makes each single call fail for all of them, `CATENA_FAULTS=all` with each of the errnos, which
//! takes hours, and `CATENA_FAULTS=some` a choice of the calls. `CATENA_FAULTS=0.1:257:3:5` is that one.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_arch = "x86_64")]

mod tolerated;

use catena_tests::{Leftovers, Output, Probe, TempDir, TempRootfs, requires, rootfs, shell};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::chown;
use std::time::{Duration, Instant};
use tolerated::call::Call;
use tolerated::{DEFAULT_MOUNTS, ONCE, ONCE_BY_USER, OTHERWISE, RUNTIME, TOLERATED, WARNED};

/// A way to start the payload.
struct Start {
    root: TempRootfs,
    state: TempDir,
    id: &'static str,
    /// What makes another user start it; nothing for root.
    by: &'static str,
    line: String,
    /// Of the processes whose name begins so.
    whose: &'static str,
    leftovers: Leftovers,
    shape: BTreeMap<String, Value>,
    calls: Vec<Call>,
    wrong: String,
    runs: usize,
}

struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
    hangs: bool,
    /// The fault took place.
    hit: bool,
    /// The payload started.
    ran: bool,
    calls: Vec<Call>,
}

/// In nobody's /etc/passwd.
const USER: u32 = 54_321;
/// With a plus nobody is asked whether that is a name.
const BY_USER: &str = "chroot --skip-chdir --userspec=+54321:+54321 --groups= /";

/// Kept for other containers: exec takes it from there.
const FILTERS: &str = "@filters";

/// For a start that takes 50 milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

impl Start {
    /// `line` starts the payload: `runner` is the runner with its state folder, `ID` the container's id.
    fn new(id: &'static str, line: &str) -> Start {
        Start::made(id, "", "0.", line, &["/probe"])
    }

    fn made(id: &'static str, by: &'static str, whose: &'static str, line: &str, command: &[&str]) -> Start {
        let (root, state) = (rootfs(), TempDir::new());
        let leftovers = Leftovers::watch();
        let states = state.join("root");
        std::fs::create_dir(&states).unwrap();
        if !by.is_empty() {
            for path in [root.parent(), &root.path(), &states] {
                chown(path, Some(USER), Some(USER)).unwrap();
            }
        }
        let bundle = root.parent().display();
        let rootless = if by.is_empty() { "" } else { "--rootless" };
        shell(&format!("{by} runner spec {rootless} --bundle {bundle}")).run().succeeds();
        let text = std::fs::read(root.parent().join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(command);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]});
        root.config(&config);
        let runner = format!("{by} runner --root {}", states.display());
        let line = line.replace("runner", &runner).replace("ID", id);
        let mut start = Start {
            root,
            state,
            id,
            by,
            line,
            whose,
            leftovers,
            shape: BTreeMap::new(),
            calls: Vec::new(),
            wrong: String::new(),
            runs: 0,
        };
        let clean = start.traced("none");
        start.shape = clean.payload().unwrap().shape();
        start.delete().succeeds();
        assert_eq!(start.left(Duration::from_secs(10)), "");
        let chosen = |call: &Call| call.is_ours() && call.who.starts_with(whose);
        start.calls = clean.calls.into_iter().filter(chosen).collect();
        assert!(start.calls.len() > 300, "{} calls", start.calls.len());
        start
    }

    fn traced(&self, fault: &str) -> Ran {
        let told = self.state.join("told");
        // A container that waits would hold our pipes.
        let line = format!("exec $PROBE faults {} '{fault}' /bin/sh -c \"$0\" >out 2>err", told.display());
        let mut running = shell(&line).args([&self.line]).cwd(self.root.parent()).spawn();
        let deadline = Instant::now() + PATIENCE;
        while !running.is_over() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let hangs = !running.is_over();
        if hangs {
            running.kill();
        }
        let out = running.wait();
        let read = |name: &str| std::fs::read_to_string(self.root.parent().join(name)).unwrap();
        let told = std::fs::read_to_string(&told).unwrap();
        let mut ran = Ran {
            status: out.status,
            stdout: read("out"),
            stderr: read("err"),
            hangs,
            hit: told.lines().any(|line| line == "hit"),
            ran: told.lines().any(|line| line == "exec"),
            calls: told.lines().filter_map(Call::parse).collect(),
        };
        // The payload of a container that was started may be at work yet.
        let at_work = |ran: &Ran| {
            (ran.ran || ran.status == 0 && !fault.ends_with("kill")) && !ran.stdout.ends_with('\n')
        };
        while at_work(&ran) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
            ran.stdout = read("out");
        }
        ran
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state.join("root")).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != FILTERS)
            .collect()
    }

    /// The container; and the filter that it leaves to others, or the next start would have a link less.
    fn delete(&self) -> Output {
        let root = self.state.join("root");
        if let Err(error) = std::fs::remove_dir_all(root.join(FILTERS)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
        shell(&format!("{} runner --root {} delete --force {}", self.by, root.display(), self.id)).run()
    }

    /// Lets it fail, and looks.
    fn try_fault(&mut self, call: &Call, everywhere: bool, what: &str) {
        let at =
            if everywhere { format!("{}*:{}:*:{what}", self.whose, call.call) } else { call.fault(what) };
        let named = Naming(format!("{} {at} ({})", self.id, call.name()));
        let ran = self.traced(&at);
        self.runs += 1;
        let mut wrong = Vec::new();
        // Where processes race, one may have come to its end without that call.
        if ran.hit {
            wrong.extend(self.look(&ran, call, everywhere, what));
        }
        wrong.extend(self.clear(&ran, what));
        for wrong in wrong {
            writeln!(self.wrong, "{}: {wrong}: status {} {}", named.0, ran.status, ran.stderr.trim())
                .unwrap();
        }
    }

    /// What is wrong with the way it went.
    fn look(&self, ran: &Ran, call: &Call, everywhere: bool, what: &str) -> Option<String> {
        let name = call.name();
        if ran.hangs {
            return Some("it hangs".into());
        }
        if !ran.ran && ran.stdout.is_empty() {
            let panicked = ran.stderr.contains("panicked") && !RUNTIME.contains(&name.as_str());
            // Rust's start-up aborts without a word.
            let silent = name == "write" || name == "poll" && !everywhere;
            return match (ran.status, ran.stderr.is_empty()) {
                // Nobody can tell a first process that was killed just before its exec from one that was short.
                (0, _) if what == "kill" && self.line.contains("create") => None,
                (0, _) => Some("status 0, and the command did not run".into()),
                (_, true) if what != "kill" && !silent => Some("it says nothing".into()),
                _ if panicked => Some("it panicked".into()),
                _ => None,
            };
        }
        let Some(seen) = ran.payload() else {
            // Who fails while it runs ends it.
            return (ran.status == 0).then(|| "the payload started, and told nothing".into());
        };
        let seen = seen.shape();
        let differ = self.shape.keys().chain(seen.keys()).filter(|k| self.shape.get(*k) != seen.get(*k));
        let defaults = if everywhere || self.line.contains("runner") { &[][..] } else { DEFAULT_MOUNTS };
        let known = || OTHERWISE.iter().chain(defaults);
        let otherwise = |key: &str| known().any(|(call, member)| *call == name && key.starts_with(member));
        let differ: Vec<String> = differ
            .filter(|k| !otherwise(k))
            .map(|k| format!("{k} {:?} not {:?}", seen.get(k), self.shape.get(k)))
            .collect();
        if !differ.is_empty() {
            return Some(format!("the command ran, and {}", differ.join(", ")));
        }
        let said = |(call, words, _): &(&str, &str, &str)| *call == name && ran.stderr.contains(words);
        let by_user = !self.by.is_empty() && ONCE_BY_USER.contains(&name.as_str());
        let once = !everywhere && (by_user || ONCE.iter().any(said));
        let tolerated = once
            || WARNED.iter().any(said)
            || TOLERATED.iter().chain(known()).any(|(known, _)| *known == name);
        (ran.status == 0 && what != "kill" && !tolerated).then(|| format!("{name} failed, and it went on"))
    }

    /// What is left of this start: another test beside this one makes groups too.
    fn left(&self, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.leftovers.after(Duration::ZERO);
            let ours = |line: &&str| !line.starts_with("cgroup ") || line.contains(self.id);
            let found: Vec<&str> = found.lines().filter(ours).collect();
            if found.is_empty() || Instant::now() > deadline {
                return found.join("\n");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Removes what is left, and says what should not have been.
    fn clear(&self, ran: &Ran, what: &str) -> Option<String> {
        // What cannot be removed is said, and the runner knows it; who is killed says nothing and removes nothing.
        let created = ran.status == 0 && self.line.contains("create");
        let said = what == "kill" || !ran.stderr.is_empty() || created;
        let left = if said && !self.names().is_empty() {
            String::new()
        } else {
            self.left(Duration::from_secs(if self.line.contains("cg-apply") { 1 } else { 10 }))
        };
        let deleted = self.delete();
        let mut for_good = self.left(Duration::from_secs(if left.is_empty() { 10 } else { 0 }));
        // Nobody but the chain knows of its group.
        let said = what == "kill" || ran.stderr.contains("cgroup");
        if said && self.line.contains("cg-apply") && for_good.lines().all(|line| line.starts_with("cgroup "))
        {
            for_good.clear();
        }
        for dir in left.lines().chain(for_good.lines()).filter_map(|line| line.strip_prefix("cgroup ")) {
            std::fs::remove_dir(dir).unwrap_or_else(|e| eprintln!("{dir}: {e}"));
        }
        match (deleted.status, self.names().as_slice()) {
            _ if !for_good.is_empty() => Some(format!("left for good: {for_good}")),
            _ if !left.is_empty() && !self.line.contains("cg-apply") => Some(format!("left behind: {left}")),
            (0, []) => None,
            (_, names) => Some(format!("delete left {names:?} and said {}", deleted.stderr.trim())),
        }
    }

    /// Every call that the choice of `CATENA_FAULTS` takes, or else this one.
    fn sweep(mut self, choice: &str) {
        let choice = std::env::var("CATENA_FAULTS").unwrap_or_else(|_| choice.into());
        let calls = std::mem::take(&mut self.calls);
        if choice.contains(':') {
            let (at, what) = choice.rsplit_once(':').unwrap();
            let call = Call::parse(at).unwrap();
            self.try_fault(&call, call.who.ends_with('*'), what);
        } else {
            match choice.as_str() {
                "kinds" => self.killed_at_each_kind(&calls),
                _ => self.each_once(&calls, &choice),
            }
            if choice != "each" {
                self.each_kind(&calls, choice == "all");
            }
        }
        eprintln!("{}: {} calls, {} runs", self.id, calls.len(), self.runs);
        assert!(self.wrong.is_empty(), "\n{}", self.wrong);
    }

    fn each_once(&mut self, calls: &[Call], choice: &str) {
        const WHAT: [&str; 4] = ["1", "12", "5", "kill"];
        for call in calls {
            // Of many calls of one kind every so many, the same ones each time.
            if choice == "some" && call.nth % 17 != 0 {
                continue;
            }
            let nth = if choice == "some" { call.nth / 17 } else { call.nth };
            let turn = call.who.len() + nth + call.call.bytes().map(usize::from).sum::<usize>();
            let chosen = if choice == "all" { &WHAT[..] } else { &WHAT[turn % 4..][..1] };
            chosen.iter().for_each(|what| self.try_fault(call, false, what));
        }
    }

    /// Where a filter around us, or a kernel that is older, answers always the same.
    fn each_kind(&mut self, calls: &[Call], all: bool) {
        let kinds: BTreeMap<&str, &Call> = calls.iter().map(|call| (call.call.as_str(), call)).collect();
        for (i, call) in kinds.into_values().enumerate() {
            let chosen = if all { &["1", "38"][..] } else { &[["1", "38"][i % 2]][..] };
            chosen.iter().for_each(|what| self.try_fault(call, true, what));
        }
    }

    fn killed_at_each_kind(&mut self, calls: &[Call]) {
        for call in calls.iter().filter(|call| call.nth == 0) {
            self.try_fault(call, false, "kill");
        }
    }
}

impl Ran {
    /// What the payload saw.
    fn payload(&self) -> Option<Probe> {
        serde_json::from_str(self.stdout.trim()).ok()
    }
}

/// Says what was tried where the harness itself gives up.
struct Naming(String);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while trying {}", self.0);
        }
    }
}

#[test]
fn run() {
    if requires::root() {
        Start::new("faults-run", "runner run ID; exit $?").sweep("whole");
    }
}

#[test]
fn exec() {
    if requires::root() {
        let line =
            "runner run --detach ID && { runner exec ID /probe; s=$?; runner delete --force ID; exit $s; }";
        Start::made("faults-exec", "", "0.1", line, &["/bin/sleep", "1000"]).sweep("kinds");
    }
}

#[test]
fn run_by_an_ordinary_user() {
    if requires::root() {
        let line = "runner run ID; exit $?";
        Start::made("faults-user", BY_USER, "0.", line, &["/probe"]).sweep("kinds");
    }
}

#[test]
fn create_and_start() {
    if requires::root() {
        let line =
            "runner create ID || exit; runner start ID || { s=$?; runner delete --force ID; exit $s; }";
        Start::new("faults-create", line).sweep("kinds");
    }
}

#[test]
fn a_chain() {
    if requires::root() && requires::controller("memory") {
        let line = "cg-apply --cgroup faults-chain -m 512M -- idmap -r -- ns-enter -mpniuC -- rootfs-prep --root ./rootfs -- cap-drop --all \
            -- seccomp-load @default -- /probe; exit $?";
        Start::new("faults-chain", line).sweep("kinds");
    }
}

/// What cannot be read is not empty: else nothing would be dropped, and the proof would agree.
#[test]
fn a_bounding_set_that_may_not_be_looked_at_is_an_error() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let dir = TempDir::new();
    for flags in ["--all", "--all --allow-new-privs", "--user 1000:1000 --all"] {
        // PR_CAPBSET_READ, everywhere, with EPERM.
        let line =
            format!("$PROBE faults told '*:157.23:*:1' /bin/sh -c 'cap-drop {flags} -- touch ran; exit $?'");
        let out = shell(&line).cwd(&dir).run();
        out.refuses(125, "prctl(PR_CAPBSET_READ)");
        assert!(!dir.join("ran").exists(), "{flags}");
    }
}
