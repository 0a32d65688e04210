//! Two filters held against each other, by what they decide.

use crate::arch;
use crate::number::{self, NEWEST};
use crate::table::Table;

/// A line for each call of this architecture that the two decide otherwise.
pub(crate) fn lines(one: &Table, other: &Table) -> Vec<String> {
    let native = arch::native();
    let named = (0..=NEWEST).filter_map(|n| Some((native.base + n, number::name(native.base + n, native)?)));
    let mut lines: Vec<String> = named
        .filter_map(|(number, name)| {
            let (before, after) = (decision(one, number), decision(other, number));
            (before != after).then(|| format!("{name}: {before} -> {after}"))
        })
        .collect();
    if one.default != other.default {
        lines.push(format!("what no rule names: {} -> {}", one.default, other.default));
    }
    lines
}

fn decision(table: &Table, number: u32) -> String {
    let Some(calls) = table.archs.first() else { return String::new() };
    let Some(call) = calls.calls.get(&number) else {
        return if calls.is_unheard(number) { table.unheard } else { table.default }.to_string();
    };
    let otherwise = call.always.unwrap_or(table.default).to_string();
    if call.when.is_empty() {
        return otherwise;
    }
    let when = call.when.iter().map(|(tests, action)| {
        let tests: Vec<String> = tests.iter().map(ToString::to_string).collect();
        format!("{action} if {}", tests.join(" and "))
    });
    format!("{}, else {otherwise}", when.collect::<Vec<_>>().join(", "))
}
