//! Two processes on the same stores that don't know of each other: what many clients of both did and saw is recorded, and there must be
//! an order that explains it, for each address, session, code and link.

use crate::{
    distributed::{
        linear::{Event, check},
        models::*,
    },
    support::{
        app::{Account, App, fresh_email, fresh_password},
        client::{Client, Reply},
        stack::Place,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Two servers on one keyspace and one Redis.
async fn two() -> (App, App) {
    let place = Place::distributed();
    let start = || App::builder().on(&place).env("QEETID_HASH_THREADS", 1).start();
    (start().await, start().await)
}

/// What is known of a call: its status and code, or nothing.
#[derive(Debug)]
enum Answer {
    Of(Box<Reply>),
    Nothing,
}

/// Asks one, and notes when.
async fn ask(client: &Client, path: &str, token: Option<&str>, body: Value) -> (Answer, Instant, Instant) {
    let began = Instant::now();
    let reply = client.try_send(Method::POST, path, token, Some(body)).await;
    let ended = Instant::now();
    // Refused for now: by the rules of the store it may yet have happened.
    let answer = match reply {
        Ok(reply) if reply.status != 503 => Answer::Of(Box::new(reply)),
        Ok(_) | Err(_) => Answer::Nothing,
    };
    (answer, began, ended)
}

/// Calls of one thing, by many at once.
struct Recorder<C>(Arc<Mutex<Vec<Event<C>>>>);

impl<C> Clone for Recorder<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Recorder<C> {
    fn new() -> Self {
        Self(Arc::default())
    }
    fn note(&self, call: C, began: Instant, ended: Option<Instant>) {
        self.0.lock().unwrap().push(Event { call, began, ended });
    }
    fn take(&self) -> Vec<Event<C>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

async fn sign_in(client: &Client, email: &str, password: &str) -> (Option<bool>, Instant, Instant) {
    let (answer, began, ended) = ask(client, "/v1/auth/login", None, json!({"email": email, "password": password})).await;
    let opened = match answer {
        Answer::Of(reply) if reply.status == 401 => Some(false),
        Answer::Of(reply) => Some(reply.expect(200).status == 200),
        // Signing in changes nothing that is looked at here.
        Answer::Nothing => None,
    };
    (opened, began, ended)
}

/// Six people want one address, of whom each signs in afterwards, whatever he was told.
async fn one_address(clients: [Client; 2]) -> (usize, Vec<Event<SignUpCall>>) {
    let (email, recorder) = (fresh_email(), Recorder::new());
    let people = (0..6).map(|n| {
        let (client, other, email, recorder) = (clients[n % 2].clone(), clients[(n / 2) % 2].clone(), email.clone(), recorder.clone());
        tokio::spawn(async move {
            let password = fresh_password();
            let body = json!({"email": email, "password": password});
            let (answer, began, ended) = ask(&client, "/v1/auth/signup", None, body).await;
            let (call, ended) = match answer {
                Answer::Of(reply) if reply.status == 201 => (SignUpCall::Made(n), Some(ended)),
                Answer::Of(reply) => {
                    reply.refused(422, "signup_unavailable");
                    (SignUpCall::Taken, Some(ended))
                }
                Answer::Nothing => (SignUpCall::Unknown(n), None),
            };
            recorder.note(call, began, ended);
            let (opened, began, ended) = sign_in(&other, &email, &password).await;
            if let Some(opened) = opened {
                recorder.note(SignUpCall::SignsIn(n, opened), began, Some(ended));
            }
        })
    });
    for person in people.collect::<Vec<_>>() {
        person.await.unwrap();
    }
    let history = recorder.take();
    (history.iter().filter(|e| matches!(e.call, SignUpCall::Made(_))).count(), history)
}

type Histories = Vec<JoinHandle<(usize, Vec<Event<SignUpCall>>)>>;

/// So many addresses at once, each wanted by six people.
fn addresses(count: usize, a: &App, b: &App) -> Histories {
    (0..count).map(|_| tokio::spawn(one_address([a.other_client(), b.other_client()]))).collect()
}

/// Checks them; gives how many addresses were made, and how many calls had no answer.
async fn join(histories: Histories) -> (usize, usize) {
    let (mut made, mut unknown) = (0, 0);
    for each in histories {
        let (count, history) = each.await.unwrap();
        made += count;
        unknown += history.iter().filter(|e| e.ended.is_none()).count();
        check::<SignUp>("sign-ups of one address", &history);
    }
    (made, unknown)
}

/// A few of them, which is what there is time for before each change.
#[tokio::test(flavor = "multi_thread")]
async fn sign_ups_of_a_few_addresses() {
    let (a, b) = two().await;
    let (mut made, began) = (0, Instant::now());
    while made < 3 {
        assert!(began.elapsed() < Duration::from_secs(60), "the test saw too little: {made} addresses made");
        made += join(addresses(3, &a, &b)).await.0;
    }
}

/// Eight tabs that share what they got, and sometimes use what they had before.
async fn one_session(clients: [Client; 2], who: Account) -> Vec<Event<RefreshCall>> {
    let recorder = Recorder::new();
    // The first is called "0" by the model.
    let known = Arc::new(Mutex::new(vec![who.refresh.clone()]));
    let name = move |token: &str| if token == who.refresh { "0".to_owned() } else { token.to_owned() };
    let name = Arc::new(name);
    let tabs = (0..8).map(|n| {
        let (client, recorder, known, name) = (clients[n % 2].clone(), recorder.clone(), known.clone(), name.clone());
        tokio::spawn(async move {
            for round in 0..6 {
                let token = {
                    let known = known.lock().unwrap();
                    // The last tab brings an old one at its end.
                    let back = if n == 7 && round == 5 { 3 } else { usize::from((n + round) % 3 == 0) };
                    known[known.len().saturating_sub(1 + back)].clone()
                };
                let (answer, began, ended) = ask(&client, "/v1/auth/refresh", None, json!({"refresh_token": token})).await;
                let with = name(&token);
                match answer {
                    Answer::Of(reply) if reply.status == 200 => {
                        let got = reply.str("refresh_token");
                        {
                            let mut known = known.lock().unwrap();
                            if !known.contains(&got) {
                                known.push(got.clone());
                            }
                        }
                        recorder.note(RefreshCall::Turned { with, got: name(&got) }, began, Some(ended));
                    }
                    Answer::Of(reply) => {
                        assert!(matches!(reply.code(), "token_reused" | "session_revoked"), "{}", reply.text);
                        recorder.note(RefreshCall::Refused { with }, began, Some(ended));
                    }
                    Answer::Nothing => recorder.note(RefreshCall::Unknown { with }, began, None),
                }
            }
        })
    });
    for tab in tabs.collect::<Vec<_>>() {
        tab.await.unwrap();
    }
    recorder.take()
}

/// Right and wrong codes at once: `wrong` of them are wrong.
async fn one_code(clients: [Client; 2], who: Account, code: String, wrong: usize) -> Vec<Event<ConfirmCall>> {
    let recorder = Recorder::new();
    let path = format!("/v1/users/{}/verify/email/confirm", who.user_id);
    let tries = (0..10).map(|n| {
        let (client, recorder, path, access) = (clients[n % 2].clone(), recorder.clone(), path.clone(), who.access.clone());
        let right = n >= wrong;
        let code = if right { code.clone() } else { format!("{:06}", (code.parse::<u32>().unwrap() + 1 + n as u32) % 1_000_000) };
        tokio::spawn(async move {
            let (answer, began, ended) = ask(&client, &path, Some(&access), json!({"code": code})).await;
            let (call, ended) = match answer {
                Answer::Of(reply) if reply.status == 200 => (ConfirmCall::Right(true), Some(ended)),
                Answer::Of(reply) => {
                    assert!(matches!(reply.code(), "code_invalid" | "code_expired"), "{}", reply.text);
                    (if right { ConfirmCall::Right(false) } else { ConfirmCall::Wrong }, Some(ended))
                }
                Answer::Nothing => (if right { ConfirmCall::Unknown } else { ConfirmCall::Wrong }, None),
            };
            recorder.note(call, began, ended);
        })
    });
    for each in tries.collect::<Vec<_>>() {
        each.await.unwrap();
    }
    recorder.take()
}

/// What the newest message to `to` holds, in the mailbox of one of two servers.
async fn either<T>(a: &App, b: &App, to: &str, what: impl Fn(&crate::support::mail::Mail) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = a.messages(to).iter().chain(&b.messages(to)).rev().find_map(&what) {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no message to {to}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Four people have the link, and each tries his password before and after, and that of before.
async fn one_link(clients: [Client; 2], who: Account, token: String) -> Vec<Event<ResetCall>> {
    let recorder = Recorder::new();
    let people = (1..5).map(|n| {
        let (client, other, recorder) = (clients[n % 2].clone(), clients[(n / 2) % 2].clone(), recorder.clone());
        let (who, token) = (who.clone(), token.clone());
        tokio::spawn(async move {
            let password = fresh_password();
            let tries = async |client: &Client, number: usize, password: &str| {
                let (opened, began, ended) = sign_in(client, &who.email, password).await;
                if let Some(opened) = opened {
                    recorder.note(ResetCall::SignsIn(number, opened), began, Some(ended));
                }
            };
            tries(&other, 0, &who.password).await;
            let (answer, began, ended) =
                ask(&client, "/v1/auth/reset-password", None, json!({"token": token, "new_password": password})).await;
            let (call, ended) = match answer {
                Answer::Of(reply) if reply.status == 200 => (ResetCall::Set(n), Some(ended)),
                Answer::Of(reply) => {
                    reply.refused(400, "link_invalid");
                    (ResetCall::Invalid, Some(ended))
                }
                Answer::Nothing => (ResetCall::Unknown(n), None),
            };
            recorder.note(call, began, ended);
            tries(&other, n, &password).await;
            tries(&client, 0, &who.password).await;
        })
    });
    for person in people.collect::<Vec<_>>() {
        person.await.unwrap();
    }
    recorder.take()
}

/// Many of each.
mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn sign_ups_of_one_address() {
        let (a, mut b) = two().await;
        let (mut made, _) = join(addresses(12, &a, &b)).await;
        let mut unknown = 0;
        // Once more, and one server dies half-way: where the machine is fast it may be too late for that.
        for _ in 0..5 {
            let histories = addresses(12, &a, &b);
            tokio::time::sleep(Duration::from_millis(400)).await;
            b.kill9();
            let (more, lost) = join(histories).await;
            (made, unknown) = (made + more, unknown + lost);
            b.start().await;
            if unknown > 0 {
                break;
            }
        }
        println!("{made} addresses made and told so, {unknown} calls without an answer");
        assert!(made >= 12 && unknown > 0, "the test saw too little");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn refreshes_of_one_session() {
        let (a, b) = two().await;
        let mut sessions = Vec::new();
        for _ in 0..8 {
            let who = a.signup().await;
            sessions.push(tokio::spawn(one_session([a.other_client(), b.other_client()], who)));
        }
        let (mut turned, mut refused) = (0, 0);
        for session in sessions {
            let history = session.await.unwrap();
            turned += history.iter().filter(|e| matches!(e.call, RefreshCall::Turned { .. })).count();
            refused += history.iter().filter(|e| matches!(e.call, RefreshCall::Refused { .. })).count();
            check::<Refresh>("refreshes of one session", &history);
        }
        println!("{turned} refreshes answered, {refused} refused");
        assert!(turned > 100 && refused > 0, "the test saw too little");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn confirmations_of_one_code() {
        let (a, b) = two().await;
        let mut codes = Vec::new();
        for n in 0..8 {
            let who = a.signup().await;
            a.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await.expect(200);
            // Whichever server found the message first has sent it.
            let code = either(&a, &b, &who.email, |m| m.code.clone()).await;
            codes.push(tokio::spawn(one_code([a.other_client(), b.other_client()], who, code, [0, 3, 6, 9][n % 4])));
        }
        let mut used = 0;
        for code in codes {
            let history = code.await.unwrap();
            used += history.iter().filter(|e| matches!(e.call, ConfirmCall::Right(true))).count();
            check::<Confirm>("tries of one code", &history);
        }
        println!("{used} of 8 codes used");
        assert!((4..=8).contains(&used), "the test saw too little");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn resets_by_one_link() {
        let (a, b) = two().await;
        let mut links = Vec::new();
        for _ in 0..6 {
            let who = b.signup().await;
            a.post("/v1/auth/forgot-password", json!({"email": who.email})).await.expect(202);
            let token = either(&a, &b, &who.email, |m| m.link.as_deref()?.split_once("token=").map(|(_, t)| t.to_owned())).await;
            links.push(tokio::spawn(one_link([a.other_client(), b.other_client()], who, token)));
        }
        let mut set = 0;
        for link in links {
            let history = link.await.unwrap();
            set += history.iter().filter(|e| matches!(e.call, ResetCall::Set(_))).count();
            check::<Reset>("resets by one link", &history);
        }
        println!("{set} of 6 links used");
        assert!((3..=6).contains(&set), "the test saw too little");
    }
}
