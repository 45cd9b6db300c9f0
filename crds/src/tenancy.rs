//! Who makes tenants of a broker.

use serde::{Deserialize, Serialize};

use crate::schema;

/// Who makes tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenantCreation {
    /// The list of tenants, nobody else: a request for another one is answered `NonexistentTenant`.
    #[default]
    Configured,
    /// The first operation that creates something in a tenant, too (ETSI GS CIM 009, clause 5.5.10).
    OnFirstWrite,
}

schema::words!(TenantCreation: "Configured", "OnFirstWrite");
