//! Who may act.

mod clock;

pub use clock::LeaseClock;
