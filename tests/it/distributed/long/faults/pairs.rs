//! What two people do to each other in two units of the store: an organization keeps an owner, and an address has one account.

use super::{answered, people::signed_in};
use crate::support::{
    app::{Account, App, fresh_email, fresh_password},
    client::{Client, Reply},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    fmt,
    time::{Duration, Instant},
};

const OWNER: &str = "00000000-0000-7000-8000-000000000001";
const MEMBER: &str = "00000000-0000-7000-8000-000000000003";

async fn ask(client: &Client, method: Method, access: &str, path: &str, body: Option<Value>) -> Reply {
    answered(|| client.send(method.clone(), path, Some(access), body.clone())).await
}

/// Two owners of an organization, who take the role from each other at the same time.
pub struct Owners {
    org: String,
    two: [Account; 2],
    pub rounds: usize,
    /// Rounds that both were told they had won, or neither had.
    unclear: usize,
}

impl Owners {
    pub async fn of(app: &App) -> Self {
        let two = [app.signup().await, app.signup().await];
        for one in &two {
            app.verify(one).await;
        }
        let org = app.post_as(&two[0].access, "/v1/tenants", json!({"name": "Two"})).await.expect(201).str("id");
        let access = app.post_as(&two[0].access, "/v1/auth/switch-tenant", json!({"tenant_id": org})).await.expect(200).str("access_token");
        let invite = json!({"email": two[1].email, "role_id": OWNER});
        let invited = app.post_as(&access, "/v1/invites", invite).await.expect(201).body["invite"]["id"].as_str().unwrap().to_owned();
        app.post_as(&two[1].access, &format!("/v1/me/invites/{invited}/accept"), json!({})).await.expect(200);
        let owners = Self { org, two, rounds: 0, unclear: 0 };
        // Who is no owner any more stays a member.
        for one in [0, 1] {
            let access = owners.access(app, 1 - one).await;
            app.send(Method::POST, &owners.role(one, MEMBER), Some(&access), None).await.expect(204);
        }
        owners
    }

    fn role(&self, whose: usize, role: &str) -> String {
        format!("/v1/users/{}/tenants/{}/roles/{role}", self.two[whose].user_id, self.org)
    }

    /// A token scoped to the organization.
    async fn access(&self, client: &Client, who: usize) -> String {
        let own = signed_in(client, &self.two[who].email, &self.two[who].password).await.expect("the password is right");
        let scope = Some(json!({"tenant_id": self.org}));
        ask(client, Method::POST, &own.str("access_token"), "/v1/auth/switch-tenant", scope).await.expect(200).str("access_token")
    }

    /// Whether somebody is an owner, as the other one sees it.
    async fn is_owner(&self, client: &Client, access: &str, who: usize) -> Option<bool> {
        let path = format!("/v1/users/{}", self.two[who].user_id);
        let reply = ask(client, Method::GET, access, &path, None).await;
        (reply.status == 200).then(|| reply.body["roles"].as_array().unwrap().iter().any(|role| role == "owner"))
    }

    pub async fn take_it_from_each_other(&mut self, client: &Client) {
        let access = [self.access(client, 0).await, self.access(client, 1).await];
        let take = async |from: usize| ask(client, Method::DELETE, &access[1 - from], &self.role(from, OWNER), None).await.status;
        let (first, second) = tokio::join!(take(0), take(1));
        // An answer that was lost was followed by another try, which may have met the other's.
        for status in [first, second] {
            assert!([204, 403, 404, 409].contains(&status), "{status}");
        }
        assert!((first, second) != (204, 204), "both were told that the other is no owner");
        self.unclear += usize::from(first != 204 && second != 204);
        let left = self.left(client, &access).await;
        let path = self.role(1 - left, OWNER);
        let given = ask(client, Method::POST, &access[left], &path, None).await;
        assert!([204, 409].contains(&given.status), "{}", given.text);
        self.rounds += 1;
    }

    /// One who is an owner.
    async fn left(&self, client: &Client, access: &[String; 2]) -> usize {
        let begun = Instant::now();
        loop {
            // Members can't look at people: whoever can is an owner.
            for who in [0, 1] {
                if self.is_owner(client, &access[who], who).await == Some(true) {
                    return who;
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "nobody owns {}", self.org);
        }
    }

    /// Nothing that came late has taken the last owner away.
    pub async fn hold(&self, client: &Client) {
        let access = [self.access(client, 0).await, self.access(client, 1).await];
        self.left(client, &access).await;
    }
}

impl fmt::Display for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rounds of two owners ({} unclear)", self.rounds, self.unclear)
    }
}

/// Somebody moves to an address while somebody else signs up with it.
struct Race {
    address: String,
    before: String,
    /// Passwords of who moved, and of who signed up.
    passwords: [String; 2],
    /// What each was told, if it was said.
    told: [Option<bool>; 2],
}

#[derive(Default)]
pub struct Moves(Vec<Race>);

impl Moves {
    pub fn races(&self) -> usize {
        self.0.len()
    }

    pub async fn one_more(&mut self, app: &App) {
        let (before, address, passwords) = (fresh_email(), fresh_email(), [fresh_password(), fresh_password()]);
        let signup = async |email: &str, password: &str| {
            let body = json!({"email": email, "password": password});
            answered(|| app.post("/v1/auth/signup", body.clone())).await
        };
        signup(&before, &passwords[0]).await;
        let access = signed_in(app, &before, &passwords[0]).await.expect("signed up").str("access_token");
        let start = Some(json!({"email": address, "current_password": passwords[0]}));
        ask(app, Method::POST, &access, "/v1/me/email/change/start", start).await.expect(200);
        let code = Self::code(app, &address).await;
        let confirm = ask(app, Method::POST, &access, "/v1/me/email/change/confirm", Some(json!({"code": code})));
        let (moved, made) = tokio::join!(confirm, signup(&address, &passwords[1]));
        // A code that was used by a try whose answer was lost is refused.
        let moved = match (moved.status, moved.code()) {
            (200, _) => Some(true),
            (409, "email_taken") => Some(false),
            (400, "code_invalid") => None,
            _ => panic!("{}", moved.text),
        };
        // So is an address that such a try has taken.
        let made = (made.status == 201).then_some(true);
        self.0.push(Race { address, before, passwords, told: [moved, made] });
        self.0.last().unwrap().holds(app).await;
    }

    /// The mail with it may be late: it is tried again after seconds, then minutes, if the store can't be asked when it is written. A code lives
    /// ten minutes.
    async fn code(app: &App, address: &str) -> String {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(540) {
            if let Some(code) = app.messages(address).into_iter().find_map(|mail| mail.code) {
                return code;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no code for {address}");
    }

    pub async fn hold(&self, app: &App) {
        for race in &self.0 {
            race.holds(app).await;
        }
    }
}

impl Race {
    /// One of them has the address, and whoever was told so is the one.
    async fn holds(&self, app: &App) {
        let has = [0, 1].map(async |who: usize| signed_in(app, &self.address, &self.passwords[who]).await.is_some());
        let [first, second] = has;
        let has = [first.await, second.await];
        assert!(has[0] != has[1], "{} {:?} {has:?}", self.address, self.told);
        for (told, has) in self.told.iter().zip(has) {
            assert!(told.is_none_or(|told| told == has), "{} {:?} {has}", self.address, self.told);
        }
        let back = signed_in(app, &self.before, &self.passwords[0]).await;
        assert_eq!(back.is_some(), !has[0], "the address that {} was", self.before);
    }
}

impl fmt::Display for Moves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |who: usize| self.0.iter().filter(|race| race.told[who] == Some(true)).count();
        write!(f, "{} addresses for two, {} moved to and {} signed up with", self.races(), of(0), of(1))
    }
}
