//! One fuzzer for all targets of `cloakroom::fuzzing`; `CLOAKROOM_FUZZ` names the one that runs.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

use cloakroom::fuzzing::{TARGETS, Target};

/// Looked up once: the fuzzer calls a million times.
static TARGET: OnceLock<Target> = OnceLock::new();

fn target() -> Target {
    let wanted = std::env::var("CLOAKROOM_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let (_, target) = found.unwrap_or_else(|| {
        let known: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        panic!("CLOAKROOM_FUZZ={wanted}: no such target; there are {}", known.join(", "))
    });
    *target
}

fuzz_target!(|bytes: &[u8]| TARGET.get_or_init(target)(bytes));
