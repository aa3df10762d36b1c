//! The façade: the one object that every face calls.
