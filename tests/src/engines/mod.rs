//! Container engines as Debian has them, with `runner` as their OCI runtime. Each lives in namespaces of its own, with
//! its storage, sockets and state in a temporary folder, so that it meets no other engine of the host, and all of it
//! ends with the test, however that ends.

mod containerd;
mod cri;
mod docker;
mod image;
mod place;
mod podman;
mod slurm;

pub use containerd::Containerd;
pub use cri::Cri;
pub use docker::Docker;
pub use place::Place;
pub use podman::Podman;
pub use slurm::Slurm;

use crate::output::Output;
use crate::run::Tool;
use crate::running::wait_until;
use std::time::{Duration, Instant};

/// The image that every engine has: busybox, and the payload at `/probe`.
pub const IMAGE: &str = "localhost/base:latest";

/// What one command of an engine may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine with a command line like Docker's.
pub trait Engine {
    /// `podman ARGS…`, `docker ARGS…`.
    fn cli(&self, args: &[&str]) -> Tool;

    /// The same in a terminal of 33 rows and 91 columns, from script(1).
    fn cli_in_terminal(&self, args: &[&str]) -> Tool;

    /// What each `run` and `create` needs here: no network, and limits that this machine can give.
    fn needs(&self) -> Vec<String>;

    /// Where it lives.
    fn place(&self) -> &Place;

    /// Whether it may give its containers cgroups.
    fn has_cgroups(&self) -> bool {
        !self.place().is_users()
    }

    /// Ids of the containers that `runner` has a state of, in the folder that this engine gave it.
    fn known_to_runner(&self) -> Vec<String> {
        self.place().known_to_runner()
    }

    /// `run OPTIONS… IMAGE COMMAND…`.
    fn run(&self, options: &[&str], command: &[&str]) -> Output {
        self.cli(&as_str(&self.words("run", options, command))).run()
    }

    /// A container that goes on running in the background; its id.
    #[track_caller]
    fn start(&self, options: &[&str], command: &[&str]) -> String {
        let options: Vec<&str> = [&["--detach"], options].concat();
        let out = self.run(&options, command);
        assert_eq!(out.status, 0, "{out:#?}");
        out.stdout.trim().to_string()
    }

    /// `VERB OPTIONS… IMAGE COMMAND…` with what is needed here.
    fn words(&self, verb: &str, options: &[&str], command: &[&str]) -> Vec<String> {
        let mut words = vec![verb.to_string()];
        words.extend(self.needs());
        words.extend(options.iter().chain(&[IMAGE]).chain(command).map(ToString::to_string));
        words
    }

    /// A command that must succeed; what it printed.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let out = self.cli(args).run();
        assert_eq!(out.status, 0, "{args:?}: {out:#?}");
        out.stdout.trim().to_string()
    }

    /// `inspect --format FORMAT NAME`.
    #[track_caller]
    fn inspect(&self, format: &str, name: &str) -> String {
        self.ok(&["inspect", "--format", format, name])
    }

    /// Waits until `inspect` says so.
    #[track_caller]
    fn becomes(&self, format: &str, name: &str, wanted: &str) {
        let mut found = String::new();
        let came = wait_until(Instant::now() + Duration::from_secs(20), || {
            found = self.inspect(format, name);
            found == wanted
        });
        assert!(came, "{name}: {format} is {found}, not {wanted}");
    }

    /// Waits until the container's log has this line.
    #[track_caller]
    fn logs(&self, name: &str, line: &str) {
        let mut found = String::new();
        let came = wait_until(Instant::now() + Duration::from_secs(20), || {
            found = self.ok(&["logs", name]);
            found.lines().any(|l| l.trim_end() == line)
        });
        assert!(came, "the log of {name} has no '{line}':\n{found}");
    }
}

fn as_str(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Words of a shell line, each quoted.
fn quoted(words: &[String]) -> String {
    words.iter().map(|w| format!("'{}'", w.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" ")
}
