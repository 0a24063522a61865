//! The release binary, started in a folder of its own.

use crate::client::Client;
use hyper::Method;
use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A running service; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From start to the first 200 of `/readyz`.
    pub to_ready: Duration,
    _data: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts `binary` with limits off and waits until it is ready.
    pub async fn start(binary: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        let data = tempfile::tempdir().map_err(|e| e.to_string())?;
        let server = Self::start_in(binary, data.path(), settings).await?;
        Ok(Self { _data: Some(data), ..server })
    }

    /// Starts it on a data directory that is there.
    pub async fn start_in(binary: &Path, data: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        let began = Instant::now();
        let mut command = Command::new(binary);
        command
            .env("QEETID_LISTEN", "127.0.0.1:0")
            .env("QEETID_DATA_DIR", data)
            .env("QEETID_LIMITS", "off")
            .env("QEETID_LOG", "warn,qeetid::app=info")
            .env("QEETID_LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| format!("{}: {e}", binary.display()))?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let address = loop {
            let line = lines.next_line().await.map_err(|e| e.to_string())?.ok_or("the service ended before it listened")?;
            let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if json["message"] == "listening" {
                break json["address"].as_str().and_then(|a| a.parse().ok()).ok_or("no address in the log")?;
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut client = Client::new(address);
        while client.send(Method::GET, "/readyz", None, None).await?.status != 200 {
            if began.elapsed() > Duration::from_secs(20) {
                return Err("not ready after 20 s".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Self { child, address, to_ready: began.elapsed(), _data: None })
    }

    fn status(&self, field: &str) -> f64 {
        let path = format!("/proc/{}/status", self.child.id().unwrap_or(0));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix(field));
        line.and_then(|l| l.split_whitespace().nth(0).and_then(|n| n.parse::<f64>().ok())).unwrap_or(f64::NAN) / 1024.0
    }

    /// From now on the peak is that of what comes.
    pub fn forget_peak(&self) {
        // Refused where there is no such file: the peak is then that of before as well, which is no less.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.child.id().unwrap_or(0)), "5");
    }

    /// Most memory resident since it started, or since the peak was forgotten, MiB.
    pub fn peak_mib(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// Memory resident now, MiB.
    pub fn resident_mib(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// Ends it at once, as `kill -9` does.
    pub async fn kill(&mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|e| e.to_string())
    }

    /// CPU seconds used so far.
    pub fn cpu_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.child.id().unwrap_or(0));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let after = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: f64 = after.split(' ').skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
        ticks / 100.0
    }
}
