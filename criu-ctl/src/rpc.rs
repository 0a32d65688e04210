//! CRIU's messages: protocol buffers as in its images/rpc.proto, only the fields that are used here. A field left out
//! of a message has CRIU's own default; what CRIU sends besides is passed over.

use serde::{Serialize, Serializer};

/// `criu_req_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    /// Also the answer to what criu did not understand.
    Empty = 0,
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    PageServer = 5,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
    /// One round, and criu ends.
    SinglePreDump = 13,
}

/// `criu_req`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Req {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub opts: Option<Opts>,
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
    #[prost(message, optional, tag = "5")]
    pub features: Option<Features>,
}

/// `criu_features`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Features {
    #[prost(bool, optional, tag = "1")]
    pub mem_track: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub lazy_pages: Option<bool>,
}

/// `criu_page_server_info`.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(crate) struct PageServer {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[prost(int32, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// A connection that is there already, and that criu inherits.
    #[prost(int32, optional, tag = "4")]
    #[serde(skip)]
    pub fd: Option<i32>,
}

/// `inherit_fd`: this fd of ours stands for what was open under this key.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(crate) struct InheritFd {
    #[prost(bytes = "vec", required, tag = "1")]
    #[serde(serialize_with = "text")]
    pub key: Vec<u8>,
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

/// `join_namespace`.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(crate) struct JoinNamespace {
    #[prost(string, required, tag = "1")]
    pub ns: String,
    #[prost(bytes = "vec", required, tag = "2")]
    #[serde(serialize_with = "text")]
    pub ns_file: Vec<u8>,
}

/// `cgroup_root`.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(crate) struct CgroupRoot {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctrl: Option<String>,
    #[prost(bytes = "vec", required, tag = "2")]
    #[serde(serialize_with = "text")]
    pub path: Vec<u8>,
}

/// `criu_opts`. Paths are bytes: on the wire a string of protocol buffers is the same.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(crate) struct Opts {
    /// criu opens it as /proc/PID/fd/N of the process that made the socket pair.
    #[prost(int32, required, tag = "1")]
    #[serde(skip)]
    pub images_dir_fd: i32,
    #[prost(int32, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[prost(bool, tag = "3")]
    pub leave_running: bool,
    #[prost(bool, tag = "4")]
    pub ext_unix_sk: bool,
    #[prost(bool, tag = "5")]
    pub tcp_established: bool,
    #[prost(bool, tag = "7")]
    pub shell_job: bool,
    #[prost(bool, tag = "8")]
    pub file_locks: bool,
    #[prost(int32, optional, tag = "9")]
    pub log_level: Option<i32>,
    /// A name in the work folder.
    #[prost(bytes = "vec", tag = "10")]
    #[serde(serialize_with = "text")]
    pub log_file: Vec<u8>,
    #[prost(message, optional, tag = "11")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ps: Option<PageServer>,
    /// criu tells how far it is, and waits for a word.
    #[prost(bool, tag = "12")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub notify_scripts: bool,
    #[prost(bytes = "vec", optional, tag = "13")]
    #[serde(serialize_with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub root: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "14")]
    #[serde(serialize_with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub parent_img: Option<Vec<u8>>,
    #[prost(bool, tag = "15")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub track_mem: bool,
    #[prost(bool, tag = "16")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auto_dedup: bool,
    #[prost(int32, optional, tag = "17")]
    #[serde(skip)]
    pub work_dir_fd: Option<i32>,
    #[prost(bool, tag = "18")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub link_remap: bool,
    #[prost(bool, tag = "24")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub manage_cgroups: bool,
    #[prost(message, repeated, tag = "25")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cg_root: Vec<CgroupRoot>,
    /// The restored root becomes a child of the process that started criu.
    #[prost(bool, tag = "26")]
    pub rst_sibling: bool,
    #[prost(message, repeated, tag = "27")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inherit_fd: Vec<InheritFd>,
    /// 0 is "leave cgroups alone"; it has to be said, for CRIU's default is to move a restored tree back to where it was.
    #[prost(int32, optional, tag = "34")]
    pub manage_cgroups_mode: Option<i32>,
    #[prost(bytes = "vec", repeated, tag = "37")]
    #[serde(serialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<Vec<u8>>,
    /// CLONE_NEW* of the namespaces that are made anew.
    #[prost(uint32, optional, tag = "38")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_ns: Option<u32>,
    #[prost(message, repeated, tag = "39")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub join_ns: Vec<JoinNamespace>,
    #[prost(bytes = "vec", optional, tag = "44")]
    #[serde(serialize_with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub freeze_cgroup: Option<Vec<u8>>,
    #[prost(bool, tag = "46")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tcp_skip_in_flight: bool,
    #[prost(bool, tag = "48")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lazy_pages: bool,
    #[prost(bool, tag = "50")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub orphan_pts_master: bool,
    #[prost(bytes = "vec", optional, tag = "51")]
    #[serde(serialize_with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub config_file: Option<Vec<u8>>,
    #[prost(bool, tag = "52")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tcp_close: bool,
    #[prost(string, optional, tag = "53")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsm_profile: Option<String>,
    #[prost(string, optional, tag = "63")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsm_mount_context: Option<String>,
    #[prost(int32, optional, tag = "64")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_lock: Option<i32>,
}

/// `criu_resp`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Resp {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    #[prost(message, optional, tag = "4")]
    pub restore: Option<RestoreResp>,
    #[prost(message, optional, tag = "5")]
    pub notify: Option<Notify>,
    #[prost(message, optional, tag = "6")]
    pub ps: Option<PageServer>,
    #[prost(int32, optional, tag = "7")]
    pub cr_errno: Option<i32>,
    #[prost(message, optional, tag = "8")]
    pub features: Option<Features>,
    /// The first error that criu logged.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub cr_errmsg: Option<Vec<u8>>,
    #[prost(message, optional, tag = "10")]
    pub version: Option<Version>,
}

/// `criu_notify`: how far criu is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Notify {
    #[prost(string, optional, tag = "1")]
    pub script: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}

/// `criu_restore_resp`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RestoreResp {
    #[prost(int32, required, tag = "1")]
    pub pid: i32,
}

/// `criu_version`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Version {
    #[prost(int32, required, tag = "1")]
    pub major: i32,
    #[prost(int32, required, tag = "2")]
    pub minor: i32,
    #[prost(int32, optional, tag = "4")]
    pub sublevel: Option<i32>,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.sublevel.filter(|n| *n > 0).map_or(Ok(()), |n| write!(f, ".{n}"))
    }
}

fn text<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    chain::bytes::Bytes(bytes.to_vec()).serialize(s)
}

fn maybe_text<S: Serializer>(bytes: &Option<Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
    bytes.clone().map(chain::bytes::Bytes).serialize(s)
}

fn texts<S: Serializer>(list: &[Vec<u8>], s: S) -> Result<S::Ok, S::Error> {
    list.iter().cloned().map(chain::bytes::Bytes).collect::<Vec<_>>().serialize(s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn the_bytes_on_the_wire_are_rpc_proto_s() {
        let opts = Opts {
            images_dir_fd: 5,
            pid: Some(300),
            shell_job: true,
            manage_cgroups_mode: Some(0),
            external: vec![b"mnt[/d]:/d".to_vec()],
            ..Opts::default()
        };
        let req = Req { kind: Kind::Dump as i32, opts: Some(opts), ..Req::default() };
        // Field number times 8, plus 0 for a number and 2 for a length; numbers in groups of seven bits.
        let mut wire = vec![8, 1, 2 << 3 | 2, 23, 8, 5, 2 << 3, 0xac, 2, 7 << 3, 1, 0x90, 2, 0, 0xaa, 2, 10];
        wire.extend(b"mnt[/d]:/d");
        assert_eq!(req.encode_to_vec(), wire);
    }

    #[test]
    fn an_answer_is_read_whatever_else_is_in_it() {
        // type DUMP, success false, dump {restored: true}, cr_errno 3, cr_errmsg "x", status 9.
        let wire = [8, 1, 16, 0, 26, 2, 8, 1, 56, 3, 74, 1, b'x', 88, 9];
        let resp = Resp::decode(&wire[..]).unwrap();
        assert_eq!((resp.kind, resp.success, resp.cr_errno), (1, false, Some(3)));
        assert_eq!(resp.cr_errmsg.as_deref(), Some(&b"x"[..]));
        for cut in 1..wire.len() {
            // Every prefix is an answer or an error, never a panic.
            Resp::decode(&wire[..cut]).map(drop).unwrap_or(());
        }
    }
}
