//! containerd and its `ctr`.

use super::place::Place;
use super::{IMAGE, image, quoted};
use crate::requires;
use crate::run::{Tool, tool_path};
use std::path::PathBuf;

/// See the module. Its namespace has the name of the cgroup below which `ctr run` puts containers.
#[derive(Debug)]
pub struct Containerd {
    pub(super) place: Place,
}

impl Containerd {
    /// With the image, and `runner` as the runtime `catena` of its config; None where it cannot be had.
    pub fn start() -> Option<Containerd> {
        // The CRI plugin is for Kubernetes, and wants a network.
        Containerd::bare("disabled_plugins = [\"io.containerd.grpc.v1.cri\"]").inspect(|containerd| {
            let archive = image::make(&containerd.place.dir);
            let out = containerd
                .ctr(["images", "import", "--snapshotter=native", archive.to_str().expect("a path of ours")])
                .run();
            assert_eq!(out.status, 0, "{out:#?}");
        })
    }

    /// Without an image; `more` is the end of its config.
    pub(super) fn bare(more: &str) -> Option<Containerd> {
        if !requires::root() || !requires::package("/usr/bin/containerd", "containerd") {
            return None;
        }
        let mut place = Place::new();
        let dir = place.dir.path().display().to_string();
        // Where the shim keeps it, by namespace; /run is a tmpfs of the place's own.
        place.states.push(place.dir.join("states").join(&place.parent));
        let config = place.dir.file(
            "containerd.toml",
            format!(
                "version = 2\nroot = \"{dir}/containerd\"\nstate = \"{dir}/containerd-state\"\n{more}\n\
                 [grpc]\naddress = \"{dir}/containerd.sock\"\n\
                 [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{dir}/opt\"\n"
            ),
        );
        place.daemon(
            "containerd",
            &format!("echo $BASHPID >{dir}/containerd.pid; exec containerd --config {}", config.display()),
        );
        let containerd = Containerd { place };
        containerd.place.answers("containerd", || containerd.ctr(["version"]));
        Some(containerd)
    }

    /// `ctr ARGS…`.
    pub fn ctr<const N: usize>(&self, args: [&str; N]) -> Tool {
        self.ctr_of(&self.place.parent, args)
    }

    /// `ctr ARGS…` in this namespace.
    pub(super) fn ctr_of<const N: usize>(&self, namespace: &str, args: [&str; N]) -> Tool {
        let socket = self.socket();
        let words = ["ctr", "--address", socket.to_str().expect("a path of ours"), "--namespace", namespace];
        self.place.tool(words.iter().chain(&args))
    }

    /// `ctr run OPTIONS… IMAGE ID COMMAND…` with `runner`.
    pub fn run(&self, options: &[&str], id: &str, command: &[&str]) -> Tool {
        self.place.tool(self.words(options, id, command))
    }

    /// The same in a terminal.
    pub fn run_in_terminal(&self, options: &[&str], id: &str, command: &[&str]) -> Tool {
        self.place.terminal(&quoted(&self.words(options, id, command)))
    }

    fn words(&self, options: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        let path = |path: PathBuf| path.display().to_string();
        let (socket, runner, states) =
            (path(self.socket()), path(tool_path("runner")), path(self.place.dir.join("states")));
        let ctr =
            ["ctr", "--address", &socket, "--namespace", &self.place.parent, "run", "--snapshotter=native"];
        let runtime = ["--runc-binary", &runner, "--runc-root", &states];
        let what = [IMAGE, id];
        let all = ctr.iter().chain(&runtime).chain(options).chain(&what).chain(command);
        all.map(ToString::to_string).collect()
    }

    /// Ids of the containers that `runner` has a state of.
    pub fn known_to_runner(&self) -> Vec<String> {
        self.place.known_to_runner()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.place.dir.join("containerd.sock")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Then the place ends it all, and another failure would hide the first.
        if std::thread::panicking() {
            return;
        }
        self.place.end_daemon(&self.place.dir.join("containerd.pid"));
    }
}
