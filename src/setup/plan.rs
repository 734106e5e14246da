//! What the cluster is to look like: resources, constraints and properties, before anybody has written them down as pcs
//! commands, crmsh lines or XML.

use std::time::Duration;

use crate::decide::quorum_policy::{self, Means};
use crate::model::status::NodeStatus;
use crate::setup::operation::operation;
use crate::setup::parts::{
    Attribute, Constraint, Meta, NO_QUORUM_POLICY, Names, Operation, Primitive, Property, Role,
    Sound, needed,
};

use super::config::{self, DeepMonitor, Shape, Site, Tuning};
use super::gateway;

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
    /// The replication user's password is in a file, and needs to stand nowhere else.
    pub(crate) has_password: bool,
}

/// The values that go into a plan as text: a real site's, or names in braces for a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    pub(crate) resource: String,
    pub(crate) shape: Shape,
    pub(crate) params: Vec<(&'static str, String)>,
    /// Those of them that config.ini does not name, and that need not have this value.
    pub(crate) unsaid: Vec<&'static str>,
    pub(crate) has_password: bool,
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
            unsaid: site.unsaid.clone(),
            has_password: site.passwords.replication.is_some(),
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
                defaults: values.unsaid.clone(),
                meta: Vec::new(),
                operations: operations(tuning, values.lease),
            },
            clone_meta: clone_meta(tuning, values.readers.len()),
            addresses,
            gateway,
            constraints,
            names,
            has_password: values.has_password,
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
        *name == "enable_distlock" && config::boolean(value) == Some(true)
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
        defaults: Vec::new(),
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
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}
