//! Requests whose end is a matter of opinion.

use super::SMUGGLED;

/// A request with these header lines and this body.
pub(super) fn request(headers: &str, body: &str) -> String {
    format!("POST /session HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}")
}

/// What stands after the head of an attack: the end of a chunked body, and a second request; or so many bytes of a body.
fn chunked() -> String {
    format!("0\r\n\r\n{SMUGGLED}")
}

/// Requests whose end is a matter of opinion.
pub(super) fn corpus() -> Vec<String> {
    let groups = [
        lengths_that_contradict(),
        lengths_that_read_differently(),
        codings_that_not_everybody_knows(),
        chunks_that_read_differently(),
        bodies_that_not_everybody_expects(),
        targets_that_lead_elsewhere(),
    ];
    groups.concat()
}

/// Two lengths, or a length beside chunks.
fn lengths_that_contradict() -> Vec<String> {
    let chunked = chunked();
    let length = chunked.len();
    let mut corpus = Vec::new();
    for headers in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
        format!("Content-Length: 5\r\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\nContent-Length: 5"),
        "Content-Length: 5\r\nContent-length: 5".to_owned(),
        format!("Content-Length: 5, {length}"),
        "Content-Length: 5, 5".to_owned(),
    ] {
        corpus.push(request(&headers, &chunked));
    }
    corpus
}

/// Lengths that not everybody reads alike.
fn lengths_that_read_differently() -> Vec<String> {
    let chunked = chunked();
    let length = chunked.len();
    let mut corpus = Vec::new();
    for value in [
        "+5",
        "-5",
        "0x5",
        "5 5",
        "5\t",
        "\t5",
        "05",
        "5;a=b",
        "5.0",
        "",
        "\u{b}5",
        "5\u{0}",
        "18446744073709551621",
        "4294967301",
    ] {
        corpus.push(request(&format!("Content-Length: {value}"), &chunked));
    }
    for name in [
        "Content-Length ",
        "Content-Length\t",
        "Content_Length",
        "Content-Length\u{0}",
        " Content-Length",
        "X: y\nContent-Length",
        "X: y\rContent-Length",
    ] {
        corpus.push(request(&format!("{name}: 5"), &chunked));
        corpus.push(request(&format!("{name}: 5\r\nContent-Length: {length}"), &chunked));
    }
    corpus
}

/// Codings that not everybody knows.
fn codings_that_not_everybody_knows() -> Vec<String> {
    let chunked = chunked();
    let length = chunked.len();
    let mut corpus = Vec::new();
    for value in [
        "chunked, identity",
        "identity, chunked",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked ",
        "\tchunked",
        "\u{b}chunked",
        "chunked\u{0}",
        "CHUNKED",
        "chunked, chunked",
        "gzip, chunked",
        "\"chunked\"",
        "chunked;q=1",
        ", chunked",
        "",
    ] {
        corpus.push(request(&format!("Transfer-Encoding: {value}"), &chunked));
        corpus.push(request(
            &format!("Transfer-Encoding: {value}\r\nContent-Length: {length}"),
            &chunked,
        ));
    }
    for name in [
        "Transfer-Encoding ",
        "Transfer-Encoding\t",
        "Transfer_Encoding",
        " Transfer-Encoding",
        "X: y\nTransfer-Encoding",
        "X: y\rTransfer-Encoding",
        "Transfer-Encoding: x\r\nTransfer-Encoding",
        "Transfer\u{2010}Encoding",
    ] {
        corpus.push(request(
            &format!("{name}: chunked\r\nContent-Length: {length}"),
            &chunked,
        ));
    }
    corpus
}

/// Chunks that not everybody reads alike.
fn chunks_that_read_differently() -> Vec<String> {
    let mut corpus = Vec::new();
    for body in [
        "0;ext=\"\r\n\r\n",
        "0 ;\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\n\r\n",
        "00000000000000000\r\n\r\n",
        "-0\r\n\r\n",
        "0x0\r\n\r\n",
        "+0\r\n\r\n",
        " 0\r\n\r\n",
        "2\r\nab0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "2\nab\n0\n\n",
        "2;\nab\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF1\r\na\r\n0\r\n\r\n",
        "10000000000000000\r\na\r\n0\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nX: y\n\r\n\r\n",
        "1;a=\nb\r\nx\r\n0\r\n\r\n",
        "0\r\n: \r\n\r\n",
    ] {
        corpus.push(request("Transfer-Encoding: chunked", &format!("{body}{SMUGGLED}")));
    }
    corpus
}

/// Methods and versions whose bodies not everybody expects.
fn bodies_that_not_everybody_expects() -> Vec<String> {
    let mut corpus = Vec::new();
    for head in [
        "GET /session HTTP/1.1\r\nHost: a",
        "HEAD /session HTTP/1.1\r\nHost: a",
        "OPTIONS /session HTTP/1.1\r\nHost: a",
        "POST /session HTTP/1.0\r\nHost: a\r\nConnection: keep-alive",
        "GET /session HTTP/1.1\r\nHost: a\r\nExpect: 100-continue",
        "GET /session HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "POST /session HTTP/1.1\r\nHost: a\r\nConnection: Content-Length",
        "POST /session HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding",
    ] {
        corpus.push(format!(
            "{head}\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
            SMUGGLED.len()
        ));
        corpus.push(format!(
            "{head}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
            SMUGGLED.len()
        ));
    }
    corpus
}

/// Targets and hosts that lead elsewhere.
fn targets_that_lead_elsewhere() -> Vec<String> {
    let mut corpus = Vec::new();
    for head in [
        "GET /session/../v1/stats HTTP/1.1\r\nHost: a",
        "GET /session/..%2fv1/stats HTTP/1.1\r\nHost: a",
        "GET /session%2f..%2fv1%2fstats HTTP/1.1\r\nHost: a",
        "GET //v1/stats HTTP/1.1\r\nHost: a",
        "GET /session HTTP/1.1\r\nHost: a\r\nX-Original-URL: /v1/stats\r\nX-Rewrite-URL: /v1/stats",
        "GET http://a/session HTTP/1.1\r\nHost: b",
        "GET /session HTTP/1.1\r\nHost: a\r\nHost: b",
        "GET /session\tHTTP/1.1\r\nHost: a",
        "GET /session HTTP/1.1 \r\nHost: a",
        "GET /session#/v1/stats HTTP/1.1\r\nHost: a",
        "GET /session HTTP/1.1\r\nHost: a\r\nX: \u{0}\r\nY: z",
        "GET /session\r\nHTTP/1.1\r\nHost: a",
    ] {
        corpus.push(format!("{head}\r\n\r\n"));
    }
    corpus
}
