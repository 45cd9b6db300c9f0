//! From an order to what follows `order by` (clause 4.23).

use super::{Builder, Param};
use crate::query::order::{By, Collation, Ordering};
use crate::query::q::{Part, Path, System};
use std::fmt::Write as _;

/// The kinds of values in the order of clause 4.23.2: number, string, object, array, truth value, time, date, `DateTime`,
/// null, and what is not there. `{}` is the value, as jsonb.
const RANK: &str = "case jsonb_typeof({}) when 'number' then 0 when 'string' then 1 when 'array' then 3 when 'boolean' then 4 \
    when 'null' then 8 when 'object' then case {} ->> '@type' \
        when 'Time' then 5 when 'https://uri.etsi.org/ngsi-ld/Time' then 5 \
        when 'Date' then 6 when 'https://uri.etsi.org/ngsi-ld/Date' then 6 \
        when 'DateTime' then 7 when 'https://uri.etsi.org/ngsi-ld/DateTime' then 7 else 2 end \
    else 9 end";
/// What is at least this rank comes last, also where the greatest come first.
const LAST: u8 = 8;

impl Builder {
    /// What has to be joined to the entities, and the keys to sort by.
    pub(super) fn ordered_by(&mut self, ordering: Option<&Ordering>) -> (String, Vec<String>) {
        let (mut sources, mut keys) = (String::new(), Vec::new());
        let Some(ordering) = ordering else {
            return (sources, keys);
        };
        let collation = collated(ordering.collation);
        for (n, term) in ordering.terms.iter().enumerate() {
            let direction = if term.descending { "desc" } else { "asc" };
            match &term.by {
                By::Id => keys.push(format!("e.id {direction}")),
                By::Type => list_keys(&mut keys, "e.types", &collation, direction),
                By::Scope => {
                    keys.push("cardinality(e.scope) = 0".to_owned());
                    list_keys(&mut keys, "e.scope", &collation, direction);
                }
                By::Value(path) => {
                    sources.push_str(&self.value(n, path));
                    value_keys(&mut keys, n, &collation, direction);
                }
                By::Distance { path, property, from } => {
                    let property = self.text(property);
                    let from = self.bind(Param::Bytes(from.to_ewkb()));
                    let shown = self.shows("e", &property);
                    // On a sphere, as the standard says.
                    let _ = write!(
                        sources,
                        " left join lateral (select min(ST_Distance(g.geom::geography, ST_GeomFromEWKB({from})::geography, false)) as m \
                           from mim.entity_geometries g where g.tenant = $1 and g.id = e.id and g.attr = {property} and {shown}) d{n} on true"
                    );
                    keys.push(format!("d{n}.m {direction} nulls last"));
                    sources.push_str(&self.value(n, path));
                    value_keys(&mut keys, n, &collation, direction);
                }
            }
        }
        (sources, keys)
    }

    /// The value at a path as `o<n>.t`, and its rank as `k<n>.r`. Of several instances the default one counts.
    fn value(&mut self, n: usize, path: &Path) -> String {
        let value = match path {
            Path::CreatedAt => "select to_jsonb(e.created) as t".to_owned(),
            Path::ModifiedAt => "select to_jsonb(e.modified) as t".to_owned(),
            Path::Attribute { names, part } => {
                let (instances, shown) = self.instances("e", names);
                let last = names.len().saturating_sub(1);
                let looked_at = self.looked_at("e", &format!("i{last}.v"), part);
                let looked_at = match part {
                    // Times may be written with more or fewer digits.
                    Part::System(System::ObservedAt | System::CreatedAt | System::ModifiedAt) => {
                        format!("to_jsonb(mim.instant_key(({looked_at}) #>> '{{}}'))")
                    }
                    _ => looked_at,
                };
                let defaults: Vec<String> = (0..=last)
                    .map(|depth| {
                        format!("i{depth}.v ? 'datasetId', i{depth}.v ->> 'datasetId' collate \"C\"")
                    })
                    .collect();
                format!(
                    "select {looked_at} as t from {instances} where {shown} order by {} limit 1",
                    defaults.join(", ")
                )
            }
            // Never made by the grammar: there is nothing to compare.
            Path::Linked { .. } => "select null::jsonb as t".to_owned(),
        };
        let rank = RANK.replace("{}", &format!("o{n}.t"));
        format!(" left join lateral ({value}) o{n} on true cross join lateral (select {rank} as r) k{n}")
    }
}

/// The name of a collation of the database: made of a constant, never of what a client sent.
fn collated(collation: Collation) -> String {
    format!("collate \"{}-x-icu\"", collation.tag())
}

/// One text before several, then by the texts.
fn list_keys(keys: &mut Vec<String>, list: &str, collation: &str, direction: &str) {
    keys.push(format!("cardinality({list}) > 1 {direction}"));
    keys.push(format!("{list} {collation} {direction}"));
}

/// By kind, and within each kind by what it compares as.
fn value_keys(keys: &mut Vec<String>, n: usize, collation: &str, direction: &str) {
    let (value, rank) = (format!("o{n}.t"), format!("k{n}.r"));
    keys.push(format!("case when {rank} < {LAST} then 0 else {rank} end"));
    keys.push(format!("{rank} {direction}"));
    keys.push(format!(
        "case when {rank} in (0, 2, 3, 4) then {value} end {direction}"
    ));
    keys.push(format!(
        "(case when {rank} = 1 then {value} #>> '{{}}' end) {collation} {direction}"
    ));
    keys.push(format!(
        "(case when {rank} in (5, 6, 7) then coalesce(mim.instant_key({value} ->> '@value'), {value} ->> '@value') end) collate \"C\" {direction}"
    ));
}

#[cfg(test)]
mod tests {
    use crate::context::Context;
    use crate::permissions::reach::Reach;
    use crate::query::Selection;
    use crate::query::order::{Texts, parse};
    use crate::query::sql::{Param, Window, page};
    use crate::store::TenantId;
    use crate::store::rows::Sizes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_client_sends_of_an_order_is_in_the_parameters_only(a in "[b-h]{9,12}", b in "[b-h]{9,12}", x in 1.0..90.0_f64) {
            let texts = Texts {
                order_by: Some(vec![&a, "location;dist-asc"]),
                from: Some(format!("[{x},1]").into()),
                collation: Some("SV-se"),
                ..Texts::default()
            };
            let member = format!("{a}.{b}[{b}];desc");
            let texts = Texts { order_by: Some([texts.order_by.unwrap(), vec![member.as_str()]].concat()), ..texts };
            let ordering = parse(&texts, &Context::core()).unwrap();
            let statement = page(Reach::all(TenantId(1)), &Selection::default(), ordering.as_ref(), Window { limit: 1, offset: 0 }, Sizes::Small);
            let text = &statement.sql;
            prop_assert!(!text.contains(&a) && !text.contains(&b) && !text.contains(&x.to_string()) && !text.contains("SV") && !text.contains("se-x"));
            prop_assert!(text.contains("\"sv-x-icu\"") && statement.params.iter().any(|p| matches!(p, Param::Text(t) if t.ends_with(&a))));
        }
    }
}
