//! The ways to write a configuration down.

/// A way to write a configuration down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumIter, clap::ValueEnum)]
pub enum Format {
    /// A shell script of pcs commands, for pcs 0.10.10 to 0.12
    #[default]
    Pcs,
    /// For crm configure load update
    Crmsh,
    /// For cibadmin --modify
    Xml,
}

impl Format {
    /// The end of a file's name.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Pcs => "pcs",
            Self::Crmsh => "crm",
            Self::Xml => "xml",
        }
    }
}

/// What stands in the place of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// Values, which mean nothing else.
    Values,
    /// Names in `${}`, which a shell, or [`template`], replaces.
    Names,
}
