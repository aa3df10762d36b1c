use crate::session::Timestamp;
use crate::store::StoreError;

/// A script's answer: one `MessagePack` array in one bulk string, for each bulk string of a reply costs the client more
/// than a whole packed record.
#[derive(Debug, Clone)]
pub(super) struct Reply<'a> {
    rest: &'a [u8],
}

type Result<T> = std::result::Result<T, StoreError>;

/// The beginning of every answer.
pub(super) struct Head<'a> {
    pub(super) now: Timestamp,
    pub(super) status: &'a str,
}

fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("a script's answer: {what}"))
}

impl<'a> Reply<'a> {
    /// Opens an answer, which must carry the tag of the request (S51).
    pub(super) fn open(bytes: &'a [u8], tag: &str) -> Result<(Head<'a>, Self)> {
        let mut reply = Self { rest: bytes };
        reply.array()?;
        if reply.text()? != tag {
            return Err(StoreError::Mismatch);
        }
        let now = Timestamp::from_millis(reply.number()?);
        let status = reply.text()?;
        Ok((Head { now, status }, reply))
    }

    /// An answer whose beginning was read.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn over(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The length of the array (or of the empty table, which Lua cannot tell from one) that begins here.
    pub(super) fn array(&mut self) -> Result<usize> {
        rmp::decode::read_array_len(&mut self.rest)
            .map(|length| length as usize)
            .map_err(corrupt)
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        let (text, rest) = rmp::decode::read_str_from_slice(self.rest).map_err(corrupt)?;
        self.rest = rest;
        Ok(text)
    }

    /// Bytes that need be no text: Lua knows only strings.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = rmp::decode::read_str_len(&mut self.rest).map_err(corrupt)? as usize;
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| corrupt("a string is cut"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        rmp::decode::read_int(&mut self.rest).map_err(corrupt)
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        rmp::decode::read_bool(&mut self.rest).map_err(corrupt)
    }

    /// A list of texts.
    pub(super) fn texts(&mut self) -> Result<Vec<&'a str>> {
        (0..self.array()?).map(|_| self.text()).collect()
    }

    /// A list of texts, each parsed.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self) -> Result<Vec<T>> {
        (0..self.array()?)
            .map(|_| self.text()?.parse().map_err(|_| corrupt("a malformed item of a list")))
            .collect()
    }

    /// Names and values, as HGETALL gives them.
    pub(super) fn pairs(&mut self) -> Result<Vec<(&'a str, &'a str)>> {
        (0..self.array()? / 2)
            .map(|_| Ok((self.text()?, self.text()?)))
            .collect()
    }
}
