use aws_lc_rs::rand::{SecureRandom as _, SystemRandom as Generator};

/// The generator failed: nothing may be made from what it did not give (requirement S01).
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the random generator failed")]
pub struct RandomError;

/// Where random bytes come from; a parameter, so that a test can make it fail.
pub trait Random: Send + Sync + 'static {
    /// Fills the whole buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system's cryptographic generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        Generator::new().fill(buffer).map_err(|_| RandomError)
    }
}
