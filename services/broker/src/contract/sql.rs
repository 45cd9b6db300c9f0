//! The text of views and indexes. Statements that define things take no parameters, so texts of clients stand in them, quoted by
//! [`literal`] and [`identifier`] alone.

use crate::contract::names::{identifier, index, literal};
use crate::contract::view::{Column, Definition, Kind, Of, PLACES};
use std::fmt::Write as _;

/// What `name` of places is, the first that an entity has.
const NAMES: [&str; 4] = [
    "https://uri.etsi.org/ngsi-ld/default-context/name",
    "https://uri.etsi.org/ngsi-ld/name",
    "https://schema.org/name",
    "https://smartdatamodels.org/name",
];
/// The language where none is stated.
const NO_LANGUAGE: &str = "@none";

/// The value of a column in SQL, over an expression for the attributes of an entity.
fn value(column: &Column, language: Option<&str>, attrs: &str) -> String {
    let mut instance = attrs.to_owned();
    for iri in &column.attribute {
        instance = format!("mim.default_instance({instance}, {})", literal(iri));
    }
    let array = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
        format!("array[{}]::text[]", names.join(", "))
    };
    let value = match &column.of {
        Of::Value if matches!(column.kind, Kind::Json | Kind::Geometry) => {
            format!("({instance} -> 'value')")
        }
        Of::Value => format!(
            "mim.plain_value({instance}, {})",
            literal(language.unwrap_or(NO_LANGUAGE))
        ),
        Of::Member { sent, expanded } => {
            format!(
                "mim.member_value({instance}, {}, {})",
                array(sent),
                array(expanded)
            )
        }
        Of::ObservedAt => format!("({instance} -> 'observedAt')"),
        Of::UnitCode => format!("({instance} -> 'unitCode')"),
    };
    match column.kind {
        Kind::Json => value,
        Kind::Text => format!("mim.text_of({value})"),
        Kind::Integer => format!("mim.integer_of({value})"),
        Kind::Number => format!("mim.number_of({value})"),
        Kind::Boolean => format!("mim.boolean_of({value})"),
        Kind::Timestamp => format!("mim.timestamp_of({value})"),
        // With its reference system, for programs that look at the type of the column.
        Kind::Geometry => format!("mim.geometry_of({value})::geometry(Geometry, 4326)"),
    }
}

/// Makes the view, or adds columns to it. Behind its barrier nothing that a reader writes sees a row of another tenant, but comparisons that
/// tell nobody what they have seen.
#[must_use]
pub fn view(schema: &str, name: &str, tenant: i32, definition: &Definition) -> String {
    let mut columns = String::new();
    for column in &definition.columns {
        let shown = value(column, definition.language.as_deref(), "e.attrs");
        // Writing to a String does not fail.
        let _ = write!(columns, ", {shown} as {}", identifier(&column.name));
    }
    format!(
        "create or replace view {}.{} with (security_barrier = true) as \
         select e.id, t.type, e.types, e.created, e.modified{columns} \
         from mim.entity_types t join mim.entities e on e.tenant = t.tenant and e.id = t.id \
         where t.tenant = {tenant} and t.type = {} and e.tenant = {tenant}",
        identifier(schema),
        identifier(name),
        literal(&definition.of_type)
    )
}

/// Makes the view of all places: a row for each attribute of an entity whose default instance has a geometry.
#[must_use]
pub fn places(schema: &str, tenant: i32) -> String {
    let names = NAMES.map(|iri| {
        format!(
            "mim.text_of(mim.plain_value(mim.default_instance(e.attrs, {}), '{NO_LANGUAGE}'))",
            literal(iri)
        )
    });
    format!(
        "create or replace view {}.{} with (security_barrier = true) as \
         select e.id, e.types[1] as type, coalesce({}) as name, g.geom as geometry, g.attr as attribute, e.modified \
         from mim.entity_geometries g join mim.entities e on e.tenant = g.tenant and e.id = g.id \
         where g.tenant = {tenant} and e.tenant = {tenant} and case when jsonb_array_length(e.attrs -> g.attr) = 1 \
           then not e.attrs -> g.attr -> 0 ? 'datasetId' \
           else g.ctid = (select min(o.ctid) from mim.entity_geometries o where o.tenant = {tenant} and o.id = g.id and o.attr = g.attr \
             and o.geom = mim.geometry_of(mim.default_instance(e.attrs, g.attr) -> 'value')) end",
        identifier(schema),
        identifier(PLACES),
        names.join(", ")
    )
}

/// An index that a column asks for: its name, which is that of all that it is made of, and the statement that makes it.
#[must_use]
pub fn index_for(tenant: i32, definition: &Definition, column: &Column) -> (String, String) {
    let value = value(column, definition.language.as_deref(), "attrs");
    let method = match column.kind {
        // Only a digest of the text is kept: it may be longer than an entry of a tree can be.
        Kind::Text | Kind::Json => "hash",
        // Only the box is kept.
        Kind::Geometry => "gist",
        Kind::Integer | Kind::Number | Kind::Boolean | Kind::Timestamp => "btree",
    };
    let of = format!("using {method} (({value})) where tenant = {tenant} and ({value}) is not null");
    let name = index(&of);
    let make = format!("create index concurrently {name} on mim.entities {of}");
    (name, make)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(iri: &str, kind: Kind) -> Column {
        Column {
            name: "c".to_owned(),
            attribute: vec![iri.to_owned()],
            of: Of::Value,
            kind,
            indexed: true,
        }
    }

    #[test]
    fn texts_of_clients_stand_in_quotes() {
        let definition = Definition {
            of_type: "urn:t'; drop schema mim; --".to_owned(),
            language: None,
            columns: vec![column("urn:a'b", Kind::Text)],
        };
        let sql = view("city_v1", "v", 7, &definition);
        assert!(sql.contains("t.type = 'urn:t''; drop schema mim; --'"), "{sql}");
        assert!(sql.contains("'urn:a''b'"), "{sql}");
    }

    #[test]
    fn an_index_has_another_name_where_anything_of_it_is_other() {
        let definition = |language: Option<&str>| Definition {
            of_type: "urn:t".to_owned(),
            language: language.map(str::to_owned),
            columns: Vec::new(),
        };
        let none = definition(None);
        let name = |tenant, definition: &Definition, column: &Column| index_for(tenant, definition, column).0;
        let text = column("urn:a", Kind::Text);
        let first = name(1, &none, &text);
        assert_eq!(first, name(1, &none, &text));
        for other in [
            name(2, &none, &text),
            name(1, &definition(Some("de")), &text),
            name(1, &none, &column("urn:b", Kind::Text)),
            name(1, &none, &column("urn:a", Kind::Number)),
        ] {
            assert_ne!(first, other);
        }
    }
}
