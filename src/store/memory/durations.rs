use std::time::Duration;

use crate::session::Timestamp;
use crate::store::Durations;

const DAY_MILLIS: u64 = 86_400_000;

/// How long the sessions lasted that ended today and yesterday, by days of UTC.
#[derive(Default)]
pub(super) struct DayDurations {
    day: u64,
    today: Durations,
    yesterday: Durations,
}

impl DayDurations {
    pub(super) fn record(&mut self, now: Timestamp, lasted: Duration) {
        self.turn_to(now);
        let millis = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        self.today.record(millis);
    }

    /// All since the beginning of yesterday.
    pub(super) fn sum(&mut self, now: Timestamp) -> Durations {
        self.turn_to(now);
        let mut sum = self.yesterday.clone();
        sum.merge(&self.today);
        sum
    }

    fn turn_to(&mut self, now: Timestamp) {
        let day = now.as_millis() / DAY_MILLIS;
        if day <= self.day {
            return;
        }
        let ended_day = std::mem::take(&mut self.today);
        self.yesterday = if day == self.day + 1 {
            ended_day
        } else {
            Durations::default()
        };
        self.day = day;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_today_and_tomorrow_and_no_longer() {
        let noon = Timestamp::from_millis(20_000 * DAY_MILLIS + DAY_MILLIS / 2);
        let day = Duration::from_millis(DAY_MILLIS);
        let mut durations = DayDurations::default();
        durations.record(noon, Duration::from_secs(5));
        assert_eq!(durations.sum(noon).count, 1);
        let end_of_tomorrow = noon.plus(day + day / 2).minus(Duration::from_millis(1));
        assert_eq!(durations.sum(end_of_tomorrow).sum_millis, 5_000);
        assert_eq!(durations.sum(noon.plus(day + day / 2)).count, 0);
    }

    #[test]
    fn days_without_an_end_are_skipped() {
        let day = Duration::from_millis(DAY_MILLIS);
        let start = Timestamp::from_millis(20_000 * DAY_MILLIS);
        let mut durations = DayDurations::default();
        durations.record(start, Duration::from_secs(5));
        durations.record(start.plus(3 * day), Duration::from_secs(7));
        assert_eq!(durations.sum(start.plus(3 * day)).sum_millis, 7_000);
    }
}
