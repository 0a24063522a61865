//! Security notices: mails that tell the owner of an account of what somebody did there. They say what, when, and roughly from where; nothing in
//! them is a secret, or text that somebody else chose.

use super::network::Network;
use serde::{Deserialize, Serialize};

/// What a notice tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A sign-in from a network and with a kind of program that the account has not used before.
    NewSignIn,
    /// A refresh token came back after it had been replaced: somebody has a copy, and the session has ended.
    TokenReused,
    /// Another phone number was proved.
    PhoneChanged,
    /// Many sign-ins were refused within an hour.
    SignInsRefused,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NewSignIn, Self::TokenReused, Self::PhoneChanged, Self::SignInsRefused];

    /// Stable name, on the wire and in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewSignIn => "new_sign_in",
            Self::TokenReused => "token_reused",
            Self::PhoneChanged => "phone_changed",
            Self::SignInsRefused => "sign_ins_refused",
        }
    }
    /// The reverse of [`NoticeKind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The kind of program that a `User-Agent` header names, out of a fixed list, such as "Firefox on Windows": what else the header says is text that
/// whoever sent it chose, and goes into no mail.
pub fn agent_family(user_agent: Option<&str>) -> String {
    // Of programs that name others as well, the most particular comes first.
    const PROGRAMS: [(&str, &[&str]); 6] = [
        ("Edge", &["Edg/", "EdgA/", "EdgiOS/"]),
        ("Opera", &["OPR/", "Opera"]),
        ("Samsung Internet", &["SamsungBrowser/"]),
        ("Firefox", &["Firefox/", "FxiOS/"]),
        ("Chrome", &["Chrome/", "CriOS/", "Chromium/"]),
        ("Safari", &["Safari/"]),
    ];
    const SYSTEMS: [(&str, &[&str]); 6] = [
        ("Windows", &["Windows"]),
        ("Android", &["Android"]),
        ("iOS", &["iPhone", "iPad", "iOS"]),
        ("macOS", &["Mac OS X", "Macintosh"]),
        ("ChromeOS", &["CrOS"]),
        ("Linux", &["Linux"]),
    ];
    let Some(text) = user_agent else { return "a program without a name".to_owned() };
    let named = |known: &[(&'static str, &[&str])]| {
        known.iter().find(|(_, marks)| marks.iter().any(|mark| text.contains(mark))).map(|(name, _)| *name)
    };
    match (named(&PROGRAMS), named(&SYSTEMS)) {
        (None, None) => "another program".to_owned(),
        (None, Some(system)) => format!("a program on {system}"),
        (Some(program), None) => program.to_owned(),
        (Some(program), Some(system)) => format!("{program} on {system}"),
    }
}

/// A network in a mail: enough to tell home from abroad, and no address of anybody (an IPv4 /16, an IPv6 /32).
pub fn coarse(network: Network) -> String {
    match network {
        Network::V4([a, b, ..]) => format!("{a}.{b}.x.x"),
        Network::V6([a, b, c, d, ..]) => format!("{:x}:{:x}:…", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_headers_and_nothing_else_of_these_is_said() {
        for (header, family) in [
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0", "Firefox on Windows"),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 CriOS/131.0 Mobile/15E148 Safari/604.1",
                "Chrome on iOS",
            ),
            ("curl/8.10", "another program"),
            ("Dalvik/2.1.0 (Linux; U; Android 14)", "a program on Android"),
            ("Opera/9.80", "Opera"),
            ("Your account is blocked, call +1 900 …", "another program"),
        ] {
            assert_eq!(agent_family(Some(header)), family);
        }
        assert_eq!(agent_family(None), "a program without a name");
    }

    #[test]
    fn networks_are_told_roughly() {
        let of = |ip: &str| coarse(Network::of(ip.parse().unwrap()));
        assert_eq!(of("203.0.113.7"), "203.0.x.x");
        assert_eq!(of("2001:db8:aaaa::1"), "2001:db8:…");
        for kind in NoticeKind::ALL {
            assert_eq!(NoticeKind::from_name(kind.name()), Some(kind));
        }
    }
}
