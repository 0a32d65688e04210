//! `--print`, `--check`, `--show PID`: questions, which change nothing.

use crate::action::Action;
use crate::cli::Args;
use crate::plan::{Filter, Plan};
use crate::table::{Call, Calls, Table};
use crate::{apply, decide, diff, dump, facts, flags, lint, number, plan, program, raw, sets, show};
use chain::Result;
use chain::landing::{self, Denied};
use chain::link::Question;
use chain::report::stdout;
use chain::spec::SeccompLoad;
use chain::state::State;
use serde_json::{Value, json};

/// Answers; gives the exit status.
pub(crate) fn answer(question: Question, args: &Args, spec: &SeccompLoad) -> Result<u8> {
    let mut state = State::default();
    if let Question::Show(pid) = question {
        return stdout(show::layer(pid)?.as_bytes()).map(|()| 0);
    }
    if let Some(set) = &args.list {
        return sets::answer(set.as_deref());
    }
    let plan = plan::resolve(spec, &facts::gather(spec, &state.landing)?)?;
    if question == Question::Check {
        apply::all(&plan, &mut state)?;
        let table = plan.filter.as_ref().map(|filter| &filter.table);
        // In a child that goes no further: really loaded, and a call that must be refused really made.
        landing::rehearse(&state, table.and_then(denied))?;
    }
    if let Some(program) = &plan.program {
        return raw::answer(&program.code, args, &plan.document());
    }
    if let Some(filter) = &plan.filter {
        let (text, said) = match () {
            () if !args.test.is_empty() => decide::test(filter, &args.test, args.common.json)?,
            () if args.dump.is_some() => return dump::answer(filter, spec, &state.landing, args),
            () if args.lint => said_of(&lint::lines(&filter.table)),
            () if args.diff.is_some() => {
                let other = flags::other(spec, args)?;
                let other = plan::resolve(&other, &facts::gather(&other, &state.landing)?)?;
                if other.program.is_some() {
                    return Err(raw::no_names("--diff"));
                }
                let other = other.filter.as_ref().map(|filter| &filter.table);
                said_of(&other.map(|other| diff::lines(&filter.table, other)).unwrap_or_default())
            }
            () => return show_plan(&plan, args),
        };
        return stdout(text.as_bytes()).map(|()| u8::from(!said));
    }
    show_plan(&plan, args)
}

/// Lines, and whether there are none.
fn said_of(lines: &[String]) -> (String, bool) {
    (lines.iter().map(|line| format!("{line}\n")).collect(), lines.is_empty())
}

fn show_plan(plan: &Plan, args: &Args) -> Result<u8> {
    match &plan.filter {
        Some(filter) if args.raw => stdout(&program::bytes(&filter.code)),
        _ => stdout(print(plan, args.common.json).as_bytes()),
    }
    .map(|()| 0)
}

/// A call that does nothing with -1 for every argument, and that the filter refuses whatever its arguments, with an errno
/// that the kernel would not give.
fn denied(table: &Table) -> Option<Denied> {
    const HARMLESS: [i64; 6] = [
        libc::SYS_mkdirat,
        libc::SYS_openat2,
        libc::SYS_add_key,
        libc::SYS_mount,
        libc::SYS_swapon,
        libc::SYS_io_uring_setup,
    ];
    HARMLESS.into_iter().find_map(|number| match table.native(number)? {
        Action::Errno(errno) => Some((number, errno.into())),
        _ => None,
    })
}

fn print(plan: &Plan, json: bool) -> String {
    let Some(filter) = &plan.filter else { return "no filter\n".into() };
    if json {
        let mut document = plan.document();
        document["degraded"] = plan.notes().iter().map(|note| note.text.clone()).collect();
        document["calls"] = filter.table.archs.iter().map(|c| (c.arch.name.to_string(), calls(c))).collect();
        return format!("{document}\n");
    }
    lines(plan, filter).join("\n") + "\n"
}

/// `{"ALLOW": ["read", …], …}`, and the calls with conditions by name.
fn calls(calls: &Calls) -> Value {
    let mut document = json!({});
    for (number, call) in &calls.calls {
        let name = name_of(*number, calls);
        if !call.when.is_empty() {
            document["conditions"][&name] = call.when.iter().map(said).collect();
        }
        if let Some(action) = call.always {
            match document[action.to_string()].as_array_mut() {
                Some(list) => list.push(name.into()),
                None => document[action.to_string()] = json!([name]),
            }
        }
    }
    document
}

fn name_of(number: u32, calls: &Calls) -> String {
    number::name(number, calls.arch).unwrap_or_else(|| number.to_string())
}

fn said((tests, action): &(Vec<crate::rule::Test>, Action)) -> String {
    let tests: Vec<String> = tests.iter().map(ToString::to_string).collect();
    format!("{action} if {}", tests.join(" and "))
}

fn lines(plan: &Plan, Filter { table, code }: &Filter) -> Vec<String> {
    let mut lines = vec![
        format!("a filter of {} instructions; what no rule names: {}", code.len(), table.default),
        format!("  {:<14} {}", "no_new_privs", if plan.no_new_privs { "on" } else { "as it is" }),
    ];
    for calls in &table.archs {
        lines.push(format!("  {}", calls.arch.name));
        lines.extend(of_arch(table, calls));
    }
    lines.push("  any other kind of program: kill".into());
    let notes = table.notes.iter().map(|note| note.text.clone()).chain(lint::lines(table));
    lines.extend(notes.map(|note| format!("  note: {note}")));
    lines
}

fn of_arch(table: &Table, calls: &Calls) -> Vec<String> {
    let mut lines = Vec::new();
    let mut actions: Vec<Action> = calls.calls.values().filter_map(|call| call.always).collect();
    actions.sort_unstable();
    actions.dedup();
    for action in actions {
        let same = |(_, call): &(&u32, &Call)| call.always == Some(action);
        let names: Vec<String> = calls.calls.iter().filter(same).map(|(n, _)| name_of(*n, calls)).collect();
        lines.push(format!("    {action}: {}", names.join(" ")));
    }
    for (number, call) in &calls.calls {
        let name = name_of(*number, calls);
        lines.extend(call.when.iter().map(|w| format!("    {name}: {}", said(w))));
    }
    if let Some(newest) = calls.newest.filter(|_| table.unheard != table.default) {
        lines.push(format!("    newer than {}: {}", name_of(newest, calls), table.unheard));
    }
    lines
}
