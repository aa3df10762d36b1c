//! A day and a bit of a calm past, written into Prometheus's storage before it starts: so that the bands, whose windows
//! are 26 hours wide, stand from the first minute.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::succeed;

/// Longer than the longest window of the bands' spread.
const SPAN: Duration = Duration::from_secs(28 * 3600);
const STEP: Duration = Duration::from_secs(60);

/// What a signal was used to be: its labels and its mean.
pub(crate) struct Habit {
    pub(crate) labels: &'static str,
    pub(crate) mean: f64,
}

/// Writes what the recording rules would have recorded of these habits until now.
pub(crate) fn write(habits: &[Habit], storage: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut text = String::new();
    for (name, of) in [
        (
            "cloakroom:signal",
            (|mean, wave| mean * (1.0 + 0.02 * wave)) as fn(f64, f64) -> f64,
        ),
        ("cloakroom:signal:mean_1h", |mean, _| mean),
        (
            "cloakroom:signal:variation_1h",
            |mean: f64, _| if mean > 0.0 { 0.014 } else { 0.0 },
        ),
    ] {
        let _ = writeln!(text, "# TYPE {name} gauge");
        for habit in habits {
            let mut at = now - SPAN;
            while at < now - STEP {
                let wave = (at.as_secs_f64() / 97.0).sin();
                let labels = format!(r#"namespace="shop",job="cloakroom",{}"#, habit.labels);
                let _ = writeln!(text, "{name}{{{labels}}} {} {}", of(habit.mean, wave), at.as_secs());
                at += STEP;
            }
        }
    }
    text.push_str("# EOF\n");
    let file = storage.with_extension("openmetrics");
    std::fs::write(&file, text).unwrap();
    std::fs::create_dir_all(storage).unwrap();
    succeed(
        Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&file, storage]),
    );
}
