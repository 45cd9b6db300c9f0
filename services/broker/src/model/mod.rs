//! What an entity is, apart from how it travels and where it is kept.
//!
//! Everything here is pure: text and values in, text and values out; no clock, no network, no database.
//!
//! * [`json`]: a JSON value that keeps numbers as sent, with limits that hold before memory is spent;
//! * [`names`]: what may be a URI, a name, a point in time;
//! * [`number`], [`moment`]: numbers and times as texts, compared as what they mean;
//! * [`entity`]: the entity with its attributes expanded to IRIs;
//! * [`values`]: what may stand as a value;
//! * [`read`]: from the three representations a client sends to an entity;
//! * [`expansion`]: how large a document becomes with its names expanded;
//! * [`geometry`]: GeoJSON geometries, checked, and as PostGIS wants them;
//! * [`change`]: what each write operation makes of the entity that is there;
//! * [`merge`]: the one that goes as deep as what it is given;
//! * [`diff`]: what a write did to the entity, instance by instance;
//! * [`instance_id`]: ids of instances of the past;
//! * [`view`]: what a client wishes of the shape of its answer;
//! * [`render`]: from an entity to that shape;
//! * [`linked`]: entities that others link to, and where they stand in an answer;
//! * [`temporal`]: the past of entities as clients see it;
//! * [`stored`]: the text that the database keeps;
//! * [`terms`]: the searchable terms of an entity.

pub mod change;
pub mod diff;
pub mod entity;
pub mod expansion;
pub mod geometry;
pub mod instance_id;
pub mod linked;
pub mod merge;
pub mod moment;
pub mod names;
pub mod read;
pub mod render;
pub mod stored;
pub mod temporal;
pub mod terms;
pub mod values;
pub mod view;

pub use mim_grammar::{Refusal, json, number, refuse};
