//! `mimctl broker`: entities of any NGSI-LD broker as a file of lines, and back.
//!
//! * [`client`]: one broker, asked one thing at a time, for as long as patience lasts;
//! * [`export`] and [`import`];
//! * [`checkpoint`]: how far a command is, as a file;
//! * [`progress`]: what the person who waits is told.

pub mod checkpoint;
pub mod client;
pub mod export;
pub mod import;
pub mod progress;
