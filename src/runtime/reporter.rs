/// How many reasons of one failure are told: nodes that differ in theirs, and what comes to light once a name resolves.
const MOST_REASONS: usize = 8;

/// One log line a change of state or a new reason, not one a try.
pub(super) struct Reporter {
    task: &'static str,
    /// Why it fails, as told so far; empty while it works.
    told: Vec<String>,
}

impl Reporter {
    pub(super) fn new(task: &'static str) -> Self {
        Self { task, told: Vec::new() }
    }

    pub(super) fn note<T, E: std::fmt::Display>(&mut self, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if !std::mem::take(&mut self.told).is_empty() {
                    tracing::info!(task = self.task, "works again");
                }
                Some(value)
            }
            Err(error) => {
                if self.is_news(error.to_string()) {
                    tracing::warn!(task = self.task, %error, "fails, and is tried again");
                }
                None
            }
        }
    }

    fn is_news(&mut self, reason: String) -> bool {
        let is_news = self.told.len() < MOST_REASONS && !self.told.contains(&reason);
        if is_news {
            self.told.push(reason);
        }
        is_news
    }
}

pub(super) fn report_once<E: std::fmt::Display>(task: &'static str, outcome: Result<(), E>) {
    if let Err(error) = outcome {
        tracing::warn!(task, %error, "failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_until_it_works_again() {
        let mut reporter = Reporter::new("test");
        let mut fails = |reason: &str| {
            let before = reporter.told.len();
            assert_eq!(reporter.note::<(), _>(Err(reason)), None);
            reporter.told.len() > before
        };
        assert!(fails("no such name"));
        assert!(!fails("no such name"));
        assert!(fails("wrong password"));
        assert!(!fails("no such name"));
        assert_eq!(reporter.note(Ok::<_, &str>(1)), Some(1));
        assert!(reporter.is_news("no such name".to_owned()));
    }

    #[test]
    fn reasons_without_end_are_not_told_without_end() {
        let mut reporter = Reporter::new("test");
        let told = (0..100).filter(|number| reporter.is_news(number.to_string())).count();
        assert_eq!(told, MOST_REASONS);
    }
}
