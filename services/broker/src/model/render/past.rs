//! Instances of the past, and what stands around them (clauses 4.5.6 to 4.5.9 and 4.5.19).

use super::{Members, Times, View, show, write_texts};
use crate::model::entity::{Instance, Kind};
use crate::model::json::{Json, write_string};
use crate::model::linked::Unlinked;
use crate::model::names::time_text;
use crate::model::view::projection::{Member, Shown};
use jiff::Timestamp;

/// An entity of which the past is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEntity {
    /// Its id.
    pub id: String,
    /// Its types.
    pub types: Vec<String>,
    /// When its past begins.
    pub created: Timestamp,
    /// When anything of it changed last.
    pub modified: Timestamp,
}

/// What an instance of the past has beside what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside<'b> {
    /// Its id.
    pub id: &'b str,
    /// When it was stored.
    pub created: Timestamp,
    /// When it was corrected, or else stored.
    pub modified: Timestamp,
    /// Which of these are shown: a deletion's as `deletedAt`.
    pub times: ShownTimes,
}

/// Which times of an instance are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownTimes {
    /// `createdAt`
    pub created: bool,
    /// `modifiedAt`
    pub modified: bool,
    /// `deletedAt`, and not the others.
    pub deleted: bool,
}

impl View<'_> {
    /// Appends an instance of the past of an attribute.
    pub fn past_instance(&self, out: &mut String, iri: &str, instance: &Instance, beside: &Beside<'_>) {
        let (created, modified) = (time_text(beside.created), time_text(beside.modified));
        let holder = Times {
            created: &created,
            modified: &modified,
        };
        let mut members = Members::open(out);
        self.instance_members(&mut members, iri, instance, holder, &mut Unlinked);
        members.text("instanceId", beside.id);
        if beside.times.deleted {
            members.text("deletedAt", &created);
        } else {
            if beside.times.created {
                members.text("createdAt", &created);
            }
            if beside.times.modified {
                members.text("modifiedAt", &modified);
            }
        }
        members.close();
    }

    /// Appends the value of an instance of the past, and its time.
    pub fn past_value(&self, out: &mut String, iri: &str, instance: &Instance, time: &str) {
        out.push('[');
        self.simplified(out, iri, instance, &mut Unlinked);
        out.push(',');
        write_string(out, time);
        out.push(']');
    }

    /// The kind of values that an attribute of this kind is shown with: texts in one language are plain ones.
    #[must_use]
    pub fn past_kind(&self, kind: Kind) -> Kind {
        match kind {
            Kind::LanguageProperty if self.shape.languages.is_some() => Kind::Property,
            other => other,
        }
    }

    /// Whether anything of an entity is shown beside its attributes.
    #[must_use]
    pub fn shows_past(&self, shown: &[Shown<'_>]) -> bool {
        let times = show(shown, Member::CreatedAt) || show(shown, Member::ModifiedAt);
        show(shown, Member::Id) || show(shown, Member::Type) || (self.shape.sys_attrs && times)
    }

    /// Appends an entity whose attributes are already written, each as JSON, by IRI.
    pub fn past_entity(
        &self,
        out: &mut String,
        entity: &PastEntity,
        shown: &[Shown<'_>],
        attributes: &[(String, String)],
    ) {
        let mut members = Members::open(out);
        if show(shown, Member::Id) {
            members.text("id", &entity.id);
        }
        if show(shown, Member::Type) {
            let types = entity.types.iter().map(|iri| self.context.name(iri));
            write_texts(members.name("type"), types);
        }
        let naming = self.naming(attributes.iter().map(|(iri, _)| iri));
        for (iri, json) in attributes {
            members.name(&naming.attribute(iri)).push_str(json);
        }
        if self.shape.sys_attrs && show(shown, Member::CreatedAt) {
            members.text("createdAt", &time_text(entity.created));
        }
        if self.shape.sys_attrs && show(shown, Member::ModifiedAt) {
            members.text("modifiedAt", &time_text(entity.modified));
        }
        if self.with_context {
            members.text("@context", self.context.link());
        }
        members.close();
    }
}

/// Starts an object of values over time; the name of its first array is to follow.
fn open_series<'o>(out: &'o mut String, kind: Kind, dataset: Option<&str>) -> Members<'o> {
    let mut members = Members::open(out);
    members.text("type", kind.name());
    if let Some(dataset) = dataset {
        members.text("datasetId", dataset);
    }
    members
}

/// Appends values over time, each already written with its time.
pub fn write_values<'v>(
    out: &mut String,
    kind: Kind,
    dataset: Option<&str>,
    values: impl Iterator<Item = &'v str>,
) {
    let mut members = open_series(out, kind, dataset);
    let out = members.name(&format!("{}s", kind.member()));
    write_array(out, values);
    members.close();
}

/// Appends the results of methods, each with the begin and the end of its period.
pub fn write_results(
    out: &mut String,
    kind: Kind,
    dataset: Option<&str>,
    results: impl Iterator<Item = (&'static str, Vec<(Json, Timestamp, Timestamp)>)>,
) {
    let mut members = open_series(out, kind, dataset);
    for (method, results) in results {
        let out = members.name(method);
        out.push('[');
        for (n, (value, from, until)) in results.into_iter().enumerate() {
            out.push_str(if n > 0 { ",[" } else { "[" });
            value.write(out);
            for time in [from, until] {
                out.push(',');
                // Without a fraction where there is none.
                write_string(out, &time.to_string());
            }
            out.push(']');
        }
        out.push(']');
    }
    members.close();
}

/// Appends an array of what is already written.
pub fn write_array<'v>(out: &mut String, items: impl Iterator<Item = &'v str>) {
    out.push('[');
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(item);
    }
    out.push(']');
}
