//! A bundle and a state folder for one test.
#![allow(dead_code, unreachable_pub, reason = "each test file takes it in as a module and uses its part")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod criu;
pub mod exec;
pub mod hooked;
pub mod world;
pub mod zombies;

use catena_tests::{Output, TempDir, TempRootfs, Tool, rootfs, shell, tool, until};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

/// A bundle as `runner spec` writes it, without terminal, whose command is the payload.
pub struct Bundle {
    pub rootfs: TempRootfs,
    pub state: TempDir,
    pub config: Value,
    pub id: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Bundle {
    pub fn new() -> Bundle {
        let rootfs = rootfs();
        let dir = rootfs.parent().to_str().unwrap().to_string();
        tool("runner").args(["spec", "--bundle", &dir]).run().succeeds();
        let text = std::fs::read(rootfs.parent().join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/probe"]);
        let id = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let bundle = Bundle { rootfs, state: TempDir::new(), config, id };
        bundle.write();
        bundle
    }

    /// A bundle whose command is this.
    pub fn of<const N: usize>(args: [&str; N]) -> Bundle {
        let mut bundle = Bundle::new();
        bundle.config["process"]["args"] = json!(args.as_slice());
        bundle.write();
        bundle
    }

    /// A bundle whose command is this shell line.
    pub fn sh(line: &str) -> Bundle {
        Bundle::of(["/bin/sh", "-c", line])
    }

    /// Changes one member, by JSON pointer.
    pub fn set(mut self, pointer: &str, value: Value) -> Bundle {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = self.config.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
        match parent {
            Value::Array(list) => list.push(value),
            parent => parent[key] = value,
        }
        self.write();
        self
    }

    pub fn write(&self) {
        self.rootfs.config(&self.config);
    }

    pub fn dir(&self) -> &str {
        self.rootfs.parent().to_str().unwrap()
    }

    /// `runner --root STATE ARGS…`
    pub fn runner<const N: usize>(&self, args: [&str; N]) -> Tool {
        tool("runner").args(["--root", self.state.path().to_str().unwrap()]).args(args)
    }

    pub fn run(&self) -> Output {
        self.runner(["run", "--bundle", self.dir(), &self.id]).run()
    }

    pub fn create(&self) -> Output {
        // Its output would keep our pipes open for as long as the container lives.
        let line = format!(
            "runner --root {} create --bundle {} {} >{1}/out 2>{1}/err </dev/null; s=$?; cat {1}/err >&2; exit $s",
            self.state.path().display(),
            self.dir(),
            self.id
        );
        shell(&line).run()
    }

    pub fn start(&self) -> Output {
        self.runner(["start", &self.id]).run()
    }

    pub fn delete(&self) -> Output {
        self.runner(["delete", "--force", &self.id]).run()
    }

    /// What the command of a created container wrote.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.rootfs.parent().join("out")).unwrap()
    }

    pub fn state(&self) -> Value {
        self.runner(["state", &self.id]).run().json()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_string()
    }

    /// Waits until the container has this status.
    #[track_caller]
    pub fn becomes(&self, status: &str) {
        until(&format!("{} is {status}", self.id), || self.status() == status);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.delete();
    }
}
