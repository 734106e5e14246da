//! What the client lets itself be asked for: libpq's `require_auth`, and what holds where it is not said.

use crate::conninfo::require_auth::{Method, RequireAuth};

/// Why the client does not answer a server that asks like this. `None`: it does.
///
/// A password in clear text is given to nobody but a server that has proved to be the one that is meant. MD5 and SCRAM
/// don't show it, and an older server knows nothing but MD5; a site that wants more says so.
pub(super) fn refusal(
    method: Method,
    required: Option<&RequireAuth>,
    is_verified: bool,
) -> Option<String> {
    match required {
        Some(RequireAuth(allowed)) if allowed.contains(&method) => None,
        Some(_) if method == Method::None => Some(
            "the server lets this client in without asking, which require_auth does not allow"
                .to_owned(),
        ),
        Some(_) => Some(format!(
            "the server asks for {method}, which require_auth does not allow"
        )),
        None if method == Method::Password && !is_verified => Some(
            "the server asks for the password in clear text, and nothing proves that it is the lock service, so that it was not \
             given: use sslmode=verify-full with sslrootcert, or scram-sha-256 in the service's pg_hba.conf; require_auth=password \
             gives it all the same"
                .to_owned(),
        ),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_what_is_allowed_or_what_is_not() {
        for (text, allowed) in [
            ("scram-sha-256", &[Method::ScramSha256][..]),
            ("md5, scram-sha-256", &[Method::Md5, Method::ScramSha256]),
            ("none", &[Method::None]),
            (
                "!password,!md5,!gss,!sspi,!oauth",
                &[Method::ScramSha256, Method::None],
            ),
        ] {
            let found = RequireAuth::parse(text).unwrap().0;
            assert_eq!(found, allowed.iter().copied().collect(), "{text}");
        }
        for text in ["", "scram", "!md5,password", "md5,!password", "!", "md5,"] {
            assert_eq!(RequireAuth::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_clear_password_is_for_a_server_that_is_proved_or_for_a_site_that_says_so() {
        let said = |text: &str| RequireAuth::parse(text);
        for (method, required, is_verified, is_answered) in [
            (Method::Password, None, false, false),
            (Method::Password, None, true, true),
            (Method::Password, said("password"), false, true),
            (Method::Password, said("scram-sha-256"), true, false),
            (Method::Md5, None, false, true),
            (Method::Md5, said("scram-sha-256"), true, false),
            (Method::ScramSha256, None, false, true),
            (Method::ScramSha256, said("scram-sha-256"), false, true),
            (Method::None, None, false, true),
            (Method::None, said("scram-sha-256"), true, false),
            (Method::None, said("!password"), false, true),
        ] {
            let found = refusal(method, required.as_ref(), is_verified);
            assert_eq!(
                found.is_none(),
                is_answered,
                "{method} {required:?} {is_verified}: {found:?}"
            );
        }
    }
}
