//! Patterns as POSIX knows them: the C library's, so that they mean here what they mean to a program in C.

use std::ffi::CString;
use std::mem::MaybeUninit;

use nix::libc::{REG_EXTENDED, REG_NOSUB, regcomp, regex_t, regexec, regfree};

/// An extended regular expression.
pub struct Pattern(Box<regex_t>);

impl Pattern {
    /// `None`: it is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = CString::new(text).ok()?;
        let mut compiled = Box::new(MaybeUninit::<regex_t>::uninit());
        // SAFETY: both pointers are valid for the call, the text ends with a zero, and regcomp only writes to the first.
        let code = unsafe {
            regcomp(
                compiled.as_mut_ptr(),
                text.as_ptr(),
                REG_EXTENDED | REG_NOSUB,
            )
        };
        // SAFETY: regcomp has filled it where it returns 0.
        (code == 0).then(|| Self(unsafe { compiled.assume_init() }))
    }

    /// Whether it occurs in `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else {
            return false;
        };
        // SAFETY: the expression was compiled, the text ends with a zero, and no room for matches is asked for.
        unsafe {
            regexec(
                &raw const *self.0,
                text.as_ptr(),
                0,
                std::ptr::null_mut(),
                0,
            ) == 0
        }
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        // SAFETY: it was compiled, and is freed once.
        unsafe { regfree(&raw mut *self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_an_extended_one() {
        for (pattern, text, expected) in [
            ("^ms", "msPostgresql", Some(true)),
            ("^ms$", "msPostgresql", Some(false)),
            ("(a|b)+[[:digit:]]$", "xab7", Some(true)),
            ("", "x", Some(true)),
            ("(", "x", None),
            ("a\0b", "x", None),
            ("x", "x\0", Some(false)),
        ] {
            let found = Pattern::new(pattern).map(|pattern| pattern.matches(text));
            assert_eq!(found, expected, "{pattern:?} {text:?}");
        }
    }
}
