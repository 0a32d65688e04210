//! `--to-host` and `--to-inside`: the arithmetic that people do by hand, and get wrong across ranges.

use crate::cli::{Args, Which};
use crate::other;
use crate::plan::Kind;
use chain::oci::IdMapping;
use chain::target::Target;
use chain::userns::parse_map;
use chain::{Class, Error, Result, proc, report, supervise};
use std::os::fd::AsFd;

/// Prints the id, or says that there is none.
pub(crate) fn answer(args: &Args) -> Result<u8> {
    let (which, to_host) = match (args.to_host, args.to_inside) {
        (Some(which), _) => (which, true),
        (None, Some(which)) => (which, false),
        (None, None) => return Ok(0),
    };
    let (kind, id) = match which {
        Which::User(id) => (Kind::User, id),
        Which::Group(id) => (Kind::Group, id),
    };
    let lines = match args.pid {
        Some(target) => of_process(target, kind)?,
        None => {
            let spec = other::spec(args)?;
            if kind == Kind::User { spec.uid_mappings } else { spec.gid_mappings }
        }
    };
    match translate(&lines, id, to_host) {
        Some(found) => report::stdout(format!("{found}\n").as_bytes()).map(|()| 0),
        None => {
            let (here, there) = if to_host { ("inside", "outside") } else { ("outside", "inside") };
            let detail = format!("{} {id} {here} is nobody {there}", kind.noun());
            Err(Error::new(Class::Missing, format_args!("translate {} {id}", kind.noun()), detail))
        }
    }
}

/// The map of a living process, as it is seen from our user namespace.
fn of_process(target: Target, kind: Kind) -> Result<Vec<IdMapping>> {
    let pidfd = target.open()?;
    let map = proc::read(&format!("/proc/{}/{}", target.pid()?, kind.file()))?;
    if supervise::has_ended(pidfd.as_fd())? {
        return Err(Error::new(Class::Missing, format_args!("look at process {target}"), "it has ended"));
    }
    parse_map(&map)
}

/// The id that `id` is on the other side.
fn translate(lines: &[IdMapping], id: u32, to_host: bool) -> Option<u32> {
    lines.iter().find_map(|m| {
        let (from, to) = if to_host { (m.container_id, m.host_id) } else { (m.host_id, m.container_id) };
        let offset = id.checked_sub(from).filter(|offset| *offset < m.size)?;
        to.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_across_ranges() {
        let lines = [(0, 1000, 1), (1, 100_000, 999), (1000, 200_000, 10)]
            .map(|(container_id, host_id, size)| IdMapping { container_id, host_id, size });
        for (inside, outside) in [(0, 1000), (1, 100_000), (999, 100_998), (1000, 200_000), (1009, 200_009)] {
            assert_eq!(translate(&lines, inside, true), Some(outside));
            assert_eq!(translate(&lines, outside, false), Some(inside));
        }
        assert_eq!((translate(&lines, 1010, true), translate(&lines, 999, false)), (None, None));
        assert_eq!(translate(&[], 0, true), None);
    }
}
