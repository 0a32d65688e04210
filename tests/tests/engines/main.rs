//! Real engines with `runner` as their OCI runtime: what people type, and what the kernel then says of the container.
//! Each engine fails its test if it leaves a process, a cgroup, a mount or a state behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod buildah;
mod claims;
mod containerd;
mod cri;
mod docker;
mod podman;
mod podman_criu;
mod slurm;
