//! mim-policy.

use crate::Engine;
use crate::workload::Request;
use mim_policy::{Act, Facts, Identity, Known, Purpose, Rule, Subject, Table, Verdict};
use serde_json::Value;

pub struct Ours(Table);

impl Ours {
    pub fn new(rules: &[Value]) -> Self {
        let rules: Vec<Rule> = rules
            .iter()
            .map(|rule| serde_json::from_value(rule.clone()).unwrap())
            .collect();
        Self(Table::compile(&rules).unwrap())
    }
}

fn subject(request: &Request) -> Subject {
    Subject::Known(Identity {
        roles: request.roles.iter().cloned().collect(),
        ..Identity::default()
    })
}

impl Engine for Ours {
    fn decide(&mut self, request: &Request) -> bool {
        let rules = self.0.matching(&subject(request), "");
        let act = if request.operation == "Read" {
            Act::Read
        } else {
            Act::Update
        };
        let types: Vec<&str> = request.types.iter().map(String::as_str).collect();
        let scopes: Vec<&str> = request.scopes.iter().map(String::as_str).collect();
        let facts = Facts {
            types: Known::Exactly(&types),
            id: Some(&request.id),
            scopes: Known::Exactly(&scopes),
            attributes: &[&request.attribute],
            ..Facts::default()
        };
        self.0.decide(&rules, act, &facts).verdict == Verdict::Allowed
    }

    fn narrow(&mut self, request: &Request) -> usize {
        let rules = self.0.matching(&subject(request), "");
        let set = self.0.narrow(&rules, Purpose::Entities).unwrap();
        set.to_header("urn:somebody").unwrap().len()
    }

    fn what_narrowing_gives(&self) -> &'static str {
        "the header that the broker obeys, merged and within its limits; all operations of a purpose at once"
    }
}
