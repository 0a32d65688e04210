//! capget(2), capset(2) with all sets in one call: the caps crate sets them one at a time, and an intermediate state
//! can be refused where the whole would not be. Bounding and ambient sets by prctl(2).

use super::check;
use super::process::prctl;
use nix::errno::Errno;

/// The three sets of capget(2), as bit masks by capability number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// Effective.
    pub effective: u64,
    /// Permitted.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3 of linux/capability.h.
const VERSION_3: u32 = 0x2008_0522;

/// The sets of this process.
pub fn get() -> Result<Sets, Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    let (header, words) = (std::ptr::from_mut(&mut header), data.as_mut_ptr());
    // SAFETY: version 3 makes the kernel write exactly two words, and both structs live across the call.
    check(unsafe { libc::syscall(libc::SYS_capget, header, words) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Sets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Sets all three at once.
pub fn set(sets: Sets) -> Result<(), Errno> {
    let header = Header { version: VERSION_3, pid: 0 };
    let word = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    let (header, words) = (std::ptr::from_ref(&header), data.as_ptr());
    // SAFETY: version 3 makes the kernel read exactly two words, and both structs live across the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header, words) }).map(drop)
}

/// The numbers this kernel knows, each with what `prctl(option, arg…)` says of it. By asking the kernel, for /proc may
/// be out of reach; it answers EINVAL above the last one. Any other answer is somebody else's, a filter's, and says
/// nothing of what is held: taken for the end, a set that nobody may look at would be an empty one.
fn collect(ask: impl Fn(u64) -> Result<i64, Errno>) -> Result<(u32, u64), Errno> {
    let (mut known, mut set) = (0, 0);
    for cap in 0..64 {
        match ask(cap) {
            Ok(held) => (known, set) = (cap as u32 + 1, set | u64::from(held == 1) << cap),
            Err(Errno::EINVAL) => break,
            Err(e) => return Err(e),
        }
    }
    Ok((known, set))
}

/// How many capabilities this kernel knows, and the bounding set.
pub fn known_and_bounding() -> Result<(u32, u64), Errno> {
    collect(|cap| prctl(libc::PR_CAPBSET_READ, cap, 0))
}

/// The bounding set.
pub fn bounding() -> Result<u64, Errno> {
    known_and_bounding().map(|(_, set)| set)
}

/// Takes one capability out of the bounding set.
pub fn drop_bounding(cap: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(cap), 0).map(drop)
}

/// The ambient set.
pub fn ambient() -> Result<u64, Errno> {
    collect(|cap| prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as u64, cap)).map(|(_, set)| set)
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// Raises one ambient capability, which must be permitted and inheritable.
pub fn raise_ambient(cap: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(cap)).map(drop)
}
