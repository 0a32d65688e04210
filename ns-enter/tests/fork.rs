//! One fork where the kernel demands it, none elsewhere; signals in, the status out, nothing left.

mod target;

use catena_tests::{Leftovers, Running, requires, shell, tool, until};
use nix::sys::signal::Signal;
use target::child_of;

const FORKS: [&str; 3] = ["-p", "-mpniuC", "-U -p"];

fn start(line: &str, verb: &[&str]) -> Running {
    let mut running = tool("ns-enter").args(line.split_whitespace()).verb(verb).spawn();
    assert_eq!(running.line(), "ready");
    running
}

#[test]
fn without_a_pid_namespace_it_is_the_very_process_that_was_started() {
    if !requires::root() {
        return;
    }
    for line in ["-m", "-u", "-muinC", "-U", "--join net=/proc/self/ns/net", "-p --no-fork"] {
        let running = tool("ns-enter").args(line.split_whitespace()).spawn_probe();
        let (pid, seen) = running;
        assert_eq!((seen.pid, seen.pdeathsig), (pid, Some(0)), "{line}");
        tool("ns-enter").args(line.split_whitespace()).verb(["exit", "41"]).run().exits(41);
        let out = tool("ns-enter").args(line.split_whitespace()).verb(["suicide", "15"]).run();
        assert_eq!(out.signal, Some(15), "{line}: {out:?}");
    }
}

trait SpawnProbe {
    fn spawn_probe(self) -> (i32, catena_tests::Probe);
}

impl SpawnProbe for catena_tests::Tool {
    fn spawn_probe(self) -> (i32, catena_tests::Probe) {
        let running = self.verb(["show"]).spawn();
        let pid = running.pid();
        (pid, running.wait().probe())
    }
}

#[test]
fn in_a_new_pid_namespace_the_command_is_its_first_process() {
    if !requires::root() {
        return;
    }
    for line in FORKS {
        let (_, seen) = tool("ns-enter").args(line.split_whitespace()).spawn_probe();
        assert_eq!((seen.pid, seen.ppid), (1, 0), "{line}");
        assert_eq!(seen.pdeathsig, Some(libc_sigkill()), "{line}");
        seen.expect_plain_signals().expect_only_std_fds();
    }
    // An orphan is the first process's, whose duty it is to reap it.
    let out = tool("ns-enter").arg("-p").verb(["orphan"]).run();
    assert!(out.succeeds().stdout.starts_with("parent 1\n"), "{out:?}");
    // A shell does so.
    let line = "ns-enter -mp -- bash -c 'mount -t proc proc /proc; (setsid sleep 0.1 &); \
        until set -- /proc/[0-9]*; [ \"$*\" = /proc/1 ]; do sleep 0.01; done; echo \"$*\"'";
    assert_eq!(shell(line).run().succeeds().stdout, "/proc/1\n");
}

fn libc_sigkill() -> i32 {
    Signal::SIGKILL as i32
}

#[test]
fn no_fork_leaves_the_namespace_to_the_children() {
    if !requires::root() {
        return;
    }
    let (_, seen) = tool("ns-enter").args(["-p", "--no-fork"]).spawn_probe();
    seen.expect_ns_same(&["pid"]);
    let out = shell("ns-enter -p --no-fork -- bash -c 'bash -c \"echo \\$\\$\"; :'").run();
    assert_eq!(out.succeeds().stdout, "1\n");
    let target = target::Target::new("-p");
    let line = format!(
        "ns-enter -t {} -p --no-fork -- bash -c 'readlink /proc/self/ns/pid_for_children'",
        target.pid
    );
    let wanted = format!("pid:[{}]\n", target::inode(target.pid, "pid"));
    assert_eq!(shell(&line).run().succeeds().stdout, wanted);
}

#[test]
fn the_status_comes_back() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for line in FORKS {
        for status in [0, 1, 42, 125, 126, 127, 255] {
            let run = tool("ns-enter").args(line.split_whitespace());
            run.verb(["exit", &status.to_string()]).run().exits(status);
        }
        // A first process cannot signal itself, so its child does the dying and the shell tells.
        let out =
            shell(&format!("ns-enter {line} -- bash -c '$PROBE suicide 14; exit $?' 2>/dev/null")).run();
        out.exits(128 + 14);
    }
    tool("ns-enter").arg("-p").command(["/nonexistent"]).run().refuses(127, "(ENOENT)");
    tool("ns-enter").arg("-p").command(["/etc/passwd"]).run().refuses(126, "(EACCES)");
    tool("ns-enter").arg("-u").command(["/nonexistent"]).run().refuses(127, "(ENOENT)");
    leftovers.check();
}

#[test]
fn a_command_that_is_killed_gives_128_and_the_signal() {
    if !requires::root() {
        return;
    }
    for line in FORKS {
        for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
            let running = start(line, &["sleep"]);
            let child = child_of(running.pid()).expect("it has a child");
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), signal).expect("it is there");
            if signal == Signal::SIGSTOP {
                // One that is stopped is not one that has ended.
                std::thread::sleep(std::time::Duration::from_millis(50));
                assert_eq!(child_of(running.pid()), Some(child), "{line}");
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), Signal::SIGKILL)
                    .expect("it is there");
            }
            let out = running.wait();
            assert_eq!((out.status, out.signal), (137, None), "{line}: {out:?}");
        }
    }
    // In a joined namespace the command is no first process, and dies of whatever comes.
    let target = target::Target::new("-p");
    for signal in [1, 2, 3, 6, 8, 9, 10, 15] {
        let line = format!("-t {} -p", target.pid);
        let run = tool("ns-enter").args(line.split_whitespace()).verb(["suicide", &signal.to_string()]).run();
        assert_eq!((run.status, run.signal), (128 + signal, None), "{run:?}");
    }
}

#[test]
fn signals_are_forwarded() {
    if !requires::root() {
        return;
    }
    use Signal::*;
    let target = target::Target::new("-p");
    let joined = format!("-t {} -p", target.pid);
    for line in FORKS.iter().copied().chain([joined.as_str()]) {
        let mut running = start(line, &["signal-wait", "43"]);
        for signal in
            [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT, SIGPIPE, SIGABRT]
        {
            running.signal(signal);
            assert_eq!(running.line(), signal.as_str(), "{line}");
        }
        running.signal(SIGTERM);
        assert_eq!(running.line(), "SIGTERM", "{line}");
        running.wait().exits(43);
    }
}

#[test]
fn the_command_dies_with_its_supervisor() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let target = target::Target::new("-p");
    let joined = format!("-t {} -p", target.pid);
    for line in FORKS.iter().copied().chain([joined.as_str()]) {
        let mut running = start(line, &["sleep"]);
        let child = child_of(running.pid()).expect("it has a child");
        running.signal(Signal::SIGKILL);
        running.kill_front_only();
        let path = format!("/proc/{child}");
        until("the command ends with its supervisor", || !std::path::Path::new(&path).exists());
    }
    drop(target);
    leftovers.check();
}

trait Front {
    fn kill_front_only(&mut self);
}

impl Front for Running {
    /// It was signalled already: waits until it is reaped, and touches nobody else.
    fn kill_front_only(&mut self) {
        while !self.is_over() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

#[test]
fn everybody_in_a_new_pid_namespace_ends_with_its_first_process() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let line = "ns-enter -p -- bash -c 'setsid sleep 300 >/dev/null 2>&1 & setsid -f sleep 300 >/dev/null 2>&1; exit 5'";
    shell(line).run().exits(5);
    leftovers.check();
}

#[test]
fn a_caller_that_ignores_or_blocks_everything_is_served() {
    if !requires::root() {
        return;
    }
    for line in FORKS {
        for how in ["--ignore-signal", "--block-signal"] {
            let out = shell(&format!("exec env {how} ns-enter {line} -- $PROBE exit 6")).run();
            out.exits(6);
        }
    }
    // What the caller ignored is ignored still: nohup(1) lives of that.
    let seen = shell("exec env --ignore-signal=HUP,CHLD ns-enter -p -- $PROBE").run().probe();
    assert!(seen.signals.ignored.contains(&(Signal::SIGHUP as i32)), "{:?}", seen.signals);
}

/// A pipe that the command closes is closed: the supervisor has no end of it, nor of the status lines.
#[test]
fn the_supervisor_holds_nothing_open() {
    if !requires::root() {
        return;
    }
    let target = target::Target::new("-p");
    // Before Linux 5.9 only what the chain knows of is closed.
    let closes_all = shell("$PROBE try-syscall close_range").run().stdout != "ENOSYS\n";
    let (etc, joined) = (|| std::fs::File::open("/etc").expect("it opens"), format!("-t {} -p", target.pid));
    for line in FORKS.iter().copied().chain([joined.as_str()]) {
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe can be made");
        let (status, told) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe can be made");
        let run = tool("ns-enter").args(line.split_whitespace()).args(["--keep-fd", "7", "--status-fd", "9"]);
        let run = run.fd(write, 7).fd(told, 9);
        let run = if closes_all { run.fd(etc(), 11) } else { run };
        let mut running = run.command(["bash", "-c", "exec 7>&-; echo ready; exec sleep 60"]).spawn();
        assert_eq!(running.line(), "ready");
        for (what, end) in [("kept", read), ("status", status)] {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(end), &mut text).expect("it can be read");
            assert_eq!(text.is_empty(), what == "kept", "{line}: {what}");
        }
        // The pipes' ends tell that it closes, not that it has closed all.
        let others = || {
            let fds = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).expect("it is there");
            let fds = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
            fds.filter(|to| !to.starts_with("/dev/null") && !to.to_string_lossy().starts_with("pipe:"))
                .count()
        };
        until("a pidfd and a signalfd are all that it has", || others() == 2);
        running.kill();
    }
}
