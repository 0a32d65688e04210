//! A filter against typing into a terminal that the command shares with others: TIOCSTI puts a byte where the next
//! program will read it as typed, TIOCLINUX pastes what is selected on a console.

use crate::error::{Cannot, Error, Result};
use crate::sys::seccomp::{self, Instruction};
use nix::errno::Errno;

/// ioctl(2) by architecture (AUDIT_ARCH_* of linux/audit.h), for every kind of program that the kernel may run: x32's
/// own number is also taken without its bit by kernels before 5.4.
#[cfg(target_arch = "x86_64")]
const CALLS: &[(u32, u32)] = &[
    (0xc000_003e, 16),
    (0xc000_003e, 514),
    (0xc000_003e, 0x4000_0000 + 16),
    (0xc000_003e, 0x4000_0000 + 514),
    (0x4000_0003, 54),
];
#[cfg(target_arch = "aarch64")]
const CALLS: &[(u32, u32)] = &[(0xc000_00b7, 29), (0x4000_0028, 54)];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the numbers of ioctl(2) on this architecture, for programs of every kind");

/// Where `struct seccomp_data` has the call's number, the architecture, and the lower half of the second argument. The
/// kernel looks at no more of it than that, and who compares all of it can be passed by (CVE-2019-10063).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const REQUEST: u32 = 24;

const fn load(at: u32) -> Instruction {
    // BPF_LD | BPF_W | BPF_ABS
    Instruction { code: 0x20, jt: 0, jf: 0, k: at }
}

const fn jump(equal: u32, jt: u8, jf: u8) -> Instruction {
    // BPF_JMP | BPF_JEQ | BPF_K
    Instruction { code: 0x15, jt, jf, k: equal }
}

const fn give(verdict: u32) -> Instruction {
    // BPF_RET | BPF_K
    Instruction { code: 0x06, jt: 0, jf: 0, k: verdict }
}

fn program() -> Vec<Instruction> {
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    let mut program = Vec::new();
    for (i, (arch, number)) in CALLS.iter().enumerate() {
        // Over the calls that are left, and the verdict on all others.
        let to_request = 4 * (CALLS.len() - i - 1) + 1;
        program.extend([load(ARCH), jump(*arch, 0, 2), load(NUMBER), jump(*number, to_request as u8, 0)]);
    }
    let (tiocsti, tioclinux) = (libc::TIOCSTI as u32, libc::TIOCLINUX as u32);
    program.extend([give(ALLOW), load(REQUEST), jump(tiocsti, 1, 0), jump(tioclinux, 0, 1)]);
    program.extend([give(ERRNO | libc::EPERM as u32), give(ALLOW)]);
    program
}

/// Loads it, and proves it. Before any other filter, which may refuse to load one.
pub(super) fn forbid() -> Result<()> {
    let doing = "keep the command from typing into the terminal";
    let loaded = seccomp::load(&program(), 0).cannot(doing, "seccomp(SET_MODE_FILTER)");
    loaded.map_err(|error| match error.errno() {
        Some(Errno::EACCES) => error
            .why("a filter wants no_new_privs, or CAP_SYS_ADMIN in this user namespace")
            .cure("a cap-drop link, which sets no_new_privs; or --tty=pty"),
        _ => error,
    })?;
    match seccomp::refused_ioctl(libc::TIOCSTI) {
        // What the call itself says to no fd at all.
        None | Some(libc::EBADF) => Err(Error::readback("the filter", "a refusal", "the call went through")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program on one call.
    fn verdict(arch: u32, number: u32, request: u64) -> u32 {
        let (program, mut at, mut held) = (program(), 0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            match (code, k) {
                (0x20, NUMBER) => held = number,
                (0x20, ARCH) => held = arch,
                (0x20, REQUEST) => held = request as u32,
                (0x15, _) => at += usize::from(if held == k { jt } else { jf }),
                (0x06, _) => return k,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn both_requests_are_refused_for_every_kind_of_program_and_nothing_else_is() {
        for (arch, number) in CALLS {
            for request in [0x5412, 0x541c, 0x1_0000_5412, 0xffff_ffff_0000_541c] {
                assert_eq!(verdict(*arch, *number, request), 0x0005_0001, "{arch:#x} {number} {request:#x}");
            }
            for request in [0x5413, 0x541b, 0, 0x5412_0000_0000] {
                assert_eq!(verdict(*arch, *number, request), 0x7fff_0000, "{arch:#x} {number} {request:#x}");
            }
            assert_eq!(verdict(*arch, number + 1, 0x5412), 0x7fff_0000);
        }
    }
}
