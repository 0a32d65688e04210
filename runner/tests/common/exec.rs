//! A container that runs, to exec in.

use super::Bundle;
use catena_tests::{Output, Probe, Tool, shell, tool, until};

impl Bundle {
    /// A container that sleeps.
    pub fn asleep() -> Bundle {
        Bundle::of(["/probe", "sleep"])
    }

    /// Runs it detached.
    #[track_caller]
    pub fn up(self) -> Bundle {
        // Its output would keep our pipes open for as long as the container lives.
        let (root, dir) = (self.state.path().display(), self.dir());
        let line =
            format!("runner --root {root} run -d --bundle {dir} {} >{dir}/out 2>&1 </dev/null", self.id);
        let out = shell(&line).run();
        assert_eq!(out.status, 0, "{}", self.output());
        self
    }

    /// `runner exec OPTIONS ID COMMAND`.
    pub fn exec<const O: usize, const N: usize>(&self, options: [&str; O], command: [&str; N]) -> Tool {
        self.runner(["exec"]).args(options).arg(&self.id).args(command)
    }

    /// The payload by exec.
    #[track_caller]
    pub fn exec_probe<const O: usize>(&self, options: [&str; O]) -> Probe {
        self.exec(options, ["/probe"]).run().probe()
    }

    /// A shell line by exec.
    pub fn exec_sh<const O: usize>(&self, options: [&str; O], line: &str) -> Output {
        self.exec(options, ["/bin/sh", "-c", line]).run()
    }

    /// `--process FILE` of this.
    pub fn exec_process(&self, process: &serde_json::Value) -> Tool {
        let file = self.rootfs.parent().join("process.json");
        std::fs::write(&file, process.to_string()).unwrap();
        self.runner(["exec", "--process", file.to_str().unwrap(), &self.id])
    }

    /// How many processes it has.
    pub fn count(&self) -> usize {
        let text = std::fs::read_to_string(self.state.path().join(&self.id).join("state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        let group = state["cgroups"].as_array().unwrap().last().unwrap().as_str().unwrap().to_string();
        std::fs::read_to_string(format!("{group}/cgroup.procs")).unwrap().lines().count()
    }

    /// When those of refused commands have ended, it has so many.
    #[track_caller]
    pub fn comes_down_to(&self, count: usize) {
        until(&format!("processes: {count}"), || self.count() == count);
    }

    /// Its first process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }

    /// The same container by another runtime on the same bundle.
    pub fn peer(&self, runtime: &str, args: &str) -> Tool {
        shell(&format!("{runtime} --root {}/peer {args}", self.state.path().display()))
    }
}

/// For tests that want no container.
pub fn exec<const N: usize>(args: [&str; N]) -> Output {
    tool("runner").args(["exec"]).args(args).run()
}

/// The fd that comes over a console socket or a pidfd socket.
pub fn receive(stream: &std::os::unix::net::UnixStream) -> std::os::fd::OwnedFd {
    use std::os::fd::AsRawFd;
    let mut buffer = [0; 64];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
    let flags = nix::sys::socket::MsgFlags::MSG_CMSG_CLOEXEC;
    let got =
        nix::sys::socket::recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
    let message = got.cmsgs().unwrap().next().expect("an fd comes along");
    let nix::sys::socket::ControlMessageOwned::ScmRights(fds) = message else { panic!("{message:?}") };
    chain::sys::fd::adopt(fds[0]).unwrap()
}
