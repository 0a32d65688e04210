//! POSIX extended regular expressions, regex(3), which the C library has already.

use std::ffi::CStr;

/// A compiled expression.
pub struct Regex(libc::regex_t);

impl Regex {
    /// Compiles `pattern`; Err with the C library's reason.
    pub fn new(pattern: &CStr) -> Result<Regex, String> {
        // SAFETY: regex_t is a plain C struct, for which zeros are a value; regcomp fills it.
        let mut regex = Regex(unsafe { std::mem::zeroed() });
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: `pattern` ends with NUL, and `regex.0` is ours alone.
        let code = unsafe { libc::regcomp(&raw mut regex.0, pattern.as_ptr(), flags) };
        if code == 0 {
            return Ok(regex);
        }
        let reason = reason(code, &regex.0);
        // What regcomp refused holds nothing to be freed.
        std::mem::forget(regex);
        Err(reason)
    }

    /// Whether any part of `text` matches.
    pub fn matches(&self, text: &CStr) -> bool {
        // SAFETY: compiled above; without room for submatches regexec writes nothing.
        let code = unsafe { libc::regexec(&raw const self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) };
        code == 0
    }
}

fn reason(code: i32, regex: &libc::regex_t) -> String {
    let mut buffer = [0_u8; 128];
    // SAFETY: regerror writes at most that many bytes, the NUL included.
    unsafe { libc::regerror(code, regex, buffer.as_mut_ptr().cast(), buffer.len()) };
    let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled by regcomp, freed once.
        unsafe { libc::regfree(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_anywhere_unless_anchored_and_refuses_what_is_none() {
        let regex = |text: &CStr| Regex::new(text).map_err(|e| e.to_string());
        assert!(regex(c"b+").unwrap().matches(c"abbc"));
        assert!(!regex(c"^b+$").unwrap().matches(c"abbc"));
        assert!(regex(c"^(a|b).*[0-9]$").unwrap().matches(c"b-x1"));
        for bad in [c"(", c"[a", c"a{2,1}", c"*a\\"] {
            assert!(regex(bad).is_err_and(|reason| !reason.is_empty()), "{bad:?}");
        }
    }
}
