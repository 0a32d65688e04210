//! linux.memoryPolicy: from which memory nodes the kernel takes pages. Kept over fork and exec, so it is set here, behind
//! the cpuset whose nodes it is about.

use chain::oci::MemoryPolicy;
use chain::oci::names::{MEMORY_FLAGS, MEMORY_MODES};
use chain::sched::members;
use chain::sys::sched::{NODE_WORDS, Nodes, memory_policy, set_memory_policy};
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use std::fmt::{self, Display};

const FIRST_FLAG: usize = 13;
const DOING: &str = "set the memory policy";

/// The arguments of set_mempolicy(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    mode: i32,
    nodes: Nodes,
    words: String,
}

impl Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Everything that needs no kernel is refused here.
pub(crate) fn resolve(policy: &MemoryPolicy) -> Result<Policy> {
    let wrong =
        |what: String| Err(Error::usage(DOING, format!("linux.memoryPolicy: invalid memory policy{what}")));
    let Some(mode) = MEMORY_MODES.iter().position(|name| *name == policy.mode) else {
        return wrong(format!(" mode '{}'", policy.mode.escape_debug()));
    };
    let mut bits = 0;
    for flag in &policy.flags {
        match MEMORY_FLAGS.iter().position(|name| name == flag) {
            Some(bit) => bits |= 1 << (FIRST_FLAG + bit),
            None => return wrong(format!(" flag '{}'", flag.escape_debug())),
        }
    }
    let text = policy.nodes.trim();
    let list = if text.is_empty() { Some(Vec::new()) } else { members(text, NODE_WORDS * 64) };
    let Some(list) = list else {
        return wrong(format!(" node list '{}', as 0-1,3", text.escape_debug()));
    };
    // MPOL_DEFAULT and MPOL_LOCAL have none; a preferred node may be left out and is then the local one.
    let (name, count) = (MEMORY_MODES[mode], list.len());
    match mode {
        0 | 4 if count > 0 => return wrong(format!(": {name} mode requires 0 nodes but got {count}")),
        2 | 3 | 5 | 6 if count == 0 => {
            return wrong(format!(": {name} mode requires at least 1 node but got 0"));
        }
        _ => {}
    }
    let mut nodes = Nodes::default();
    list.iter().for_each(|node| nodes[node / 64] |= 1 << (node % 64));
    let mut words = format!("{name} {text}").trim_end().to_string();
    policy.flags.iter().for_each(|flag| words += &format!(" {flag}"));
    Ok(Policy { mode: mode as i32 | bits, nodes, words })
}

/// Sets it for this process and all that follows, and reads it back.
pub(crate) fn set(policy: &Policy) -> Result<()> {
    set_memory_policy(policy.mode, &policy.nodes)
        .cannot(DOING, format_args!("set_mempolicy({policy})"))
        .map_err(explain)?;
    let found = memory_policy().cannot("prove the memory policy", "get_mempolicy")?;
    // A preferred node that is none is the mode MPOL_LOCAL since Linux 5.14.
    let local = policy.mode == 1 && policy.nodes == Nodes::default() && found.0 == 4;
    if local || found == (policy.mode, policy.nodes) {
        return Ok(());
    }
    let nodes = |nodes: &Nodes| {
        (0..NODE_WORDS * 64).filter(|n| nodes[n / 64] & 1 << (n % 64) != 0).collect::<Vec<_>>()
    };
    let error = Error::readback(
        "the memory policy",
        policy,
        format_args!("mode {} of nodes {:?}", found.0, nodes(&found.1)),
    );
    Err(error.why("this host, or the cpuset it is in, does not have all of these nodes"))
}

fn explain(error: Error) -> Error {
    match error.errno() {
        Some(Errno::ENOSYS) => error.class(Class::Unsupported).why("this kernel knows no memory nodes (CONFIG_NUMA)"),
        Some(Errno::EINVAL) => {
            error.why("none of the nodes is there, or allowed by resources.cpu.mems; or this kernel has no such mode with these flags")
        }
        Some(Errno::EPERM) => error.why("a filter around this process refuses it"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: &str, nodes: &str, flags: &[&str]) -> Result<Policy> {
        let flags = flags.iter().map(|f| f.to_string()).collect();
        resolve(&MemoryPolicy { mode: mode.into(), nodes: nodes.into(), flags })
    }

    #[test]
    fn a_policy_as_numbers() {
        let found = policy("MPOL_BIND", "0-1,65", &["MPOL_F_STATIC_NODES"]).unwrap();
        assert_eq!((found.mode, &found.nodes[..2]), (2 | 1 << 15, &[3, 2][..]));
        assert_eq!(policy("MPOL_LOCAL", "", &[]).unwrap().mode, 4);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_part() {
        for (mode, nodes, flags, part) in [
            ("", "0", &[][..], "invalid memory policy mode ''"),
            ("BIND", "0", &[], "invalid memory policy mode 'BIND'"),
            ("MPOL_BIND", "0", &["x"], "invalid memory policy flag 'x'"),
            ("MPOL_BIND", "0-9876543210", &[], "invalid memory policy node"),
            ("MPOL_BIND", "1024", &[], "invalid memory policy node"),
            ("MPOL_BIND", "", &[], "requires at least 1 node but got 0"),
            ("MPOL_DEFAULT", "0-7", &[], "mode requires 0 nodes but got 8"),
        ] {
            let error = policy(mode, nodes, flags).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
