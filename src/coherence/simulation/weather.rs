//! What kind of trouble a run has, drawn from its seed.

use super::prng::Prng;
use super::{MS, SECOND, Time};

/// Rates and delays of one run.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    /// Between two requests on a pod, about.
    pub(super) read_gap: Time,
    /// Between two writes on a pod, about.
    pub(super) write_gap: Time,
    /// Between two faults, about.
    pub(super) fault_gap: Time,
    /// The longest usual delay of a message.
    pub(super) latency: Time,
    /// How many of a thousand replies are slow, by up to `slow`.
    pub(super) slow_permille: u64,
    pub(super) slow: Time,
    /// How many of a thousand steps of a request wait long, by up to `starve`.
    pub(super) starve_permille: u64,
    pub(super) starve: Time,
    /// How many of a thousand writes are ends.
    pub(super) end_permille: u64,
    /// How many of a thousand SSUBSCRIBE fail.
    pub(super) subscribe_fails_permille: u64,
    /// How far a replica lags, at most.
    pub(super) lag: Time,
    /// How often a pod asks a majority without need.
    pub(super) ask_gap: Time,
    /// The kind of fault that strikes most, so that some runs are not too wild for what needs quiet round it.
    pub(super) favourite: Option<usize>,
}

impl Weather {
    pub(super) fn draw(prng: &mut Prng) -> Self {
        let mut pick = |choices: &[Time]| choices[prng.below(choices.len())];
        let favourite = [None, None, Some(2), Some(4), Some(7), Some(10)];
        Self {
            read_gap: pick(&[4 * MS, 10 * MS, 10 * MS, 40 * MS, 250 * MS]),
            write_gap: pick(&[20 * MS, 60 * MS, 200 * MS, SECOND]),
            fault_gap: pick(&[400 * MS, SECOND, 2 * SECOND, 3 * SECOND, 100 * SECOND]),
            latency: pick(&[MS, 5 * MS, 20 * MS, 300 * MS]),
            slow_permille: pick(&[0, 10, 50, 200]),
            slow: pick(&[200 * MS, SECOND, 3 * SECOND]),
            starve_permille: pick(&[0, 5, 20, 100]),
            starve: pick(&[20 * MS, 400 * MS, 2 * SECOND, 4 * SECOND]),
            end_permille: pick(&[5, 20]),
            subscribe_fails_permille: pick(&[0, 100, 400]),
            lag: pick(&[MS, 20 * MS, 400 * MS]),
            ask_gap: pick(&[SECOND, 5 * SECOND]),
            favourite: favourite[prng.below(favourite.len())],
        }
    }
}
