//! The store of record: one trait, an embedded store and a Redis store.
