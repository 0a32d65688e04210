//! The container's state, as the specification has it for hooks and for a seccomp agent.

use super::null_is_empty;
use crate::bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a hook reads on its standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// Version of the specification.
    pub oci_version: String,
    /// Id.
    pub id: String,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: String,
    /// The container's process, as the reader's pid namespace numbers it; left out where there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// The bundle's folder.
    pub bundle: Bytes,
    /// The config's annotations.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}
