//! The texts of mails and text messages: minijinja templates in files (`templates/`), built in, and replaceable one by one.
//! `letter` is what each mail may say.

mod letter;

pub use letter::{Code, Letter};

use crate::domain::secret::SecretText;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use std::{collections::BTreeMap, fs, path::Path};

macro_rules! built_in {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../templates/", $name)))),*] };
}

const BUILT_IN: &[(&str, &str)] = built_in![
    "_layout.html",
    "_parts.html",
    "account_deleted.html",
    "account_deleted.txt",
    "account_exists.html",
    "account_exists.txt",
    "account_made.html",
    "account_made.txt",
    "api_key_ended.html",
    "api_key_ended.txt",
    "api_key_made.html",
    "api_key_made.txt",
    "api_key_stopped.html",
    "api_key_stopped.txt",
    "email_change_code.html",
    "email_change_code.txt",
    "email_changed.html",
    "email_changed.txt",
    "email_code.html",
    "email_code.txt",
    "invite.html",
    "invite.txt",
    "not_me.html",
    "not_me.txt",
    "notice.html",
    "notice.txt",
    "password_changed.html",
    "password_changed.txt",
    "reset.html",
    "reset.txt",
    "restored.html",
    "restored.txt",
    "signup_code.html",
    "signup_code.txt",
    "sms_code.txt",
    "undone.html",
    "undone.txt",
];

/// A template that can't be used, or a directory of them that can't be read. Names file and line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// A mail's parts.
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// text/plain.
    pub text: SecretText,
    /// text/html.
    pub html: SecretText,
}

/// All templates, checked.
pub struct Templates(Environment<'static>);

impl Templates {
    /// The built-in templates; files of `dir` (`*.txt`, `*.html`) take the place of those with the same name. Files that begin
    /// with `_` may be added, for other templates to include. Each template is rendered once, so that a mistake in it stops the
    /// start, not the first mail.
    ///
    /// # Errors
    /// [`TemplateError`] with file and line: unreadable, unknown name, syntax, unknown variable, no `Subject:` line.
    pub fn load(dir: Option<&Path>) -> Result<Self, TemplateError> {
        let mut sources: BTreeMap<String, String> = BUILT_IN.iter().map(|(n, s)| ((*n).to_owned(), (*s).to_owned())).collect();
        if let Some(dir) = dir {
            read_over(dir, &mut sources)?;
        }
        let mut env = Environment::new();
        env.set_debug(false); // its reports quote values, and so codes
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
        for (name, source) in sources {
            env.add_template_owned(name, source).map_err(|e| whole_error(&e))?;
        }
        let templates = Self(env);
        for letter in Letter::samples() {
            templates.letter(&letter, "https://app.example").map_err(|e| e.0)?;
        }
        templates.sms_code(&Code { code: SecretText::new("123456"), minutes: 10 }, "https://app.example").map_err(|e| e.0)?;
        Ok(templates)
    }

    /// Renders a mail. `app_url` gives `site` and the plain links.
    ///
    /// # Errors
    /// [`RenderError`]; its `Display` holds no values.
    pub fn letter(&self, letter: &Letter, app_url: &str) -> Result<Rendered, RenderError> {
        let mut values = letter.values(app_url);
        values.push(("site", host_of(app_url).into()));
        let values = Value::from_pairs(values);
        let name = format!("{}.txt", letter.name());
        let plain = self.render(&name, values.clone())?;
        let html = self.render(&format!("{}.html", letter.name()), values)?;
        let (first, text) = plain.split_once('\n').unwrap_or((&plain, ""));
        let subject = first.strip_prefix("Subject:").map(str::trim).filter(|s| !s.is_empty());
        let subject = subject.ok_or_else(|| RenderError(TemplateError(format!("{name}, line 1: has to be `Subject: …`"))))?;
        let text = format!("{}\n", text.trim());
        Ok(Rendered { subject: subject.to_owned(), text: SecretText::new(text), html: SecretText::new(html) })
    }

    /// Renders a text message. Its last line is `@host #code`, whatever the template says: browsers fill in codes by it
    /// (WICG, origin-bound one-time codes delivered via SMS).
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn sms_code(&self, code: &Code, app_url: &str) -> Result<SecretText, RenderError> {
        let host = host_of(app_url);
        let values = [
            ("code", Value::from(code.code.reveal())),
            ("minutes", code.minutes.into()),
            ("site", host.as_str().into()),
            ("host", host.as_str().into()),
        ];
        let text = self.render("sms_code.txt", Value::from_pairs(values))?;
        let bound = format!("@{host} #{}", code.code.reveal());
        let text = text.trim();
        Ok(SecretText::new(if text.lines().last() == Some(&bound) { text.to_owned() } else { format!("{text}\n\n{bound}") }))
    }

    fn render(&self, name: &str, values: Value) -> Result<String, RenderError> {
        let template = self.0.get_template(name).map_err(|e| RenderError(whole_error(&e)))?;
        template.render(values).map_err(|e| RenderError(whole_error(&e)))
    }
}

/// A template failed. The text inside may quote values, so `Display` shows only the place; the check at start shows all,
/// with its made-up values.
pub struct RenderError(TemplateError);

impl std::fmt::Display for RenderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.0.0.split_once(": ").map_or("?", |(place, _)| place);
        write!(f, "template failed: {place}")
    }
}

/// `place: what`.
fn whole_error(e: &minijinja::Error) -> TemplateError {
    let detail = e.detail().map(|d| format!(": {d}")).unwrap_or_default();
    TemplateError(format!("{}, line {}: {}{detail}", e.name().unwrap_or("?"), e.line().unwrap_or(1), e.kind()))
}

fn read_over(dir: &Path, sources: &mut BTreeMap<String, String>) -> Result<(), TemplateError> {
    let cant = |what: &Path, e: std::io::Error| TemplateError(format!("{}: can't be read: {e}", what.display()));
    for file in fs::read_dir(dir).map_err(|e| cant(dir, e))? {
        let path = file.map_err(|e| cant(dir, e))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()).filter(|n| n.ends_with(".txt") || n.ends_with(".html")) else {
            continue;
        };
        if !sources.contains_key(name) && !name.starts_with('_') {
            return Err(TemplateError(format!("{}: there is no template of this name", path.display())));
        }
        let source = fs::read_to_string(&path).map_err(|e| cant(&path, e))?;
        sources.insert(name.to_owned(), source);
    }
    Ok(())
}

/// The host of a URL, without port: what people know the application by.
fn host_of(url: &str) -> String {
    let host = reqwest::Url::parse(url).ok().and_then(|u| u.host_str().map(str::to_owned));
    host.unwrap_or_else(|| "localhost".to_owned())
}

/// `ada@example.com` → `a•••@e•••.com`: enough for its owner, no text of a stranger, no link for a mail reader to make.
pub fn mask(email: &str) -> String {
    let first = |s: &str| s.chars().next().map(String::from).unwrap_or_default();
    let (local, domain) = email.rsplit_once('@').unwrap_or((email, ""));
    let top = domain.rsplit_once('.').map_or(String::new(), |(_, top)| format!(".{top}"));
    format!("{}•••@{}•••{top}", first(local), first(domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const APP: &str = "https://app.example:8443/portal";
    /// The link of [`Letter::samples`].
    const LINK: &str = "https://app.example/x?token=y";

    fn broken(name: &str, source: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), source).unwrap();
        Templates::load(Some(dir.path())).err().map(|e| e.0).unwrap_or_default()
    }

    #[test]
    fn every_letter_renders_with_its_secret_in_both_parts() {
        let templates = Templates::load(None).unwrap();
        for letter in Letter::samples() {
            let r = templates.letter(&letter, APP).unwrap_or_else(|e| panic!("{}", e.0));
            let expected = match &letter {
                Letter::EmailCode(_) | Letter::EmailChangeCode(_) | Letter::SignupCode(_) => "123456",
                Letter::Reset { .. } | Letter::EmailChanged { .. } | Letter::Invite { .. } | Letter::AccountMade { .. } => LINK,
                Letter::Undone { .. } | Letter::NotMe { .. } | Letter::Restored { .. } => LINK,
                Letter::Notice { .. } => LINK,
                Letter::PasswordChanged { not_me: Some(_) } | Letter::ApiKeyMade { not_me: Some(_), .. } => LINK,
                Letter::AccountDeleted { link: Some(_), .. } => LINK,
                Letter::AccountExists | Letter::PasswordChanged { not_me: None } | Letter::ApiKeyMade { not_me: None, .. } => APP,
                Letter::ApiKeyStopped { .. } | Letter::ApiKeyEnded { .. } => APP,
                Letter::AccountDeleted { link: None, .. } => "app.example",
            };
            let name = letter.name();
            assert!(r.subject.contains("app.example") && !r.subject.contains(['\n', '{']), "{name}: {}", r.subject);
            assert!(r.text.reveal().contains(expected), "{name}");
            let html = r.html.reveal();
            assert!(html.contains(&expected.replace('/', "&#x2f;")) || html.contains(expected), "{name}: {html}");
            assert!(!html.contains("{{") && html.trim_end().ends_with("</html>"), "{name}");
            // Nobody but whom the link is for can do what it does.
            assert_eq!(r.text.reveal().contains("token="), expected == LINK, "{name}");
            assert_eq!(html.contains("token="), expected == LINK, "{name}");
            let key = matches!(&letter, Letter::ApiKeyMade { .. } | Letter::ApiKeyStopped { .. } | Letter::ApiKeyEnded { .. });
            assert_eq!((r.text.reveal().contains("qk_abcdefghjkmn"), html.contains("qk_abcdefghjkmn")), (key, key), "{name}");
            assert!(!r.text.reveal().contains("\n\n\n") && !r.text.reveal().contains(" \n"), "{name}: {:?}", r.text.reveal());
        }
    }

    #[test]
    fn every_template_belongs_to_a_letter_and_every_letter_has_both() {
        let letters: BTreeSet<&str> = Letter::samples().iter().map(Letter::name).collect();
        let mut expected: BTreeSet<String> = letters.iter().flat_map(|name| [format!("{name}.txt"), format!("{name}.html")]).collect();
        expected.extend(["_layout.html", "_parts.html", "sms_code.txt"].map(str::to_owned));
        assert_eq!(BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>(), expected);
    }

    /// Templates are strict: they can't use what isn't among these values.
    #[test]
    fn no_letter_has_strangers_words_but_the_tenants_name_in_two() {
        let harmless = ["code", "minutes", "hours", "days", "link", "not_me", "masked_email", "prefix", "kind", "when", "network", "agent"];
        let mut with_name = BTreeSet::new();
        for letter in Letter::samples() {
            for (value, _) in letter.values(APP) {
                match value {
                    "tenant_name" => {
                        with_name.insert(letter.name());
                    }
                    _ => assert!(harmless.contains(&value), "{}: {value}", letter.name()),
                }
            }
        }
        assert_eq!(with_name.into_iter().collect::<Vec<_>>(), ["account_made", "invite"]);
        for (name, source) in BUILT_IN {
            let has = ["account_made", "invite"].iter().any(|letter| name.starts_with(letter));
            assert_eq!(source.contains("tenant_name"), has, "{name}");
        }
        for foreign in ["display_name", "key_name", "metadata"] {
            let source = format!("Subject: x\n\n{{{{ {foreign} }}}}");
            for letter in Letter::samples() {
                let name = format!("{}.txt", letter.name());
                assert!(broken(&name, &source).starts_with(&format!("{name}, line 3: ")), "{name} has {foreign}");
            }
        }
    }

    #[test]
    fn a_name_in_html_is_text_and_no_markup() {
        let templates = Templates::load(None).unwrap();
        let (name, link) = ("<b>\"Ada & Co'</b>", || SecretText::new("https://a/?a=1&b=\"<b>"));
        let named = Some(name.to_owned());
        let letters = [
            Letter::Invite { link: link(), hours: 48, tenant_name: named.clone() },
            Letter::AccountMade { link: link(), hours: 48, tenant_name: named },
            Letter::ApiKeyMade { prefix: name.into(), not_me: Some(link()) },
            Letter::ApiKeyMade { prefix: name.into(), not_me: None },
            Letter::ApiKeyStopped { prefix: name.into() },
            Letter::ApiKeyEnded { prefix: name.into() },
            Letter::PasswordChanged { not_me: Some(link()) },
            Letter::AccountDeleted { link: Some(link()), days: 2 },
            Letter::Undone { link: link(), minutes: 2 },
            Letter::NotMe { link: link(), minutes: 2 },
            Letter::Restored { link: link(), minutes: 2 },
        ];
        for letter in letters {
            let r = templates.letter(&letter, APP).unwrap_or_else(|e| panic!("{}", e.0));
            let (text, html, which) = (r.text.reveal(), r.html.reveal(), letter.name());
            assert!(html.contains("&lt;b&gt;") && !html.contains("<b>") && !html.contains("&b="), "{which}: {html}");
            assert!(text.contains("<b>") && !text.contains("&lt;"), "{which}: {text}");
        }
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let templates = Templates::load(None).unwrap();
        let link = || SecretText::new(LINK);
        let text = |letter: &Letter| templates.letter(letter, APP).unwrap_or_else(|e| panic!("{}", e.0)).text.reveal().to_owned();
        let made = |hours| text(&Letter::AccountMade { link: link(), hours, tenant_name: None });
        assert!(made(1).contains("for 1 hour.") && made(47).contains("for 47 hours.") && made(168).contains("for 7 days."));
        let deleted = |days| text(&Letter::AccountDeleted { link: Some(link()), days });
        assert!(deleted(1).contains("1 day ") && deleted(30).contains("30 days "), "{}", deleted(1));
        let restored = |minutes| text(&Letter::Restored { link: link(), minutes });
        assert!(restored(1).contains("for 1 minute.") && restored(60).contains("for 60 minutes."));
    }

    #[test]
    fn html_is_escaped_and_text_is_not() {
        let letter = Letter::EmailChanged { link: SecretText::new("https://a/?a=1&b=2"), masked_email: "<b>".into(), hours: 1 };
        let r = Templates::load(None).unwrap().letter(&letter, APP).unwrap_or_else(|e| panic!("{}", e.0));
        assert!(r.html.reveal().contains("&lt;b&gt;") && !r.html.reveal().contains("<b>"));
        assert!(r.text.reveal().contains("<b>") && r.text.reveal().contains("?a=1&b=2") && r.text.reveal().contains("1 hour."));
    }

    #[test]
    fn a_text_message_ends_in_the_line_that_browsers_read() {
        let code = Code { code: SecretText::new("004217"), minutes: 10 };
        let text = Templates::load(None).unwrap().sms_code(&code, APP).unwrap_or_else(|e| panic!("{}", e.0));
        assert_eq!(text.reveal().lines().last(), Some("@app.example #004217"));
        assert!(text.reveal().is_ascii() && text.reveal().len() <= 160, "one message");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sms_code.txt"), "Code: {{ code }}").unwrap();
        let text = Templates::load(Some(dir.path())).unwrap().sms_code(&code, APP).unwrap_or_else(|e| panic!("{}", e.0));
        assert_eq!(text.reveal(), "Code: 004217\n\n@app.example #004217");
    }

    #[test]
    fn a_directory_replaces_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("email_code.txt"), "Subject: Hallo {{ site }}\nDein Code: {{ code }}").unwrap();
        fs::write(dir.path().join("_own.html"), "kept for includes").unwrap();
        fs::write(dir.path().join("README.md"), "{% no template %}").unwrap();
        let templates = Templates::load(Some(dir.path())).unwrap();
        let r = templates.letter(&Letter::samples()[0], APP).unwrap_or_else(|e| panic!("{}", e.0));
        assert_eq!((r.subject.as_str(), r.text.reveal()), ("Hallo app.example", "Dein Code: 123456\n"));
    }

    #[test]
    fn broken_templates_name_file_and_line() {
        assert!(broken("reset.html", "<p>\n{% if %}").starts_with("reset.html, line 2: "));
        assert!(broken("reset.txt", "Subject: x\n\n{{ user_name }}").starts_with("reset.txt, line 3: "));
        assert!(broken("reset.txt", "Hello").starts_with("reset.txt, line 1: "));
        assert!(broken("rest.txt", "Hello").contains("rest.txt"));
        assert!(Templates::load(Some(Path::new("/nonexistent"))).is_err());
    }

    #[test]
    fn masks() {
        assert_eq!(mask("ada@example.com"), "a•••@e•••.com");
        assert_eq!(mask("é@x"), "é•••@x•••");
        assert_eq!(mask(""), "•••@•••");
    }
}
