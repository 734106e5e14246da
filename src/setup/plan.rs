//! What the cluster is to look like: resources, constraints and properties, before anybody has written them down as pcs
//! commands, crmsh lines or XML.

use std::time::Duration;

use crate::decide::quorum_policy::{self, Means};
use crate::model::status::NodeStatus;

use super::config::{DeepMonitor, Shape, Site, Tuning};
use super::gateway;

/// The PostgreSQL resource. The names are pha4pgsql's: node attributes and habits are built on them.
pub(crate) const RESOURCE: &str = "pgsql";
/// Its promotable clone.
pub(crate) const CLONE: &str = "msPostgresql";
/// The address that follows the primary.
pub(crate) const WRITER: &str = "vip-master";
/// The address that stays with a standby.
pub(crate) const READER: &str = "vip-slave";

const HEARTBEAT: &str = "heartbeat";

/// Everything that setup puts into the cluster's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) properties: Vec<Property>,
    /// As far as config.ini tells them: the cluster may have more.
    pub(crate) means: Means,
    pub(crate) pgsql: Primitive,
    /// Of the promotable clone around it.
    pub(crate) clone_meta: Meta,
    pub(crate) addresses: Vec<Primitive>,
    /// Watches the way out of each node, in a clone.
    pub(crate) gateway: Option<Primitive>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) names: Names,
}

/// Name of the property that says what is done without quorum.
pub(crate) const NO_QUORUM_POLICY: &str = "no-quorum-policy";

/// A cluster property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// Nobody asked for this value: what the operator has set stays where it does no harm.
    pub(crate) is_default: bool,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Primitive {
    pub(crate) id: String,
    /// The parts behind `ocf:`.
    pub(crate) provider: &'static str,
    pub(crate) agent: &'static str,
    /// An empty value: it must not be there.
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) meta: Meta,
    pub(crate) operations: Vec<Operation>,
}

impl Primitive {
    /// The parameters that have a value.
    pub(crate) fn set_params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// The operations that are to be there.
    pub(crate) fn made_operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|it| !it.is_unwanted())
    }
}

/// What Pacemaker tells the agent of how deep a monitor is to look.
pub(crate) const CHECK_LEVEL: &str = "OCF_CHECK_LEVEL";
/// The agent asks the server.
pub(crate) const PLAIN: u32 = 0;
/// It writes, too.
pub(crate) const WRITES: u32 = 10;
/// It looks at the storage, too.
pub(crate) const STORAGE: u32 = 20;

/// One action of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) interval: Duration,
    /// Nobody asked for it: what the operator has set stays.
    pub(crate) is_usual_interval: bool,
    /// What is renewed by it lasts so long.
    pub(crate) renews: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) is_usual_timeout: bool,
    pub(crate) on_fail: Option<&'static str>,
    pub(crate) is_of_promoted: bool,
    /// How deep a monitor looks. One that is deeper than the plain one and has no interval must not be there.
    pub(crate) level: u32,
}

impl Operation {
    /// Somebody has said that it is not to be there.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.level > PLAIN && self.interval.is_zero()
    }

    /// As pcs and crmsh write the depth, where there is one.
    pub(crate) fn level_words(&self) -> String {
        match self.level {
            PLAIN => String::new(),
            level => format!(" {CHECK_LEVEL}={level}"),
        }
    }
}

/// Meta attributes.
pub(crate) type Meta = Vec<Attribute>;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// Nobody asked for this value: what the operator has set stays.
    pub(crate) is_default: bool,
    /// Of what the operator has set.
    pub(crate) sound: Option<Sound>,
}

/// What is right for a number, and what comes of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sound {
    pub(crate) least: u32,
    pub(crate) most: u32,
    pub(crate) otherwise: &'static str,
}

/// The plan can't do without it.
fn needed(name: &'static str, value: &str) -> Attribute {
    Attribute {
        name,
        value: value.to_owned(),
        is_default: false,
        sound: None,
    }
}

/// A role of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub(crate) enum Role {
    Promoted,
}

/// What is known of a node's way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A gateway answers.
    Open,
    /// Nobody has looked yet.
    Unknown,
}

/// What the resources are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) resource: String,
    pub(crate) clone: String,
    pub(crate) writer: String,
    /// One for each of config.ini's, in its order.
    pub(crate) readers: Vec<String>,
    /// Of an address that config.ini had once.
    pub(crate) retired: Vec<String>,
    /// What the first of the readers' addresses is called where the cluster has no name for it.
    pub(crate) usual_reader: String,
}

impl Names {
    /// The usual names for a database of this name. That of one with another name begin with it, so that a cluster can have several.
    pub(crate) fn of(resource: &str) -> Self {
        let [clone, writer, usual_reader] = if resource == RESOURCE {
            [CLONE, WRITER, READER].map(str::to_owned)
        } else {
            ["clone", WRITER, READER].map(|name| format!("{resource}-{name}"))
        };
        Self {
            resource: resource.to_owned(),
            clone,
            writer,
            readers: Vec::new(),
            retired: Vec::new(),
            usual_reader,
        }
    }

    /// What the readers' addresses are called, the first as it always was.
    pub(crate) fn usual_readers(&self) -> impl Iterator<Item = String> {
        let name = self.usual_reader.clone();
        let first = std::iter::once(name.clone());
        first.chain((2..).map(move |number| format!("{name}-{number}")))
    }

    /// The addresses, those that are no more as well.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &String> {
        let writer = std::iter::once(&self.writer);
        writer.chain(&self.readers).chain(&self.retired)
    }

    /// What watches the gateway, and the node attribute that it writes.
    pub(crate) fn gateway(&self) -> String {
        format!("{}-gateway", self.resource)
    }

    /// The clone around it.
    pub(crate) fn gateway_clone(&self) -> String {
        format!("{}-clone", self.gateway())
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::of(RESOURCE)
    }
}

/// What one address has to do with the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Constraint {
    /// `address` runs where an instance has this role, or any, and nowhere else.
    With {
        id: String,
        address: String,
        role: Option<Role>,
    },
    /// `address` runs nowhere where an instance has this role.
    Apart {
        id: String,
        address: String,
        role: Role,
    },
    /// `address` would rather be where `other` is not.
    Spread {
        id: String,
        address: String,
        other: String,
        score: u32,
    },
    /// The database does `first`, and only then the address does `then`.
    Order {
        id: String,
        first: &'static str,
        then: &'static str,
        address: String,
        /// Mandatory: the address never does it without the database. Optional: where both do it, in this order.
        is_mandatory: bool,
    },
    /// The address would rather be where the node attribute has this value.
    Prefers {
        id: String,
        address: String,
        score: u32,
        attribute: String,
        value: NodeStatus,
        /// And this attribute has none.
        without: Option<String>,
    },
    /// A node is preferred for the primary by how many gateways answer there, as this attribute says.
    Reaches {
        id: String,
        score: u32,
        attribute: String,
        way: Way,
    },
}

/// The values that go into a plan as text: a real site's, or names in braces for a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    pub(crate) resource: String,
    pub(crate) shape: Shape,
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) writer: String,
    pub(crate) readers: Vec<String>,
    pub(crate) nic: Option<String>,
    pub(crate) netmask: Option<String>,
    /// Addresses, one of which answers where a node's way out is whole.
    pub(crate) gateway: Option<String>,
    pub(crate) stonith_enabled: Option<bool>,
    pub(crate) no_quorum_policy: Option<String>,
    pub(crate) tuning: Tuning,
    /// How long the lock lasts that the primary's monitor renews.
    pub(crate) lease: Option<Duration>,
}

impl From<&Site> for Values {
    fn from(site: &Site) -> Self {
        Self {
            resource: site.resource().to_owned(),
            shape: site.shape,
            params: site.params.clone(),
            writer: site.writer.to_string(),
            readers: site.readers.iter().map(ToString::to_string).collect(),
            nic: site.nic.clone(),
            netmask: site.netmask.map(|bits| bits.to_string()),
            gateway: site.gateway.clone(),
            stonith_enabled: site.stonith_enabled,
            no_quorum_policy: site.no_quorum_policy.map(|policy| policy.to_string()),
            tuning: site.tuning.clone(),
            lease: site
                .resolved
                .enable_distlock
                .then_some(site.resolved.distlock_ttl),
        }
    }
}

impl Plan {
    /// The plan for these values, with the usual names.
    pub(crate) fn new(values: &Values) -> Self {
        let mut names = Names::of(&values.resource);
        names.readers = names.usual_readers().take(values.readers.len()).collect();
        Self::named(values, names)
    }

    /// The plan for these values.
    pub(crate) fn named(values: &Values, names: Names) -> Self {
        let tuning = &values.tuning;
        let mut addresses = vec![address(&names.writer, &values.writer, values, false)];
        let mut constraints = of_writer(&names);
        for (at, (name, ip)) in names.readers.iter().zip(&values.readers).enumerate() {
            addresses.push(address(name, ip, values, true));
            constraints.extend(of_reader(&names, name, tuning));
            let before = names.readers.iter().take(at);
            constraints.extend(before.map(|other| spread(name, other, tuning)));
        }
        let gateway = values
            .gateway
            .as_deref()
            .map(|hosts| gateway::watch(&names, hosts, tuning));
        if gateway.is_some() {
            constraints.extend(gateway::of_primary(&names));
        }
        Self {
            properties: properties(values),
            means: means(values),
            pgsql: Primitive {
                id: names.resource.clone(),
                provider: HEARTBEAT,
                agent: "expgsql",
                params: values.params.clone(),
                meta: Vec::new(),
                operations: operations(tuning, values.lease),
            },
            clone_meta: clone_meta(tuning, values.readers.len()),
            addresses,
            gateway,
            constraints,
            names,
        }
    }
}

fn clone_meta(tuning: &Tuning, readers: usize) -> Meta {
    let readers = u32::try_from(readers).unwrap_or(u32::MAX);
    let mut all = vec![
        needed("promotable", "true"),
        needed("promoted-max", "1"),
        needed("promoted-node-max", "1"),
        needed("clone-node-max", "1"),
        needed("notify", "true"),
    ];
    all.extend(of_failures(tuning));
    // An instance must hold to its node more than the reader's address prefers another, or Pacemaker restarts standbys for the
    // address.
    let least = tuning.reader_score.saturating_mul(readers);
    all.push(Attribute {
        name: "resource-stickiness",
        value: tuning.resource_stickiness.to_string(),
        is_default: tuning.says_nothing_of("resource_stickiness"),
        sound: (readers > 0).then_some(Sound {
            least: least.saturating_add(1),
            most: u32::MAX,
            otherwise: "Pacemaker restarts standbys for the reader's address",
        }),
    });
    all
}

/// What is made of failures.
fn of_failures(tuning: &Tuning) -> [Attribute; 2] {
    let least = u32::try_from(tuning.operation_timeout.as_secs()).unwrap_or(u32::MAX);
    [
        Attribute {
            name: "migration-threshold",
            value: tuning.migration_threshold.to_string(),
            is_default: tuning.says_nothing_of("migration_threshold"),
            sound: Some(Sound {
                least: tuning.migration_threshold,
                most: u32::MAX,
                otherwise: "a node is given up sooner than usual",
            }),
        },
        Attribute {
            name: "failure-timeout",
            value: seconds(tuning.failure_timeout),
            is_default: tuning.says_nothing_of("failure_timeout"),
            sound: Some(Sound {
                least: least.saturating_add(1),
                most: u32::MAX,
                otherwise: "a failure is forgotten while it is being dealt with",
            }),
        },
    ]
}

fn means(values: &Values) -> Means {
    let has_lock = |(name, value): &(&str, String)| {
        // A template has its name in place of the value.
        *name == "enable_distlock" && value != "false" && !value.is_empty()
    };
    Means {
        two_nodes: values.shape == Shape::Dual,
        has_lock: values.params.iter().any(has_lock),
        can_fence: values.stonith_enabled == Some(true),
        has_device: false,
    }
}

fn properties(values: &Values) -> Vec<Property> {
    let policy = || quorum_policy::needed(means(values)).to_string();
    vec![
        // Before the policy, which depends on it.
        Property {
            name: "stonith-enabled",
            value: values.stonith_enabled.unwrap_or(false).to_string(),
            is_default: values.stonith_enabled.is_none(),
        },
        Property {
            name: NO_QUORUM_POLICY,
            value: values.no_quorum_policy.clone().unwrap_or_else(policy),
            is_default: values.no_quorum_policy.is_none(),
        },
    ]
}

pub(super) fn operation(name: &'static str, tuning: &Tuning) -> Operation {
    Operation {
        name,
        interval: Duration::ZERO,
        is_usual_interval: false,
        renews: None,
        timeout: tuning.operation_timeout,
        is_usual_timeout: tuning.says_nothing_of("operation_timeout"),
        on_fail: None,
        is_of_promoted: false,
        level: PLAIN,
    }
}

fn operations(tuning: &Tuning, lease: Option<Duration>) -> Vec<Operation> {
    let once = |name| operation(name, tuning);
    let restarting = |name| Operation {
        on_fail: Some("restart"),
        ..once(name)
    };
    let deep = |it: &DeepMonitor| Operation {
        interval: it.interval,
        is_of_promoted: it.is_of_promoted,
        level: it.level,
        ..restarting("monitor")
    };
    let mut all = vec![
        restarting("start"),
        Operation {
            interval: tuning.monitor_interval,
            is_usual_interval: tuning.says_nothing_of("monitor_interval"),
            ..restarting("monitor")
        },
        Operation {
            interval: tuning.promoted_monitor_interval,
            is_usual_interval: tuning.says_nothing_of("promoted_monitor_interval"),
            renews: lease,
            is_of_promoted: true,
            ..restarting("monitor")
        },
    ];
    all.extend(tuning.deep_monitors.iter().map(deep));
    all.extend([
        restarting("promote"),
        // Not on-fail=stop, which the older templates have: one failed demotion would ban the clone from every node.
        once("demote"),
        // Pacemaker's own default is right: with fencing the node is fenced, and without nothing is done where PostgreSQL can't be
        // stopped, as it may still be writing.
        once("stop"),
        once("notify"),
    ]);
    all
}

fn address(id: &str, ip: &str, values: &Values, is_reader: bool) -> Primitive {
    let tuning = &values.tuning;
    let once = |name| operation(name, tuning);
    let restarting = |name| Operation {
        on_fail: Some("restart"),
        ..once(name)
    };
    // What a reader's address prefers differs by tenths of its score.
    let stickiness = Attribute {
        name: "resource-stickiness",
        value: "1".to_owned(),
        is_default: true,
        sound: is_reader.then_some(Sound {
            least: 0,
            most: (tuning.reader_score / 10).saturating_sub(1),
            otherwise: "the address stays where it is when another standby is preferred",
        }),
    };
    let mut params = vec![("ip", ip.to_owned())];
    params.extend(values.nic.clone().map(|nic| ("nic", nic)));
    params.extend(values.netmask.clone().map(|bits| ("cidr_netmask", bits)));
    Primitive {
        id: id.to_owned(),
        provider: HEARTBEAT,
        agent: "IPaddr2",
        params,
        // On the resource and not as a default of the cluster, which others' resources would have, too.
        meta: of_failures(tuning)
            .into_iter()
            .chain([stickiness])
            .collect(),
        operations: vec![
            restarting("start"),
            Operation {
                interval: tuning.vip_monitor_interval,
                is_usual_interval: tuning.says_nothing_of("vip_monitor_interval"),
                ..restarting("monitor")
            },
            // As for the database.
            once("stop"),
        ],
    }
}

fn order(
    names: &Names,
    address: &str,
    first: &'static str,
    then: &'static str,
    is_mandatory: bool,
) -> Constraint {
    Constraint::Order {
        id: format!("order-{first}-{}-{then}-{address}", names.clone),
        first,
        then,
        address: address.to_owned(),
        is_mandatory,
    }
}

fn with(names: &Names, address: &str, role: Option<Role>) -> Constraint {
    let role_of = role.map_or_else(String::new, |role| format!("{role}-").to_lowercase());
    Constraint::With {
        id: format!("colocation-{address}-with-{role_of}{}", names.clone),
        address: address.to_owned(),
        role,
    }
}

/// With the primary; once it takes writes; and gone only after it has stopped taking them.
fn of_writer(names: &Names) -> Vec<Constraint> {
    vec![
        with(names, &names.writer, Some(Role::Promoted)),
        order(names, &names.writer, "promote", "start", true),
        order(names, &names.writer, "demote", "stop", false),
    ]
}

/// With a standby that gets the primary's WAL, preferably with one that commits wait for; with the primary where there is none; and
/// not before there is a primary.
///
/// All preferences are above 0: what an address that must be with an instance would rather avoid, Pacemaker takes as a reason to keep
/// the instance from that node, or to move it.
fn of_reader(names: &Names, reader: &str, tuning: &Tuning) -> Vec<Constraint> {
    let score = tuning.reader_score;
    let prefers = |value: NodeStatus, score| {
        let status = value.to_string().replace("HS:", "").to_lowercase();
        Constraint::Prefers {
            id: format!("location-{reader}-prefers-{status}"),
            address: reader.to_owned(),
            score,
            attribute: format!("{}-status", names.resource),
            value,
            // What keeps a standby from replaying: what it answers gets older and older.
            without: (value != NodeStatus::Primary).then(|| format!("{}-replay", names.resource)),
        }
    };
    let mut all = vec![
        with(names, reader, None),
        order(names, reader, "promote", "start", true),
        order(names, reader, "stop", "stop", false),
        prefers(NodeStatus::Sync, score),
        prefers(NodeStatus::Quorum, score),
        prefers(NodeStatus::Potential, score * 9 / 10),
        prefers(NodeStatus::Async, score * 9 / 10),
    ];
    all.push(if tuning.reader_on_primary {
        // Above a standby that nobody feeds.
        prefers(NodeStatus::Primary, 2 * apart(score))
    } else {
        // Not with a role of a standby's, in place of this and any role: for such a colocation Pacemaker 2.1.5 counts what an instance
        // prefers a second time, and the address stays where it is.
        Constraint::Apart {
            id: format!("colocation-{reader}-apart-from-promoted-{}", names.clone),
            address: reader.to_owned(),
            role: Role::Promoted,
        }
    });
    all
}

/// A fifth, and not less: a standby that is waited for is preferred by a tenth, and an address holds to its node by 1.
const fn apart(score: u32) -> u32 {
    score.div_ceil(5)
}

/// Two addresses for readers are on two standbys where there are two, whatever commits wait for. The score is above what a standby
/// that is waited for is preferred by; and twice of it is not more than the primary's, where all of three may have to be.
fn spread(address: &str, other: &str, tuning: &Tuning) -> Constraint {
    Constraint::Spread {
        id: format!("colocation-{address}-away-from-{other}"),
        address: address.to_owned(),
        other: other.to_owned(),
        score: apart(tuning.reader_score),
    }
}

/// As Pacemaker reads it.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}
