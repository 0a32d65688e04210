//! What every link of a catena chain needs: the plan and the state, the next program by fd, the landing, errors.
//!
//! A tool is started, works out its layer ([`link::begin`]), resolves it against the host without touching anything,
//! applies it, reads the kernel's state back, and becomes the next program ([`link::Link::go_on`]). `docs/design.md`
//! is the contract.

pub mod agent;
pub mod bindings;
pub mod bytes;
pub mod canary;
pub mod cgroup;
pub mod cli;
pub mod error;
pub mod files;
pub mod filters;
pub mod given;
pub mod home;
pub mod hook;
pub mod ids;
pub mod json;
pub mod landing;
pub mod link;
pub mod mapped;
pub mod meet;
pub mod name;
pub mod near;
pub mod nest;
pub mod net;
pub mod next;
pub mod oci;
pub mod order;
pub mod pidfile;
pub mod plan;
pub mod proc;
pub mod proxy;
pub mod rdt;
pub mod report;
pub mod sched;
pub mod share;
pub mod size;
pub mod source;
pub mod spec;
pub mod state;
pub mod supervise;
#[allow(unsafe_code, reason = "the one place for it")]
pub mod sys;
pub mod target;
pub mod userns;

pub use error::{Cannot, Class, Error, Result};
pub use name::ToolName;
