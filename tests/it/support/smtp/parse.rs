//! A mail taken apart: its headers, its subject, and the two forms of its text.

use super::Received;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::BTreeMap;

/// Splits head and body; unfolds the head.
fn split(raw: &str) -> (BTreeMap<String, String>, &str) {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((raw, ""));
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let headers = unfolded.lines().filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    (headers.collect(), body)
}

pub(super) fn mail(raw: &str, from: &str, to: &[String], encrypted: bool, user: Option<String>) -> Received {
    let (headers, body) = split(raw);
    let kind = headers.get("content-type").cloned().unwrap_or_default();
    let boundary = kind.split("boundary=").nth(1).map(|b| b.trim_matches('"').to_owned());
    let (mut text, mut html) = (String::new(), String::new());
    if let Some(boundary) = boundary {
        for part in body.split(&format!("--{boundary}")).skip(1) {
            let (part_headers, content) = split(part.trim_start_matches("\r\n"));
            let encoding = part_headers.get("content-transfer-encoding").map_or("7bit", String::as_str);
            let content = decode_body(content.trim_end_matches("\r\n"), encoding).replace("\r\n", "\n");
            match part_headers.get("content-type") {
                Some(t) if t.starts_with("text/plain") => text = content,
                Some(t) if t.starts_with("text/html") => html = content,
                _ => {}
            }
        }
    }
    let subject = decode_words(headers.get("subject").map_or("", String::as_str));
    Received { from: from.to_owned(), to: to.to_vec(), raw: raw.to_owned(), headers, subject, text, html, encrypted, user }
}

fn decode_body(text: &str, encoding: &str) -> String {
    match encoding.to_ascii_lowercase().as_str() {
        "base64" => String::from_utf8(STANDARD.decode(text.replace("\r\n", "")).unwrap()).unwrap(),
        "quoted-printable" => quoted(&text.replace("=\r\n", ""), false),
        _ => text.to_owned(),
    }
}

fn quoted(text: &str, underscores: bool) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [b, tail @ ..] = rest {
        rest = tail;
        match b {
            b'=' => {
                out.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                rest = &tail[2..];
            }
            b'_' if underscores => out.push(b' '),
            b => out.push(*b),
        }
    }
    String::from_utf8(out).unwrap()
}

/// RFC 2047 words.
fn decode_words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("=?utf-8?") {
        if !before.trim().is_empty() || out.is_empty() {
            out.push_str(before);
        }
        let (kind, after) = after.split_once('?').unwrap();
        let (word, after) = after.split_once("?=").unwrap();
        out.push_str(&match kind {
            "b" | "B" => String::from_utf8(STANDARD.decode(word).unwrap()).unwrap(),
            _ => quoted(word, true),
        });
        rest = after;
    }
    out.push_str(rest);
    out
}
