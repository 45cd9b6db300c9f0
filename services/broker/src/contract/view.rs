//! A view of one type of entity: what is asked for, and how it may change.

use crate::context::Context;
use crate::model::json::Json;
use crate::model::read::expanded_name;
use crate::model::values::is_language_tag;
use crate::model::{Refusal, refuse};
use crate::query::q::{Part, Path, Reading, System, path};

/// How many columns a view may have, beside its own.
pub const MAX_COLUMNS: usize = 200;
/// How many indexes a view may ask for: each of them is work for every write of every tenant.
pub const MAX_INDEXES: usize = 8;
/// The longest name of a view or a column, and the longest tag of a language.
const MAX_NAME: usize = 63;
const MAX_LANGUAGE: usize = 64;
/// Columns that every view has.
pub const OWN: [&str; 5] = ["id", "type", "types", "created", "modified"];
/// The view that every contract has.
pub const PLACES: &str = "places";

/// What a view shows: entities of one type, an attribute in each column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The IRI of the type.
    pub of_type: String,
    /// The language of language maps.
    pub language: Option<String>,
    /// The columns, in order.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// IRIs: the attribute, its attribute, and so on; at least one.
    pub attribute: Vec<String>,
    /// What of the last one.
    pub of: Of,
    /// What it becomes.
    pub kind: Kind,
    /// Whether it is to be found by an index.
    pub indexed: bool,
}

/// What of an attribute a column shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// The value.
    Value,
    /// A member of the value.
    Member {
        /// Names as sent: those of JSON and languages.
        sent: Vec<String>,
        /// The same as IRIs.
        expanded: Vec<String>,
    },
    /// `observedAt`
    ObservedAt,
    /// `unitCode`
    UnitCode,
}

/// What a value becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A number without fraction, of 64 bits.
    Integer,
    /// A double.
    Number,
    /// True or false.
    Boolean,
    /// A point in time.
    Timestamp,
    /// A geometry.
    Geometry,
    /// Whatever it is.
    Json,
}

impl Kind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Text, "text"),
        (Self::Integer, "integer"),
        (Self::Number, "number"),
        (Self::Boolean, "boolean"),
        (Self::Timestamp, "timestamp"),
        (Self::Geometry, "geometry"),
        (Self::Json, "json"),
    ];

    /// How it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }
}

/// Whether a view or a column may have this name: one that SQL needs no quotes for, mostly.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    text.len() <= MAX_NAME
        && letters.next().is_some_and(|c| c.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl Definition {
    /// Reads what a client asks for; names are expanded by the context.
    pub fn read(body: &Json, context: &Context) -> Result<Self, Refusal> {
        only(body, "a view", &["type", "language", "columns", "@context"])?;
        let of_type = text(body, "type")?.ok_or_else(|| Refusal("a view needs a type".to_owned()))?;
        let of_type =
            expanded_name(context, of_type).map_err(|Refusal(why)| Refusal(format!("type: {why}")))?;
        let language = text(body, "language")?.map(str::to_owned);
        if language
            .as_ref()
            .is_some_and(|tag| tag.len() > MAX_LANGUAGE || !is_language_tag(tag))
        {
            return refuse("language is a tag like de or fr-CH");
        }
        let Some(Json::Array(columns)) = body.get("columns") else {
            return refuse("columns is an array");
        };
        if columns.len() > MAX_COLUMNS {
            return refuse(format!("a view has at most {MAX_COLUMNS} columns"));
        }
        let columns: Vec<Column> = columns
            .iter()
            .map(|column| Column::read(column, context))
            .collect::<Result<_, _>>()?;
        for (n, column) in columns.iter().enumerate() {
            if columns.iter().take(n).any(|before| before.name == column.name) {
                return refuse(format!("the column {} is there twice", column.name));
            }
        }
        if columns.iter().filter(|column| column.indexed).count() > MAX_INDEXES {
            return refuse(format!(
                "a view asks for at most {MAX_INDEXES} indexes: each is work for every write"
            ));
        }
        Ok(Self {
            of_type,
            language,
            columns,
        })
    }

    /// As it is kept and shown; what it writes, [`Self::stored`] reads.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut members = vec![("type".to_owned(), Json::string(&self.of_type))];
        if let Some(language) = &self.language {
            members.push(("language".to_owned(), Json::string(language)));
        }
        let columns = self.columns.iter().map(Column::to_json).collect();
        members.push(("columns".to_owned(), Json::Array(columns)));
        Json::Object(members)
    }

    /// Reads what is kept. `None`: somebody else changed the database.
    #[must_use]
    pub fn stored(json: &Json) -> Option<Self> {
        let Some(Json::Array(columns)) = json.get("columns") else {
            return None;
        };
        Some(Self {
            of_type: json.get("type")?.as_str()?.to_owned(),
            language: json.get("language").and_then(Json::as_str).map(str::to_owned),
            columns: columns.iter().map(Column::stored).collect::<Option<_>>()?,
        })
    }

    /// This definition in place of an older one: what was promised stays, and what is new comes last, as views of PostgreSQL have it.
    pub fn in_place_of(mut self, before: &Self) -> Result<Self, Refusal> {
        if self.of_type != before.of_type {
            return refuse(format!("the type of the view stays {}", before.of_type));
        }
        if self.language != before.language {
            return refuse("the language of the view stays what it is");
        }
        let mut columns = Vec::with_capacity(self.columns.len());
        for old in &before.columns {
            let at = self.columns.iter().position(|column| column.name == old.name);
            let Some(at) = at else {
                return refuse(format!(
                    "the column {} is part of the contract and cannot be removed; make another view without it",
                    old.name
                ));
            };
            let new = self.columns.remove(at);
            if (&new.attribute, &new.of, new.kind) != (&old.attribute, &old.of, old.kind) {
                return refuse(format!(
                    "the column {} stays {} of the attribute that it shows; add another column",
                    old.name,
                    old.kind.name()
                ));
            }
            columns.push(new);
        }
        columns.append(&mut self.columns);
        self.columns = columns;
        Ok(self)
    }
}

impl Column {
    fn read(body: &Json, context: &Context) -> Result<Self, Refusal> {
        only(body, "a column", &["name", "attribute", "type", "index"])?;
        let name = text(body, "name")?.unwrap_or_default();
        if !is_name(name) {
            let name: String = name.chars().take(80).collect();
            return refuse(format!(
                "{name:?} is no name of a column: at most {MAX_NAME} of a-z, 0-9 and _, the first a letter"
            ));
        }
        if OWN.contains(&name) {
            return refuse(format!("every view has a column {name}; choose another name"));
        }
        let here = |Refusal(why): Refusal| Refusal(format!("the column {name}: {why}"));
        let sent = text(body, "attribute")?.unwrap_or_default();
        let (attribute, of) = shown(sent, context).map_err(here)?;
        let kind = text(body, "type")?.and_then(Kind::named);
        let Some(kind) = kind else {
            let names: Vec<_> = Kind::ALL.iter().map(|(_, name)| *name).collect();
            return refuse(format!("the column {name}: type is one of {}", names.join(", ")));
        };
        let indexed = match body.get("index") {
            None => false,
            Some(Json::Bool(indexed)) => *indexed,
            Some(_) => return refuse(format!("the column {name}: index is true or false")),
        };
        if indexed && kind == Kind::Json {
            return refuse(format!("the column {name}: there is no index over json"));
        }
        Ok(Self {
            name: name.to_owned(),
            attribute,
            of,
            kind,
            indexed,
        })
    }

    fn to_json(&self) -> Json {
        let texts = |texts: &[String]| Json::Array(texts.iter().map(Json::string).collect());
        let mut members = vec![
            ("name".to_owned(), Json::string(&self.name)),
            ("attribute".to_owned(), texts(&self.attribute)),
        ];
        match &self.of {
            Of::Value => {}
            Of::Member { sent, expanded } => {
                members.push(("member".to_owned(), texts(sent)));
                members.push(("expandedMember".to_owned(), texts(expanded)));
            }
            Of::ObservedAt => members.push(("system".to_owned(), Json::string("observedAt"))),
            Of::UnitCode => members.push(("system".to_owned(), Json::string("unitCode"))),
        }
        members.push(("type".to_owned(), Json::string(self.kind.name())));
        members.push(("index".to_owned(), Json::Bool(self.indexed)));
        Json::Object(members)
    }

    fn stored(json: &Json) -> Option<Self> {
        let texts = |name: &str| match json.get(name) {
            Some(Json::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let of = match (texts("member"), json.get("system").and_then(Json::as_str)) {
            (Some(sent), _) => Of::Member {
                sent,
                expanded: texts("expandedMember")?,
            },
            (None, Some("observedAt")) => Of::ObservedAt,
            (None, Some("unitCode")) => Of::UnitCode,
            (None, Some(_)) => return None,
            (None, None) => Of::Value,
        };
        Some(Self {
            name: json.get("name")?.as_str()?.to_owned(),
            attribute: texts("attribute")?,
            of,
            kind: Kind::named(json.get("type")?.as_str()?)?,
            indexed: matches!(json.get("index"), Some(Json::Bool(true))),
        })
    }
}

/// What a path of the query language leads to: `temperature`, `temperature.accuracy`, `address[city]`, `temperature.observedAt`.
fn shown(sent: &str, context: &Context) -> Result<(Vec<String>, Of), Refusal> {
    if sent.len() > 4096 {
        return refuse("attribute is longer than 4096 bytes");
    }
    let said = |Refusal(why): Refusal| Refusal(format!("attribute: {}", why.trim_start_matches("q: ")));
    match path(sent, &Reading::new(context)).map_err(said)? {
        Path::Attribute { names, part } => {
            let of = match part {
                Part::Value => Of::Value,
                Part::Member { sent, expanded } => Of::Member { sent, expanded },
                Part::System(System::ObservedAt) => Of::ObservedAt,
                Part::System(System::UnitCode) => Of::UnitCode,
                Part::System(_) => {
                    return refuse(
                        "attribute: of what is kept beside a value there are observedAt and unitCode",
                    );
                }
                Part::AnyLanguage => return refuse("attribute: state the language in language"),
            };
            Ok((names, of))
        }
        Path::CreatedAt | Path::ModifiedAt => {
            refuse("attribute: every view has the columns created and modified")
        }
        Path::Linked { .. } => refuse("attribute: a view does not follow relationships"),
    }
}

fn text<'j>(body: &'j Json, name: &str) -> Result<Option<&'j str>, Refusal> {
    match body.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => refuse(format!("{name} is a text, not {}", other.kind())),
    }
}

fn only(body: &Json, what: &str, known: &[&str]) -> Result<(), Refusal> {
    let Json::Object(members) = body else {
        return refuse(format!("{what} is an object, not {}", body.kind()));
    };
    match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => {
            let name: String = name.chars().take(60).collect();
            refuse(format!("{what} has no member {name:?}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
