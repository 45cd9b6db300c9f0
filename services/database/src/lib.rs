//! First process of the PostgreSQL operand: initialises, starts and looks after one server.
