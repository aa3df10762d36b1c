use crate::store::StoreError;

/// The outcome of asking or telling the fleet.
pub type Result<T> = std::result::Result<T, FleetError>;

/// Why the fleet could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The store by which its servers know each other did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The API server of Kubernetes did not answer, or refused.
    #[error("kubernetes: {0}")]
    Kubernetes(String),
}
