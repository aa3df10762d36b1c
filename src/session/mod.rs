//! The domain: tokens, ids, records, classes and limits. No I/O and no clock of its own.

mod activity;
mod bucket;
mod cart;
mod class;
mod clock;
mod json;
mod keyring;
mod names;
mod random;
mod record;
mod sealing;
mod security;
mod signing;
mod token;

pub use activity::{Activity, MAX_ACTIVITIES};
pub use bucket::Bucket;
pub use cart::CartItem;
pub use class::{Class, ClassName, Classes, REMEMBER_ME_CLASS};
pub use clock::{Clock, ManualClock, Monotonic, SystemClock, Timestamp};
pub(crate) use clock::{millis as clock_millis, nanos};
pub use json::{Json, JsonMap, data_bytes};
pub(crate) use json::{needs_escape, write_text};
pub use keyring::Keyring;
pub use names::{DataKey, InvalidName, ServerId, UserId};
pub use random::{Random, RandomError, SystemRandom};
pub use record::{Memo, Session, Verdict};
pub use sealing::{Opened, SealError, SealingKeys};
pub use security::{Security, SecurityChange};
pub use signing::SigningKeys;
pub use token::{InvalidToken, OperationId, SessionId, Token};
