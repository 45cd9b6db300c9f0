//! Who is to hear of a write, and how they do.
//!
//! A write and the record of what it changed commit together: one record for each entity that concerns somebody, and one
//! small row for each subscription that it concerns. Those rows stand in lanes, by subscription and by entity; a replica
//! holds a lane for as long as it empties it, sends outside of any transaction, and takes away what was sent. So each
//! notification is sent at least once, those about one entity in the order of its changes, and no lock of the database
//! waits for a receiver.
//!
//! * [`matcher`]: the subscriptions of each tenant, in memory, as of the epoch that a write reads;
//! * [`record`]: the text of a change;
//! * [`dispatch`]: which lanes are emptied now, by whom of this process;
//! * [`lane`]: how one is emptied;
//! * [`message`]: what is told of a change;
//! * [`send`]: by HTTP, or by [`mqtt`];
//! * [`unnoted`]: what came of that and is not in the database yet;
//! * [`interval`]: notifications that wait for no change, [`selected`]: what they tell.

pub mod dispatch;
pub mod interval;
pub mod lane;
pub mod matcher;
pub mod message;
pub mod mqtt;
pub mod record;
pub mod selected;
pub mod send;
pub mod unnoted;
