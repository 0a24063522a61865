//! Load tests of a running service. goose drives the users and writes the report, but for `noisy`; what a run has to keep to is judged here.
//!
//! Exit status: 0 all thresholds kept, 1 one was broken or the run went wrong, 2 wrong usage, or a server that the scenario can't run
//! against.

mod api;
mod noisy;
mod plan;
mod report;
mod scenarios;
mod seed;
mod tally;
mod thresholds;

use clap::Parser;
use goose::{GooseAttack, GooseError, GooseScheduler, client::GooseClientBuilder, config::GooseConfiguration, goose::GooseUser};
use plan::Plan;
use report::Table;
use scenarios::Scenario;
use seed::Person;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tally::Tally;
use thresholds::{Change, Verdict};

/// No request takes longer: then it has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What goose may need beside its plan: to build its users, to let the last requests end, to write the report.
const GRACE: Duration = Duration::from_secs(60);
/// People with accounts, at most.
const PEOPLE: usize = 256;

/// Runs one scenario against a running server.
///
/// The server has to let so many sign-ups in: start it with QEETID_LIMITS=off, on a test installation, since accounts are made there. For
/// noisy-neighbour the limits are on, and those of a network raised: a run against another server says how.
/// Exit status: 0 all thresholds kept, 1 one was broken, 2 wrong usage or a server that the scenario can't run against.
#[derive(Parser)]
#[command(name = "loadtests", version)]
pub struct Cli {
    /// The server's base URL
    #[arg(long, value_name = "URL")]
    host: String,
    /// What to run
    #[arg(long, value_enum)]
    scenario: Scenario,
    /// Users at a time; a spike has ten times as many in its middle, a noisy neighbour does so much at a time [default: 64; mixed-day 100,
    /// spike 32, noisy-neighbour 40]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    users: Option<u32>,
    /// For how long, in seconds; a spike and what is before and after it last so long each; noise lasts so long [default: 20;
    /// noisy-neighbour 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..=86_400))]
    time: Option<u64>,
    /// Where the report goes, with charts
    #[arg(long, value_name = "FILE", default_value = "loadtest.html", value_parser = html)]
    report: PathBuf,
    /// Another limit for a threshold, or off for none; may be given again
    #[arg(long = "threshold", value_name = "NAME=VALUE", help = format!("Another limit for a threshold, or off for none; may be given again [default: {}]", thresholds::defaults()))]
    thresholds: Vec<Change>,
    #[command(flatten)]
    noisy: noisy::Options,
}

impl Cli {
    fn users(&self) -> usize {
        self.users.map_or(self.scenario.users(), |n| n as usize)
    }
    fn seconds(&self) -> u64 {
        self.time.unwrap_or(self.scenario.time())
    }
    fn host(&self) -> String {
        self.host.trim_end_matches('/').to_owned()
    }
}

fn html(text: &str) -> Result<PathBuf, String> {
    let file = PathBuf::from(text);
    if file.extension().is_some_and(|e| e == "html") { Ok(file) } else { Err("the report is HTML: its name ends in .html".into()) }
}

/// What the users of a run share.
pub struct Run {
    pub plan: Plan,
    pub tally: Tally,
    /// Nobody's address begins with it but those of this run.
    pub name: String,
    /// When the people were signed up.
    pub seeded: Instant,
    /// Numbers the new and the unknown addresses.
    pub next: AtomicU64,
    people: Vec<Person>,
}

impl Run {
    /// Whose account this user of the load test has.
    pub fn person(&self, user: &GooseUser) -> &Person {
        &self.people[user.weighted_users_index % self.people.len()]
    }
    /// Until the end as planned.
    pub fn left(&self, user: &GooseUser) -> Duration {
        self.plan.length().saturating_sub(user.started.elapsed())
    }
}

/// Lets goose run the plan. Strictly bounded: each request is, and so is all of it.
async fn attack(run: &Arc<Run>, host: &str, scenario: Scenario, report: &Path) -> Result<(), String> {
    let report = report.to_str().ok_or("the name of the report is no text")?;
    let plan = run.plan.text();
    // The telnet controller is on by default.
    let arguments = ["--host", host, "--test-plan", &plan, "--report-file", report, "--no-telnet", "--no-print-metrics", "-q"];
    let told = |e: GooseError| format!("goose: {e}");
    let configuration = GooseConfiguration::parse_args_default(&arguments).map_err(told)?;
    // One pool of connections for all, as a proxy in front of the service has it.
    let client = GooseClientBuilder::new().without_cookies().timeout(PATIENCE).user_agent("qeetid-loadtests");
    let attack = GooseAttack::initialize_with_config(configuration)
        .map_err(told)?
        .set_client_builder_without_cookies(client)
        .map_err(told)?
        .set_scheduler(GooseScheduler::Random)
        .register_scenario(scenario.steps(run).map_err(told)?);
    let most = run.plan.length() + PATIENCE + GRACE;
    match tokio::time::timeout(most, attack.execute()).await {
        Ok(ended) => ended.map(drop).map_err(told),
        Err(_) => Err(format!("goose did not end within {} s", most.as_secs())),
    }
}

/// What a run came to.
pub struct Ended {
    tables: Vec<Table>,
    verdicts: Vec<Verdict>,
}

/// Why there is nothing to judge.
pub enum Failed {
    /// What stands between the server and the scenario.
    Unfit(String),
    /// What went wrong in the run.
    Broken(String),
}

fn client() -> Result<reqwest::Client, String> {
    reqwest::Client::builder().timeout(PATIENCE).user_agent("qeetid-loadtests").build().map_err(|e| e.to_string())
}

/// Nobody's address begins with it but those of this run.
fn name() -> String {
    format!("load-{:x}", rand::random::<u64>())
}

async fn prepare(cli: &Cli) -> Result<(Arc<Run>, String), String> {
    let (host, client) = (cli.host(), client()?);
    seed::look(&client, &host, cli.scenario).await?;
    let (users, seconds) = (cli.users(), cli.seconds());
    let plan = if cli.scenario == Scenario::Spike { Plan::spike(users, seconds) } else { Plan::steady(users, seconds) };
    let name = name();
    let people = seed::people(&client, &host, &name, plan.most().min(PEOPLE)).await?;
    if cli.scenario == Scenario::Journey
        && let Some(person) = people.first()
    {
        seed::mail_comes(&client, &host, person).await?;
    }
    println!("{} people signed up; {} for {} s, {} users at most", people.len(), cli.scenario.name(), plan.length().as_secs(), plan.most());
    let run = Run { plan, tally: Tally::default(), name, seeded: Instant::now(), next: AtomicU64::new(0), people };
    Ok((Arc::new(run), host))
}

/// A run of goose, which leaves its own report in the file.
async fn with_goose(cli: &Cli) -> Result<Ended, Failed> {
    let (run, host) = prepare(cli).await.map_err(Failed::Unfit)?;
    attack(&run, &host, cli.scenario, &cli.report).await.map_err(Failed::Broken)?;
    let verdicts = thresholds::judge(&cli.thresholds, &run.tally, &run.plan);
    Ok(Ended { tables: report::tables(&run, &verdicts), verdicts })
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_noisy = cli.scenario == Scenario::NoisyNeighbour;
    let ended = if is_noisy { noisy::run(&cli).await } else { with_goose(&cli).await };
    let Ended { tables, verdicts } = match ended {
        Ok(ended) => ended,
        Err(Failed::Unfit(why)) => {
            eprintln!("loadtests: {why}");
            return ExitCode::from(2);
        }
        Err(Failed::Broken(why)) => {
            eprintln!("loadtests: {why}");
            return ExitCode::FAILURE;
        }
    };
    print!("{}", report::text(&tables));
    let written = if is_noisy { report::page(&cli.report, cli.scenario.name(), &tables) } else { report::add(&cli.report, &tables) };
    match written {
        Ok(()) => println!("\nreport: {}", cli.report.display()),
        Err(e) => {
            eprintln!("loadtests: {}: {e}", cli.report.display());
            return ExitCode::FAILURE;
        }
    }
    let broken: Vec<_> = verdicts.iter().filter(|v| !v.passed).map(|v| v.name).collect();
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("loadtests: broken: {}", broken.join(", "));
    ExitCode::FAILURE
}
