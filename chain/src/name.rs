//! The names of the tools that can be links, in the order the chain allows.

use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

/// A tool that can be a link. The order of the variants is the order of the chain: each precondition of a later one
/// is made by an earlier one, and each later one takes away what an earlier one needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolName {
    /// Cgroups and rlimits; before any change of user, and before a cgroup namespace fixes its root.
    CgApply,
    /// The user namespace and its maps; before no_new_privs, and first of the namespaces for who is not root.
    Idmap,
    /// Every other namespace.
    NsEnter,
    /// The file system; needs a mount namespace of its own, and the pid namespace that /proc is to show.
    RootfsPrep,
    /// Credentials; after the last mount.
    CapDrop,
    /// The filter; last, for it filters all that follows.
    SeccompLoad,
}

impl ToolName {
    /// All links in order.
    pub const ALL: [ToolName; 6] = [
        ToolName::CgApply,
        ToolName::Idmap,
        ToolName::NsEnter,
        ToolName::RootfsPrep,
        ToolName::CapDrop,
        ToolName::SeccompLoad,
    ];

    /// Its name on disk and in a plan.
    pub const fn as_str(self) -> &'static str {
        match self {
            ToolName::CgApply => "cg-apply",
            ToolName::Idmap => "idmap",
            ToolName::NsEnter => "ns-enter",
            ToolName::RootfsPrep => "rootfs-prep",
            ToolName::CapDrop => "cap-drop",
            ToolName::SeccompLoad => "seccomp-load",
        }
    }

    /// The link that a program word names, by its last component.
    pub fn of_program(word: &OsStr) -> Option<ToolName> {
        let base = Path::new(word).file_name()?;
        ToolName::ALL.into_iter().find(|t| base == t.as_str())
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
