//! Users and groups by name, from /etc/passwd and /etc/group of the root this link runs in: read by own code, never
//! through NSS, which would load the root's own libraries and ask its daemons.

use chain::ids::{Gid, Uid};
use chain::landing::Ids;
use chain::spec::UserSpec;
use chain::{Error, Result};

/// The two files, as far as they were needed; they belong to the root, so nothing in them is trusted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Database {
    /// /etc/passwd; empty where there is none.
    pub(crate) passwd: Vec<u8>,
    /// /etc/group.
    pub(crate) group: Vec<u8>,
}

/// One user of passwd(5).
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
}

impl Database {
    fn accounts(&self) -> impl Iterator<Item = Account<'_>> {
        self.passwd.split(|b| *b == b'\n').filter_map(|line| {
            let mut fields = line.split(|b| *b == b':');
            let name = fields.next().filter(|n| is_name(n))?;
            let (uid, gid) = (fields.nth(1)?, fields.next()?);
            Some(Account { name, uid: id(uid)?, gid: id(gid)? })
        })
    }

    /// Name, gid, members.
    fn groups(&self) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
        self.group.split(|b| *b == b'\n').filter_map(|line| {
            let mut fields = line.split(|b| *b == b':');
            let name = fields.next().filter(|n| is_name(n))?;
            let gid = id(fields.nth(1)?)?;
            Some((name, gid, fields.next().unwrap_or_default()))
        })
    }

    fn gid_of(&self, word: &str) -> Result<u32> {
        if is_number(word) {
            return word.parse::<Gid>().map(|g| g.0).map_err(|e| Error::usage("find the group", e));
        }
        let found = self.groups().find(|(name, ..)| *name == word.as_bytes());
        found.map(|(_, gid, _)| gid).ok_or_else(|| {
            Error::new(
                chain::Class::Missing,
                "find the group",
                format_args!("'{}' is not in /etc/group", word.escape_debug()),
            )
        })
    }
}

/// A number as ids are, and nothing else: the kernel takes 4294967295 for "no change", which would keep root.
fn id(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse::<Uid>().ok().map(|id| id.0)
}

/// To the name service too a line that begins with # is a comment.
fn is_name(field: &[u8]) -> bool {
    !field.is_empty() && !field.starts_with(b"#")
}

fn is_number(word: &str) -> bool {
    word.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'-' || b == b'+')
}

/// Which of the two files `spec` needs: (passwd, group).
pub(crate) fn needs(spec: &UserSpec) -> (bool, bool) {
    let group_name = spec.name.as_deref().and_then(|n| n.split_once(':')).is_some_and(|(_, g)| !is_number(g));
    let names = spec.groups.iter().flatten().any(|g| !is_number(g));
    (spec.name.is_some() || spec.init_groups, group_name || names || spec.init_groups)
}

/// NGROUPS_MAX of linux/limits.h.
const GROUPS_MAX: usize = 65536;

/// A plan can say what no command line can: the user twice, the groups in two ways, a mask that is none.
fn said_once(spec: &UserSpec) -> Result<()> {
    let doing = "read the user";
    let groups = [spec.additional_gids.is_some(), spec.groups.is_some(), spec.init_groups, spec.keep_groups];
    if groups.iter().filter(|said| **said).count() > 1 {
        let detail = "additionalGids, groups, initGroups and keepGroups exclude each other";
        return Err(Error::usage(doing, detail));
    }
    if spec.name.is_some() && (spec.uid.is_some() || spec.gid.is_some()) {
        return Err(Error::usage(doing, "name excludes uid and gid"));
    }
    match spec.umask.filter(|mask| *mask > 0o777) {
        Some(mask) => {
            Err(Error::usage("set the umask", format_args!("umask: {mask} is more than 511 (0777)")))
        }
        None => Ok(()),
    }
}

/// Numbers for the landing.
pub(crate) fn resolve(spec: &UserSpec, database: &Database) -> Result<Ids> {
    said_once(spec)?;
    let (mut uid, mut gid) = (spec.uid.map(|u| u.0), spec.gid.map(|g| g.0));
    let mut account = None;
    if let Some(word) = &spec.name {
        let (user, group) = word.split_once(':').map_or((word.as_str(), None), |(u, g)| (u, Some(g)));
        account = find(user, database)?;
        uid = Some(match &account {
            Some(account) => account.uid,
            None => user.parse::<Uid>().map(|u| u.0).map_err(|e| Error::usage("find the user", e))?,
        });
        gid = Some(match (group, &account) {
            (Some(group), _) => database.gid_of(group)?,
            (None, Some(account)) => account.gid,
            (None, None) if uid == Some(0) => 0,
            // Taking over the caller's group, which is root's more often than not, would be a hole.
            (None, None) => return Err(no_group(user)),
        });
    }
    let groups = supplementary(spec, uid, gid, account.as_ref(), database)?;
    if let Some(count) = groups.as_ref().map(Vec::len).filter(|n| *n > GROUPS_MAX) {
        let detail = format!("{count} groups, and the kernel takes {GROUPS_MAX}");
        return Err(Error::usage("set the supplementary groups", detail));
    }
    Ok(Ids { uid, gid, groups, umask: spec.umask })
}

/// The line of passwd for a name or a number; a name must have one.
fn find<'a>(user: &str, database: &'a Database) -> Result<Option<Account<'a>>> {
    if is_number(user) {
        let uid = user.parse::<Uid>().map_err(|e| Error::usage("find the user", e))?.0;
        return Ok(database.accounts().find(|a| a.uid == uid));
    }
    let found = database.accounts().find(|a| a.name == user.as_bytes());
    if found.is_none() {
        let detail = format!("'{}' is not in /etc/passwd", user.escape_debug());
        return Err(Error::new(chain::Class::Missing, "find the user", detail));
    }
    Ok(found)
}

fn no_group(user: &str) -> Error {
    Error::usage(
        format_args!("become user {user}"),
        "/etc/passwd has no line for it, so it has no group of its own",
    )
    .cure(format_args!("--user {user}:{user}"))
}

fn supplementary(
    spec: &UserSpec,
    uid: Option<u32>,
    gid: Option<u32>,
    account: Option<&Account<'_>>,
    database: &Database,
) -> Result<Option<Vec<u32>>> {
    if let Some(gids) = &spec.additional_gids {
        return Ok(Some(unique(gids.iter().map(|g| g.0).collect())));
    }
    if let Some(words) = &spec.groups {
        let gids: Result<Vec<u32>> = words.iter().map(|w| database.gid_of(w)).collect();
        return gids.map(unique).map(Some);
    }
    if spec.init_groups {
        let account = account
            .ok_or_else(|| Error::usage("find the user's groups", "/etc/passwd does not list the user"))?;
        let member = |members: &[u8]| members.split(|b| *b == b',').any(|m| m == account.name);
        let listed = database.groups().filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid);
        // initgroups(3) has the user's own group among them.
        return Ok(Some(unique(gid.into_iter().chain(listed).collect())));
    }
    // The caller's groups are no business of another user.
    Ok(if uid.is_some() && !spec.keep_groups { Some(Vec::new()) } else { None })
}

fn unique(mut gids: Vec<u32>) -> Vec<u32> {
    gids.sort_unstable();
    gids.dedup();
    gids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\n:x:5:5::/:\nweb:x:33:34:a:b:c\nweb:x:0:0:::\nbad:x:-1:0:::\n\
            huge:x:4294967295:1:::\nsmall:x:7\nnogid:x:8:::\n1000:x:9:9:::\n";
        let group = "root:x:0:\nweb:x:34:\nadm:x:4:web,root\nlog:x:12:root\naudio:x:29:x,web\nshort:x\nminus:x:-5:web\n";
        Database { passwd: passwd.into(), group: group.into() }
    }

    fn name(word: &str) -> UserSpec {
        UserSpec { name: Some(word.into()), ..UserSpec::default() }
    }

    #[test]
    fn by_name_and_number_with_and_without_a_group() {
        for (word, uid, gid) in [
            ("web", 33, 34),
            ("33", 33, 34),
            ("web:adm", 33, 4),
            ("web:0", 33, 0),
            ("5000:6000", 5000, 6000),
            ("5000:adm", 5000, 4),
            ("0", 0, 0),
            ("1000:1", 1000, 1),
        ] {
            let ids = resolve(&name(word), &database()).unwrap();
            assert_eq!((ids.uid, ids.gid, ids.groups), (Some(uid), Some(gid), Some(vec![])), "{word}");
        }
        assert_eq!(resolve(&name("0"), &Database::default()).unwrap().gid, Some(0));
    }

    #[test]
    fn nobody_becomes_root_by_a_slip() {
        for word in [
            "",
            ":",
            ":0",
            "web:",
            "nosuch",
            "web:nosuch",
            "-1",
            "+0",
            "4294967295",
            "4294967295:0",
            "0:4294967295",
            "1x",
            "0x0",
            "5000",
            "bad",
            "huge",
            "small",
            "nogid",
            "1000",
            "web:web:web",
            "99999999999:1",
            " web",
            "web ",
        ] {
            assert!(resolve(&name(word), &database()).is_err(), "{word:?}");
        }
    }

    #[test]
    fn groups_are_exactly_those_asked_for() {
        let with = |groups: &[&str]| UserSpec {
            groups: Some(groups.iter().map(ToString::to_string).collect()),
            ..name("web")
        };
        assert_eq!(resolve(&with(&["adm", "100", "adm"]), &database()).unwrap().groups, Some(vec![4, 100]));
        assert!(resolve(&with(&["adm", "nosuch"]), &database()).is_err());
        assert!(resolve(&with(&[""]), &database()).is_err());
        let all = UserSpec { init_groups: true, ..name("web") };
        assert_eq!(resolve(&all, &database()).unwrap().groups, Some(vec![4, 29, 34]));
        assert!(resolve(&UserSpec { init_groups: true, ..name("5000:1") }, &database()).is_err());
        let keep = UserSpec { keep_groups: true, ..name("web") };
        assert_eq!(resolve(&keep, &database()).unwrap().groups, None);
        assert_eq!(resolve(&UserSpec::default(), &database()).unwrap(), Ids::default());
    }

    #[test]
    fn what_contradicts_itself_or_is_too_much_is_refused() {
        let spec = |text: &str| serde_json::from_str::<UserSpec>(text).unwrap();
        for text in [
            r#"{"name":"web","uid":0}"#,
            r#"{"name":"web","gid":0}"#,
            r#"{"name":"web","groups":[],"keepGroups":true}"#,
            r#"{"uid":1,"additionalGids":[],"initGroups":true}"#,
            r#"{"uid":1,"umask":512}"#,
        ] {
            resolve(&spec(text), &database()).unwrap_err();
        }
        let all = UserSpec { init_groups: true, ..name("web") };
        let many = |n: u32| (100..100 + n).map(|i| format!("g{i}:x:{i}:web\n")).collect::<String>();
        let with = |n| Database { group: many(n).into(), ..database() };
        assert_eq!(resolve(&all, &with(65535)).unwrap().groups.unwrap().len(), 65536);
        let error = resolve(&all, &with(65536)).unwrap_err();
        assert!(error.to_string().contains("65537 groups"), "{error}");
    }

    #[test]
    fn the_files_are_read_only_where_names_need_them() {
        assert_eq!(needs(&name("5000:6000")), (true, false));
        assert_eq!(needs(&name("5000:adm")), (true, true));
        assert_eq!(needs(&UserSpec { uid: Some(Uid(1)), ..UserSpec::default() }), (false, false));
    }
}
