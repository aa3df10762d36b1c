//! Answering from memory, never stale: the L1 cache and its lease rules.
