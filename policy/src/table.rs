//! Rules, checked and ready to be asked: for one request the rules that speak of who asks, for one tenant.

use crate::bits::Bits;
use crate::compile::{self, Line, Refusal};
use crate::grant::Grant;
use crate::narrow::{Purpose, TooLarge};
use crate::rule::{Effect, Holder, Operation, Rule};
use crate::subject::{Identity, Subject};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A table of rules. It never changes: with other rules there is another one.
#[derive(Debug)]
pub struct Table {
    lines: Box<[Line]>,
    /// Tells tables of other rules apart.
    stamp: u64,
    /// For each operation, the rules that speak of it.
    operations: [Bits; 7],
    holders: Holders,
    /// The rules that name no tenant, and for each tenant that is named those and its own.
    any_tenant: Bits,
    tenants: HashMap<Box<str>, Bits>,
}

/// The rules that speak of somebody in a tenant. There are few distinct ones and very many tokens: it is a key under which
/// permission sets can be kept ([`Table::narrow`] depends on it and on the purpose alone).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleSet {
    stamp: u64,
    rules: Bits,
}

impl RuleSet {
    /// Whether no rule speaks of who asks, so that nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn has(&self, at: usize) -> bool {
        self.rules.has(at)
    }
}

/// For each holder the rules that speak of it.
#[derive(Debug, Default)]
struct Holders {
    roles: HashMap<Box<str>, Bits>,
    groups: HashMap<Box<str>, Bits>,
    clients: HashMap<Box<str>, Bits>,
    claims: HashMap<Box<str>, HashMap<Box<str>, Bits>>,
    anonymous: Bits,
    authenticated: Bits,
}

impl Table {
    /// Checks rules and makes them ready. All faults are told, in the order of the rules. Rules that pass are such that
    /// each of them alone fits into a permission set, and the broker reads what comes of them.
    pub fn compile(rules: &[Rule]) -> Result<Self, Vec<Refusal>> {
        let lines = compile::lines(rules)?;
        let table = Self::of(lines, stamp(rules));
        let too_large = |at: usize| {
            let fault = Purpose::ALL
                .into_iter()
                .find_map(|purpose| table.fits_alone(at, purpose).err());
            fault.map(|fault| Refusal {
                rule: table.name(at).to_owned(),
                path: format!("rules[{at}].on"),
                why: format!(
                    "what it names must travel with every request: {fault}; name less, or fewer operations"
                ),
            })
        };
        let refusals: Vec<Refusal> = (0..table.lines.len()).filter_map(too_large).collect();
        if refusals.is_empty() {
            Ok(table)
        } else {
            Err(refusals)
        }
    }

    fn of(lines: Vec<Line>, stamp: u64) -> Self {
        let count = lines.len();
        let mut table = Self {
            stamp,
            operations: std::array::from_fn(|_| Bits::none(count)),
            holders: Holders::none(count),
            any_tenant: Bits::none(count),
            tenants: HashMap::new(),
            lines: lines.into(),
        };
        for (at, line) in table.lines.iter().enumerate() {
            for (operation, rules) in OPERATIONS.into_iter().zip(&mut table.operations) {
                if line.operations.has(operation) {
                    rules.add(at);
                }
            }
            for holder in &line.holders {
                table.holders.of_mut(holder, count).add(at);
            }
            if line.tenants.is_none() {
                table.any_tenant.add(at);
            }
            for name in line.tenants.iter().flatten() {
                let rules = table.tenants.entry(name.clone());
                rules.or_insert_with(|| Bits::none(count)).add(at);
            }
        }
        for rules in table.tenants.values_mut() {
            rules.add_all(&table.any_tenant);
        }
        table
    }

    /// The rules that speak of who asks, in a tenant; the default tenant's name is empty. Takes time in proportion to what
    /// is known of who asks.
    #[must_use]
    pub fn matching(&self, subject: &Subject, tenant: &str) -> RuleSet {
        let mut rules = self.holders.matching(subject, self.lines.len());
        rules.keep(self.tenants.get(tenant).unwrap_or(&self.any_tenant));
        self.set(rules)
    }

    pub(crate) fn set(&self, rules: Bits) -> RuleSet {
        RuleSet {
            stamp: self.stamp,
            rules,
        }
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The tenants that rules name.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(|name| &**name)
    }

    /// The name of a rule; empty where there is none.
    pub(crate) fn name(&self, at: usize) -> &str {
        self.lines.get(at).map_or("", |line| &line.name)
    }

    /// Whether it may see and change what belongs to others or to nobody.
    pub(crate) fn is_administrator(&self, rules: &RuleSet) -> bool {
        let has = |effect| self.grants(rules, Operation::Admin, effect).next().is_some();
        has(Effect::Allow) && !has(Effect::Deny)
    }

    /// The grants of rules of an operation.
    pub(crate) fn grants<'t, 'r>(
        &'t self,
        rules: &'r RuleSet,
        operation: Operation,
        effect: Effect,
    ) -> impl Iterator<Item = (usize, &'t Grant)> + use<'t, 'r> {
        let of_operation = self.operations.get(operation as usize);
        let of_operation = of_operation.filter(|_| rules.stamp == self.stamp);
        let at = of_operation.into_iter().flat_map(|all| all.both(&rules.rules));
        at.filter_map(move |at| {
            let line = self.lines.get(at)?;
            (line.effect == effect).then_some((at, &line.grant))
        })
    }

    /// Whether a rule alone fits into a permission set, whatever its effect.
    fn fits_alone(&self, at: usize, purpose: Purpose) -> Result<(), TooLarge> {
        let mut alone = Bits::none(self.lines.len());
        alone.add(at);
        self.fits(&self.set(alone), purpose)
    }
}

/// All operations, in order.
const OPERATIONS: [Operation; 7] = [
    Operation::Read,
    Operation::Create,
    Operation::Update,
    Operation::Delete,
    Operation::Subscribe,
    Operation::Temporal,
    Operation::Admin,
];

/// Tables of the same rules have the same stamp.
fn stamp(rules: &[Rule]) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(rules).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

impl Holders {
    fn none(count: usize) -> Self {
        Self {
            anonymous: Bits::none(count),
            authenticated: Bits::none(count),
            ..Self::default()
        }
    }

    fn of_mut(&mut self, holder: &Holder, count: usize) -> &mut Bits {
        let (map, text) = match holder {
            Holder::Anonymous => return &mut self.anonymous,
            Holder::Authenticated => return &mut self.authenticated,
            Holder::Role(role) => (&mut self.roles, role),
            Holder::Group(group) => (&mut self.groups, group),
            Holder::Client(client) => (&mut self.clients, client),
            Holder::Claim(claim) => (
                self.claims.entry(claim.name.as_str().into()).or_default(),
                &claim.value,
            ),
        };
        map.entry(text.as_str().into())
            .or_insert_with(|| Bits::none(count))
    }

    fn matching(&self, subject: &Subject, count: usize) -> Bits {
        let identity = match subject {
            Subject::Anonymous => return self.anonymous.clone(),
            Subject::Known(identity) => identity,
        };
        let mut rules = Bits::none(count);
        rules.add_all(&self.authenticated);
        for more in self.of_identity(identity) {
            rules.add_all(more);
        }
        rules
    }

    fn of_identity<'h>(&'h self, identity: &'h Identity) -> impl Iterator<Item = &'h Bits> {
        let roles = identity
            .roles
            .iter()
            .filter_map(|role| self.roles.get(role.as_str()));
        let groups = identity
            .groups
            .iter()
            .filter_map(|group| self.groups.get(group.as_str()));
        let client = identity
            .client
            .iter()
            .filter_map(|client| self.clients.get(client.as_str()));
        let claims = self.claims.iter().flat_map(|(name, values)| {
            let has = identity.claims.get(&**name).into_iter().flatten();
            has.filter_map(|value| values.get(value.as_str()))
        });
        roles.chain(groups).chain(client).chain(claims)
    }
}
