//! /etc/subuid and /etc/subgid, subuid(5): which ids a user may map besides its own. Read here, not through NSS, which
//! a static program does not have.

use chain::{Cannot, Class, Error, Result};

/// The user database.
pub(crate) const PASSWD: &str = "/etc/passwd";

/// What a user may map: first id, count.
pub(crate) type Grant = (u32, u32);

/// Reads a file of /etc; None when it is not there.
pub(crate) fn read(path: &str) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.cannot(format_args!("read {path}"), format_args!("open({path})")).map(Some),
    }
}

/// The login name of `uid` by passwd(5).
pub(crate) fn login(passwd: &[u8], uid: u32) -> Option<Vec<u8>> {
    let uid = uid.to_string();
    let mut lines = passwd.split(|b| *b == b'\n').map(|l| l.split(|b| *b == b':').collect::<Vec<_>>());
    lines.find(|f| f.len() > 3 && f[2] == uid.as_bytes()).map(|f| f[0].to_vec())
}

/// What a subuid(5) file grants to the user of this uid and name, in its order. Lines that are none are passed over,
/// as newuidmap does.
pub(crate) fn grants(file: &[u8], uid: u32, name: Option<&[u8]>) -> Vec<Grant> {
    let number = |f: &[u8]| std::str::from_utf8(f).ok()?.trim_end().parse::<u32>().ok();
    let uid = uid.to_string();
    let mine = |f: &[u8]| f == uid.as_bytes() || Some(f) == name;
    let lines = file.split(|b| *b == b'\n').map(|l| l.split(|b| *b == b':').collect::<Vec<_>>());
    let mine = lines.filter(|f| f.len() == 3 && mine(f[0]));
    mine.filter_map(|f| Some((number(f[1])?, number(f[2])?))).filter(|g| g.1 > 0).collect()
}

/// The line of `path` that grants all of these ids to `uid`: `/etc/subuid:3: zoe:100000:65536`.
pub(crate) fn line_of(path: &str, uid: u32, first: u32, size: u32) -> Option<String> {
    let name = read(PASSWD).ok()?.and_then(|text| login(&text, uid));
    let file = read(path).ok()??;
    let holds = |line: &[u8]| {
        let within = |&(start, count): &Grant| {
            first >= start && u64::from(first) + u64::from(size) <= u64::from(start) + u64::from(count)
        };
        grants(line, uid, name.as_deref()).iter().any(within)
    };
    let (number, line) = file.split(|b| *b == b'\n').enumerate().find(|(_, line)| holds(line))?;
    Some(format!("{path}:{}: {}", number + 1, String::from_utf8_lossy(line)))
}

/// Name for messages: `zoe (1000)`.
pub(crate) fn shown(uid: u32) -> String {
    let name = read(PASSWD).ok().flatten().and_then(|text| login(&text, uid));
    match name {
        Some(name) => format!("{} ({uid})", String::from_utf8_lossy(&name)),
        None => format!("uid {uid}"),
    }
}

/// What `path` grants to `uid`; an error that names the cause when it is nothing.
pub(crate) fn of(path: &str, uid: u32) -> Result<Vec<Grant>> {
    let name = read(PASSWD)?.and_then(|text| login(&text, uid));
    let file = read(path)?;
    let grants = file.as_ref().map_or_else(Vec::new, |file| grants(file, uid, name.as_deref()));
    if !grants.is_empty() {
        return Ok(grants);
    }
    let user = shown(uid);
    let detail = match file {
        None => format!("there is no {path}"),
        Some(_) => format!("{path} has no line for {user}"),
    };
    Err(Error::new(Class::Missing, "map all ids granted to the caller", detail).cure(add_range(path, uid)))
}

/// The command that grants a range.
pub(crate) fn add_range(path: &str, uid: u32) -> String {
    let kind = if path.ends_with("subgid") { "subgids" } else { "subuids" };
    let name = read(PASSWD).ok().flatten().and_then(|text| login(&text, uid));
    let name = name.map_or_else(|| uid.to_string(), |n| String::from_utf8_lossy(&n).into_owned());
    format!("usermod --add-{kind} 100000-165535 {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_name_and_by_number_count_in_order() {
        let file = b"zoe:100000:65536\nbob:1:2\n1000:300000:10\nzoe:5:x\nzoe:7\nzoe:9:0\n\xffzoe:1:1\n";
        assert_eq!(grants(file, 1000, Some(b"zoe")), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(grants(file, 1000, None), [(300_000, 10)]);
        assert!(grants(b"", 0, None).is_empty());
    }

    #[test]
    fn the_first_entry_of_a_uid_names_it() {
        let passwd =
            b"root:x:0:0::/:/bin/sh\nbroken\nzoe:x:1000:1000::/:/bin/sh\nzoe2:x:1000:1000::/:/bin/sh\n";
        assert_eq!(login(passwd, 1000).unwrap(), b"zoe");
        assert_eq!(login(passwd, 10), None);
    }
}
