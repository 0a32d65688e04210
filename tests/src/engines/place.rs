//! Where an engine lives: mount, pid, network, UTS and IPC namespaces of its own, in which /run and /dev/shm are empty,
//! around a temporary folder. Their first process is a shell that ends with this test; the kernel then kills the rest.

use super::PATIENCE;
use crate::mountinfo::Mount;
use crate::run::{Stdin, Tool, bin_dir};
use crate::running::{Running, wait_until};
use crate::temp::TempDir;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Not to the host, but among themselves mounts propagate, as on a host with systemd; and as there, nobody makes plain
/// folders beside v1's hierarchies, as podman does for a controller that has none. As first process the shell reaps what
/// daemons leave.
const INSIDE: &str = "mount --make-rprivate / && mount --make-rshared / || exit 1
for folder in /run /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $folder || exit 1; done
if [ \"$(stat -fc %T /sys/fs/cgroup)\" = tmpfs ]; then mount -o remount,bind,ro /sys/fs/cgroup || exit 1; fi
ip link set lo up && hostname engines || exit 1
echo ready
while read -r _; do :; done";

/// See the module.
#[derive(Debug)]
pub struct Place {
    anchor: Running,
    /// Their first process, as the host counts.
    first: i32,
    /// Name of the cgroup below which the engine's containers are to be, in each hierarchy, without a slash; no other
    /// place's name begins with it.
    pub parent: String,
    /// How the names of containers' cgroups begin: others are the engine's own.
    pub(super) prefix: &'static str,
    /// The folder for everything.
    pub dir: TempDir,
    /// Folders in which `runner` keeps its states.
    pub(super) states: Vec<PathBuf>,
    /// Who everything in there is run as: words in front of a command, none for root.
    pub(super) user: Vec<String>,
    /// The cgroup is theirs.
    pub(super) delegated: bool,
}

impl Place {
    pub(super) fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let parent = format!("catena-engines-{}-{}x", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let flags =
            ["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child=KILL", "--mount-proc"];
        let mut anchor = Tool::at("/usr/bin/unshare".into())
            .args(flags)
            .args(["bash", "-c", INSIDE])
            .stdin(Stdin::Pipe)
            .timeout(Duration::from_secs(600))
            .spawn();
        assert_eq!(anchor.line(), "ready", "the namespaces for an engine: {:#?}", anchor.wait());
        let children = format!("/proc/{0}/task/{0}/children", anchor.pid());
        let children = std::fs::read_to_string(children).expect("unshare has a child");
        let first = children.trim().parse().expect("one child");
        Place {
            anchor,
            first,
            parent,
            prefix: "",
            dir: TempDir::new(),
            states: Vec::new(),
            user: Vec::new(),
            delegated: false,
        }
    }

    /// Whether it is an ordinary user's.
    pub(super) fn is_users(&self) -> bool {
        !self.user.is_empty()
    }

    /// Gives a user the v2 cgroup of this place; words that, in front of a command, run it from within.
    pub(super) fn delegate(&mut self, uid: u32, gid: u32) -> Vec<String> {
        let group = format!("/sys/fs/cgroup/{}", self.parent);
        let line = format!(
            "mkdir -p {group}/session && for c in $(cat /sys/fs/cgroup/cgroup.controllers); do
                 echo +$c >/sys/fs/cgroup/cgroup.subtree_control
             done 2>/dev/null; chown -R {uid}:{gid} {group}"
        );
        crate::shell(&line).run().succeeds();
        self.delegated = true;
        let enter = format!("echo $$ >{group}/session/cgroup.procs && exec \"$@\"");
        ["sh", "-c", &enter, "-"].map(String::from).to_vec()
    }

    /// `words`, run in there.
    pub fn tool<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Tool {
        let first = self.first.to_string();
        Tool::at("/usr/bin/nsenter".into())
            .args(["-t", &first, "-m", "-p", "-n", "-u", "-i", "--"])
            .args(&self.user)
            .args(words)
            .env("TMPDIR", self.dir.path())
            .env("HOME", self.dir.path())
            .timeout(PATIENCE)
    }

    /// `line` of a shell, in a terminal of 33 rows and 91 columns.
    pub(super) fn terminal(&self, line: &str) -> Tool {
        let line = format!("stty rows 33 cols 91; {line}");
        self.tool(["script", "-qefc", &line, "/dev/null"])
    }

    /// Starts a daemon; its output is in `NAME.log`.
    pub(super) fn daemon(&self, name: &str, line: &str) {
        let log = self.dir.join(format!("{name}.log"));
        let line = format!("{{ {line}; }} >{} 2>&1 </dev/null & disown", log.display());
        self.tool(["bash", "-c", &line]).run().succeeds();
    }

    /// Waits until the daemon answers, else shows its log.
    pub(super) fn answers(&self, name: &str, mut question: impl FnMut() -> Tool) {
        let came = wait_until(Instant::now() + Duration::from_secs(30), || question().run().status == 0);
        let log = std::fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default();
        assert!(came, "{name} does not answer:\n{log}");
    }

    /// The ids in the folder of states that `runner` itself can read.
    pub(super) fn known_to_runner(&self) -> Vec<String> {
        let list = |root: &PathBuf| {
            let runner = bin_dir().join("runner");
            let out = self
                .tool([runner.as_path(), Path::new("--root"), root, "list".as_ref(), "-q".as_ref()])
                .run();
            out.succeeds().stdout.lines().map(String::from).collect::<Vec<_>>()
        };
        self.states.iter().filter(|root| self.outside(root).exists()).flat_map(list).collect()
    }

    /// How a path in there is reached from here.
    fn outside(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.first)).join(path)
    }

    /// Ends a daemon as an init system does, by the pid in its file.
    pub(super) fn end_daemon(&self, pid_file: &Path) {
        let line = format!("kill $(cat {}) || :", pid_file.display());
        self.tool(["bash", "-c", &line]).run();
    }

    /// What is still there after the engine has removed its containers and has ended.
    fn left(&self) -> Vec<String> {
        let ps = self.tool(["ps", "-e", "-o", "pid=,args="]).run();
        let processes =
            ps.stdout.lines().map(str::trim).filter(|l| !l.starts_with("1 ") && !l.contains("ps -e -o"));
        let processes = processes.map(|l| format!("process {l}"));
        let a_container = |dir: &PathBuf| {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name != self.parent && name.starts_with(self.prefix)
        };
        let cgroups = self.cgroups().into_iter().filter(a_container);
        let cgroups = cgroups.map(|c| format!("cgroup {}", c.display()));
        let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.first)).unwrap_or_default();
        // Docker keeps the host's own network namespace at hand.
        let ours = |m: &Mount| {
            Path::new(&m.point).starts_with(self.dir.path()) && !m.point.ends_with("netns/default")
        };
        let mounts = Mount::parse_all(&mounts).into_iter().filter(ours).map(|m| format!("mount {}", m.point));
        let states =
            self.states.iter().flat_map(|dir| std::fs::read_dir(self.outside(dir)).into_iter().flatten());
        // What a runner keeps of filters is for the containers to come.
        let states = states.filter_map(Result::ok).filter(|e| e.file_name() != "@filters");
        let states = states.map(|e| format!("state {}", e.path().display()));
        processes.chain(cgroups).chain(mounts).chain(states).collect()
    }

    /// Every cgroup at or below the parent, or with a name that begins as its does; the deepest first.
    fn cgroups(&self) -> Vec<PathBuf> {
        let folders = |dir: &Path| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
            entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect::<Vec<_>>()
        };
        let mounts = crate::requires::cgroup_mounts();
        let mut todo: Vec<PathBuf> = mounts.iter().flat_map(|m| folders(Path::new(&m.point))).collect();
        todo.retain(|dir| dir.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&self.parent)));
        let mut found = Vec::new();
        while let Some(dir) = todo.pop() {
            todo.extend(folders(&dir));
            found.push(dir);
        }
        found.reverse();
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut left = Vec::new();
        let failed = std::thread::panicking();
        wait_until(Instant::now() + Duration::from_secs(10), || {
            left = if failed { Vec::new() } else { self.left() };
            left.is_empty()
        });
        self.anchor.kill();
        let removed = wait_until(Instant::now() + Duration::from_secs(5), || {
            self.cgroups().iter().for_each(|dir| std::fs::remove_dir(dir).unwrap_or(()));
            self.cgroups().is_empty()
        });
        if !removed {
            left.push(format!("cgroups that cannot be removed: {:?}", self.cgroups()));
        }
        assert!(left.is_empty() || failed, "left behind:\n{}", left.join("\n"));
    }
}
