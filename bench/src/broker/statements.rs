//! What the broker asks the database, as pgbench asks it: the broker's own SQL, each parameter with its type.

use std::fmt::Write as _;

use mim_broker::context::Context;
use mim_broker::permissions::reach::Reach;
use mim_broker::query::sql::{self, Param, Statement, Window};
use mim_broker::query::types::TypeSelection;
use mim_broker::query::{EntitySelector, Selection, geo, q, types};
use mim_broker::store::TenantId;
use mim_broker::store::rows::{self, Sizes};
use url::form_urlencoded::byte_serialize;

use super::entities::{KIND, id};
use super::pgbench::Script;
use crate::error::Error;

/// How many entities a page has.
pub const LIMIT: usize = 20;

/// A query: how a client writes it, and what the broker makes of it.
#[derive(Clone, Debug)]
pub struct Query {
    /// Path and parameters.
    pub target: String,
    /// The statement.
    pub statement: Statement,
}

/// A query of one type and `q`, of the default tenant.
pub fn by_q(tenant: i32, text: &str) -> Result<Query, Error> {
    let q = q::parse(text, &Context::core()).map_err(|why| refused(text, &why))?;
    let selection = Selection {
        entities: of_kind()?,
        q: Some(q),
        ..Selection::default()
    };
    Ok(Query {
        target: format!(
            "/ngsi-ld/v1/entities?type={KIND}&limit={LIMIT}&q={}",
            byte_serialize(text.as_bytes()).collect::<String>()
        ),
        statement: page(tenant, &selection),
    })
}

/// A query of one type, at most so many metres from a place.
pub fn near(tenant: i32, place: (f64, f64), metres: u32) -> Result<Query, Error> {
    let georel = format!("near;maxDistance=={metres}");
    let coordinates = format!("[{},{}]", place.0, place.1);
    let geo = geo::parse(
        Some(&georel),
        Some("Point"),
        Some(&coordinates),
        None,
        &Context::core(),
    )
    .map_err(|why| refused(&georel, &why))?;
    let selection = Selection {
        entities: of_kind()?,
        geo,
        ..Selection::default()
    };
    Ok(Query {
        target: format!(
            "/ngsi-ld/v1/entities?type={KIND}&limit={LIMIT}&georel={georel}&geometry=Point&coordinates={coordinates}"
        ),
        statement: page(tenant, &selection),
    })
}

fn refused(text: &str, why: &impl std::fmt::Debug) -> Error {
    Error::Unexpected(format!("{text} is refused: {why:?}"))
}

fn of_kind() -> Result<Vec<EntitySelector>, Error> {
    let kind: TypeSelection = types::parse(KIND, &Context::core()).map_err(|why| refused(KIND, &why))?;
    Ok(vec![EntitySelector {
        types: Some(kind),
        ..EntitySelector::default()
    }])
}

fn page(tenant: i32, selection: &Selection) -> Statement {
    let window = Window {
        limit: LIMIT,
        offset: 0,
    };
    sql::page(
        Reach::all(TenantId(tenant)),
        selection,
        None,
        window,
        Sizes::Small,
    )
}

/// The select of one of the first `entities` entities, by chance.
#[must_use]
pub fn retrieve(tenant: i32, entities: usize) -> Script {
    let select = with_parameters(rows::read(Sizes::Small), |number| {
        if number == 1 {
            ":tenant::int4".to_owned()
        } else {
            // A colon begins a name, also within quotes.
            "(:before::text || :n::text)".to_owned()
        }
    });
    Script {
        text: format!("\\set n random(0, {})\n{select};\n", entities.saturating_sub(1)),
        variables: vec![
            ("tenant".to_owned(), tenant.to_string()),
            ("before".to_owned(), id("")),
        ],
    }
}

/// Statements as scripts of one run: their parameters have different names.
#[must_use]
pub fn scripts(queries: &[Query]) -> Vec<Script> {
    queries
        .iter()
        .enumerate()
        .map(|(script, query)| {
            let Statement { sql, params } = &query.statement;
            let parameter = |number: usize| {
                let kind = params.get(number - 1).map_or("text", kind_of);
                format!(":s{script}p{number}::{kind}")
            };
            Script {
                text: format!("{};\n", with_parameters(sql, parameter)),
                variables: params
                    .iter()
                    .enumerate()
                    .map(|(number, param)| (format!("s{script}p{}", number + 1), value_of(param)))
                    .collect(),
            }
        })
        .collect()
}

/// Puts something else in the place of `$1` and following.
fn with_parameters(sql: &str, parameter: impl Fn(usize) -> String) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        match number.parse() {
            Ok(number) => text.push_str(&parameter(number)),
            Err(_) => text.push('$'),
        }
        text.push_str(rest);
    }
    text
}

fn kind_of(param: &Param) -> &'static str {
    match param {
        Param::Text(_) => "text",
        Param::Texts(_) => "text[]",
        Param::Tenant(_) => "int4",
        Param::Integer(_) => "int8",
        Param::Integers(_) => "int8[]",
        Param::Float(_) => "float8",
        Param::Bytes(_) => "bytea",
        Param::Time(_) => "timestamptz",
        Param::Instance(_) => "uuid",
    }
}

/// A parameter in PostgreSQL's text format.
fn value_of(param: &Param) -> String {
    match param {
        Param::Text(text) => text.clone(),
        Param::Texts(texts) => {
            let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            format!("{{{}}}", texts.iter().map(quoted).collect::<Vec<_>>().join(","))
        }
        Param::Tenant(number) => number.to_string(),
        Param::Integer(number) => number.to_string(),
        Param::Integers(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
            format!("{{{}}}", numbers.join(","))
        }
        Param::Float(number) => number.to_string(),
        Param::Bytes(bytes) => bytes.iter().fold("\\x".to_owned(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
        Param::Time(time) => time.to_string(),
        Param::Instance(id) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_get_names_and_types_and_the_rest_stays() {
        let found = with_parameters("select $1, x.t::text, '$' from t where $12 = $1", |number| {
            format!(":p{number}::int4")
        });
        assert_eq!(
            found,
            "select :p1::int4, x.t::text, '$' from t where :p12::int4 = :p1::int4"
        );
    }

    #[test]
    fn values_are_texts_that_the_server_reads() {
        assert_eq!(
            value_of(&Param::Texts(vec!["a\"b".to_owned(), "c\\".to_owned()])),
            r#"{"a\"b","c\\"}"#
        );
        assert_eq!(value_of(&Param::Bytes(vec![1, 0xab])), "\\x01ab");
        assert_eq!(value_of(&Param::Integers(vec![-1, 2])), "{-1,2}");
    }

    #[test]
    fn a_query_is_the_same_for_the_client_and_for_the_database() {
        let query = by_q(1, "level>989|quarter~=\"^q-0\"").unwrap();
        assert!(
            query
                .target
                .ends_with("&q=level%3E989%7Cquarter%7E%3D%22%5Eq-0%22")
        );
        let scripts = scripts(&[query.clone(), near(1, (10.5, 50.25), 500).unwrap()]);
        assert!(!scripts[0].text.contains('$') && scripts[0].text.contains(":s0p2::text"));
        assert_eq!(scripts[0].variables.len(), query.statement.params.len());
        assert!(scripts[1].text.contains("ST_DWithin"));
    }
}
