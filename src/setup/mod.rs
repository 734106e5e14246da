//! `expgsql setup …`: from one file, config.ini, to a running cluster.
//!
//! [`config`] reads the file, [`plan`] is what the cluster is to look like, [`render`] writes that down.

mod apply;
mod check;
mod command;
mod config;
mod corosync;
mod gateway;
mod install;
mod operation;
mod parts;
mod passfiles;
mod plan;
mod print;
mod progress;
mod put;
mod remote;
mod render;
mod samples;
mod tree;

use std::io::{self, Write as _};
use std::panic::catch_unwind;
use std::path::Path;

pub use command::{
    ApplyArgs, CheckArgs, Command, CorosyncArgs, EraseArgs, InstallArgs, RenderArgs, Step,
};
pub use config::Shape;
pub use render::Format;

use crate::cluster::{Exit, Failure};
use config::{Config, Template};
use plan::{Plan, Values};
use print::print;
use render::Quoting;

/// Does what `command` says, prints to standard output, and, where it fails, why to standard error.
/// `links`: the other names by which the program is called.
#[must_use]
pub fn run(command: &Command, links: &[String]) -> Exit {
    let result = catch_unwind(|| match &command.step {
        Step::Render(args) => render(command.config.as_deref(), args),
        Step::Check(args) => check::check(&Config::read(command.config.as_deref())?, args),
        Step::Probe => check::probe_here(),
        Step::Install(args) => {
            install::install(&Config::read(command.config.as_deref())?, args, links)
        }
        Step::Apply(args) => apply::apply(&Config::read(command.config.as_deref())?, args),
        Step::Corosync(args) => corosync::set(&Config::read(command.config.as_deref())?, args),
        Step::Erase(args) => apply::erase(&Config::read(command.config.as_deref())?, args),
    });
    let failure = match result {
        Ok(Ok(())) => return Exit::Done,
        Ok(Err(failure)) => failure,
        // The panic has printed its message.
        Err(_) => Failure::plain("bug in expgsql: please report it with what is printed above"),
    };
    // Nothing is left to tell it to when standard error is closed. An empty reason: everything was said.
    if !failure.why.is_empty() {
        let _ = writeln!(io::stderr(), "{}", failure.why);
    }
    failure.exit
}

fn render(config: Option<&Path>, args: &RenderArgs) -> Result<(), Failure> {
    if let Some(shape) = args.template {
        return print(&samples::template(shape, args.format.unwrap_or_default()));
    }
    let config = Config::read(config)?;
    print(&rendered(&config, args.format)?)
}

/// The configuration in the format that is asked for; an own template's has its own.
fn rendered(config: &Config, format: Option<Format>) -> Result<String, Failure> {
    let site = &config.site;
    let Template::Own(name) = &site.template else {
        let plan = Plan::new(&Values::from(site));
        return Ok(render::render(
            &plan,
            format.unwrap_or_default(),
            Quoting::Values,
        ));
    };
    let own = render::template::format_of(name);
    if let (Some(asked), Some(own)) = (format, own)
        && asked != own
    {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--format {asked:?}: the template {name} is in another format; leave --format out",
                asked = asked.suffix()
            ),
        ));
    }
    // Relative to the file that names it, as the reader of that file would expect.
    let dir = config.path.parent().unwrap_or(Path::new(""));
    render::template::render(&dir.join(name), config)
}
