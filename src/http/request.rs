//! What is known of a request before anybody reads its body: its id, and who is calling.

use crate::{
    domain::{
        ids::RequestId,
        network::{Network, ProxyHeader},
        rng::Rng,
        time::Clock,
    },
    service::api::Caller,
};
use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use std::net::{IpAddr, SocketAddr};

/// The header that carries request ids, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id that the client gave, if it is 1 to 128 visible ASCII characters, else a new UUID v7.
pub fn request_id(headers: &HeaderMap, clock: &dyn Clock, rng: &dyn Rng) -> HeaderValue {
    let usable = |v: &&HeaderValue| (1..=128).contains(&v.len()) && v.as_bytes().iter().all(u8::is_ascii_graphic);
    match headers.get(X_REQUEST_ID).filter(usable) {
        Some(given) => given.clone(),
        None => HeaderValue::try_from(RequestId::new(clock, rng).to_string()).expect("hex digits and hyphens"),
    }
}

/// Who is calling. `request_id` is the one made by [`request_id`].
pub fn caller(headers: &HeaderMap, peer: IpAddr, proxies: &Proxies, request_id: &HeaderValue) -> Caller {
    let ip = client_ip(headers, peer, proxies);
    let user_agent = headers
        .get(header::USER_AGENT)
        .map(|v| String::from_utf8_lossy(v.as_bytes()).chars().filter(|c| !c.is_control()).take(512).collect::<String>());
    Caller { ip, network: Network::of(ip), user_agent, request_id: request_id.to_str().unwrap_or_default().to_owned() }
}

/// The request has a body that need not be here whole once its head is: one refused early may still be on its way.
pub fn may_be_left_unread(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > 16 * 1024) || headers.contains_key(header::TRANSFER_ENCODING)
}

/// Whose word counts for who a client is.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their networks.
    pub trusted: Vec<IpNet>,
    /// The header that they write. Another one was not written by them but passed through, so it says nothing.
    pub header: ProxyHeader,
}

/// The address of the client. The header is believed only as far as trusted proxies wrote it: from the right, each hop that is
/// itself a trusted proxy vouches for the one to its left; the first that isn't is the client. What can't be read ends the walk.
pub fn client_ip(headers: &HeaderMap, peer: IpAddr, proxies: &Proxies) -> IpAddr {
    let mut client = peer.to_canonical();
    let is_trusted = |ip: &IpAddr| proxies.trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&client) {
        return client;
    }
    let read = match proxies.header {
        ProxyHeader::XForwardedFor => address,
        ProxyHeader::Forwarded => forwarded_for,
    };
    // By bytes: what a client wrote in front of the hops may be anything.
    let hops = headers.get_all(proxies.header.name()).iter().rev().flat_map(|v| v.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        let Some(ip) = std::str::from_utf8(hop).ok().and_then(|hop| read(hop.trim())) else { break };
        client = ip.to_canonical();
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return inner.parse().ok().map(IpAddr::V6);
    }
    text.parse::<SocketAddr>().ok().map(|s| s.ip())
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("for") {
            return None;
        }
        let value = value.trim();
        address(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{rng::SeededRng, time::ManualClock};
    use proptest::prelude::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
    }
    fn proxies(header: ProxyHeader) -> Proxies {
        Proxies { trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()], header }
    }
    /// By proxies that write `X-Forwarded-For`.
    fn seen(peer: &str, lines: &[(&'static str, &str)]) -> String {
        client_ip(&headers(lines), peer.parse().unwrap(), &proxies(ProxyHeader::XForwardedFor)).to_string()
    }
    /// By proxies that write `Forwarded`.
    fn forwarded(peer: &str, lines: &[(&'static str, &str)]) -> String {
        client_ip(&headers(lines), peer.parse().unwrap(), &proxies(ProxyHeader::Forwarded)).to_string()
    }

    #[test]
    fn a_stranger_can_say_what_it_likes() {
        assert_eq!(seen("203.0.113.9", &[("x-forwarded-for", "192.0.2.1")]), "203.0.113.9");
        assert_eq!(forwarded("203.0.113.9", &[("forwarded", "for=192.0.2.1")]), "203.0.113.9");
    }

    #[test]
    fn proxies_are_looked_through_from_the_right() {
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 192.0.2.1")]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.1.1.1")]), "192.0.2.1");
        assert_eq!(seen("::ffff:10.0.0.1", &[("x-forwarded-for", "::ffff:192.0.2.1")]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1:4711")]), "192.0.2.1");
        assert_eq!(
            forwarded("fd00::1", &[("forwarded", r#"for=6.6.6.6, proto=https;For="[2001:db8::7]:4711";by=10.0.0.1"#)]),
            "2001:db8::7"
        );
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "10.2.2.2, 10.1.1.1")]), "10.2.2.2");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk() {
        for bad in ["unknown", "", "_hidden", "1.2.3", "192.0.2.1 10.1.1.1", "[::1"] {
            assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", &format!("6.6.6.6, {bad}, 10.1.1.1"))]), "10.1.1.1", "{bad}");
        }
        assert_eq!(forwarded("10.0.0.1", &[("forwarded", "for=6.6.6.6, by=10.0.0.3")]), "10.0.0.1");
    }

    /// It passed through the proxy, so the client wrote it.
    #[test]
    fn the_header_that_the_proxies_do_not_write_counts_for_nothing() {
        let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=198.51.100.1")];
        assert_eq!((seen("10.0.0.1", &both), forwarded("10.0.0.1", &both)), ("192.0.2.1".into(), "198.51.100.1".into()));
        assert_eq!(seen("10.0.0.1", &both[1..]), "10.0.0.1");
        assert_eq!(forwarded("10.0.0.1", &both[..1]), "10.0.0.1");
    }

    #[test]
    fn whatever_bytes_a_client_writes_in_front_count_for_nothing() {
        let mut map = HeaderMap::new();
        map.insert("x-forwarded-for", HeaderValue::from_bytes(b"6.6.6.6, \xff\xfe, 192.0.2.1").unwrap());
        let seen = client_ip(&map, IpAddr::from([10, 0, 0, 1]), &proxies(ProxyHeader::XForwardedFor));
        assert_eq!(seen, IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn request_ids() {
        let id = |value: &[u8]| {
            let mut map = HeaderMap::new();
            map.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            request_id(&map, &ManualClock::at_millis(1_700_000_000_000), &SeededRng::new(1)).to_str().unwrap().to_owned()
        };
        assert_eq!(id(b"abc-1~!"), "abc-1~!");
        assert_eq!(id(&[b'x'; 128]), "x".repeat(128));
        for bad in [b"".as_slice(), b"a b", b"a\tb", "ä".as_bytes(), &[b'x'; 129]] {
            assert!(id(bad).starts_with("018bcfe5-6800-7"), "{bad:?}");
        }
    }

    proptest! {
        /// Whatever a client sends, what its last trusted proxy appended decides.
        #[test]
        fn nothing_left_of_the_client_counts(hostile in "[ -~]{0,60}", client in any::<[u8; 4]>()) {
            let client = IpAddr::from(client);
            prop_assume!(client.is_ipv4() && !proxies(ProxyHeader::Forwarded).trusted.iter().any(|p| p.contains(&client)));
            prop_assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", &format!("{hostile}, {client}"))]), client.to_string());
            prop_assert_eq!(forwarded("10.0.0.1", &[("forwarded", &format!("{hostile}, for={client};proto=https"))]), client.to_string());
        }

        #[test]
        fn any_header_gives_an_address_without_panic(a in "\\PC{0,80}", b in "[0-9a-f:.,\\[\\]\";= for]{0,80}") {
            let mut map = HeaderMap::new();
            if let Ok(v) = HeaderValue::from_bytes(a.as_bytes()) { map.append(ProxyHeader::XForwardedFor.name(), v); }
            if let Ok(v) = HeaderValue::from_bytes(b.as_bytes()) { map.append(header::FORWARDED, v); }
            for header in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
                let _ = client_ip(&map, IpAddr::from([10, 0, 0, 1]), &proxies(header));
            }
        }
    }
}
