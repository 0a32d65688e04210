//! Many mounts read back at once, from the kernel's own list: one by one each would be two system calls, and one of them
//! asks the file system for its free space.

use crate::path::above;
use crate::place::Mounted;
use crate::verify::FLAGS;
use chain::sys::mount::attr;
use std::collections::HashMap;

/// Fewer than that are asked one by one, which is as fast.
pub(crate) const MANY: usize = 40;

/// A line of mountinfo, proc_pid_mountinfo(5), as far as it is wanted here.
pub(crate) struct Line<'a> {
    id: u64,
    parent: u64,
    target: &'a [u8],
    options: &'a [u8],
    /// Its type.
    pub(crate) kind: &'a [u8],
    readonly: bool,
}

/// The lines, by what they are looked for.
pub(crate) struct List<'a> {
    lines: Vec<Line<'a>>,
    by_id: HashMap<u64, usize>,
    /// None: more than one is there.
    by_target: HashMap<&'a [u8], Option<usize>>,
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn line(text: &[u8]) -> Option<Line<'_>> {
    let mut words = text.split(|b| *b == b' ');
    let (id, parent) = (number(words.next()?)?, number(words.next()?)?);
    let (target, options) = (words.nth(2)?, words.next()?);
    words.find(|word| *word == b"-")?;
    let (kind, own) = (words.next()?, words.nth(1)?);
    let readonly = own.split(|b| *b == b',').next() == Some(b"ro");
    Some(Line { id, parent, target, options, kind, readonly })
}

impl<'a> List<'a> {
    /// Of the text of mountinfo.
    pub(crate) fn of(text: &'a [u8]) -> List<'a> {
        let lines: Vec<Line<'a>> = text.split(|b| *b == b'\n').filter_map(line).collect();
        let mut by_id = HashMap::with_capacity(lines.len());
        let mut by_target = HashMap::with_capacity(lines.len());
        for (at, line) in lines.iter().enumerate() {
            by_id.insert(line.id, at);
            by_target.entry(line.target).and_modify(|one| *one = None).or_insert(Some(at));
        }
        List { lines, by_id, by_target }
    }

    /// The line of one of ours.
    pub(crate) fn find(&self, mounted: &Mounted) -> Option<&Line<'a>> {
        self.by_id.get(&mounted.id).map(|at| &self.lines[*at])
    }

    /// Whether it is certain that the path leads to this mount: it alone is there, on what alone is above it, up to the
    /// root. What the kernel writes otherwise than we do (a space) is not certain.
    pub(crate) fn leads(&self, mounted: &Mounted, line: &Line<'a>) -> bool {
        let (mut line, mut path) = (line, mounted.at.0.as_slice());
        if line.target != path || !self.is_alone(line) {
            return false;
        }
        while path != b"/" {
            let on = |path: &[u8]| self.by_target.get(path).map(|one| one.map(|at| &self.lines[at]));
            let found = above(path).filter(|above| *above != path).filter_map(on).last();
            let Some(Some(below)) = found.or_else(|| on(b"/")) else { return false };
            if below.id != line.parent {
                return false;
            }
            (line, path) = (below, below.target);
        }
        true
    }

    fn is_alone(&self, line: &Line<'_>) -> bool {
        matches!(self.by_target.get(line.target), Some(Some(at)) if self.lines[*at].id == line.id)
    }
}

impl Line<'_> {
    /// Its flags as MOUNT_ATTR_*; read-only is also what its file system is.
    pub(crate) fn flags(&self) -> u64 {
        let flag = |word: &[u8]| FLAGS.iter().find(|(_, _, name)| word == name.as_bytes());
        let set = self.options.split(|b| *b == b',').filter_map(flag).fold(0, |all, (_, flag, _)| all | flag);
        if self.readonly { set | attr::RDONLY } else { set }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Attrs;
    use std::os::fd::OwnedFd;

    const TEXT: &[u8] = b"20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
21 20 0:5 / /a ro,nosuid,noexec,relatime shared:1 master:2 - tmpfs t rw,mode=755
22 21 0:6 / /a/b/c rw,nodev,nosymfollow - proc proc rw
23 20 0:7 / /twice rw - tmpfs t ro
24 23 0:8 / /twice rw - tmpfs t rw
25 24 0:9 / /twice/below rw - tmpfs t rw
26 20 0:9 / /under/x rw - tmpfs t rw
27 20 0:9 / /under rw - tmpfs t rw
28 20 0:9 / /with\\040space rw - tmpfs t rw
";

    fn ours(id: u64, at: &str) -> Mounted {
        let fd = OwnedFd::from(std::fs::File::open("/proc/self/stat").unwrap());
        Mounted { at: at.into(), fd, id, kind: "tmpfs".into(), asked: Attrs::default(), late: None }
    }

    #[test]
    fn flags_and_types_are_the_kernels() {
        let list = List::of(TEXT);
        let of = |id: u64| list.find(&ours(id, "/")).unwrap();
        assert_eq!(of(21).flags(), attr::RDONLY | attr::NOSUID | attr::NOEXEC);
        assert_eq!((of(22).flags(), of(22).kind), (attr::NODEV | attr::NOSYMFOLLOW, &b"proc"[..]));
        // The file system itself is read-only.
        assert_eq!(of(23).flags(), attr::RDONLY);
        assert!(list.find(&ours(99, "/")).is_none());
    }

    #[test]
    fn only_what_is_seen_at_its_path_is_certain() {
        let list = List::of(TEXT);
        let leads = |id: u64, at: &str| {
            let mounted = ours(id, at);
            list.leads(&mounted, list.find(&mounted).unwrap())
        };
        assert!(leads(20, "/") && leads(21, "/a") && leads(22, "/a/b/c") && leads(27, "/under"));
        assert!(!leads(21, "/link"), "it is reached by another name");
        assert!(!leads(23, "/twice"), "another one covers it");
        assert!(!leads(25, "/twice/below"), "what it is on is one of two");
        assert!(!leads(26, "/under/x"), "a later one covers what it is on");
        assert!(!leads(28, "/with space"));
    }
}
