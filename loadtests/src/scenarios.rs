//! What the users of a run do, over and over.

use crate::{
    Run,
    api::{Ask, Stop, note, send},
    seed::{self, MAIL, Pair},
    tally::{Operation, Outcome},
};
use goose::goose::TransactionFunction;
use goose::prelude::{GooseError, GooseUser, Scenario as Steps, Transaction};
use serde_json::{Value, json};
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// Access tokens live 15 minutes; before that they are refreshed.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Sign up, prove the address by the code from the development mailbox, sign in, refresh, sign out
    Journey,
    /// Everybody signs in, again and again
    LoginStorm,
    /// Everybody refreshes, again and again
    RefreshStorm,
    /// Forgotten passwords of known and unknown addresses in turn
    ForgotFlood,
    /// All of it as on a usual day, with pauses
    MixedDay,
    /// Sign-ins with light requests between; in the middle ten times the users
    Spike,
    /// One free account does all it may as fast as it can, while others sign in; on a server whose limits are on
    NoisyNeighbour,
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Self::Journey => "journey",
            Self::LoginStorm => "login-storm",
            Self::RefreshStorm => "refresh-storm",
            Self::ForgotFlood => "forgot-flood",
            Self::MixedDay => "mixed-day",
            Self::Spike => "spike",
            Self::NoisyNeighbour => "noisy-neighbour",
        }
    }
    /// Users, where nobody says how many.
    pub fn users(self) -> usize {
        match self {
            Self::MixedDay => 100,
            Self::Spike => 32,
            Self::NoisyNeighbour => 40,
            _ => 64,
        }
    }
    /// Seconds, where nobody says how many.
    pub fn time(self) -> u64 {
        if self == Self::NoisyNeighbour { 60 } else { 20 }
    }
    /// What goose runs.
    pub fn steps(self, run: &Arc<Run>) -> Result<Steps, GooseError> {
        let steps = Steps::new(self.name());
        let step = |what: Step, weight: usize| transaction(run, what).set_weight(weight);
        Ok(match self {
            Self::Journey => steps.register_transaction(step(Step::Journey, 1)?),
            Self::LoginStorm => steps.register_transaction(step(Step::Login, 1)?),
            Self::RefreshStorm => steps.register_transaction(step(Step::Refresh, 1)?),
            Self::ForgotFlood => steps.register_transaction(step(Step::Forgot, 1)?),
            Self::MixedDay => steps
                .register_transaction(step(Step::Me, 50)?)
                .register_transaction(step(Step::Refresh, 25)?)
                .register_transaction(step(Step::Login, 12)?)
                .register_transaction(step(Step::Logout, 6)?)
                .register_transaction(step(Step::SignUp, 4)?)
                .register_transaction(step(Step::Forgot, 3)?)
                .set_wait_time(Duration::from_millis(200), Duration::from_millis(1000))?,
            Self::Spike => steps
                .register_transaction(step(Step::Login, 8)?)
                .register_transaction(step(Step::Me, 1)?)
                .register_transaction(step(Step::Refresh, 1)?),
            // goose does not run it: see `crate::noisy`.
            Self::NoisyNeighbour => steps,
        })
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy)]
enum Step {
    Journey,
    SignUp,
    Login,
    Refresh,
    Me,
    Logout,
    Forgot,
}

fn transaction(run: &Arc<Run>, step: Step) -> Transaction {
    let run = run.clone();
    let function: TransactionFunction = Arc::new(move |user| {
        let run = run.clone();
        let done: Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + '_>> = Box::pin(async move {
            match step {
                Step::Journey => journey(user, &run).await,
                Step::SignUp => sign_up(user, &run).await.map(drop),
                Step::Login => login(user, &run).await.map(drop),
                Step::Refresh => refresh(user, &run).await.map(drop),
                Step::Me => me(user, &run).await,
                Step::Logout => logout(user, &run).await,
                Step::Forgot => forgot(user, &run).await,
            }
        });
        done
    });
    Transaction::new(function).set_name(&format!("{step:?}").to_lowercase())
}

/// The session that a user of the load test has at present.
#[derive(Clone)]
struct Session {
    pair: Pair,
    made: Instant,
}

fn keep(user: &mut GooseUser, answer: &Value) -> Session {
    let session = Session { pair: Pair::of(answer), made: Instant::now() };
    user.set_session_data(Some(session.clone()));
    session
}

/// The session at hand; else the one from the seeding, else one from a sign-in. None if the service is full just now.
async fn session(user: &mut GooseUser, run: &Run) -> Result<Option<Session>, Stop> {
    if let Some(Some(session)) = user.get_session_data::<Option<Session>>() {
        return Ok(Some(session.clone()));
    }
    if let Some(pair) = run.person(user).take_pair() {
        let session = Session { pair, made: run.seeded };
        user.set_session_data(Some(session.clone()));
        return Ok(Some(session));
    }
    login(user, run).await
}

async fn login(user: &mut GooseUser, run: &Run) -> Result<Option<Session>, Stop> {
    let person = run.person(user);
    let body = json!({"email": person.email, "password": person.password});
    let ask = Ask { operation: Operation::Login, path: "/v1/auth/login", bearer: None, body: Some(body) };
    Ok(send(user, run, ask).await?.map(|answer| keep(user, &answer)))
}

async fn refresh(user: &mut GooseUser, run: &Run) -> Result<Option<Session>, Stop> {
    let Some(now) = session(user, run).await? else { return Ok(None) };
    let body = json!({"refresh_token": now.pair.refresh});
    let ask = Ask { operation: Operation::Refresh, path: "/v1/auth/refresh", bearer: None, body: Some(body) };
    Ok(send(user, run, ask).await?.map(|answer| keep(user, &answer)))
}

async fn me(user: &mut GooseUser, run: &Run) -> Result<(), Stop> {
    let Some(mut now) = session(user, run).await? else { return Ok(()) };
    if now.made.elapsed() > FRESH {
        let Some(newer) = refresh(user, run).await? else { return Ok(()) };
        now = newer;
    }
    let ask = Ask { operation: Operation::Me, path: "/v1/auth/me", bearer: Some(&now.pair.access), body: None };
    send(user, run, ask).await.map(drop)
}

/// Whoever signs out signs in again when a session is needed next.
async fn logout(user: &mut GooseUser, run: &Run) -> Result<(), Stop> {
    let Some(now) = refresh(user, run).await? else { return Ok(()) };
    let ask = Ask { operation: Operation::Logout, path: "/v1/auth/logout", bearer: Some(&now.pair.access), body: None };
    user.set_session_data(None::<Session>);
    send(user, run, ask).await.map(drop)
}

async fn forgot(user: &mut GooseUser, run: &Run) -> Result<(), Stop> {
    let n = run.next.fetch_add(1, Ordering::Relaxed);
    let email = if n.is_multiple_of(2) { run.person(user).email.clone() } else { format!("{}-nobody-{n}@example.com", run.name) };
    let ask = Ask { operation: Operation::Forgot, path: "/v1/auth/forgot-password", bearer: None, body: Some(json!({"email": email})) };
    send(user, run, ask).await.map(drop)
}

/// Somebody new: the answer, and what was typed.
async fn sign_up(user: &mut GooseUser, run: &Run) -> Result<Option<(Value, Value)>, Stop> {
    let n = run.next.fetch_add(1, Ordering::Relaxed);
    let typed = json!({"email": format!("{}-new-{n}@example.com", run.name), "password": format!("new {} harbour {n}", run.name)});
    let ask = Ask { operation: Operation::SignUp, path: "/v1/auth/signup", bearer: None, body: Some(typed.clone()) };
    Ok(send(user, run, ask).await?.map(|answer| (answer, typed)))
}

/// Ends early where a step was put off or went wrong: that is counted there.
async fn journey(user: &mut GooseUser, run: &Run) -> Result<(), Stop> {
    let Some((answer, typed)) = sign_up(user, run).await? else { return Ok(()) };
    let Pair { access, user_id, .. } = Pair::of(&answer);
    let verify = format!("/v1/users/{user_id}/verify/email");

    let ask = Ask { operation: Operation::StartProof, path: &format!("{verify}/start"), bearer: Some(&access), body: None };
    if send(user, run, ask).await?.is_none() {
        return Ok(());
    }
    let Some(code) = code(user, run, typed["email"].as_str().unwrap_or_default()).await? else { return Ok(()) };
    let body = Some(json!({"code": code}));
    let ask = Ask { operation: Operation::ConfirmProof, path: &format!("{verify}/confirm"), bearer: Some(&access), body };
    if send(user, run, ask).await?.is_none() {
        return Ok(());
    }

    let ask = Ask { operation: Operation::Login, path: "/v1/auth/login", bearer: None, body: Some(typed) };
    let Some(answer) = send(user, run, ask).await? else { return Ok(()) };
    keep(user, &answer);
    logout(user, run).await
}

/// Waits for the code in the development mailbox; none if the run ends first.
async fn code(user: &mut GooseUser, run: &Run, email: &str) -> Result<Option<String>, Stop> {
    let url = user.build_url(&seed::mailbox(email))?;
    let began = Instant::now();
    loop {
        if let Some(code) = seed::code(&user.client, &url).await {
            note(user, run, Operation::Mail, Outcome::Good, began.elapsed(), None, "").await?;
            return Ok(Some(code));
        }
        if began.elapsed() > MAIL {
            note(user, run, Operation::Mail, Outcome::Unexpected, began.elapsed(), None, "no code in the mailbox").await?;
            return Ok(None);
        }
        if run.left(user).is_zero() {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
