//! Values that are URLs, and what each scheme means.

use super::values::list;
use crate::domain::secret::SecretText;
use reqwest::Url;

/// How mail leaves.
#[derive(Debug, Clone)]
pub enum MailUrl {
    /// Into the development mailbox.
    Mailbox,
    /// Over SMTP: the URL as given, with `smtp://` or `smtps://` and a host.
    Smtp(SecretText),
}

/// How text messages leave.
#[derive(Debug, Clone)]
pub enum SmsUrl {
    /// Into the development mailbox.
    Mailbox,
    /// Over the Twilio Messages API.
    Twilio {
        /// Account SID.
        account: String,
        /// Auth token.
        token: SecretText,
        /// Sender: a number in E.164, or a messaging service's SID.
        from: String,
        /// Base of the API, no slash at its end: `https://api.twilio.com`, or what `base=` says.
        base: String,
    },
}

fn parse(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|e| format!("is not a URL: {e}"))
}

fn web(text: &str) -> Result<Url, String> {
    let url = parse(text)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with http:// or https:// and have a host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment".into());
    }
    Ok(url)
}

/// An http(s) URL, perhaps with a path, to which paths are appended: without the slash at its end.
pub(super) fn base(text: &str) -> Result<String, String> {
    let url = web(text)?;
    if url.path().contains("//") {
        return Err("has an empty piece in its path".into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Scheme, host and port alone.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let url = web(text)?;
    if url.path() != "/" {
        return Err(format!("must not have a path (has {})", url.path()));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// As browsers send them in `Origin`: no slash at the end, no default port. `*` is refused.
pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    list(text, |item| {
        if item.contains('*') {
            return Err("takes no wildcard: name each origin".into());
        }
        origin(item).map_err(|e| format!("{item:?} {e}"))
    })
}

pub(super) fn mail(text: &str) -> Result<MailUrl, String> {
    if text == "mailbox://" {
        return Ok(MailUrl::Mailbox);
    }
    let url = parse(text)?;
    match url.scheme() {
        "smtp" | "smtps" if url.has_host() => Ok(MailUrl::Smtp(SecretText::new(text))),
        "smtp" | "smtps" => Err("has no host".into()),
        _ => Err("must be mailbox://, smtp://user:password@host:port or smtps://…".into()),
    }
}

pub(super) fn sms(text: &str) -> Result<SmsUrl, String> {
    if text == "mailbox://" {
        return Ok(SmsUrl::Mailbox);
    }
    let url = parse(text)?;
    let form = || "must be mailbox:// or twilio://SID:TOKEN@host?from=%2B15551234567".to_owned();
    let host = url.host_str().filter(|h| !h.is_empty());
    let (Some(host), "twilio", false, Some(token)) = (host, url.scheme(), url.username().is_empty(), url.password()) else {
        return Err(form());
    };
    let (mut from, mut api) = (None, None);
    // By hand, not `query_pairs`: people write `from=+1555…`, and a form decoder makes a space of the plus.
    for pair in url.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = unescape(value).ok_or_else(form)?;
        match key {
            "from" => from = Some(value),
            "base" => api = Some(base(&value).map_err(|e| format!("base= {e}"))?),
            other => return Err(format!("has an unknown parameter {other:?}; known are from and base")),
        }
    }
    let from = from.filter(|f| is_sender(f)).ok_or("from= must be a number such as +15551234567, or a messaging service (MG…)")?;
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    Ok(SmsUrl::Twilio {
        account: unescape(url.username()).ok_or_else(form)?,
        token: SecretText::new(unescape(token).ok_or_else(form)?),
        from,
        base: api.unwrap_or_else(|| format!("https://{host}{port}")),
    })
}

fn is_sender(text: &str) -> bool {
    let number = text.strip_prefix('+').is_some_and(|d| (5..=15).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()));
    number || (text.len() == 34 && text.starts_with("MG") && text.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Takes percent-encoding away; `None` if that isn't UTF-8 or is cut off.
pub(super) fn unescape(text: &str) -> Option<String> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            out.push(*first);
        }
    }
    String::from_utf8(out).ok()
}

/// The same URL with user name and password hidden.
pub(super) fn without_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://[hidden]{}", &text[at..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_url_is_an_origin() {
        assert_eq!(origin("https://id.example.com/").unwrap(), "https://id.example.com");
        assert_eq!(origin("http://localhost:4001").unwrap(), "http://localhost:4001");
        for bad in [
            "id.example.com",
            "ftp://id.example.com",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u:p@a",
            "https://a//",
            "http://",
            "",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
        assert_eq!(base("https://example.com/app/").unwrap(), "https://example.com/app");
        assert!(base("https://example.com//app").is_err());
    }

    #[test]
    fn origins_are_normalised_as_browsers_do() {
        assert_eq!(origins("https://A.example:443, http://b:8080").unwrap(), ["https://a.example", "http://b:8080"]);
        assert!(origins("*").is_err() && origins("https://*.example.com").is_err());
    }

    #[test]
    fn schemes() {
        assert!(matches!(mail("smtp://u:p@h:587"), Ok(MailUrl::Smtp(_))));
        for bad in ["http://h", "smtp://", "h:25", "mailbox", ""] {
            assert!(mail(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn twilio() {
        let Ok(SmsUrl::Twilio { account, token, from, base }) = sms("twilio://AC1:to%2Fken@api.twilio.com?from=+15551234567") else {
            panic!()
        };
        assert_eq!((&*account, token.reveal(), &*from, &*base), ("AC1", "to/ken", "+15551234567", "https://api.twilio.com"));
        let Ok(SmsUrl::Twilio { base, .. }) = sms("twilio://a:b@h?from=%2B15551234567&base=http://127.0.0.1:9") else { panic!() };
        assert_eq!(base, "http://127.0.0.1:9");
        for bad in
            ["twilio://a:b@h", "twilio://a@h?from=+15551234567", "twilio://a:b@h?from=x", "twilio://a:b@h?from=+15551234567&x=1", "sms://"]
        {
            assert!(sms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_are_cut_also_from_what_is_no_good_url() {
        assert_eq!(without_credentials("smtp://u:p@h:25?x=1"), "smtp://[hidden]@h:25?x=1");
        assert_eq!(without_credentials("smtp://u:p@q@h"), "smtp://[hidden]@h");
        assert_eq!(without_credentials("mailbox://"), "mailbox://");
    }
}
