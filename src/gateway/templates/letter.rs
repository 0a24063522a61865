//! What each mail may say: the values that its templates are given.

use crate::domain::secret::SecretText;
use minijinja::Value;

/// What a mail says. Nothing in it was written by whoever caused the mail, but for the tenant's name in an invite to a proved address, and
/// in the mail about an account that a managed tenant made: a mail to an address that nobody proved must not carry a stranger's words.
/// Everything a template can use is in here, and `site`, the host of the application's URL.
#[derive(Clone)]
pub enum Letter {
    /// `code`, `minutes`.
    EmailCode(Code),
    /// `code`, `minutes`.
    EmailChangeCode(Code),
    /// `code`, `minutes`.
    SignupCode(Code),
    /// `link`, `minutes`.
    Reset {
        /// Opens the page that sets a new password.
        link: SecretText,
        /// How long it still works.
        minutes: u64,
    },
    /// `link`: the application.
    AccountExists,
    /// `link`, `masked_email`, `hours`.
    EmailChanged {
        /// Opens the page that puts the old address back.
        link: SecretText,
        /// The new address, masked.
        masked_email: String,
        /// How long the link still works.
        hours: u64,
    },
    /// `link`: the application; `not_me`.
    PasswordChanged {
        /// Opens the page that says that the change was not the owner's.
        not_me: Option<SecretText>,
    },
    /// `link`, `hours`, `tenant_name`.
    Invite {
        /// Opens the page that accepts.
        link: SecretText,
        /// How long it still works.
        hours: u64,
        /// Only for an address that its account has proved.
        tenant_name: Option<String>,
    },
    /// `link`, `hours`, `tenant_name`.
    AccountMade {
        /// Opens the page that sets the first password.
        link: SecretText,
        /// How long it still works.
        hours: u64,
        /// Only of a managed tenant, which whoever runs the service vouches for.
        tenant_name: Option<String>,
    },
    /// `link`: the application; `prefix`, `not_me`.
    ApiKeyMade {
        /// The public part of the key, without `qk_`.
        prefix: String,
        /// Opens the page that says that the key is not the maker's; `None` in the mail to an owner.
        not_me: Option<SecretText>,
    },
    /// `link`: the application; `prefix`.
    ApiKeyStopped {
        /// The public part of the key, without `qk_`.
        prefix: String,
    },
    /// `link`: the application; `prefix`.
    ApiKeyEnded {
        /// The public part of the key, without `qk_`.
        prefix: String,
    },
    /// `link`, `days`.
    AccountDeleted {
        /// Opens the page that brings the account back; `None` if its owner may not do so.
        link: Option<SecretText>,
        /// How long the account stays in the recycle bin.
        days: u64,
    },
    /// `kind`, `when`, `network`, `agent`, `not_me`.
    Notice {
        /// Of [`crate::domain::notice::NoticeKind`].
        kind: &'static str,
        /// When it happened, to the minute.
        when: String,
        /// Roughly from where.
        network: Option<String>,
        /// The kind of program, out of a fixed list.
        agent: Option<String>,
        /// Opens the page that says that it was not the owner.
        not_me: SecretText,
    },
    /// `link`, `minutes`: a change of address was undone.
    Undone {
        /// Opens the page that sets a new password.
        link: SecretText,
        /// How long it still works.
        minutes: u64,
    },
    /// `link`, `minutes`: the owner said that a change was not theirs.
    NotMe {
        /// Opens the page that sets a new password.
        link: SecretText,
        /// How long it still works.
        minutes: u64,
    },
    /// `link`, `minutes`: the account came back from the recycle bin.
    Restored {
        /// Opens the page that sets a new password.
        link: SecretText,
        /// How long it still works.
        minutes: u64,
    },
}

/// A one-time code, and how many minutes it still works.
#[derive(Clone)]
pub struct Code {
    /// 6 or 8 digits.
    pub code: SecretText,
    /// Rounded down, at least 1.
    pub minutes: u64,
}

fn maybe(link: Option<&SecretText>) -> Value {
    link.map(SecretText::reveal).into()
}

impl Letter {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::EmailCode(_) => "email_code",
            Self::EmailChangeCode(_) => "email_change_code",
            Self::SignupCode(_) => "signup_code",
            Self::Reset { .. } => "reset",
            Self::AccountExists => "account_exists",
            Self::EmailChanged { .. } => "email_changed",
            Self::PasswordChanged { .. } => "password_changed",
            Self::Invite { .. } => "invite",
            Self::AccountMade { .. } => "account_made",
            Self::ApiKeyMade { .. } => "api_key_made",
            Self::ApiKeyStopped { .. } => "api_key_stopped",
            Self::ApiKeyEnded { .. } => "api_key_ended",
            Self::AccountDeleted { .. } => "account_deleted",
            Self::Notice { .. } => "notice",
            Self::Undone { .. } => "undone",
            Self::NotMe { .. } => "not_me",
            Self::Restored { .. } => "restored",
        }
    }

    pub(super) fn values(&self, app_url: &str) -> Vec<(&'static str, Value)> {
        match self {
            Self::EmailCode(c) | Self::EmailChangeCode(c) | Self::SignupCode(c) => {
                vec![("code", c.code.reveal().into()), ("minutes", c.minutes.into())]
            }
            Self::Reset { link, minutes }
            | Self::Undone { link, minutes }
            | Self::NotMe { link, minutes }
            | Self::Restored { link, minutes } => vec![("link", link.reveal().into()), ("minutes", (*minutes).into())],
            Self::EmailChanged { link, masked_email, hours } => {
                vec![("link", link.reveal().into()), ("masked_email", masked_email.as_str().into()), ("hours", (*hours).into())]
            }
            Self::Invite { link, hours, tenant_name } | Self::AccountMade { link, hours, tenant_name } => {
                vec![("link", link.reveal().into()), ("hours", (*hours).into()), ("tenant_name", tenant_name.clone().into())]
            }
            Self::AccountExists => vec![("link", app_url.into())],
            Self::PasswordChanged { not_me } => vec![("link", app_url.into()), ("not_me", maybe(not_me.as_ref()))],
            Self::ApiKeyMade { prefix, not_me } => {
                vec![("link", app_url.into()), ("prefix", prefix.as_str().into()), ("not_me", maybe(not_me.as_ref()))]
            }
            Self::ApiKeyStopped { prefix } | Self::ApiKeyEnded { prefix } => {
                vec![("link", app_url.into()), ("prefix", prefix.as_str().into())]
            }
            Self::Notice { kind, when, network, agent, not_me } => vec![
                ("kind", (*kind).into()),
                ("when", when.as_str().into()),
                ("network", network.clone().into()),
                ("agent", agent.clone().into()),
                ("not_me", not_me.reveal().into()),
            ],
            Self::AccountDeleted { link, days } => vec![("link", maybe(link.as_ref())), ("days", (*days).into())],
        }
    }

    /// One of each, and of each way that it may look: all templates are rendered with them at the start.
    pub(super) fn samples() -> Vec<Self> {
        let code = || Code { code: SecretText::new("123456"), minutes: 10 };
        let link = || SecretText::new("https://app.example/x?token=y");
        let prefix = || "abcdefghjkmn".to_owned();
        let notice = |kind, agent: Option<&str>| Self::Notice {
            kind,
            when: "2026-12-01 16:31 UTC".into(),
            network: agent.map(|_| "203.0.x.x".into()),
            agent: agent.map(str::to_owned),
            not_me: link(),
        };
        vec![
            Self::EmailCode(code()),
            Self::EmailChangeCode(code()),
            Self::SignupCode(code()),
            Self::Reset { link: link(), minutes: 60 },
            Self::AccountExists,
            Self::EmailChanged { link: link(), masked_email: "a•••@e•••.com".into(), hours: 72 },
            Self::PasswordChanged { not_me: None },
            Self::PasswordChanged { not_me: Some(link()) },
            Self::Invite { link: link(), hours: 168, tenant_name: None },
            Self::Invite { link: link(), hours: 1, tenant_name: Some("Analytical Engines".into()) },
            Self::AccountMade { link: link(), hours: 168, tenant_name: None },
            Self::AccountMade { link: link(), hours: 1, tenant_name: Some("Analytical Engines".into()) },
            Self::ApiKeyMade { prefix: prefix(), not_me: None },
            Self::ApiKeyMade { prefix: prefix(), not_me: Some(link()) },
            Self::ApiKeyStopped { prefix: prefix() },
            Self::ApiKeyEnded { prefix: prefix() },
            Self::AccountDeleted { link: None, days: 1 },
            Self::AccountDeleted { link: Some(link()), days: 30 },
            notice("new_sign_in", Some("another program")),
            notice("token_reused", None),
            notice("phone_changed", Some("Firefox on Windows")),
            notice("sign_ins_refused", None),
            Self::Undone { link: link(), minutes: 60 },
            Self::NotMe { link: link(), minutes: 1 },
            Self::Restored { link: link(), minutes: 60 },
        ]
    }
}
