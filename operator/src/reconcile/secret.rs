//! Secrets that are generated once and looked after by name.
//!
//! They are never listed or watched (invariant 7), so they are looked at in passes: when an object has a new generation, when a pass is
//! requested, when a certificate is due, else not more often than once a minute; every ten seconds while the object has not been ready for
//! longer than usual, for a Secret that is missing may be why. Those that open data carry no owner reference: data
//! outlives mistakes, and so does the key to it (invariant 8). A Secret that is not ours is never adopted.

mod keeper;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use mim_crds::EventReason;

use super::certificate::Party;
use super::child::Bond;
use super::event::Note;
use super::kind::Kind;
use super::memory::SecretsInOrder;
use super::pass::Pass;
use super::trouble::Trouble;
use keeper::{Keeper, Kept};

/// A pass looks again after this long: a burst of passes is one look, and every resync looks.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The same while the object is not ready for longer than usual.
const LOOK_AGAIN_UNREADY: Duration = Duration::from_secs(10);

/// A Secret that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its name.
    pub name: String,
    /// Whether it outlives the owner, as what opens data does.
    pub bond: Bond,
    /// Its labels, beside those of the owner.
    pub labels: BTreeMap<String, String>,
    /// What is in it.
    pub content: Content,
}

impl Generated {
    /// A digest of its name and of what it is for.
    fn known_by(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.name, &self.content).hash(&mut hasher);
        hasher.finish()
    }
}

/// What is in a generated Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A password, with the keys of CloudNativePG's app Secret.
    Credentials {
        /// Host name of the server.
        host: String,
        /// Its port.
        port: u16,
        /// Database.
        dbname: String,
        /// Role.
        username: String,
    },
    /// An authority that signs certificates: `ca.crt`, `ca.key`.
    Authority {
        /// Its name, for people.
        common_name: String,
    },
    /// Passwords of other Secrets, in one that is mounted: a program sees a new one without another mount, so without a restart.
    Passwords {
        /// Each Secret of credentials, which comes before this one, and the key of its password here.
        of: Vec<(String, String)>,
        /// What such a key ends with: one that is of none of them is taken out.
        ending: &'static str,
    },
    /// A certificate: `tls.crt`, `tls.key`, and the authority's `ca.crt`.
    Certificate {
        /// Name of the authority's Secret; it comes before this one.
        authority: String,
        /// Whose it is.
        party: Party,
        /// What the certificate is for.
        dns_names: Vec<String>,
    },
}

/// How far the care goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// What is missing is made, what is due is renewed.
    Full,
    /// What is due is renewed, nothing is made: the object is suspended.
    Renew,
}

/// Looks after the Secrets of one object, if it is time to, and tells what it put back.
pub async fn keep_in_order<K: Kind>(pass: &mut Pass<'_, K>, care: Care) -> Result<Vec<Note>, Trouble> {
    let wanted = &pass.object.generated(&pass.owner);
    if wanted.is_empty() || in_order(pass, care) {
        return Ok(Vec::new());
    }
    // What was in order once in this process and no longer is, somebody else has changed. A care that fails is owed until one does not.
    let were_in_order = pass.memory.secrets_in_order.take().map(|order| order.known);
    let mut keeper = Keeper::new(pass, care);
    let mut renew_at = None;
    let mut known = Vec::with_capacity(wanted.len());
    for secret in wanted {
        if let Kept::InOrder { until } = keeper.keep(secret).await? {
            renew_at = [renew_at, until].into_iter().flatten().min();
            known.push(secret.known_by());
        }
    }
    let repaired = keeper.repaired();
    pass.memory.secrets_in_order = Some(SecretsInOrder {
        care,
        generation: pass.generation,
        request: pass.requested(),
        goes: pass.object.data_goes(),
        at: Instant::now(),
        renew_at,
        known,
    });
    // One that a newer spec asks for, or that was not made while the object was suspended, was missing without anybody's doing.
    let by_others = |of: u64| were_in_order.as_ref().is_some_and(|known| known.contains(&of));
    let notes = repaired.into_iter().filter(|(of, _)| by_others(*of));
    Ok(notes
        .map(|(_, what)| Note::warning(EventReason::Repaired, what))
        .collect())
}

fn in_order<K: Kind>(pass: &Pass<'_, K>, care: Care) -> bool {
    let look_again = if pass.waits_long() {
        LOOK_AGAIN_UNREADY
    } else {
        LOOK_AGAIN
    };
    pass.memory.secrets_in_order.as_ref().is_some_and(|order| {
        (order.care == Care::Full || care == Care::Renew)
            && order.generation == pass.generation
            && order.request == pass.requested()
            && order.goes == pass.object.data_goes()
            && order.at.elapsed() < look_again
            && order.renew_at.is_none_or(|at| (pass.cx.now)().as_second() < at)
    })
}
