//! A [`Plan`] written down: as pcs commands, as crmsh lines, as XML.

mod crmsh;
mod format;
mod pcs;
pub(crate) mod template;
mod words;

pub use format::Format;
pub(crate) use format::Quoting;
pub(crate) mod xml;

use super::plan::Plan;

/// The plan as a text that can be used as it is.
pub(crate) fn render(plan: &Plan, format: Format, quoting: Quoting) -> String {
    match format {
        Format::Pcs => pcs::render(plan, quoting),
        Format::Crmsh => crmsh::render(plan),
        Format::Xml => xml::render(plan),
    }
}
