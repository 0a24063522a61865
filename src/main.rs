//! The commands.

use clap::{Args, Parser, Subcommand};
use qeetid::config::{ConfigError, Settings, Sources};
use std::{path::PathBuf, process::ExitCode};

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
    /// Print the effective settings as a file for --config, secrets hidden, and say where each came from
    Config,
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
    let settings = match cli.options.load() {
        Ok(settings) => settings,
        Err(e) => {
            eprintln!("qeetid: {e}");
            return ExitCode::from(2);
        }
    };
    match cli.command {
        None | Some(Command::Config) => print!("{}", settings.show()),
    }
    ExitCode::SUCCESS
}
