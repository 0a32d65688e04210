//! `--pick`: ids that nobody has.
//!
//! Among those that systemd's conventions leave to containers (UIDS-GIDS.md: 524288 to 1879048191), in whole 65536s. Of
//! two that pick at once the second waits, and then sees the maps of the first.

use crate::subid::{PASSWD, read};
use chain::oci::IdMapping;
use chain::spec::Idmap;
use chain::sys::caps;
use chain::userns::parse_map;
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use std::io::Read;
use std::ops::Range;
use std::os::fd::OwnedFd;

const DOING: &str = "pick ids that nobody has";
const SIZE: u64 = 65_536;
const FIRST: u64 = 0x0008_0000;
const END: u64 = 0x7000_0000;
/// Held until the maps are written.
const LOCK: &str = "/run/catena-idmap.lock";

/// Puts the maps into `spec`, if it wants to be given some; until what it gives is dropped, nobody else is.
pub(crate) fn pick(spec: &mut Idmap) -> Result<Option<OwnedFd>> {
    if !spec.pick {
        return Ok(None);
    }
    // CAP_SETGID and CAP_SETUID of linux/capability.h.
    let wanted = 1 << 6 | 1 << 7;
    if caps::get().cannot(DOING, "capget")?.effective & wanted != wanted {
        let detail = "it wants CAP_SETUID and CAP_SETGID, and an ordinary user has what it was granted";
        return Err(Error::new(Class::Denied, DOING, detail).cure("--auto"));
    }
    if !spec.uid_mappings.is_empty() || !spec.gid_mappings.is_empty() {
        return Err(Error::usage(DOING, "pick and mappings exclude each other"));
    }
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = openat(CWD, LOCK, flags, Mode::RUSR | Mode::WUSR)
        .cannot(DOING, format_args!("open({LOCK}, O_CREAT)"))?;
    flock(&lock, FlockOperation::LockExclusive).cannot(DOING, format_args!("flock({LOCK})"))?;
    let taken = taken()?;
    let here = |file: &str| Ok(parse_map(&chain::proc::read(file)?)?.iter().map(inside).collect::<Vec<_>>());
    let ours = [here("/proc/self/uid_map")?, here("/proc/self/gid_map")?];
    let Some(first) = free(&taken, &ours, random()?) else {
        return Err(Error::new(Class::Missing, DOING, "no 65536 in a row are left"));
    };
    let line = IdMapping { container_id: 0, host_id: first, size: SIZE as u32 };
    (spec.uid_mappings, spec.gid_mappings) = (vec![line], vec![line]);
    spec.pick = false;
    Ok(Some(lock))
}

/// From `start` on and around.
fn free(taken: &[Range<u64>], ours: &[Vec<Range<u64>>; 2], start: u64) -> Option<u32> {
    let places = (END - FIRST) / SIZE;
    let at = |i: u64| FIRST + (start.wrapping_add(i) % places) * SIZE;
    let overlap = |first: u64, r: &Range<u64>| r.start < first + SIZE && first < r.end;
    let holds = |first: u64, r: &Range<u64>| r.start <= first && first + SIZE <= r.end;
    let fits = |first: &u64| {
        !taken.iter().any(|r| overlap(*first, r))
            && ours.iter().all(|map| map.iter().any(|r| holds(*first, r)))
    };
    (0..places).map(at).find(fits).and_then(|first| first.try_into().ok())
}

fn inside(m: &IdMapping) -> Range<u64> {
    u64::from(m.container_id)..u64::from(m.container_id) + u64::from(m.size)
}

fn outside(m: &IdMapping) -> Range<u64> {
    u64::from(m.host_id)..u64::from(m.host_id) + u64::from(m.size)
}

/// What users, groups, grants and other user namespaces have.
fn taken() -> Result<Vec<Range<u64>>> {
    let mut taken = Vec::new();
    for path in [PASSWD, "/etc/group"] {
        let text = read(path)?.unwrap_or_default();
        let ids = fields(&text).filter_map(|f| number(f.get(2)?)).map(|id| id..id + 1);
        taken.extend(ids);
    }
    for path in ["/etc/subuid", "/etc/subgid"] {
        let text = read(path)?.unwrap_or_default();
        let grants = fields(&text).filter_map(|f| Some((number(f.get(1)?)?, number(f.get(2)?)?)));
        taken.extend(grants.map(|(first, count)| first..first + count));
    }
    for entry in std::fs::read_dir("/proc").cannot(DOING, "open(/proc)")? {
        let name = entry.cannot(DOING, "getdents(/proc)")?.file_name();
        let Some(pid) = name.to_str().filter(|n| n.bytes().all(|b| b.is_ascii_digit())) else { continue };
        for file in ["uid_map", "gid_map"] {
            // One that has ended meanwhile has nothing any more.
            let Ok(text) = chain::proc::read(&format!("/proc/{pid}/{file}")) else { continue };
            // Our own namespace has all that can be given away.
            let lines = parse_map(&text)?;
            taken.extend(lines.iter().filter(|m| u64::from(m.size) < END - FIRST).map(outside));
        }
    }
    Ok(taken)
}

fn fields(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    text.split(|b| *b == b'\n').map(|line| line.split(|b| *b == b':').collect())
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.trim_end().parse::<u32>().ok().map(u64::from)
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    let mut file = std::fs::File::open("/dev/urandom").cannot(DOING, "open(/dev/urandom)")?;
    file.read_exact(&mut bytes).cannot(DOING, "read(/dev/urandom)")?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Range<u64> = 0..0xffff_ffff;

    #[test]
    fn what_is_taken_is_passed_over_wherever_it_lies() {
        let ours = [vec![ALL], vec![ALL]];
        let without = |taken: Range<u64>, start| free(&[0..1, taken], &ours, start);
        assert_eq!(free(&[], &ours, 0), Some(524_288));
        assert_eq!(without(524_288..524_289, 0), Some(589_824));
        assert_eq!(without(589_823..600_000, 0), Some(655_360));
        // Around the end.
        let last = (END - FIRST) / SIZE - 1;
        assert_eq!(without(END - 1..END, last), Some(524_288));
        assert_eq!(without(FIRST..END, 7), None);
    }

    #[test]
    fn only_ids_that_exist_here_can_be_given() {
        let few = [vec![ALL], vec![0..65_536, 700_000..900_000]];
        assert_eq!(free(&[], &few, 0), Some(720_896));
        assert_eq!(free(&[], &[vec![ALL], vec![0..65_536, 0..1]], 0), None);
    }
}
