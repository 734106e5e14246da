//! What Pacemaker says about the call, through environment variables.
//!
//! Source: the executor and scheduler of Pacemaker 2.1.5 and 3.0, and OCF 1.1. Nothing here reads the process's
//! environment: the variables are handed in, so that a test can say what they are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use super::action::Role;
use super::{OcfCode, reason};

const META: &str = "OCF_RESKEY_CRM_meta_";

/// The variables whose name begins with `OCF_`. Deliberately without `Debug`: passwords are among them.
#[derive(Clone, Default)]
pub struct Vars(BTreeMap<String, OsString>);

/// A variable that holds bytes which are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

impl Vars {
    /// Takes what begins with `OCF_` from `vars` (`std::env::vars_os()` in production).
    pub fn new<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let ours = vars.into_iter().filter_map(|(name, value)| {
            let name = name.into().into_string().ok()?;
            name.starts_with("OCF_").then(|| (name, value.into()))
        });
        Self(ours.collect())
    }

    /// The value of `name`; `None` when unset. An empty value is a value.
    ///
    /// # Errors
    /// [`NotUtf8`] when it is not UTF-8.
    pub fn get(&self, name: &str) -> Result<Option<&str>, NotUtf8> {
        self.0
            .get(name)
            .map(|value| value.to_str().ok_or(NotUtf8))
            .transpose()
    }

    /// The names of the resource parameters that are set: without `OCF_RESKEY_`, and without those that are Pacemaker's own.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.0
            .keys()
            .filter_map(|name| name.strip_prefix("OCF_RESKEY_"))
            .filter(|name| !name.starts_with("CRM_meta_") && *name != "crm_feature_set")
    }

    /// What the exit reason line begins with.
    pub fn exit_reason_prefix(&self) -> &str {
        match self.get("OCF_EXIT_REASON_PREFIX") {
            Ok(Some(prefix)) if !prefix.is_empty() => prefix,
            Ok(_) | Err(NotUtf8) => reason::DEFAULT_PREFIX,
        }
    }
}

/// A variable set by Pacemaker, or by the person who runs the agent by hand, that can't be understood. No default is
/// put in its place: a guessed timeout or interval would make a wrong decision look like a right one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error(
        "OCF_RESOURCE_INSTANCE is not set, so the resource's name is unknown: let Pacemaker call the agent, or name the \
         resource as in OCF_RESOURCE_INSTANCE=pgsql"
    )]
    NoResource,
    #[error(
        "{name} is not UTF-8 text; Pacemaker sets it, so look for what else changes the agent's environment"
    )]
    NotUtf8 { name: String },
    #[error(
        "{name}={seen:?} is not {expected}; Pacemaker sets it, so look for what else changes the agent's environment"
    )]
    Unparsable {
        name: String,
        seen: String,
        expected: &'static str,
    },
}

impl EnvError {
    /// What the agent answers.
    pub const fn ocf_code(&self) -> OcfCode {
        match self {
            Self::NoResource => OcfCode::ErrArgs, // hard, but Pacemaker always sets it: only a call by hand gets here
            Self::NotUtf8 { .. } | Self::Unparsable { .. } => OcfCode::ErrGeneric, // soft: no configuration is at fault
        }
    }
}

/// Is the resource a promotable clone?
///
/// Pacemaker tells only the actions it schedules. `crm_resource --validate`, which pcs runs when it creates a resource,
/// and a call by hand say nothing about clones: there the answer is not "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotable {
    Yes,
    No,
    Unknown,
}

/// What the resource's clone looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneInfo {
    pub promotable: Promotable,
    /// `promoted-max`; `None` when neither it nor the older `master-max` was given.
    pub promoted_max: Option<u32>,
    /// `clone-max`: how many instances there may be in the cluster; `None`: not a clone.
    pub clone_max: Option<u32>,
    /// `notify=true`: the notify action is called, and the lists of [`NotifyEnv`] are filled.
    pub notify: bool,
}

/// When a notification is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum NotifyKind {
    Pre,
    Post,
}

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum NotifyOperation {
    Start,
    Stop,
    Promote,
    Demote,
}

/// Which nodes a transition touches: node names, spelled as Pacemaker spells them.
///
/// Filled for notify and also, without `kind` and `operation`, for start, stop, promote and demote; never for monitor.
/// The lists describe the state *before* the transition: the primaries after it are `promoted - demote + promote`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyEnv {
    pub kind: Option<NotifyKind>,
    pub operation: Option<NotifyOperation>,
    pub start: Vec<String>,
    pub stop: Vec<String>,
    pub promote: Vec<String>,
    pub demote: Vec<String>,
    pub active: Vec<String>,
    /// Always empty so far: Pacemaker lists inactive instances without their nodes.
    pub inactive: Vec<String>,
    pub promoted: Vec<String>,
    pub unpromoted: Vec<String>,
    /// Nodes the resource could run on now.
    pub available: Vec<String>,
    /// Nodes the resource may run on, whether they are up or not.
    pub all: Vec<String>,
}

/// Everything Pacemaker says about one call except the resource's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcfEnv {
    /// The resource's name, without the `:N` of a clone instance. Attribute names are built from it.
    pub resource: String,
    /// This node's name as Pacemaker spells it; `None` when run by hand.
    pub node: Option<String>,
    /// Time Pacemaker allows this action. `None`: unset, run by hand.
    pub timeout: Option<Duration>,
    /// Interval of a recurring action; zero for everything that runs once, probes included.
    pub interval: Duration,
    /// The role that a recurring monitor is for. Pacemaker runs one for [`Role::Promoted`] only where it has promoted the
    /// resource, or has found it promoted; every other call has none, or another.
    pub role: Option<Role>,
    /// OCF_CHECK_LEVEL: 0 nothing that depends on this machine, 10 the machine too, 20 as thorough as can be.
    pub check_level: u32,
    pub clone: CloneInfo,
    pub notify: NotifyEnv,
    /// The version of the cluster's dealings with agents; `None`: it was not said.
    pub feature_set: Option<String>,
}

impl OcfEnv {
    /// Reads the variables in `vars`.
    ///
    /// # Errors
    /// An [`EnvError`] for the resource's name when it is missing, and for anything that is set and can't be understood.
    pub fn from_vars(vars: &Vars) -> Result<Self, EnvError> {
        let reader = Reader(vars);
        let node = reader.meta_text("on_node")?.map(str::to_owned);
        Ok(Self {
            resource: reader.resource()?,
            timeout: reader.meta_number("timeout")?.map(Duration::from_millis),
            interval: Duration::from_millis(reader.meta_number("interval")?.unwrap_or(0)),
            role: reader.role()?,
            check_level: reader
                .parsed("OCF_CHECK_LEVEL", "a check level such as 0, 10 or 20")?
                .unwrap_or(0),
            clone: reader.clone_info(node.is_some())?,
            notify: reader.notify()?,
            feature_set: reader
                .text("OCF_RESKEY_crm_feature_set")?
                .map(str::to_owned),
            node,
        })
    }

    /// Is a monitor that gets this environment a probe ("what is there?") rather than one of a running resource?
    ///
    /// A probe has no interval in its environment. A monitor run by hand has none either, and is treated as a probe.
    pub const fn is_probe(&self) -> bool {
        self.interval.is_zero()
    }

    /// Is the resource known to be a promotable clone?
    pub fn is_promotable(&self) -> bool {
        self.clone.promotable == Promotable::Yes
    }
}

/// The typed readings [`OcfEnv::from_vars`] is made of.
struct Reader<'a>(&'a Vars);

impl<'a> Reader<'a> {
    fn resource(&self) -> Result<String, EnvError> {
        let instance = self
            .text("OCF_RESOURCE_INSTANCE")?
            .ok_or(EnvError::NoResource)?;
        let name = match instance.rsplit_once(':') {
            Some((name, number))
                if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
            {
                name
            }
            Some(_) | None => instance,
        };
        if name.is_empty() {
            return Err(EnvError::NoResource);
        }
        Ok(name.to_owned())
    }

    /// As the operation is configured: Pacemaker takes the old names too, in any spelling.
    fn role(&self) -> Result<Option<Role>, EnvError> {
        let role = self.meta_text("role")?.map(str::to_lowercase);
        Ok(match role.as_deref() {
            Some("promoted" | "master") => Some(Role::Promoted),
            Some("unpromoted" | "slave") => Some(Role::Unpromoted),
            Some(_) | None => None,
        })
    }

    fn clone_info(&self, is_scheduled: bool) -> Result<CloneInfo, EnvError> {
        let promoted_max = match self.meta_number("promoted_max")? {
            Some(max) => Some(max),
            None => self.meta_number("master_max")?,
        };
        let clone_max = self.meta_number("clone_max")?;
        let promotable = match (promoted_max, clone_max, is_scheduled) {
            (Some(1..), _, _) => Promotable::Yes,
            (None, None, false) => Promotable::Unknown,
            (Some(0), _, _) | (None, Some(_), _) | (None, None, true) => Promotable::No,
        };
        Ok(CloneInfo {
            promotable,
            promoted_max,
            clone_max,
            notify: self.meta_flag("notify")?,
        })
    }

    fn notify(&self) -> Result<NotifyEnv, EnvError> {
        Ok(NotifyEnv {
            kind: self.parsed(&format!("{META}notify_type"), "pre or post")?,
            operation: self.parsed(
                &format!("{META}notify_operation"),
                "start, stop, promote or demote",
            )?,
            start: self.nodes("start", None)?,
            stop: self.nodes("stop", None)?,
            promote: self.nodes("promote", None)?,
            demote: self.nodes("demote", None)?,
            active: self.nodes("active", None)?,
            inactive: self.nodes("inactive", None)?,
            promoted: self.nodes("promoted", Some("master"))?,
            unpromoted: self.nodes("unpromoted", Some("slave"))?,
            available: self.nodes("available", None)?,
            all: self.nodes("all", None)?,
        })
    }

    /// A list of node names. Pacemaker writes an empty list as one space. `legacy` is the name before Pacemaker 2.1.
    fn nodes(&self, list: &str, legacy: Option<&str>) -> Result<Vec<String>, EnvError> {
        for list in [Some(list), legacy].into_iter().flatten() {
            if let Some(names) = self.get(&format!("{META}notify_{list}_uname"))? {
                return Ok(names.split_whitespace().map(str::to_owned).collect());
            }
        }
        Ok(Vec::new())
    }

    fn meta_number<T: FromStr>(&self, name: &str) -> Result<Option<T>, EnvError> {
        self.parsed(&format!("{META}{name}"), "a whole number")
    }

    fn meta_text(&self, name: &str) -> Result<Option<&'a str>, EnvError> {
        self.text(&format!("{META}{name}"))
    }

    /// Absent means false. The words are those of Pacemaker's `crm_str_to_boolean`.
    fn meta_flag(&self, name: &str) -> Result<bool, EnvError> {
        let name = format!("{META}{name}");
        let Some(text) = self.text(&name)? else {
            return Ok(false);
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "y" | "1" => Ok(true),
            "false" | "off" | "no" | "n" | "0" => Ok(false),
            _ => Err(EnvError::Unparsable {
                name,
                seen: text.to_owned(),
                expected: "true or false",
            }),
        }
    }

    fn parsed<T: FromStr>(
        &self,
        name: &str,
        expected: &'static str,
    ) -> Result<Option<T>, EnvError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| EnvError::Unparsable {
                name: name.to_owned(),
                seen: text.to_owned(),
                expected,
            })
        };
        self.text(name)?.map(parse).transpose()
    }

    /// The trimmed value, `None` when unset or blank.
    fn text(&self, name: &str) -> Result<Option<&'a str>, EnvError> {
        Ok(self
            .get(name)?
            .map(str::trim)
            .filter(|text| !text.is_empty()))
    }

    fn get(&self, name: &str) -> Result<Option<&'a str>, EnvError> {
        self.0.get(name).map_err(|NotUtf8| EnvError::NotUtf8 {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::time::Duration;

    use super::{EnvError, NotifyEnv, NotifyKind, NotifyOperation, OcfEnv, Promotable, Role, Vars};
    use crate::ocf::OcfCode;

    /// `vars` on top of a named resource; a name without prefix is one of CRM_meta.
    fn env(vars: &[(&str, &str)]) -> Result<OcfEnv, EnvError> {
        let named = [("OCF_RESOURCE_INSTANCE".to_owned(), "pgsql".to_owned())];
        let given = vars.iter().map(|(name, value)| {
            let name = if name.starts_with("OCF_") {
                (*name).to_owned()
            } else {
                format!("OCF_RESKEY_CRM_meta_{name}")
            };
            (name, (*value).to_owned())
        });
        OcfEnv::from_vars(&Vars::new(named.into_iter().chain(given)))
    }

    #[test]
    fn the_clone_instance_number_is_not_part_of_the_resource_name() {
        let cases = [
            ("pgsql", "pgsql"),
            ("pgsql:0", "pgsql"),
            ("pgsql:12", "pgsql"),
            ("a:b", "a:b"),
            ("a:", "a:"),
            ("a:1:2", "a:1"),
        ];
        for (instance, resource) in cases {
            let found = env(&[("OCF_RESOURCE_INSTANCE", instance)]).unwrap();
            assert_eq!(found.resource, resource, "{instance}");
        }
    }

    #[test]
    fn a_missing_resource_name_is_an_error() {
        for vars in [
            Vars::default(),
            Vars::new([("OCF_RESOURCE_INSTANCE", "")]),
            Vars::new([("OCF_RESOURCE_INSTANCE", ":0")]),
        ] {
            let error = OcfEnv::from_vars(&vars).unwrap_err();
            assert_eq!(error, EnvError::NoResource);
            assert_eq!(error.ocf_code(), OcfCode::ErrArgs);
        }
    }

    #[test]
    fn times_are_milliseconds_and_an_absent_interval_is_a_probe() {
        let probe = env(&[("timeout", "60000"), ("on_node", "Node1")]).unwrap();
        assert_eq!(probe.timeout, Some(Duration::from_secs(60)));
        assert!(probe.is_probe());
        assert_eq!(probe.node.as_deref(), Some("Node1"));
        assert!(env(&[("interval", "0")]).unwrap().is_probe());
        let recurring = env(&[("interval", "4000")]).unwrap();
        assert_eq!(recurring.interval, Duration::from_secs(4));
        assert!(!recurring.is_probe());
        assert_eq!(recurring.timeout, None);
    }

    #[test]
    fn the_role_of_a_monitor_is_known_by_its_old_name_too() {
        for (said, expected) in [
            (None, None),
            (Some("Promoted"), Some(Role::Promoted)),
            (Some("Master"), Some(Role::Promoted)),
            (Some("master"), Some(Role::Promoted)),
            (Some("Unpromoted"), Some(Role::Unpromoted)),
            (Some("Slave"), Some(Role::Unpromoted)),
            (Some("Started"), None),
            (Some("Stopped"), None),
        ] {
            let vars = said.map(|role| ("role", role));
            let found = env(vars.as_slice()).unwrap();
            assert_eq!(found.role, expected, "{said:?}");
        }
    }

    #[test]
    fn what_is_set_and_unparsable_is_an_error_that_names_the_variable() {
        let cases = [
            ("timeout", "60s"),
            ("timeout", "-1"),
            ("interval", "x"),
            ("promoted_max", "one"),
            ("clone_max", "3.0"),
            ("notify", "maybe"),
            ("notify_type", "during"),
            ("notify_operation", "monitor"),
            ("OCF_CHECK_LEVEL", "ten"),
        ];
        for (name, value) in cases {
            let error = env(&[(name, value)]).unwrap_err();
            assert_eq!(error.ocf_code(), OcfCode::ErrGeneric);
            let text = error.to_string();
            assert!(text.contains(name) && text.contains(value), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_an_error_that_names_the_variable() {
        let bytes = OsString::from_vec(vec![b'n', 0xff]);
        let vars = Vars::new([
            (
                OsString::from("OCF_RESOURCE_INSTANCE"),
                OsString::from("pgsql"),
            ),
            (OsString::from("OCF_RESKEY_CRM_meta_on_node"), bytes),
        ]);
        let name = "OCF_RESKEY_CRM_meta_on_node".to_owned();
        assert_eq!(OcfEnv::from_vars(&vars), Err(EnvError::NotUtf8 { name }));
    }

    #[test]
    fn promotable_is_told_from_not_promotable_and_from_not_told() {
        let cases: [(&[(&str, &str)], Promotable); 9] = [
            (&[("promoted_max", "1")], Promotable::Yes),
            (&[("master_max", "1")], Promotable::Yes),
            (
                &[("promoted_max", "2"), ("master_max", "1")],
                Promotable::Yes,
            ),
            (&[("promoted_max", "0")], Promotable::No),
            (
                &[("promoted_max", "0"), ("master_max", "1")],
                Promotable::No,
            ),
            (&[("clone_max", "3")], Promotable::No),
            (&[("on_node", "node1")], Promotable::No),
            (&[], Promotable::Unknown),
            (&[("timeout", "20000")], Promotable::Unknown), // what crm_resource --validate gives
        ];
        for (vars, promotable) in cases {
            assert_eq!(env(vars).unwrap().clone.promotable, promotable, "{vars:?}");
        }
    }

    #[test]
    fn notify_lists_are_node_names_and_one_space_is_an_empty_list() {
        let found = env(&[
            ("notify", "true"),
            ("notify_type", "post"),
            ("notify_operation", "promote"),
            ("notify_start_uname", " "),
            ("notify_promote_uname", "node2 "),
            ("notify_promoted_uname", "node1"),
            ("notify_unpromoted_uname", "node2 node3"),
            ("notify_active_uname", "node1 node2 node3"),
        ])
        .unwrap();
        assert!(found.clone.notify);
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let expected = NotifyEnv {
            kind: Some(NotifyKind::Post),
            operation: Some(NotifyOperation::Promote),
            promote: names("node2"),
            promoted: names("node1"),
            unpromoted: names("node2 node3"),
            active: names("node1 node2 node3"),
            ..NotifyEnv::default()
        };
        assert_eq!(found.notify, expected);
    }

    #[test]
    fn new_list_names_win_over_legacy_ones_even_when_empty() {
        let legacy = env(&[
            ("notify_master_uname", "node1"),
            ("notify_slave_uname", "node2"),
        ])
        .unwrap();
        assert_eq!(legacy.notify.promoted, ["node1"]);
        assert_eq!(legacy.notify.unpromoted, ["node2"]);
        let both = env(&[
            ("notify_promoted_uname", " "),
            ("notify_master_uname", "node1"),
        ])
        .unwrap();
        assert!(both.notify.promoted.is_empty());
    }

    #[test]
    fn start_has_the_lists_without_a_type() {
        let found = env(&[("notify_start_uname", "node3")]).unwrap();
        assert_eq!(found.notify.kind, None);
        assert_eq!(found.notify.operation, None);
        assert_eq!(found.notify.start, ["node3"]);
    }

    #[test]
    fn an_empty_exit_reason_prefix_counts_as_none() {
        for (value, expected) in [("", "ocf-exit-reason:"), ("why:", "why:")] {
            assert_eq!(
                Vars::new([("OCF_EXIT_REASON_PREFIX", value)]).exit_reason_prefix(),
                expected
            );
        }
        assert_eq!(Vars::default().exit_reason_prefix(), "ocf-exit-reason:");
    }

    #[test]
    fn parameter_names_leave_out_what_is_pacemakers_own() {
        let vars = Vars::new([
            ("OCF_RESKEY_pgdata", "/x"),
            ("OCF_RESKEY_CRM_meta_timeout", "1"),
            ("OCF_RESKEY_crm_feature_set", "3.16.1"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(vars.parameter_names().collect::<Vec<_>>(), ["pgdata"]);
    }
}
