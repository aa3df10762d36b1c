use crate::session::RandomError;
use crate::store::StoreError;

/// Why the service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request names a class that the deployment does not have.
    #[error("unknown class `{class}`; the classes are {known}")]
    UnknownClass {
        /// The name given.
        class: String,
        /// The names there are.
        known: String,
    },
    /// The request names a server that is not there.
    #[error("unknown server `{server}`; the servers are {known}")]
    UnknownServer {
        /// The id given.
        server: String,
        /// The ids there are.
        known: String,
    },
    /// A log-in names another user than the session's own.
    #[error("the session belongs to another user: end it and create a new one")]
    OtherUser,
    /// A changing session could not be logged in within the tries allowed.
    #[error("the session kept changing during the log-in")]
    Contended,
    /// The durability that was asked for was not reached; the change itself was made.
    #[error("no replica confirmed the change in time")]
    NotConfirmed,
}

impl From<RandomError> for Error {
    fn from(error: RandomError) -> Self {
        Self::Store(error.into())
    }
}
