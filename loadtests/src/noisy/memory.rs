//! The resident memory of the server, where it runs on this machine. What can't be found out isn't measured.

use crate::plan::Moment;
use reqwest::Url;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

/// State of a socket that listens.
const LISTENS: &str = "0A";

/// What the server had at a moment of the run.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Since the start.
    pub at: Duration,
    pub moment: Moment,
    pub kib: u64,
}

/// By how much it grew in the second half of the noise, as a share of what it had in the middle.
pub fn growth(looks: &[Look]) -> Option<f64> {
    let had = |when: Moment| looks.iter().find(|look| look.moment == when).map(|look| look.kib as f64);
    let (middle, end) = (had(Moment::Middle)?, had(Moment::End)?);
    (middle > 0.0).then(|| end / middle - 1.0)
}

/// Resident memory of a process, in KiB.
pub fn resident(process: u32) -> Option<u64> {
    resident_of(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// The process that listens on the port of this URL, if the URL is one of this machine.
pub fn listener(host: &str) -> Option<u32> {
    let url = Url::parse(host).ok()?;
    let name = url.host_str()?.trim_matches(['[', ']']);
    let address = if name == "localhost" { IpAddr::from(Ipv4Addr::LOCALHOST) } else { name.parse().ok()? };
    let port = url.port_or_known_default().filter(|_| address.is_loopback())?;
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| fs::read_to_string(table).ok());
    let sockets: Vec<String> = tables.flat_map(|table| listening(&table, port)).map(|inode| format!("socket:[{inode}]")).collect();
    if sockets.is_empty() {
        return None;
    }
    let mut processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.find(|process| holds(*process, &sockets))
}

/// The inodes of the sockets that listen on a port, out of a table such as `/proc/net/tcp`.
fn listening(table: &str, port: u16) -> Vec<u64> {
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = columns.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local, 16) == Ok(port) && columns.get(3) == Some(&LISTENS);
        if is_it { columns.get(9)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// Whether a process has one of these sockets open. Of other people's processes that can't be seen.
fn holds(process: u32, sockets: &[String]) -> bool {
    let Ok(open) = fs::read_dir(Path::new("/proc").join(process.to_string()).join("fd")) else { return false };
    open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).any(|file| sockets.iter().any(|s| file.as_os_str() == s.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn resident_memory_is_read_from_the_status() {
        assert_eq!(resident_of("Name:\tqeetid\nVmHWM:\t  90000 kB\nVmRSS:\t  81234 kB\nThreads:\t9\n"), Some(81_234));
        assert_eq!(resident_of("Name:\tkthreadd\nThreads:\t1\n"), None);
    }

    #[test]
    fn listening_sockets_are_found_by_their_port() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA1 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:0FA1 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0
";
        assert_eq!(listening(table, 4001), [4711]);
        assert_eq!(listening(table, 80), [4713]);
        assert!(listening(table, 50_000).is_empty() && listening("", 80).is_empty());
    }

    #[test]
    fn the_process_behind_a_url_of_this_machine_is_found() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            assert_eq!(listener(&format!("http://{host}:{port}")), Some(std::process::id()), "{host}");
        }
        assert!(resident(std::process::id()).is_some_and(|kib| kib > 0));
        for elsewhere in ["http://192.0.2.1:4001", "http://example.com", "no url"] {
            assert_eq!(listener(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn growth_is_from_the_middle_to_the_end() {
        let look = |second, moment, kib| Look { at: Duration::from_secs(second), moment, kib };
        let looks =
            [look(0, Moment::Start, 50), look(23, Moment::NoiseBegins, 60), look(53, Moment::Middle, 200), look(83, Moment::End, 210)];
        assert!(growth(&looks).is_some_and(|grown| (grown - 0.05).abs() < 1e-9));
        assert_eq!(growth(&looks[..3]), None);
        assert_eq!(growth(&[]), None);
    }
}
