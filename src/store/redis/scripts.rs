use std::fmt::Write as _;

use aws_lc_rs::digest;

/// A Lua script and the digest by which Redis knows it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) name: &'static str,
    pub(super) source: String,
    pub(super) sha: String,
}

impl Script {
    /// Puts a script together: its first line (the flags), the rooms it uses, and the rest of it.
    fn new(name: &'static str, text: &str, rooms: &[&str]) -> Self {
        let (flags, body) = text.split_once('\n').unwrap_or((text, ""));
        let source = [&[flags], rooms, &[body]].concat().join("\n");
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, source.as_bytes());
        let sha = hash.as_ref().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { name, source, sha }
    }
}

macro_rules! scripts {
    ($($name:ident: [$($room:literal),*];)*) => {
        /// Every script of the store.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                Self {
                    $($name: Script::new(
                        stringify!($name),
                        include_str!(concat!("scripts/", stringify!($name), ".lua")),
                        &[$(include_str!(concat!("scripts/", $room, ".lua"))),*],
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
    end: ["lib"];
    end_user: ["lib"];
    sessions_of: ["lib"];
    record_activity: ["lib"];
    activities: ["lib"];
    sweep: ["lib", "expired"];
    count: ["lib", "expired"];
    end_bucket: ["lib", "expired"];
    page: ["lib", "expired"];
    events: [];
    layout: [];
    announce: [];
    lead: [];
}
