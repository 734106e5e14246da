//! From the lines of config.ini to a [`Site`], with all that is wrong with them.

use std::net::IpAddr;
use std::time::Duration;

use strum::IntoEnumIterator as _;

use crate::decide::lease_length::{given_up_early, too_short};
use crate::model::cluster_view::NoQuorumPolicy;
use crate::model::node_name::NodeName;
use crate::params::Params;
use crate::setup::parts::{self, CLONE, Names, READER, RESOURCE, STORAGE, WRITER, WRITES};

use super::ini::Entry;
use super::keys::{self, Form, Known, PARAM_PREFIX};
use super::problem::Problem;
use super::secrets::has_password;
use super::site::{DeepMonitor, Shape, Site, Template, Tuning};

/// Keep below the distance of two promotion scores, or the preference of the reader's address moves the primary.
const MOST_READER_SCORE: u32 = 899;
/// Tenths of it must differ by more than the address holds to its node.
const LEAST_READER_SCORE: u32 = 50;
/// So many find room on the primary, by their scores.
pub(crate) const MOST_READERS: usize = 3;

impl Site {
    /// Understands the entries; what is wrong is added to `problems`. `None`: too much is wrong.
    pub(super) fn of(entries: &[Entry], problems: &mut Vec<Problem>) -> Option<Self> {
        let mut reader = Reader { entries, problems };
        reader.names_and_forms();
        let nodes = reader.nodes();
        let (shape, template) = reader.shape(&nodes);
        let writer: Option<IpAddr> = reader.address("writer_vip");
        if reader.text("writer_vip").is_none() {
            reader.missing(
                "writer_vip",
                "set it to the address that is to follow the primary",
            );
        }
        let readers = reader.readers(writer);
        let netmask = reader.netmask(writer);
        let gateway = reader.gateway(writer.into_iter().chain(readers.iter().copied()));
        let resource_name = reader.resource_name();
        reader.places();
        reader.without_effect(&nodes);
        reader.resource_list(resource_name.as_deref());
        reader.unsafe_values();
        let (given, mut passwords) = reader.params(&nodes, shape, writer);
        passwords.in_file =
            reader.holds_secret() || passwords.replication.is_some() || !passwords.lock.is_empty();
        let resource = resource_name.as_deref().unwrap_or(RESOURCE);
        let resolved = reader.resolve(resource, &given.params);
        let tuning = reader.tuning();
        reader.reader_scores(&tuning, readers.len(), gateway.is_some());
        reader.lease(&resolved, &tuning);
        let site = Self {
            shape: shape?,
            template,
            nodes,
            resource_name,
            ocf_root: reader
                .text("OCF_ROOT")
                .unwrap_or("/usr/lib/ocf")
                .trim_end_matches('/')
                .to_owned(),
            writer: writer?,
            readers,
            nic: reader.text("vip_nic").map(str::to_owned),
            netmask,
            gateway,
            params: given.params,
            unsaid: given.unsaid,
            resolved,
            stonith_enabled: reader.boolean("stonith_enabled"),
            no_quorum_policy: reader.policy(),
            tuning,
            passwords,
        };
        Some(site)
    }
}

/// The lines, and what is wrong with them so far.
pub(super) struct Reader<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value; an empty one counts as unset.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.entry(key)
            .map(|entry| entry.value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn wrong(&mut self, key: &str, what: impl Into<String>) {
        let problem = match self.entry(key) {
            Some(entry) => Problem::at(entry.line, Some(key), what),
            None => Problem::missing(key, what),
        };
        if !self.problems.iter().any(|other| other.key == problem.key) {
            self.problems.push(problem);
        }
    }

    pub(super) fn missing(&mut self, key: &str, advice: &str) {
        self.wrong(key, format!("is not set: {advice}"));
    }

    /// What can be said of each line by itself.
    fn names_and_forms(&mut self) {
        let entries = self.entries;
        for entry in entries {
            let Some(known) = keys::find(&entry.key) else {
                let advice = match keys::nearest(&entry.key) {
                    Some(name) => format!("is not a key; did you mean {name}?"),
                    None => "is not a key; docs/setup.md lists them".to_owned(),
                };
                self.wrong(&entry.key, advice);
                continue;
            };
            let is_unused = matches!(known, Known::Key(key) if key.form == Form::Unused);
            if is_placeholder(&entry.value) && !is_unused {
                self.wrong(
                    &entry.key,
                    "still has the sample's placeholder as its value: set your own",
                );
                continue;
            }
            if entry.value.is_empty() {
                continue;
            }
            match known {
                Known::Param(param) => {
                    if let Err(expected) = param.kind.check(&entry.value) {
                        self.wrong(&entry.key, format!("is not {expected}"));
                    }
                }
                Known::Key(key) => {
                    if let Some(expected) = expected(key.form, &entry.value) {
                        self.wrong(&entry.key, format!("is not {expected}"));
                    }
                }
                Known::Node(_) => {}
            }
        }
    }

    fn nodes(&mut self) -> Vec<NodeName> {
        let mut named: Vec<(usize, &Entry)> = self
            .entries
            .iter()
            .filter_map(|entry| match keys::find(&entry.key)? {
                Known::Node(number) => Some((number, entry)),
                Known::Key(_) | Known::Param(_) => None,
            })
            .collect();
        named.sort_by_key(|(number, _)| *number);
        let others = self.entry("othernodes");
        let words: Vec<(String, String)> = named
            .iter()
            .map(|(_, entry)| (entry.key.clone(), entry.value.clone()))
            .chain(others.into_iter().flat_map(|entry| {
                entry
                    .value
                    .split_whitespace()
                    .map(|word| ("othernodes".to_owned(), word.to_owned()))
            }))
            .filter(|(_, name)| !name.is_empty() && !is_placeholder(name))
            .collect();
        let mut nodes: Vec<NodeName> = Vec::new();
        for (key, name) in words {
            match NodeName::new(name) {
                Ok(node) if nodes.contains(&node) => {
                    self.wrong(&key, format!("names {node} a second time: each node once"));
                }
                Ok(node) => nodes.push(node),
                Err(_) => self.wrong(&key, "is not the name of a node, as crm_node --name prints it; several go into othernodes"),
            }
        }
        for key in ["node1", "node2"] {
            if self.entry(key).is_none_or(|entry| entry.value.is_empty()) {
                self.missing(key, "a cluster has two nodes at least; the names are those that crm_node --name prints on each");
            }
        }
        nodes
    }

    fn shape(&mut self, nodes: &[NodeName]) -> (Option<Shape>, Template) {
        let key = "pcs_template";
        let by_number = if nodes.len() <= 2 {
            Shape::Dual
        } else {
            Shape::Multi
        };
        let Some(text) = self.text(key).map(str::to_owned) else {
            return (Some(by_number), Template::BuiltIn);
        };
        let (shape, template) = match template(&text) {
            Ok(found) => found,
            Err(what) => {
                self.wrong(key, what);
                return (None, Template::BuiltIn);
            }
        };
        let found = shape.unwrap_or(by_number);
        if found == by_number || nodes.len() < 2 {
            return (Some(found), template);
        }
        let what = match found {
            Shape::Dual => format!("is for two nodes, and {} are named: use multi", nodes.len()),
            Shape::Multi => "is for three nodes or more, and two are named: use dual, with a lock service, or name a third node".to_owned(),
        };
        self.wrong(key, what);
        (None, template)
    }

    fn address(&mut self, key: &str) -> Option<IpAddr> {
        let text = self
            .text(key)
            .filter(|text| !is_placeholder(text))?
            .to_owned();
        let address = text.parse().ok();
        match address {
            None => self.wrong(
                key,
                "is not an IP address; a netmask goes into vip_cidr_netmask",
            ),
            Some(address) => {
                if let Some(what) = of_no_machine(address) {
                    self.wrong(key, format!("is {what}: nobody is reached by it"));
                }
            }
        }
        address
    }

    fn netmask(&mut self, writer: Option<IpAddr>) -> Option<u8> {
        let most = if writer.is_some_and(|ip| ip.is_ipv6()) {
            128
        } else {
            32
        };
        let text = self.text("vip_cidr_netmask")?.to_owned();
        let bits = text.parse().ok().filter(|bits| (1..=most).contains(bits));
        if bits.is_none() {
            self.wrong(
                "vip_cidr_netmask",
                format!("is not a number of bits, 1 to {most}"),
            );
        }
        bits
    }

    /// One address, or one for each standby.
    fn readers(&mut self, writer: Option<IpAddr>) -> Vec<IpAddr> {
        let key = "reader_vip";
        let Some(text) = self.text(key).filter(|text| !is_placeholder(text)) else {
            return Vec::new();
        };
        let mut found: Vec<IpAddr> = Vec::new();
        for word in text.to_owned().split_whitespace() {
            match word.parse() {
                Ok(address) if writer == Some(address) => self.wrong(key, "is the same address as writer_vip; set another one, or none for no reader's address"),
                Ok(address) if of_no_machine(address).is_some() => self.wrong(key, format!("has {address} in it, {}: nobody is reached by it", of_no_machine(address).unwrap_or_default())),
                Ok(address) if found.contains(&address) => self.wrong(key, format!("names {address} twice: each address once")),
                Ok(address) => found.push(address),
                Err(_) => self.wrong(key, format!("has {word:?} in it, which is not an IP address; several are separated by spaces, and a netmask goes into vip_cidr_netmask")),
            }
        }
        let other =
            |address: &&IpAddr| writer.is_some_and(|writer| writer.is_ipv4() != address.is_ipv4());
        if self.text("vip_cidr_netmask").is_some()
            && let Some(other) = found.iter().find(other)
        {
            self.wrong("vip_cidr_netmask", format!("can't be right for both {other} and writer_vip, of which one is of IPv4 and one of IPv6: leave it out, or take addresses of one kind"));
        }
        if found.len() > MOST_READERS {
            self.wrong(key, format!("has more than {MOST_READERS} addresses: where no standby is left, all of them have to be on the primary"));
        }
        found
    }

    /// What all readers' addresses prefer adds up for an instance.
    fn reader_scores(&mut self, tuning: &Tuning, readers: usize, has_gateway: bool) {
        let most = if has_gateway {
            parts::MOST_READER_SCORE
        } else {
            MOST_READER_SCORE
        };
        let number = u32::try_from(readers.max(1)).unwrap_or(u32::MAX);
        let key = "reader_score";
        let sum = tuning.reader_score.saturating_mul(number);
        if sum > most {
            let each = most / number;
            let what = match (number, has_gateway) {
                (1, false) => String::new(),
                (1, true) => " with gateway_ip".to_owned(),
                (_, false) => format!(" with {number} addresses for readers"),
                (_, true) => format!(" with gateway_ip and {number} addresses for readers"),
            };
            self.wrong(key, format!("is {}, above {each}, where{what} the preference of the reader's address would move the primary", tuning.reader_score));
        } else if tuning.reader_score < LEAST_READER_SCORE {
            self.wrong(key, format!("is below {LEAST_READER_SCORE}, where the preferences of the reader's address, tenths of it, would not count"));
        } else if tuning.resource_stickiness <= sum {
            self.wrong("resource_stickiness", "is not above reader_score (times the addresses for readers), so that Pacemaker would restart standbys for the reader's address");
        }
    }

    fn gateway(&mut self, own: impl Iterator<Item = IpAddr>) -> Option<String> {
        let key = "gateway_ip";
        let text = self.text(key).filter(|text| !is_placeholder(text))?;
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let own: Vec<IpAddr> = own.collect();
        for word in &words {
            match word.parse::<IpAddr>() {
                Ok(address) if own.contains(&address) => {
                    self.wrong(key, format!("names {address}, which is the cluster's own: it answers wherever it is; name one outside"));
                }
                Ok(address) => {
                    if let Some(what) = of_no_machine(address) {
                        self.wrong(key, format!("has {address} in it, {what}: it says nothing of a way out"));
                    }
                }
                Err(_) => self.wrong(key, format!("has {word:?} in it, which is not an IP address; several are separated by spaces")),
            }
        }
        Some(words.join(" ")).filter(|text| !text.is_empty())
    }

    /// What names a directory, and what an interface.
    fn places(&mut self) {
        let is_wrong = |text: &str| !text.starts_with('/') || text.contains(char::is_whitespace);
        if self.text("OCF_ROOT").is_some_and(is_wrong) {
            self.wrong("OCF_ROOT", "is not an absolute path without spaces");
        }
        // The kernel's own rule.
        let is_wrong =
            |text: &str| text.len() > 15 || text.contains(|c: char| c.is_whitespace() || c == '/');
        if self.text("vip_nic").is_some_and(is_wrong) {
            self.wrong(
                "vip_nic",
                "is not the name of one interface, as ip link shows it",
            );
        }
    }

    /// Values that the agent would take, and that can't do what they are set for.
    fn without_effect(&mut self, nodes: &[NodeName]) {
        let is_async = self.text("pgsql_rep_mode") == Some("async");
        // Not so pgsql_maxlag, which also says whose lag is shown as too much.
        let key = "pgsql_maxlag_time";
        if self.text(key).is_some_and(|text| text != "0") && !is_async {
            self.wrong(key, "has no meaning with pgsql_rep_mode=sync, where no standby that lacks an acknowledged commit is promoted: leave it out, or use async");
        }
        let external = self
            .text("pgsql_external_standby_node_list")
            .unwrap_or_default();
        let standbys = nodes.len().saturating_sub(1) + external.split_whitespace().count();
        let number: Option<usize> = self
            .text("pgsql_sync_num")
            .and_then(|text| text.parse().ok());
        if number.is_some_and(|number| number > standbys) && !nodes.is_empty() {
            self.wrong("pgsql_sync_num", format!("is above {standbys}, the number of standbys that there can be: so many never confirm a commit"));
        }
    }

    /// The names of several databases' resources in one cluster must differ; all others are made from this one.
    fn resource_name(&mut self) -> Option<String> {
        let key = "resource_name";
        let name = self
            .text(key)
            .filter(|name| !is_placeholder(name))?
            .to_owned();
        let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_id) {
            self.wrong(
                key,
                "is not a name for a resource: a letter, and then letters, digits, _, - and .",
            );
        } else if [CLONE, WRITER, READER].contains(&name.as_str()) {
            self.wrong(key, "is what another of the resources is called by default");
        }
        Some(name)
    }

    /// The names are fixed: the attributes, the older scripts and the operators' habits are built on them.
    fn resource_list(&mut self, resource: Option<&str>) {
        let Some(list) = self.text("RESOURCE_LIST").map(str::to_owned) else {
            return;
        };
        let names = Names::of(resource.unwrap_or(RESOURCE));
        let (clone, writer, reader) = (&names.clone, &names.writer, &names.usual_reader);
        let ours = [&names.resource, clone, writer, reader];
        let mut words = list.split_whitespace();
        if let Some(other) = words.find(|name| !ours.iter().any(|ours| ours == name)) {
            self.wrong(
                "RESOURCE_LIST",
                format!("names {other:?}: the resources are called {clone} {writer} {reader}, and nothing else can be set here; resource_name sets their names"),
            );
        }
    }

    /// Values that setup decides, or that would put a password where everybody reads it.
    fn unsafe_values(&mut self) {
        let entries = self.entries;
        for entry in entries.iter().filter(|entry| !entry.value.is_empty()) {
            let Some(name) = entry.key.strip_prefix(PARAM_PREFIX) else {
                continue;
            };
            match name {
                "monitor_password" => self.wrong(
                    &entry.key,
                    "would stand in the cluster's configuration, for everybody to read: allow the monitoring user in by pg_hba.conf \
                     (local … peer, or trust for the socket) and leave this out",
                ),
                "primary_conninfo_opt" | "distlock_lock_cmd" | "distlock_unlock_cmd" | "start_opt" | "restore_command"
                    if has_password(&entry.value) =>
                {
                    self.wrong(
                        &entry.key,
                        "has a password in it that would stand in the cluster's configuration, for everybody to read: use \
                         pgsql_reppassord, or pgsql_distlock_conninfo, whose password goes into a file that only PostgreSQL's owner reads",
                    );
                }
                "rep_mode" if matches!(entry.value.as_str(), "none" | "slave") => self.wrong(
                    &entry.key,
                    "must be sync or async: setup makes a cluster with a primary and standbys",
                ),
                _ => {}
            }
        }
    }

    fn holds_secret(&self) -> bool {
        self.entries.iter().any(|entry| has_password(&entry.value))
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        self.text(key).and_then(boolean)
    }

    fn policy(&mut self) -> Option<NoQuorumPolicy> {
        let text = self.text("no_quorum_policy")?.to_owned();
        let policy = text.parse().ok();
        if policy.is_none() {
            self.wrong(
                "no_quorum_policy",
                "is not one of stop, ignore, freeze, demote, suicide",
            );
        }
        policy
    }

    /// The lock's times against the monitor that renews it, and against the promotion that waits for it.
    fn lease(&mut self, params: &Params, tuning: &Tuning) {
        if !params.enable_distlock {
            return;
        }
        let (ttl, timeout) = (params.distlock_ttl, params.distlock_timeout);
        let blamed = |reader: &Self, keys: [&'static str; 2]| {
            let set = keys.into_iter().find(|key| reader.text(key).is_some());
            set.unwrap_or(keys[0])
        };
        if let Some(why) = too_short(ttl, tuning.promoted_monitor_interval) {
            let key = blamed(self, ["pgsql_distlock_ttl", "promoted_monitor_interval"]);
            self.wrong(key, format!("does not fit the others: {why}"));
        }
        if let Some(why) = given_up_early(ttl, timeout) {
            let key = blamed(self, ["pgsql_distlock_timeout", "pgsql_distlock_ttl"]);
            self.wrong(key, format!("does not fit the others: {why}"));
        }
    }

    fn tuning(&mut self) -> Tuning {
        let usual = Tuning::default();
        let number = |reader: &Self, key: &str, otherwise: u32| {
            reader
                .text(key)
                .and_then(|text| text.parse().ok())
                .unwrap_or(otherwise)
        };
        let time = |reader: &Self, key: &str, otherwise: Duration| {
            reader
                .text(key)
                .and_then(seconds)
                .map_or(otherwise, Duration::from_secs)
        };
        let said = self.entries.iter();
        let said = said.filter(|entry| !entry.value.is_empty());
        let tuning = Tuning {
            said: said.map(|entry| entry.key.clone()).collect(),
            migration_threshold: number(self, "migration_threshold", usual.migration_threshold),
            failure_timeout: time(self, "failure_timeout", usual.failure_timeout),
            resource_stickiness: number(self, "resource_stickiness", usual.resource_stickiness),
            reader_score: number(self, "reader_score", usual.reader_score),
            reader_on_primary: self
                .boolean("reader_on_primary")
                .unwrap_or(usual.reader_on_primary),
            monitor_interval: time(self, "monitor_interval", usual.monitor_interval),
            promoted_monitor_interval: time(
                self,
                "promoted_monitor_interval",
                usual.promoted_monitor_interval,
            ),
            deep_monitors: self.deep_monitors(),
            vip_monitor_interval: time(self, "vip_monitor_interval", usual.vip_monitor_interval),
            operation_timeout: time(self, "operation_timeout", usual.operation_timeout),
        };
        for (key, value) in [
            ("monitor_interval", tuning.monitor_interval),
            (
                "promoted_monitor_interval",
                tuning.promoted_monitor_interval,
            ),
            ("vip_monitor_interval", tuning.vip_monitor_interval),
            ("operation_timeout", tuning.operation_timeout),
        ] {
            if value.is_zero() {
                self.wrong(key, "is 0: at least 1 second");
            }
        }
        self.distinct_intervals(&tuning);
        if !tuning.failure_timeout.is_zero() && tuning.failure_timeout <= tuning.operation_timeout {
            self.wrong("failure_timeout", "must be longer than operation_timeout, or 0: a failure would be forgotten while it is being dealt with");
        }
        tuning
    }

    /// Those that the file speaks of.
    fn deep_monitors(&self) -> Vec<DeepMonitor> {
        let of = |(key, level, is_of_promoted): (&str, u32, bool)| {
            let interval = self.text(key).and_then(seconds)?;
            Some(DeepMonitor {
                level,
                is_of_promoted,
                interval: Duration::from_secs(interval),
            })
        };
        DEEP_MONITORS.into_iter().filter_map(of).collect()
    }

    /// Pacemaker tells an operation's monitors apart by their intervals, whatever their roles and depths.
    fn distinct_intervals(&mut self, tuning: &Tuning) {
        let plain = [
            ("monitor_interval", tuning.monitor_interval),
            (
                "promoted_monitor_interval",
                tuning.promoted_monitor_interval,
            ),
        ];
        let deep = DEEP_MONITORS.iter().filter_map(|(key, ..)| {
            let interval = self.text(key).and_then(seconds)?;
            Some((*key, Duration::from_secs(interval)))
        });
        let deep = deep.filter(|(_, interval)| !interval.is_zero());
        let all: Vec<(&'static str, Duration)> = plain.into_iter().chain(deep).collect();
        for (at, (key, interval)) in all.iter().enumerate() {
            let Some((other, _)) = all.iter().take(at).find(|(_, other)| other == interval) else {
                continue;
            };
            let blamed = [other, key]
                .into_iter()
                .find(|key| self.entry(key).is_some());
            self.wrong(
                blamed.unwrap_or(key),
                format!("makes {other} and {key} the same, which Pacemaker can't tell apart: let them differ by a second"),
            );
        }
    }
}

/// The keys for monitors beside the plain one, how deep they look, and whether at a primary.
const DEEP_MONITORS: [(&str, u32, bool); 4] = [
    ("deep_monitor_interval", WRITES, false),
    ("promoted_deep_monitor_interval", WRITES, true),
    ("storage_monitor_interval", STORAGE, false),
    ("promoted_storage_monitor_interval", STORAGE, true),
];

/// Which template `text` names; pha4pgsql's names are known.
fn template(text: &str) -> Result<(Option<Shape>, Template), String> {
    if text.contains('/') {
        return Ok((None, Template::Own(text.to_owned())));
    }
    let name = text.strip_suffix(".template").unwrap_or(text);
    let name = ["pcs", "crm", "xml"]
        .iter()
        .find_map(|format| name.strip_suffix(format)?.strip_suffix('.'))
        .unwrap_or(name);
    match name {
        "dual" => Ok((Some(Shape::Dual), Template::BuiltIn)),
        "multi" | "muti" => Ok((Some(Shape::Multi), Template::BuiltIn)),
        "multi_with_lvs" | "muti_with_lvs" => Err(
            "is pha4pgsql's template with a load balancer (LVS), which setup does not make: use multi, and balance reads as /usr/share/doc/expgsql/balancing.md says".to_owned(),
        ),
        _ => Err(format!(
            "names no template: use {}, or the path of a file of your own, with a / in it",
            Shape::iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(" or ")
        )),
    }
}

/// Why no other machine has this address; `None`: one may.
fn of_no_machine(address: IpAddr) -> Option<&'static str> {
    let is_broadcast = matches!(address, IpAddr::V4(it) if it.is_broadcast());
    if address.is_unspecified() {
        Some("the address of none")
    } else if address.is_loopback() {
        Some("each machine's own")
    } else if address.is_multicast() || is_broadcast {
        Some("an address of many")
    } else {
        None
    }
}

/// What a sample has where the reader must put something.
pub(crate) fn is_placeholder(value: &str) -> bool {
    let upper = value.to_uppercase();
    value.contains("${")
        || (value.starts_with('<') && value.ends_with('>'))
        || ["CHANGE_ME", "CHANGEME", "CHANGE-ME", "FIXME"]
            .iter()
            .any(|word| upper.contains(word))
}

/// What a value of this form would be; `None`: it is one.
fn expected(form: Form, value: &str) -> Option<&'static str> {
    let is_it = match form {
        Form::Text | Form::Secret | Form::Unused => true,
        Form::Seconds => seconds(value).is_some(),
        Form::Number => value.parse::<u32>().is_ok(),
        Form::Boolean => boolean(value).is_some(),
    };
    (!is_it).then_some(match form {
        Form::Seconds => "a whole number of seconds",
        Form::Number => "a whole number",
        Form::Boolean => "true or false",
        Form::Text | Form::Secret | Form::Unused => "text",
    })
}

fn seconds(text: &str) -> Option<u64> {
    text.strip_suffix('s').unwrap_or(text).parse().ok()
}

/// As the agent reads it.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "yes" | "1" | "on" | "ja" => Some(true),
        "false" | "no" | "0" | "off" | "nein" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Secret;
    use crate::setup::config::read;
    use crate::setup::config::secrets::PASSFILE;

    const DUAL: &str = "node1=a\nnode2=b\nwriter_vip=192.0.2.9\npgsql_pgctl=/bin/pg_ctl\npgsql_pgdata=/data\n\
                        pgsql_repuser=repl\npgsql_distlock_conninfo='host=lock user=u password=hush'\n";
    const MULTI: &str = "node1=a\nnode2=b\nnode3=c\nwriter_vip=192.0.2.9\nreader_vip=192.0.2.10\npgsql_pgctl=/bin/pg_ctl\n\
                         pgsql_pgdata=/data\npgsql_repuser=repl\n";

    fn site(text: &str) -> Site {
        read(text)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .0
    }

    fn param<'a>(site: &'a Site, name: &str) -> Option<&'a str> {
        site.params
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn what_is_not_said_follows_from_what_is() {
        let dual = site(DUAL);
        assert_eq!(dual.shape, Shape::Dual);
        assert_eq!(param(&dual, "node_list"), Some("a b"));
        assert_eq!(param(&dual, "master_ip"), Some("192.0.2.9"));
        assert_eq!(param(&dual, "rep_mode"), Some("sync"));
        assert_eq!(param(&dual, "enable_distlock"), Some("true"));
        assert_eq!(param(&dual, "distlock_conninfo"), Some("host=lock user=u"));
        assert_eq!(
            param(&dual, "distlock_lockservice_deadcheck_nodelist"),
            Some("a b")
        );
        // The lock's password is in a file of root's, which no parameter names.
        assert_eq!(param(&dual, "passfile"), None);
        let with_password = site(&format!("{MULTI}pgsql_reppassword=p\n"));
        assert_eq!(param(&with_password, "passfile"), Some(PASSFILE));
        assert_eq!(param(&dual, "on_divergence"), Some("rewind_or_rebuild"));
        let multi = site(MULTI);
        assert_eq!((multi.shape, multi.readers.len()), (Shape::Multi, 1));
        for absent in ["enable_distlock", "distlock_conninfo", "passfile"] {
            assert_eq!(param(&multi, absent), None, "{absent}");
        }
    }

    #[test]
    fn a_lock_is_switched_by_one_word_however_it_is_written() {
        for (word, is_on) in [
            ("no", false),
            ("0", false),
            ("off", false),
            ("False", false),
            ("FALSE", false),
            ("nein", false),
            ("yes", true),
            ("ON", true),
            ("1", true),
        ] {
            let site = site(&format!("{DUAL}pgsql_enable_distlock={word}\n"));
            let text = is_on.to_string();
            assert_eq!(
                param(&site, "enable_distlock"),
                Some(text.as_str()),
                "{word}"
            );
            assert_eq!(site.resolved.enable_distlock, is_on, "{word}");
        }
    }

    #[test]
    fn no_password_stands_where_the_cluster_shows_it() {
        let text = format!("{DUAL}pgsql_reppassord='p#w \"x'\n");
        let site = site(&text);
        assert_eq!(site.passwords.replication, Some(Secret::new("p#w \"x")));
        assert_eq!(site.passwords.lock.len(), 1);
        for value in site.params.iter().map(|(_, value)| value) {
            assert!(!value.contains("hush") && !value.contains("p#w"), "{value}");
        }
        assert!(!format!("{site:?}").contains("hush"));
    }

    #[test]
    fn pha4pgsqls_own_examples_are_understood() {
        let text = r#"
pcs_template=muti.pcs.template
OCF_ROOT=/usr/lib/ocf
RESOURCE_LIST="msPostgresql vip-master vip-slave"
pha4pgsql_dir=/opt/pha4pgsql
writer_vip=192.168.41.136
reader_vip=192.168.41.137
node1=node1
node2=node2
node3=node3
vip_nic=eno33554984
vip_cidr_netmask=24
pgsql_pgctl=/usr/pgsql-9.5/bin/pg_ctl
pgsql_psql=/usr/pgsql-9.5/bin/psql
pgsql_pgdata=/data/postgresql/data
pgsql_pgport=5433
pgsql_restore_command=""
pgsql_rep_mode=sync
pgsql_repuser=replication
pgsql_reppassord=replication
pgsql_enable_distlock=false
pgsql_distlock_psql_cmd='/usr/bin/psql \\"host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5\\"'
pgsql_distlock_lockname=pgsql_cls1
"#;
        let multi = site(text);
        assert_eq!(param(&multi, "enable_distlock"), Some("false"));
        assert_eq!(param(&multi, "distlock_conninfo"), None);
        assert_eq!(param(&multi, "restore_command"), Some(""));
        let dual = text
            .replace("muti", "dual")
            .replace("node3=node3\n", "")
            .replace("enable_distlock=false", "enable_distlock=true");
        let dual = site(&dual);
        assert_eq!(
            param(&dual, "distlock_conninfo"),
            Some("host=node3 port=5439 dbname=postgres user=postgres connect_timeout=5")
        );
        assert_eq!(param(&dual, "distlock_lockname"), Some("pgsql_cls1"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_key() {
        let instead = |text: &str, old: &str, new: &str| {
            assert!(text.contains(old), "{old}");
            text.replace(old, new)
        };
        let dual = |old, new| instead(DUAL, old, new);
        let multi = |old, new| instead(MULTI, old, new);
        let more = |line: &str| format!("{MULTI}{line}\n");
        for (text, line, key, part) in [
            (dual("node2=b\n", ""), None, "node2", "is not set"),
            (
                format!("{DUAL}promoted_monitor_interval=5\n"),
                Some(8),
                "promoted_monitor_interval",
                "runs out where one renewal is missed",
            ),
            (
                format!("{DUAL}pgsql_distlock_ttl=6\n"),
                Some(8),
                "pgsql_distlock_ttl",
                "renewed only every 3 s",
            ),
            (
                format!("{DUAL}pgsql_distlock_ttl=12\n"),
                Some(8),
                "pgsql_distlock_ttl",
                "gives up before",
            ),
            (
                dual("node2=b", "node2=A"),
                Some(2),
                "node2",
                "names A a second time",
            ),
            (
                dual("node2=b", "node2='b c'"),
                Some(2),
                "node2",
                "not the name of a node",
            ),
            (
                dual("node2=b", "node2=CHANGE_ME"),
                Some(2),
                "node2",
                "placeholder",
            ),
            (
                dual("node2=b", "node2=b\nothernodes='c a'"),
                Some(3),
                "othernodes",
                "second time",
            ),
            (
                dual("192.0.2.9", "192.0.2.9/24"),
                Some(3),
                "writer_vip",
                "not an IP address",
            ),
            (
                dual("writer_vip=192.0.2.9\n", ""),
                None,
                "writer_vip",
                "is not set",
            ),
            (
                dual("/bin/pg_ctl", "pg_ctl"),
                Some(4),
                "pgsql_pgctl",
                "absolute path",
            ),
            (
                dual("pgsql_pgdata=/data\n", ""),
                None,
                "pgsql_pgdata",
                "is not set",
            ),
            (
                dual(
                    "pgsql_distlock_conninfo='host=lock user=u password=hush'\n",
                    "",
                ),
                None,
                "pgsql_distlock_conninfo",
                "is not set",
            ),
            (
                dual("host=lock user", "host=lock nosuch"),
                Some(7),
                "pgsql_distlock_conninfo",
                "nosuch",
            ),
            (
                dual(
                    "pgsql_distlock_conninfo",
                    "pcs_template=multi\npgsql_distlock_conninfo",
                ),
                Some(7),
                "pcs_template",
                "three nodes or more",
            ),
            (
                multi("192.0.2.10", "192.0.2.9"),
                Some(5),
                "reader_vip",
                "same address",
            ),
            (
                more("pcs_template=dual"),
                Some(9),
                "pcs_template",
                "two nodes",
            ),
            (
                more("pcs_template=muti_with_lvs.pcs.template"),
                Some(9),
                "pcs_template",
                "LVS",
            ),
            (
                more("pcs_template=nosuch"),
                Some(9),
                "pcs_template",
                "dual or multi",
            ),
            (
                more("writer_vpi=1"),
                Some(9),
                "writer_vpi",
                "did you mean writer_vip?",
            ),
            (
                more("pgsql_pgport=x"),
                Some(9),
                "pgsql_pgport",
                "is not a port",
            ),
            (
                more("pgsql_rep_mode=slave"),
                Some(9),
                "pgsql_rep_mode",
                "sync or async",
            ),
            (
                more("pgsql_monitor_password=x"),
                Some(9),
                "pgsql_monitor_password",
                "everybody",
            ),
            (
                more("pgsql_primary_conninfo_opt='user=u password=hush'"),
                Some(9),
                "pgsql_primary_conninfo_opt",
                "everybody",
            ),
            (
                more("pgsql_replication_slot_name=A"),
                Some(9),
                "pgsql_replication_slot_name",
                "has 'A' in it",
            ),
            (
                more("pgsql_node_list='a x'"),
                Some(9),
                "pgsql_node_list",
                "\"x\"",
            ),
            (
                more("pgsql_enable_distlock=true"),
                None,
                "pgsql_distlock_conninfo",
                "is not set",
            ),
            (
                more("vip_cidr_netmask=33"),
                Some(9),
                "vip_cidr_netmask",
                "1 to 32",
            ),
            (more("RESOURCE_LIST=pg"), Some(9), "RESOURCE_LIST", "\"pg\""),
            (
                more("resource_name='a b'"),
                Some(9),
                "resource_name",
                "not a name",
            ),
            (
                more("resource_name=vip-master"),
                Some(9),
                "resource_name",
                "another of the resources",
            ),
            (
                more("resource_name=db\nRESOURCE_LIST='db-clone vip-master'"),
                Some(10),
                "RESOURCE_LIST",
                "called db-clone db-vip-master db-vip-slave",
            ),
            (
                more("no_quorum_policy=maybe"),
                Some(9),
                "no_quorum_policy",
                "one of",
            ),
            (
                more("stonith_enabled=maybe"),
                Some(9),
                "stonith_enabled",
                "true or false",
            ),
            (
                more("monitor_interval=3"),
                Some(9),
                "monitor_interval",
                "can't tell apart",
            ),
            (
                more("deep_monitor_interval=60\npromoted_deep_monitor_interval=60s"),
                Some(9),
                "deep_monitor_interval",
                "can't tell apart",
            ),
            (
                more("promoted_storage_monitor_interval=3"),
                Some(9),
                "promoted_storage_monitor_interval",
                "makes promoted_monitor_interval and promoted_storage_monitor_interval the same",
            ),
            (more("reader_score=1000"), Some(9), "reader_score", "899"),
            (
                more("gateway_ip='192.0.2.1 gw'"),
                Some(9),
                "gateway_ip",
                "\"gw\"",
            ),
            (
                more("gateway_ip=192.0.2.9"),
                Some(9),
                "gateway_ip",
                "the cluster's own",
            ),
            (
                more("gateway_ip=192.0.2.1\nreader_score=201"),
                Some(10),
                "reader_score",
                "above 200",
            ),
            (
                more("pgsql_sync_num=3"),
                Some(9),
                "pgsql_sync_num",
                "above 2",
            ),
            (
                more("pgsql_maxlag_time=5"),
                Some(9),
                "pgsql_maxlag_time",
                "no meaning",
            ),
            (more("OCF_ROOT=rel"), Some(9), "OCF_ROOT", "absolute"),
            (more("vip_nic='eth 0'"), Some(9), "vip_nic", "one interface"),
            (
                more("gateway_ip=127.0.0.1"),
                Some(9),
                "gateway_ip",
                "each machine's own",
            ),
            (
                more("gateway_ip='192.0.2.1 0.0.0.0'"),
                Some(9),
                "gateway_ip",
                "the address of none",
            ),
            (
                more("gateway_ip=224.0.0.1"),
                Some(9),
                "gateway_ip",
                "of many",
            ),
            (
                more("gateway_ip=::1"),
                Some(9),
                "gateway_ip",
                "each machine's own",
            ),
            (
                multi("192.0.2.9\n", "0.0.0.0\n"),
                Some(4),
                "writer_vip",
                "the address of none",
            ),
            (
                multi("192.0.2.9\n", "ff02::1\n"),
                Some(4),
                "writer_vip",
                "of many",
            ),
            (
                multi("192.0.2.10\n", "127.0.0.1\n"),
                Some(5),
                "reader_vip",
                "each machine's own",
            ),
            (
                multi("192.0.2.10", "2001:db8::1") + "vip_cidr_netmask=24\n",
                Some(9),
                "vip_cidr_netmask",
                "both 2001:db8::1 and writer_vip",
            ),
            (more("reader_score=49"), Some(9), "reader_score", "below 50"),
            (
                multi("192.0.2.10", "'192.0.2.10 192.0.2.11'") + "reader_score=450\n",
                Some(9),
                "reader_score",
                "above 449, where with 2 addresses",
            ),
            (
                multi("192.0.2.10", "'192.0.2.10 192.0.2.10'"),
                Some(5),
                "reader_vip",
                "twice",
            ),
            (
                multi("192.0.2.10", "'192.0.2.10 b'"),
                Some(5),
                "reader_vip",
                "\"b\"",
            ),
            (
                multi(
                    "192.0.2.10",
                    "'192.0.2.10 192.0.2.11 192.0.2.12 192.0.2.13'",
                ),
                Some(5),
                "reader_vip",
                "more than 3",
            ),
            (
                more("reader_on_primary=maybe"),
                Some(9),
                "reader_on_primary",
                "true or false",
            ),
            (
                more("failure_timeout=30"),
                Some(9),
                "failure_timeout",
                "longer",
            ),
            (
                more("migration_threshold=x"),
                Some(9),
                "migration_threshold",
                "whole number",
            ),
        ] {
            let problems = read(&text).err().unwrap_or_default();
            let [problem] = problems.as_slice() else {
                panic!("{key} {part}: {problems:?}");
            };
            assert_eq!(
                (problem.line, problem.key.as_deref()),
                (line, Some(key)),
                "{problem:?}"
            );
            assert!(problem.what.contains(part), "{problem:?}");
            assert!(!problem.what.contains("hush"), "{problem:?}");
        }
    }

    #[test]
    fn what_is_unusual_and_right_is_accepted() {
        for more in [
            "pgsql_sync_num=2",
            "pgsql_sync_num=3\npgsql_external_standby_node_list=x",
            "pgsql_rep_mode=async\npgsql_maxlag_time=5",
            "pgsql_maxlag=0",
            // It says who is shown as behind.
            "pgsql_maxlag=1MB",
            "vip_nic=bond0.100",
            "gateway_ip='192.0.2.1 2001:db8::1'",
        ] {
            site(&format!("{MULTI}{more}\n"));
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let problems = read("node1=a\npgsql_pgport=x\nnonsense\n").err().unwrap();
        let keys: Vec<&str> = problems
            .iter()
            .map(|p| p.key.as_deref().unwrap_or("-"))
            .collect();
        assert_eq!(
            keys,
            [
                "pgsql_pgport",
                "-",
                "node2",
                "writer_vip",
                "pgsql_pgctl",
                "pgsql_pgdata",
                "pgsql_repuser",
                "pgsql_distlock_conninfo"
            ]
        );
    }
}
