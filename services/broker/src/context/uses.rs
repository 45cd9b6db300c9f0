//! Which contexts are used, and how often. A use is counted in memory, and many are written at once: no request writes
//! because it uses a context. What a replica has counted and not written when it is killed is lost.

use crate::context::locked;
use crate::store::TenantId;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// How many different contexts may wait to be written. Uses of more are not counted.
const MAX_WAITING: usize = 4096;

/// A context that another one is made of, or that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// One that this broker keeps for the tenant, by its id.
    Own(Arc<str>),
    /// One from elsewhere, by its URL.
    Url(Arc<str>),
}

impl Part {
    /// How many bytes of memory it takes, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        const OF_PART: usize = 64;
        let (Self::Own(text) | Self::Url(text)) = self;
        text.len() + OF_PART
    }
}

/// How often a tenant has used a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Who.
    pub tenant: TenantId,
    /// What.
    pub part: Part,
    /// How often.
    pub hits: i64,
    /// When last.
    pub last: Timestamp,
}

/// Uses that wait to be written.
#[derive(Default)]
pub struct Uses(Mutex<HashMap<(TenantId, Part), (i64, Timestamp)>>);

impl Uses {
    /// Counts one use of each.
    pub fn add(&self, tenant: TenantId, parts: &[Part]) {
        if parts.is_empty() {
            return;
        }
        let now = Timestamp::now();
        let mut waiting = locked(&self.0);
        for part in parts {
            let full = waiting.len() >= MAX_WAITING;
            let key = (tenant, part.clone());
            if let Some((hits, last)) = waiting.get_mut(&key) {
                *hits += 1;
                *last = now;
            } else if !full {
                waiting.insert(key, (1, now));
            }
        }
    }

    /// Takes what waits, in one order everywhere, so that replicas that write at the same time wait for each other and
    /// never in a circle.
    pub fn take(&self) -> Vec<Used> {
        let waiting = std::mem::take(&mut *locked(&self.0));
        let mut used: Vec<Used> = waiting
            .into_iter()
            .map(|((tenant, part), (hits, last))| Used {
                tenant,
                part,
                hits,
                last,
            })
            .collect();
        used.sort_unstable_by(|a, b| (a.tenant.0, &a.part).cmp(&(b.tenant.0, &b.part)));
        used
    }

    /// Puts back what could not be written.
    pub fn give_back(&self, used: Vec<Used>) {
        let mut waiting = locked(&self.0);
        for one in used {
            let full = waiting.len() >= MAX_WAITING;
            let key = (one.tenant, one.part);
            if let Some((hits, last)) = waiting.get_mut(&key) {
                *hits += one.hits;
                *last = one.last.max(*last);
            } else if !full {
                waiting.insert(key, (one.hits, one.last));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(n: usize) -> Part {
        Part::Url(format!("https://c.example/{n}").into())
    }

    #[test]
    fn uses_are_summed_by_tenant_and_context_and_taken_once() {
        let uses = Uses::default();
        let own = Part::Own("id".into());
        uses.add(TenantId(2), &[url(1), own.clone()]);
        uses.add(TenantId(2), &[url(1)]);
        uses.add(TenantId(1), &[url(1)]);
        let told: Vec<_> = uses
            .take()
            .into_iter()
            .map(|u| (u.tenant.0, u.part, u.hits))
            .collect();
        assert_eq!(told, [(1, url(1), 1), (2, own, 1), (2, url(1), 2)]);
        assert!(uses.take().is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_counted_with_the_next() {
        let uses = Uses::default();
        uses.add(TenantId(1), &[url(1)]);
        let failed = uses.take();
        uses.add(TenantId(1), &[url(1)]);
        uses.give_back(failed);
        assert_eq!(uses.take().iter().map(|u| u.hits).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn no_number_of_contexts_takes_all_memory() {
        let uses = Uses::default();
        for n in 0..MAX_WAITING + 10 {
            uses.add(TenantId(1), &[url(n)]);
        }
        uses.add(TenantId(1), &[url(0)]);
        let taken = uses.take();
        assert_eq!(taken.len(), MAX_WAITING);
        assert_eq!(taken.iter().filter(|u| u.hits == 2).count(), 1);
        uses.give_back(taken.clone());
        uses.give_back(taken);
        assert_eq!(uses.take().len(), MAX_WAITING);
    }
}
