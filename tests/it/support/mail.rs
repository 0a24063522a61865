//! The development mailbox as a test sees it.

use super::app::App;
use serde_json::json;
use std::time::Duration;

/// A message of the development mailbox.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Mail {
    pub id: String,
    pub kind: String,
    pub to: String,
    pub subject: Option<String>,
    pub text: String,
    pub html: Option<String>,
    pub code: Option<String>,
    pub link: Option<String>,
    pub at: String,
}

impl Mail {
    /// The token in its link.
    #[track_caller]
    pub fn token(&self) -> String {
        self.any_token().unwrap_or_else(|| panic!("no token in {}", self.text))
    }
    fn any_token(&self) -> Option<String> {
        Some(self.link.as_deref()?.split_once("token=")?.1.to_owned())
    }
}

impl App {
    /// What the mailbox holds for `to`, oldest first.
    pub fn messages(&self, to: &str) -> Vec<Mail> {
        let found = self.server().messages(to);
        for message in &found {
            message.code.iter().for_each(|c| self.watch.plant(c));
            message.any_token().iter().for_each(|t| self.watch.plant(t));
        }
        found
    }

    /// Waits until `to` has at least `count` messages; gives the newest.
    pub async fn message(&self, to: &str, count: usize) -> Mail {
        for _ in 0..600 {
            let found = self.messages(to);
            if found.len() >= count {
                return found.last().unwrap().clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{to} has {} of {count} messages", self.messages(to).len());
    }

    /// Waits for the newest message that is as it should be, the `count`th to `to` or a later one: others may come in between.
    pub async fn mail(&self, to: &str, count: usize, what: &str, fits: impl Fn(&Mail) -> bool) -> Mail {
        for _ in 0..600 {
            let found = self.messages(to);
            if let Some(mail) = found.into_iter().skip(count - 1).rev().find(&fits) {
                return mail;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no message with {what} in the {} to {to}", self.messages(to).len());
    }

    /// The newest code in the `count`th message to `to` or a later one.
    pub async fn code(&self, to: &str, count: usize) -> String {
        self.mail(to, count, "a code", |m| m.code.is_some()).await.code.unwrap()
    }

    /// Asks for a reset and gives the token of its link; `count` as in [`App::code`].
    pub async fn reset_token(&self, email: &str, count: usize) -> String {
        self.post("/v1/auth/forgot-password", json!({"email": email})).await.expect(202);
        self.mail(email, count, "a reset's link", |m| m.link.as_ref().is_some_and(|l| l.contains("/reset-password"))).await.token()
    }

    /// Waits until everything that was asked for before has been sent, or never will be.
    pub async fn mails_are_out(&self) {
        let marker = self.signup().await;
        for count in 1..=2 {
            self.reset_token(&marker.email, count).await;
        }
    }
}
