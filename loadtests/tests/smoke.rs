//! The program against the real server, for seconds: that scenarios do what they say (all of them in `long`), and that what is wrong fails
//! the run. Only correctness is judged: how fast a debug build on a shared machine is says nothing.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// A server may take so long until it listens, a run until it ends.
const START: Duration = Duration::from_secs(60);
const RUN: Duration = Duration::from_secs(300);

/// The server of this very source: that at `TEST_SERVER`, or else it is built, as the service's own tests build it.
fn binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(built) = std::env::var_os("TEST_SERVER") {
            return built.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let build = ["test", "--locked", "--no-run", "--test", "architecture"];
        let built = Command::new(env!("CARGO")).args(build).current_dir(root).status().unwrap();
        assert!(built.success(), "the server does not build");
        Path::new(env!("CARGO_BIN_EXE_loadtests")).with_file_name("qeetid")
    })
}

fn kill(child: &mut Child) {
    // Either may fail if it has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < START, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A server on a free port; killed when dropped.
struct Server {
    child: Child,
    url: String,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let child = Command::new(binary())
            .env_clear()
            .env("QEETID_LISTEN", "127.0.0.1:0")
            .env("QEETID_DATA_DIR", dir.path().join("data"))
            .env("QEETID_LIMITS", "off")
            .env("QEETID_LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { child, url: String::new(), log, _dir: dir };
        let began = Instant::now();
        loop {
            let said = server.said();
            let address = said.lines().find(|l| l.contains(r#""message":"listening""#)).and_then(|l| l.split_once(r#""address":""#));
            if let Some((_, rest)) = address {
                server.url = format!("http://{}", rest.split('"').next().unwrap());
                return server;
            }
            assert!(began.elapsed() < START && server.child.try_wait().unwrap().is_none(), "the server does not listen:\n{said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// How many requests of a route it has answered.
    fn answered(&self, route: &str) -> usize {
        let route = format!(r#""route":"{route}""#);
        self.said().lines().filter(|l| l.contains(r#""message":"request""#) && l.contains(&route)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A run of the program, in a folder of its own.
struct Load {
    child: Child,
    dir: tempfile::TempDir,
}

/// What it came to.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
    report: String,
}

impl Load {
    fn start(url: &str, scenario: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_loadtests"))
            .args(["--host", url, "--scenario", scenario, "--report", "report.html"])
            .args(["--threshold", "light-p99=off", "--threshold", "hash-p99=off", "--threshold", "refused-p99=off"])
            .args(["--threshold", "spike-goodput=off", "--threshold", "goodput=0.1", "--threshold", "unexpected=0"])
            .args(arguments)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    fn said(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    fn wait(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > RUN {
                kill(&mut self.child);
                panic!("it does not end:\n{}\n{}", self.said("out"), self.said("err"));
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        Ended { code: status.code(), out: self.said("out"), err: self.said("err"), report: self.said("report.html") }
    }
}

fn run(url: &str, scenario: &str, arguments: &[&str]) -> Ended {
    Load::start(url, scenario, arguments).wait()
}

/// How many good answers the table says there were to an operation.
fn good(ended: &Ended, operation: &str) -> u64 {
    let line = ended.out.lines().find_map(|l| l.strip_prefix(&format!("  {operation} ")));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

const JOURNEY: (&str, &[&str]) =
    ("journey", &["sign-up", "verify, start", "the code's mail", "verify, confirm", "login", "refresh", "logout"]);
const REFRESHES: (&str, &[&str]) = ("refresh-storm", &["refresh"]);

/// Each scenario comes to its end, with good answers to its operations.
fn run_as_they_say(scenarios: &[(&str, &[&str])]) {
    let server = Server::start(&[]);
    for (scenario, operations) in scenarios {
        let run_for = |seconds| run(&server.url, scenario, &["--users", "4", "--time", seconds]);
        let is_whole = |ended: &Ended| operations.iter().all(|operation| good(ended, operation) > 0);
        let mut ended = run_for("2");
        // A busy machine may need longer to come to the last of them.
        if ended.code == Some(0) && !is_whole(&ended) {
            ended = run_for("20");
        }
        assert_eq!(ended.code, Some(0), "{scenario}:\n{}\n{}", ended.out, ended.err);
        assert!(is_whole(&ended), "{scenario}, {operations:?}:\n{}", ended.out);
        for operation in *operations {
            assert!(ended.report.contains(&format!("<td>{operation}</td>")), "{scenario}: {operation} isn't in the report");
        }
        // The verdict at the head of goose's own report, and its charts.
        assert!(ended.report.contains("<h2>Thresholds</h2>") && ended.report.contains("echarts.init"), "{scenario}");
    }
}

#[test]
fn a_journey_and_a_storm_run_as_they_say() {
    run_as_they_say(&[JOURNEY, REFRESHES]);
}

mod long {
    use super::*;

    #[test]
    fn every_scenario_runs_as_it_says() {
        run_as_they_say(&[
            JOURNEY,
            ("login-storm", &["login"]),
            REFRESHES,
            ("forgot-flood", &["forgot-password"]),
            ("mixed-day", &["me", "refresh"]),
            ("spike", &["login", "me", "refresh"]),
        ]);
    }

    #[test]
    fn a_full_service_is_no_error_but_counted() {
        // One thread, and nobody may wait for it: most are refused.
        let server = Server::start(&[("QEETID_HASH_THREADS", "1"), ("QEETID_HASH_QUEUE", "1")]);
        let ended = run(&server.url, "login-storm", &["--users", "24", "--time", "5"]);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
        assert!(good(&ended, "login") > 0, "{}", ended.out);
        // good, good/s, p50, p99, refused
        let row = ended.out.lines().find_map(|l| l.strip_prefix("  login ")).unwrap();
        let refused: u64 = row.split_whitespace().nth(4).unwrap().parse().unwrap();
        assert!(refused > 0, "{}", ended.out);
        assert!(ended.report.contains("login, refused for now"), "goose counts them apart");
    }

    #[test]
    fn a_noisy_neighbour_does_all_it_may_beside_others() {
        let raised = [("QEETID_LIMITS", "on"), ("QEETID_LIMIT__AUTH_REQUESTS", "10000000/1m"), ("QEETID_LIMIT__SIGNUPS", "100000/1h")];
        let server = Server::start(&raised);
        let slow = ["noise-me=off", "noise-login=off", "noise-others-5xx=off", "noise-memory=off"];
        let mut arguments = vec!["--users", "20", "--time", "12", "--organizations", "3", "--refused-pause", "50"];
        arguments.extend(slow.into_iter().flat_map(|threshold| ["--threshold", threshold]));
        let ended = run(&server.url, "noisy-neighbour", &arguments);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
        for answered in [
            "me",
            "login",
            "profile, change",
            "tenant, change",
            "auth policy, change",
            "export",
            "bulk",
            "sign-in",
            "invite",
            "code, start",
        ] {
            assert!(good(&ended, answered) > 0, "{answered}:\n{}", ended.out);
        }
        assert!(ended.out.contains("429: "), "its limits were reached:\n{}", ended.out);
        let pid = format!("process {}\n", server.child.id());
        assert!(ended.out.contains(&pid) && ended.out.contains("noise, middle"), "{}", ended.out);
        assert!(ended.report.contains("<h2>Thresholds</h2>") && ended.report.contains("<td>noise, end</td>"));
    }
}

#[test]
fn a_broken_threshold_fails_the_run_and_is_named() {
    let server = Server::start(&[]);
    let ended = run(&server.url, "refresh-storm", &["--users", "2", "--time", "2", "--threshold", "goodput=100000000"]);
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.out, ended.err);
    assert!(ended.err.contains("broken: goodput\n"), "{}", ended.err);
    assert!(ended.out.lines().any(|l| l.starts_with("  goodput") && l.ends_with("BROKEN")), "{}", ended.out);
    assert!(ended.report.contains("<td>BROKEN</td>"));
}

#[test]
fn a_server_that_goes_away_fails_the_run() {
    let mut server = Server::start(&[]);
    let load = Load::start(&server.url, "login-storm", &["--users", "2", "--time", "8"]);
    // Nobody signs in before the run has begun.
    until("the run has begun", || server.answered("/v1/auth/login") >= 4);
    kill(&mut server.child);
    let ended = load.wait();
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.out, ended.err);
    assert!(ended.err.contains("broken: unexpected"), "{}", ended.err);
    assert!(ended.out.contains("Unexpected answers"), "{}", ended.out);
}

#[test]
fn what_the_scenario_needs_is_told() {
    let told = |ended: Ended, what: &str| {
        assert_eq!(ended.code, Some(2), "{}\n{}", ended.out, ended.err);
        assert!(ended.err.contains(what), "{}", ended.err);
    };
    let smtp = ("QEETID_MAIL_URL", "smtp://user:password@127.0.0.1:9");
    let no_mailbox = Server::start(&[smtp, ("QEETID_SMS_URL", "twilio://AC0:token@127.0.0.1:9?from=+15551234567")]);
    told(run(&no_mailbox.url, "journey", &["--time", "2"]), "has no development mailbox");
    let for_texts_alone = Server::start(&[smtp]);
    told(run(&for_texts_alone.url, "journey", &["--time", "2"]), "sends its mails elsewhere");
    let limited = Server::start(&[("QEETID_LIMITS", "on")]);
    told(run(&limited.url, "login-storm", &["--time", "2"]), "QEETID_LIMITS=off");
    told(run(&limited.url, "noisy-neighbour", &["--time", "2"]), "QEETID_LIMIT__AUTH_REQUESTS");
    let careful = Server::start(&[("QEETID_SIGNUP_MODE", "verify_first")]);
    told(run(&careful.url, "login-storm", &["--time", "2"]), "QEETID_SIGNUP_MODE=instant");
    told(run(&careful.url, "noisy-neighbour", &["--time", "2"]), "QEETID_LIMITS=on");
    told(run(&careful.url, "noisy-neighbour", &["--time", "601"]), "600 s at most");
    told(run("http://127.0.0.1:9", "login-storm", &["--time", "2"]), "no server at http://127.0.0.1:9");
    told(run(&careful.url, "spike", &["--threshold", "lights-p99=1"]), "there is no threshold lights-p99");
}
