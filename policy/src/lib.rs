//! Access rules of a city: what they decide, and what the broker is told of them. Pure: no clock, no network, no file.
//!
//! A SecurityPolicy has rules: *who* (roles, groups, clients, claims, anybody) may do *what* (read, create, …) to *which*
//! entities (tenants, types, ids, attributes, scopes, an area). What no rule allows is denied, and a rule that denies beats
//! all that allow. The operator checks the rules and tells what is odd about them; the gateway asks of each request two
//! things of the same [`Table`]:
//!
//! * **May this be done?** [`Table::decide`] says allowed, denied, or that it depends on what only the database knows.
//! * **How much of the world does the broker show?** [`Table::narrow`] makes the permission set that the broker adds to
//!   every statement, so that a list, a count or a notification has only what the subject may see.
//!
//! ```
//! use mim_policy::{Act, Facts, Identity, Known, Purpose, Rule, Subject, Table, Verdict};
//!
//! let rules: Vec<Rule> = serde_json::from_str(r#"[
//!     {"name": "all-see-air", "subjects": ["Anonymous", "Authenticated"], "operations": ["Read"],
//!      "on": {"types": ["urn:model:AirQuality"], "attributes": ["urn:model:no2"]}},
//!     {"name": "gardeners", "subjects": [{"role": "gardener"}], "operations": ["Read", "Update"],
//!      "on": {"types": ["urn:model:Tree"], "scopes": ["/city/north/#"]}}
//! ]"#)?;
//! let table = Table::compile(&rules).map_err(|faults| faults[0].clone())?;
//!
//! // Once for each token and tenant; the set of rules is a key for what is kept of it.
//! let gardener = Identity { roles: ["gardener".to_owned()].into(), ..Identity::default() };
//! let matching = table.matching(&Subject::Known(gardener), "");
//!
//! let facts = Facts { types: Known::Exactly(&["urn:model:Tree"]), ..Facts::default() };
//! let decision = table.decide(&matching, Act::Update, &facts);
//! assert_eq!((decision.verdict, decision.rule), (Verdict::Depends, Some("gardeners"))); // on its scopes
//!
//! let set = table.narrow(&matching, Purpose::Entities)?;
//! let header = set.to_header("urn:keycloak:city:7f3a")?; // Mim-Permissions
//! # assert!(header.len() < 1000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The steps: [`rule`] (as written) → [`compile`] (checked) → [`table`] (which rules speak of [`subject`]) → [`decide`] (from
//! [`facts`]) and [`narrow`]; [`lint`] and [`explain`] are for people. `lists` reads both from the
//! same rules; `grant` is some entities and attributes, `merge` makes fewer of them, `answer` is the logic of what is not known.
//!
//! Why no engine for policies: `docs/decisions/0021-policy-engine.md`.

mod answer;
pub mod area;
mod bits;
pub mod compile;
pub mod decide;
pub mod explain;
pub mod facts;
mod grant;
pub mod lint;
mod lists;
mod merge;
pub mod narrow;
pub mod rule;
pub mod subject;
pub mod table;

pub use area::Place;
pub use compile::Refusal;
pub use decide::{Act, Decision, Verdict};
pub use explain::{Applies, Explanation, Reason};
pub use facts::{Extent, Facts, Known, Location};
pub use lint::{Oddity, Warning};
pub use narrow::{HEADER, NoSubject, PermissionSet, Purpose, TooLarge};
pub use rule::{Claim, DEFAULT_TENANT, Effect, Holder, On, Operation, Rule};
pub use subject::{Identity, Subject};
pub use table::{RuleSet, Table};

use mim_grammar::{Refusal as Refused, refuse};
