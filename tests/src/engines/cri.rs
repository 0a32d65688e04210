//! What a kubelet does: containerd's CRI service, asked over its socket. There is no client for it in Debian 12, so curl
//! carries the messages, which are few and flat enough to be put together here.

use super::containerd::Containerd;
use super::{IMAGE, image};
use crate::requires;
use crate::run::tool_path;

/// A member of a message that is text, bytes or a message of its own.
fn part(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [vec![number << 3 | 2], varint(content.len() as u64), content.to_vec()].concat()
}

/// A member that is a number.
fn number(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3], varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Members of a message: number, and content; a number is its varint.
fn members(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let take = |message: &mut &[u8]| {
        let end = message.iter().position(|b| *b < 128).expect("a varint ends") + 1;
        let (bytes, rest) = message.split_at(end);
        *message = rest;
        bytes.iter().rev().fold(0_u64, |value, b| value << 7 | u64::from(b & 127))
    };
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = take(&mut message);
        let value = take(&mut message);
        if tag & 7 == 2 {
            let (content, rest) = message.split_at(value as usize);
            found.push((tag >> 3, content.to_vec()));
            message = rest;
        } else {
            found.push((tag >> 3, varint(value)));
        }
    }
    found
}

/// See the module.
#[derive(Debug)]
pub struct Cri {
    containerd: Containerd,
}

impl Cri {
    /// With the image, and `runner` as the `BinaryName` of the runtime `catena`; None where it cannot be had.
    pub fn start() -> Option<Cri> {
        if !requires::package("/usr/bin/curl", "curl") {
            return None;
        }
        // The lines of docs/engines.md. A sandbox is the image's own command, and this host's network.
        let config = format!(
            "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{IMAGE}\"\nrestrict_oom_score_adj = true\n\
             stream_server_port = \"0\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n\
             default_runtime_name = \"catena\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.catena]\n\
             runtime_type = \"io.containerd.runc.v2\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.catena.options]\nBinaryName = \"{}\"\n",
            tool_path("runner").display()
        );
        let mut containerd = Containerd::bare(&config)?;
        containerd.place.states = vec!["/run/containerd/runc/k8s.io".into()];
        let archive = image::make(&containerd.place.dir);
        let import = ["images", "import", "--snapshotter=native", archive.to_str()?];
        let out = containerd.ctr_of("k8s.io", import).run();
        assert_eq!(out.status, 0, "{out:#?}");
        let cri = Cri { containerd };
        // containerd tells its CRI service of an image a little later.
        let image = part(1, part(1, IMAGE));
        let known = || cri.ask("ImageService/ImageStatus", &image).is_ok_and(|m| !m.is_empty());
        assert!(crate::running::wait_until(std::time::Instant::now() + super::PATIENCE, known), "no image");
        Some(cri)
    }

    /// Asks; the members of the answer, or what went wrong.
    fn ask(&self, method: &str, message: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let dir = &self.containerd.place.dir;
        let length = (message.len() as u32).to_be_bytes();
        let request = dir.file("request", [&[0], length.as_slice(), message].concat());
        let (head, answer) = (dir.file("head", ""), dir.file("answer", ""));
        let url = format!("http://localhost/runtime.v1.{method}");
        let socket = self.containerd.socket();
        let words = ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--unix-socket"];
        let more = ["-H", "content-type: application/grpc", "-H", "te: trailers", &url, "--data-binary"];
        let out = self.containerd.place.tool(words).arg(socket).args(more);
        let out =
            out.arg(format!("@{}", request.display())).arg("-D").arg(&head).arg("-o").arg(&answer).run();
        assert_eq!(out.status, 0, "{method}: {out:#?}");
        let head = std::fs::read_to_string(&head).expect("curl wrote it");
        if !head.lines().any(|l| l.trim_end() == "grpc-status: 0") {
            let said = head.lines().find_map(|l| l.strip_prefix("grpc-message: ")).unwrap_or(&head);
            return Err(said.trim_end().to_string());
        }
        let answer = std::fs::read(&answer).expect("curl wrote it");
        Ok(members(answer.get(5..).unwrap_or_default()))
    }

    #[track_caller]
    fn ok(&self, method: &str, message: &[u8]) -> Vec<(u64, Vec<u8>)> {
        self.ask(method, message).unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    /// The first member of an answer: an id.
    #[track_caller]
    fn id(&self, method: &str, message: &[u8]) -> String {
        let answer = self.ok(method, message);
        String::from_utf8(answer.first().expect("an id").1.clone()).expect("an id is text")
    }

    fn config(&self) -> Vec<u8> {
        let names = part(1, [part(1, "pod"), part(2, "uid"), part(3, "default")].concat());
        // The network of the host: a pod's own would take a CNI plugin.
        let linux =
            [part(1, format!("/{}", self.containerd.place.parent)), part(2, part(1, number(1, 2)))].concat();
        [names, part(8, linux)].concat()
    }

    /// RunPodSandbox with this handler of a RuntimeClass; the sandbox's id.
    #[track_caller]
    pub fn sandbox(&self, handler: &str) -> String {
        self.id("RuntimeService/RunPodSandbox", &[part(1, self.config()), part(2, handler)].concat())
    }

    /// CreateContainer and StartContainer; the container's id, or why it could not be started.
    pub fn container(&self, sandbox: &str, command: &[&str]) -> Result<String, String> {
        let mut config = [part(1, part(1, command[0])), part(2, part(1, IMAGE))].concat();
        config.extend(command.iter().flat_map(|word| part(3, word)));
        let request = [part(1, sandbox), part(2, config), part(3, self.config())].concat();
        let id = self.id("RuntimeService/CreateContainer", &request);
        self.ask("RuntimeService/StartContainer", &part(1, &id)).map(|_| id)
    }

    /// ExecSync: output and status.
    #[track_caller]
    pub fn exec(&self, container: &str, command: &[&str]) -> (String, u64) {
        let mut request = part(1, container);
        request.extend(command.iter().flat_map(|word| part(2, word)));
        let answer = self.ok("RuntimeService/ExecSync", &request);
        let output =
            answer.iter().find(|(n, _)| *n == 1).map(|(_, text)| String::from_utf8_lossy(text).into_owned());
        let status = answer.iter().find(|(n, _)| *n == 3).map_or(0, |(_, status)| u64::from(status[0]));
        (output.unwrap_or_default(), status)
    }

    /// UpdateContainerResources: a memory limit.
    #[track_caller]
    pub fn limit_memory(&self, container: &str, bytes: u64) {
        let request = [part(1, container), part(2, number(4, bytes))].concat();
        self.ok("RuntimeService/UpdateContainerResources", &request);
    }

    /// StopContainer at once.
    #[track_caller]
    pub fn stop(&self, container: &str) {
        self.ok("RuntimeService/StopContainer", &part(1, container));
    }

    /// StopPodSandbox and RemovePodSandbox.
    #[track_caller]
    pub fn remove(&self, sandbox: &str) {
        self.ok("RuntimeService/StopPodSandbox", &part(1, sandbox));
        self.ok("RuntimeService/RemovePodSandbox", &part(1, sandbox));
    }

    /// Ids of the containers that `runner` has a state of.
    pub fn known_to_runner(&self) -> Vec<String> {
        self.containerd.known_to_runner()
    }
}
