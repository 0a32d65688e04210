//! Slurm: one controller and two nodes on this host, whose `oci.conf` names `runner`.

use super::place::Place;
use crate::requires;
use crate::rootfs::TempRootfs;
use crate::run::{Tool, tool, tool_path};
use serde_json::{Value, json};
use std::path::PathBuf;

const CONF: &str = "ClusterName=engines
SlurmctldHost=engines(192.0.2.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=/run/munge.sock
StateSaveLocation=DIR/controller
SlurmdSpoolDir=DIR/%n
SlurmctldPidFile=DIR/slurmctld.pid
SlurmdPidFile=DIR/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
KillWait=2
ReturnToService=2
NodeName=n1 NodeHostname=engines NodeAddr=192.0.2.1 Port=17001 CPUs=1 RealMemory=64
NodeName=n2 NodeHostname=engines NodeAddr=192.0.2.1 Port=17002 CPUs=1 RealMemory=64
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=5 State=UP
";

/// As in docs/engines.md, but for the ids, which are the names of the cgroups too.
const OCI_CONF: &str = r#"RunTimeQuery="RUNNER --root=/run/catena-%n state ID.%n.%u.%j.%s.%t"
RunTimeRun="RUNNER --root=/run/catena-%n run ID.%n.%u.%j.%s.%t -b %b"
RunTimeKill="RUNNER --root=/run/catena-%n kill -a ID.%n.%u.%j.%s.%t"
RunTimeDelete="RUNNER --root=/run/catena-%n delete --force ID.%n.%u.%j.%s.%t"
"#;

/// Keys of its own, for munge refuses to run without. No node has a loopback address: Slurm would not find its name.
const START: &str = "set -e
ip addr add 192.0.2.1/32 dev lo
cd $DIR && mkdir controller n1 n2
head -c 128 /dev/urandom >munge.key && chmod 400 munge.key
munged --socket=/run/munge.sock --key-file=$DIR/munge.key --pid-file=$DIR/munge.pid --log-file=$DIR/munge.log \
    --seed-file=$DIR/munge.seed --force 2>/dev/null";

/// See the module.
#[derive(Debug)]
pub struct Slurm {
    place: Place,
}

impl Slurm {
    /// With both nodes idle; None where it cannot be had.
    pub fn start() -> Option<Slurm> {
        let packages = [
            ("/usr/sbin/slurmctld", "slurmctld"),
            ("/usr/sbin/slurmd", "slurmd"),
            ("/usr/bin/srun", "slurm-client"),
            ("/usr/sbin/munged", "munge"),
        ];
        if !requires::root() || !packages.iter().all(|(path, package)| requires::package(path, package)) {
            return None;
        }
        let mut place = Place::new();
        let dir = place.dir.path().display().to_string();
        let runner = tool_path("runner").display().to_string();
        place.states = vec!["/run/catena-n1".into(), "/run/catena-n2".into()];
        place.dir.file("slurm.conf", CONF.replace("DIR", &dir));
        place.dir.file("oci.conf", OCI_CONF.replace("RUNNER", &runner).replace("ID", &place.parent));
        let slurm = Slurm { place };
        slurm.place.tool(["bash", "-c", START]).env("DIR", &dir).run().succeeds();
        for (name, line) in
            [("slurmctld", "slurmctld -D"), ("n1", "slurmd -D -N n1"), ("n2", "slurmd -D -N n2")]
        {
            let conf = slurm.place.dir.join("slurm.conf");
            slurm.place.daemon(name, &format!("SLURM_CONF={} exec {line}", conf.display()));
        }
        let idle = "test \"$(sinfo --noheader -o '%T %D')\" = 'idle 2'";
        slurm.place.answers("slurmctld", || slurm.with_env(slurm.place.tool(["bash", "-c", idle])));
        Some(slurm)
    }

    fn with_env(&self, tool: Tool) -> Tool {
        tool.env("SLURM_CONF", self.place.dir.join("slurm.conf"))
    }

    /// A command of Slurm's.
    pub fn command(&self, words: &[&str]) -> Tool {
        self.with_env(self.place.tool(words))
    }

    /// A bundle as `runner spec` writes it, without a terminal.
    pub fn bundle(&self, root: &TempRootfs) -> PathBuf {
        let dir = root.parent().to_path_buf();
        tool("runner").args(["spec"]).cwd(&dir).run().succeeds();
        let file = dir.join("config.json");
        let text = std::fs::read(&file).expect("spec wrote it");
        let mut config: Value = serde_json::from_slice(&text).expect("it is JSON");
        config["process"]["terminal"] = json!(false);
        root.config(&config);
        dir
    }

    /// Where it lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Ids of the containers that `runner` has a state of, on both nodes.
    pub fn known_to_runner(&self) -> Vec<String> {
        self.place.known_to_runner()
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // Then the place ends it all, and another failure would hide the first.
        if std::thread::panicking() {
            return;
        }
        self.command(&["scancel", "--user=root", "--signal=KILL"]).run();
        for daemon in ["slurmd-n1", "slurmd-n2", "slurmctld", "munge"] {
            self.place.end_daemon(&self.place.dir.join(format!("{daemon}.pid")));
        }
    }
}
