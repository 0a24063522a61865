//! The commands.

use clap::{Args, Parser, Subcommand};
use qeetid::{
    app,
    config::{ConfigError, ScyllaUrl, Settings, Sources},
    domain::{contact::Email, ids::TenantId, permission::PermissionSet, rng::SystemRng, secret::SecretText},
    service::import::{FirebaseParams, Source},
    telemetry,
};
use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// Against glibc's allocator: a tenth less CPU for a refresh, and memory goes back to the system after a crowd (`bench-report` shows both).
/// Without huge pages (`no_thp`): they are for the hashing pool's blocks, and under small objects they keep whole megabytes resident.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sign-up and passwords for many tenants.
///
/// Without a command it serves. Settings come from defaults, then --config FILE, then QEETID_* environment variables, then flags;
/// `qeetid config` shows what they come to. Exit status: 0 done, 1 failed, 2 wrong usage or settings.
#[derive(Parser)]
#[command(name = "qeetid", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
#[command(next_help_heading = "Settings")]
struct Options {
    /// A TOML file of settings, such as `qeetid config` prints
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the API [default: 127.0.0.1:4001]; port 0 takes a free one, and the log says which
    #[arg(long, global = true, value_name = "IP:PORT")]
    listen: Option<String>,
    /// What the service is called from outside [default: http://localhost:4001]
    #[arg(long, global = true, value_name = "URL")]
    public_url: Option<String>,
    /// Where the database, the secret and the development mailbox lie [default: ./data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Any other setting, by its name in the file: --set log=debug --set policy.password_min_length=12
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or SIGINT, then finish what is open (the default)
    Serve,
    /// Bring the schema of the store up to date (serve does so by itself on SQLite)
    Migrate,
    /// Print the OpenAPI document
    Openapi,
    /// Signing keys of access tokens
    #[command(subcommand)]
    Keys(Keys),
    /// Organizations: which there are, which of them have power over credentials, who owns them
    #[command(subcommand)]
    Tenant(Tenants),
    /// API keys of servers
    #[command(subcommand, name = "api-key")]
    ApiKey(ApiKeys),
    /// Take over the users of another system, with their passwords; also beside a running server
    ///
    /// Reads a file of any size in constant memory (some 200 MiB), with 1 GB of disk beside the database while it runs. Stopped, it goes on where it was when it is started again; no row is written twice.
    /// Refused rows keep no other out. Users without a password set one with "forgot password".
    Import(Import),
    /// Move an embedded installation over to ScyllaDB or Cassandra, and compare the two
    ///
    /// Stop the server first, and run `qeetid migrate` on the empty keyspace. The file is only read. Stopped, it goes on where it was when it is
    /// started again; the keyspace can't be served before all of it is there and the same. Exit status 0 only then.
    Copy {
        /// The SQLite file, as sqlite://PATH
        #[arg(long, value_name = "URL", value_parser = app::copy::from)]
        from: PathBuf,
        /// The keyspace, as QEETID_STORE_URL will name it
        #[arg(long, value_name = "URL", value_parser = app::copy::to)]
        to: ScyllaUrl,
    },
    /// The audit chains
    #[command(subcommand)]
    Audit(Audit),
    /// Look at a running server from outside
    ///
    /// Compares times and answers for addresses with an account and others, which take turns: exit status 1 if they can be told apart.
    /// For an idle test installation whose limits are off (QEETID_LIMITS=off): accounts are made there, and mails are asked for.
    Doctor(Doctor),
    /// Print the effective settings as a file for --config, secrets hidden, and say where each came from
    Config,
}

#[derive(Subcommand)]
enum Keys {
    /// Add a signing key: shown in the JWKS at once, signs ten minutes later, and the one before it retires
    Rotate {
        /// End this key on all nodes within a second, with all tokens that it has signed: it was stolen
        #[arg(long, value_name = "KID", allow_hyphen_values = true)]
        revoke: Option<String>,
    },
}

#[derive(Subcommand)]
enum ApiKeys {
    /// Make a key and print it, this once; also beside a running server
    ///
    /// On a fresh server: qeetid api-key create --tenant new:Acme --scope all
    Create {
        /// The tenant in which it acts: its id, its slug, or new:NAME for a new organization
        #[arg(long, value_name = "ID|SLUG|new:NAME", value_parser = app::api_key::tenant)]
        tenant: app::api_key::InTenant,
        /// What it may do, such as user.write; several by commas or by giving it again; all for everything
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', num_args = 1.., value_parser = app::api_key::scope)]
        scopes: Vec<PermissionSet>,
        /// What people call it
        #[arg(long, default_value = "command line", value_parser = app::api_key::plain)]
        name: String,
        /// When it ends: after 90d, 12h or 30m, or at a moment such as 2027-01-31T12:00:00Z [default: never]
        #[arg(long, value_name = "TIME", value_parser = app::api_key::ends)]
        expires: Option<app::api_key::Ends>,
    },
}

#[derive(Args)]
struct Import {
    /// The export: NDJSON, JSON or CSV, as the source writes it
    file: PathBuf,
    /// Whose export it is: qeet, auth0, firebase, cognito or keycloak
    #[arg(long)]
    source: Source,
    /// The organization whose members they become: its id or its slug
    #[arg(long, value_name = "ID|SLUG")]
    tenant: String,
    /// Their role in it, by name or id, where the row has none
    #[arg(long, default_value = "member")]
    role: String,
    /// Only look: read all rows, and say which would be refused (with some 20 bytes of memory a row)
    #[arg(long)]
    dry_run: bool,
    /// Where refused rows go, with the reason: {"line","email","message"}, one a line
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Begin at the first row, though the file was imported (or in part) before
    #[arg(long)]
    restart: bool,
    /// Take the source's word that an address is verified for a proof of it
    #[arg(long)]
    trust_verified: bool,
    /// Firebase: a file with the project's base64_signer_key; or set FIREBASE_SIGNER_KEY
    #[arg(long, value_name = "FILE")]
    firebase_signer_key: Option<PathBuf>,
    /// Firebase: the project's base64_salt_separator
    #[arg(long, value_name = "BASE64", default_value = "Bw==")]
    firebase_salt_separator: String,
    /// Firebase: the project's rounds
    #[arg(long, value_name = "N", default_value_t = 8)]
    firebase_rounds: u32,
    /// Firebase: the project's mem_cost
    #[arg(long, value_name = "N", default_value_t = 14)]
    firebase_mem_cost: u32,
}

impl Import {
    fn order(self) -> Result<app::import::ImportOrder, String> {
        let key = match &self.firebase_signer_key {
            _ if self.source != Source::Firebase => None,
            Some(file) => Some(app::import::signer_key(file)?),
            None => std::env::var("FIREBASE_SIGNER_KEY").ok(),
        };
        let firebase = key.map(|key| FirebaseParams {
            signer_key: SecretText::new(key),
            salt_separator: self.firebase_salt_separator,
            rounds: self.firebase_rounds,
            mem_cost: self.firebase_mem_cost,
        });
        Ok(app::import::ImportOrder {
            file: self.file,
            source: self.source,
            tenant: self.tenant,
            role: self.role,
            dry_run: self.dry_run,
            rejects: self.rejects,
            restart: self.restart,
            trust_verified: self.trust_verified,
            firebase,
        })
    }
}

#[derive(Args)]
struct Doctor {
    /// Whether it can be told who has an account; the URL of the server, such as http://localhost:4001
    #[arg(long, value_name = "URL", required = true)]
    enumeration: String,
    /// Requests of each kind in each flow
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    samples: u32,
    /// Addresses that have accounts, one a line [default: 64 new ones]
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// An access token of somebody who may invite people in an organization: invites, handed-over ones and codes to new addresses are asked for as well
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Tenants {
    /// Give the admins of an organization power over the credentials of the accounts that belong to it alone
    Manage {
        /// Its id or slug
        #[arg(required_unless_present = "all_organizations", conflicts_with = "all_organizations")]
        tenant: Option<String>,
        /// Take the power away again
        #[arg(long)]
        off: bool,
        /// Every organization there is: for an upgrade of an installation whose organizations are all the operator's own
        #[arg(long)]
        all_organizations: bool,
    },
    /// List the organizations
    List,
    /// Make a managed organization
    Create {
        /// Its name
        #[arg(value_parser = app::api_key::plain)]
        name: String,
        /// Address of its owner, who has signed up and proved it
        #[arg(long, value_name = "EMAIL", value_parser = email)]
        owner: Email,
    },
    /// Make somebody an owner of an organization, who has signed up and proved their address
    Owner {
        /// Its id or slug
        tenant: String,
        /// Their address
        #[arg(value_parser = email)]
        email: Email,
    },
}

fn email(text: &str) -> Result<Email, String> {
    text.parse().map_err(|e: qeetid::domain::contact::BadContact| e.to_string())
}

#[derive(Subcommand)]
enum Audit {
    /// Walk the chains, and name the first broken link of each; exit status 1 if there is one
    Verify {
        /// Only the chain of this tenant, by its id
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is not of the form NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl Options {
    fn load(self) -> Result<Settings, ConfigError> {
        let named = [("listen", self.listen), ("public_url", self.public_url), ("data_dir", self.data_dir)];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Settings::load(Sources::system(self.config, named.chain(self.set).collect()))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Some(Command::Openapi)) {
        return finish(print(&app::openapi()));
    }
    if let Some(Command::Doctor(Doctor { enumeration, samples, known, token_file })) = cli.command {
        let order = app::doctor::Order { url: enumeration, samples: samples as usize, known, token_file };
        return finish(run(app::doctor::enumeration(order, &SystemRng)).and_then(|(report, silent)| {
            print(&report)?;
            if silent { Ok(()) } else { Err("it can be told who has an account".into()) }
        }));
    }
    if let Some(Command::Copy { from, to }) = cli.command {
        return finish(run(app::copy(from, &to)).and_then(|(report, same)| {
            print(&report)?;
            if same { Ok(()) } else { Err("the two sides differ".into()) }
        }));
    }
    let settings = match cli.options.load() {
        Ok(settings) => settings,
        Err(e) => {
            eprintln!("qeetid: {e}");
            return ExitCode::from(2);
        }
    };
    finish(match cli.command {
        None | Some(Command::Serve) => serve(&settings),
        Some(Command::Migrate) => run(app::migrate(&settings)).and_then(|said| print(&format!("{said}\n"))),
        Some(Command::Keys(Keys::Rotate { revoke })) => {
            run(app::rotate_keys(&settings, revoke.as_deref())).and_then(|said| print(&format!("{said}\n")))
        }
        Some(Command::ApiKey(ApiKeys::Create { tenant, scopes, name, expires })) => {
            let scopes = scopes.into_iter().fold(PermissionSet::default(), PermissionSet::union);
            let order = app::api_key::KeyOrder { tenant, scopes, name, ends: expires };
            run(app::api_key::create_api_key(&settings, order)).and_then(|made| {
                // Apart from the key, so that a script can take that alone.
                eprintln!("{}", made.about);
                print(&format!("{}\n", made.secret.reveal()))
            })
        }
        Some(Command::Tenant(order)) => {
            let said = match order {
                Tenants::Manage { tenant, off, .. } => {
                    let which = tenant.map_or(app::tenant::Which::AllOrganizations, app::tenant::Which::One);
                    run(app::tenant::manage(&settings, which, !off))
                }
                Tenants::List => run(app::tenant::list(&settings)),
                Tenants::Create { name, owner } => run(app::tenant::create(&settings, &name, &owner)),
                Tenants::Owner { tenant, email } => run(app::tenant::owner(&settings, &tenant, &email)),
            };
            said.and_then(|said| print(&said))
        }
        Some(Command::Import(import)) => {
            import.order().and_then(|order| run(app::import(&settings, order))).and_then(|said| print(&format!("{said}\n")))
        }
        Some(Command::Audit(Audit::Verify { tenant })) => run(app::verify_audit(&settings, tenant)).and_then(|(said, whole)| {
            print(&said)?;
            if whole { Ok(()) } else { Err("an audit chain is broken".into()) }
        }),
        Some(Command::Config) => print(&settings.show()),
        // Done above: they need no settings.
        Some(Command::Openapi | Command::Doctor(_) | Command::Copy { .. }) => Ok(()),
    })
}

fn finish(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("qeetid: {e}");
            ExitCode::FAILURE
        }
    }
}

/// To stdout; whoever read it and has had enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("stdout: {e}")),
        _ => Ok(()),
    }
}

fn serve(settings: &Settings) -> Result<(), String> {
    // Dropped last: it sends what is left of the traces.
    let _tracing = telemetry::start(settings).map_err(|e| e.to_string())?;
    let metrics = telemetry::Metrics::install().map_err(|e| e.to_string())?;
    run(async { app::serve(settings, metrics, told_to_stop()?).await })
}

/// Runs on a runtime of its own, which ends with it.
fn run<T, E: std::fmt::Display>(work: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    let done = runtime.block_on(work).map_err(|e| e.to_string());
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Ready at the first SIGTERM or SIGINT; a second one ends the process at once.
fn told_to_stop() -> Result<impl Future<Output = ()> + Send, app::AppError> {
    let listen = |kind| signal(kind).map_err(|e| app::AppError::from(format!("signals: {e}")));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = term.recv() => (), _ = int.recv() => () }
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => (), _ = int.recv() => () }
            tracing::warn!("told to stop once more: not waiting for what is open");
            std::process::exit(1);
        });
    })
}
