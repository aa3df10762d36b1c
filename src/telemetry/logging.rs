use std::fmt::{self as text, Debug, Display, Write as _};
use std::io::IsTerminal as _;

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{self, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::session::needs_escape;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

impl LogFormat {
    /// JSON, unless a person looks on.
    pub fn by_terminal() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Pretty
        } else {
            Self::Json
        }
    }
}

/// Installs the process's log: to standard error, from `level` on (a level or a filter such as
/// `info,cloakroom::store=debug`).
pub fn install(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| format!("log.level `{level}`: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Json => registry
            .with(
                lines
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .fmt_fields(Members),
            )
            .try_init(),
        LogFormat::Pretty => registry
            .with(
                lines
                    .compact()
                    .with_target(false)
                    .with_ansi(std::io::stderr().is_terminal()),
            )
            .try_init(),
    };
    installed.map_err(|error| format!("log: {error}"))
}

/// Writes a span's fields as the members of a JSON object, as the JSON lines want them. The one that comes along gathers
/// them in a tree first, which took a seventh of the instructions of a read from the store: each has a span, and few write
/// a line.
struct Members;

impl<'writer> FormatFields<'writer> for Members {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> text::Result {
        let mut object = Object {
            writer,
            is_begun: false,
            outcome: Ok(()),
        };
        fields.record(&mut object);
        object.end()
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> text::Result {
        // The object goes on where it ended.
        let is_begun = current.fields.pop() == Some('}') && current.fields.len() > 1;
        if !is_begun {
            current.fields.clear();
        }
        let mut object = Object {
            writer: current.as_writer(),
            is_begun,
            outcome: Ok(()),
        };
        fields.record(&mut object);
        object.end()
    }
}

/// An object on its way.
struct Object<'writer> {
    writer: Writer<'writer>,
    is_begun: bool,
    outcome: text::Result,
}

impl Object<'_> {
    fn member(&mut self, field: &Field, value: impl Display) {
        let before = if self.is_begun { ',' } else { '{' };
        self.is_begun = true;
        if self.outcome.is_ok() {
            self.outcome = write!(self.writer, "{before}{}:{value}", Quoted(field.name()));
        }
    }

    fn end(mut self) -> text::Result {
        self.outcome?;
        self.writer.write_str(if self.is_begun { "}" } else { "{}" })
    }
}

impl Visit for Object<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.member(field, Quoted(&format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, Quoted(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, value);
    }
}

/// A text as JSON.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut text::Formatter<'_>) -> text::Result {
        if needs_escape(self.0) {
            return f.write_str(&serde_json::to_string(self.0).map_err(|_| text::Error)?);
        }
        f.write_char('"')?;
        f.write_str(self.0)?;
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::field;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_of_its_span_whatever_they_hold() {
        let lines = Lines::default();
        let writer = lines.clone();
        let format = fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .fmt_fields(Members)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(format), || {
            let span = tracing::info_span!(
                "request",
                id = "a\"b\\c\n\u{1}\u{e9}",
                route = field::Empty,
                count = 3,
                late = true
            );
            span.in_scope(|| tracing::info!("first"));
            span.record("route", "/auth");
            span.in_scope(|| tracing::info!("second"));
            let bare = tracing::info_span!("bare", route = field::Empty, peer = ?[1]);
            bare.in_scope(|| tracing::info!("third"));
            let empty = tracing::info_span!("empty", route = field::Empty);
            empty.record("route", "/session");
            empty.in_scope(|| tracing::info!("fourth"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let spans: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["span"].clone())
            .collect();
        let id = "a\"b\\c\n\u{1}\u{e9}";
        assert_eq!(
            spans,
            [
                json!({"name": "request", "id": id, "count": 3, "late": true}),
                json!({"name": "request", "id": id, "count": 3, "late": true, "route": "/auth"}),
                json!({"name": "bare", "peer": "[1]"}),
                json!({"name": "empty", "route": "/session"}),
            ]
        );
    }
}
