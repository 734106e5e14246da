//! What the cluster's configuration is made of, as far as setup makes it.

use std::time::Duration;

use crate::model::status::NodeStatus;

/// The PostgreSQL resource. The names are pha4pgsql's: node attributes and habits are built on them.
pub(crate) const RESOURCE: &str = "pgsql";

/// Its promotable clone.
pub(crate) const CLONE: &str = "msPostgresql";

/// The address that follows the primary.
pub(crate) const WRITER: &str = "vip-master";

/// The address that stays with a standby.
pub(crate) const READER: &str = "vip-slave";

/// The most that an address of the readers may count where a gateway is watched. Above it what that address prefers would come into
/// where the primary is.
pub(crate) const MOST_READER_SCORE: u32 = 200;

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
    /// Those of them that nobody asked for: what the operator has set stays.
    pub(crate) defaults: Vec<&'static str>,
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
pub(super) fn needed(name: &'static str, value: &str) -> Attribute {
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
