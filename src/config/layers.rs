//! The sources, and how one lies over the other.

use super::{
    ConfigError, Limits, Rate,
    keys::{self, FROM_FILE, KEYS, Origin, Origins},
    values,
};
use crate::domain::policy::{AuthPolicy, Preset};
use figment::{
    Error, Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::IsTerminal,
    path::PathBuf,
};

/// Where settings are read from. Tests fill it by hand, `main` from the system.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// The environment; what doesn't begin with `QEETID_` is not looked at (but for the endpoint of OpenTelemetry).
    pub env: BTreeMap<String, OsString>,
    /// Flags: key and value.
    pub flags: Vec<(String, String)>,
    /// Cores that this process may use: the default number of hashing threads.
    pub cores: usize,
    /// The log goes to a terminal.
    pub terminal: bool,
}

impl Sources {
    /// Takes the environment, the number of cores and the terminal from the system.
    pub fn system(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        Self {
            file,
            env: std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v))).collect(),
            flags,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            terminal: std::io::stderr().is_terminal(),
        }
    }
}

/// One source, flat: key → text.
struct Layer {
    origin: Origin,
    values: BTreeMap<String, String>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }
    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let dict: Dict = self.values.iter().map(|(k, v)| (flat(k), Value::from(v.clone()))).collect();
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// Figment takes a dot for a path: here all keys lie side by side.
fn flat(key: &str) -> String {
    key.replace('.', "__")
}

/// All sources, merged.
pub(super) struct Layers {
    figment: Figment,
    origins: Origins,
}

impl Layers {
    pub(super) fn read(sources: Sources) -> Result<Self, ConfigError> {
        let mut layers = Vec::new();
        if let Some(path) = &sources.file {
            let shown = path.display().to_string();
            let text = fs::read_to_string(path).map_err(|e| ConfigError(format!("--config {shown}: {e}")))?;
            let dicts =
                Toml::string(&text).data().map_err(|e| ConfigError(format!("--config {shown}: {}", without_quote(&e.to_string()))))?;
            let mut values = BTreeMap::new();
            for (key, value) in dicts.into_values().flatten() {
                flatten(key, value, &mut values);
            }
            layers.push(Layer { origin: Origin::File(shown), values });
        }
        layers.push(Layer { origin: Origin::Environment, values: environment(sources.env)? });
        for (key, _) in &sources.flags {
            if FROM_FILE.contains(&key.as_str()) {
                return Err(ConfigError(format!(
                    "--set {key}: other users of this machine could read it; use {}_FILE",
                    keys::variable(key)
                )));
            }
        }
        layers.push(Layer { origin: Origin::Flag, values: sources.flags.into_iter().collect() });

        let (mut figment, mut origins) = (Figment::new(), BTreeMap::new());
        for mut layer in layers {
            layer.take_files()?;
            layer.refuse_unknown()?;
            origins.extend(layer.values.keys().map(|k| (k.clone(), layer.origin.clone())));
            figment = figment.merge(layer);
        }
        Ok(Self { figment, origins: Origins(origins) })
    }

    /// The value of `key`, parsed, if it was set anywhere.
    pub(super) fn get<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, ConfigError> {
        let Ok(value) = self.figment.find_value(&flat(key)) else { return Ok(None) };
        // Layers hold nothing but text.
        let text = value.into_string().unwrap_or_default();
        parse(&text).map(Some).map_err(|problem| ConfigError(format!("{}: {problem}", self.origins.label(key))))
    }

    pub(super) fn origins(&self) -> Origins {
        self.origins.clone()
    }

    /// An error that names `key`.
    pub(super) fn problem(&self, key: &str, problem: &str) -> ConfigError {
        ConfigError(format!("{}: {problem}", self.origins.label(key)))
    }

    pub(super) fn policy(&self) -> Result<AuthPolicy, ConfigError> {
        // A preset is what the others are changes of.
        let named = |text: &str| text.parse::<Preset>().map_err(|()| format!("{text:?} is neither default nor nist-800-63b-4"));
        let preset = self.get(PRESET, named)?.unwrap_or(Preset::Default);
        let mut fields = fields_of(&AuthPolicy::default().with_preset(preset));
        for (field, value) in &mut fields {
            if let Some(given) = self.get(&format!("policy.{field}"), |text| values::like(value, text))? {
                *value = given;
            }
        }
        // Types fit by construction; what is left are names of choices.
        let policy: AuthPolicy = serde_json::from_value(Json::Object(fields.into_iter().collect()))
            .map_err(|e| ConfigError(format!("{}: {e}", keys::variable("policy.…"))))?;
        match policy.problems().into_iter().next() {
            Some((field, problem)) => Err(ConfigError(format!("{}: {problem}", self.origins.label(&format!("policy.{field}"))))),
            None => Ok(policy),
        }
    }

    pub(super) fn limits(&self) -> Result<Limits, ConfigError> {
        let mut limits = Limits::default();
        for (name, rate) in limits.rates_mut() {
            if let Some(given) = self.get(&format!("limit.{name}"), str::parse::<Rate>)? {
                *rate = given;
            }
        }
        limits.on = self.get("limits", values::switch)?.unwrap_or(true);
        Ok(limits)
    }
}

/// The rules of passwords that a policy begins with.
const PRESET: &str = "policy.preset";

/// Field → default value; tells which fields there are, and what type each has.
pub(super) fn policy_fields() -> BTreeMap<String, Json> {
    fields_of(&AuthPolicy::default())
}

fn fields_of(policy: &AuthPolicy) -> BTreeMap<String, Json> {
    match serde_json::to_value(policy) {
        Ok(Json::Object(map)) => map.into_iter().collect(),
        _ => unreachable!("a struct of plain fields is an object"),
    }
}

fn known() -> BTreeSet<String> {
    let policy = policy_fields().into_keys().map(|f| format!("policy.{f}"));
    let limits = Limits::NAMES.iter().map(|n| format!("limit.{n}"));
    KEYS.iter().map(ToString::to_string).chain([PRESET.to_owned()]).chain(policy).chain(limits).collect()
}

impl Layer {
    fn label(&self, key: &str) -> String {
        Origins(BTreeMap::from([(key.to_owned(), self.origin.clone())])).label(key)
    }

    /// Puts what the file holds in the place of `<key>_file`.
    fn take_files(&mut self) -> Result<(), ConfigError> {
        for key in FROM_FILE {
            let Some(path) = self.values.remove(&format!("{key}_file")) else { continue };
            let label = self.label(&format!("{key}_file"));
            if self.values.contains_key(*key) {
                return Err(ConfigError(format!("{label}: {} is set as well", self.label(key))));
            }
            let text = fs::read_to_string(&path).map_err(|e| ConfigError(format!("{label}: {path}: {e}")))?;
            self.values.insert((*key).to_owned(), text.trim_end_matches(['\r', '\n']).to_owned());
        }
        Ok(())
    }

    fn refuse_unknown(&self) -> Result<(), ConfigError> {
        let known = known();
        let Some(key) = self.values.keys().find(|k| !known.contains(*k)) else { return Ok(()) };
        let named = |near: &str| if self.origin == Origin::Environment { keys::variable(near) } else { near.to_owned() };
        let near = keys::nearest(key, known.iter().map(String::as_str));
        let hint = near.map(|near| format!(" (did you mean {}?)", named(near))).unwrap_or_default();
        Err(ConfigError(format!("{}: there is no such setting{hint}", self.label(key))))
    }
}

/// A parser's complaint without the line that it quotes: that may be the line of a secret.
fn without_quote(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|l| !l.is_empty());
    lines.filter(|l| !l.starts_with('|') && !l.starts_with(|c: char| c.is_ascii_digit())).collect::<Vec<_>>().join(": ")
}

fn environment(env: BTreeMap<String, OsString>) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut values = BTreeMap::new();
    for (name, value) in env {
        let key = match name.strip_prefix("QEETID_") {
            // What Kubernetes sets for a service that is called qeetid.
            Some(rest) if rest.starts_with("PORT") || rest.starts_with("SERVICE_") => continue,
            Some(rest) => rest.to_ascii_lowercase().replace("__", "."),
            None if name == keys::OTLP_VARIABLE && !value.is_empty() => "otlp_endpoint".into(),
            None => continue,
        };
        let value = value.into_string().map_err(|_| ConfigError(format!("{name}: is not UTF-8")))?;
        values.insert(key, value);
    }
    Ok(values)
}

/// Tables become dotted keys, arrays comma-separated text: from here on each source looks alike.
fn flatten(key: String, value: Value, into: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Dict(_, dict) => return dict.into_iter().for_each(|(k, v)| flatten(format!("{key}.{k}"), v, into)),
        Value::Array(_, items) => items.into_iter().map(scalar).collect::<Vec<_>>().join(","),
        other => scalar(other),
    };
    into.insert(key, text);
}

fn scalar(value: Value) -> String {
    match value {
        Value::String(_, s) => s,
        Value::Char(_, c) => c.to_string(),
        Value::Bool(_, b) => if b { "on" } else { "off" }.into(),
        Value::Num(_, n) => n.to_i128().map(|n| n.to_string()).or_else(|| n.to_f64().map(|f| f.to_string())).unwrap_or_default(),
        // Nothing that a file can say; refused wherever a value of a kind is asked for.
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => String::new(),
    }
}
