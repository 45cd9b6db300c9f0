//! The groups of the suite that one platform's broker is measured by.

use crate::error::{Error, Result};

/// Cases that share a broker and a database.
#[derive(Debug)]
pub struct Group {
    /// What the tables call it.
    pub name: &'static str,
    /// Its folder below `TP/NGSI-LD`.
    pub folder: &'static str,
    /// Whether each of its files needs a robot of its own: they set global variables, which one file leaves to the next.
    pub file_by_file: bool,
}

/// All of them, in the order in which they are run. `ContextSource` and `DistributedOperations` are not among them:
/// distributed operations are out of scope.
pub const GROUPS: [Group; 12] = [
    group("CommonBehaviours", "CommonBehaviours"),
    group("Provision-Entities", "ContextInformation/Provision/Entities"),
    group(
        "Provision-BatchEntities",
        "ContextInformation/Provision/BatchEntities",
    ),
    group(
        "Provision-EntityAttributes",
        "ContextInformation/Provision/EntityAttributes",
    ),
    group(
        "Provision-PurgeEntities",
        "ContextInformation/Provision/PurgeEntities",
    ),
    group(
        "Provision-TemporalEntity",
        "ContextInformation/Provision/TemporalEntity",
    ),
    group(
        "Provision-TemporalEntityAttributes",
        "ContextInformation/Provision/TemporalEntityAttributes",
    ),
    group("Consumption-Entity", "ContextInformation/Consumption/Entity"),
    group(
        "Consumption-Discovery",
        "ContextInformation/Consumption/Discovery",
    ),
    group(
        "Consumption-TemporalEntity",
        "ContextInformation/Consumption/TemporalEntity",
    ),
    group("Subscription", "ContextInformation/Subscription"),
    Group {
        file_by_file: true,
        ..group("jsonldContext", "jsonldContext")
    },
];

const fn group(name: &'static str, folder: &'static str) -> Group {
    Group {
        name,
        folder,
        file_by_file: false,
    }
}

/// Those that the user asked for; all where nothing was said.
pub fn chosen(only: &[String]) -> Result<Vec<&'static Group>> {
    let is_meant = |group: &Group, name: &String| {
        let wanted = name.to_ascii_lowercase();
        group.name.to_ascii_lowercase().contains(&wanted)
    };
    if let Some(name) = only
        .iter()
        .find(|name| !GROUPS.iter().any(|group| is_meant(group, name)))
    {
        let all: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
        return Err(Error::NoGroup {
            name: name.clone(),
            all: all.join(", "),
        });
    }
    let is_chosen = |group: &&Group| only.is_empty() || only.iter().any(|name| is_meant(group, name));
    Ok(GROUPS.iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Vec<&'static str> {
        let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
        chosen(&only)
            .unwrap()
            .into_iter()
            .map(|group| group.name)
            .collect()
    }

    #[test]
    fn groups_are_chosen_by_a_part_of_their_name_and_all_where_nothing_is_said() {
        assert_eq!(
            names(&["purge", "DISCOVERY"]),
            ["Provision-PurgeEntities", "Consumption-Discovery"]
        );
        assert_eq!(names(&[]).len(), GROUPS.len());
        let error = chosen(&["purge".to_owned(), "nothing".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"nothing\"") && error.contains("jsonldContext"),
            "{error}"
        );
    }
}
