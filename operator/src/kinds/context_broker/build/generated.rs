//! Secrets that are made once and read by name; their values are nobody's plan.

use std::iter::once;

use super::{BROKER, Component, DATABASE, client_name, host};
use crate::kinds::context_broker::plan::{ADMINISTRATOR, DATABASE_PORT, GATEWAY, READER};
use crate::reconcile::certificate::Party;
use crate::reconcile::child::{Bond, Owner};
use crate::reconcile::secret::{Content, Generated};

/// Database of the broker.
const DBNAME: &str = "mim";
/// Role of the broker.
const USERNAME: &str = "broker";

/// The Secrets of a broker of ours, and of its database and those who read these tenants in it, where that is ours.
#[must_use]
pub fn generated(owner: &Owner, part_of: &str, tenants: Option<&[String]>) -> Vec<Generated> {
    let mut secrets = tenants.map_or_else(Vec::new, |_| database(owner, part_of));
    secrets.extend(broker(owner, part_of));
    secrets.extend(
        tenants
            .into_iter()
            .flat_map(|tenants| readers(owner, part_of, tenants)),
    );
    secrets
}

/// Credentials of the broker's role, the authority that signs, and the server's certificate. They open the data, and stay with it.
fn database(owner: &Owner, part_of: &str) -> Vec<Generated> {
    let database = owner.child(DATABASE.label);
    let authority = format!("{database}-ca");
    let secret = secret_of(DATABASE, Bond::Kept, owner, part_of);
    vec![
        secret(
            &database,
            Content::Credentials {
                host: host(owner, &database),
                port: DATABASE_PORT,
                dbname: DBNAME.to_owned(),
                username: USERNAME.to_owned(),
            },
        ),
        secret(
            &authority,
            Content::Authority {
                common_name: authority.clone(),
            },
        ),
        secret(&format!("{database}-tls"), server(owner, &database, &authority)),
    ]
}

/// The authority of the doors for the gateway and for administrators, the broker's certificate, and one for each who comes in there. The
/// broker tells the two by their names.
fn broker(owner: &Owner, part_of: &str) -> Vec<Generated> {
    let broker = owner.child(BROKER.label);
    let authority = format!("{broker}-ca");
    let secret = secret_of(BROKER, Bond::Owned, owner, part_of);
    let client = |component: &str| Content::Certificate {
        authority: authority.clone(),
        party: Party::Client,
        dns_names: vec![client_name(owner, component)],
    };
    vec![
        secret(
            &authority,
            Content::Authority {
                common_name: authority.clone(),
            },
        ),
        secret(&format!("{broker}-tls"), server(owner, &broker, &authority)),
        secret(&format!("{broker}-{GATEWAY}"), client(GATEWAY)),
        secret(&format!("{broker}-{ADMINISTRATOR}"), client(ADMINISTRATOR)),
    ]
}

/// Credentials of the role that reads each tenant, the default one among them, and their passwords for the broker, which makes the roles. They open
/// nothing once the broker is gone.
fn readers(owner: &Owner, part_of: &str, tenants: &[String]) -> Vec<Generated> {
    let secret = secret_of(BROKER, Bond::Owned, owner, part_of);
    let tenants = || once("").chain(tenants.iter().map(String::as_str));
    let reader = |tenant: &str| {
        let content = Content::Credentials {
            host: host(owner, &owner.child(DATABASE.label)),
            port: DATABASE_PORT,
            dbname: DBNAME.to_owned(),
            username: mim_contract::role(DBNAME, tenant),
        };
        secret(&reader_name(owner, tenant), content)
    };
    let password = |tenant: &str| {
        let file = mim_contract::file(&mim_contract::schema(tenant));
        (reader_name(owner, tenant), file)
    };
    let passwords = Content::Passwords {
        of: tenants().map(password).collect(),
        ending: mim_contract::PASSWORD,
    };
    let mut secrets: Vec<_> = tenants().map(reader).collect();
    secrets.push(secret(&passwords_name(owner), passwords));
    secrets
}

/// Makes Secrets of one program, which outlive the owner or go with it.
fn secret_of(
    program: Component,
    bond: Bond,
    owner: &Owner,
    part_of: &str,
) -> impl Fn(&str, Content) -> Generated {
    let labels = program.labels_of(owner, part_of);
    move |name, content| Generated {
        name: name.to_owned(),
        bond,
        labels: labels.clone(),
        content,
    }
}

/// Name of the Secret with the passwords of all readers, for the broker.
pub(super) fn passwords_name(owner: &Owner) -> String {
    format!("{}-{READER}s", owner.child(BROKER.label))
}

/// Name of the Secret of a tenant's reader. After a dot, as no name of a ContextBroker has one. Names of Secrets have no `_` and do not end with `-`:
/// it is `-` there, and how many there are at the end stands after another dot.
fn reader_name(owner: &Owner, tenant: &str) -> String {
    let reader = owner.child(READER);
    let begin = tenant.trim_end_matches('_');
    let name = begin.replace('_', "-");
    match (tenant, tenant.len() - begin.len()) {
        ("", _) => reader,
        (_, 0) => format!("{reader}.{name}"),
        (_, at_end) => format!("{reader}.{name}.{at_end}"),
    }
}

/// A certificate for all names of a Service.
fn server(owner: &Owner, service: &str, authority: &str) -> Content {
    let host = host(owner, service);
    Content::Certificate {
        authority: authority.to_owned(),
        party: Party::Server,
        dns_names: vec![
            service.to_owned(),
            format!("{service}.{}", owner.namespace),
            host.clone(),
            format!("{host}.cluster.local"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixtures::minimal;
    use super::*;

    #[test]
    fn each_tenant_has_a_secret_whose_name_is_one_and_no_other_s() {
        let owner = minimal().owner;
        let expected = [
            ("", "vienna-reader"),
            ("north", "vienna-reader.north"),
            ("north_bank", "vienna-reader.north-bank"),
            ("north_", "vienna-reader.north.1"),
            ("north__bank__", "vienna-reader.north--bank.2"),
        ];
        for (tenant, name) in expected {
            assert_eq!(reader_name(&owner, tenant), name);
        }
        let tenants = ["a", "a_", "a_1", "a__1", "a__", "a_b", "ab"];
        let names: BTreeSet<_> = tenants.iter().map(|tenant| reader_name(&owner, tenant)).collect();
        assert_eq!(names.len(), tenants.len());
    }
}
