//! podman: no daemon, but a conmon for each container. buildah shares its storage and settings.

use super::place::Place;
use super::{Engine, IMAGE, image, quoted};
use crate::requires;
use crate::run::{Tool, bin_dir, tool_path};
use crate::running::wait_until;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub struct Podman {
    place: Place,
}

impl Podman {
    /// With the image, and `runner` as the runtime `catena` of containers.conf; None where it cannot be had.
    pub fn start() -> Option<Podman> {
        Podman::in_place(Place::new)
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
        let podman = Podman { place };
        let archive = image::make(&podman.place.dir);
        podman.ok(&["load", "--quiet", "--input", archive.to_str()?]);
        Some(podman)
    }

    fn with_env(&self, tool: Tool) -> Tool {
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

    /// A shell line in a container of its own in that pod; what it printed.
    pub fn in_pod(&self, pod: &str, line: &str) -> String {
        let pod = format!("--pod={pod}");
        let needs = self.needs();
        let needs = needs.iter().map(String::as_str).filter(|n| !n.starts_with("--network"));
        let words: Vec<&str> =
            ["run", "--rm", &pod].into_iter().chain(needs).chain([IMAGE, "sh", "-c", line]).collect();
        self.ok(&words)
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
