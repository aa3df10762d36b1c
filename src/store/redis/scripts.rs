use std::fmt::Write as _;

use aws_lc_rs::digest;
use prometheus::{Histogram, IntCounter};

use crate::telemetry::Metrics;

/// A Lua script and the digest by which Redis knows it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) name: &'static str,
    pub(super) source: String,
    pub(super) sha: String,
    pub(super) counters: Counters,
}

/// A script's metrics, found beforehand: a call looks no label up.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) duration: Histogram,
    pub(super) ok: IntCounter,
    pub(super) failed: IntCounter,
}

impl Script {
    /// Puts a script together: its first line (the flags), the rooms it uses, and the rest of it.
    fn new(name: &'static str, text: &str, rooms: &[&str], metrics: &Metrics) -> Self {
        let (flags, body) = text.split_once('\n').unwrap_or((text, ""));
        let source = [&[flags], rooms, &[body]].concat().join("\n");
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, source.as_bytes());
        let sha = hash.as_ref().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let outcome = |outcome| metrics.store_operations.with_label_values(&[name, outcome]);
        let counters = Counters {
            duration: metrics.store_duration.with_label_values(&[name]),
            ok: outcome("ok"),
            failed: outcome("failed"),
        };
        Self {
            name,
            source,
            sha,
            counters,
        }
    }
}

macro_rules! scripts {
    ($($name:ident: [$($room:literal),*];)*) => {
        /// Every script of the store.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
        }

        /// The names of all scripts, as metrics know them.
        pub const SCRIPT_NAMES: &[&str] = &[$(stringify!($name)),*];

        impl Scripts {
            pub(super) fn new(metrics: &Metrics) -> Self {
                Self {
                    $($name: Script::new(
                        stringify!($name),
                        include_str!(concat!("scripts/", stringify!($name), ".lua")),
                        &[$(include_str!(concat!("scripts/", $room, ".lua"))),*],
                        metrics,
                    ),)*
                }
            }

            /// All of them.
            pub(super) fn all(&self) -> impl Iterator<Item = &Script> {
                [$(&self.$name),*].into_iter()
            }
        }
    };
}

scripts! {
    get: [];
    alias: [];
    create: ["lib"];
    confirm: ["lib"];
    change: ["lib"];
    increment: ["lib"];
    cart: ["lib"];
    touch: ["lib", "move"];
    migrate: ["lib", "move"];
    rotate: ["lib"];
    reseal: ["lib"];
    end: ["lib"];
    end_user: ["lib"];
    sessions_of: ["lib"];
    record_activity: ["lib"];
    activities: ["lib"];
    user_activities: ["lib"];
    sweep: ["lib", "expired"];
    count: ["lib", "expired"];
    end_bucket: ["lib", "expired"];
    page: ["lib", "expired"];
    events: [];
    layout: [];
    announce: [];
    lead: [];
    value_or_claim: [];
    hold_value: [];
    reseal_value: [];
    count_up: [];
    bookmark: [];
}
