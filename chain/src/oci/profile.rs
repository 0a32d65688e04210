//! A seccomp profile as Docker and podman keep it in a file: `linux.seccomp` of OCI, with rules that depend on
//! capabilities, architecture and kernel. A file of our user's own, so a member that is not known is an error: a
//! misspelt `includes` would widen the filter.

use super::{SyscallArg, null_is_empty};
use serde::{Deserialize, Serialize};

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Profile {
    /// What it is; for readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// For calls that no rule names.
    pub default_action: String,
    /// Errno of the default action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// The same by name, beside the number; podman's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno: Option<String>,
    /// As in OCI; instead of `archMap`.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Architectures by the native one.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub arch_map: Vec<ArchMap>,
    /// As in OCI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<String>>,
    /// As in OCI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<String>,
    /// As in OCI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// Rules.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<ProfileRule>,
}

/// One of `archMap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ArchMap {
    /// On this one,
    pub architecture: String,
    /// these as well.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub sub_architectures: Vec<String>,
}

/// One of `syscalls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProfileRule {
    /// One name; the old spelling of `names`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Names of the calls.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What happens.
    pub action: String,
    /// With which errno.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// The same by name, beside the number; podman's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// Conditions on arguments; all must hold.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<SyscallArg>,
    /// Why; for readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The rule is there only where all of this holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub includes: Option<Condition>,
    /// The rule is not there where any of this holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excludes: Option<Condition>,
}

/// What a rule can depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Condition {
    /// Capabilities in the bounding set of the command.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Native architectures, as Go names them: `amd64`, `arm64`, `x32`.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
    /// This kernel, as `4.8`, or a newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_kernel: Option<String>,
}
