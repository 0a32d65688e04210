//! podman: no daemon, but a conmon for each container. buildah shares its storage and settings.

use super::place::Place;
use super::{Engine, IMAGE, image, quoted};
use crate::requires;
use crate::run::{Tool, bin_dir, tool_path};
use crate::running::wait_until;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub struct Podman {
    place: Place,
    /// Folder of a criu that works here, before all others in PATH.
    criu: Option<PathBuf>,
}

impl Podman {
    /// With the image, and `runner` as the runtime `catena` of containers.conf; None where it cannot be had.
    pub fn start() -> Option<Podman> {
        Podman::in_place(Place::new)
    }

    /// The same, with the criu of Debian 13, for Debian 12's does not know newer kernels.
    pub fn start_with_criu() -> Option<Podman> {
        let tree = requires::criu_tree()?;
        let mut podman = Podman::start()?;
        let tree = tree.display();
        // With the libraries of its own tree.
        let script = podman.place.dir.file(
            "criu/criu",
            format!(
                "#!/bin/sh\nfor ld in {tree}/usr/lib/*-linux-gnu/ld-linux-*.so.*; do\n    \
                 exec \"$ld\" --library-path \"${{ld%/*}}\" {tree}/usr/sbin/criu \"$@\"\ndone\n"
            ),
        );
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("chmod works");
        podman.criu = script.parent().map(PathBuf::from);
        Some(podman)
    }

    /// The same of an ordinary user, who has no right to any cgroup.
    pub fn start_for_user() -> Option<Podman> {
        Podman::of_user(false)
    }

    /// The same of an ordinary user to whom a v2 cgroup is delegated, with the controllers that there are. Everything is
    /// run from within it, as in a user's session.
    pub fn start_for_user_with_a_cgroup() -> Option<Podman> {
        Podman::of_user(true)
    }

    fn of_user(delegated: bool) -> Option<Podman> {
        let user = requires::user()?;
        if !requires::package("/usr/bin/newuidmap", "uidmap") {
            return None;
        }
        Podman::in_place(|| {
            let mut place = Place::new();
            let dir = place.dir.path();
            let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
            let runtime = format!("XDG_RUNTIME_DIR={}", dir.display());
            let words = ["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "env", &runtime];
            std::os::unix::fs::chown(dir, Some(user.uid), Some(user.gid)).expect("root may give it away");
            place.states = vec![dir.join("catena")];
            place.user = words.map(String::from).to_vec();
            if delegated {
                let enter = place.delegate(user.uid, user.gid);
                place.user.splice(0..0, enter);
            }
            place
        })
    }

    fn in_place(place: impl FnOnce() -> Place) -> Option<Podman> {
        let there = requires::root() && requires::package("/usr/bin/podman", "podman");
        if !there || !requires::package("/usr/bin/catatonit", "catatonit") {
            return None;
        }
        let mut place = place();
        let dir = place.dir.path().display().to_string();
        // podman makes cgroups for pods and conmons, and leaves some of them.
        place.prefix = "libpod-";
        // Where `runner` keeps them if it is not told otherwise; /run is the place's own.
        if !place.is_users() {
            place.states = vec!["/run/catena".into()];
        }
        place.dir.file(
            "containers.conf",
            format!(
                "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"catena\"\n\
                 runtime_supports_json = [\"catena\", \"runc\", \"crun\"]\n\
                 [engine.runtimes]\ncatena = [\"{}\"]\n",
                tool_path("runner").display()
            ),
        );
        place.dir.file(
            "storage.conf",
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{dir}/graph\"\nrunroot = \"{dir}/run\"\n"),
        );
        place.dir.file("policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        let podman = Podman { place, criu: None };
        let archive = image::make(&podman.place.dir);
        podman.ok(&["load", "--quiet", "--input", archive.to_str()?]);
        Some(podman)
    }

    fn with_env(&self, tool: Tool) -> Tool {
        let tool = match &self.criu {
            Some(folder) => {
                let path = std::env::var("PATH").unwrap_or_default();
                tool.env("PATH", format!("{}:{path}", folder.display()))
            }
            None => tool,
        };
        tool.env("CONTAINERS_CONF", self.place.dir.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.place.dir.join("storage.conf"))
            .env("BUILDAH_RUNTIME", bin_dir().join("runner"))
    }

    fn podman(&self, args: &[&str]) -> Vec<String> {
        ["podman"].iter().chain(args).map(ToString::to_string).collect()
    }

    /// A `buildah` that runs commands with `runner`.
    pub fn buildah(&self, args: &[&str]) -> Tool {
        self.with_env(self.place.tool([&["buildah"], args].concat()))
    }

    /// A pod of this name that runs; its id.
    pub fn pod(&self, name: &str) -> String {
        let parent = format!("--cgroup-parent=/{}", self.place.parent);
        let (name, infra) = (format!("--name={name}"), format!("--infra-image={IMAGE}"));
        // One word: it is the entrypoint, and reads for ever where nobody writes.
        let entry = self.place.dir.file("forever", "#!/bin/sh\nexec sleep 999\n");
        std::fs::set_permissions(&entry, PermissionsExt::from_mode(0o755)).expect("chmod works");
        let volume = format!("--volume={}:/forever:ro", entry.display());
        let words = ["--network=none", &infra, "--infra-command=/forever", &volume, &parent];
        let id = self.ok(&[&["pod", "create", &name], words.as_slice()].concat());
        self.ok(&["pod", "start", &id]);
        id
    }

    /// A shell line in a container of its own in that pod; what it printed.
    pub fn in_pod(&self, pod: &str, line: &str) -> String {
        self.run_in_pod(pod, &["--rm"], line)
    }

    /// A container of this name in that pod, which goes on running.
    pub fn start_in_pod(&self, pod: &str, name: &str, line: &str) {
        let name = format!("--name={name}");
        self.run_in_pod(pod, &["--detach", &name], line);
    }

    fn run_in_pod(&self, pod: &str, options: &[&str], line: &str) -> String {
        let pod = format!("--pod={pod}");
        let needs = self.needs();
        let needs: Vec<&str> =
            needs.iter().map(String::as_str).filter(|n| !n.starts_with("--network")).collect();
        self.ok(&[&["run", &pod], options, &needs, &[IMAGE, "sh", "-c", line]].concat())
    }

    /// All of them. podman 4.3 fails where the conmon of a container has not quite ended, whose cgroup it removes.
    pub fn remove_pods(&self) {
        let mut said = String::new();
        let removed = wait_until(Instant::now() + Duration::from_secs(10), || {
            let out = self.cli(&["pod", "rm", "--force", "--all", "--time=0"]).run();
            said = out.stderr;
            out.status == 0
        });
        assert!(removed, "{said}");
    }

    /// The same in a terminal.
    pub fn buildah_in_terminal(&self, args: &[&str]) -> Tool {
        let words: Vec<String> = ["buildah"].iter().chain(args).map(ToString::to_string).collect();
        self.with_env(self.place.terminal(&quoted(&words)))
    }
}

impl Engine for Podman {
    fn cli(&self, args: &[&str]) -> Tool {
        self.with_env(self.place.tool(self.podman(args)))
    }

    fn cli_in_terminal(&self, args: &[&str]) -> Tool {
        self.with_env(self.place.terminal(&quoted(&self.podman(args))))
    }

    fn needs(&self) -> Vec<String> {
        let parent = format!("--cgroup-parent=/{}", self.place.parent);
        if self.place.is_users() {
            let needs = ["--network=none", "--pull=never"].map(String::from);
            return needs.into_iter().chain(self.place.delegated.then_some(parent)).collect();
        }
        let limits = ["--ulimit=nofile=1000:2000", "--ulimit=nproc=1000:2000"];
        ["--network=none", "--pull=never", &parent].iter().chain(&limits).map(ToString::to_string).collect()
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn has_cgroups(&self) -> bool {
        self.place.delegated || !self.place.is_users()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Then the place ends it all, and another failure would hide the first.
        if std::thread::panicking() {
            return;
        }
        self.remove_pods();
        let out = self.cli(&["rm", "--force", "--all", "--time=0"]).run();
        assert_eq!(out.status, 0, "{out:#?}");
        if self.place.is_users() {
            // Ends the process that keeps the user's namespaces.
            self.ok(&["system", "migrate"]);
        }
        assert!(self.known_to_runner().is_empty(), "{IMAGE}: {:?}", self.known_to_runner());
    }
}
