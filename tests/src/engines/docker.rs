//! Docker: dockerd over a containerd, and the client that belongs to it.

use super::containerd::Containerd;
use super::place::Place;
use super::{Engine, image, quoted};
use crate::requires;
use crate::run::{Tool, tool_path};
use serde_json::json;

/// See the module.
#[derive(Debug)]
pub struct Docker {
    containerd: Containerd,
}

impl Docker {
    /// With the image, and `runner` as the default runtime of daemon.json; None where it cannot be had.
    pub fn start() -> Option<Docker> {
        let there = requires::package("/usr/sbin/dockerd", "docker.io")
            && requires::package("/usr/bin/docker", "docker.io");
        let mut containerd =
            there.then(|| Containerd::bare("disabled_plugins = [\"io.containerd.grpc.v1.cri\"]"))??;
        let place = &mut containerd.place;
        let dir = place.dir.path().to_path_buf();
        place.states = vec![dir.join("docker-run/runtime-runc/moby")];
        let config = json!({
            "runtimes": {"catena": {"path": tool_path("runner")}}, "default-runtime": "catena",
            "data-root": dir.join("docker"), "exec-root": dir.join("docker-run"), "pidfile": dir.join("docker.pid"),
            "hosts": [format!("unix://{}", dir.join("docker.sock").display())],
            "containerd": dir.join("containerd.sock"), "storage-driver": "vfs",
            "cgroup-parent": format!("/{}", place.parent), "deprecated-key-path": dir.join("docker-key.json"),
            "iptables": false, "ip6tables": false, "ip-forward": false, "ip-masq": false, "bridge": "none",
        });
        let config = place.dir.file("daemon.json", config.to_string());
        place.daemon("dockerd", &format!("exec dockerd --config-file {}", config.display()));
        let docker = Docker { containerd };
        docker.containerd.place.answers("dockerd", || docker.cli(&["version"]));
        let archive = image::make(&docker.containerd.place.dir);
        docker.ok(&["load", "--quiet", "--input", archive.to_str()?]);
        Some(docker)
    }

    fn docker(&self, args: &[&str]) -> Vec<String> {
        let socket = format!("unix://{}", self.containerd.place.dir.join("docker.sock").display());
        // Not by PATH: another client may be first in it.
        ["/usr/bin/docker", "--host", &socket].iter().chain(args).map(ToString::to_string).collect()
    }

    fn with_env(&self, tool: Tool) -> Tool {
        // The builder that dockerd itself has; the other one is a program of its own.
        tool.env("DOCKER_CONFIG", self.containerd.place.dir.join("client")).env("DOCKER_BUILDKIT", "0")
    }
}

impl Engine for Docker {
    fn cli(&self, args: &[&str]) -> Tool {
        self.with_env(self.containerd.place.tool(self.docker(args)))
    }

    fn cli_in_terminal(&self, args: &[&str]) -> Tool {
        self.with_env(self.containerd.place.terminal(&quoted(&self.docker(args))))
    }

    fn needs(&self) -> Vec<String> {
        vec!["--network=none".into()]
    }

    fn place(&self) -> &Place {
        &self.containerd.place
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Then the place ends it all, and another failure would hide the first.
        if std::thread::panicking() {
            return;
        }
        let all = self.cli(&["ps", "--all", "--quiet"]).run().stdout;
        let ids: Vec<&str> = all.split_whitespace().collect();
        if !ids.is_empty() {
            let out = self.cli(&[&["rm", "--force"], ids.as_slice()].concat()).run();
            assert_eq!(out.status, 0, "{out:#?}");
        }
        self.containerd.place.end_daemon(&self.containerd.place.dir.join("docker.pid"));
    }
}
