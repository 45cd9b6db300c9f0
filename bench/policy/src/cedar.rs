//! Cedar: a policy for each rule. Narrowing by type-aware partial evaluation: what is left of the policies where nothing of
//! the entity is known.

use crate::Engine;
use crate::workload::Request;
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PartialEntities,
    PartialEntityUid, PartialRequest, PolicySet, RestrictedExpression, Schema,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::str::FromStr as _;

const SCHEMA: &str = r#"
    entity Role;
    entity Person in [Role];
    entity Thing = {id: String, types: Set<String>, scopes: Set<String>};
    action Read, Update appliesTo {principal: [Person], resource: [Thing], context: {attribute: String}};
"#;

pub struct Cedar {
    policies: PolicySet,
    schema: Schema,
    authorizer: Authorizer,
}

impl Cedar {
    pub fn new(rules: &[Value]) -> Self {
        let text: String = rules.iter().map(policy).collect();
        Self {
            policies: PolicySet::from_str(&text).unwrap(),
            schema: Schema::from_str(SCHEMA).unwrap(),
            authorizer: Authorizer::new(),
        }
    }
}

/// A rule in Cedar's language.
fn policy(rule: &Value) -> String {
    let on = &rule["on"];
    let effect = if rule["effect"] == "Deny" {
        "forbid"
    } else {
        "permit"
    };
    let actions: Vec<String> = texts(&rule["operations"])
        .map(|name| format!("Action::{name:?}"))
        .collect();
    let mut text = format!(
        "@id({}) {effect} (principal in Role::{}, action in [{}], resource) when {{ true",
        rule["name"],
        rule["subjects"][0]["role"],
        actions.join(", ")
    );
    if !on["types"].is_null() {
        write!(text, " && resource.types.containsAny({})", on["types"]).unwrap();
    }
    for pattern in texts(&on["idPatterns"]) {
        write!(
            text,
            " && resource.id like \"{}*\"",
            pattern.trim_start_matches('^')
        )
        .unwrap();
    }
    for scope in texts(&on["scopes"]) {
        write!(
            text,
            " && resource.scopes.contains({:?})",
            scope.trim_end_matches("/#")
        )
        .unwrap();
    }
    if !on["attributes"].is_null() {
        write!(text, " && {}.contains(context.attribute)", on["attributes"]).unwrap();
    }
    text + " };\n"
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(EntityTypeName::from_str(kind).unwrap(), EntityId::new(id))
}

fn set(texts: &[String]) -> RestrictedExpression {
    RestrictedExpression::new_set(
        texts
            .iter()
            .map(|text| RestrictedExpression::new_string(text.clone())),
    )
}

fn person(request: &Request) -> (EntityUid, Vec<Entity>) {
    let me = uid("Person", "me");
    let roles: HashSet<EntityUid> = request.roles.iter().map(|role| uid("Role", role)).collect();
    let mut entities: Vec<Entity> = roles
        .iter()
        .map(|role| Entity::new_no_attrs(role.clone(), HashSet::new()))
        .collect();
    entities.push(Entity::new_no_attrs(me.clone(), roles));
    (me, entities)
}

impl Engine for Cedar {
    fn decide(&mut self, request: &Request) -> bool {
        let (me, mut entities) = person(request);
        let thing = uid("Thing", &request.id);
        let attributes = HashMap::from([
            (
                "id".to_owned(),
                RestrictedExpression::new_string(request.id.clone()),
            ),
            ("types".to_owned(), set(&request.types)),
            ("scopes".to_owned(), set(&request.scopes_and_above)),
        ]);
        entities.push(Entity::new(thing.clone(), attributes, HashSet::new()).unwrap());
        let entities = Entities::from_entities(entities, None).unwrap();
        let attribute = RestrictedExpression::new_string(request.attribute.clone());
        let context = Context::from_pairs([("attribute".to_owned(), attribute)]).unwrap();
        let action = uid("Action", request.operation);
        let asked = cedar_policy::Request::new(me, action, thing, context, None).unwrap();
        self.authorizer
            .is_authorized(&asked, &self.policies, &entities)
            .decision()
            == Decision::Allow
    }

    fn narrow(&mut self, request: &Request) -> usize {
        let (me, entities) = person(request);
        let entities = Entities::from_entities(entities, None).unwrap();
        let entities = PartialEntities::from_concrete(entities, &self.schema).unwrap();
        let mut length = 0;
        for action in ["Read", "Update"] {
            let thing = PartialEntityUid::new(EntityTypeName::from_str("Thing").unwrap(), None);
            let me = PartialEntityUid::from_concrete(me.clone());
            let asked = PartialRequest::new(me, uid("Action", action), thing, None, &self.schema).unwrap();
            let answer = self.policies.tpe(&asked, &entities, &self.schema).unwrap();
            let left = answer.residual_policies();
            length += left
                .map(|policy| policy.to_json().unwrap().to_string().len())
                .sum::<usize>();
        }
        length
    }

    fn what_narrowing_gives(&self) -> &'static str {
        "expressions, one for each policy and action, that somebody must still read back into a permission set"
    }
}
