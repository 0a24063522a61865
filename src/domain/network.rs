//! Who is counted as one client: an IPv4 address, or an IPv6 /64 (the smallest block that one customer gets). Many customers get a larger
//! block, and could be as many clients as it has /64s: so the blocks around a /64 are counted as well ([`Wider`]).

use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

/// One client network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Network {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

/// A block of IPv6 addresses around a /64. Providers give out a /56 or a /48 as readily (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wider {
    /// The first 56 bits: 256 networks of 64 bits.
    Of56([u8; 7]),
    /// The first 48 bits: 65,536 of them.
    Of48([u8; 6]),
}

impl Wider {
    /// How many times what one /64 may do. More than once, because the block may belong to several customers.
    pub const fn times(self) -> u32 {
        match self {
            Self::Of56(_) => 4,
            Self::Of48(_) => 16,
        }
    }
    /// Its length as it is written. A key begins with it, so that blocks of different lengths are counted apart.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Of56(_) => "/56",
            Self::Of48(_) => "/48",
        }
    }
    /// 7 or 6 bytes, for keys.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Of56(b) => b,
            Self::Of48(b) => b,
        }
    }
}

impl Network {
    /// The network of an address; IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2) counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&v6.octets()[..8]);
                Self::V6(prefix)
            }
        }
    }
    /// The blocks around an IPv6 /64, the smaller one first. There are none around an IPv4 address: few customers have more than one.
    pub fn wider(self) -> impl Iterator<Item = Wider> {
        let around = match self {
            Self::V4(_) => None,
            Self::V6([a, b, c, d, e, f, g, _]) => Some([Wider::Of56([a, b, c, d, e, f, g]), Wider::Of48([a, b, c, d, e, f])]),
        };
        around.into_iter().flatten()
    }
    /// 4 or 8 bytes, for keys and rows.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(b) => b,
            Self::V6(b) => b,
        }
    }
    /// Takes over what a row holds; `None` if it is neither 4 nor 8 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self::V4).or_else(|_| bytes.try_into().map(Self::V6)).ok()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(b) => write!(f, "{}", std::net::Ipv4Addr::from(*b)),
            Self::V6(b) => {
                let mut full = [0; 16];
                full[..8].copy_from_slice(b);
                write!(f, "{}/64", std::net::Ipv6Addr::from(full))
            }
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header in which a trusted proxy names its client. It is the one that the proxy writes itself: others pass through it as the client sent
/// them, and are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`: addresses, the nearest last.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ProxyHeader {
    /// Its name in small letters, as the setting has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_v4_is_v4_and_v6_is_cut_to_64_bits() {
        let of = |s: &str| Network::of(s.parse().unwrap());
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        for n in [of("192.0.2.1"), of("2001:db8:0:1::1")] {
            assert_eq!(Network::from_bytes(n.as_bytes()), Some(n));
        }
    }

    #[test]
    fn a_64_is_in_a_56_and_a_48_and_an_ipv4_address_in_nothing() {
        let around = |s: &str| Network::of(s.parse().unwrap()).wider().collect::<Vec<_>>();
        let blocks = around("2001:db8:1:2a3b::1");
        assert_eq!(blocks, [Wider::Of56([0x20, 1, 0x0d, 0xb8, 0, 1, 0x2a]), Wider::Of48([0x20, 1, 0x0d, 0xb8, 0, 1])]);
        assert_eq!(blocks.iter().map(|b| (b.tag(), b.as_bytes().len(), b.times())).collect::<Vec<_>>(), [("/56", 7, 4), ("/48", 6, 16)]);
        assert_eq!(around("2001:db8:1:2aff:ffff::1"), blocks, "another /64 of the same /56");
        let beside = around("2001:db8:1:2b3b::1");
        assert!(beside[0] != blocks[0] && beside[1] == blocks[1], "another /56 of the same /48");
        let elsewhere = around("2001:db8:2:2a3b::1");
        assert!(elsewhere[0] != blocks[0] && elsewhere[1] != blocks[1]);
        assert!(around("192.0.2.1").is_empty() && around("::ffff:192.0.2.1").is_empty());
    }
}
