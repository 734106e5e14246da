//! What tells Pacemaker to keep the resources stopped, and what it said before.

use crate::setup::parts::Names;
use crate::setup::tree::Tree;

use super::primitive::{current, set, unset};

const META: &str = "meta_attributes";
const TARGET: &str = "target-role";

/// The resources that are told: the clone and what is in it, and the addresses.
fn ids(names: &Names) -> impl Iterator<Item = &String> {
    [&names.clone, &names.resource]
        .into_iter()
        .chain(names.addresses())
}

fn role<'a>(configuration: &'a Tree, id: &str) -> Option<&'a str> {
    let resources = configuration.child("resources")?;
    current(resources.find(&|e| e.id() == id)?, META, TARGET)
}

fn is_stopped(role: Option<&str>) -> bool {
    role.is_some_and(|role| role.eq_ignore_ascii_case("stopped"))
}

fn put(configuration: &mut Tree, id: &str, role: Option<&str>) {
    let resources = configuration.child_mut("resources");
    let Some(resource) = resources.find_mut(&|e| e.id() == id) else {
        return;
    };
    match role {
        Some(role) => set(resource, META, TARGET, role),
        None => {
            unset(resource, META, TARGET);
        }
    }
}

/// Takes back what told Pacemaker to keep the resources stopped for a change; `before`: as it was then. Where the database was stopped before, by
/// an operator or by a call that was killed, it is started; an address that an operator stopped beside a database that ran stays so.
pub(super) fn start(configuration: &mut Tree, names: &Names, before: &Tree) {
    let was_stopped = [&names.clone, &names.resource]
        .iter()
        .any(|id| is_stopped(role(before, id)));
    for id in ids(names) {
        if !is_stopped(role(configuration, id)) {
            continue;
        }
        let was = role(before, id);
        if is_stopped(was) && !was_stopped {
            continue;
        }
        let was = was.filter(|role| !is_stopped(Some(role)));
        put(configuration, id, was);
    }
}

/// Everything is told what it was told before.
pub(super) fn give_back(configuration: &mut Tree, names: &Names, before: &Tree) {
    for id in ids(names) {
        let was = role(before, id);
        if role(configuration, id) != was {
            put(configuration, id, was);
        }
    }
}

/// The same by hand.
pub(super) fn by_hand(names: &Names, before: &Tree) -> String {
    let told = std::iter::once(&names.clone).chain(names.addresses());
    let resources = before.child("resources");
    let is_there = |id: &&String| resources.is_some_and(|all| all.all().any(|e| e.id() == *id));
    let was_stopped = is_stopped(role(before, &names.clone));
    let commands: Vec<String> = told
        .filter(is_there)
        .map(|id| {
            let was = role(before, id).filter(|role| !was_stopped || !is_stopped(Some(role)));
            let what = match was {
                Some(role) => format!("--set-parameter=target-role --parameter-value={role}"),
                None => "--delete-parameter=target-role".to_owned(),
            };
            format!("crm_resource --resource={id} --meta {what}")
        })
        .collect();
    let commands = commands.join("; ");
    if was_stopped {
        return format!("it was told to stop before this call already; what starts it: {commands}");
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The roles of the clone, of what is in it, and of the address, where they have one.
    fn site(roles: [&str; 3]) -> Tree {
        let meta = |id: &str, role: &str| {
            if role.is_empty() {
                return String::new();
            }
            format!(
                "<meta_attributes id='{id}-m'><nvpair id='{id}-t' name='target-role' value='{role}'/></meta_attributes>"
            )
        };
        let [clone, inner, address] = roles;
        Tree::parse(&format!(
            "<configuration><resources><clone id='msPostgresql'>{}<primitive id='pgsql'>{}</primitive></clone>\
             <primitive id='vip-master'>{}</primitive></resources></configuration>",
            meta("msPostgresql", clone),
            meta("pgsql", inner),
            meta("vip-master", address)
        ))
        .unwrap()
    }

    fn roles(tree: &Tree) -> [&str; 3] {
        ["msPostgresql", "pgsql", "vip-master"].map(|id| role(tree, id).unwrap_or_default())
    }

    #[test]
    fn what_was_stopped_for_a_change_is_started_after_it_or_as_it_was() {
        const S: &str = "Stopped";
        let names = Names::default();
        for (before, stopped, started) in [
            // (before the stop, after it, after the change)
            (["", "", ""], [S, "", S], ["", "", ""]),
            (["", "", S], [S, "", S], ["", "", S]),
            (["Started", "", ""], [S, "", S], ["Started", "", ""]),
            (["Slave", "", ""], [S, "", S], ["Slave", "", ""]),
            // As crm_resource does where what is in the clone has one.
            (["", "Started", ""], ["", S, S], ["", "Started", ""]),
            // By an operator, or by a call that was killed.
            ([S, "", ""], [S, "", S], ["", "", ""]),
            ([S, "", S], [S, "", S], ["", "", ""]),
            (["", S, S], [S, S, S], ["", "", ""]),
        ] {
            let (before, mut tree) = (site(before), site(stopped));
            start(&mut tree, &names, &before);
            assert_eq!(roles(&tree), started, "{:?}", roles(&before));
            let mut tree = site(stopped);
            give_back(&mut tree, &names, &before);
            assert_eq!(roles(&tree), roles(&before));
        }
    }

    #[test]
    fn the_way_back_is_a_command_line() {
        let text = by_hand(&Names::default(), &site(["", "", "Started"]));
        assert_eq!(
            text,
            "crm_resource --resource=msPostgresql --meta --delete-parameter=target-role; \
             crm_resource --resource=vip-master --meta --set-parameter=target-role --parameter-value=Started"
        );
        let text = by_hand(&Names::default(), &site(["Stopped", "", "Stopped"]));
        assert_eq!(
            text,
            "it was told to stop before this call already; what starts it: \
             crm_resource --resource=msPostgresql --meta --delete-parameter=target-role; \
             crm_resource --resource=vip-master --meta --delete-parameter=target-role"
        );
    }
}
