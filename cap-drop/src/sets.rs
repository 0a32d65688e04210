//! The five sets: from names to masks, and what the kernel will not do, refused before it is tried.

use crate::name::{self, Word};
use caps::Capability;
use chain::landing::CapSets;
use chain::oci::Capabilities;
use chain::spec::{CapChange, CapDrop};
use chain::{Class, Error, Result};
use std::str::FromStr;

const SETPCAP: u64 = 1 << Capability::CAP_SETPCAP as u8;

/// What this process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present {
    /// Its sets.
    pub(crate) sets: CapSets,
    /// How many capabilities the kernel knows.
    pub(crate) known: u32,
}

/// The sets for the landing; what was left out goes to `degraded`. `root` says that root's rule of exec gives the
/// command what is in bounding; without it only ambient capabilities reach the command.
pub(crate) fn resolve(
    spec: &CapDrop,
    present: &Present,
    root: bool,
    degraded: &mut Vec<String>,
) -> Result<CapSets> {
    let mut sets = match &spec.capabilities {
        Some(named) => from_oci(named, spec, present, degraded)?,
        // Ambient is for what comes to the command on purpose; an earlier link may have raised it for itself.
        None => CapSets { ambient: 0, ..present.sets },
    };
    if let Some(change) = &spec.change {
        apply_change(change, &mut sets, present, root)?;
    }
    let oci = spec.capabilities.is_some();
    ambient_can_be_raised(&mut sets, oci, may_lack(spec, "ambient") || oci, degraded)?;
    kernel_will_take(sets, present, oci)?;
    sets.bounding = bounding_can_be_cut(sets.bounding, present, may_lack(spec, "bounding"), degraded)?;
    Ok(sets)
}

fn may_lack(spec: &CapDrop, what: &str) -> bool {
    spec.attempt.iter().any(|w| w == what)
}

fn known_mask(known: u32) -> u64 {
    if known >= 64 { u64::MAX } else { (1 << known) - 1 }
}

/// Names of config.json: as capabilities(7) writes them and no other way. The specification wants a warning for one that
/// is unknown or that this kernel does not have.
fn from_oci(
    named: &Capabilities,
    spec: &CapDrop,
    present: &Present,
    degraded: &mut Vec<String>,
) -> Result<CapSets> {
    let mut mask = |set: &str, words: &[String]| {
        let mut mask = 0;
        for word in words {
            match Capability::from_str(word).ok().map(|c| u32::from(c.index())).filter(|n| *n < present.known)
            {
                Some(n) => mask |= 1 << n,
                None if spec.unknown_capabilities_warn => {
                    if !degraded.iter().any(|d| d.starts_with(&format!("{word}:"))) {
                        degraded.push(format!(
                            "{word}: process.capabilities names it, this kernel or program does not know it"
                        ));
                    }
                }
                None => return Err(unknown_here(&format!("process.capabilities.{set}"), word)),
            }
        }
        Ok(mask)
    };
    let sets = CapSets {
        bounding: mask("bounding", &named.bounding)?,
        permitted: mask("permitted", &named.permitted)?,
        effective: mask("effective", &named.effective)?,
        inheritable: mask("inheritable", &named.inheritable)?,
        ambient: mask("ambient", &named.ambient)?,
    };
    Ok(sets)
}

fn unknown_here(place: &str, word: &str) -> Error {
    Error::usage("read the capabilities", format_args!("{place}: '{}' is not known", word.escape_debug()))
}

fn apply_change(change: &CapChange, sets: &mut CapSets, present: &Present, root: bool) -> Result<()> {
    let held = present.sets;
    let dropped = mask(&change.drop, u64::MAX, present)?;
    if change.drop_all {
        *sets = CapSets::default();
    }
    for set in [
        &mut sets.bounding,
        &mut sets.permitted,
        &mut sets.effective,
        &mut sets.inheritable,
        &mut sets.ambient,
    ] {
        *set &= !dropped;
    }
    // What is dropped by name stays dropped when all is added, and what is added by name is back when all is dropped.
    let both = held.bounding & held.permitted;
    let added = mask(&change.add, both & !named(&change.drop, present)?, present)?;
    let kept = mask(&change.keep, both, present)?;
    for set in [&mut sets.bounding, &mut sets.permitted, &mut sets.effective] {
        *set |= added | kept;
    }
    if let Some(words) = &change.ambient {
        sets.ambient = edit(words, sets.ambient, held.permitted, present)?;
    }
    if !root {
        sets.ambient |= kept;
    }
    for set in [&mut sets.inheritable, &mut sets.permitted, &mut sets.effective] {
        *set |= sets.ambient;
    }
    edit_each(change, sets, present)
}

/// Each set by itself. What was not named follows from what was: effective lies within permitted.
fn edit_each(change: &CapChange, sets: &mut CapSets, present: &Present) -> Result<()> {
    let held = present.sets;
    if let Some(words) = &change.bounding {
        sets.bounding = edit(words, sets.bounding, held.bounding, present)?;
    }
    if let Some(words) = &change.inheritable {
        sets.inheritable = edit(words, sets.inheritable, held.inheritable | held.permitted, present)?;
    }
    if let Some(words) = &change.permitted {
        sets.permitted = edit(words, sets.permitted, held.permitted, present)?;
    }
    match &change.effective {
        Some(words) => sets.effective = edit(words, sets.effective, sets.permitted, present)?,
        None => sets.effective &= sets.permitted,
    }
    if change.ambient.is_none() && change.keep.is_empty() {
        sets.ambient &= sets.permitted & sets.inheritable;
    }
    Ok(())
}

/// A list of names; `all` is `all`.
fn mask(words: &[String], all: u64, present: &Present) -> Result<u64> {
    let mut mask = 0;
    for word in words {
        mask |= one(word, all, present)?;
    }
    Ok(mask)
}

/// What a list names besides `all`.
fn named(words: &[String], present: &Present) -> Result<u64> {
    mask(words, 0, present)
}

fn one(word: &str, all: u64, present: &Present) -> Result<u64> {
    match name::parse(word)? {
        Word::All => Ok(all),
        Word::One(n) if n < present.known => Ok(1 << n),
        Word::One(_) => {
            let last = name::of(present.known.saturating_sub(1));
            let detail = format!("{word}: this kernel knows none above {last}");
            Err(Error::new(Class::Unsupported, "read the capabilities", detail))
        }
    }
}

/// `a,b` is exactly these; `+a,-b` changes `set`, word by word; `none` is none.
fn edit(words: &[String], set: u64, all: u64, present: &Present) -> Result<u64> {
    if words.len() == 1 && words[0] == "none" {
        return Ok(0);
    }
    let change = |w: &String| w.starts_with(['+', '-']);
    if !words.iter().any(change) {
        return mask(words, all, present);
    }
    let mut set = set;
    for word in words {
        match (word.strip_prefix('+'), word.strip_prefix('-')) {
            (Some(name), _) => set |= one(name, all, present)?,
            (_, Some(name)) => set &= !one(name, u64::MAX, present)?,
            _ => {
                let detail =
                    format!("'{}': either all words of a list have a + or a -, or none", word.escape_debug());
                return Err(Error::usage("read the capabilities", detail));
            }
        }
    }
    Ok(set)
}

/// The kernel raises in ambient only what is both permitted and inheritable. Engines write ambient sets that are not,
/// and the runtimes they grew up with pass over it.
fn ambient_can_be_raised(
    sets: &mut CapSets,
    oci: bool,
    may_lack: bool,
    degraded: &mut Vec<String>,
) -> Result<()> {
    let lost = sets.ambient & !(sets.permitted & sets.inheritable);
    if lost == 0 {
        return Ok(());
    }
    let place = if oci { "process.capabilities.ambient" } else { "ambient" };
    let detail = format!("{}: not in permitted and inheritable", name::few(lost));
    if !may_lack {
        return Err(Error::usage("raise ambient capabilities", format_args!("{place}: {detail}")));
    }
    sets.ambient &= !lost;
    degraded.push(format!("{place}: can't raise ambient capability {detail}"));
    Ok(())
}

/// The rules of capset(2) and prctl(2), so that the refusal names the capability.
fn kernel_will_take(sets: CapSets, present: &Present, oci: bool) -> Result<()> {
    let held = present.sets;
    let setpcap = held.permitted & SETPCAP != 0;
    let inheritable = held.inheritable | if setpcap { held.bounding } else { held.bounding & held.permitted };
    let rules = [
        ("permitted", sets.permitted & !held.permitted, "not permitted to this process"),
        ("bounding", sets.bounding & !held.bounding, "not in the bounding set of this process"),
        ("inheritable", sets.inheritable & !inheritable, "this process may not make that inheritable"),
        ("effective", sets.effective & !sets.permitted, "not in permitted"),
    ];
    for (set, wrong, why) in rules {
        if wrong != 0 {
            let place = if oci { "process.capabilities." } else { "" };
            let detail = format!("{place}{set}: {}: {why}", name::few(wrong));
            return Err(Error::new(Class::Denied, "set the capabilities", detail));
        }
    }
    Ok(())
}

/// Cutting the bounding set wants CAP_SETPCAP. Without it prctl(2) fails, and a tool that passed over that would leave
/// all of it.
fn bounding_can_be_cut(
    asked: u64,
    present: &Present,
    may_lack: bool,
    degraded: &mut Vec<String>,
) -> Result<u64> {
    let held = present.sets;
    let asked = asked & known_mask(present.known);
    if asked == held.bounding || held.permitted & SETPCAP != 0 {
        return Ok(asked);
    }
    let detail = "this process does not hold CAP_SETPCAP";
    if !may_lack {
        return Err(Error::new(Class::Denied, "drop capabilities from the bounding set", detail)
            .cure("--try bounding"));
    }
    degraded.push(format!("bounding: left as it is, {detail}"));
    Ok(held.bounding)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = (1 << 41) - 1;

    fn present() -> Present {
        let sets = CapSets { bounding: FULL, permitted: FULL, effective: FULL, inheritable: 0, ambient: 0 };
        Present { sets, known: 41 }
    }

    fn of(line: &str, root: bool) -> Result<CapSets> {
        let spec = crate::plan::layer(&crate::cli::parse(line)?, CapDrop::default())?;
        resolve(&spec, &present(), root, &mut Vec::new())
    }

    fn sets(bounding: u64, held: u64, inheritable: u64, ambient: u64) -> CapSets {
        CapSets { bounding, permitted: held, effective: held, inheritable, ambient }
    }

    #[test]
    fn drops_adds_and_keeps_in_every_spelling() {
        let (chown, kill, raw) = (1, 1 << 5, 1 << 13);
        for (line, wanted) in [
            ("--all", sets(0, 0, 0, 0)),
            ("--keep chown,CAP_KILL", sets(chown | kill, chown | kill, 0, 0)),
            ("--all --keep 0", sets(chown, chown, 0, 0)),
            ("--cap-drop chown", sets(FULL & !chown, FULL & !chown, 0, 0)),
            ("--cap-drop ALL --cap-add kill", sets(kill, kill, 0, 0)),
            ("--cap-add all --cap-drop kill", sets(FULL & !kill, FULL & !kill, 0, 0)),
            ("--cap-drop kill --cap-add kill", sets(FULL, FULL, 0, 0)),
            ("--all --ambient net_raw", sets(0, raw, raw, raw)),
            ("--keep chown --ambient net_raw", sets(chown, chown | raw, raw, raw)),
            ("--bounding=-all", sets(0, FULL, 0, 0)),
            ("--bounding none", sets(0, FULL, 0, 0)),
            ("--bounding=-all,+chown,+kill", sets(chown | kill, FULL, 0, 0)),
            ("--bounding chown --permitted chown", sets(chown, chown, 0, 0)),
            ("--inheritable chown,kill", sets(FULL, FULL, chown | kill, 0)),
            ("--inheritable=+all,-kill", sets(FULL, FULL, FULL & !kill, 0)),
        ] {
            assert_eq!(of(line, true).unwrap(), wanted, "{line}");
        }
        assert_eq!(of("--keep chown", false).unwrap(), sets(chown, chown, chown, chown));
        assert_eq!(of("--cap-drop all --cap-add chown", false).unwrap(), sets(chown, chown, 0, 0));
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_by_name() {
        for (line, text) in [
            ("--effective chown --permitted kill", "effective: CAP_CHOWN: not in permitted"),
            ("--ambient kill --inheritable none", "ambient: CAP_KILL: not in permitted and inheritable"),
            ("--bounding chown,+kill", "either all words"),
            ("--keep cap_41", "none above CAP_CHECKPOINT_RESTORE"),
            ("--keep chwon", "'chwon' is not known"),
            ("--bounding=", "'' is not known"),
        ] {
            let error = of(line, true).unwrap_err();
            assert!(error.to_string().contains(text), "{line}: {error}");
        }
    }

    /// A kernel that knows two more than the table of names does.
    #[test]
    fn capabilities_newer_than_the_table_are_dropped_too() {
        let full = (1 << 43) - 1;
        let held =
            CapSets { bounding: full, permitted: full, effective: full, inheritable: full, ambient: 0 };
        let newer = Present { sets: held, known: 43 };
        let of = |line: &str| {
            let spec = crate::plan::layer(&crate::cli::parse(line)?, CapDrop::default())?;
            resolve(&spec, &newer, true, &mut Vec::new())
        };
        assert_eq!(of("--all").unwrap(), CapSets::default());
        assert_eq!(of("--cap-drop ALL").unwrap(), CapSets::default());
        assert_eq!(of("--keep chown").unwrap(), sets(1, 1, 0, 0));
        assert_eq!(of("--keep cap_42").unwrap(), sets(1 << 42, 1 << 42, 0, 0));
        assert_eq!(of("--bounding=-all,+chown").unwrap().bounding, 1);
        assert_eq!(of("--cap-drop cap_41").unwrap().bounding, full & !(1 << 41));
        of("--keep cap_43").unwrap_err();
        let oci = CapDrop { capabilities: Some(Capabilities::default()), ..CapDrop::default() };
        assert_eq!(resolve(&oci, &newer, true, &mut Vec::new()).unwrap(), CapSets::default());
    }

    #[test]
    fn nothing_is_taken_for_held_that_is_not() {
        let mut present = present();
        present.sets.permitted &= !1;
        let spec = CapDrop {
            change: Some(CapChange { keep: vec!["chown".into()], ..Default::default() }),
            ..Default::default()
        };
        let error = resolve(&spec, &present, true, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("permitted: CAP_CHOWN: not permitted to this process"), "{error}");
    }

    #[test]
    fn without_setpcap_the_bounding_set_stays_only_if_it_may() {
        let mut present = present();
        present.sets.permitted &= !SETPCAP;
        present.sets.effective &= !SETPCAP;
        let mut spec = CapDrop {
            change: Some(CapChange { drop_all: true, ..Default::default() }),
            ..Default::default()
        };
        let error = resolve(&spec, &present, true, &mut Vec::new()).unwrap_err();
        assert_eq!((error.class, error.cure.as_deref()), (Class::Denied, Some("--try bounding")));
        spec.attempt.push("bounding".into());
        let mut degraded = Vec::new();
        let sets = resolve(&spec, &present, true, &mut degraded).unwrap();
        assert_eq!((sets.bounding, sets.permitted, degraded.len()), (FULL, 0, 1));
    }

    #[test]
    fn config_json_may_name_what_is_unknown_and_the_rest_is_exact() {
        let named = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let spec = CapDrop {
            capabilities: Some(Capabilities {
                bounding: named(&["CAP_CHOWN", "CAP_NOPE", "chown"]),
                permitted: named(&["CAP_CHOWN"]),
                ambient: named(&["CAP_CHOWN"]),
                ..Default::default()
            }),
            unknown_capabilities_warn: true,
            ..Default::default()
        };
        let mut degraded = Vec::new();
        let found = resolve(&spec, &present(), true, &mut degraded).unwrap();
        assert_eq!(found, CapSets { bounding: 1, permitted: 1, ..CapSets::default() });
        assert_eq!(degraded.len(), 3, "{degraded:?}");
        let strict = CapDrop { unknown_capabilities_warn: false, ..spec };
        resolve(&strict, &present(), true, &mut Vec::new()).unwrap_err();
    }
}
