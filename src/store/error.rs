use crate::session::RandomError;

/// Why the store of record did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer, not in time, or one that leaves the truth unknown: the caller may try again.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// An answer that belongs to another request (S51): nothing of it was used, and its connection was replaced.
    #[error("the store's answer belongs to another request")]
    Mismatch,
    /// A record that cannot be read.
    #[error("corrupt record: {0}")]
    Corrupt(String),
    /// There is no such session, or it has expired.
    #[error("no such session")]
    NotFound,
    /// The session has another version than the change was conditional on.
    #[error("the session's version is {current}")]
    Conflict {
        /// The version that it has.
        current: u64,
    },
    /// The session's data would grow past its limit; nothing was changed.
    #[error("the session's data would take {bytes} bytes of at most {limit}")]
    TooLarge {
        /// What the data would take.
        bytes: u64,
        /// What it may take.
        limit: u64,
    },
    /// The user has as many sessions as the limit allows, and the policy is to refuse.
    #[error("the user has {limit} sessions, which is the limit")]
    TooManySessions {
        /// The limit.
        limit: u32,
    },
    /// The value to be incremented is no number, or the sum leaves the range of 64 bits.
    #[error("the value is no number that can be incremented")]
    NotANumber,
    /// The data key `cart` holds something else than a cart.
    #[error("the data key `cart` holds no list of {{product_id, quantity}}")]
    NotACart,
    /// The random generator failed.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl StoreError {
    /// Whether the store could not be asked, so that nothing is known of the session.
    pub fn leaves_truth_unknown(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::Mismatch | Self::Corrupt(_) | Self::Random(_)
        )
    }
}
