//! docs/plan.schema.json says what the code does: documents that hold every member the code knows are valid, real
//! ones are, and what the code refuses is not. The checker knows the keywords that the schema uses and no other.

use catena_tests::{requires, shell};
use chain::plan::{Layer, Plan};
use chain::spec;
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/plan.schema.json")).unwrap()
}

/// Why `value` is not what `rule` says, with the path of the place.
fn check(root: &Value, rule: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Value::Object(keywords) = rule else {
        return if rule == &json!(false) { Err(format!("{at}: not allowed")) } else { Ok(()) };
    };
    for (keyword, wanted) in keywords {
        keyword_holds(root, rule, keyword, wanted, value, at)?;
    }
    Ok(())
}

fn keyword_holds(
    root: &Value,
    rule: &Value,
    keyword: &str,
    wanted: &Value,
    value: &Value,
    at: &str,
) -> Result<(), String> {
    let fail = |what: String| Err(format!("{at}: {what}"));
    let list = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
    match keyword {
        "$schema" | "$defs" | "title" | "description" => Ok(()),
        "$ref" => {
            let name = wanted.as_str().unwrap().strip_prefix('#').unwrap();
            let target = root.pointer(name).unwrap_or_else(|| panic!("the schema has no {name}"));
            check(root, target, value, at)
        }
        "type" if is_type(value, wanted.as_str().unwrap()) => Ok(()),
        "const" if value == wanted => Ok(()),
        "enum" if list.contains(value) => Ok(()),
        "minimum" if !value.is_number() || value.as_f64() >= wanted.as_f64() => Ok(()),
        "maximum" if !value.is_number() || value.as_f64() <= wanted.as_f64() => Ok(()),
        "type" | "const" | "enum" | "minimum" | "maximum" => {
            fail(format!("{value} is not {keyword} {wanted}"))
        }
        "required" => match list.iter().find(|k| value.get(k.as_str().unwrap()).is_none()) {
            Some(missing) if value.is_object() => fail(format!("no {missing}")),
            _ => Ok(()),
        },
        "properties" => each(value, |key, below| match wanted.get(key) {
            Some(rule) => check(root, rule, below, &format!("{at}.{key}")),
            None => Ok(()),
        }),
        "additionalProperties" => each(value, |key, below| match rule["properties"].get(key) {
            Some(_) => Ok(()),
            None => check(root, wanted, below, &format!("{at}.{key}")),
        }),
        "prefixItems" | "items" => {
            let first = rule["prefixItems"].as_array().map_or(0, Vec::len);
            for (i, below) in value.as_array().into_iter().flatten().enumerate() {
                let rule = if keyword == "items" { (i >= first).then_some(wanted) } else { list.get(i) };
                check(root, rule.unwrap_or(&json!(true)), below, &format!("{at}[{i}]"))?;
            }
            Ok(())
        }
        "anyOf" | "oneOf" => {
            let results: Vec<_> = list.iter().map(|rule| check(root, rule, value, at)).collect();
            let fits = results.iter().filter(|r| r.is_ok()).count();
            // The failure that got furthest into the document is the one worth reading.
            let reason = results.into_iter().filter_map(Result::err).max_by_key(|e| e.find(':'));
            if fits == 1 || fits > 1 && keyword == "anyOf" {
                return Ok(());
            }
            fail(format!("{fits} of {keyword} fit; {}", reason.unwrap_or_default()))
        }
        other => panic!("the schema uses {other}, which this checker does not know"),
    }
}

fn each(value: &Value, test: impl Fn(&str, &Value) -> Result<(), String>) -> Result<(), String> {
    value.as_object().into_iter().flatten().try_for_each(|(key, below)| test(key, below))
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the schema uses the type {other}, which this checker does not know"),
    }
}

#[track_caller]
fn valid(document: &Value) {
    let schema = schema();
    check(&schema, &schema, document, "$").unwrap_or_else(|why| panic!("{why}\n{document:#}"));
}

#[track_caller]
fn invalid(document: &Value) {
    let schema = schema();
    assert!(check(&schema, &schema, document, "$").is_err(), "{document:#}");
}

/// A value of every member that the schema knows below `rule`, the most that can stand there.
fn fullest(root: &Value, rule: &Value) -> Value {
    if let Some(name) = rule["$ref"].as_str() {
        return fullest(root, root.pointer(&name[1..]).unwrap());
    }
    if let Some(any) = rule["anyOf"].as_array().or(rule["oneOf"].as_array()) {
        return fullest(root, &any[0]);
    }
    if let Some(constant) = rule.get("const") {
        return constant.clone();
    }
    match (rule["enum"].as_array(), rule["type"].as_str()) {
        (Some(list), _) => list[0].clone(),
        (None, Some("object")) => match rule["properties"].as_object() {
            Some(members) => members.iter().map(|(k, rule)| (k.clone(), fullest(root, rule))).collect(),
            None => json!({"name": match &rule["additionalProperties"] {
                below @ Value::Object(_) => fullest(root, below),
                _ => json!("text"),
            }}),
        },
        (None, Some("array")) => match rule["prefixItems"].as_array() {
            Some(rules) => rules.iter().map(|rule| fullest(root, rule)).collect(),
            None => json!([fullest(root, &rule["items"])]),
        },
        (None, Some("boolean")) => json!(true),
        (None, Some("integer")) => json!(1),
        (None, Some("string")) => json!("text"),
        _ => json!({"anything": 1}),
    }
}

const TOOLS: [(&str, &str); 6] = [
    ("cg-apply", "cgApply"),
    ("idmap", "idmap"),
    ("ns-enter", "nsEnter"),
    ("rootfs-prep", "rootfsPrep"),
    ("cap-drop", "capDrop"),
    ("seccomp-load", "seccompLoad"),
];

fn plan_of(tool: &str, spec: &Value) -> Value {
    json!({"catena": 1, "layers": [{"tool": tool, "spec": spec}], "complete": true})
}

/// Read as a plan; the document's end is looked at byte by byte, so `complete` is put there.
fn read(plan: &Value) -> chain::error::Result<Plan> {
    let layers = &plan["layers"];
    Plan::parse(format!("{{\"catena\":1,\"layers\":{layers},\"complete\":true}}").as_bytes(), "a test")
}

#[test]
fn the_schema_knows_no_member_that_the_code_does_not() {
    let schema = schema();
    for (tool, name) in TOOLS {
        let plan = plan_of(tool, &fullest(&schema, &schema["$defs"][name]));
        valid(&plan);
        read(&plan).unwrap_or_else(|e| panic!("{e}\n{plan:#}"));
    }
    let state = fullest(&schema, &schema["$defs"]["state"]);
    valid(&state);
    serde_json::from_value::<chain::state::State>(state.clone()).unwrap_or_else(|e| panic!("{e}\n{state:#}"));
}

/// serde hands its list of a struct's fields to the deserializer: the code's own word on what it knows.
fn fields_of<T: serde::de::DeserializeOwned>() -> Vec<String> {
    let wrong = serde_json::from_value::<T>(json!({"no such member": 1})).err().map(|e| e.to_string());
    let text = wrong.expect("unknown members are refused");
    let (_, list) = text.split_once("expected ").expect("serde says what it expected");
    list.split('`').skip(1).step_by(2).map(String::from).collect()
}

#[test]
fn the_code_knows_no_member_that_the_schema_does_not() {
    let schema = schema();
    let same = |name: &str, mut fields: Vec<String>| {
        let members = schema["$defs"][name]["properties"].as_object().unwrap();
        let mut known: Vec<&String> = members.keys().collect();
        known.sort();
        fields.sort();
        assert_eq!(known, fields.iter().collect::<Vec<_>>(), "{name}");
    };
    same("cgApply", fields_of::<spec::CgApply>());
    same("idmap", fields_of::<spec::Idmap>());
    same("nsEnter", fields_of::<spec::NsEnter>());
    same("rootfsPrep", fields_of::<spec::RootfsPrep>());
    same("capDrop", fields_of::<spec::CapDrop>());
    same("seccompLoad", fields_of::<spec::SeccompLoad>());
    same("plan", fields_of::<Plan>());
    same("state", fields_of::<chain::state::State>());
    same("receipt", fields_of::<chain::state::Receipt>());
    same("fds", fields_of::<chain::state::Fds>());
    same("hooks", fields_of::<chain::hook::ChainHooks>());
    same("landing", fields_of::<chain::landing::Landing>());
}

#[test]
fn what_the_code_refuses_the_schema_refuses_too() {
    let layers = [
        ("ns-enter", json!({"hostnam": "x"})),
        ("ns-enter", json!({"namespaces": [{"type": "pidd"}]})),
        ("ns-enter", json!({"namespaces": [{"type": "pid", "pth": "/x"}]})),
        ("cap-drop", json!({"user": {"uid": 4294967295_u32}})),
        ("cap-drop", json!({"user": {"uid": -1}})),
        ("cg-apply", json!({"resources": {"memory": {"limitt": 1}}})),
        ("cg-apply", json!({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1}]})),
        ("idmap", json!({"uidMappings": [{"containerID": 0, "hostID": 1}]})),
        ("rootfs-prep", json!({"mounts": [{"destination": "/a", "option": ["ro"]}]})),
        (
            "seccomp-load",
            json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscall": [{"names": ["read"]}]}}),
        ),
        ("runner", json!({})),
    ];
    for (tool, spec) in layers {
        let plan = plan_of(tool, &spec);
        assert!(read(&plan).is_err(), "the code takes {plan}");
        invalid(&plan);
    }
    let good = serde_json::to_value(Plan::default()).unwrap();
    valid(&good);
    for (member, value) in [("complete", json!(false)), ("catena", json!(2)), ("command", json!(["sh"]))] {
        let mut bad = good.clone();
        bad[member] = value;
        assert!(Plan::parse(bad.to_string().as_bytes(), "a test").is_err(), "the code takes {bad}");
        invalid(&bad);
    }
}

#[test]
fn bytes_that_are_no_text_are_valid() {
    let cwd = Some(chain::bytes::Bytes(b"/\xff".to_vec()));
    let layer = Layer::of(&spec::RootfsPrep { cwd, ..Default::default() }).unwrap();
    valid(&serde_json::to_value(Plan { layers: vec![layer], ..Plan::default() }).unwrap());
}

#[test]
fn the_plan_of_a_pipeline_is_valid() {
    let line = "cg-apply -m 64M --pids 9 -N | ns-enter -mpniuC --hostname h | rootfs-prep --root / | \
                cap-drop --all | seccomp-load @default";
    let plan = shell(line).run().succeeds().json();
    assert_eq!(plan["layers"].as_array().unwrap().len(), 5);
    valid(&plan);
}

#[test]
fn every_line_of_a_status_fd_is_valid() {
    if !requires::root() {
        return;
    }
    let line =
        "ns-enter -N -mu --hostname h --status-fd 3 -- cap-drop --all -- seccomp-load @default -- true 3>&1";
    let out = shell(line).run();
    let events: Vec<Value> = out.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((out.status, events.len()), (0, 4), "three receipts and an exec: {out:#?}");
    events.iter().for_each(valid);
    // A mistake on the very line that names the fd is told there too.
    for line in ["cap-drop -N --bogus --status-fd 3", "seccomp-load -N -s nosuchcall:EPERM --status-fd 3"] {
        let out = shell(&format!("{line} -- true 3>&1")).run();
        let event: Value = out.stdout.parse().unwrap_or_else(|_| panic!("{out:#?}"));
        assert_eq!((out.status, &event["event"], &event["class"]), (125, &json!("error"), &json!("usage")));
        valid(&event);
    }
}
