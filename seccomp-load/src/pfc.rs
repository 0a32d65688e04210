//! The filter as pseudo code, in the style of libseccomp's PFC, for people.

use crate::action::Action;
use crate::arch::Arch;
use crate::number;
use crate::rule::{INT, Op, Order, Test};
use crate::table::{Call, Calls, FOREIGN, Table};

/// All of it.
pub(crate) fn text(table: &Table) -> String {
    let mut text = String::from("#\n# pseudo filter code start\n#\n");
    for calls in &table.archs {
        let Arch { audit, .. } = calls.arch;
        text += &format!("# filter for arch {} ({audit})\nif ($arch == {audit})\n", calls.arch.word());
        for (number, call) in &calls.calls {
            one(&mut text, table, calls, *number, call);
        }
        if let Some(newest) = calls.newest.filter(|_| table.unheard != table.default) {
            let name = number::name(newest, calls.arch).unwrap_or_default();
            text += &format!(
                "  # newer than {name}\n  if ($syscall > {newest})\n    action {};\n",
                action(table.unheard)
            );
        }
        text += &format!("  # default action\n  action {};\n", action(table.default));
    }
    text += &format!("# invalid architecture action\naction {};\n", action(FOREIGN));
    text + "#\n# pseudo filter code end\n#\n"
}

fn one(text: &mut String, table: &Table, calls: &Calls, number: u32, call: &Call) {
    let name = number::name(number, calls.arch).unwrap_or_else(|| "UNKNOWN".into());
    *text += &format!("  # filter for syscall \"{name}\" ({number})\n  if ($syscall == {number})\n");
    for (tests, then) in &call.when {
        let tests: Vec<String> = tests.iter().map(test).collect();
        *text += &format!("    if ({})\n      action {};\n", tests.join(" && "), action(*then));
    }
    *text += &format!("    action {};\n", action(call.always.unwrap_or(table.default)));
}

fn test(test: &Test) -> String {
    let Test { index, op, value } = test;
    let (half, sign) = match op {
        Op::Masked(INT) => (".lo32", "=="),
        Op::Unlike(INT) => (".lo32", "!="),
        Op::Masked(mask) => return format!("($a{index} & {mask:#x}) == {value:#x}"),
        Op::Unlike(mask) => return format!("($a{index} & {mask:#x}) != {value:#x}"),
        Op::Eq => ("", "=="),
        Op::Ne => ("", "!="),
        Op::Lt => ("", "<"),
        Op::Le => ("", "<="),
        Op::Gt => ("", ">"),
        Op::Ge => ("", ">="),
        Op::Int(Order::Lt) => (".lo32", "<"),
        Op::Int(Order::Le) => (".lo32", "<="),
        Op::Int(Order::Gt) => (".lo32", ">"),
        Op::Int(Order::Ge) => (".lo32", ">="),
    };
    format!("$a{index}{half} {sign} {value}")
}

fn action(action: Action) -> String {
    match action {
        Action::KillProcess => "KILL_PROCESS".into(),
        Action::KillThread => "KILL".into(),
        Action::Trap => "TRAP".into(),
        Action::Errno(errno) => format!("ERRNO({errno})"),
        Action::Notify => "NOTIFY".into(),
        Action::Trace(data) => format!("TRACE({data})"),
        Action::Log => "LOG".into(),
        Action::Allow => "ALLOW".into(),
    }
}
