//! A link's binary cannot be written from inside the container (CVE-2019-5736), nor by way of an fd of it.

use catena_tests::{requires, rootfs, shell};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A pipe for one message, which is full: whoever writes a receipt into it stands still.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    use rustix::pipe::PipeFlags;
    // Packets: a message takes a place of its own, however short it is.
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).unwrap();
    rustix::pipe::fcntl_setpipe_size(&write, 4096).unwrap();
    rustix::io::write(&write, b"\n").unwrap();
    (read, write)
}

/// Lets one message through: whoever stood still with it, or somebody else who did. The pipe is full again then, so that
/// the next link stands still in its turn.
fn drain(read: &OwnedFd) {
    rustix::io::read(read, &mut [0_u8; 4096]).unwrap();
    wait_for("the next message", || {
        let mut poll = [rustix::event::PollFd::new(read, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec::default();
        (rustix::event::poll(&mut poll, Some(&now)).unwrap() == 1).then_some(())
    });
}

/// Its own word for itself. A copy in memory is called memfd: by the kernel.
fn called(pid: i32) -> String {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let word = line.split('\0').next().unwrap_or_default();
    word.rsplit('/').next().unwrap_or_default().to_string()
}

fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|w| w.parse().ok()).collect()
}

fn wait_for<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = get() {
            return found;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// In write(2): to the pipe, or it would not last.
fn stands_still(pid: i32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    call.starts_with("1 ")
}

/// Every link that works inside stands still once, and is looked at from inside.
#[test]
fn a_link_at_work_cannot_be_written_from_inside() {
    if !requires::root() || !requires::command("nsenter") || !requires::proc_syscall() {
        return;
    }
    let (read, write) = full_pipe();
    let line = "exec ns-enter --status-fd 9 -mp -- cap-drop --allow-new-privs --keep-groups -- seccomp-load --allow-new-privs -s swapon:EPERM -- $PROBE sleep";
    let mut running = shell(line).fd(write, 9).spawn();
    let front = running.pid();
    let mut seen: Vec<String> = Vec::new();
    while seen.len() < 3 {
        // The front process writes ns-enter's receipt itself, or the child does: whoever is stuck and inside. Who was
        // just let through may be on its way out of that call, so it is looked at twice.
        let stuck = wait_for("a link that stands still", || {
            let all = || std::iter::once(front).chain(children(front)).filter(|pid| stands_still(*pid));
            let new = |pid: &i32| !seen.contains(&called(*pid));
            let pid = all().find(new).or_else(|| all().next())?;
            let name = called(pid);
            std::thread::sleep(Duration::from_millis(200));
            (stands_still(pid) && called(pid) == name).then_some(pid)
        });
        let name = called(stuck);
        // Nobody hostile lives yet in a namespace that the first link itself has just made.
        if name != "ns-enter" {
            let inside = "mount -t proc proc /proc; (exec 7<>/proc/1/exe) 2>&1; (exec 7>>/proc/1/exe) 2>&1; $PROBE read-only /proc/1/exe";
            let attack = format!("nsenter -t {stuck} -p -m -- unshare -m sh -c '{inside}'");
            let out = shell(&attack).run();
            assert_eq!(out.stdout.matches("cannot create /proc/1/exe").count(), 2, "{name}: {out:?}");
            assert!(out.stdout.ends_with("\nread-only\n"), "{name}: {out:?}");
        }
        // ns-enter tells of its child, and the child of what it did.
        if !seen.contains(&name) {
            seen.push(name);
        }
        // The last link lands, and stands still again at once to tell of it.
        if seen.len() < 3 {
            drain(&read);
        }
    }
    drop(read);
    assert_eq!(running.line(), "ready");
    running.kill();
    assert_eq!(seen, ["ns-enter", "cap-drop", "seccomp-load"], "caught at work inside");
}

/// Whoever joins a container can be looked at from inside it while its links run.
#[test]
fn a_link_that_joins_cannot_be_written_from_inside() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let chain = "exec ns-enter -mpniuC -- rootfs-prep --root ./rootfs --proc /proc -- /probe attack 10";
    let mut attacker = shell(chain).cwd(root.parent()).spawn();
    assert_eq!(attacker.line(), "ready");
    let target = children(attacker.pid())[0];
    // Without mount_setattr every link is a copy in memory, so a start takes longer.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        let line = format!(
            "ns-enter -t {target} -m -p -n -i -u -C -- cap-drop --all -- seccomp-load @default -- /bin/true"
        );
        shell(&line).run().succeeds();
    }
    let out = attacker.wait();
    let found: serde_json::Value = out
        .stdout
        .lines()
        .last()
        .and_then(|l| serde_json::from_str(l).ok())
        .unwrap_or_else(|| panic!("{out:?}"));
    assert_eq!(found["writable"], serde_json::json!([]), "{found:#}");
    assert!(found["caught"].as_u64().unwrap() > 0, "the attacker saw no link at work: {found:#}");
}
