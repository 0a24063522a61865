//! The rate limits, each a number in a time: `QEETID_LIMIT__SIGNUPS=30/1h`.

use std::{fmt, str::FromStr, time::Duration};

/// At most so many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub max: u32,
    /// In how long, 1 s to 7 days.
    pub window: Duration,
}

impl Rate {
    const fn new(max: u32, seconds: u64) -> Self {
        Self { max, window: Duration::from_secs(seconds) }
    }
}

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.as_secs();
        let (unit, size) = UNITS.into_iter().find(|(_, size)| seconds.is_multiple_of(*size)).unwrap_or(("s", 1));
        write!(f, "{}/{}{unit}", self.max, seconds / size)
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (max, window) = text.split_once('/')?;
            let (unit, size) = UNITS.into_iter().find(|(unit, _)| window.ends_with(unit))?;
            let count: u64 = window.strip_suffix(unit)?.trim().parse().ok()?;
            let rate = Self::new(max.trim().parse().ok()?, count.checked_mul(size)?);
            (rate.max > 0 && (1..=7 * 86_400).contains(&rate.window.as_secs())).then_some(rate)
        };
        parse().ok_or_else(|| format!("{text:?} is not a rate such as 30/1h (units s, m, h, d; at most 7d)"))
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $max:literal in $seconds:expr;)*) => {
        /// The limits, by what they count.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Limits {
            /// Off for load tests only; the five tries of a code stay whatever this says.
            pub on: bool,
            $($(#[$doc])* pub $name: Rate,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { on: true, $($name: Rate::new($max, $seconds),)* }
            }
        }

        impl Limits {
            pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];
            pub(super) fn rates(&self) -> Vec<(&'static str, Rate)> {
                vec![$((stringify!($name), self.$name)),*]
            }
            pub(super) fn rates_mut(&mut self) -> Vec<(&'static str, &mut Rate)> {
                vec![$((stringify!($name), &mut self.$name)),*]
            }
        }
    };
}

limits! {
    /// Wrong passwords for one address from one network.
    wrong_passwords: 10 in 900;
    /// Wrong passwords for one address from everywhere, in an hour …
    wrong_passwords_everywhere: 100 in 3_600;
    /// … and in a day. Networks that the account has signed in from are not counted.
    wrong_passwords_a_day: 100 in 86_400;
    /// `/v1/auth/*` from one network.
    auth_requests: 100 in 60;
    /// Sign-ups from one network.
    signups: 30 in 3_600;
    /// Reset mails to one address.
    forgot_password: 3 in 3_600;
    /// The pause between two codes.
    code_pause: 1 in 60;
    /// Codes of one user.
    codes_of_user: 5 in 3_600;
    /// Codes to one address or number.
    codes_to_destination: 5 in 3_600;
    /// Codes asked for by one network.
    codes_from_network: 20 in 3_600;
    /// Invites of one tenant, sent again or for the first time.
    invites_of_tenant: 1_000 in 86_400;
    /// Invites of one tenant to one address.
    invites_to_address: 10 in 3_600;
    /// Invites of one person in all their organizations, but for managed ones.
    invites_of_person: 1_000 in 86_400;
    /// Invites from one network, by organizations that are not managed.
    invites_from_network: 2_000 in 86_400;
    /// Invite mails to one address, from everywhere.
    invite_mails: 20 in 86_400;
    /// Reset mails asked for by one network.
    forgot_password_from_network: 60 in 3_600;
    /// Requests of one signed-in person to one node.
    person_requests: 600 in 60;
    /// Requests to the admin routes of one tenant without power over credentials, to one node.
    admin_requests: 6_000 in 60;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, rate) in [("30/1h", Rate::new(30, 3_600)), ("1/60s", Rate::new(1, 60)), ("5/90m", Rate::new(5, 5_400))] {
            assert_eq!(text.parse::<Rate>().unwrap(), rate);
            assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }
        for bad in
            ["", "30", "30/", "/1h", "0/1h", "-1/1h", "30/1", "30/8d", "30/0s", "30/1w", "30/99999999999999999999h", "30/9999999999999999d"]
        {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
