//! How the process is scheduled and where its memory comes from: `process.scheduler`, `process.ioPriority`,
//! `process.execCPUAffinity`, `linux.memoryPolicy`, `linux.intelRdt`.

use super::null_is_empty;
use serde::{Deserialize, Serialize};

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `process.scheduler`: the members of sched_setattr(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// `SCHED_FIFO` and its like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
    /// -20 to 19, of SCHED_OTHER and SCHED_BATCH.
    #[serde(skip_serializing_if = "is_zero")]
    pub nice: i32,
    /// 1 to 99, of SCHED_FIFO and SCHED_RR.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// `SCHED_FLAG_RESET_ON_FORK` and its like.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Of SCHED_DEADLINE, in nanoseconds: run time in each period.
    #[serde(skip_serializing_if = "is_zero")]
    pub runtime: u64,
    /// By when in the period it is had.
    #[serde(skip_serializing_if = "is_zero")]
    pub deadline: u64,
    /// How long a period is; 0: as the deadline.
    #[serde(skip_serializing_if = "is_zero")]
    pub period: u64,
}

/// `process.ioPriority`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE`, `IOPRIO_CLASS_IDLE`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// 0 to 7, the highest first.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
}

/// `process.execCPUAffinity`, of processes that join a container. Lists as `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuAffinity {
    /// Before they are in its cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// From then on; left out: as the kernel has it.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// `linux.memoryPolicy`: the arguments of set_mempolicy(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryPolicy {
    /// `MPOL_BIND` and its like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Nodes, as `0-1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nodes: String,
    /// `MPOL_F_STATIC_NODES` and its like.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// `linux.intelRdt`: a group of the file system resctrl.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntelRdt {
    /// Its name; `/` is the root group. Left out: the container's id.
    #[serde(rename = "closID", skip_serializing_if = "Option::is_none")]
    pub clos_id: Option<String>,
    /// Lines for its `schemata`, as the kernel writes them.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// One of them for caches, as `L3:0=f;1=f0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    /// One of them for memory bandwidth, as `MB:0=70;1=20`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// A group below it that counts for this container alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable_monitoring: bool,
}
