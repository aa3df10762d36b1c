//! A day and a bit of a calm past, written into Prometheus's storage before it starts: so that the bands, whose windows
//! are 26 hours wide, stand from the first minute.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use cloakroom::session::{Clock as _, SystemClock};

use crate::succeed;

/// Longer than the longest window of the bands' spread, in seconds.
const SPAN: u64 = 28 * 3600;
/// In seconds.
const STEP: u64 = 60;

/// What a signal was used to be: its labels and its mean.
pub(crate) struct Habit {
    pub(crate) labels: &'static str,
    pub(crate) mean: f64,
}

/// Writes what the recording rules would have recorded of these habits until now.
pub(crate) fn write(habits: &[Habit], storage: &Path) {
    let now = SystemClock.now().as_millis() / 1000;
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
            for at in (now - SPAN..now - STEP).step_by(usize::try_from(STEP).unwrap()) {
                let wave = f64::from(u32::try_from(at % 610).unwrap()) / 305.0 - 1.0;
                let labels = format!(r#"namespace="shop",job="cloakroom",{}"#, habit.labels);
                let _ = writeln!(text, "{name}{{{labels}}} {} {at}", of(habit.mean, wave));
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
