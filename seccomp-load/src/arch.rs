//! Architectures: OCI's names, the kernel's AUDIT_ARCH numbers, and which of them one kernel runs side by side.

use libseccomp::ScmpArch;

/// The ABIs that a kernel of one family runs beside its native one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    X86,
    Arm,
    Riscv,
    Loongarch,
    /// Known by name; no kernel that this build runs on makes such calls.
    Other,
}

/// One architecture of OCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arch {
    /// As config.json writes it.
    pub(crate) name: &'static str,
    /// As Docker's conditions write it.
    pub(crate) go: &'static str,
    /// AUDIT_ARCH_* of linux/audit.h.
    pub(crate) audit: u32,
    /// Arguments are compared whole; else their low half is all there is.
    pub(crate) wide: bool,
    /// Added to every number: x32's calls are x86_64's with this bit.
    pub(crate) base: u32,
    /// For libseccomp's tables.
    pub(crate) token: ScmpArch,
    family: Family,
}

const fn arch(
    name: &'static str,
    go: &'static str,
    audit: u32,
    wide: bool,
    token: ScmpArch,
    family: Family,
) -> Arch {
    Arch { name, go, audit, wide, base: 0, token, family }
}

const fn other(name: &'static str, token: ScmpArch) -> Arch {
    arch(name, "", 0, true, token, Family::Other)
}

/// __X32_SYSCALL_BIT of asm/unistd.h.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// Every architecture that OCI names.
pub(crate) const ALL: [Arch; 24] = [
    arch("SCMP_ARCH_X86_64", "amd64", 0xc000_003e, true, ScmpArch::X8664, Family::X86),
    arch("SCMP_ARCH_X86", "x86", 0x4000_0003, false, ScmpArch::X86, Family::X86),
    Arch { base: X32_BIT, ..arch("SCMP_ARCH_X32", "x32", 0xc000_003e, false, ScmpArch::X32, Family::X86) },
    arch("SCMP_ARCH_AARCH64", "arm64", 0xc000_00b7, true, ScmpArch::Aarch64, Family::Arm),
    arch("SCMP_ARCH_ARM", "arm", 0x4000_0028, false, ScmpArch::Arm, Family::Arm),
    arch("SCMP_ARCH_RISCV64", "riscv64", 0xc000_00f3, true, ScmpArch::Riscv64, Family::Riscv),
    arch("SCMP_ARCH_LOONGARCH64", "loongarch64", 0xc000_0102, true, ScmpArch::Loongarch64, Family::Loongarch),
    other("SCMP_ARCH_M68K", ScmpArch::M68k),
    other("SCMP_ARCH_MIPS", ScmpArch::Mips),
    other("SCMP_ARCH_MIPS64", ScmpArch::Mips64),
    other("SCMP_ARCH_MIPS64N32", ScmpArch::Mips64N32),
    other("SCMP_ARCH_MIPSEL", ScmpArch::Mipsel),
    other("SCMP_ARCH_MIPSEL64", ScmpArch::Mipsel64),
    other("SCMP_ARCH_MIPSEL64N32", ScmpArch::Mipsel64N32),
    other("SCMP_ARCH_PPC", ScmpArch::Ppc),
    other("SCMP_ARCH_PPC64", ScmpArch::Ppc64),
    other("SCMP_ARCH_PPC64LE", ScmpArch::Ppc64Le),
    other("SCMP_ARCH_S390", ScmpArch::S390),
    other("SCMP_ARCH_S390X", ScmpArch::S390X),
    other("SCMP_ARCH_PARISC", ScmpArch::Parisc),
    other("SCMP_ARCH_PARISC64", ScmpArch::Parisc64),
    other("SCMP_ARCH_SH", ScmpArch::Sh),
    other("SCMP_ARCH_SHEB", ScmpArch::Sheb),
    other("SCMP_ARCH_NATIVE", ScmpArch::Native),
];

impl Arch {
    /// As the text language writes it.
    pub(crate) fn word(&self) -> String {
        self.name.trim_start_matches("SCMP_ARCH_").to_ascii_lowercase()
    }
}

/// The one this program is built for.
pub(crate) fn native() -> &'static Arch {
    let name = match std::env::consts::ARCH {
        "x86_64" if cfg!(target_pointer_width = "32") => "SCMP_ARCH_X32",
        "x86_64" => "SCMP_ARCH_X86_64",
        "x86" => "SCMP_ARCH_X86",
        "aarch64" => "SCMP_ARCH_AARCH64",
        "arm" => "SCMP_ARCH_ARM",
        "riscv64" => "SCMP_ARCH_RISCV64",
        _ => "SCMP_ARCH_LOONGARCH64",
    };
    by_name(name).unwrap_or(&ALL[0])
}

/// By OCI's name.
pub(crate) fn by_name(name: &str) -> Option<&'static Arch> {
    ALL.iter().find(|arch| arch.name == name)
}

/// What of `names` this kernel can be asked in, the native one always and first. Err with a name that is none.
pub(crate) fn of_this_kernel(names: &[String]) -> Result<Vec<&'static Arch>, String> {
    let native = native();
    let mut found = vec![native];
    for name in names {
        let arch = by_name(name).ok_or(name.as_str())?;
        if arch.family == native.family && arch.family != Family::Other && !found.contains(&arch) {
            found.push(arch);
        }
    }
    Ok(found)
}

/// Every one that this kernel may run, the native one first.
pub(crate) fn all_of_this_kernel() -> Vec<&'static Arch> {
    let native = native();
    let beside = ALL.iter().filter(|arch| arch.family == native.family && *arch != native);
    std::iter::once(native).chain(beside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_are_told_is_what_is_known_here() {
        let mut here: Vec<&str> = ALL.iter().map(|arch| arch.name).collect();
        here.sort_unstable();
        assert_eq!(here, chain::oci::names::SECCOMP_ARCHS);
    }

    #[test]
    fn only_what_one_kernel_runs_side_by_side() {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = of_this_kernel(&names(&["SCMP_ARCH_AARCH64", "SCMP_ARCH_S390X"])).unwrap();
        assert!(found.contains(&native()));
        assert_eq!(of_this_kernel(&names(&["SCMP_ARCH_Z80"])).unwrap_err(), "SCMP_ARCH_Z80");
        if cfg!(target_arch = "x86_64") {
            let all =
                of_this_kernel(&names(&["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"])).unwrap();
            assert_eq!(all.iter().map(|a| a.go).collect::<Vec<_>>(), ["amd64", "x32", "x86"]);
        }
    }
}
