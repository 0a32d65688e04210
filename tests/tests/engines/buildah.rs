//! buildah: `run`, and a build, with BUILDAH_RUNTIME.

use catena_tests::engines::{Engine, IMAGE, Podman};

#[test]
fn buildah_runs_and_builds() {
    let Some(podman) = Podman::start() else { return };
    if !catena_tests::requires::package("/usr/bin/buildah", "buildah") {
        return;
    }
    let ok = |args: &[&str]| {
        let out = podman.buildah(args).run();
        assert_eq!(out.status, 0, "{out:#?}");
        out.stdout
    };
    let name = ok(&["from", "--pull-never", IMAGE]);
    let run = ["run", "--isolation=oci", "--network=none", name.trim(), "--"];
    let p = podman.buildah(&[run.as_slice(), &["/probe"]].concat()).run().probe();
    p.expect_ns_differs(&["mount", "pid", "network", "ipc", "uts"]);
    assert_eq!(
        podman.buildah(&[run.as_slice(), &["sh", "-c", "echo made > /made; exit 5"]].concat()).run().status,
        5
    );
    assert_eq!(ok(&[run.as_slice(), &["cat", "/made"]].concat()), "made\n");
    let tty = ["run", "--tty", "--isolation=oci", "--network=none", name.trim(), "--", "tty"];
    let out = podman.buildah_in_terminal(&tty).run();
    assert!(out.stdout.contains("/dev/pts/0"), "{out:#?}");
    podman
        .buildah(&[run.as_slice(), &["no-such-program"]].concat())
        .run()
        .fails(1, "cannot run no-such-program");
    ok(&["rm", name.trim()]);

    let lines = format!(
        "FROM {IMAGE} AS one\nRUN echo made > /made\nFROM {IMAGE}\nCOPY --from=one /made /made\nRUN test -e /made\n"
    );
    let file = podman.place().dir.file("build/Dockerfile", lines);
    let folder = file.parent().unwrap().to_str().unwrap();
    ok(&["build", "--isolation=oci", "--network=none", "--pull-never", "--tag=two", folder]);
    assert_eq!(podman.known_to_runner(), Vec::<String>::new());
}
