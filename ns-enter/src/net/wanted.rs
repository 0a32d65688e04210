//! Which devices, checked as data.

use super::pair::{End, Pair};
use chain::net::Move;
use chain::oci::NamespaceKind;
use chain::spec::{NsEnter, VethEnd};
use chain::{Error, Result};
use std::net::IpAddr;

/// All that is to be done with devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Moved.
    pub(crate) devices: Vec<Move>,
    /// Made.
    pub(crate) pairs: Vec<Pair>,
    /// Who stays outside gives the moved ones back when the command has ended.
    pub(crate) give_back: bool,
    /// The runner moves them: it stays outside, and is there when something fails later.
    pub(crate) by_runner: bool,
}

impl Wanted {
    /// Nothing?
    pub(crate) fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.pairs.is_empty()
    }
}

/// From the layer. `made` and `joined` say which namespaces are new or entered, `mapped` that we are in a new user
/// namespace already, `runner` that one is there.
pub(crate) fn resolve(
    spec: &NsEnter,
    made: &[NamespaceKind],
    joined: &[NamespaceKind],
    mapped: bool,
    runner: bool,
) -> Result<Wanted> {
    let devices: Vec<Move> = spec
        .net_devices
        .iter()
        .map(|(from, device)| {
            let inside = device.name.clone().filter(|name| !name.is_empty());
            Move { from: from.clone(), to: inside.unwrap_or_else(|| from.clone()) }
        })
        .collect();
    let mut pairs = Vec::new();
    for pair in &spec.veth {
        pairs.push(Pair { outside: checked_end(&pair.outside)?, inside: checked_end(&pair.inside)? });
    }
    let give_back = spec.give_back && !devices.is_empty();
    let by_runner = runner && !devices.is_empty() && !give_back && pairs.is_empty();
    let wanted = Wanted { give_back, by_runner, devices, pairs };
    if wanted.is_empty() {
        return Ok(wanted);
    }
    names(&wanted)?;
    let new = made.contains(&NamespaceKind::Network);
    if !new && !joined.contains(&NamespaceKind::Network) {
        let detail = "no network namespace is made or joined, so they would stay where they are";
        return Err(Error::usage("move network devices", detail).cure("--unshare net"));
    }
    if !new && !wanted.pairs.is_empty() {
        let detail = "only a new network namespace takes one: in a joined one it would outlive the command";
        return Err(Error::usage("make a pair of network devices", detail));
    }
    // Whoever is in a new user namespace has no power over the network outside any more.
    let in_user = mapped || made.contains(&NamespaceKind::User) || joined.contains(&NamespaceKind::User);
    if in_user && !by_runner {
        let detail =
            "the process is in another user namespace by then, which has no power over the network outside";
        return Err(Error::new(chain::Class::Unsupported, "move network devices", detail)
            .cure("join a network namespace that has them already"));
    }
    Ok(wanted)
}

fn names(wanted: &Wanted) -> Result<()> {
    let mut inside: Vec<&str> = Vec::new();
    for Move { from, to } in &wanted.devices {
        let doing = format!("move the network device {}", from.escape_debug());
        check_name(&doing, from, false)?;
        check_name(&doing, to, true)?;
        if inside.contains(&to.as_str()) && !to.contains('%') {
            return Err(Error::usage(doing, format_args!("two devices are to be called {to}")));
        }
        inside.push(to);
    }
    for pair in &wanted.pairs {
        let doing = "make a pair of network devices";
        check_name(doing, &pair.outside.name, false)?;
        check_name(doing, &pair.inside.name, false)?;
    }
    Ok(())
}

/// The kernel's rule: 1 to 15 bytes, not `.` or `..`, no slash, colon or white space. A template has one `%d`.
fn check_name(doing: &str, name: &str, may_be_template: bool) -> Result<()> {
    let refuse = |what: &str| Err(Error::usage(doing, format_args!("'{}': {what}", name.escape_debug())));
    if name.is_empty() || name.len() > 15 {
        return refuse("a name of a network device has 1 to 15 bytes");
    }
    if matches!(name, "." | "..")
        || name.bytes().any(|b| matches!(b, b'/' | b':' | 0) || b.is_ascii_whitespace() || b == 11)
    {
        return refuse("not a name of a network device");
    }
    match name.matches('%').count() {
        0 => Ok(()),
        1 if may_be_template && name.contains("%d") => Ok(()),
        _ if may_be_template => refuse("a template has one %d, and no other %"),
        _ => refuse("a device that is there has no % in its name"),
    }
}

fn checked_end(end: &VethEnd) -> Result<End> {
    let addresses = end.addresses.iter().map(|text| address(text)).collect::<Result<_>>()?;
    Ok(End { name: end.name.clone(), addresses })
}

/// `10.0.0.1/24`, `fd00::1/64`.
fn address(text: &str) -> Result<(IpAddr, u8)> {
    let parsed = text.split_once('/').and_then(|(ip, prefix)| {
        let (ip, prefix) = (ip.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
        (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, prefix))
    });
    parsed.ok_or_else(|| {
        let detail = format!("'{}' is not ADDRESS/LENGTH, as 10.0.0.1/24", text.escape_debug());
        Error::usage("make a pair of network devices", detail)
    })
}

/// `NAME[,ADDRESS/LENGTH…]` of the command line.
pub(crate) fn end(text: &str) -> VethEnd {
    let mut words = text.split(',').map(String::from);
    VethEnd { name: words.next().unwrap_or_default(), addresses: words.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: &[NamespaceKind] = &[NamespaceKind::Network];

    fn of(json: &str, made: &[NamespaceKind], joined: &[NamespaceKind], mapped: bool) -> Result<Wanted> {
        resolve(&serde_json::from_str(json).unwrap(), made, joined, mapped, false)
    }

    #[test]
    fn a_device_keeps_its_name_or_gets_another() {
        let wanted =
            of(r#"{"netDevices":{"a":{},"b":{"name":"eth%d"},"c":{"name":""}}}"#, NET, &[], false).unwrap();
        let names: Vec<_> = wanted.devices.iter().map(|d| (d.from.as_str(), d.to.as_str())).collect();
        assert_eq!(names, [("a", "a"), ("b", "eth%d"), ("c", "c")]);
        of(r#"{"netDevices":{"a":{"name":"eth%d"},"b":{"name":"eth%d"}}}"#, &[], NET, false).unwrap();
        assert!(of("{}", &[], &[], true).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let device = |name: &str| format!(r#"{{"netDevices":{{"a":{{"name":"{name}"}}}}}}"#);
        for (json, text) in [
            (device("more-than-15-bytes"), "1 to 15 bytes"),
            (device("a/b"), "not a name"),
            (device("a b"), "not a name"),
            (device(".."), "not a name"),
            (device("a:b"), "not a name"),
            (device("e%d%d"), "one %d"),
            (device("e%s"), "one %d"),
            (r#"{"netDevices":{"e%d":{}}}"#.into(), "no % in its name"),
            (r#"{"netDevices":{"":{}}}"#.into(), "1 to 15 bytes"),
            (
                r#"{"netDevices":{"a":{"name":"x"},"b":{"name":"x"}}}"#.into(),
                "two devices are to be called x",
            ),
            (
                r#"{"veth":[{"outside":{"name":"a","addresses":["10.0.0.1"]},"inside":{"name":"b"}}]}"#
                    .into(),
                "as 10.0.0.1/24",
            ),
            (
                r#"{"veth":[{"outside":{"name":"a","addresses":["10.0.0.1/33"]},"inside":{"name":"b"}}]}"#
                    .into(),
                "as 10.0.0.1/24",
            ),
            (r#"{"veth":[{"outside":{"name":"a"},"inside":{"name":"e%d"}}]}"#.into(), "no % in its name"),
        ] {
            let error = of(&json, NET, &[], false).unwrap_err().to_string();
            assert!(error.contains(text), "{json}: {error}");
        }
        let one = r#"{"netDevices":{"a":{}}}"#;
        assert!(of(one, &[], &[], false).unwrap_err().to_string().contains("no network namespace"));
        for user in [
            of(one, NET, &[], true),
            of(one, &[NamespaceKind::User, NamespaceKind::Network], &[], false),
            of(one, NET, &[NamespaceKind::User], false),
        ] {
            assert!(user.unwrap_err().to_string().contains("another user namespace"));
        }
        // A runner outside has that power; where there is nothing to move, it is not asked.
        for (json, asked) in [(one, true), ("{}", false)] {
            let wanted = resolve(&serde_json::from_str(json).unwrap(), NET, &[], true, true).unwrap();
            assert_eq!(wanted.by_runner, asked);
        }
        let pair = r#"{"veth":[{"outside":{"name":"a"},"inside":{"name":"b"}}]}"#;
        assert!(of(pair, &[], NET, false).unwrap_err().to_string().contains("only a new network namespace"));
    }
}
