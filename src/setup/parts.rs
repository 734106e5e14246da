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
}

/// One action of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) on_fail: Option<&'static str>,
    pub(crate) is_of_promoted: bool,
}

/// Meta attributes.
pub(crate) type Meta = Vec<(&'static str, String)>;

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
}

impl Names {
    /// What the readers' addresses are called, the first as it always was.
    pub(crate) fn usual_readers() -> impl Iterator<Item = String> {
        let first = std::iter::once(READER.to_owned());
        first.chain((2..).map(|number| format!("{READER}-{number}")))
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
        let [resource, clone, writer] = [RESOURCE, CLONE, WRITER].map(str::to_owned);
        Self {
            resource,
            clone,
            writer,
            readers: Vec::new(),
            retired: Vec::new(),
        }
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

pub(super) fn operation(name: &'static str, timeout: Duration) -> Operation {
    Operation {
        name,
        interval: Duration::ZERO,
        timeout,
        on_fail: None,
        is_of_promoted: false,
    }
}
