//! Proved domains: the records on a real DNS server, and what power they give over whom.

use crate::support::{
    app::{Account, App, fresh_password, unique},
    client::Reply,
    dns::{Answer, DnsServer},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MEMBER: &str = "00000000-0000-7000-8000-000000000003";

fn fresh_domain() -> String {
    format!("d{}-{}.example.org", std::process::id(), unique())
}
fn somebody_at(domain: &str) -> String {
    format!("p{}@{domain}", unique())
}

async fn start() -> (App, DnsServer) {
    let dns = DnsServer::start().await;
    (App::builder().env("QEETID_DNS", dns.addr).start().await, dns)
}

/// An organization, and a token of its owner's that is scoped to it.
struct Org {
    id: String,
    owner: Account,
    token: String,
}

impl Org {
    async fn new(app: &App) -> Self {
        let owner = app.signup().await;
        app.verify(&owner).await;
        let (id, pair) = app.organization_of(&owner, "Acme").await;
        Self { id, owner, token: pair.access }
    }
    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}/domains{rest}", self.id)
    }
    /// Enters a domain: its id, the name of its record and the value of that.
    async fn enter(&self, app: &App, domain: &str) -> [String; 3] {
        let made = app.post_as(&self.token, &self.path(""), json!({"domain": domain})).await.expect(201);
        let record = &made.body["record"];
        assert_eq!((made.str("domain"), made.str("status"), &record["type"]), (domain.to_owned(), "pending".to_owned(), &json!("TXT")));
        assert_eq!(record["name"], format!("_qeetid.{domain}"));
        [made.str("id"), record["name"].as_str().unwrap().to_owned(), record["value"].as_str().unwrap().to_owned()]
    }
    async fn verify(&self, app: &App, id: &str) -> Reply {
        app.post_as(&self.token, &self.path(&format!("/{id}/verify")), json!({})).await
    }
    /// Enters and proves a domain.
    async fn prove(&self, app: &App, dns: &DnsServer, domain: &str) -> [String; 3] {
        let [id, name, value] = self.enter(app, domain).await;
        dns.publish(&name, &[&value]);
        self.verify(app, &id).await.expect(200);
        [id, name, value]
    }
    async fn domains(&self, app: &App) -> Vec<Value> {
        app.get_as(&self.token, &self.path("")).await.expect(200).body["items"].as_array().unwrap().clone()
    }
    async fn status(&self, app: &App, id: &str) -> Value {
        self.domains(app).await.iter().find(|d| d["id"] == id).expect("it is listed")["status"].clone()
    }
    async fn join(&self, app: &App, who: &Account) {
        let token = app.post_as(&self.token, "/v1/invites", json!({"email": who.email})).await.expect(201).str("token");
        app.post("/v1/invites/accept", json!({"token": token, "password": who.password})).await.expect(200);
    }
    async fn set_password(&self, app: &App, user: &str) -> Reply {
        app.post_as(&self.token, &format!("/v1/users/{user}/password"), json!({"password": fresh_password()})).await
    }
}

async fn person_at(app: &App, domain: &str) -> Account {
    let (email, password) = (somebody_at(domain), fresh_password());
    app.post("/v1/auth/signup", json!({"email": email, "password": password})).await.expect(201);
    let pair = app.login(&email, &password).await.expect(200);
    let [user_id, tenant_id, session_id, access, refresh] =
        ["user_id", "tenant_id", "session_id", "access_token", "refresh_token"].map(|field| pair.str(field));
    Account { email, password, user_id, tenant_id, session_id, access, refresh }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_proves_a_domain() {
    let (app, dns) = start().await;
    let org = Org::new(&app).await;
    let domain = fresh_domain();
    let [id, name, value] = org.enter(&app, &domain).await;
    // Absent, empty, another's, and not below the label.
    let absent = org.verify(&app, &id).await.refused(409, "conflict");
    assert!(absent.body["error"]["detail"].as_str().unwrap().contains("TXT"), "{}", absent.text);
    assert!(org.domains(&app).await[0]["checked_at"].is_string());
    dns.publish(&domain, &[&value]);
    dns.set(&name, Answer::Empty);
    org.verify(&app, &id).await.refused(409, "conflict");
    let one_less = &value[..value.len() - 1];
    dns.publish(&name, &["v=spf1 -all", one_less, &format!("{value}x"), ""]);
    org.verify(&app, &id).await.refused(409, "conflict");
    // Whoever holds the target of an alias (a wildcard's, perhaps) has no part in the domain.
    dns.set(&name, Answer::Alias("site.hoster.example.net".into(), vec![value.clone()]));
    dns.publish("site.hoster.example.net", &[&value]);
    org.verify(&app, &id).await.refused(409, "conflict");
    assert_eq!(org.status(&app, &id).await, "pending");
    // Among others; and again.
    dns.publish(&name, &["v=spf1 -all", &value, "something"]);
    let proved = org.verify(&app, &id).await.expect(200);
    assert_eq!((proved.str("status"), proved.str("domain")), ("proved".to_owned(), domain.clone()));
    assert!(proved.body["verified_at"].is_string(), "{}", proved.text);
    assert_eq!(org.verify(&app, &id).await.expect(200).body["verified_at"], proved.body["verified_at"]);
    // One look at an absent record takes nothing away.
    dns.withdraw(&name);
    org.verify(&app, &id).await.refused(409, "conflict");
    assert_eq!(org.status(&app, &id).await, "proved");
    app.delete_as(&org.token, &org.path(&format!("/{id}"))).await.expect(204);
    app.delete_as(&org.token, &org.path(&format!("/{id}"))).await.refused(404, "not_found");
    org.verify(&app, &id).await.refused(404, "not_found");
    // The same record again: it is the tenant's for the domain.
    assert_eq!(org.enter(&app, &domain).await[2], value);
    let audit = app.get_as(&org.token, &format!("/v1/tenants/{}/audit?limit=200", org.id)).await.expect(200);
    let events: Vec<&str> =
        audit.body["items"].as_array().unwrap().iter().filter_map(|e| e["event"].as_str()).filter(|a| a.starts_with("domain.")).collect();
    assert_eq!(events, ["domain.added", "domain.removed", "domain.proved", "domain.added"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_fail_prove_nothing_and_cost_five_seconds_at_most() {
    let (app, dns) = start().await;
    let org = Org::new(&app).await;
    let [id, name, value] = org.prove(&app, &dns, &fresh_domain()).await;
    for fails in
        [Answer::Fails, Answer::Silent, Answer::Garbage, Answer::Referral, Answer::Slow(Duration::from_secs(30), vec![value.clone()])]
    {
        dns.set(&name, fails.clone());
        let begun = Instant::now();
        let refused = org.verify(&app, &id).await.refused(409, "conflict");
        assert!(refused.body["error"]["detail"].as_str().unwrap().contains("DNS server"), "{fails:?}: {}", refused.text);
        // Five seconds are promised; the rest is for a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(20), "{fails:?} took {:?}", begun.elapsed());
        assert_eq!(org.status(&app, &id).await, "proved", "nobody said that it is absent");
    }
    // A second is no reason to give up.
    dns.set(&name, Answer::Slow(Duration::from_secs(1), vec![value.clone()]));
    org.verify(&app, &id).await.expect(200);
    // As much as a message holds, over TCP; the value in several strings, and at the end.
    let mut many: Vec<String> = (0..150).map(|n| format!("{n} {}", "x".repeat(300))).collect();
    many.push(value);
    let before = dns.asked().1;
    dns.set(&name, Answer::Records(many));
    org.verify(&app, &id).await.expect(200);
    assert!(dns.asked().1 > before, "over TCP");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_one_tenants_and_goes_to_whose_record_is_there() {
    let (app, dns) = start().await;
    let (first, second) = (Org::new(&app).await, Org::new(&app).await);
    let domain = fresh_domain();
    let ([one, name, their_value], [two, _, our_value]) = (first.enter(&app, &domain).await, second.enter(&app, &domain).await);
    assert_ne!(their_value, our_value);
    // Both records, two tenants at once: one of them.
    dns.publish(&name, &[&their_value, &our_value]);
    let (a, b) = tokio::join!(first.verify(&app, &one), second.verify(&app, &two));
    let statuses = [a.status, b.status];
    assert!(statuses == [200, 409] || statuses == [409, 200], "{} {}", a.text, b.text);
    let (winner, won, loser, lost) = if a.status == 200 { (&first, &one, &second, &two) } else { (&second, &two, &first, &one) };
    let losers_value = if a.status == 200 { &our_value } else { &their_value };
    let refused = loser.verify(&app, lost).await.refused(409, "conflict");
    assert!(refused.body["error"]["detail"].as_str().unwrap().contains("another tenant"), "{}", refused.text);
    // DNS that fails says nothing of the winner's record.
    dns.set(&name, Answer::Fails);
    loser.verify(&app, lost).await.refused(409, "conflict");
    assert_eq!((winner.status(&app, won).await, loser.status(&app, lost).await), (json!("proved"), json!("pending")));
    // The winner's record is absent: at once it is the other's.
    dns.publish(&name, &[losers_value]);
    loser.verify(&app, lost).await.expect(200);
    assert_eq!((winner.status(&app, won).await, loser.status(&app, lost).await), (json!("lost"), json!("proved")));
    let audit = app.get_as(&winner.token, &format!("/v1/tenants/{}/audit?limit=200", winner.id)).await.expect(200);
    assert!(
        audit.body["items"].as_array().unwrap().iter().any(|e| e["event"] == "domain.lost" && e["resource_id"] == **won),
        "{}",
        audit.text
    );
    winner.verify(&app, won).await.refused(409, "conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_domain_of_ones_own_is_refused() {
    let (app, _dns) = start().await;
    let (org, other) = (Org::new(&app).await, Org::new(&app).await);
    for bad in ["localhost", "a..example.org", "192.0.2.1", "x@example.org", "", &"a".repeat(300), "gmail.com", "GMX.de", "outlook.com"] {
        let refused = app.post_as(&org.token, &org.path(""), json!({"domain": bad})).await.refused(422, "validation_failed");
        assert!(refused.body["error"]["fields"]["domain"].is_string(), "{bad}: {}", refused.text);
    }
    let [id, ..] = org.enter(&app, "d.example.org").await;
    app.post_as(&org.token, &org.path(""), json!({"domain": "D.Example.ORG"})).await.refused(409, "conflict");
    for n in 1..20 {
        org.enter(&app, &format!("d{n}.example.org")).await;
    }
    app.post_as(&org.token, &org.path(""), json!({"domain": "d20.example.org"})).await.refused(409, "conflict");
    // Another tenant's, a personal one's, and those without the permission.
    other.verify(&app, &id).await.refused(404, "not_found");
    app.get_as(&other.token, &org.path("")).await.refused(404, "not_found");
    let home = format!("/v1/tenants/{}/domains", org.owner.tenant_id);
    app.post_as(&org.owner.access, &home, json!({"domain": "e.example.org"})).await.refused(403, "forbidden");
    let member = app.signup().await;
    org.join(&app, &member).await;
    let token = app.post_as(&member.access, "/v1/auth/switch-tenant", json!({"tenant_id": org.id})).await.expect(200).str("access_token");
    app.get_as(&token, &org.path("")).await.refused(403, "forbidden");
    app.post_as(&token, &org.path(&format!("/{id}/verify")), json!({})).await.refused(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_look_ups_an_hour() {
    let dns = DnsServer::start().await;
    let app = App::builder().env("QEETID_DNS", dns.addr).env("QEETID_LIMITS", "on").start().await;
    let org = Org::new(&app).await;
    let [id, ..] = org.enter(&app, &fresh_domain()).await;
    for _ in 0..10 {
        org.verify(&app, &id).await.refused(409, "conflict");
    }
    let asked = dns.asked();
    org.verify(&app, &id).await.refused(429, "rate_limited");
    assert_eq!(dns.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proved_domain_gives_power_over_members_there_and_over_nobody_else() {
    let (app, dns) = start().await;
    let (org, elsewhere) = (Org::new(&app).await, Org::new(&app).await);
    let domain = fresh_domain();
    let below = format!("sub.{domain}");
    let (there, under, stranger, outside) =
        (person_at(&app, &domain).await, person_at(&app, &below).await, person_at(&app, &domain).await, app.signup().await);
    for who in [&there, &under, &outside] {
        org.join(&app, who).await;
    }
    let new = |email: String| json!({"email": email, "password": fresh_password(), "email_verified": true});
    // Before it is proved: power over nobody, and no account with a password.
    for who in [&there, &under, &outside] {
        org.set_password(&app, &who.user_id).await.refused(403, "forbidden");
    }
    app.post_as(&org.token, "/v1/users", new(somebody_at(&domain))).await.refused(403, "forbidden");
    let [id, ..] = org.prove(&app, &dns, &domain).await;

    // The member there, whose personal tenant doesn't protect them; not one of a domain below, nor of another, nor who is no member.
    org.set_password(&app, &there.user_id).await.expect(204);
    app.is_refused_within_a_second(&there.access).await;
    app.login(&there.email, &there.password).await.refused(401, "invalid_credentials");
    for who in [&under, &outside] {
        org.set_password(&app, &who.user_id).await.refused(403, "forbidden");
        app.me(&who.access).await.expect(200);
    }
    org.set_password(&app, &stranger.user_id).await.refused(404, "not_found");
    // Nor the owner's own account, nor an import.
    org.set_password(&app, &org.owner.user_id).await.refused(403, "forbidden");
    let import =
        app.send(Method::POST, "/v1/users/bulk/import?source=qeet", Some(&org.token), Some(json!({"email": somebody_at(&domain)}))).await;
    assert_eq!((import.status, import.code()), (403, "forbidden"), "{}", import.text);

    // Accounts are made there with a password, also in a list, row by row.
    let made = app.post_as(&org.token, "/v1/users", new(somebody_at(&domain))).await.expect(201);
    org.set_password(&app, &made.str("id")).await.expect(204);
    for email in [somebody_at(&below), somebody_at("example.com")] {
        app.post_as(&org.token, "/v1/users", new(email)).await.refused(403, "forbidden");
    }
    let rows = json!({"users": [new(somebody_at(&domain)), new(somebody_at(&below)), new(somebody_at(&domain))]});
    let report = app.post_as(&org.token, "/v1/users/bulk", rows).await.expect(200);
    assert_eq!(
        (&report.body["succeeded"], &report.body["failed"], &report.body["errors"][0]["line"]),
        (&json!(2), &json!(1), &json!(2)),
        "{}",
        report.text
    );

    // Who belongs to another organization as well is nobody's alone.
    elsewhere.join(&app, &stranger).await;
    org.join(&app, &stranger).await;
    org.set_password(&app, &stranger.user_id).await.refused(403, "forbidden");

    // The power ends with the domain.
    app.delete_as(&org.token, &org.path(&format!("/{id}"))).await.expect(204);
    org.set_password(&app, &there.user_id).await.refused(403, "forbidden");
    org.set_password(&app, &made.str("id")).await.refused(403, "forbidden");
    app.post_as(&org.token, "/v1/users", new(somebody_at(&domain))).await.refused(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_ones_own_domain_are_no_secret_and_more_may_hold_no_more() {
    let dns = DnsServer::start().await;
    let app = App::builder().env("QEETID_DNS", dns.addr).start().await;
    let org = Org::new(&app).await;
    let domain = fresh_domain();
    org.prove(&app, &dns, &domain).await;
    // More than the 20 answers that a tenant gets in a day about accounts elsewhere.
    for _ in 0..22 {
        let who = person_at(&app, &domain).await;
        app.post_as(&org.token, "/v1/users", json!({"email": who.email})).await.refused(409, "email_taken");
    }
    // An admin sets no owner's password, whatever their domain.
    let boss = person_at(&app, &domain).await;
    app.verify(&boss).await;
    org.join(&app, &boss).await;
    let roles = |user: &str, role: &str| format!("/v1/users/{user}/tenants/{}/roles/{role}", org.id);
    app.post_as(&org.token, &roles(&boss.user_id, "00000000-0000-7000-8000-000000000001"), json!({})).await.expect(204);
    let admin = app.signup().await;
    app.verify(&admin).await;
    org.join(&app, &admin).await;
    app.post_as(&org.token, &roles(&admin.user_id, "00000000-0000-7000-8000-000000000002"), json!({})).await.expect(204);
    app.delete_as(&org.token, &roles(&admin.user_id, MEMBER)).await.expect(204);
    let token = app.post_as(&admin.access, "/v1/auth/switch-tenant", json!({"tenant_id": org.id})).await.expect(200).str("access_token");
    app.post_as(&token, &format!("/v1/users/{}/password", boss.user_id), json!({"password": fresh_password()}))
        .await
        .refused(403, "forbidden");
    org.set_password(&app, &boss.user_id).await.expect(204);
}

mod embedded {
    use super::*;

    /// A server by whose clock it is so many hours later.
    async fn later(hours: u32, data: &std::path::Path, dns: &DnsServer) -> App {
        let library = "/usr/$LIB/faketime/libfaketime.so.1";
        let app = App::builder().data_dir(data).env("QEETID_DNS", dns.addr).env("LD_PRELOAD", library);
        app.env("FAKETIME", format!("+{hours}h")).env("FAKETIME_DONT_FAKE_MONOTONIC", 1).start().await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_domain_is_looked_up_each_day_and_lost_after_three_without_its_record() {
        let (dns, data) = (DnsServer::start().await, tempfile::tempdir().unwrap());
        let domain = fresh_domain();
        let app = later(0, data.path(), &dns).await;
        let org = Org::new(&app).await;
        let [id, name, value] = org.prove(&app, &dns, &domain).await;
        let [kept, kept_name, _] = org.prove(&app, &dns, &fresh_domain()).await;
        let who = person_at(&app, &domain).await;
        org.join(&app, &who).await;
        let stored = |app: &App| -> Value {
            let text: String = app.database().query_row("SELECT domains FROM tenants WHERE domains <> '[]'", [], |row| row.get(0)).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let of = |all: &Value, id: &str| all.as_array().unwrap().iter().find(|d| d["id"] == id).expect("it is there").clone();
        let mut before = stored(&app);
        drop(app);
        // So many hours later, what then is so. A server that fails counts neither way.
        let days = [(20, "proved"), (25, "proved"), (50, "proved"), (75, "proved"), (100, "proved"), (125, "lost"), (150, "lost")];
        for (hours, expected) in days {
            if hours == 50 {
                dns.set(&name, Answer::Fails);
            } else {
                dns.withdraw(&name);
            }
            let asked = dns.asked().0;
            let app = later(hours, data.path(), &dns).await;
            let signed_in = app.login(&org.owner.email, &org.owner.password).await.expect(200).pair();
            let scoped = app.post_as(&signed_in.access, "/v1/auth/switch-tenant", json!({"tenant_id": org.id})).await.expect(200).pair();
            let org = Org { id: org.id.clone(), owner: org.owner.clone(), token: scoped.access };
            // The daily look begins with the server, and takes no part in its start: it is over once it is noted of each domain that is proved.
            let begun = Instant::now();
            let looked_up = |now: &Value| {
                let changed = |id: &str| of(now, id) != of(&before, id);
                hours < 24 || (changed(&kept) && (changed(&id) || of(&before, &id)["status"] == "lost"))
            };
            loop {
                let now = stored(&app);
                if looked_up(&now) {
                    before = now;
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "{hours} hours later: {now}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(org.status(&app, &id).await, expected, "{hours} hours later: {before}");
            assert_eq!(hours < 24, dns.asked().0 == asked, "{hours} hours later");
            assert_eq!(org.status(&app, &kept).await, "proved");
            let may = org.set_password(&app, &who.user_id).await;
            assert_eq!(may.status, if expected == "proved" { 204 } else { 403 }, "{hours} hours later: {}", may.text);
        }
        // It comes back by being verified, and not by itself.
        dns.publish(&name, &[&value]);
        let app = later(175, data.path(), &dns).await;
        let signed_in = app.login(&org.owner.email, &org.owner.password).await.expect(200).pair();
        let scoped = app.post_as(&signed_in.access, "/v1/auth/switch-tenant", json!({"tenant_id": org.id})).await.expect(200).pair();
        let org = Org { token: scoped.access, ..org };
        assert_eq!(org.status(&app, &id).await, "lost");
        org.verify(&app, &id).await.expect(200);
        assert!(kept_name.starts_with("_qeetid."));
    }
}
