//! `features` tells the truth: for each word that it lists, and for each that it does not, the tool is asked.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Output, TempDir, requires, shell, tool};
use common::Bundle;
use serde_json::{Value, json};

fn features() -> Value {
    tool("runner").arg("features").run().json()
}

/// The words of a list of the document, none of them twice.
#[track_caller]
fn list(pointer: &str) -> Vec<String> {
    let document = features();
    let list = document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    let words: Vec<String> =
        list.as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_string()).collect();
    for (i, word) in words.iter().enumerate() {
        assert!(!words[..i].contains(word), "{pointer} has {word} twice");
    }
    words
}

/// `TOOL --print` of a config with these members.
fn ask(name: &str, config: Value) -> Output {
    let dir = TempDir::new();
    let mut whole = json!({"ociVersion": "1.3.0", "root": {"path": "/"}, "process": {"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}}});
    for (key, value) in config.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let path = dir.file("config.json", whole.to_string());
    tool(name).args(["--print", "--oci"]).arg(path).run()
}

/// Exactly the listed words are accepted, of those that any runtime knows and one that none does.
#[track_caller]
fn exactly(pointer: &str, name: &str, others: &[&str], config: impl Fn(&str) -> Value) {
    let listed = list(pointer);
    assert!(!listed.is_empty(), "{pointer}");
    for word in &listed {
        let out = ask(name, config(word));
        assert_eq!(out.status, 0, "{pointer} lists {word}, and {name} refuses it: {out:?}");
    }
    for word in others.iter().filter(|word| !listed.iter().any(|l| l == *word)) {
        let out = ask(name, config(word));
        assert_ne!(out.status, 0, "{name} takes {word}, and {pointer} does not list it: {out:?}");
    }
}

/// A field is carried out or it is not, as the document says.
#[track_caller]
fn as_told(pointer: &str, name: &str, config: Value) {
    let told = features().pointer(pointer).and_then(Value::as_bool).unwrap_or_else(|| panic!("no {pointer}"));
    let out = ask(name, config);
    // What this host lacks is carried out where it does not.
    let carried_out = !out.stderr.contains("not carried out yet");
    assert_eq!(carried_out, told, "{pointer}: {out:?}");
}

fn seccomp(more: Value) -> Value {
    let mut filter = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    for (key, value) in more.as_object().unwrap() {
        filter[key] = value.clone();
    }
    json!({"process": {"noNewPrivileges": true}, "linux": {"seccomp": filter}})
}

#[test]
fn mount_options() {
    // What the specification, runc and crun know besides.
    let others = [
        "idmap",
        "ridmap",
        "acl",
        "noacl",
        "rsync",
        "rasync",
        "rdirsync",
        "rmand",
        "rnomand",
        "copy-symlink",
        "src-nofollow",
        "dest-nofollow",
        "tmpcopyup",
        "nofrob",
    ];
    exactly("/mountOptions", "rootfs-prep", &others, |option| {
        // All else that is no option of a mount is refused on a bind, and is the file system's own elsewhere.
        let (kind, bind) = if option == "tmpcopyup" { ("tmpfs", "rw") } else { ("bind", "bind") };
        json!({"mounts": [{"destination": "/mnt", "type": kind, "source": "/tmp", "options": [bind, option]}]})
    });
}

#[test]
fn namespaces() {
    exactly("/linux/namespaces", "ns-enter", &["frob", "net", "mnt"], |kind| {
        // A new user namespace is idmap's; ns-enter joins one.
        let namespaces = match kind {
            "user" => json!([{"type": kind, "path": "/proc/self/ns/user"}]),
            _ => json!([{"type": kind}]),
        };
        json!({"linux": {"namespaces": namespaces}})
    });
}

#[test]
fn capabilities() {
    let listed = list("/linux/capabilities");
    for word in listed.iter().map(String::as_str).chain(["CAP_FROB"]) {
        let out = tool("cap-drop").args(["--print", "--keep", word]).run();
        let known = !out.stderr.contains("is not known");
        assert_eq!(known, listed.iter().any(|l| l == word), "{word}: {out:?}");
    }
    assert_eq!(listed.len(), 41);
}

#[test]
fn seccomp_words() {
    let all = ["SCMP_ACT_NOTIFY", "SCMP_ACT_FROB"];
    exactly("/linux/seccomp/actions", "seccomp-load", &all, |action| {
        seccomp(json!({"listenerPath": "/s", "syscalls": [{"names": ["mkdirat"], "action": action}]}))
    });
    exactly("/linux/seccomp/operators", "seccomp-load", &["SCMP_CMP_FROB"], |op| {
        let arg = json!({"index": 0, "value": 1, "valueTwo": 1, "op": op});
        seccomp(json!({"syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "args": [arg]}]}))
    });
    exactly("/linux/seccomp/archs", "seccomp-load", &["SCMP_ARCH_Z80"], |arch| {
        seccomp(json!({"architectures": [arch]}))
    });
    let known = list("/linux/seccomp/knownFlags");
    let mut others: Vec<&str> = known.iter().map(String::as_str).collect();
    others.push("SECCOMP_FILTER_FLAG_FROB");
    exactly("/linux/seccomp/supportedFlags", "seccomp-load", &others, |flag| {
        seccomp(json!({"flags": [flag]}))
    });
    for flag in known {
        let out = ask("seccomp-load", seccomp(json!({"flags": [flag]})));
        assert!(!out.stderr.contains("is not known"), "{out:?}");
    }
    assert_eq!(features().pointer("/linux/seccomp/enabled"), Some(&json!(true)));
}

#[test]
fn fields_that_are_carried_out_and_fields_that_are_not() {
    let process = |key: &str, value: Value| {
        let mut process = json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
        process[key] = value;
        json!({"process": process})
    };
    as_told("/linux/apparmor/enabled", "cap-drop", process("apparmorProfile", json!("unconfined")));
    as_told("/linux/selinux/enabled", "cap-drop", process("selinuxLabel", json!("a:b:c:s0")));
    as_told("/linux/intelRdt/enabled", "cg-apply", json!({"linux": {"intelRdt": {"closID": "x"}}}));
    as_told("/linux/netDevices/enabled", "ns-enter", json!({"linux": {"netDevices": {"catena-none": {}}}}));
    as_told(
        "/linux/cgroup/rdma",
        "cg-apply",
        json!({"linux": {"resources": {"rdma": {"mlx5_1": {"hcaHandles": 3}}}}}),
    );
    let mapped = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let mount = json!({"destination": "/mnt", "type": "bind", "source": "/tmp", "options": ["bind"],
        "uidMappings": mapped, "gidMappings": mapped});
    as_told("/linux/mountExtensions/idmap/enabled", "rootfs-prep", json!({"mounts": [mount]}));
}

#[test]
fn memory_policies() {
    let with = |mode: &str, flags: Value| {
        let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode) { "" } else { "0" };
        json!({"linux": {"memoryPolicy": {"mode": mode, "nodes": nodes, "flags": flags}}})
    };
    exactly("/linux/memoryPolicy/modes", "cg-apply", &["MPOL_FROB", "MPOL_BIN", ""], |mode| {
        with(mode, json!([]))
    });
    exactly("/linux/memoryPolicy/flags", "cg-apply", &["MPOL_F_FROB", ""], |flag| {
        with("MPOL_BIND", json!([flag]))
    });
}

#[test]
fn cgroup_versions_are_those_of_cg_apply() {
    let told = features();
    let does = tool("cg-apply").args(["--version", "--json"]).run().json();
    for version in ["v1", "v2"] {
        let known = does["features"].as_array().unwrap().contains(&json!(format!("cgroup-{version}")));
        assert_eq!(told.pointer(&format!("/linux/cgroup/{version}")), Some(&json!(known)), "{version}");
    }
    let bundle = Bundle::new();
    let asked = bundle.runner(["--systemd-cgroup", "--print", "run", "-b", bundle.dir(), "x"]).run();
    let carried_out = !asked.stderr.contains("not carried out yet");
    assert_eq!(told.pointer("/linux/cgroup/systemd"), Some(&json!(carried_out)), "{asked:?}");
}

#[test]
fn kinds_of_hooks() {
    let listed = list("/hooks");
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        let bundle = Bundle::new().set("/hooks", json!({kind: [{"path": "/bin/true"}]}));
        let out = bundle.runner(["--print", "run", "-b", bundle.dir(), "x"]).run();
        let carried_out = !out.stderr.contains("not carried out yet");
        assert_eq!(carried_out, listed.iter().any(|l| l == kind), "{kind}: {out:?}");
    }
}

/// Members and their types of `theirs` are ours too.
fn shape(path: &str, theirs: &Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, value) in theirs {
                let mine = ours.get(key).unwrap_or_else(|| panic!("{path}/{key} is missing"));
                shape(&format!("{path}/{key}"), value, mine);
            }
        }
        (Value::Array(_), Value::Array(_))
        | (Value::String(_), Value::String(_))
        | (Value::Bool(_), Value::Bool(_)) => {}
        _ => panic!("{path}: {theirs} and {ours}"),
    }
}

#[test]
fn the_shape_is_that_of_runc() {
    if !requires::command("runc") {
        return;
    }
    let mut theirs = shell("runc features").run().json();
    theirs.as_object_mut().unwrap().remove("annotations");
    let ours = features();
    shape("", &theirs, &ours);
    for version in ["ociVersionMin", "ociVersionMax"] {
        assert!(ours[version].as_str().is_some_and(|v| v.split('.').count() == 3), "{version}");
    }
    assert!(ours["annotations"].as_object().unwrap().values().all(Value::is_string));
}
