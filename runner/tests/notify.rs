//! A service manager above the runner: the sockets it opened reach the command, and the command's word that it is ready
//! reaches the manager.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Tool, requires, shell};
use common::Bundle;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

/// A manager that listens beside the bundle.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn of(bundle: &Bundle) -> Manager {
        let path = bundle.rootfs.parent().join("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Manager { socket, path }
    }

    /// The next message, and the fd that comes with it.
    #[track_caller]
    fn hears(&self) -> (String, Option<OwnedFd>) {
        let mut buffer = [0; 4096];
        let mut space = nix::cmsg_space!([i32; 1]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let got = loop {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Err(nix::errno::Errno::EINTR) => {}
                got => break got.unwrap(),
            }
        };
        let fd = got.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(chain::sys::fd::adopt(fds[0]).unwrap()),
            _ => None,
        });
        let size = got.bytes;
        (String::from_utf8(buffer[..size].to_vec()).unwrap(), fd)
    }

    fn has_more(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; 64]).is_ok()
    }
}

fn says(line: &str) -> Bundle {
    Bundle::of(["/probe", "notify", line, "hold"])
}

fn managed(tool: Tool, manager: &Manager) -> Tool {
    tool.env("NOTIFY_SOCKET", &manager.path)
}

#[test]
fn start_waits_until_the_command_is_ready_and_the_manager_knows() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = says("STATUS=soon\nREADY=1\nMAINPID=77");
    let manager = Manager::of(&bundle);
    let create = format!(
        "runner --root {} create --bundle {} {} >/dev/null 2>&1 </dev/null",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    managed(shell(&create), &manager).run().succeeds();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let mut start = managed(bundle.runner(["start", &bundle.id]), &manager).spawn();
    assert_eq!(manager.hears().0, "READY=1\n");
    assert_eq!(manager.hears().0, format!("MAINPID={pid}\n"), "not what the container says it is");
    let (barrier, pipe) = manager.hears();
    assert_eq!(barrier, "BARRIER=1");
    assert!(!start.is_over(), "it waits for the manager to close the pipe");
    drop(pipe.unwrap());
    start.wait().succeeds();
    assert_eq!(bundle.status(), "running");
    drop(bundle);
    leftovers.check();
}

/// A command with ids of its own, for which the folders above the socket are somebody else's.
#[test]
fn a_command_in_a_user_namespace_is_heard_too() {
    // Without it the socket's folder is opened inside, and it is closed to the namespace's users.
    if !requires::root() || !requires::mount_setattr() {
        return;
    }
    let leftovers = Leftovers::watch();
    let maps = serde_json::json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = says("READY=1")
        .set("/linux/namespaces/-", serde_json::json!({"type": "user"}))
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
    shell(&format!("chown -R 100000:100000 {0}/rootfs && chmod 755 {0}", bundle.dir())).run().succeeds();
    let manager = Manager::of(&bundle);
    let run = ["run", "--bundle", bundle.dir(), &bundle.id];
    let runner = managed(bundle.runner(run), &manager).spawn();
    assert_eq!(manager.hears().0, "READY=1\n");
    assert_eq!(manager.hears().0, format!("MAINPID={}\n", runner.pid()));
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    assert_eq!(runner.wait().status, 137);
    drop(bundle);
    leftovers.check();
}

#[test]
fn start_ends_when_the_command_ends_and_was_never_ready() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("ls -ld /run/notify/notify.sock >/dev/null && exit 3");
    let manager = Manager::of(&bundle);
    let run = ["run", "--detach", "--keep", "--bundle", bundle.dir(), &bundle.id];
    managed(bundle.runner(run), &manager).run().succeeds();
    assert!(!manager.has_more());
    bundle.becomes("stopped");
    drop(bundle);
    leftovers.check();
}

/// In the foreground it is the runner that the manager goes on to look at.
#[test]
fn run_passes_it_on_and_stays() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = says("READY=1");
    let manager = Manager::of(&bundle);
    let run = ["run", "--bundle", bundle.dir(), &bundle.id];
    let runner = managed(bundle.runner(run), &manager).spawn();
    assert_eq!(manager.hears().0, "READY=1\n");
    assert_eq!(manager.hears().0, format!("MAINPID={}\n", runner.pid()));
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    assert_eq!(runner.wait().status, 137);
    drop(bundle);
    leftovers.check();
}

#[test]
fn start_says_that_the_container_has_no_socket_to_be_heard_at() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("echo RAN");
    let manager = Manager::of(&bundle);
    bundle.create().succeeds();
    let start = managed(bundle.runner(["start", &bundle.id]), &manager);
    start.run().refuses(1, "it was created without NOTIFY_SOCKET");
    assert_eq!((bundle.status(), bundle.output()), ("created".into(), String::new()));
}

/// LISTEN_PID says whom they are for; in the container that is the first process.
#[test]
fn sockets_of_the_manager_reach_the_command() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; ls /proc/self/fd | tr '\\n' ' '");
    let run = |pid: &str, more: &str| {
        let dir = bundle.rootfs.path();
        let line = format!(
            "export LISTEN_FDS=2 LISTEN_FDNAMES=a:b LISTEN_PID={pid}; exec 3</dev/null 4<{0} 5<{0} 6<{0};
             exec runner --root {1} run {more} --bundle {2} {3}",
            dir.join("etc/passwd").display(),
            bundle.state.path().display(),
            bundle.dir(),
            bundle.id
        );
        shell(&line).run().succeeds().stdout.clone()
    };
    // The last one is that of ls itself.
    assert_eq!(run("$$", ""), "2 1 a:b\n0 1 2 3 4 5 ");
    assert_eq!(run("$$", "--preserve-fds 1"), "2 1 a:b\n0 1 2 3 4 5 6 ");
    assert_eq!(run("1", ""), "\n0 1 2 3 ", "they were somebody else's");
}
