//! The API of mim-operator: one file per kind, no client.
