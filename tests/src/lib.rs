//! The harness of every test in this workspace: run a real tool, look at the real process it made.
//!
//! The payload `probe` prints its own world as JSON; [`Probe`] is that document. [`tool`] runs one binary, [`shell`] a
//! line with all of them in PATH, [`rootfs`] makes a root file system to run it in, [`requires`] skips aloud what this
//! host cannot do, [`Leftovers`] fails a test that leaves a cgroup, a mount or a process behind.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod agent;
mod caps;
pub mod engines;
mod expect;
#[cfg(target_arch = "x86_64")]
mod faults;
mod leftovers;
pub mod look;
mod memory;
mod mountinfo;
mod output;
mod probe;
mod recipe;
pub mod requires;
mod rootfs;
mod run;
mod running;
mod shape;
mod temp;
mod terminal;
pub mod verbs;
mod watch;

pub use agent::{Agent, Told};
pub use caps::{CAPS, cap_bit, cap_names};
pub use leftovers::{Leftovers, processes};
pub use memory::{StatusLog, memfd, state_name};
pub use mountinfo::Mount;
pub use output::Output;
pub use probe::{Caps, Dev, Fd, Ids, Interface, Limit, Probe, Signals, Status, Terminal};
pub use recipe::{recipe, recipes};
pub use rootfs::{TempRootfs, copy_program, rootfs};
pub use run::{Stdin, Tool, bin_dir, probe_path, shell, tool, tool_path, v2_view};
pub use running::{Running, until};
pub use temp::TempDir;
pub use terminal::TerminalSession;
