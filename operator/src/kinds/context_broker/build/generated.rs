//! Secrets that are made once and read by name; their values are nobody's plan.

use super::{BROKER, DATABASE, client_name};
use crate::kinds::context_broker::plan::{ADMINISTRATOR, DATABASE_PORT, GATEWAY};
use crate::reconcile::certificate::Party;
use crate::reconcile::child::{Bond, Owner};
use crate::reconcile::secret::{Content, Generated};

/// Database of the broker.
const DBNAME: &str = "mim";
/// Role of the broker.
const USERNAME: &str = "broker";

/// The Secrets of a broker of ours, and of its database where that is ours.
#[must_use]
pub fn generated(owner: &Owner, part_of: &str, is_managed: bool) -> Vec<Generated> {
    let mut secrets = if is_managed {
        database(owner, part_of)
    } else {
        Vec::new()
    };
    secrets.extend(broker(owner, part_of));
    secrets
}

/// Credentials of the broker's role, the authority that signs, and the server's certificate. They open the data, and stay with it.
fn database(owner: &Owner, part_of: &str) -> Vec<Generated> {
    let database = owner.child(DATABASE.label);
    let authority = format!("{database}-ca");
    let secret = |name: &str, content| Generated {
        name: name.to_owned(),
        bond: Bond::Kept,
        labels: DATABASE.labels_of(owner, part_of),
        content,
    };
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
    let secret = |name: &str, content| Generated {
        name: name.to_owned(),
        bond: Bond::Owned,
        labels: BROKER.labels_of(owner, part_of),
        content,
    };
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

/// A Service's host, as it is reached from any namespace.
fn host(owner: &Owner, service: &str) -> String {
    format!("{service}.{}.svc", owner.namespace)
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
