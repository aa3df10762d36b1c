//! Targets of `crate::fuzzing`: what Redis answers.

use super::codec;
use super::events;
use super::reply::Reply;
use super::vault::Vault;
use crate::session::{Bucket, SessionId, Timestamp};

const TAG: &str = "tag";

/// Whose answer every input is said to be.
fn asked() -> Option<SessionId> {
    "a7AAAAAAAAAAAAAAAAAAAAAA".parse().ok()
}

/// Script answers and records: what is read is the session that was asked for, and its times are in order (S51).
pub(crate) fn record(bytes: &[u8]) {
    let (Some(id), Some(vault)) = (asked(), Vault::off()) else {
        return;
    };
    if let Ok((head, mut reply)) = Reply::open(bytes, TAG) {
        assert!(
            Reply::open(bytes, "other").is_err(),
            "an answer to another request was taken"
        );
        if let Ok(codec::Record { snapshot, .. }) = codec::record(&mut reply, id, head.now, &vault) {
            let session = &snapshot.session;
            assert_eq!((session.id, snapshot.now), (id, head.now));
            assert!(session.expires_at <= session.absolute_expires_at);
            assert!(session.created_at <= session.last_activity_at);
            let json = serde_json::to_value(&**session);
            assert!(
                json.is_ok_and(|json| json["id"] == id.to_string().as_str()),
                "it cannot be shown"
            );
        }
    }
    // Lists of each kind: whatever length they claim, no more is read than is there.
    for read in [
        |reply: &mut Reply<'_>| reply.texts().map(|texts| texts.len()),
        |reply: &mut Reply<'_>| reply.pairs().map(|pairs| 2 * pairs.len()),
        |reply: &mut Reply<'_>| reply.parsed::<SessionId>().map(|ids| ids.len()),
    ] {
        if let Ok(items) = read(&mut Reply::over(bytes)) {
            assert!(items < bytes.len(), "more items than bytes");
        }
    }
}

/// Entries of the event streams: the session that it happened to is named, and where it stands is kept.
pub(crate) fn event(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some((entry, json)) = text.split_once(' ') else {
        return;
    };
    let (bucket, Some(vault)) = (Bucket::new(7), Vault::off()) else {
        return;
    };
    let Some(events::Read::Event(event)) = events::parse(bucket, entry, json, &vault) else {
        return;
    };
    assert_eq!(event.id.bucket, bucket);
    let shown = event.id.to_string();
    assert_eq!(shown.parse().ok(), Some(event.id));
    let told = serde_json::to_value(&event);
    assert!(told.is_ok_and(|told| told["session_id"] == event.session_id.to_string().as_str()));
    assert!(
        json.contains(event.kind.as_str()) || json.contains('\\'),
        "a kind that nobody named"
    );
    assert!(event.at >= Timestamp::default());
}
