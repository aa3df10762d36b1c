//! Who had something done: told with the events of it, and in the audit log.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::FutureExt as _;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;

/// The longest name that is told, in bytes.
const LONGEST: usize = 256;
/// Names go through scripts as one word.
const WORD: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b':')
    .remove(b'@');

/// Who it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Actor {
    /// An application, or an operator, by the API for them.
    Application {
        /// The subject of its credential; nothing where it had none, or where that names none.
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
    },
    /// A visitor, by the session's own credential.
    Visitor,
}

/// Who had something done, and by which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Who.
    pub actor: Actor,
    /// The id of the request, as its answer and the log have it.
    pub request_id: Option<String>,
}

impl Cause {
    /// Runs work that it is the cause of.
    pub fn of<F: Future>(self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.with_context(Context::current_with_value(self))
    }

    /// That of the present work.
    pub fn current() -> Option<Self> {
        Context::map_current(|context| context.get::<Self>().cloned())
    }
}

impl Actor {
    /// An application with the subject of its credential, as far as that can be told.
    pub fn application(subject: Option<&str>) -> Self {
        let told = subject.filter(|subject| {
            !subject.is_empty() && subject.len() <= LONGEST && !subject.chars().any(char::is_control)
        });
        Self::Application {
            subject: told.map(str::to_owned),
        }
    }

    /// As one word without spaces.
    pub fn word(&self) -> String {
        match self {
            Self::Application { subject: Some(subject) } => {
                format!("application/{}", utf8_percent_encode(subject, WORD))
            }
            Self::Application { subject: None } => "application".to_owned(),
            Self::Visitor => "visitor".to_owned(),
        }
    }

    /// The actor of a word; nothing where it is none.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.split_once('/') {
            None if word == "visitor" => Some(Self::Visitor),
            None if word == "application" => Some(Self::Application { subject: None }),
            Some(("application", subject)) => {
                let subject = percent_decode_str(subject).decode_utf8().ok()?;
                Some(Self::application(Some(&subject)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word())
    }
}

/// What the scripts are told beside their tag: the trace and the cause of the present work, a word each. Nothing where it
/// has neither.
pub(crate) fn context_words() -> String {
    let mut words = String::new();
    if let Some(traceparent) = super::current_traceparent() {
        words += " traceparent=";
        words += &traceparent;
    }
    if let Some(cause) = Cause::current() {
        words += " actor=";
        words += &cause.actor.word();
        if let Some(request_id) = &cause.request_id {
            words += " request=";
            words += &utf8_percent_encode(request_id, CONTROLS).to_string();
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_survives_as_a_word() {
        for actor in [
            Actor::Visitor,
            Actor::Application { subject: None },
            Actor::application(Some("billing service=1/ü%")),
            Actor::application(Some("system:serviceaccount:shop:web")),
        ] {
            let word = actor.word();
            assert!(!word.contains(' ') && word.is_ascii(), "{word}");
            assert_eq!(Actor::from_word(&word), Some(actor));
        }
        assert_eq!(Actor::from_word("somebody"), None);
    }

    #[test]
    fn a_name_that_cannot_be_told_is_left_out() {
        for name in ["", "a\nb", &"x".repeat(257)] {
            assert_eq!(Actor::application(Some(name)), Actor::Application { subject: None });
        }
    }

    #[tokio::test]
    async fn work_without_a_cause_says_nothing_and_work_with_one_names_it() {
        assert_eq!(context_words(), "");
        let cause = Cause {
            actor: Actor::application(Some("shop")),
            request_id: Some("r-1".to_owned()),
        };
        let told = cause
            .of(async {
                tokio::task::yield_now().await;
                context_words()
            })
            .await;
        assert_eq!(told, " actor=application/shop request=r-1");
        assert_eq!(context_words(), "");
    }
}
