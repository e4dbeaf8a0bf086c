//! Faults as they show on the wire: what a client that knows nothing of them reads.
#![cfg(test)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use answerlake_emulator::{
    DataConfig, EmptyShape, Emulator, EmulatorConfig, Fault, FaultKind, FaultScript, On,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// An emulator on a runtime of its own.
struct Server {
    emulator: Emulator,
    _runtime: Runtime,
}

/// What came of a request.
#[derive(Debug)]
struct Got {
    head: String,
    body: Vec<u8>,
    /// How the connection ended, where not in good order.
    broken: Option<ErrorKind>,
}

impl Got {
    fn status(&self) -> &str {
        &self.head[9..12]
    }

    fn has(&self, header: &str) -> bool {
        self.head.to_lowercase().contains(header)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

const EXPORT: &str = "/api/public/bot/st-1/search/analytics-export";
const DAY: &str =
    r#"{"filters":{"from":"2025-06-24T00:00:00.000Z","to":"2025-06-25T00:00:00.000Z"}}"#;

impl Server {
    fn start(faults: Vec<Fault>) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let config = EmulatorConfig {
            app_id: "st-1".to_owned(),
            data: DataConfig {
                text_scale: 0.02,
                pool: 50,
                records_per_day: 20,
                feedback_share: 0.4,
                ..DataConfig::default()
            },
            fragment_records: 12,
            faults,
            ..EmulatorConfig::default()
        };
        Self {
            emulator: runtime.block_on(Emulator::start(config)).unwrap(),
            _runtime: runtime,
        }
    }

    fn one(on: On, kind: FaultKind) -> Self {
        Self::start(vec![Fault::new(on, kind)])
    }

    fn address(&self) -> String {
        self.emulator
            .url()
            .strip_prefix("http://")
            .unwrap()
            .to_owned()
    }

    fn ask(&self, verb: &str, target: &str, body: &str) -> Got {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        // For what hangs; all else is done long before.
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let auth = match target.contains("/public/") {
            true => format!("auth: {}\r\n", self.emulator.token()),
            false => String::new(),
        };
        write!(
            stream,
            "{verb} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{auth}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        let broken = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break None,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                Err(error) => break Some(error.kind()),
            }
        };
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let body = end.map_or_else(Vec::new, |end| bytes.split_off(end + 4));
        Got {
            head: String::from_utf8(bytes).unwrap(),
            body,
            broken,
        }
    }

    fn export(&self) -> Got {
        self.ask("POST", EXPORT, DAY)
    }

    fn look(&self, id: &str) -> Got {
        self.ask("GET", &format!("/api/public/bot/st-1/search/jobs/{id}"), "")
    }

    /// The job of an export, done.
    fn job(&self) -> Value {
        let created = self.export().json();
        self.look(created["_id"].as_str().unwrap()).json()
    }

    fn follow(&self, link: &Value) -> Got {
        let link = link.as_str().unwrap();
        let target = link.strip_prefix(&self.emulator.url()).unwrap_or(link);
        self.ask("GET", target, "")
    }

    fn fragment(&self) -> Got {
        self.follow(&self.job()["analyticsFragments"][0]["fileUrl"])
    }

    /// All records of a new job.
    fn records(&self) -> Vec<Value> {
        let job = self.job();
        let files = job["analyticsFragments"].as_array().unwrap();
        let records: Vec<Value> = files
            .iter()
            .flat_map(|file| {
                self.follow(&file["fileUrl"])
                    .json()
                    .as_array()
                    .unwrap()
                    .clone()
            })
            .collect();
        assert_eq!(job["store"]["totalRecords"], records.len());
        records
    }
}

#[test]
fn connections_break_off_as_scripted() {
    let server = Server::one(On::Export, FaultKind::Reset);
    let got = server.export();
    assert_eq!(
        (got.head.as_str(), got.broken),
        ("", Some(ErrorKind::ConnectionReset))
    );
    assert_eq!(server.emulator.jobs_started(), 0);
    assert_eq!(server.export().status(), "200");

    let silent = |carried_out| Server::one(On::Export, FaultKind::NoAnswer { carried_out });
    for carried_out in [false, true] {
        let server = silent(carried_out);
        let got = server.export();
        assert_eq!(
            (got.head.as_str(), got.broken),
            ("", Some(ErrorKind::WouldBlock))
        );
        assert_eq!(server.emulator.jobs_started(), usize::from(carried_out));
    }

    let server = Server::one(On::Any, FaultKind::Down(Duration::from_secs(3)));
    let began = Instant::now();
    assert_eq!(server.export().broken, Some(ErrorKind::ConnectionReset));
    // The port is shut a moment after the connection is.
    while TcpStream::connect(server.address()).is_ok() {
        assert!(
            began.elapsed() < Duration::from_millis(2_500),
            "it is not shut"
        );
    }
    let refused = TcpStream::connect(server.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    while TcpStream::connect(server.address()).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert_eq!(server.export().status(), "200");
}

#[test]
fn bodies_break_off_as_scripted() {
    let after = 1_000;
    for (kind, has_length, bytes, broken) in [
        (FaultKind::CutBody { after }, true, after, None),
        (FaultKind::CutChunked { after }, false, after, None),
        (
            FaultKind::ResetBody { after },
            true,
            after,
            Some(ErrorKind::ConnectionReset),
        ),
        (
            FaultKind::Hang { after },
            true,
            after,
            Some(ErrorKind::WouldBlock),
        ),
        (
            FaultKind::Hang { after: 0 },
            true,
            0,
            Some(ErrorKind::WouldBlock),
        ),
    ] {
        let server = Server::one(On::Fragment, kind.clone());
        let got = server.fragment();
        assert_eq!(got.has("content-length"), has_length, "{kind:?}: {got:?}");
        assert_eq!(got.broken, broken, "{kind:?}");
        if has_length {
            assert_eq!(got.body.len(), bytes, "{kind:?}");
        } else {
            // A length before each piece, and no last one of nothing.
            assert!(
                got.body.len() > bytes && !got.body.ends_with(b"0\r\n\r\n"),
                "{kind:?}"
            );
        }
        assert_eq!(server.fragment().json().as_array().unwrap().len(), 12);
    }
}

#[test]
fn answers_and_clocks_are_as_scripted() {
    let page = "<html></html>".to_owned();
    let got = Server::one(On::Job, FaultKind::Status(502, page)).look("fj-1");
    assert_eq!(got.status(), "502");
    assert!(got.has("content-type: text/html"), "{got:?}");
    let got = Server::one(On::Export, FaultKind::RateLimitUntil { seconds: 90 }).export();
    assert_eq!(got.status(), "429");
    let until = got
        .head
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "))
        .unwrap();
    let until = chrono::DateTime::parse_from_rfc2822(until)
        .unwrap()
        .to_utc();
    let wait = (until - chrono::Utc::now()).num_seconds();
    assert!((80..=90).contains(&wait), "{wait} s");
    let got = Server::one(On::Export, FaultKind::ReplayedToken).export();
    assert!(
        got.status() == "401" && got.json().to_string().contains("replay"),
        "{got:?}"
    );
    let got = Server::one(On::Export, FaultKind::ClockSkew { seconds: 5_000 }).export();
    let date = got
        .head
        .lines()
        .find_map(|line| line.strip_prefix("date: "))
        .unwrap();
    let date = chrono::DateTime::parse_from_rfc2822(date).unwrap().to_utc();
    assert!((date - chrono::Utc::now()).num_seconds() >= 4_990, "{date}");
    let began = Instant::now();
    Server::one(On::Export, FaultKind::Delay(Duration::from_millis(200))).export();
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn links_are_as_scripted() {
    let server = Server::one(On::Job, FaultKind::RelativeLinks);
    let job = server.job();
    let link = &job["analyticsFragments"][0]["fileUrl"];
    assert!(
        link.as_str().unwrap().starts_with("/api/getMediaStream/"),
        "{link}"
    );
    assert_eq!(server.follow(link).status(), "200");
    let server = Server::one(On::Job, FaultKind::RedirectLinks);
    assert_eq!(server.fragment().status(), "302");
    let server = Server::one(On::Job, FaultKind::DeadLinks);
    assert_eq!(server.fragment().status(), "403");
    assert_eq!(server.fragment().status(), "200");
    let server = Server::one(On::Job, FaultKind::SingleUseLinks);
    let job = server.job();
    let link = &job["analyticsFragments"][0]["fileUrl"];
    assert_eq!(
        (server.follow(link).status(), server.follow(link).status()),
        ("200", "403")
    );
}

#[test]
fn jobs_and_what_they_bring_are_as_scripted() {
    let whole = Server::start(Vec::new()).records();
    let ids = |records: &[Value]| -> Vec<String> {
        records
            .iter()
            .map(|record| record["_id"].to_string())
            .collect()
    };
    let sorted = |records: &[Value]| {
        let mut ids = ids(records);
        ids.sort();
        ids
    };
    assert_eq!(whole.len(), 20);

    let server = Server::one(On::Export, FaultKind::JobGone);
    let id = server.export().json()["_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (server.look(&id).status(), server.look(&id).status()),
        ("404", "404")
    );
    let server = Server::one(On::Job, FaultKind::JobGone);
    let id = server.export().json()["_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (server.look(&id).status(), server.look(&id).status()),
        ("404", "200")
    );
    let server = Server::one(On::Export, FaultKind::Backwards);
    let id = server.export().json()["_id"].as_str().unwrap().to_owned();
    let shown: Vec<Value> = (0..6)
        .map(|_| server.look(&id).json()["percentageDone"].clone())
        .collect();
    assert_eq!(shown, [10, 60, 20, 80, 40, 100]);

    let extra = Server::one(On::Export, FaultKind::ExtraRecord).records();
    assert_eq!((extra.len(), &extra[12]), (21, &extra[11]));
    let strays = Server::one(On::Export, FaultKind::Strays { records: 3 }).records();
    assert_eq!(strays.len(), 23);
    assert!(
        strays[20]["createdOn"]
            .as_str()
            .unwrap()
            .starts_with("2025-06-23"),
        "{}",
        strays[20]
    );
    let shuffled = Server::one(On::Export, FaultKind::OutOfOrder).records();
    assert_ne!(ids(&shuffled), ids(&whole));
    assert_eq!(sorted(&shuffled), sorted(&whole));
    let server = Server::one(On::Export, FaultKind::LateFeedback);
    let early = server.records();
    assert!(early.len() < 20 && early.iter().all(|record| record["event"] != "thumbsUp"));
    assert_eq!(server.records(), whole);
    let earlier = Server::one(On::Export, FaultKind::EarlierRecords).records();
    assert_eq!(ids(&earlier), ids(&whole));
    assert!(earlier.iter().all(|record| {
        record
            .get("answerDebug")
            .is_none_or(|list| list == &Value::Array(Vec::new()))
    }));

    let lines = Server::one(On::Fragment, FaultKind::Ndjson).fragment();
    assert_eq!(lines.body.split(|byte| *byte == b'\n').count(), 13);
    let wrapped = Server::one(On::Fragment, FaultKind::Wrapped).fragment();
    assert_eq!(wrapped.json()["result"].as_array().unwrap().len(), 12);
    assert!(
        Server::one(On::Fragment, FaultKind::Bom)
            .fragment()
            .body
            .starts_with(b"\xEF\xBB\xBF[")
    );
    assert!(
        Server::one(On::Fragment, FaultKind::Gzip)
            .fragment()
            .body
            .starts_with(&[0x1F, 0x8B])
    );
}

#[test]
fn jobs_without_records_say_so_in_each_shape() {
    let none = DAY.replace("2025", "2020");
    for (shape, fragments, total) in [
        (EmptyShape::File, Some(1), Some(0)),
        (EmptyShape::Totals, None, Some(0)),
        (EmptyShape::Nothing, None, None),
    ] {
        let server = Server::one(On::Export, FaultKind::Empty(shape));
        let created = server.ask("POST", EXPORT, &none).json();
        let job = server.look(created["_id"].as_str().unwrap()).json();
        assert_eq!(job["status"], "SUCCESS");
        assert_eq!(
            job["analyticsFragments"].as_array().map(Vec::len),
            fragments,
            "{job}"
        );
        assert_eq!(job["store"]["totalRecords"].as_u64(), total, "{job}");
        if fragments.is_some() {
            let got = server.follow(&job["analyticsFragments"][0]["fileUrl"]);
            assert_eq!(got.json(), Value::Array(Vec::new()));
        }
    }
}

#[test]
fn a_file_of_faults_says_what_goes_wrong() {
    let text = "[[fault]]\non = \"export\"\nday = \"2025-06-24\"\nkind = \"html\"\nstatus = 503\n";
    let script: FaultScript = text.parse().unwrap();
    let server = Server::start(script.faults);
    let other = DAY.replace("06-24", "06-20").replace("06-25", "06-21");
    assert_eq!(server.ask("POST", EXPORT, &other).status(), "200");
    assert_eq!(
        (server.export().status(), server.export().status()),
        ("503", "200")
    );
    let met: Vec<_> = server
        .emulator
        .faults_met()
        .iter()
        .map(FaultKind::name)
        .collect();
    assert_eq!(met, ["status"]);
    server.emulator.end_faults();
}
