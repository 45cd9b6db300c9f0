//! Secrets of a managed database: made once and read by name; their values are nobody's plan.

use super::DATABASE;
use crate::kinds::context_broker::plan::DATABASE_PORT;
use crate::reconcile::child::Owner;
use crate::reconcile::secret::{Content, Generated};

/// Database of the broker.
const DBNAME: &str = "mim";
/// Role of the broker.
const USERNAME: &str = "broker";

/// The Secrets: credentials of the broker's role, the authority that signs, and the server's certificate.
#[must_use]
pub fn generated(owner: &Owner, part_of: &str) -> Vec<Generated> {
    let database = owner.child(DATABASE.label);
    let host = format!("{database}.{}.svc", owner.namespace);
    let authority = format!("{database}-ca");
    let secret = |name: &str, content| Generated {
        name: name.to_owned(),
        labels: DATABASE.labels_of(owner, part_of),
        content,
    };
    vec![
        secret(
            &database,
            Content::Credentials {
                host: host.clone(),
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
        secret(
            &format!("{database}-tls"),
            Content::Certificate {
                authority: authority.clone(),
                dns_names: vec![
                    database.clone(),
                    format!("{database}.{}", owner.namespace),
                    host.clone(),
                    format!("{host}.cluster.local"),
                ],
            },
        ),
    ]
}
