//! Namespaces in which somebody lives: joined as asked, or refused before anything happened.

mod target;

use catena_tests::{Leftovers, Probe, StatusLog, TempDir, Tool, requires, shell, tool, until};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use target::{Target, child_of, inode, kinds};

fn enter(line: &str) -> Tool {
    tool("ns-enter").args(line.split_whitespace())
}

fn probe(line: &str) -> Probe {
    enter(line).probe()
}

/// All names but user: what [`Target::full`] has of its own.
fn full() -> Vec<&'static str> {
    kinds().into_iter().map(|k| k.2).filter(|n| *n != "user").collect()
}

#[test]
fn each_kind_by_letter_by_name_by_path_and_by_fd() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let target = Target::full();
    for (letter, long, name) in kinds().into_iter().filter(|k| k.2 != "user") {
        let (pid, path) = (target.pid, target.path(name));
        let flag = if long == "network" { "net" } else { long };
        for line in [
            format!("-t {pid} {letter}"),
            format!("--target {pid} --{flag}"),
            format!("--{flag}={path}"),
            format!("--join {long}={path}"),
            format!("--join={name}={path}"),
        ] {
            target.expect_joined(&probe(&line), &[name]);
        }
        let open = File::open(&path).expect("it opens");
        let seen = enter(&format!("--join {name}=fd:9")).fd(open, 9).probe();
        target.expect_joined(&seen, &[name]);
        seen.expect_only_std_fds();
    }
    drop(target);
    leftovers.check();
}

#[test]
fn several_and_all() {
    if !requires::root() {
        return;
    }
    let target = Target::full();
    let pid = target.pid;
    target.expect_joined(&probe(&format!("-t {pid} -nu")), &["net", "uts"]);
    target.expect_joined(&probe(&format!("-t {pid} -mp")), &["mnt", "pid"]);
    target.expect_joined(&probe(&format!("-t {pid} -a")), &full());
    target.expect_joined(&probe(&format!("-t {pid} --all -n")), &full());
    // What else is said of a kind goes before all.
    let mut wanted = full();
    wanted.retain(|n| *n != "net");
    target.expect_joined(&probe(&format!("-t {pid} -a --net=/proc/self/ns/net")), &wanted);
    let seen = probe(&format!("-t {pid} -a --unshare net"));
    assert_eq!(seen.ns["mnt"], inode(pid, "mnt"));
    assert!(seen.ns["net"] != inode(pid, "net") && seen.ns["net"] != inode("self", "net"));
    // Joined and new side by side.
    let seen = probe(&format!("-t {pid} -n -p --unshare uts"));
    seen.expect_ns_differs(&["uts"]);
    assert_eq!((seen.ns["net"], seen.ns["pid"]), (inode(pid, "net"), inode(pid, "pid")));
    assert_ne!(seen.ns["uts"], inode(pid, "uts"));
}

#[test]
fn with_a_user_namespace() {
    if !requires::root() {
        return;
    }
    let target = Target::new("-r -muinpC");
    let pid = target.pid;
    for line in [format!("-t {pid} -U"), format!("--join user={}", target.path("user"))] {
        let seen = probe(&line);
        target.expect_joined(&seen, &["user"]);
        seen.expect_user(0, 0, &[]);
    }
    let all = ["mnt", "uts", "ipc", "net", "pid", "user", "cgroup"];
    target.expect_joined(&probe(&format!("-t {pid} -a")), &all);
    // One by one, for the fds are of no common process.
    let paths: Vec<String> = kinds()
        .iter()
        .filter(|k| all.contains(&k.2))
        .map(|k| format!("--join {}={}", k.1, target.path(k.2).replace("/ns/", "/task/../ns/")))
        .collect();
    target.expect_joined(&probe(&paths.join(" ")), &all);
    // What is made besides belongs to the user namespace that was joined.
    let seen = probe(&format!("-t {pid} -U --unshare net,mount,pid"));
    assert_eq!(seen.ns["user"], inode(pid, "user"));
    seen.expect_ns_differs(&["net", "mnt", "pid"]);
    let line = format!("ns-enter -t {pid} -U --unshare net -- nsenter --net=/proc/self/ns/net true");
    shell(&line).run().succeeds();
}

/// Namespaces of the host's user namespace beside one that is not: some want the privilege of here, some that of there.
#[test]
fn a_user_namespace_and_what_does_not_belong_to_it() {
    if !requires::root() {
        return;
    }
    let (inner, outer) = (Target::new("-r -mu"), Target::new("-np"));
    let line = format!(
        "--join user={} --join mount={} --join net={} --join pid={}",
        inner.path("user"),
        inner.path("mnt"),
        outer.path("net"),
        outer.path("pid")
    );
    let seen = probe(&line);
    assert_eq!((seen.ns["user"], seen.ns["mnt"]), (inode(inner.pid, "user"), inode(inner.pid, "mnt")));
    assert_eq!((seen.ns["net"], seen.ns["pid"]), (inode(outer.pid, "net"), inode(outer.pid, "pid")));
    seen.expect_ns_same(&["uts"]);
}

#[test]
fn namespaces_that_are_ours_already() {
    if !requires::root() {
        return;
    }
    for (_, long, name) in kinds() {
        let log = StatusLog::new();
        let line = format!("--status-fd 9 --join {long}=/proc/self/ns/{name}");
        let seen = enter(&line).fd(log.fd(), 9).probe();
        target::expect_exactly_new(&seen, &[]);
        let receipt = &log.of("receipt")[0]["receipt"];
        assert_eq!(receipt["ns"][long].as_u64(), Some(inode("self", name)), "{receipt:#}");
        assert_eq!(receipt["applied"]["joined"], serde_json::json!([]));
    }
    let own = std::process::id();
    target::expect_exactly_new(&probe(&format!("-t {own} -a")), &[]);
}

#[test]
fn the_receipt_names_what_was_joined() {
    if !requires::root() {
        return;
    }
    let target = Target::full();
    let log = StatusLog::new();
    let seen = enter(&format!("-t {} -pn --status-fd 9", target.pid)).fd(log.fd(), 9).probe();
    let receipts = log.of("receipt");
    assert_eq!((receipts.len(), log.of("exec").len()), (1, 1), "{:#?}", log.events());
    let receipt = &receipts[0]["receipt"];
    assert_eq!(receipt["ns"]["pid"].as_u64(), seen.ns.get("pid").copied());
    assert_eq!(receipt["ns"]["network"].as_u64(), seen.ns.get("net").copied());
    assert_eq!(receipt["applied"]["made"], serde_json::json!([]));
    seen.expect_only_std_fds();
}

#[test]
fn a_process_that_is_gone() {
    let gone = 4_194_303;
    for line in ["-n", "-a", "-np", "-a -n", "-a --unshare uts", "-U"] {
        let out = enter(&format!("-t {gone} {line}")).verb(["ran"]).run();
        out.refuses(125, &format!("{gone}"));
        assert!(out.stderr.contains("(ESRCH)"), "{line}: {out:?}");
    }
    enter("--join net=/proc/4194303/ns/net").verb(["ran"]).run().refuses(125, "(ESRCH)");
    enter("--join net=/run/no/such/net").verb(["ran"]).run().refuses(
        125,
        "join the network namespace /run/no/such/net: open(/run/no/such/net): No such file or directory (ENOENT)",
    );
}

/// It has a number in /proc and no namespaces any more.
#[test]
fn a_zombie() {
    let line = "sh -c 'exit 0 & exec sleep 60' & P=$!; until Z=$(grep -l \") Z $P \" /proc/[0-9]*/stat 2>/dev/null); do sleep 0.01; done; \
        Z=${Z#/proc/}; Z=${Z%/stat}; ns-enter -t $Z -u -- $PROBE ran; R=$?; kill $P; exit $R";
    shell(line).run().refuses(125, "join");
}

#[test]
fn a_pid_namespace_without_a_first_process() {
    if !requires::root() {
        return;
    }
    let mut target = Target::new("-p");
    let open = File::open(target.path("pid")).expect("it opens");
    target.end();
    let out = enter("--join pid=fd:9").fd(open, 9).verb(["ran"]).run();
    out.refuses(125, "(ENOMEM)");
    assert!(out.stderr.contains("no first process any more"), "{out:?}");
}

#[test]
fn a_pid_namespace_that_is_no_descendant() {
    if !requires::root() {
        return;
    }
    let out = tool("ns-enter").arg("-p").then("ns-enter", ["-n"]).command(["true"]).run();
    out.refuses(125, "ns-enter stands twice in one chain");
    let line = "exec 9</proc/self/ns/pid; exec unshare -p --fork ns-enter --join pid=fd:9 -- $PROBE ran";
    let out = shell(line).run();
    out.refuses(125, "join the pid namespace fd:9: setns(fd:9): Invalid argument (EINVAL)");
    assert!(out.stderr.contains("why: it is no descendant"), "{out:?}");
}

#[test]
fn what_is_no_namespace_or_another_kind() {
    let dir = TempDir::new();
    let file = dir.file("file", "text");
    let fifo = dir.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a FIFO can be made");
    let socket = dir.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket can be made");
    let loops = dir.join("loop");
    std::os::unix::fs::symlink("loop", &loops).expect("a link can be made");
    for (kind, path, text) in [
        ("net", "/proc/self/ns/uts", "it is a uts namespace"),
        ("uts", "/proc/self/ns/user", "it is a user namespace"),
        ("pid", "/proc/self/ns/mnt", "it is a mount namespace"),
        ("user", "/proc/self/ns/net", "it is a network namespace"),
        ("net", file.to_str().expect("UTF-8"), "it is not a namespace"),
        ("mount", fifo.to_str().expect("UTF-8"), "it is not a namespace"),
        ("pid", dir.path().to_str().expect("UTF-8"), "it is not a namespace"),
        ("user", "/dev/null", "it is not a namespace"),
        ("ipc", "/proc/self/status", "it is not a namespace"),
        ("ipc", socket.to_str().expect("UTF-8"), "(ENXIO)"),
        ("ipc", loops.to_str().expect("UTF-8"), "(ELOOP)"),
        ("net", file.join("x").to_str().expect("UTF-8"), "(ENOTDIR)"),
    ] {
        let log = StatusLog::new();
        let run = enter(&format!("--status-fd 9 --join {kind}={path}")).fd(log.fd(), 9);
        let out = run.verb(["ran"]).run();
        out.refuses(125, text);
        assert!(out.stderr.contains(path), "the path is not named: {out:?}");
        assert_eq!(log.of("error").len(), 1);
    }
    // Bytes that are no text are a path all the same.
    let path = [dir.path().as_os_str().as_bytes(), b"/\xff"].concat();
    let word = [b"net=", path.as_slice()].concat();
    let out = tool("ns-enter").arg("--join").arg(std::ffi::OsStr::from_bytes(&word)).verb(["ran"]).run();
    out.refuses(125, "(ENOENT)");
}

#[test]
fn fds_that_are_none() {
    let file = || File::open("/proc/self/status").expect("it opens");
    for (fd, text) in [
        ("fd:99", "fcntl(99): Bad file number (EBADF)"),
        ("fd:-1", "not fd:N"),
        ("fd:", "not fd:N"),
        ("fd:x", "not fd:N"),
        ("fd:+9", "not fd:N"),
        ("fd:99999999999999", "not fd:N"),
        ("fd:9", "it is not a namespace"),
        ("fd:0", "it is not a namespace"),
    ] {
        let out = enter(&format!("--join net={fd}")).fd(file(), 9).verb(["ran"]).run();
        out.refuses(125, &format!("join the network namespace {fd}"));
        assert!(out.stderr.contains(text), "{out:?}");
    }
    let out = enter("--join net=fd:9")
        .fd(File::open("/proc/self/ns/ipc").expect("it opens"), 9)
        .verb(["ran"])
        .run();
    out.refuses(125, "it is a ipc namespace");
}

/// Whoever lives in the namespace could leave through it.
#[test]
fn no_directory_and_no_other_namespace_crosses() {
    if !requires::root() {
        return;
    }
    let target = Target::full();
    let pid = target.pid;
    let open = "for n in {3..12} 100; do eval \"exec $n</etc\"; done; exec 11</proc/self/ns/mnt";
    let chain = "cap-drop --all -- bash -c 'ls -l /proc/self/fd'";
    let out = shell(&format!("{open}; ns-enter -t {pid} -mp -- {chain}")).run();
    assert!(!out.succeeds().stdout.contains("/etc") && !out.stdout.contains("mnt:"), "{out:?}");
    let line = format!("exec 12</etc; ns-enter -t {pid} -p --keep-fd 12 -- $PROBE ran");
    shell(&line).run().refuses(125, "fd 12 is a directory");
    let line = format!("exec 12</proc/self/ns/mnt; ns-enter -t {pid} -p --keep-fd 12 -- $PROBE ran");
    shell(&line).run().refuses(125, "fd 12 is a namespace");
    // Whoever sees the name of it opens it anew, though this fd itself answers no ioctl.
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let name = rustix::fs::open("/proc/self/ns/mnt", flags, rustix::fs::Mode::empty()).expect("it opens");
    let out = enter(&format!("-t {pid} -p --keep-fd 12")).fd(name, 12).verb(["ran"]).run();
    out.refuses(125, "fd 12 is a namespace");
}

/// Before a link that joined goes on, root inside cannot look at it: not at its fds, its folder, its program.
#[test]
fn who_comes_in_is_hidden_from_those_inside() {
    if !requires::root() || !requires::command("nsenter") {
        return;
    }
    let target = Target::new("-r -mp --mount-proc");
    let (read, write) = full_pipe();
    let etc = File::open("/etc").expect("it opens");
    let line = format!("-t {} -a --status-fd 9", target.pid);
    // Its receipt does not fit into the pipe, so it stands still where it has joined everything.
    let guest = enter(&line).fd(write, 9).fd(etc, 12).verb(["exit", "5"]).spawn();
    let mut child = None;
    until("somebody comes in", || {
        child = child_of(guest.pid()).filter(|child| inode(child, "user") == inode(target.pid, "user"));
        child.is_some()
    });
    let child = child.expect("somebody came in");
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).expect("it is there");
    let inside = status.lines().find_map(|l| l.strip_prefix("NSpid:")?.split_whitespace().last());
    let inside = inside.expect("it has a number inside");
    let look = format!(
        "cat /proc/{inside}/comm; for f in fd/12 cwd root exe; do readlink /proc/{inside}/$f; done; \
        ls /proc/{inside}/fd/12/ /proc/{inside}/cwd/ 2>/dev/null"
    );
    let out = shell(&format!("nsenter -t {} -U -m -p -- sh -c '{look}'", target.pid)).run();
    // Its name, which is no secret, and nothing else.
    let names: Vec<&str> = out.stdout.lines().collect();
    assert!(matches!(names[..], ["ns-enter" | "memfd:catena-li"]), "{out:?}");
    drop(read);
    guest.wait().exits(5);
}

/// Who read the status lines goes away in the middle: its own affair, and no signal of ours ends the command.
#[test]
fn a_reader_of_the_status_that_goes_away_is_not_the_commands_affair() {
    if !requires::root() {
        return;
    }
    let target = Target::new("-r -mp --mount-proc");
    for _ in 0..20 {
        let (read, write) = full_pipe();
        let guest =
            enter(&format!("-t {} -a --status-fd 9", target.pid)).fd(write, 9).verb(["exit", "5"]).spawn();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while child_of(guest.pid()).is_none() {
            assert!(std::time::Instant::now() < deadline, "nobody came in");
        }
        drop(read);
        guest.wait().exits(5);
    }
}

/// A pipe for one message, which is full.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).expect("a pipe can be made");
    fcntl_setpipe_size(&write, 4096).expect("it can be small");
    rustix::io::write(&write, b"\n").expect("it takes a byte");
    (read, write)
}

/// The command in a joined pid namespace dies with its supervisor; the namespace lives on.
#[test]
fn the_namespace_outlives_what_came_in() {
    if !requires::root() {
        return;
    }
    let target = Target::full();
    let guest = Target::by(enter(&format!("-t {} -a", target.pid)).verb(["sleep"]));
    let mut guest = guest;
    assert_eq!(inode(guest.pid, "pid"), inode(target.pid, "pid"));
    guest.end();
    assert!(std::path::Path::new(&format!("/proc/{}", target.pid)).exists());
    assert_eq!(child_of(target.pid), None);
    enter(&format!("-t {} -p", target.pid)).verb(["exit", "7"]).run().exits(7);
}
