//! What the rules of the city let whoever asks do. The gateway says no where no rule could ever say yes; what depends on the entity the broker
//! decides, by the permission set that it is sent in one field.

use crate::identity::subject::Subject;
use crate::operation::Operation;
use crate::problem::Problem;
use crate::settings::Settings;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use mim_policy::{Act, DEFAULT_TENANT, Facts, PermissionSet, Purpose, RuleSet, Table, Verdict};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// The field in which the broker is told.
pub const PERMISSIONS: HeaderName = HeaderName::from_static(mim_policy::HEADER);
/// Whom the broker takes nobody that is known for. No issuer, key or certificate has this name.
const NOBODY: &str = "anonymous";
/// How many permission sets a worker keeps; each has 48 KiB at most, and mostly less than one.
const MAX_KEPT: usize = 256;

/// Permission sets that were made, those of the settings at hand.
#[derive(Default)]
pub struct Kept(RefCell<Sets>);

#[derive(Default)]
struct Sets {
    settings: u64,
    sets: HashMap<(RuleSet, Purpose), Rc<PermissionSet>>,
}

/// What is asked of the rules.
pub struct Question<'a> {
    /// Who asks.
    pub subject: &'a Subject,
    /// In which tenant, as the field says; absent: the default one.
    pub tenant: Option<&'a str>,
    /// What is to be done.
    pub operation: Operation,
    /// By which method.
    pub method: &'a Method,
    /// The id in the path.
    pub id: Option<&'a str>,
    /// Whether what is not there may be made instead.
    pub may_make: bool,
}

/// What the rules say.
#[derive(Debug, Default)]
pub struct Permit {
    /// What the broker is told; `None`: there are no rules, and it is told nothing.
    pub field: Option<HeaderValue>,
    /// The rule that allowed it, where one did so whatever the entity is.
    pub rule: Option<String>,
}

/// Asks the rules.
pub fn permit(settings: &Settings, kept: &Kept, asked: &Question<'_>) -> Result<Permit, Problem> {
    if !settings.config.policy {
        return Ok(Permit::default());
    }
    let Some(table) = &settings.policy else {
        return Err(Problem::unavailable(
            "no_policy",
            "the rules of this city are not known yet",
        ));
    };
    // No tenant can be called so; it is what rules call the one without a name.
    let tenant = asked.tenant.unwrap_or_default();
    if tenant == DEFAULT_TENANT {
        return Err(denied(asked.subject));
    }
    let rules = table.matching(&asked.subject.holder, tenant);
    let act = act(asked.operation, asked.method);
    let facts = Facts {
        id: asked.id,
        ..Facts::default()
    };
    let decision = table.decide(&rules, act, &facts);
    let makes = || asked.may_make && table.decide(&rules, Act::Create, &facts).verdict != Verdict::Denied;
    if decision.verdict == Verdict::Denied && !makes() {
        return Err(denied(asked.subject));
    }
    let set = kept.set(settings.number, table, rules, act.purpose())?;
    let name = if asked.subject.is_anonymous() {
        NOBODY
    } else {
        &asked.subject.id
    };
    let field = set
        .to_header(name)
        .ok()
        .and_then(|value| HeaderValue::try_from(value).ok());
    let allowed = decision.verdict == Verdict::Allowed;
    Ok(Permit {
        field: Some(field.ok_or_else(|| denied(asked.subject))?),
        rule: decision.rule.filter(|_| allowed).map(str::to_owned),
    })
}

/// What rules call it.
fn act(operation: Operation, method: &Method) -> Act {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match operation {
        Operation::Read => Act::Read,
        Operation::Create => Act::Create,
        Operation::Update => Act::Update,
        Operation::Delete => Act::Delete,
        Operation::Subscribe => Act::Subscribe,
        // Which of the writes it is the broker knows; all of them need to see the past.
        Operation::Temporal => Act::ReadPast,
        // Contexts may be read by whoever may read anything.
        Operation::Admin if reads => Act::Read,
        Operation::Admin | Operation::Other => Act::Administer,
    }
}

/// Who is not known is asked to say who it is: that may be enough.
fn denied(subject: &Subject) -> Problem {
    if subject.is_anonymous() {
        return crate::identity::unknown();
    }
    Problem::new(StatusCode::FORBIDDEN, "policy", "no rule of this city allows it")
}

impl Kept {
    fn set(
        &self,
        settings: u64,
        table: &Arc<Table>,
        rules: RuleSet,
        purpose: Purpose,
    ) -> Result<Rc<PermissionSet>, Problem> {
        let mut kept = self.0.borrow_mut();
        if kept.settings != settings {
            *kept = Sets {
                settings,
                ..Sets::default()
            };
        }
        let key = (rules, purpose);
        if let Some(known) = kept.sets.get(&key) {
            return Ok(Rc::clone(known));
        }
        let set = table.narrow(&key.0, purpose).map_err(|too_large| {
            tracing::error!(%too_large, rules = ?too_large.rules, "what rules allow is more than the broker can be told, so nothing is allowed");
            Problem::new(
                StatusCode::FORBIDDEN,
                "policy_too_large",
                "what the rules of this city allow is more than can be told",
            )
        })?;
        let set = Rc::new(set);
        if kept.sets.len() < MAX_KEPT {
            kept.sets.insert(key, Rc::clone(&set));
        }
        Ok(set)
    }
}
