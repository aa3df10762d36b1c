use axum::http::Request;
use axum::http::request::Parts;
use proptest::prelude::*;

use super::*;

fn parts(peer: Option<&str>, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri("/session");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    if let Some(peer) = peer {
        parts
            .extensions
            .insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
    }
    parts
}

fn client(parts: &Parts, trusted: &[IpNet]) -> Client {
    Client::of(&parts.extensions, &parts.headers, &parts.uri, trusted)
}

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "fd00::/8"]
        .map(|network| network.parse().unwrap())
        .to_vec()
}

const SPOOFED: [(&str, &str); 4] = [
    ("host", "example.com"),
    ("x-forwarded-for", "198.51.100.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.example"),
];

#[test]
fn s43_nobody_is_believed_by_default_nor_from_elsewhere() {
    let expected = Client {
        address: None,
        scheme: None,
        authority: Some("example.com".to_owned()),
    };
    assert_eq!(client(&parts(Some("10.0.0.1"), &SPOOFED), &[]), expected);
    assert_eq!(client(&parts(Some("192.0.2.1"), &SPOOFED), &trusted()), expected);
    assert_eq!(client(&parts(None, &SPOOFED), &trusted()), expected);
}

#[test]
fn s43_a_trusted_proxy_names_client_scheme_and_host() {
    for peer in ["10.0.0.1", "::ffff:10.0.0.1", "fd00::1"] {
        let client = self::client(&parts(Some(peer), &SPOOFED), &trusted());
        assert_eq!(client.address, Some("198.51.100.7".parse().unwrap()), "{peer}");
        assert_eq!(client.scheme, Some(Scheme::Https));
        assert_eq!(client.authority.as_deref(), Some("evil.example"));
    }
    let plain = client(&parts(Some("10.0.0.1"), &[("host", "a:8080")]), &trusted());
    assert_eq!(
        (plain.address, plain.scheme, plain.authority.as_deref()),
        (None, None, Some("a:8080"))
    );
}

#[test]
fn s43_the_client_is_the_first_from_the_end_that_is_no_proxy() {
    let of = |chain: &str| client(&parts(Some("10.0.0.1"), &[("x-forwarded-for", chain)]), &trusted()).address;
    let client: Option<IpAddr> = Some("198.51.100.7".parse().unwrap());
    assert_eq!(of("203.0.113.9, 198.51.100.7, 10.0.0.2"), client);
    assert_eq!(of("198.51.100.7:4711,10.1.2.3"), client);
    assert_eq!(of("[2001:db8::1]:443"), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(of("[2001:db8::1]"), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(
        of("10.0.0.9"),
        Some("10.0.0.9".parse().unwrap()),
        "a client within the trusted networks"
    );
    for unknown in ["198.51.100.7, unknown", "", "198.51.100.7,", "for=198.51.100.7"] {
        assert_eq!(of(unknown), None, "{unknown}");
    }
}

#[test]
fn s43_proxies_that_disagree_leave_it_open() {
    let of = |headers: &[(&str, &str)]| client(&parts(Some("10.0.0.1"), headers), &trusted());
    assert_eq!(of(&[("x-forwarded-proto", "https, http")]).scheme, None);
    assert_eq!(of(&[("x-forwarded-proto", "HTTPS,https")]).scheme, Some(Scheme::Https));
    assert_eq!(of(&[("x-forwarded-proto", "ws")]).scheme, None);
    let hosts = [("host", "a"), ("x-forwarded-host", "b, c")];
    assert_eq!(of(&hosts).authority, None);
    assert_eq!(
        of(&[("host", "a"), ("x-forwarded-host", "b"), ("x-forwarded-host", "c")]).authority,
        None
    );
}

proptest! {
    #[test]
    fn s06_no_forwarded_header_makes_the_parser_panic(value in "[\\x20-\\x7e]{0,80}", name in 0..3_usize) {
        let name = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"][name];
        let _ = client(&parts(Some("10.0.0.1"), &[(name, &value)]), &trusted());
    }
}
