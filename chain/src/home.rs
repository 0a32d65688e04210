//! HOME for a command whose config names none, from the container's own /etc/passwd: engines rely on it.

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use std::io::Read;

/// The home directory of `uid` by the passwd(5) of the present root; `/` where there is none.
pub fn of(uid: u32) -> Vec<u8> {
    passwd().and_then(|text| find(&text, uid)).unwrap_or_else(|| b"/".to_vec())
}

/// The file belongs to the image, so it may be a FIFO, a device or endless.
fn passwd() -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = openat(CWD, "/etc/passwd", flags, Mode::empty()).ok()?;
    let regular = FileType::from_raw_mode(fstat(&fd).ok()?.st_mode) == FileType::RegularFile;
    let mut text = Vec::new();
    std::fs::File::from(fd).take(1 << 20).read_to_end(&mut text).ok().filter(|_| regular)?;
    Some(text)
}

fn find(passwd: &[u8], uid: u32) -> Option<Vec<u8>> {
    let wanted = uid.to_string();
    let mut lines = passwd.split(|b| *b == b'\n').map(|line| line.split(|b| *b == b':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.len() >= 7 && fields[2] == wanted.as_bytes())?;
    Some(line[5].to_vec()).filter(|home| home.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_of_the_uid_counts() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nbad\nu:x:7:7::/home/u:/bin/sh\nv:x:7:7::/home/v:/bin/sh\nw:x:8:8::rel:/x";
        assert_eq!(find(passwd, 7).unwrap(), b"/home/u");
        assert_eq!(find(passwd, 8), None);
        assert_eq!(find(passwd, 9), None);
    }
}
