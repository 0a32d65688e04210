//! What every start of a link pays for and none needs.

/// Where the stack of a thread ends, for std: with that, an overflow is told in a sentence before it kills. glibc reads
/// and parses /proc/self/maps for the answer, at every start, and that parser is a tenth of an empty static binary. So
/// this stands in glibc's place, and says that it is not known; an overflow is the same SIGSEGV, without the sentence.
///
/// Sound, for it has glibc's signature, reads and writes nothing, and std takes any error for "not known".
#[cfg(target_env = "gnu")]
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_: libc::pthread_t, _: *mut libc::pthread_attr_t) -> libc::c_int {
    libc::ENOSYS
}
