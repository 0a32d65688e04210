//! `root` and `mounts`.

use super::{IdMapping, null_is_empty};
use crate::bytes::Bytes;
use serde::{Deserialize, Serialize};

/// `root`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Folder that becomes `/`; relative to the bundle.
    pub path: Bytes,
    /// Mount it read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
}

/// One of `mounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Where, inside the container.
    pub destination: Bytes,
    /// File system type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Device, label or, for binds, the host path (relative to the bundle).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Bytes>,
    /// Mount options, as in fstab(5), with the specification's own additions.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Map of an idmapped mount.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Map of an idmapped mount.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}
