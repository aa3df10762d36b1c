//! Where one frame of the Redis protocol (RESP2 or RESP3) ends.

/// The length of the first complete frame in `bytes`, or `None` if more must be read.
pub(crate) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let after_line = line_end + 2;
    let kind = *bytes.first()?;
    let count = std::str::from_utf8(&bytes[1..line_end])
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    let count = usize::try_from(count.unwrap_or(0)).unwrap_or(0);
    match kind {
        // Minus one says null: there is no body.
        b'$' | b'=' | b'!' if bytes.get(1) == Some(&b'-') => Some(after_line),
        b'$' | b'=' | b'!' => {
            let end = after_line + count + 2;
            (bytes.len() >= end).then_some(end)
        }
        b'*' | b'~' | b'>' => elements_end(bytes, after_line, count),
        b'%' => elements_end(bytes, after_line, count * 2),
        // Attributes stand before the value that they describe.
        b'|' => elements_end(bytes, after_line, count * 2 + 1),
        _ => Some(after_line),
    }
}

fn elements_end(bytes: &[u8], start: usize, count: usize) -> Option<usize> {
    (0..count).try_fold(start, |end, _| Some(end + frame_length(&bytes[end..])?))
}

/// Whether `needle` occurs in `bytes`.
pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len().max(1)).any(|window| window == needle)
}

/// The words of a frame that is an array of bulk strings, such as a request or a push; empty for any other.
pub(crate) fn words(frame: &[u8]) -> Vec<&[u8]> {
    if !matches!(frame.first(), Some(b'*' | b'>')) {
        return Vec::new();
    }
    let mut words = Vec::new();
    let mut rest = skip_line(frame);
    while let Some(length) = frame_length(rest) {
        let (element, after) = rest.split_at(length);
        words.push(skip_line(element).strip_suffix(b"\r\n").unwrap_or_default());
        rest = after;
    }
    words
}

fn skip_line(bytes: &[u8]) -> &[u8] {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n");
    line_end.map_or(&[], |end| &bytes[end + 2..])
}
