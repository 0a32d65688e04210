//! From a layer and the host's facts to the program that the landing loads; everything that can be refused is refused
//! here.

use crate::action::Action;
use crate::facts::Facts;
use crate::rule::{self, Asked, Head, Rule};
use crate::table::{self, Note, Table, Unknown};
use crate::{arch, default, learn, notify, number, policy, profile, program, raw};
use chain::landing::Landing;
use chain::oci::{Profile, Seccomp};
use chain::spec::{ProfileSource, SeccompLoad};
use chain::state::Receipt;
use chain::sys::seccomp::Instruction;
use chain::{Class, Error, Result, ToolName};
use serde_json::{Value, json};

/// What the landing is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// None where config.json has no filter.
    pub(crate) filter: Option<Filter>,
    /// Instead of it, a program that somebody else made.
    pub(crate) program: Option<raw::Program>,
    /// Who is asked, if the filter asks anybody.
    pub(crate) agent: Option<Asked>,
    /// Set no_new_privs, without which the kernel takes no filter from who lacks CAP_SYS_ADMIN.
    pub(crate) no_new_privs: bool,
}

/// The filter, in both shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// What becomes of each call.
    pub(crate) table: Table,
    /// The same for the kernel.
    pub(crate) code: Vec<Instruction>,
}

/// Names to numbers, and every refusal.
pub(crate) fn resolve(spec: &SeccompLoad, facts: &Facts) -> Result<Plan> {
    let no_new_privs = !spec.allow_new_privileges;
    if spec.learn.is_some() {
        may_load(no_new_privs, facts)?;
        return learn::plan(spec, no_new_privs);
    }
    if let Some(program) = raw::program(spec)? {
        may_load(no_new_privs, facts)?;
        return Ok(Plan { filter: None, program: Some(program), agent: None, no_new_privs });
    }
    let Some((head, rules)) = written(spec, facts)? else {
        return Ok(Plan { filter: None, program: None, agent: None, no_new_privs });
    };
    let mut table = table::build(&head, &rules)?;
    let agent = notify::agent(head, spec.notify.clone(), &mut table)?;
    let code = program::compile(&table)?;
    // The landing executes the command behind the filter.
    if let Some(action) = table.native(libc::SYS_execve).filter(|action| !action.lets_through()) {
        return Err(Error::usage(
            "filter the command",
            format_args!("execve: {action}: it could not even be started"),
        ));
    }
    may_load(no_new_privs, facts)?;
    Ok(Plan { filter: Some(Filter { table, code }), program: None, agent, no_new_privs })
}

pub(crate) fn may_load(no_new_privs: bool, facts: &Facts) -> Result<()> {
    if no_new_privs || facts.no_new_privs || facts.sys_admin {
        return Ok(());
    }
    let detail = "without no_new_privs it wants CAP_SYS_ADMIN, which is not held";
    Err(Error::new(Class::Denied, "load the filter", detail).cure("leave out --allow-new-privs"))
}

/// See [`written`].
pub(crate) type Written = (Head, Vec<(Rule, Unknown)>);

/// All rules in order: those on top first taken out of those below.
pub(crate) fn written(spec: &SeccompLoad, facts: &Facts) -> Result<Option<Written>> {
    let lenient = |otherwise| if spec.unknown_syscalls_warn { Unknown::LeaveOut } else { otherwise };
    let (mut head, mut below) = match (&spec.profile, &spec.seccomp) {
        (Some(source), _) => of_profile(source, facts, spec.unknown_syscalls_warn)?,
        // Engines write an object with nothing in it for "no filter".
        (None, Some(seccomp)) if *seccomp != Seccomp::default() => of_oci(seccomp)?,
        _ if spec.rules.is_empty() && spec.default.is_none() => return Ok(None),
        _ => (everything(), Vec::new()),
    };
    if let Some(rule) = &spec.default {
        head.default = Action::of_oci(&rule.action, rule.errno_ret, "default.action")?;
        below.iter_mut().filter(|rule| rule.at == policy::NEWEST).for_each(|rule| rule.action = head.default);
    }
    if spec.log {
        head.flags |= rule::FLAG_LOG;
    }
    let named = |name: &String| spec.rules.iter().any(|rule| rule.names.contains(name));
    let mut rules = Vec::with_capacity(below.len() + spec.rules.len());
    for mut rule in below {
        rule.names.retain(|name| !named(name));
        rules.push((rule, lenient(Unknown::LeaveOutIfStrict)));
    }
    for (i, written) in spec.rules.iter().enumerate() {
        let rule = rule::rule(written.clone(), format!("rules[{i}]"))?;
        rules.push((Rule { on_top: true, ..rule }, lenient(Unknown::Refuse)));
    }
    Ok(Some((head, rules)))
}

fn of_profile(source: &ProfileSource, facts: &Facts, lenient: bool) -> Result<(Head, Vec<Rule>)> {
    match source {
        ProfileSource::Own(name) if name == "@default" => profile::rules(default::profile(), facts),
        ProfileSource::Own(name) if name.starts_with('@') => {
            let detail = format!("profile: there is no '{}'", name.escape_debug());
            Err(Error::usage("read the filter", detail).cure("@default"))
        }
        ProfileSource::Own(text) => policy::read(
            text.as_bytes(),
            policy::Language::Lines,
            &policy::Origin::Elsewhere("profile"),
            lenient,
        )?
        .written("profile"),
        ProfileSource::Document(profile) => profile::rules(Profile::clone(profile), facts),
    }
}

fn of_oci(seccomp: &Seccomp) -> Result<(Head, Vec<Rule>)> {
    let head = rule::head(seccomp, "linux.seccomp.")?;
    let rules = seccomp.syscalls.iter().enumerate();
    let rules = rules.map(|(i, written)| rule::rule(written.clone(), format!("linux.seccomp.syscalls[{i}]")));
    Ok((head, rules.collect::<Result<_>>()?))
}

/// What rules without a profile stand on: all is allowed, and they hold for every kind of program, for a rule that a
/// 32-bit program gets around is none.
fn everything() -> Head {
    let newest = Some(number::NEWEST);
    let archs = arch::all_of_this_kernel();
    Head {
        default: Action::Allow,
        archs,
        flags: rule::FLAG_SPEC_ALLOW,
        newest,
        in_order: false,
        agent: Asked::default(),
    }
}

impl Plan {
    /// Leaves it to the landing; the program itself travels in `state.fds.filter`.
    pub(crate) fn hand_to(&self, landing: &mut Landing) {
        landing.no_new_privs |= self.no_new_privs;
        landing.listener = self.agent.as_ref().and_then(|agent| agent.metadata.clone());
        let program = self.program.as_ref().map(|program| program.flags);
        landing.filter_flags = self.filter.as_ref().map(|filter| filter.table.flags).or(program);
    }

    /// What the kernel is given.
    pub(crate) fn code(&self) -> Option<&[Instruction]> {
        let program = self.program.as_ref().map(|program| program.code.as_slice());
        self.filter.as_ref().map(|filter| filter.code.as_slice()).or(program)
    }

    /// What its writer may not have meant.
    pub(crate) fn notes(&self) -> &[Note] {
        self.filter.as_ref().map_or(&[], |filter| &filter.table.notes)
    }

    /// Resolved and checked here; the kernel's own check of the program is at the landing, which does not go on without.
    pub(crate) fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::verified(ToolName::SeccompLoad, self.document());
        receipt.degraded = self.notes().iter().map(|note| note.text.clone()).collect();
        receipt
    }

    /// In few words.
    pub(crate) fn document(&self) -> Value {
        let mut document = json!({ "NoNewPrivs": u8::from(self.no_new_privs) });
        if let Some(Filter { table, code }) = &self.filter {
            let archs: Vec<&str> = table.archs.iter().map(|calls| calls.arch.name).collect();
            document["default"] = json!(table.default.to_string());
            document["architectures"] = json!(archs);
            document["flags"] = json!(table.flags);
            document["instructions"] = json!(code.len());
        }
        if let Some(raw::Program { code, flags }) = &self.program {
            document["flags"] = json!(flags);
            document["instructions"] = json!(code.len());
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::native;
    use serde_json::json;

    const HERE: Facts = Facts { caps: 0, kernel: (6, 1), no_new_privs: false, sys_admin: false };

    fn oci(seccomp: Value) -> SeccompLoad {
        let seccomp = Some(serde_json::from_value(seccomp).unwrap());
        SeccompLoad { seccomp, unknown_syscalls_warn: true, ..SeccompLoad::default() }
    }

    fn file(profile: Value) -> SeccompLoad {
        let profile: Profile = serde_json::from_value(profile).unwrap();
        SeccompLoad { profile: Some(ProfileSource::Document(Box::new(profile))), ..SeccompLoad::default() }
    }

    fn refusal(spec: &SeccompLoad) -> String {
        resolve(spec, &HERE).expect_err("it is refused").to_string()
    }

    fn errno(n: i32) -> u32 {
        Action::Errno(n as u16).ret()
    }

    #[test]
    fn what_is_wrong_in_a_config_is_named_by_its_path() {
        let rule = |rule: Value| {
            oci(
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}, rule]}),
            )
        };
        for (spec, said) in [
            (
                oci(json!({"defaultAction": "SCMP_ACT_DENY"})),
                "linux.seccomp.defaultAction: 'SCMP_ACT_DENY' is not an action",
            ),
            (
                oci(json!({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}]})),
                "linux.seccomp.defaultAction: missing",
            ),
            (
                oci(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"})),
                "SCMP_ACT_NOTIFY cannot be used as default action",
            ),
            (
                oci(json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1})),
                "SCMP_ACT_ALLOW takes no errno",
            ),
            (
                rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"})),
                "linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY asks whoever listens there",
            ),
            (
                oci(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X87"]})),
                "linux.seccomp.architectures: 'SCMP_ARCH_X87'",
            ),
            (
                rule(json!({"names": ["read"], "action": "deny"})),
                "linux.seccomp.syscalls[1].action: 'deny' is not an action",
            ),
            (rule(json!({"names": [], "action": "SCMP_ACT_KILL"})), "linux.seccomp.syscalls[1].names: empty"),
            (
                rule(
                    json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 1, "op": "="}]}),
                ),
                "linux.seccomp.syscalls[1].args[0].op: '=' is not an operator",
            ),
            (
                rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000})),
                "linux.seccomp.syscalls[1].action: 5000 is no errno",
            ),
        ] {
            let error = refusal(&spec);
            assert!(error.contains(said), "{error}\nnot: {said}");
        }
    }

    #[test]
    fn no_filter_only_where_nothing_at_all_is_said() {
        for spec in [SeccompLoad::default(), oci(json!({"defaultAction": ""}))] {
            assert_eq!(resolve(&spec, &HERE).unwrap().filter, None);
        }
        assert!(refusal(&file(json!({}))).contains("defaultAction: missing"));
        assert!(resolve(&oci(json!({"defaultAction": "SCMP_ACT_ALLOW"})), &HERE).unwrap().filter.is_some());
    }

    #[test]
    fn an_unknown_name_is_left_out_only_where_that_refuses_no_less() {
        let rule = json!([{"names": ["mkdir", "frobnicate"], "action": "SCMP_ACT_ERRNO"}]);
        let deny = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule});
        assert!(refusal(&file(deny.clone())).contains("syscalls[0].names: 'frobnicate' is not known"));
        // What an engine wrote runs as it does with other runtimes, and the receipt says so.
        let plan = resolve(&oci(deny), &HERE).unwrap();
        assert_eq!(
            plan.receipt().degraded,
            ["linux.seccomp.syscalls[0].names: 'frobnicate' is not known, left out"]
        );
        assert!(plan.notes()[0].lets_more_through);
        let names = json!([{"names": ["execve", "frobnicate"], "action": "SCMP_ACT_ALLOW"}]);
        let allow = file(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": names}));
        let plan = resolve(&allow, &HERE).unwrap();
        assert!(plan.receipt().degraded[0].contains("'frobnicate' is not known, left out"));
        assert!(!plan.notes()[0].lets_more_through);
        let rules = vec![chain::oci::SyscallRule {
            names: vec!["frobnicate".into()],
            action: "SCMP_ACT_ALLOW".into(),
            ..Default::default()
        }];
        assert!(refusal(&SeccompLoad { rules, ..allow }).contains("rules[0].names: 'frobnicate'"));
    }

    #[test]
    fn rules_that_depend_on_the_host_are_read_even_where_they_do_not_hold() {
        let rule = |condition: Value| {
            let mut rule = json!({"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7});
            rule.as_object_mut().unwrap().extend(condition.as_object().unwrap().clone());
            file(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
        };
        let admin = Facts { caps: 1 << 21, ..HERE };
        let there = |condition: Value, facts: &Facts| {
            let plan = resolve(&rule(condition), facts).unwrap();
            native(&plan.filter.unwrap().code, libc::SYS_mkdirat, [0; 6]) == errno(7)
        };
        let arch = crate::arch::native().go;
        for (condition, without, with) in [
            (json!({}), true, true),
            (json!({"includes": {}, "excludes": {}}), true, true),
            (json!({"includes": {"caps": ["CAP_SYS_ADMIN"]}}), false, true),
            (json!({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}}), false, false),
            (json!({"excludes": {"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}}), true, false),
            (json!({"includes": {"arches": [arch, "vax"]}}), true, true),
            (json!({"includes": {"arches": ["vax"]}}), false, false),
            (json!({"excludes": {"arches": [arch]}}), false, false),
            (json!({"includes": {"minKernel": "6.1"}}), true, true),
            (json!({"includes": {"minKernel": "6.10"}}), false, false),
            (json!({"excludes": {"minKernel": "5.4"}}), false, false),
        ] {
            let found = (there(condition.clone(), &HERE), there(condition.clone(), &admin));
            assert_eq!(found, (without, with), "{condition}");
        }
        for (condition, said) in [
            (
                json!({"includes": {"caps": ["CAP_SYS_ADMINN"]}}),
                "syscalls[0].includes.caps[0]: 'CAP_SYS_ADMINN' is no capability",
            ),
            (json!({"excludes": {"minKernel": "6"}}), "syscalls[0].excludes.minKernel: '6' is not a version"),
            (
                json!({"includes": {"arches": ["vax"]}, "action": "SCMP_ACT_NONE"}),
                "syscalls[0].action: 'SCMP_ACT_NONE'",
            ),
            (json!({"name": "mkdir"}), "syscalls[0].name: names is there too"),
            (json!({"errno": "EPERM"}), "syscalls[0].errno: EPERM is 1, and the number beside it is 7"),
            (json!({"errno": "EPREM"}), "syscalls[0].errno: 'EPREM' is no errno"),
        ] {
            let error = refusal(&rule(condition));
            assert!(error.contains(said), "{error}\nnot: {said}");
        }
        let both = file(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}));
        assert!(refusal(&both).contains("archMap: architectures is there too"));
    }

    #[test]
    fn rules_on_top_take_their_calls_out_of_those_below() {
        let (action, errno_ret) = crate::action::of_word("EXDEV").unwrap();
        let rules = vec![chain::oci::SyscallRule {
            names: vec!["socket".into()],
            action,
            errno_ret,
            args: Vec::new(),
        }];
        let profile = Some(ProfileSource::Own("@default".into()));
        let spec = SeccompLoad { profile, rules, ..SeccompLoad::default() };
        let code = resolve(&spec, &HERE).unwrap().filter.unwrap().code;
        assert_eq!(native(&code, libc::SYS_socket, [1, 0, 0, 0, 0, 0]), errno(libc::EXDEV));
        assert_eq!(native(&code, libc::SYS_read, [0; 6]), Action::Allow.ret());
    }

    #[test]
    fn who_cannot_load_it_or_could_not_run_under_it_is_told() {
        let spec =
            SeccompLoad { allow_new_privileges: true, ..oci(json!({"defaultAction": "SCMP_ACT_LOG"})) };
        assert!(refusal(&spec).contains("without no_new_privs it wants CAP_SYS_ADMIN, which is not held"));
        assert!(resolve(&spec, &Facts { sys_admin: true, ..HERE }).is_ok());
        assert!(resolve(&spec, &Facts { no_new_privs: true, ..HERE }).is_ok());
        assert!(refusal(&oci(json!({"defaultAction": "SCMP_ACT_KILL"}))).contains("execve: kill-thread"));
        assert!(refusal(&oci(json!({"defaultAction": "SCMP_ACT_ERRNO"}))).contains("execve: EPERM"));
    }

    #[test]
    fn a_filter_too_long_for_the_kernel_is_refused() {
        let args: Vec<Value> =
            (0..1500_u64).map(|n| json!({"index": 0, "value": n << 33, "op": "SCMP_CMP_EQ"})).collect();
        let rule = json!([{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args}]);
        let error = refusal(&oci(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule})));
        assert!(error.contains("and the kernel takes 4096"), "{error}");
    }
}
