use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::HOST;
use axum::http::{Extensions, HeaderMap, HeaderName, Uri};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Marks requests that came over this server's own TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

/// How the client spoke to the outermost server that we know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Who asks, and for what host: `X-Forwarded-*` count only where the peer is a trusted proxy (S43).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// The client's address as a trusted proxy names it; nothing without one, for then the peer may be an ingress that
    /// stands for all of its users.
    pub(crate) address: Option<IpAddr>,
    /// Nothing where a proxy that is not trusted may have ended TLS.
    pub(crate) scheme: Option<Scheme>,
    /// The host, and the port where it was named.
    pub(crate) authority: Option<String>,
}

impl Client {
    pub(crate) fn of(extensions: &Extensions, headers: &HeaderMap, uri: &Uri, trusted: &[IpNet]) -> Self {
        let Some(proxy) = trusted_peer(extensions, trusted) else {
            return Self {
                address: None,
                scheme: own_scheme(extensions),
                authority: own_authority(headers, uri),
            };
        };
        let forwarded_host = only(headers, &X_FORWARDED_HOST).filter(|host| !host.contains(','));
        Self {
            address: forwarded_address(headers, proxy, trusted),
            scheme: scheme(extensions, headers, trusted),
            authority: if headers.contains_key(X_FORWARDED_HOST) {
                forwarded_host.map(|host| host.trim().to_owned())
            } else {
                own_authority(headers, uri)
            },
        }
    }
}

/// [`Client::address`] alone.
pub(crate) fn address(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let proxy = trusted_peer(extensions, trusted)?;
    forwarded_address(headers, proxy, trusted)
}

/// By which scheme the client spoke, as far as that is known.
pub(crate) fn scheme(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Option<Scheme> {
    if trusted_peer(extensions, trusted).is_none() || !headers.contains_key(X_FORWARDED_PROTO) {
        return own_scheme(extensions);
    }
    // Several proxies that disagree leave it open.
    let mut named = items(headers, &X_FORWARDED_PROTO).map(|item| match item {
        item if item.eq_ignore_ascii_case("https") => Some(Scheme::Https),
        item if item.eq_ignore_ascii_case("http") => Some(Scheme::Http),
        _ => None,
    });
    let first = named.next()??;
    named.all(|scheme| scheme == Some(first)).then_some(first)
}

fn own_scheme(extensions: &Extensions) -> Option<Scheme> {
    extensions.get::<OverTls>().map(|_| Scheme::Https)
}

fn own_authority(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    // HTTP/2 names it in the request's target.
    let in_target = uri.authority().map(http::uri::Authority::as_str);
    in_target.or_else(|| only(headers, &HOST)).map(str::to_owned)
}

fn trusted_peer(extensions: &Extensions, trusted: &[IpNet]) -> Option<IpAddr> {
    if trusted.is_empty() {
        return None;
    }
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    let peer = peer.ip().to_canonical();
    is_trusted(peer, trusted).then_some(peer)
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Each proxy appends whom it heard: from the end, the first that is no trusted proxy is the client. What stands before
/// it is what that client claims.
fn forwarded_address(headers: &HeaderMap, proxy: IpAddr, trusted: &[IpNet]) -> Option<IpAddr> {
    let hops: Vec<_> = items(headers, &X_FORWARDED_FOR).collect();
    let mut farthest = proxy;
    for hop in hops.iter().rev() {
        farthest = parse_address(hop)?;
        if !is_trusted(farthest, trusted) {
            return Some(farthest);
        }
    }
    // All are proxies: the farthest may itself be the client, but not where it says that it speaks for somebody.
    (!hops.is_empty()).then_some(farthest)
}

/// An address, maybe with a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    let address = bare.parse::<IpAddr>().or_else(|_| with_port()).ok()?;
    Some(address.to_canonical())
}

/// The value of a header that must not be there twice.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The members of a comma separated list; an unreadable line is one empty member.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.to_str().unwrap_or_default().split(',').map(str::trim))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
