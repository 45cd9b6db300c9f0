//! Between entities and rows.

use crate::model::entity::{Entity, Kind};
use crate::model::geometry::Geometry;
use crate::model::instance_id::InstanceId;
use crate::model::json::Json;
use crate::model::{stored, terms};
use crate::notify::matcher::Known;
use crate::store::history::{Keeping, Past};
use crate::store::told::Told;
use crate::store::{StoreError, TenantId};
use jiff::Timestamp;
use std::sync::Arc;
use tokio_postgres::Row;
use uuid::Uuid;

/// Between the items of a list that travels as one text; it occurs in no IRI and no scope.
const SEPARATOR: &str = "\u{1f}";

/// The columns of an entity, in the order [`found`] reads them. Of a large one there is the size of its attributes, a
/// number, in their place: what arrives takes memory before anybody could ask how much.
macro_rules! columns_of_small {
    () => {
        // 64 KiB: so much each read may receive uncounted; sixteen may share a connection. The sub-select makes the text once.
        "e.id, e.types, e.scope, \
         (select case when octet_length(t.x) <= 65536 then t.x else octet_length(t.x)::text end \
            from (select e.attrs::text as x offset 0) t), \
         e.created, e.modified"
    };
}
/// The same of entities of any size.
macro_rules! columns_of_any {
    () => {
        "e.id, e.types, e.scope, e.attrs::text, e.created, e.modified"
    };
}

/// The id of an entity, and how many bytes its attributes have as text. The sub-select keeps the text from being made of
/// entities that are not on the page.
pub const SIZE: &str = "e.id, (select octet_length(t.x)::int8 from (select e.attrs::text as x offset 0) t)";

/// What each read may receive uncounted.
pub const UNCOUNTED: usize = 64 * 1024;

/// Which entities come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Those that need no room; of others comes their size.
    Small,
    /// All: who asks has the room.
    Any,
}

/// The columns of an entity.
#[must_use]
pub fn columns_of(sizes: Sizes) -> &'static str {
    match sizes {
        Sizes::Small => columns_of_small!(),
        Sizes::Any => columns_of_any!(),
    }
}

/// What a row has.
pub enum Found {
    /// An entity.
    Entity(Entity),
    /// One that is large: how many bytes its attributes have as text.
    Large(usize),
}

/// Reads a row that starts with [`columns_of`].
pub fn found(row: &Row) -> Result<Found, StoreError> {
    let text: &str = row.get(3);
    match text.parse() {
        Ok(size) => Ok(Found::Large(size)),
        // Attributes are an object, never a number.
        Err(_) => entity(row, text).map(Found::Entity),
    }
}

fn entity(row: &Row, attributes: &str) -> Result<Entity, StoreError> {
    let attributes = stored::read(attributes).map_err(|e| StoreError::Internal(e.to_string()))?;
    Ok(Entity {
        id: row.get(0),
        types: row.get(1),
        scope: row.get(2),
        attributes,
        created: row.get(4),
        modified: row.get(5),
    })
}

/// Entities as the columns of set-based statements.
#[derive(Default)]
pub struct Columns {
    /// Ids.
    pub ids: Vec<String>,
    /// Types of each, joined.
    pub types: Vec<String>,
    /// Scopes of each, joined; empty for none.
    pub scopes: Vec<String>,
    /// Attributes of each, as stored.
    pub attrs: Vec<String>,
    /// Terms of each, as the text of an array.
    pub terms: Vec<String>,
    /// When each was created.
    pub created: Vec<Timestamp>,
    /// When each was modified.
    pub modified: Vec<Timestamp>,
    /// Pairs of type and id that are to be there.
    pub typed: (Vec<String>, Vec<String>),
    /// Pairs of type and id that are to go.
    pub untyped: (Vec<String>, Vec<String>),
    /// Ids whose geometries are to be replaced.
    pub moved: Vec<String>,
    /// Geometries: id, attribute, EWKB.
    pub places: (Vec<String>, Vec<String>, Vec<Vec<u8>>),
    /// What is added to the history.
    pub past: Past,
    /// What is told subscribers.
    pub told: Told,
}

/// What is written beside entities, as of the moment at which a write began.
#[derive(Clone)]
pub struct Beside {
    /// What is done about the past.
    pub keeping: Keeping,
    /// Who wants to hear of it.
    pub known: Arc<Known>,
}

impl Columns {
    /// Columns of no entity yet.
    #[must_use]
    pub fn new(beside: &Beside) -> Self {
        Self {
            past: Past::new(beside.keeping),
            told: Told::new(Arc::clone(&beside.known)),
            ..Self::default()
        }
    }

    /// Adds an entity that is new.
    pub fn add_new(&mut self, tenant: TenantId, entity: &Entity) -> Result<(), StoreError> {
        self.add(tenant, entity)?;
        self.add_types(entity, &[]);
        self.add_places(entity);
        self.past.add(None, entity);
        self.told.add(None, Some(entity), entity.modified);
        Ok(())
    }

    /// Adds an entity that takes the place of another.
    pub fn add_changed(
        &mut self,
        tenant: TenantId,
        before: &Entity,
        entity: &Entity,
    ) -> Result<(), StoreError> {
        self.add_state(tenant, before, entity)?;
        self.past.add(Some(before), entity);
        self.told.add(Some(before), Some(entity), entity.modified);
        Ok(())
    }

    /// As [`Self::add_changed`], where the past and subscribers hear of it otherwise.
    pub fn add_state(
        &mut self,
        tenant: TenantId,
        before: &Entity,
        entity: &Entity,
    ) -> Result<(), StoreError> {
        self.add(tenant, entity)?;
        self.add_types(entity, &before.types);
        for gone in before.types.iter().filter(|t| !entity.types.contains(t)) {
            self.untyped.0.push(gone.clone());
            self.untyped.1.push(entity.id.clone());
        }
        if !geometries(before).eq(geometries(entity)) {
            self.moved.push(entity.id.clone());
            self.add_places(entity);
        }
        Ok(())
    }

    /// The least id that an instance of one of these entities, which are all new, can have.
    #[must_use]
    pub fn first_instance(&self) -> Uuid {
        let first = self.created.iter().min().copied();
        InstanceId::first_at(first.unwrap_or(Timestamp::MAX)).0
    }

    fn add(&mut self, tenant: TenantId, entity: &Entity) -> Result<(), StoreError> {
        let attrs = stored::write(&entity.attributes).map_err(|e| StoreError::TooLarge(e.to_string()))?;
        self.ids.push(entity.id.clone());
        self.types.push(entity.types.join(SEPARATOR));
        self.scopes.push(entity.scope.join(SEPARATOR));
        self.attrs.push(attrs);
        let terms: Vec<String> = terms::of_attributes(tenant.0, &entity.attributes)
            .iter()
            .map(i64::to_string)
            .collect();
        self.terms.push(format!("{{{}}}", terms.join(",")));
        self.created.push(entity.created);
        self.modified.push(entity.modified);
        Ok(())
    }

    fn add_types(&mut self, entity: &Entity, before: &[String]) {
        for iri in entity.types.iter().filter(|t| !before.contains(t)) {
            self.typed.0.push(iri.clone());
            self.typed.1.push(entity.id.clone());
        }
    }

    fn add_places(&mut self, entity: &Entity) {
        for (iri, value) in geometries(entity) {
            // What was stored was checked; what somebody else put there is not searchable.
            if let Ok(geometry) = Geometry::of(value) {
                self.places.0.push(entity.id.clone());
                self.places.1.push(iri.clone());
                self.places.2.push(geometry.to_ewkb());
            }
        }
    }
}

fn geometries(entity: &Entity) -> impl Iterator<Item = (&String, &Json)> {
    entity.attributes.iter().flat_map(|(iri, instances)| {
        instances
            .iter()
            .filter(|i| i.kind == Kind::GeoProperty)
            .map(move |i| (iri, &i.value))
    })
}

/// Inserts entities that are not there, if the subscribers are those of the epoch `$26`, and none of the entities had a
/// predecessor whose past goes up to the instance `$27` or beyond it; see [`Inserted`].
pub const INSERT: &str = "with predecessor as materialized ( \
    select f.before from mim.forgotten f \
    where f.tenant = $1 and f.entity = any($2::text[]) and f.before > $27 order by f.before desc limit 1), \
  new as ( \
    insert into mim.entities (tenant, id, types, scope, attrs, terms, created, modified) \
    select $1, u.id, string_to_array(u.types, E'\\x1f'), string_to_array(u.scope, E'\\x1f'), u.attrs::jsonb, u.terms::bigint[], u.created, u.modified \
    from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[]) \
        as u(id, types, scope, attrs, terms, created, modified) \
    where (select t.subscriptions from mim.tenants t where t.id = $1) = $26 and not exists (select 1 from predecessor) \
    order by u.id on conflict do nothing returning id), \
  typed as ( \
    insert into mim.entity_types (tenant, type, id) select $1, t.type, t.id \
    from unnest($9::text[], $10::text[]) as t(type, id) where t.id in (select id from new) on conflict do nothing), \
  placed as ( \
    insert into mim.entity_geometries (tenant, id, attr, geom) select $1, p.id, p.attr, mim.searchable(ST_GeomFromEWKB(p.ewkb)) \
    from unnest($11::text[], $12::text[], $13::bytea[]) as p(id, attr, ewkb) where p.id in (select id from new)), \
  kept as ( \
    insert into mim.history (tenant, entity, attr, instance, recorded, dataset, observed, body) \
    select $1, h.entity, h.attr, h.instance, h.recorded, h.dataset, h.observed, h.body::jsonb \
    from unnest($14::text[], $15::text[], $16::uuid[], $17::timestamptz[], $18::text[], $19::timestamptz[], $20::text[]) \
        as h(entity, attr, instance, recorded, dataset, observed, body) where h.entity in (select id from new)), \
  told as ( \
    insert into mim.changes (tenant, entity, body) select $1, c.entity, c.body \
    from unnest($21::text[], $22::text[]) as c(entity, body) where c.entity in (select id from new) returning number, entity), \
  due as ( \
    insert into mim.deliveries (subscription, lane, change) select d.subscription, d.lane, told.number \
    from unnest($23::bigint[], $24::smallint[], $25::text[]) as d(subscription, lane, entity) join told using (entity)) \
  select (select t.subscriptions from mim.tenants t where t.id = $1), array(select id from new), (select before from predecessor)";

/// What came of [`INSERT`].
#[derive(Default)]
pub struct Inserted {
    /// The epoch of the subscribers; if it is another one than was said, nothing was inserted.
    pub epoch: i64,
    /// The ids of those that were inserted.
    pub ids: Vec<String>,
    /// When they can be made at the earliest, where they were to be made earlier; nothing was inserted then. A predecessor's
    /// past goes so far by the clock of another replica, and theirs must not go with it.
    pub earliest: Option<Timestamp>,
}

/// Reads what [`INSERT`] returns.
#[must_use]
pub fn inserted(rows: &[Row]) -> Inserted {
    rows.first().map_or_else(Inserted::default, |row| Inserted {
        epoch: row.get(0),
        ids: row.get(1),
        earliest: row
            .get::<_, Option<Uuid>>(2)
            .and_then(|before| InstanceId(before).stored_at()),
    })
}

// Where rows are that nobody else updates meanwhile, which have the key that each row of `u` says. The `offset` keeps the planner from joining the two in another
// way, and from reading all rows of a tenant to compare them with a list: it plans once, for all tenants, and maybe while the table was small. So it read
// all of one, with what updates had left in it, for each write: 5,000 pages after 45,000 writes of 100 entities, 1 ms a write. In a table with partitions this
// would not be a place.
macro_rules! place {
    ($table:literal, $key:literal) => {
        concat!(
            "lateral (select x.ctid from ",
            $table,
            " x where x.tenant = $1 and ",
            $key,
            " offset 0) as its(place)"
        )
    };
}

/// Writes entities that are there and locked.
pub const UPDATE: &str = concat!(
    "with changed as ( \
    update mim.entities e set types = string_to_array(u.types, E'\\x1f'), scope = string_to_array(u.scope, E'\\x1f'), \
        attrs = u.attrs::jsonb, terms = u.terms::bigint[], created = u.created, modified = u.modified \
    from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[]) \
        as u(id, types, scope, attrs, terms, created, modified) \
      cross join ",
    place!("mim.entities", "x.id = u.id"),
    " where e.ctid = its.place), \
  typed as ( \
    insert into mim.entity_types (tenant, type, id) select $1, t.type, t.id from unnest($9::text[], $10::text[]) as t(type, id) \
    on conflict do nothing), \
  untyped as ( \
    delete from mim.entity_types t using unnest($26::text[], $27::text[]) as u(type, id) cross join ",
    place!("mim.entity_types", "x.type = u.type and x.id = u.id"),
    " where t.ctid = its.place), \
  unplaced as (delete from mim.entity_geometries g using unnest($28::text[]) as u(id) cross join ",
    place!("mim.entity_geometries", "x.id = u.id"),
    " where g.ctid = its.place), \
  placed as ( \
    insert into mim.entity_geometries (tenant, id, attr, geom) select $1, p.id, p.attr, mim.searchable(ST_GeomFromEWKB(p.ewkb)) \
    from unnest($11::text[], $12::text[], $13::bytea[]) as p(id, attr, ewkb)), \
  kept as ( \
    insert into mim.history (tenant, entity, attr, instance, recorded, dataset, observed, body) \
    select $1, h.entity, h.attr, h.instance, h.recorded, h.dataset, h.observed, h.body::jsonb \
    from unnest($14::text[], $15::text[], $16::uuid[], $17::timestamptz[], $18::text[], $19::timestamptz[], $20::text[]) \
        as h(entity, attr, instance, recorded, dataset, observed, body)), \
  told as ( \
    insert into mim.changes (tenant, entity, body) select $1, c.entity, c.body \
    from unnest($21::text[], $22::text[]) as c(entity, body) returning number, entity), \
  due as ( \
    insert into mim.deliveries (subscription, lane, change) select d.subscription, d.lane, told.number \
    from unnest($23::bigint[], $24::smallint[], $25::text[]) as d(subscription, lane, entity) join told using (entity)) \
  select 1 where false"
);

// Entities are locked in the one order that all writers keep, so that they never wait for each other in a circle: one after the other, as they are looked up.
macro_rules! locked {
    () => {
        "(select u.id from unnest($2::text[]) as u(id) order by u.id collate \"C\") as asked cross join lateral ( \
           select x.* from mim.entities x where x.tenant = $1 and x.id = asked.id for update offset 0) as e"
    };
}
macro_rules! lock {
    ($columns:expr) => {
        concat!(
            "select ",
            $columns,
            ", (select t.subscriptions from mim.tenants t where t.id = $1) \
             from ",
            locked!()
        )
    };
}

/// Reads and locks entities; of large ones see [`columns_of`].
#[must_use]
pub fn lock(sizes: Sizes) -> &'static str {
    match sizes {
        Sizes::Small => lock!(columns_of_small!()),
        Sizes::Any => lock!(columns_of_any!()),
    }
}

/// Reads one entity.
#[must_use]
pub fn read(sizes: Sizes) -> &'static str {
    match sizes {
        Sizes::Small => concat!(
            "select ",
            columns_of_small!(),
            " from mim.entities e where e.tenant = $1 and e.id = $2"
        ),
        Sizes::Any => concat!(
            "select ",
            columns_of_any!(),
            " from mim.entities e where e.tenant = $1 and e.id = $2"
        ),
    }
}

/// Reads and locks as many of the entities, by id, as have at most `$3` bytes of attributes together; of those after
/// them comes their size. Every row ends with the epoch of the subscriptions; where no entity is there it is the only one.
pub const LOCK_SOME: &str = concat!(
    "with locked as materialized ( \
    select e.id, e.types, e.scope, e.attrs::text as attrs, e.created, e.modified from ",
    locked!(),
    ") \
  select l.id, l.types, l.scope, \
    case when sum(octet_length(l.attrs)) over (order by l.id) <= $3::bigint then l.attrs else octet_length(l.attrs)::text end, \
    l.created, l.modified, t.subscriptions \
  from mim.tenants t left join locked l on true where t.id = $1 order by l.id"
);

/// Which column of what is locked has the epoch of the subscriptions.
pub const EPOCH: usize = 6;

/// Deletes locked entities: their ids, then pairs of type and id, then up to which instance each one's past goes with it,
/// where there may be any.
pub const DELETE: &str = concat!(
    "with gone as (delete from mim.entities e using unnest($2::text[]) as u(id) cross join ",
    place!("mim.entities", "x.id = u.id"),
    " where e.ctid = its.place), \
  untyped as (delete from mim.entity_types t using unnest($3::text[], $4::text[]) as u(type, id) cross join ",
    place!("mim.entity_types", "x.type = u.type and x.id = u.id"),
    " where t.ctid = its.place), \
  unplaced as (delete from mim.entity_geometries g using unnest($2::text[]) as u(id) cross join ",
    place!("mim.entity_geometries", "x.id = u.id"),
    " where g.ctid = its.place), \
  past_only as (delete from mim.temporal_entities t where t.tenant = $1 and t.id = any($2::text[])), \
  forgotten as ( \
    insert into mim.forgotten as f (tenant, entity, before) select $1, u.id, u.before \
    from unnest($2::text[], $5::uuid[]) as u(id, before) where u.before is not null \
    on conflict (tenant, entity) do update set before = greatest(f.before, excluded.before)), \
  told as ( \
    insert into mim.changes (tenant, entity, body) select $1, c.entity, c.body \
    from unnest($6::text[], $7::text[]) as c(entity, body) returning number, entity), \
  due as ( \
    insert into mim.deliveries (subscription, lane, change) select d.subscription, d.lane, told.number \
    from unnest($8::bigint[], $9::smallint[], $10::text[]) as d(subscription, lane, entity) join told using (entity)) \
  select 1 where false"
);

/// Entities as the columns of [`DELETE`].
#[derive(Default)]
pub struct Gone {
    /// Ids.
    pub ids: Vec<String>,
    /// Pairs of type and id.
    pub typed: (Vec<String>, Vec<String>),
    /// See [`Keeping::forgets`].
    pub before: Vec<Option<Uuid>>,
    /// What is told subscribers.
    pub told: Told,
    keeping: Keeping,
}

impl Gone {
    /// Columns of no entity yet.
    #[must_use]
    pub fn new(beside: &Beside) -> Self {
        Self {
            told: Told::new(Arc::clone(&beside.known)),
            keeping: beside.keeping,
            ..Self::default()
        }
    }

    /// Adds an entity that is deleted at this time.
    pub fn add(&mut self, entity: &Entity, at: Timestamp) {
        self.ids.push(entity.id.clone());
        for iri in &entity.types {
            self.typed.0.push(iri.clone());
            self.typed.1.push(entity.id.clone());
        }
        self.before.push(self.keeping.forgets(entity));
        self.told.add(Some(entity), None, at);
    }
}

/// The parameters of [`INSERT`] and [`UPDATE`] up to `$25`.
macro_rules! columns {
    ($tenant:expr, $columns:expr $(, $more:expr)*) => {
        &[
            &$tenant.0, &$columns.ids, &$columns.types, &$columns.scopes, &$columns.attrs, &$columns.terms,
            &$columns.created, &$columns.modified, &$columns.typed.0, &$columns.typed.1, &$columns.places.0,
            &$columns.places.1, &$columns.places.2, &$columns.past.entities, &$columns.past.attrs,
            &$columns.past.instances, &$columns.past.recorded, &$columns.past.datasets, &$columns.past.observed,
            &$columns.past.bodies, &$columns.told.entities, &$columns.told.bodies, &$columns.told.subscriptions,
            &$columns.told.lanes, &$columns.told.of $(, $more)*
        ]
    };
}

/// The parameters of [`DELETE`].
macro_rules! gone {
    ($tenant:expr, $gone:expr) => {
        &[
            &$tenant.0,
            &$gone.ids,
            &$gone.typed.0,
            &$gone.typed.1,
            &$gone.before,
            &$gone.told.entities,
            &$gone.told.bodies,
            &$gone.told.subscriptions,
            &$gone.told.lanes,
            &$gone.told.of,
        ]
    };
}
pub(super) use {columns, gone};
