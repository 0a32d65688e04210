//! The OCI runtime-spec's `config.json` (1.3), one section per file, names and shapes as in the specification.
//!
//! Unknown members are ignored, as the specification demands; members it defines are all here, so that a field which
//! is not carried out can be named in an error instead of being dropped.

mod container;
mod linux;
mod mounts;
pub mod names;
mod process;
mod profile;
mod read;
mod resources;
mod seccomp;
mod tuning;

pub use container::*;
pub use linux::*;
pub use mounts::*;
pub use process::*;
pub use profile::*;
pub use read::{CONFIG_MAX, parse_config, read_bounded, read_config, read_resources};
pub use resources::*;
pub use seccomp::*;
pub use tuning::*;

use read::null_is_empty;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The whole of `config.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Version of the specification the bundle was written for.
    pub oci_version: String,
    /// The container's root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Mounts in order.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// The process to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Host name seen inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// NIS domain name seen inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Programs run at points of the life cycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free metadata.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The Linux section.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// Another platform's section: an error when present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<Value>,
    /// Another platform's section: an error when present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Value>,
    /// Another platform's section: an error when present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solaris: Option<Value>,
    /// Another platform's section: an error when present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zos: Option<Value>,
    /// Another platform's section: an error when present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freebsd: Option<Value>,
}

/// `hooks`: each kind a list of programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated; after the namespaces are made, in the runtime's namespaces.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// As prestart.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before the pivot.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// In the container, after start, before the command.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// After the command was started.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// After the container was deleted.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: String,
    /// Its argv, argv\[0\] included.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment: this one, or where it is left out, that of whoever starts the hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Seconds before it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}
