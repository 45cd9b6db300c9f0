//! Rego, by regorus: one program that reads the rules as data. It has no partial evaluation; what it can do is write the
//! grants of the rules that speak of somebody.

use crate::Engine;
use crate::workload::Request;
use regorus::Value;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::RegoVM;

const PROGRAM: &str = r#"
    package policy

    default allow := false

    allow if {
        some rule in data.rules
        rule.effect == "Allow"
        applies(rule)
        not denied
    }

    denied if {
        some rule in data.rules
        rule.effect == "Deny"
        applies(rule)
    }

    applies(rule) if {
        speaks(rule, input.operation)
        has_type(rule.on)
        has_id(rule.on)
        has_scope(rule.on)
        has_attribute(rule.on)
    }

    speaks(rule, operation) if {
        some subject in rule.subjects
        subject.role in input.roles
        operation in rule.operations
    }

    has_type(on) if not on.types
    has_type(on) if {
        some name in on.types
        name in input.types
    }

    has_id(on) if not on.idPatterns
    has_id(on) if {
        some pattern in on.idPatterns
        startswith(input.id, trim_prefix(pattern, "^"))
    }

    has_scope(on) if not on.scopes
    has_scope(on) if {
        some term in on.scopes
        trim_suffix(term, "/#") in input.scopes
    }

    has_attribute(on) if not on.attributes
    has_attribute(on) if input.attribute in on.attributes

    narrowed := {member: {"allow": grants(operation, "Allow"), "deny": grants(operation, "Deny")} |
        some member, operation in {"read": "Read", "update": "Update"}
    }

    grants(operation, effect) := [rule.on |
        some rule in data.rules
        rule.effect == effect
        speaks(rule, operation)
    ]
"#;

/// The program, compiled for the crate's virtual machine, which is faster than its interpreter.
pub struct Rego(RegoVM);

const ALLOW: &str = "data.policy.allow";
const NARROWED: &str = "data.policy.narrowed";

impl Rego {
    pub fn new(rules: &[serde_json::Value]) -> Self {
        let data = serde_json::json!({"rules": rules}).to_string();
        let mut engine = regorus::Engine::new();
        engine
            .add_policy("policy.rego".to_owned(), PROGRAM.to_owned())
            .unwrap();
        engine.add_data_json(&data).unwrap();
        let policy = engine.compile_with_entrypoint(&ALLOW.into()).unwrap();
        let program = Compiler::compile_from_policy(&policy, &[ALLOW, NARROWED]).unwrap();
        let mut machine = RegoVM::new_with_policy(policy);
        machine.load_program(program);
        machine.set_data(Value::from_json_str(&data).unwrap()).unwrap();
        Self(machine)
    }

    fn answer(&mut self, rule: &str, request: &Request) -> Value {
        self.0.set_input(input(request));
        self.0.execute_entry_point_by_name(rule).unwrap()
    }
}

fn list(texts: &[String]) -> Value {
    Value::from(
        texts
            .iter()
            .map(|text| Value::from(text.as_str()))
            .collect::<Vec<_>>(),
    )
}

fn input(request: &Request) -> Value {
    let mut input = Value::new_object();
    let members = input.as_object_mut().unwrap();
    for (name, value) in [
        ("roles", list(&request.roles)),
        ("operation", request.operation.into()),
        ("id", request.id.as_str().into()),
        ("types", list(&request.types)),
        ("scopes", list(&request.scopes_and_above)),
        ("attribute", request.attribute.as_str().into()),
    ] {
        members.insert(name.into(), value);
    }
    input
}

impl Engine for Rego {
    fn decide(&mut self, request: &Request) -> bool {
        self.answer(ALLOW, request) == Value::from(true)
    }

    fn narrow(&mut self, request: &Request) -> usize {
        self.answer(NARROWED, request).to_json_str().unwrap().len()
    }

    fn what_narrowing_gives(&self) -> &'static str {
        "what a program of ours in Rego writes: grants as they stand, neither merged nor bounded"
    }
}
