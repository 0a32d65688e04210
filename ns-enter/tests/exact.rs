//! `-t PID:INODE` and `-t fd:N`: the process that was meant is joined, or nobody.
#![allow(clippy::unwrap_used, reason = "tests")]

mod target;

use catena_tests::{Tool, requires, tool};
use chain::sys::process::pidfd_open;
use chain::target::inode;
use target::{Target, expect_exactly_new};

fn enter(args: &[&str]) -> Tool {
    tool("ns-enter").args(args)
}

/// Its pidfd has an inode of its own: Linux 6.9.
fn pidfs(target: &Target) -> bool {
    let exact = format!("{}:{}", target.pid, inode(&pidfd_open(target.pid).unwrap()).unwrap());
    let out = enter(&["-t", &exact, "-u", "--print"]).run();
    !out.stderr.contains("no inodes of their own") || requires::skip("needs a pidfs")
}

#[test]
fn the_inode_of_its_pidfd_means_one_process() {
    if !requires::root() {
        return;
    }
    let mut target = Target::new("-uinp");
    if !pidfs(&target) {
        return;
    }
    let own = inode(&pidfd_open(target.pid).unwrap()).unwrap();
    let exact = format!("{}:{own}", target.pid);
    let seen = enter(&["-t", &exact, "-uinp"]).probe();
    target.expect_joined(&seen, &["uts", "ipc", "net", "pid"]);
    // What getino(1) prints is what a plan carries.
    let plan = enter(&["-t", &exact, "-u"]).run().succeeds().json();
    assert_eq!(plan["layers"][0]["spec"]["target"], exact.as_str());
    for wrong in [own + 1, 0] {
        let exact = format!("{}:{wrong}", target.pid);
        let out = enter(&["-t", &exact, "-u"]).verb(["ran"]).run();
        out.refuses(125, "its pid belongs to another process now");
        // Also where another namespace comes from elsewhere.
        let out = enter(&["-t", &exact, "-u", "--join", "net=/proc/self/ns/net"]).verb(["ran"]).run();
        out.refuses(125, "its pid belongs to another process now");
    }
    target.end();
    enter(&["-t", &exact, "-u"]).verb(["ran"]).run().refuses(125, "look at process");
}

#[test]
fn a_pidfd_means_one_process() {
    if !requires::root() {
        return;
    }
    let mut target = Target::new("-uinp");
    let pidfd = || pidfd_open(target.pid).unwrap();
    let seen = enter(&["-t", "fd:9", "-uinp"]).fd(pidfd(), 9).probe();
    target.expect_joined(&seen, &["uts", "ipc", "net", "pid"]);
    seen.expect_only_std_fds();
    let kept = pidfd();
    target.end();
    enter(&["-t", "fd:9", "-u"]).fd(kept, 9).verb(["ran"]).run().refuses(125, "it has ended");
    let file = std::fs::File::open("/dev/null").unwrap();
    enter(&["-t", "fd:9", "-u"]).fd(file, 9).verb(["ran"]).run().refuses(125, "it is no pidfd");
    enter(&["-t", "fd:9", "-u"]).verb(["ran"]).run().refuses(125, "fcntl(9): Bad file number (EBADF)");
}

#[test]
fn what_is_no_process_is_refused() {
    for word in ["0", "x", "7:", "7:x", "fd:", "fd:x", "-1", "0:5"] {
        let out = tool("ns-enter").arg(format!("--target={word}")).arg("-u").verb(["ran"]).run();
        out.refuses(125, "PID, PID:INODE or fd:N");
    }
    if requires::root() {
        expect_exactly_new(&enter(&["-u"]).probe(), &["uts"]);
    }
}
