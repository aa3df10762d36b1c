//! The domain: tokens, ids, records, classes and limits. No I/O and no clock of its own.
