//! libpq's `require_auth`: the ways of asking for a password that a site allows.

use std::collections::BTreeSet;

use strum::IntoEnumIterator as _;

/// How a server lets somebody in. Source: libpq, `require_auth`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::Display,
    strum::EnumString,
    strum::EnumIter,
)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Method {
    Password,
    Md5,
    Gss,
    Sspi,
    #[strum(serialize = "scram-sha-256")]
    ScramSha256,
    Oauth,
    /// It asks for nothing: `trust`, a certificate, or a server that lets anybody believe that it is the one.
    None,
}

/// The methods that the site allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequireAuth(pub(crate) BTreeSet<Method>);

impl RequireAuth {
    /// A list of methods, or of those that are not allowed, each with `!` in front. `None`: it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let is_negated = words.iter().all(|word| word.starts_with('!'));
        let named: Option<BTreeSet<Method>> = words
            .iter()
            .map(|word| {
                let name = if is_negated { &word[1..] } else { word };
                name.parse().ok()
            })
            .collect();
        let named = named?;
        Some(Self(if is_negated {
            Method::iter()
                .filter(|method| !named.contains(method))
                .collect()
        } else {
            named
        }))
    }
}
