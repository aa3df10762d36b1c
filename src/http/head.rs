use std::mem;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::middleware::Stack;

/// The value of a header whose value another place sets.
pub(super) const TO_BE_SET: HeaderValue = HeaderValue::from_static("");

/// The head of an answer that is given again and again, with all that never changes. What each answer says itself is set
/// in its place, without a search for its name.
pub(super) struct Head<const OWN: usize> {
    template: HeaderMap,
    /// For each header of the template, in order, which of an answer's own values it has.
    places: Vec<Option<usize>>,
}

impl<const OWN: usize> Head<OWN> {
    /// The head of a route's answers, which set the headers `own` themselves, and always say `always`.
    pub(super) fn new(
        own: &[HeaderName; OWN],
        always: Option<(HeaderName, HeaderValue)>,
        stack: &Stack,
        route: &str,
    ) -> Self {
        let mut template: HeaderMap = own.iter().cloned().map(|name| (name, TO_BE_SET)).collect();
        template.extend(always);
        stack.dress(&mut template, Some(route), None);
        let places = template.keys().map(|name| own.iter().position(|own| own == name));
        Self {
            places: places.collect(),
            template,
        }
    }

    /// With an answer's own values.
    pub(super) fn with(&self, mut own: [HeaderValue; OWN]) -> HeaderMap {
        let mut head = self.template.clone();
        for (value, place) in head.values_mut().zip(&self.places) {
            if let Some(place) = place {
                *value = mem::replace(&mut own[*place], TO_BE_SET);
            }
        }
        head
    }
}
