//! From the texts of a request to values of the domain; all that is wrong is said at once, field by field.

use super::{
    errors::ApiError,
    types::{DomainText, EmailText, LocaleText, NameText, NewPasswordText, PasswordText, PhoneText, TenantNameText, WhenText},
};
use crate::domain::{
    contact::{Email, Phone},
    mail_domain::DomainName,
    permission::PermissionSet,
    secret::Password,
    time::Timestamp,
};
use std::collections::BTreeMap;

/// A value, or the field that is wrong and its problem.
pub type Field<T> = Result<T, (&'static str, String)>;

/// An e-mail address.
pub fn email(name: &'static str, text: &EmailText) -> Field<Email> {
    text.reveal().parse().map_err(|e: crate::domain::contact::BadContact| (name, e.to_string()))
}

/// A domain that a tenant can prove.
pub fn domain(name: &'static str, text: &DomainText) -> Field<DomainName> {
    text.reveal().parse().map_err(|e: crate::domain::mail_domain::BadDomain| (name, e.to_string()))
}

/// A phone number, if there is one.
pub fn phone(name: &'static str, text: Option<&PhoneText>) -> Field<Option<Phone>> {
    text.map(|t| t.reveal().parse()).transpose().map_err(|e: crate::domain::contact::BadContact| (name, e.to_string()))
}

/// A password that exists.
pub fn password(name: &'static str, text: &PasswordText) -> Field<Password> {
    Password::new(text.reveal()).map_err(|e| (name, format!("is {e}")))
}

/// A password that exists, if there is one.
pub fn maybe_password(name: &'static str, text: Option<&PasswordText>) -> Field<Option<Password>> {
    text.map(|t| password(name, t)).transpose()
}

/// A password to be set. The policy is the service's.
pub fn new_password(name: &'static str, text: &NewPasswordText) -> Field<Password> {
    Password::new(text.reveal()).map_err(|e| (name, format!("is {e}")))
}

/// A display name: at most 200 characters, no controls; blank is none.
pub fn display_name(name: &'static str, text: Option<&NameText>) -> Field<Option<String>> {
    let Some(text) = text.map(|t| t.reveal().trim()).filter(|t| !t.is_empty()) else { return Ok(None) };
    plain(name, text, 200).map(Some)
}

/// The name of a tenant: 1 to 200 characters, no controls.
pub fn tenant_name(name: &'static str, text: &TenantNameText) -> Field<String> {
    match text.reveal().trim() {
        "" => Err((name, "must not be empty".into())),
        text => plain(name, text, 200),
    }
}

fn plain(name: &'static str, text: &str, max: usize) -> Field<String> {
    if text.chars().count() > max {
        return Err((name, format!("is longer than {max} characters")));
    }
    // Controls, and what turns the direction of text or hides in it: a name is shown in mails and lists of other people.
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}');
    if text.chars().any(hidden) {
        return Err((name, "contains control characters".into()));
    }
    Ok(text.to_owned())
}

/// A text that people give things: 1 to `max` characters, no controls.
pub fn label(name: &'static str, text: &str, max: usize) -> Field<String> {
    match text.trim() {
        "" => Err((name, "must not be empty".into())),
        text => plain(name, text, max),
    }
}

/// Permission keys.
pub fn permissions(name: &'static str, keys: &[String]) -> Field<PermissionSet> {
    // What was typed may be anything, and isn't repeated.
    PermissionSet::from_keys(keys).map_err(|_| (name, "holds something that is no permission key: GET /v1/permissions lists them".into()))
}

/// A moment, RFC 3339.
pub fn when(name: &'static str, text: &WhenText) -> Field<Timestamp> {
    let parsed: Result<jiff::Timestamp, _> = text.reveal().trim().parse();
    parsed.map(|t| Timestamp::from_millis(t.as_millisecond())).map_err(|_| (name, "is not a time such as 2027-01-31T12:00:00Z".into()))
}

/// A BCP 47 tag by its form: parts of 1 to 8 letters or digits, the first one letters; at most 35 characters.
pub fn locale(name: &'static str, text: Option<&LocaleText>) -> Field<Option<String>> {
    let Some(text) = text.map(|t| t.reveal().trim()).filter(|t| !t.is_empty()) else { return Ok(None) };
    let good = text.len() <= 35
        && text.split('-').all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
        && text.split('-').next().is_some_and(|p| p.len() >= 2 && p.bytes().all(|b| b.is_ascii_alphabetic()));
    if good { Ok(Some(text.to_owned())) } else { Err((name, "is not a language tag (BCP 47), such as en-GB".into())) }
}

/// What `forgot-password` takes for an address: more than the domain does, so that an impossible mailbox answers like an unknown one.
pub fn any_address(name: &'static str, text: &EmailText) -> Field<String> {
    let text = text.reveal().trim_matches([' ', '\t']);
    let (_, domain) = text.rsplit_once('@').unwrap_or_default();
    if text.len() > 1024 || domain.is_empty() || text.chars().any(char::is_control) {
        return Err((name, "is not an e-mail address".into()));
    }
    Ok(text.to_owned())
}

/// Fields that are all good, or a 422 that names all bad ones.
pub trait All {
    /// The values.
    type Values;
    /// Takes them out.
    ///
    /// # Errors
    /// 422 `validation_failed`.
    fn all(self) -> Result<Self::Values, ApiError>;
}

macro_rules! all {
    ($($field:ident: $ty:ident),*) => {
        impl<$($ty),*> All for ($(Field<$ty>,)*) {
            type Values = ($($ty,)*);
            fn all(self) -> Result<Self::Values, ApiError> {
                let ($($field,)*) = self;
                match ($($field,)*) {
                    ($(Ok($field),)*) => Ok(($($field,)*)),
                    ($($field,)*) => {
                        let mut bad = BTreeMap::new();
                        $(if let Err((name, problem)) = $field { bad.insert(name.to_owned(), problem); })*
                        Err(ApiError::fields(bad))
                    }
                }
            }
        }
    };
}
all!(a: A);
all!(a: A, b: B);
all!(a: A, b: B, c: C);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::SecretText;

    fn name(text: &str) -> Field<Option<String>> {
        display_name("display_name", Some(&NameText(SecretText::new(text))))
    }

    #[test]
    fn names_are_shown_to_others_and_so_are_plain() {
        assert_eq!(name("  Ada  "), Ok(Some("Ada".into())));
        assert_eq!(name(" "), Ok(None));
        assert!(name(&"é".repeat(200)).is_ok());
        for bad in ["a\u{0}b", "a\nb", "a\u{202E}b", &"é".repeat(201)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn locales() {
        let locale = |t: &str| locale("locale", Some(&LocaleText(SecretText::new(t))));
        for good in ["de", "de-CH", "zh-Hant-TW", "sl-rozaj-biske-1994"] {
            assert_eq!(locale(good), Ok(Some(good.into())));
        }
        for bad in ["d", "1a", "de_CH", "de-", "-", "de-\u{e9}", "en-abcdefghi", &"en-".repeat(20)] {
            assert!(locale(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        let bad =
            (email("email", &EmailText(SecretText::new("x"))), password("password", &PasswordText(SecretText::new("é".repeat(257))))).all();
        assert_eq!(bad.unwrap_err().fields.into_keys().collect::<Vec<_>>(), ["email", "password"]);
    }
}
