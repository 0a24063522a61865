//! The development mailbox: takes mails and text messages and keeps them as files, to be read at `/dev/mailbox`.

use super::{DeliveryError, Mail, Mailer, Sms, SmsSender};
use crate::domain::{ids::JobId, time::Clock};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many messages are kept; the oldest go.
pub const KEEP: usize = 500;

/// Mail or text message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A mail.
    Mail,
    /// A text message.
    Sms,
}

/// A message that was "sent". It shows codes and links, as is its purpose, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The job's id: a second delivery of the same job replaces the first.
    pub id: JobId,
    /// What it is.
    pub kind: Kind,
    /// Address or number.
    pub to: String,
    /// Of a mail.
    pub subject: Option<String>,
    /// The plain text.
    pub text: String,
    /// Of a mail.
    pub html: Option<String>,
    /// The digits, if it carries a code.
    pub code: Option<String>,
    /// The first link in the text.
    pub link: Option<String>,
    /// When it was taken, RFC 3339.
    pub at: String,
}

/// The development mailbox: the newest [`KEEP`] messages as files of mode 0600 in a directory of mode 0700.
pub struct Mailbox {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    /// Oldest first.
    entries: Mutex<VecDeque<Entry>>,
}

impl Mailbox {
    /// Opens `<data dir>/mailbox/` (made if missing) and reads what is in there. Files that aren't ours are left alone.
    ///
    /// # Errors
    /// The directory can't be made or read.
    pub fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let dir = data_dir.join("mailbox");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let mut entries = Vec::new();
        for file in fs::read_dir(&dir)? {
            let path = file?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            // One that was cut short by a crash of the machine is no reason not to start.
            if let Ok(entry) = serde_json::from_slice::<Entry>(&fs::read(&path)?) {
                entries.push(entry);
            }
        }
        entries.sort_by(|a, b| (&a.at, a.id).cmp(&(&b.at, b.id)));
        Ok(Self { dir, clock, entries: Mutex::new(entries.into()) })
    }

    /// All messages, newest first.
    pub fn list(&self) -> Vec<Entry> {
        self.lock().iter().rev().cloned().collect()
    }

    /// One message.
    pub fn get(&self, id: JobId) -> Option<Entry> {
        self.lock().iter().find(|e| e.id == id).cloned()
    }

    /// Throws all messages away; says how many there were.
    ///
    /// # Errors
    /// A file can't be removed; the messages before it are gone.
    pub fn clear(&self) -> io::Result<usize> {
        let mut entries = self.lock();
        let mut count = 0;
        while let Some(entry) = entries.front() {
            self.remove(entry.id)?;
            entries.pop_front();
            count += 1;
        }
        Ok(count)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: JobId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    fn remove(&self, id: JobId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn put(&self, entry: Entry) -> io::Result<()> {
        let mut entries = self.lock();
        // Written beside and moved: a reader or a crash never sees half a message.
        let beside = self.dir.join(format!("{}.new", entry.id));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(&entry)?)?;
        fs::rename(&beside, self.path(entry.id))?;
        entries.retain(|e| e.id != entry.id);
        entries.push_back(entry);
        while entries.len() > KEEP {
            if let Some(oldest) = entries.pop_front() {
                self.remove(oldest.id)?;
            }
        }
        Ok(())
    }

    fn take(&self, entry: Entry) -> Result<(), DeliveryError> {
        self.put(entry).map_err(|e| DeliveryError { permanent: false, detail: format!("mailbox: {}", e.kind()) })
    }
}

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, mail: Mail) -> Result<(), DeliveryError> {
        let text = mail.text.reveal().to_owned();
        self.take(Entry {
            id: mail.job,
            kind: Kind::Mail,
            to: mail.to.as_str().to_owned(),
            subject: Some(mail.subject),
            code: find_code(&text),
            link: find_link(&text),
            text,
            html: Some(mail.html.reveal().to_owned()),
            at: self.clock.now().to_string(),
        })
    }
}

#[async_trait]
impl SmsSender for Mailbox {
    async fn send(&self, sms: Sms) -> Result<(), DeliveryError> {
        let text = sms.text.reveal().to_owned();
        self.take(Entry {
            id: sms.job,
            kind: Kind::Sms,
            to: sms.to.as_str().to_owned(),
            subject: None,
            code: find_code(&text),
            link: find_link(&text),
            text,
            html: None,
            at: self.clock.now().to_string(),
        })
    }
}

/// Exactly 6 or 8 digits that stand as a word; digits inside a link are none.
fn find_code(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()));
    words.filter(|w| [6, 8].contains(&w.len()) && w.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned).next()
}

fn find_link(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    words.find(|w| w.starts_with("https://") || w.starts_with("http://")).map(|w| w.trim_end_matches(['.', ',', ')', '>']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        contact::{Email, Phone},
        secret::SecretText,
        time::ManualClock,
    };
    use std::time::Duration;

    fn mail(n: u16, text: &str) -> Mail {
        let mut id = [0; 16];
        id[14..].copy_from_slice(&n.to_be_bytes());
        let (text, html) = (SecretText::new(text), SecretText::new("<p>Hello</p>"));
        Mail { job: JobId::from_bytes(id), to: Email::from_stored("ada@example.com".into()), subject: "Hi".into(), text, html }
    }

    #[tokio::test]
    async fn messages_survive_a_restart_and_only_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at_millis(1_700_000_000_000));
        let open = || Mailbox::open(dir.path(), clock.clone()).unwrap();
        let mailbox = open();
        for n in 0..=KEEP as u16 {
            clock.advance(Duration::from_millis(1));
            Mailer::send(&mailbox, mail(n, "Your code:\n\n123456\n")).await.unwrap();
        }
        clock.advance(Duration::from_secs(1));
        let text = SecretText::new("Code 004217.\n@app.example #004217");
        let sms = Sms { job: JobId::from_bytes([9; 16]), to: Phone::from_stored("+14155550100".into()), text };
        SmsSender::send(&mailbox, sms).await.unwrap();
        let before = mailbox.list();
        assert_eq!(before.len(), KEEP);
        assert_eq!((before[0].kind, before[0].code.as_deref()), (Kind::Sms, Some("004217")));
        assert_eq!(before[1].code.as_deref(), Some("123456"));
        assert!(mailbox.get(mail(1, "").job).is_none() && mailbox.get(mail(2, "").job).is_some());
        drop(mailbox);
        let mailbox = open();
        assert!(mailbox.list() == before);
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("mailbox")), 0o700);
        let files: Vec<_> = fs::read_dir(dir.path().join("mailbox")).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), KEEP);
        assert!(files.iter().all(|f| mode(f) == 0o600));
        assert_eq!(mailbox.clear().unwrap(), KEEP);
        assert!(mailbox.list().is_empty() && open().list().is_empty());
    }

    #[tokio::test]
    async fn a_second_delivery_replaces_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(dir.path(), Arc::new(ManualClock::at_millis(0))).unwrap();
        for _ in 0..2 {
            let text = "Open https://app.example/reset-password?token=rl_a-123456-b.\nIgnore it otherwise.";
            Mailer::send(&mailbox, mail(1, text)).await.unwrap();
        }
        let all = mailbox.list();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].link.as_deref(), Some("https://app.example/reset-password?token=rl_a-123456-b"));
        assert_eq!(all[0].code, None, "digits in a link are no code");
    }
}
