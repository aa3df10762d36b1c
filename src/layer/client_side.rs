use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time;
use aws_lc_rs::digest;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::backend::{Fields, Opened};
use super::error::Error;
use super::login::LogIn;
use super::options::InvalidOptions;
use crate::session::{
    ClassName, Classes, Clock, DataKey, Json, JsonMap, Keyring, Memo, Random, RandomError, SealingKeys, Security,
    ServerId, Session, SystemClock, SystemRandom, Timestamp, Token, UserId, Verdict, clock_millis, data_bytes,
};
use crate::web::{CookieCredential, find_cookie};

/// The longest name and value of one piece together, in bytes: below the 4,096 that browsers keep, and so that two of
/// them fit into one header line of 8 KiB, the most that many servers take.
const MAX_PIECE_BYTES: usize = 3_900;
/// The most pieces that can be asked for.
const MAX_PIECES: usize = 8;

/// Sessions that the client alone holds: the whole session sealed in its cookie, and no store.
///
/// What is in the cookie can be neither read nor changed by the client (XAES-256-GCM), and its expiry is inside the
/// seal. **What this cannot do:** end a session. A log-out clears the cookie, but a copy of it opens the session until
/// that expires, and of two requests at the same time that change the session the later answer wins. Where that
/// matters, keep sessions in a store.
///
/// ```
/// use cloakroom::layer::{ClientSide, Options, SessionLayer};
///
/// let secrets = ["a secret of at least thirty-two bytes"]; // the first seals, all open
/// let layer = SessionLayer::client_side(ClientSide::new(secrets)?, Options::default())?;
/// # let _ = layer;
/// # Ok::<(), cloakroom::layer::InvalidOptions>(())
/// ```
#[derive(Clone)]
pub struct ClientSide {
    keys: Arc<SealingKeys>,
    classes: Classes,
    max_pieces: usize,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    holder: ServerId,
}

/// A sealed session, as it is written.
#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(rename = "t")]
    token: String,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(rename = "c")]
    class: String,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<String>,
    #[serde(rename = "d")]
    data: JsonMap,
    #[serde(rename = "n")]
    created_at: u64,
    #[serde(rename = "l")]
    last_activity_at: u64,
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    authenticated_at: Option<u64>,
    #[serde(rename = "i")]
    idle: u64,
    #[serde(rename = "e")]
    absolute_expires_at: u64,
    #[serde(rename = "v")]
    version: u64,
}

impl ClientSide {
    /// Seals with the first of these secrets and opens with all of them, each of at least 32 random bytes. To rotate them,
    /// make the new one known to every replica as the last, then make it the first, and remove the old one when the
    /// sessions that it sealed have expired.
    pub fn new<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, InvalidOptions> {
        let secrets: Vec<S> = secrets.into_iter().collect();
        let mut ring = secrets.iter().map(AsRef::as_ref);
        let too_short = ring.clone().any(|secret| secret.len() < SealingKeys::SHORTEST_SECRET);
        let Some(first) = ring.next().filter(|_| !too_short) else {
            let shortest = SealingKeys::SHORTEST_SECRET;
            return Err(InvalidOptions(format!(
                "the secrets of client-side sessions: at least one, each of at least {shortest} bytes"
            )));
        };
        let failed = |error: &dyn std::fmt::Display| InvalidOptions(error.to_string());
        Ok(Self {
            keys: Arc::new(SealingKeys::new(first, ring).map_err(|error| failed(&error))?),
            classes: Classes::default(),
            max_pieces: 2,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            holder: ServerId::new("client").map_err(|error| failed(&error))?,
        })
    }

    /// Other classes than the default ones.
    pub fn classes(mut self, classes: Classes) -> Self {
        self.classes = classes;
        self
    }

    /// Over how many cookies a session may be spread, 1 to 8; 2 by default, which hold about 5,700 bytes. Every request
    /// carries them all: look up how long a header line your servers and proxies take before you raise it.
    pub fn max_cookies(mut self, count: usize) -> Self {
        self.max_pieces = count.clamp(1, MAX_PIECES);
        self
    }

    /// Another clock than the machine's, for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The pieces that a request carries, in order: none where it has no session, nothing where it is not as we write it.
    pub(super) fn gather(&self, headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
        let mut pieces = Vec::new();
        let mut count = 1;
        while pieces.len() < count {
            match find_cookie(headers, &piece_name(name, pieces.len())) {
                CookieCredential::Value(value) => {
                    let value = if pieces.is_empty() {
                        let (announced, value) = value.split_once('.').unwrap_or(("1", value));
                        count = announced
                            .parse()
                            .ok()
                            .filter(|count| (1..=self.max_pieces).contains(count))?;
                        value
                    } else {
                        value
                    };
                    pieces.push(value.to_owned());
                }
                CookieCredential::None if pieces.is_empty() => return Some(pieces),
                CookieCredential::None | CookieCredential::Refused => return None,
            }
        }
        Some(pieces)
    }

    /// The live session in these pieces.
    pub(super) fn open(&self, name: &str, pieces: &[String]) -> Option<Opened> {
        let sealed = URL_SAFE_NO_PAD.decode(pieces.concat()).ok()?;
        let opened = match self.keys.open(&place(name), &sealed) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%error, "a sealed session was refused");
                return None;
            }
        };
        let content: Content = serde_json::from_slice(&opened.value).ok()?;
        let now = self.clock.now();
        let (token, session) = self.restore(content)?;
        (session.verdict(now) == Verdict::Alive).then(|| Opened {
            stale: !opened.by_first || now.since(session.last_activity_at) >= session.touch_interval(),
            presented: session.id,
            session: Arc::new(session),
            now,
            token: Some(token),
        })
    }

    fn restore(&self, content: Content) -> Option<(Token, Session)> {
        let token: Token = content.token.parse().ok()?;
        let user_id = match &content.user {
            Some(user) => Some(UserId::new(user).ok()?),
            None => None,
        };
        let last_activity_at = Timestamp::from_millis(content.last_activity_at);
        let absolute_expires_at = Timestamp::from_millis(content.absolute_expires_at);
        let idle = Duration::from_millis(content.idle);
        let session = Session {
            id: token.id(),
            user_id,
            class: ClassName::new(&content.class).ok()?,
            roles: content.roles,
            permissions: content.permissions,
            data_bytes: data_bytes(&content.data),
            data: content.data,
            metadata: JsonMap::new(),
            security: Security::default(),
            created_at: Timestamp::from_millis(content.created_at),
            last_activity_at,
            expires_at: last_activity_at.plus(idle).min(absolute_expires_at),
            absolute_expires_at,
            authenticated_at: content.authenticated_at.map(Timestamp::from_millis),
            version: content.version,
            server_id: self.holder.clone(),
            migrated_at: None,
            migrations: 0,
            previous_server_id: None,
            idle,
            fingerprint: None,
            unconfirmed: false,
            memo: Memo::default(),
        };
        Some((token, session))
    }

    /// The cookies that hold a session: their names and values.
    pub(super) fn close(&self, name: &str, opened: &Opened) -> Result<Vec<(String, String)>, Error> {
        let Some(token) = &opened.token else {
            return Err(Error::Ended);
        };
        let session = &opened.session;
        let content = Content {
            token: token.expose(),
            user: session.user_id.as_ref().map(|user| user.as_str().to_owned()),
            class: session.class.as_str().to_owned(),
            roles: session.roles.clone(),
            permissions: session.permissions.clone(),
            data: session.data.clone(),
            created_at: session.created_at.as_millis(),
            last_activity_at: opened.now.as_millis(),
            authenticated_at: session.authenticated_at.map(Timestamp::as_millis),
            idle: clock_millis(session.idle),
            absolute_expires_at: session.absolute_expires_at.as_millis(),
            version: session.version,
        };
        let key = name.to_owned();
        let content = serde_json::to_vec(&content).map_err(|source| Error::Encode { key, source })?;
        let sealed = self.keys.seal(&*self.random, &place(name), &content)?;
        self.split(name, &URL_SAFE_NO_PAD.encode(sealed))
    }

    fn split(&self, name: &str, text: &str) -> Result<Vec<(String, String)>, Error> {
        // Room for the number of pieces before the first, and for that of the piece in its name.
        let room = MAX_PIECE_BYTES.saturating_sub(name.len() + 2).max(1);
        let count = text.len().div_ceil(room).max(1);
        if count > self.max_pieces {
            return Err(Error::TooLarge {
                bytes: text.len() as u64,
                limit: (room * self.max_pieces) as u64,
            });
        }
        let pieces = text.as_bytes().chunks(room).enumerate().map(|(index, piece)| {
            let piece = String::from_utf8_lossy(piece);
            let value = if index == 0 && count > 1 {
                format!("{count}.{piece}")
            } else {
                piece.into_owned()
            };
            (piece_name(name, index), value)
        });
        Ok(pieces.collect())
    }

    /// Names of the cookies beyond the first `count` that the request carried.
    pub(super) fn leftovers(name: &str, presented: usize, count: usize) -> impl Iterator<Item = String> {
        (count..presented).map(move |index| piece_name(name, index))
    }

    /// A new session.
    pub(super) fn create(&self, class: Option<&str>, data: JsonMap) -> Result<Opened, Error> {
        let (token, now) = (self.token()?, self.clock.now());
        let (class, timeouts) = self.class(class.unwrap_or(ClassName::DEFAULT))?;
        let content = Content {
            token: token.expose(),
            user: None,
            class: class.as_str().to_owned(),
            roles: Vec::new(),
            permissions: Vec::new(),
            data,
            created_at: now.as_millis(),
            last_activity_at: now.as_millis(),
            authenticated_at: None,
            idle: clock_millis(timeouts.idle),
            absolute_expires_at: now.plus(timeouts.absolute).as_millis(),
            version: 1,
        };
        let restored = self
            .restore(content)
            .ok_or_else(|| Error::Invalid("the class".to_owned()))?;
        Ok(Opened {
            stale: true,
            presented: restored.1.id,
            session: Arc::new(restored.1),
            now,
            token: Some(token),
        })
    }

    /// The session with a user, and with a new token.
    pub(super) fn log_in(
        &self,
        former: Option<&Opened>,
        pending: Fields,
        log_in: &LogIn,
        class: Option<&str>,
    ) -> Result<Opened, Error> {
        let former_data = former.map(|opened| opened.session.data.clone()).unwrap_or_default();
        let former_class = former.map(|opened| opened.session.class.as_str());
        let class = log_in.class.as_deref().or(former_class).or(class);
        let mut data = merged(&former_data, pending);
        data.retain(|key| log_in.keeps(key));
        let opened = self.create(class, data)?;
        let mut session = (*opened.session).clone();
        session.user_id = Some(log_in.user_id()?);
        session.roles.clone_from(&log_in.roles);
        session.permissions.clone_from(&log_in.permissions);
        session.authenticated_at = Some(opened.now);
        Ok(Opened {
            session: Arc::new(session),
            ..opened
        })
    }

    /// The session with a new token.
    pub(super) fn rotate(&self, opened: &Opened) -> Result<Opened, Error> {
        let token = self.token()?;
        let mut session = (*opened.session).clone();
        session.id = token.id();
        session.version += 1;
        Ok(Opened {
            stale: true,
            presented: session.id,
            session: Arc::new(session),
            now: opened.now,
            token: Some(token),
        })
    }

    /// What binds pages to the session: derived from the token, which nobody sees who cannot open the seal.
    pub(super) fn csrf_token(opened: &Opened) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"csrf:");
        context.update(opened.token.as_ref().map(Token::expose).unwrap_or_default().as_bytes());
        URL_SAFE_NO_PAD.encode(context.finish())
    }

    pub(super) fn verify_csrf(opened: &Opened, given: &str) -> bool {
        constant_time::verify_slices_are_equal(Self::csrf_token(opened).as_bytes(), given.as_bytes()).is_ok()
    }

    /// The classes that a session can have.
    pub(super) fn known_classes(&self) -> &Classes {
        &self.classes
    }

    fn token(&self) -> Result<Token, RandomError> {
        Token::generate(Keyring::random_bucket(&*self.random)?, &*self.random)
    }

    fn class(&self, name: &str) -> Result<(ClassName, crate::session::Class), Error> {
        self.classes.get(name).ok_or_else(|| {
            let known: Vec<_> = self.classes.names().collect();
            Error::Invalid(format!("unknown class `{name}`; the classes are {}", known.join(", ")))
        })
    }
}

impl std::fmt::Debug for ClientSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientSide")
    }
}

/// The session with these changes.
pub(super) fn changed(opened: &Opened, fields: Fields) -> Opened {
    let mut session = (*opened.session).clone();
    session.data = merged(&session.data, fields);
    session.data_bytes = data_bytes(&session.data);
    session.version += 1;
    Opened {
        stale: true,
        session: Arc::new(session),
        ..opened.clone()
    }
}

fn merged(data: &JsonMap, fields: BTreeMap<DataKey, Option<Json>>) -> JsonMap {
    let mut data = data.clone();
    for (key, value) in fields {
        match value {
            Some(value) => data.insert(key.as_str(), value),
            None => data.remove(key.as_str()),
        };
    }
    data
}

/// A sealed session opens only as the cookie of this name.
fn place(name: &str) -> [&str; 2] {
    ["session cookie", name]
}

/// The name of a piece: the first has the cookie's own.
fn piece_name(name: &str, index: usize) -> String {
    if index == 0 {
        name.to_owned()
    } else {
        format!("{name}.{index}")
    }
}
