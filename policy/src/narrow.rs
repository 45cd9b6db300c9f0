//! From rules to the permission set that the broker obeys: the header `Mim-Permissions`, whose format stands in
//! `services/broker/src/permissions/wire.rs` and whose meaning in `docs/decisions/0015-permission-sets.md`.

use crate::grant::Grant;
use crate::lists::{Lists, Need, Placed};
use crate::merge::merged;
use crate::rule::Operation;
use crate::table::{RuleSet, Table};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// The header that a permission set travels in.
pub const HEADER: &str = "mim-permissions";
/// The longest value that the broker reads, in bytes.
const MAX_VALUE: usize = 48 * 1024;
/// How many grants a list may have.
const MAX_GRANTS: usize = 50;
/// The longest name of a subject, in bytes.
const MAX_SUBJECT: usize = 1024;
/// The longest begin of a set, as JSON: what stands around a subject of which every byte is escaped by another.
const MAX_HEAD: usize = 2 * MAX_SUBJECT + 30;
/// The longest rest of a set, as JSON.
const MAX_REST: usize = MAX_VALUE / 4 * 3 - MAX_HEAD;

/// What a request asks the broker for: of each a subject sees another world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Entities as they are now: what `Read` shows may be seen, and what `Create`, `Update` and `Delete` allow may be done.
    Entities,
    /// The past of entities: what `Temporal` shows may be seen, and where another operation is allowed too, it may be done.
    Past,
    /// Subscriptions: what `Subscribe` shows may be told.
    Subscriptions,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Entities, Self::Past, Self::Subscriptions];

    /// The members of a set, and what each needs.
    fn members(self) -> &'static [(&'static str, Need)] {
        match self {
            Self::Entities => &[
                ("read", Need::One(Operation::Read)),
                ("create", Need::One(Operation::Create)),
                ("update", Need::One(Operation::Update)),
                ("delete", Need::One(Operation::Delete)),
            ],
            Self::Past => &[
                ("read", Need::One(Operation::Temporal)),
                ("create", Need::OfPast(Operation::Create)),
                ("update", Need::OfPast(Operation::Update)),
                ("delete", Need::OfPast(Operation::Delete)),
            ],
            Self::Subscriptions => &[("read", Need::One(Operation::Subscribe))],
        }
    }
}

/// What somebody may see and do for one purpose, in words of the broker, without who that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionSet {
    /// All that follows the subject, in base64url; what comes before is filled up so that this can be put after it.
    rest: Box<str>,
}

/// Why there is no permission set: it would be more than the broker takes. Nothing is allowed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct TooLarge {
    /// What is too large: `50 grants are the most in read.allow, and these are 61`.
    pub what: String,
    /// The names of the rules that it is made of.
    pub rules: Vec<String>,
}

/// What is no subject: an empty text, one of more than 1,024 bytes, or one with a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a subject has 1 to {MAX_SUBJECT} bytes and no control characters")]
pub struct NoSubject;

impl PermissionSet {
    /// How many bytes of memory it takes: who keeps many of them has to know.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.rest.len()
    }

    /// The value of the header for a subject, whose subscriptions are its own. At most 48 KiB; takes time in proportion to
    /// that, and makes no JSON.
    pub fn to_header(&self, subject: &str) -> Result<String, NoSubject> {
        if !(1..=MAX_SUBJECT).contains(&subject.len()) || subject.chars().any(char::is_control) {
            return Err(NoSubject);
        }
        let mut head = format!(r#"{{"version":1,"subject":{}"#, Value::from(subject));
        // Three bytes are four characters: after blanks, which mean nothing here, the rest may follow as it is.
        while !head.len().is_multiple_of(3) {
            head.push(' ');
        }
        let mut value = String::with_capacity(head.len() / 3 * 4 + self.rest.len());
        URL_SAFE_NO_PAD.encode_string(head, &mut value);
        value.push_str(&self.rest);
        Ok(value)
    }
}

impl Table {
    /// What rules allow for a purpose, as the broker is told. It depends on the rules and the purpose alone, so it can be
    /// kept under them. The same entities and attributes are allowed as by [`Table::decide`] of all that there is; where the
    /// set is too large nothing may be done, whatever was decided.
    pub fn narrow(&self, rules: &RuleSet, purpose: Purpose) -> Result<PermissionSet, TooLarge> {
        let mut set = Map::new();
        let mut all = Vec::new();
        for (member, need) in purpose.members() {
            let lists = self.lists(rules, *need);
            let places = lists.allow.iter().chain(&lists.deny).map(|(at, _)| *at);
            all.extend(places);
            if let Some(found) = self.member(member, lists)? {
                set.insert((*member).to_owned(), found);
            }
        }
        let rest = rest_of(self.is_administrator(rules), &Value::Object(set));
        if rest.len() > MAX_REST {
            let length = rest.len();
            let what = format!("{MAX_REST} bytes are the most of a permission set, and these are {length}");
            return Err(self.too_large(what, all));
        }
        Ok(PermissionSet {
            rest: URL_SAFE_NO_PAD.encode(rest).into(),
        })
    }

    /// One member of a set; `None`: it allows nothing.
    fn member(&self, name: &str, lists: Lists<'_>) -> Result<Option<Value>, TooLarge> {
        if lists.is_too_much {
            let places = lists.allow.iter().map(|(at, _)| *at).collect();
            let what = format!("for {name} too many grants would have to be compared with each other");
            return Err(self.too_large(what, places));
        }
        let allow = self.list(name, "allow", lists.allow)?;
        let deny = self.list(name, "deny", lists.deny)?;
        if allow.is_empty() || deny.iter().any(Grant::is_of_all) {
            return Ok(None);
        }
        let json = |grants: Vec<Grant>| -> Value { grants.iter().map(Grant::to_json).collect() };
        Ok(Some(if deny.is_empty() {
            json!({"allow": json(allow)})
        } else {
            json!({"allow": json(allow), "deny": json(deny)})
        }))
    }

    fn list(&self, member: &str, name: &str, grants: Vec<Placed<'_>>) -> Result<Vec<Grant>, TooLarge> {
        let (places, grants): (Vec<usize>, Vec<Grant>) = grants
            .into_iter()
            .map(|(at, grant)| (at, grant.into_owned()))
            .unzip();
        let grants = merged(grants);
        if grants.len() <= MAX_GRANTS {
            return Ok(grants);
        }
        let what = format!(
            "{MAX_GRANTS} grants are the most in {member}.{name}, and these are {}",
            grants.len()
        );
        Err(self.too_large(what, places))
    }

    fn too_large(&self, what: String, mut places: Vec<usize>) -> TooLarge {
        places.sort_unstable();
        places.dedup();
        TooLarge {
            what,
            rules: places.into_iter().map(|at| self.name(at).to_owned()).collect(),
        }
    }

    /// Whether a set of rules fits into a permission set, denials counted as if they were allowances: those of a rule alone
    /// would be left out where nothing is allowed.
    pub(crate) fn fits(&self, rules: &RuleSet, purpose: Purpose) -> Result<(), TooLarge> {
        let mut places = Vec::new();
        let mut length = 0;
        for (_, need) in purpose.members() {
            let lists = self.lists(rules, *need);
            for (at, grant) in lists.allow.into_iter().chain(lists.deny) {
                length += grant.to_json().to_string().len();
                places.push(at);
            }
        }
        // What stands around the grants of four members.
        let most = MAX_REST - 200;
        if length <= most {
            return Ok(());
        }
        let what =
            format!("{most} bytes are the most of the grants of a permission set, and these are {length}");
        Err(self.too_large(what, places))
    }
}

/// What follows the subject, up to the end.
fn rest_of(admin: bool, members: &Value) -> String {
    let members = members.to_string();
    let members = members.trim_start_matches('{');
    let comma = if members == "}" { "" } else { "," };
    format!(r#","admin":{admin}{comma}{members}"#)
}
