//! The free account: signed up, its address proved, and with the organizations and API keys that it may make.

use crate::{
    api::{self, Answer},
    seed::{self, Pair, Person, TRIES},
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::Duration;

/// What the keys may do: all that the noise asks for.
const SCOPES: [&str; 9] =
    ["audit.read", "invite.read", "invite.write", "policy.read", "policy.write", "tenant.read", "tenant.write", "user.read", "user.write"];

/// One that the account made.
pub struct Organization {
    pub id: String,
    /// Of its API key; without keys, of the account's own token there.
    authorization: String,
}

/// The account.
pub struct Neighbour {
    client: Client,
    host: String,
    /// No other addresses begin with it.
    pub name: String,
    pub email: String,
    pub password: String,
    pub user_id: String,
    /// Good for 15 minutes, which is longer than a run.
    access: String,
    organizations: Vec<Organization>,
}

impl Neighbour {
    /// Signs it up, proves its address, and makes organizations: so many, or as many as the server lets it make.
    pub async fn settle(client: Client, host: String, name: &str, organizations: u32, keys: bool) -> Result<Self, String> {
        let name = format!("{name}-noisy");
        let person = seed::people(&client, &host, &name, 1).await?.pop().ok_or("nobody has signed up")?;
        let Pair { access, user_id, .. } = person.take_pair().ok_or("nobody has signed up")?;
        let Person { email, password, .. } = person;
        let mut account = Self { client, host, name, email, password, user_id, access, organizations: Vec::new() };

        let code = seed::code_of(&account.client, &account.host, &account.email, &account.access, &account.user_id).await?;
        let confirm = format!("/v1/users/{}/verify/email/confirm", account.user_id);
        good(&confirm, account.post(&account.bearer(), &confirm, &json!({"code": code})).await?)?;
        for n in 0..organizations {
            match account.organization(n, keys).await? {
                Some(organization) => account.organizations.push(organization),
                None => break,
            }
        }
        if account.organizations.is_empty() {
            return Err("the account may make no organization. Start the server with QEETID_ORGANIZATIONS=open (the default)".into());
        }
        Ok(account)
    }

    /// One more; `None` if it has as many as it may.
    async fn organization(&self, n: u32, keys: bool) -> Result<Option<Organization>, String> {
        let made = self.post(&self.bearer(), "/v1/tenants", &json!({"name": format!("Noise {n}")})).await?;
        if matches!(made.status, 403 | 409) {
            return Ok(None);
        }
        let made = good("/v1/tenants", made)?;
        let id = made["id"].as_str().unwrap_or_default().to_owned();
        let switch = "/v1/auth/switch-tenant";
        let switched = good(switch, self.post(&self.bearer(), switch, &json!({"tenant_id": id})).await?)?;
        let there = format!("Bearer {}", Pair::of(&switched).access);
        if !keys {
            return Ok(Some(Organization { id, authorization: there }));
        }
        let key = good("/v1/api-keys", self.post(&there, "/v1/api-keys", &json!({"name": "noise", "scopes": SCOPES})).await?)?;
        let authorization = format!("ApiKey {}", key["secret"].as_str().unwrap_or_default());
        Ok(Some(Organization { id, authorization }))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.access)
    }

    /// Sends it until the server isn't too full for it.
    async fn post(&self, authorization: &str, path: &str, body: &Value) -> Result<Answer, String> {
        for _ in 0..TRIES {
            let request = self.client.post(format!("{}{path}", self.host)).header("authorization", authorization).json(body);
            let answer = api::answer(request).await.map_err(|e| format!("{path}: {}", e.without_url()))?;
            match answer.retry_after.as_deref().and_then(|seconds| seconds.parse().ok()) {
                Some(seconds) if answer.status == 503 => tokio::time::sleep(Duration::from_secs(seconds)).await,
                _ => return Ok(answer),
            }
        }
        Err(format!("{path}: the server was full {TRIES} times in a row"))
    }

    /// A request without credentials.
    pub fn as_anybody(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.host))
    }
    /// One of the person's.
    pub fn as_person(&self, method: Method, path: &str) -> RequestBuilder {
        self.as_anybody(method, path).bearer_auth(&self.access)
    }
    /// One to the admin routes of an organization.
    pub fn in_organization(&self, at: &Organization, method: Method, path: &str) -> RequestBuilder {
        self.as_anybody(method, path).header("authorization", at.authorization.as_str())
    }
    /// The organizations by turns.
    pub fn by_turns(&self, n: u64) -> &Organization {
        &self.organizations[usize::try_from(n).unwrap_or_default() % self.organizations.len()]
    }
    pub fn organizations(&self) -> usize {
        self.organizations.len()
    }
}

/// What came of a request that the run needs.
fn good(path: &str, answer: Answer) -> Result<Value, String> {
    if (200..300).contains(&answer.status) {
        Ok(answer.json)
    } else {
        Err(format!("the neighbour's POST {path} answers {}", answer.told()))
    }
}
