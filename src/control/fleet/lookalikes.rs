//! Ids and names that are easily confused: they differ only in case, or in blanks around them. All of them are legal,
//! so nothing is refused; the answer, the page and `doctor` warn of them.

use crate::control::Control;
use crate::error::{Chain, Result};
use crate::model::ids::{NodeId, ServiceId};
use crate::store::{Read, nodes, services};
use std::collections::BTreeMap;

/// An object's id and name.
pub type Named = (String, String);

/// Warnings about objects that the node with this id and name can be confused with, each a sentence.
pub fn of_node(control: &Control, id: &NodeId, name: &str) -> Vec<String> {
    // SQL folds only ASCII letters.
    let alike = |r: &Read| {
        if name.is_ascii() { alike_nodes(r, id, &folded(id.as_str()), &folded(name)) } else { nodes_named(r) }
    };
    sentences("node", id.as_str(), name, &others(control, alike))
}

fn alike_nodes(read: &Read, id: &NodeId, folded_id: &str, folded_name: &str) -> Result<Vec<Named>> {
    let found = nodes::alike(read, id, folded_id, folded_name)?;
    Ok(found.into_iter().map(|(id, name)| (id.to_string(), name)).collect())
}

/// The same for a service.
pub fn of_service(control: &Control, id: &ServiceId, name: &str) -> Vec<String> {
    sentences("service", id.as_str(), name, &others(control, services_named))
}

/// All of them; empty if they cannot be read now. Warnings accompany the answer to an action that is done: a join whose
/// answer is lost has used its token up.
fn others(control: &Control, named: impl FnOnce(&Read) -> Result<Vec<Named>>) -> Vec<Named> {
    control.store.read(named).unwrap_or_else(|e| {
        log::warn!(target: "store", event = "names.unread", error:% = Chain(&e); "Could not compare a name with \
            existing ones");
        Vec::new()
    })
}

/// Every node and every service that can be confused with another of its kind, in groups that look alike.
pub fn all(read: &Read) -> Result<Vec<String>> {
    Ok([groups("nodes", &nodes_named(read)?), groups("services", &services_named(read)?)].concat())
}

fn nodes_named(read: &Read) -> Result<Vec<Named>> {
    let mut all: Vec<Named> = nodes::names(read)?.into_iter().map(|(id, name, _)| (id.to_string(), name)).collect();
    all.sort();
    Ok(all)
}

fn services_named(read: &Read) -> Result<Vec<Named>> {
    Ok(services::ids_and_names(read)?.into_iter().map(|(id, name)| (id.to_string(), name)).collect())
}

/// A text as a careless reader sees it.
fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

fn sentences(what: &str, id: &str, name: &str, all: &[Named]) -> Vec<String> {
    let (own_id, own_name) = (folded(id), folded(name));
    let mut found = Vec::new();
    for (other, other_name) in all.iter().filter(|(other, _)| other != id) {
        if folded(other) == own_id {
            found.push(format!("The id {id:?} differs only in case from {other:?}, another {what}'s."));
        }
        if folded(other_name) == own_name {
            found.push(format!(
                "The name {name:?} differs only in case or blanks from {other_name:?}, that of the {what} {other}."
            ));
        }
    }
    if name.trim() != name {
        found.push(format!("The name {name:?} has leading or trailing blanks, which are kept."));
    }
    found
}

fn groups(what: &str, all: &[Named]) -> Vec<String> {
    let mut alike: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
    for (id, name) in all {
        alike.entry((true, folded(id))).or_default().push(format!("{id:?}"));
        alike.entry((false, folded(name))).or_default().push(format!("{name:?}"));
    }
    let group = |((is_id, _), group): ((bool, String), Vec<String>)| {
        let which = if is_id { "ids" } else { "names" };
        (group.len() > 1).then(|| format!("the {which} {} of {what}", group.join(" and ")))
    };
    alike.into_iter().filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookalikes_are_reported_and_nothing_else() {
        let all: Vec<Named> =
            [("pi", "pi"), ("Pi", "Pi"), ("b", "\u{c9}cole "), ("c", "\u{e9}cole"), ("d", "pie"), ("e", "p i")]
                .map(|(id, name)| (id.to_string(), name.to_string()))
                .to_vec();
        assert_eq!(sentences("node", "PI", "x", &all).len(), 2, "an id like two others");
        assert_eq!(sentences("node", "pi", "pi", &all).len(), 2, "one other, by id and by name");
        assert_eq!(sentences("node", "b", "\u{c9}cole ", &all).len(), 2, "like another, and with a blank");
        assert_eq!(sentences("node", "f", "p  i", &all), [""; 0]);
        let found = groups("nodes", &all);
        assert_eq!(
            found,
            [
                "the names \"pi\" and \"Pi\" of nodes",
                "the names \"\u{c9}cole \" and \"\u{e9}cole\" of nodes",
                "the ids \"pi\" and \"Pi\" of nodes"
            ]
        );
    }
}
