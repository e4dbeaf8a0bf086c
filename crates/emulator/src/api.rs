//! The HTTP side: the three endpoints, and the emulator that serves them.
//!
//! A request goes one way: noted, counted, delayed, then a scripted fault or the endpoint answers. Endpoints check the
//! verb, the token and the app, in this order, before they look at anything else.

// Connections, and how they break off.
mod connection;
// Answers on their way out.
mod answer;
// What an export asks for.
mod export_request;
// Signed download links.
mod links;
// Who may ask.
mod token;
// The endpoints.
mod endpoints;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::Response;
use axum::routing::any;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::EmulatorConfig;
use crate::faults::{FaultKind, Faults, Met, On, Place};
use crate::jobs::{Entry, Jobs};
use crate::records::{Dataset, JsonWriter, Slot, Tally, ceil_ms};
use answer::{Answer, Pace};
use connection::{Port, Reset, Shutter};
use endpoints::Ask;
use export_request::ExportRequest;
use links::Links;
use token::Tokens;

/// A running emulator of the export API; dropping it stops the server.
///
/// It runs on the tokio runtime that [`Emulator::start`] is called on, and keeps time by that runtime's clock: with
/// tokio's time paused, jobs and links age as the test says. Tokens alone are checked by the clock on the wall, as
/// that is what clients sign by.
#[derive(Debug)]
pub struct Emulator {
    api: Arc<Api>,
    /// Closed when dropped, which ends the server.
    _stop: oneshot::Sender<()>,
}

/// A request as the emulator saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeen {
    /// Verb of the request.
    pub method: String,
    /// Path of the request, without its query.
    pub path: String,
    /// When it came, by the clock of the runtime: with tokio's time paused, two requests differ by the time that was
    /// advanced between them.
    pub at: DateTime<Utc>,
}

/// All that requests share.
struct Api {
    config: EmulatorConfig,
    address: SocketAddr,
    dataset: Dataset,
    extras: Mutex<Vec<Extra>>,
    jobs: Jobs,
    links: Links,
    tokens: Tokens,
    faults: Faults,
    shutter: Arc<Shutter>,
    seen: Mutex<Vec<RequestSeen>>,
    started: (Instant, DateTime<Utc>),
}

/// A hand-made record and its place in time.
struct Extra {
    created_ms: i64,
    event: Option<String>,
    record: Value,
    /// Whether a later record has taken its place; jobs that are under way still have it.
    replaced: bool,
}

impl Emulator {
    /// Starts an emulator; it answers as soon as this returns.
    ///
    /// # Errors
    ///
    /// Fails when the address cannot be listened on.
    pub async fn start(config: EmulatorConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.bind).await?;
        let address = listener.local_addr()?;
        let api = Arc::new(Api::new(config, address));
        let (stop, stopped) = oneshot::channel();
        let port = Port::new(listener, address, Arc::clone(&api.shutter));
        let service = router(&api).into_make_service_with_connect_info::<Reset>();
        let server = axum::serve(port, service).with_graceful_shutdown(async {
            // Nothing is ever sent: the channel closes with the emulator.
            let _ = stopped.await;
        });
        tokio::spawn(async move { server.await });
        Ok(Self { api, _stop: stop })
    }

    /// The host that clients are to ask: `http://127.0.0.1:PORT`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.api.address)
    }

    /// A token that is accepted for long and as often as it is sent: it has no `jti`.
    pub fn token(&self) -> String {
        self.api.tokens.long_lived()
    }

    /// All requests so far, in the order in which they came, those answered with faults too.
    pub fn requests(&self) -> Vec<RequestSeen> {
        self.api.seen().clone()
    }

    /// How many jobs were started.
    pub fn jobs_started(&self) -> usize {
        self.api.jobs.count()
    }

    /// What went wrong so far, as scripted, in order.
    pub fn faults_met(&self) -> Vec<FaultKind> {
        self.api.faults.met()
    }

    /// Nothing goes wrong any more with requests from now on; jobs that were started wrong stay so.
    pub fn end_faults(&self) {
        self.api.faults.end();
    }

    /// Adds a hand-made record while the server runs, as late feedback comes in or an answer is overwritten: it takes
    /// the place of an earlier hand-made one of the same `_id` and `event`. Jobs started before do not show it.
    pub fn add_record(&self, record: Value) {
        let added = Extra::new(record, ceil_ms(self.api.config.data.from));
        let mut extras = self.api.extras();
        for extra in extras.iter_mut().filter(|extra| extra.is_same(&added)) {
            extra.replaced = true;
        }
        extras.push(added);
    }

    /// The records made in `[from, to)`, seeded and hand-made ones, newest first: what an export of that range must
    /// bring, with `from` inclusive and `to` exclusive whatever the settings of the server are.
    pub fn records(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> impl Iterator<Item = Value> + '_ {
        self.api
            .entries(ceil_ms(from), ceil_ms(to), None)
            .into_iter()
            .map(|entry| self.api.record(entry))
    }
}

impl Api {
    fn new(config: EmulatorConfig, address: SocketAddr) -> Self {
        let extras: Vec<Extra> = config
            .extra_records
            .iter()
            .map(|record| Extra::new(record.clone(), ceil_ms(config.data.from)))
            .collect();
        Self {
            dataset: Dataset::new(config.data.clone(), &config.app_id),
            extras: Mutex::new(extras),
            jobs: Jobs::default(),
            links: Links::new(
                &config.client_secret,
                config.link_lifetime,
                config.single_use_links,
            ),
            tokens: Tokens::new(config.client_id.clone(), config.client_secret.clone()),
            faults: Faults::new(config.faults.clone(), config.fault_seed),
            shutter: Arc::default(),
            seen: Mutex::default(),
            started: (Instant::now(), Utc::now()),
            address,
            config,
        }
    }

    /// Now by tokio's clock.
    fn now(&self) -> DateTime<Utc> {
        let (instant, time) = self.started;
        time + TimeDelta::from_std(instant.elapsed()).unwrap_or_default()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<RequestSeen>> {
        self.seen.lock().expect("no holder of this lock panics")
    }

    fn extras(&self) -> std::sync::MutexGuard<'_, Vec<Extra>> {
        self.extras.lock().expect("no holder of this lock panics")
    }

    /// The records made in `[from_ms, to_ms)`, newest first; hand-made ones before seeded ones of the same time.
    fn entries(&self, from_ms: i64, to_ms: i64, event: Option<&str>) -> Vec<Entry> {
        let wanted = |of_record: Option<&str>| event.is_none() || event == of_record;
        let extras = self.extras();
        let mut extras: Vec<(usize, &Extra)> = (0..)
            .zip(extras.iter())
            .filter(|(_, extra)| !extra.replaced)
            .filter(|(_, extra)| (from_ms..to_ms).contains(&extra.created_ms))
            .filter(|(_, extra)| wanted(extra.event.as_deref()))
            .collect();
        // Stable, so those of one moment keep the order in which they were given.
        extras.sort_by_key(|(_, extra)| std::cmp::Reverse(extra.created_ms));
        let mut extras = extras.into_iter().peekable();
        let mut entries = Vec::new();
        let slots = self.dataset.newest_first(from_ms, to_ms);
        for slot in slots.filter(|slot: &Slot| wanted(slot.event())) {
            while let Some((place, _)) =
                extras.next_if(|(_, extra)| extra.created_ms >= slot.created_ms)
            {
                entries.push(Entry::Extra(place));
            }
            entries.push(Entry::Seeded(slot));
        }
        entries.extend(extras.map(|(place, _)| Entry::Extra(place)));
        entries
    }

    fn write(&self, entry: Entry, writer: &mut JsonWriter) {
        match entry {
            Entry::Seeded(slot) => self.dataset.write(slot, writer, &mut Tally::default()),
            Entry::Earlier(_) => writer.value(&self.record(entry)),
            Entry::Extra(place) => writer.value(&self.extras()[place].record),
        }
    }

    fn record(&self, entry: Entry) -> Value {
        let slot = match entry {
            Entry::Seeded(slot) | Entry::Earlier(slot) => slot,
            Entry::Extra(place) => return self.extras()[place].record.clone(),
        };
        let mut writer = JsonWriter::new(false);
        self.dataset.write(slot, &mut writer, &mut Tally::default());
        let mut record: Value =
            serde_json::from_slice(&writer.into_bytes()).expect("a seeded record is valid JSON");
        if matches!(entry, Entry::Earlier(_)) && record.get("answerDebug").is_some() {
            record["answerDebug"] = Value::Array(Vec::new());
        }
        record
    }

    /// What a request is about, as far as faults are told apart by it.
    fn place(&self, ask: &Ask, body: &[u8]) -> Option<Place> {
        let (on, target, range, fragment) = match ask {
            Ask::Export { .. } => {
                let asked = ExportRequest::parse(body).ok();
                let range = asked.map(|asked| (asked.from, asked.to));
                (On::Export, format!("{range:?}"), range, None)
            }
            Ask::Job { id, .. } => {
                let job = self.jobs.find(id);
                (On::Job, id.clone(), job.map(|job| job.range), None)
            }
            Ask::Fragment { name } => {
                let linked = self.links.linked(name);
                let fragment = linked.as_ref().map(|(_, place)| *place as u32 + 1);
                let range = linked.map(|(job, _)| job.range);
                (On::Fragment, name.clone(), range, fragment)
            }
            Ask::Redirect { .. } | Ask::Unknown => return None,
        };
        Some(Place {
            on,
            range,
            fragment,
            target,
        })
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Api")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Extra {
    fn new(record: Value, otherwise_ms: i64) -> Self {
        let created_on = record
            .get("createdOn")
            .and_then(Value::as_str)
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .map(|time| time.timestamp_millis());
        let stamp = record.get("timeStampValue").and_then(Value::as_i64);
        Self {
            created_ms: created_on.or(stamp).unwrap_or(otherwise_ms),
            event: record
                .get("event")
                .and_then(Value::as_str)
                .map(str::to_owned),
            record,
            replaced: false,
        }
    }

    /// Whether both are the same record, told by `_id` and `event`.
    fn is_same(&self, other: &Self) -> bool {
        let id = self.record.get("_id");
        id.is_some() && id == other.record.get("_id") && self.event == other.event
    }
}

fn router(api: &Arc<Api>) -> Router {
    Router::new()
        .route(
            "/api/public/bot/{app}/search/analytics-export",
            any(async |State(api), Path(app), request: Request| {
                serve(api, Ask::Export { app }, request).await
            }),
        )
        .route(
            "/api/public/bot/{app}/search/jobs/{id}",
            any(async |State(api), Path((app, id)), request: Request| {
                serve(api, Ask::Job { app, id }, request).await
            }),
        )
        .route(
            "/api/getMediaStream/findly/{name}",
            any(async |State(api), Path(name), request: Request| {
                serve(api, Ask::Fragment { name }, request).await
            }),
        )
        .route(
            "/api/mediaRedirect/findly/{name}",
            any(async |State(api), Path(name), request: Request| {
                serve(api, Ask::Redirect { name }, request).await
            }),
        )
        .fallback(async |State(api): State<Arc<Api>>, request: Request| {
            serve(api, Ask::Unknown, request).await
        })
        .with_state(Arc::clone(api))
}

async fn serve(api: Arc<Api>, ask: Ask, request: Request) -> Response {
    api.seen().push(RequestSeen {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        at: api.now(),
    });
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, endpoints::REQUEST_BYTES).await;
    let body = body.map_err(|_| Answer::refusal(413, "Payload Too Large", 413));
    let sent = body.as_ref().map_or(&[][..], Bytes::as_ref);
    let met = match api.place(&ask, sent) {
        Some(place) => api.faults.next(&place),
        None => Met::default(),
    };
    wait(api.config.latency, &met).await;
    let reset = head.extensions.get::<ConnectInfo<Reset>>();
    let reset = reset.map(|info| info.0.clone()).unwrap_or_default();
    break_off(&api, &met, &reset).await;

    let bytes_per_second = match ask {
        Ask::Fragment { .. } => api.config.bytes_per_second,
        _ => None,
    };
    let pace = Pace::of(&met, reset, bytes_per_second);
    let answer = match (met.iter().find_map(endpoints::fault_answer), body) {
        (Some(answer), _) | (None, Err(answer)) => answer,
        (None, Ok(body)) => endpoints::answer(&api, ask, &head, &body, &met)
            .await
            .unwrap_or_else(|refusal: Answer| refusal),
    };
    let mut answer = answer;
    for fault in met.iter() {
        match fault {
            FaultKind::CutText { after } => answer = answer.cut(*after),
            FaultKind::ClockSkew { seconds } => {
                answer = answer.dated(Utc::now() + TimeDelta::seconds(*seconds));
            }
            FaultKind::NoAnswer { .. } => std::future::pending().await,
            _ => {}
        }
    }
    answer.send(pace)
}

/// Waits before the answer.
async fn wait(latency: Duration, met: &Met) {
    let delays = met.iter().map(|fault| match fault {
        FaultKind::Delay(delay) => *delay,
        _ => Duration::ZERO,
    });
    let delay = latency + delays.sum::<Duration>();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Ends here where nothing is to be done: the connection is gone, or nothing comes of it.
async fn break_off(api: &Api, met: &Met, reset: &Reset) {
    for fault in met.iter() {
        match fault {
            // What is answered after this reaches nobody.
            FaultKind::Reset => reset.now(),
            FaultKind::Down(time) => {
                reset.now();
                api.shutter.shut(*time);
            }
            FaultKind::NoAnswer { carried_out: false } => std::future::pending().await,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::{DataConfig, Fault, JobShape};

    /// An answer as it came over the wire.
    struct Got {
        status: u16,
        head: String,
        body: Vec<u8>,
    }

    impl Got {
        fn json(&self) -> Value {
            serde_json::from_slice(&self.body).unwrap()
        }

        fn header(&self, name: &str) -> Option<&str> {
            self.head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        }
    }

    async fn send(emulator: &Emulator, verb: &str, target: &str, auth: &str, body: &str) -> Got {
        let mut stream = TcpStream::connect(emulator.api.address).await.unwrap();
        let auth = if auth.is_empty() {
            String::new()
        } else {
            format!("auth: {auth}\r\n")
        };
        let request = format!(
            "{verb} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{auth}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // A cut connection may end in an error; what came before it counts.
        let _ = stream.read_to_end(&mut bytes).await;
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Got {
            status: head[9..12].parse().unwrap(),
            head,
            body: bytes.split_off(end + 4),
        }
    }

    fn config() -> EmulatorConfig {
        EmulatorConfig {
            app_id: "st-1".to_owned(),
            data: DataConfig {
                text_scale: 0.02,
                pool: 200,
                ..DataConfig::default()
            },
            ..EmulatorConfig::default()
        }
    }

    const EXPORT: &str = "/api/public/bot/st-1/search/analytics-export";
    const DAY: &str =
        r#"{"filters":{"from":"2025-06-24T00:00:00.000Z","to":"2025-06-25T00:00:00.000Z"}}"#;

    async fn export(emulator: &Emulator, body: &str) -> Got {
        send(emulator, "POST", EXPORT, &emulator.token(), body).await
    }

    async fn look(emulator: &Emulator, id: &str) -> Got {
        let target = format!("/api/public/bot/st-1/search/jobs/{id}");
        send(emulator, "GET", &target, &emulator.token(), "").await
    }

    /// Starts an export and looks at its job once.
    async fn job(emulator: &Emulator, body: &str) -> Value {
        let created = export(emulator, body).await;
        assert_eq!(created.status, 200);
        let id = created.json()["_id"].as_str().unwrap().to_owned();
        look(emulator, &id).await.json()
    }

    fn targets(emulator: &Emulator, job: &Value) -> Vec<String> {
        let links = job["analyticsFragments"].as_array().unwrap().iter();
        links
            .map(|fragment| target(emulator, &fragment["fileUrl"]))
            .collect()
    }

    fn target(emulator: &Emulator, link: &Value) -> String {
        let link = link.as_str().unwrap();
        link.strip_prefix(&emulator.url()).unwrap().to_owned()
    }

    async fn fetch(emulator: &Emulator, target: &str) -> Got {
        send(emulator, "GET", target, "", "").await
    }

    async fn records(emulator: &Emulator, body: &str) -> Vec<Value> {
        let job = job(emulator, body).await;
        let mut records = Vec::new();
        for target in targets(emulator, &job) {
            let mut got = fetch(emulator, &target).await.json();
            records.append(got.as_array_mut().unwrap());
        }
        assert_eq!(job["store"]["totalRecords"], records.len());
        records
    }

    fn day() -> (DateTime<Utc>, DateTime<Utc>) {
        let from = DataConfig::default().from + TimeDelta::days(1);
        (from, from + TimeDelta::days(1))
    }

    fn fault(on: On, nth: u32, times: u32, kind: FaultKind) -> Fault {
        Fault {
            nth,
            times,
            ..Fault::new(on, kind)
        }
    }

    #[tokio::test]
    async fn an_export_brings_the_records_of_its_range() {
        let emulator = Emulator::start(config()).await.unwrap();
        let (from, to) = day();
        let records = records(&emulator, DAY).await;
        assert_eq!(records.len(), 300);
        assert!(
            records
                .iter()
                .eq(&emulator.records(from, to).collect::<Vec<_>>())
        );
        assert_eq!(records[299]["createdOn"], "2025-06-24T00:00:00.000Z");
        assert_eq!(records[0]["createdOn"], "2025-06-24T23:59:59.999Z");
        let seen = emulator.requests();
        assert_eq!(seen.len(), 4);
        assert_eq!(
            (seen[0].method.as_str(), seen[0].path.as_str()),
            ("POST", EXPORT)
        );
        assert!(seen[2].path.starts_with("/api/getMediaStream/findly/f-"));
        assert!(!seen[2].path.contains('?'));
        assert_eq!(emulator.jobs_started(), 1);
    }

    #[tokio::test]
    async fn ends_are_inclusive_as_set_and_events_filter() {
        let open = EmulatorConfig {
            from_inclusive: false,
            to_inclusive: true,
            ..config()
        };
        let emulator = Emulator::start(open).await.unwrap();
        let all = records(&emulator, DAY).await;
        assert_eq!(all[0]["createdOn"], "2025-06-25T00:00:00.000Z");
        assert_ne!(all[299]["createdOn"], "2025-06-24T00:00:00.000Z");
        let body = DAY.replace("}}", r#"},"event":"thumbsDown"}"#);
        let down = records(&emulator, &body).await;
        assert!(!down.is_empty());
        assert!(down.iter().all(|record| record["event"] == "thumbsDown"));
        let count = all.iter().filter(|record| record["event"] == "thumbsDown");
        assert_eq!(down.len(), count.count());
    }

    #[tokio::test]
    async fn hand_made_records_stand_in_their_place() {
        let extra = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let mut with_extras = config();
        with_extras.data.records_per_day = 2;
        with_extras.extra_records = vec![
            extra(r#"{"_id":"b","createdOn":"2025-06-24T12:00:00.000Z"}"#),
            extra(r#"{"_id":"c","timeStampValue":1750766401000,"event":"thumbsUp"}"#),
            extra("17"),
        ];
        let emulator = Emulator::start(with_extras).await.unwrap();
        let records = records(&emulator, DAY).await;
        assert_eq!(records.len(), 4);
        assert_eq!(
            (&records[1]["_id"], &records[2]["_id"]),
            (&"c".into(), &"b".into())
        );
        let first = DataConfig::default().from;
        let earliest: Vec<Value> = emulator
            .records(first, first + TimeDelta::milliseconds(1))
            .collect();
        assert_eq!(earliest[0], 17);
    }

    #[tokio::test]
    async fn records_added_later_show_in_later_jobs_only() {
        let mut with_extras = config();
        with_extras.data.records_per_day = 0;
        let record = |tag: &str| serde_json::json!({"_id": "a", "event": "thumbsUp", "createdOn": "2025-06-24T12:00:00.000Z", "tag": tag});
        with_extras.extra_records = vec![record("first")];
        let emulator = Emulator::start(with_extras).await.unwrap();
        let before = job(&emulator, DAY).await;
        emulator.add_record(record("second"));
        let target = &targets(&emulator, &before)[0];
        let got = fetch(&emulator, target).await.json();
        assert_eq!(got, Value::from(vec![record("first")]));
        assert_eq!(records(&emulator, DAY).await, [record("second")]);
    }

    #[tokio::test]
    async fn refuses_wrong_callers_verbs_and_jobs() {
        let emulator = Emulator::start(config()).await.unwrap();
        let token = emulator.token();
        let credentials = r#"{"errors":[{"msg":"Invalid SDK credentials","code":4002}]}"#;
        let other_app = EXPORT.replace("st-1", "st-2");
        for (verb, target, auth, status, body) in [
            ("POST", EXPORT, "", 401, credentials),
            ("POST", &other_app, &token, 401, credentials),
            (
                "POST",
                EXPORT,
                "x.y.z",
                401,
                r#"{"errors":[{"msg":"Invalid JWT token","code":4002}]}"#,
            ),
            (
                "GET",
                EXPORT,
                &token,
                405,
                r#"{"errors":[{"msg":"Method Not Allowed","code":405}]}"#,
            ),
            (
                "GET",
                "/api/public/bot/st-1/search/jobs/fj-0",
                &token,
                404,
                r#"{"errors":[{"msg":"Job not found","code":404}]}"#,
            ),
            (
                "GET",
                "/elsewhere",
                &token,
                404,
                r#"{"errors":[{"msg":"Not Found","code":404}]}"#,
            ),
        ] {
            let got = send(&emulator, verb, target, auth, DAY).await;
            assert_eq!((got.status, got.body.as_slice()), (status, body.as_bytes()));
        }
        assert_eq!(export(&emulator, "{}").await.status, 412);
        assert_eq!(emulator.jobs_started(), 0);
    }

    #[tokio::test]
    async fn a_link_is_for_its_own_bytes_and_for_no_token() {
        let emulator = Emulator::start(config()).await.unwrap();
        let job = job(&emulator, DAY).await;
        let target = &targets(&emulator, &job)[0];
        let got = fetch(&emulator, target).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.header("content-type"), Some("application/octet-stream"));
        let encoded = target.replace("$$", "%24%24");
        assert_eq!(fetch(&emulator, &encoded).await.status, 401);
        let token = emulator.token();
        assert_eq!(send(&emulator, "GET", target, &token, "").await.status, 400);
        assert_eq!(send(&emulator, "HEAD", target, "", "").await.status, 405);
    }

    #[tokio::test]
    async fn bodies_come_compressed_marked_and_through_a_redirect() {
        let dressed = EmulatorConfig {
            gzip: true,
            bom: true,
            redirect_links: true,
            shape: JobShape::Legacy,
            ..config()
        };
        let emulator = Emulator::start(dressed).await.unwrap();
        let job = job(&emulator, DAY).await;
        let moved = fetch(&emulator, &target(&emulator, &job["fileInfo"]["fileUrl"])).await;
        assert_eq!(moved.status, 302);
        let location = Value::from(moved.header("location").unwrap());
        let got = fetch(&emulator, &target(&emulator, &location)).await;
        assert_eq!(got.header("content-encoding"), Some("gzip"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(got.body.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        let records: Vec<Value> =
            serde_json::from_str(text.strip_prefix('\u{feff}').unwrap()).unwrap();
        assert_eq!(records.len(), 300);
    }

    #[tokio::test]
    async fn faults_of_answers_fire_as_scripted() {
        let rate_limit = FaultKind::RateLimit {
            retry_after: Some(7),
        };
        let faulty = EmulatorConfig {
            faults: vec![
                fault(On::Export, 0, 1, FaultKind::Status(503, "{}".to_owned())),
                fault(On::Export, 1, 1, rate_limit),
                fault(On::Export, 2, 1, FaultKind::RateLimitText),
                fault(On::Export, 3, 1, FaultKind::Html),
                fault(On::Job, 0, 1, FaultKind::WrongRecordCount),
                fault(On::Job, 1, 1, FaultKind::JobFailed("FAILED".to_owned())),
                fault(On::Job, 2, 1, FaultKind::JobTimedOut),
                fault(On::Job, 3, 1, FaultKind::WrongFileCount),
                fault(On::Job, 4, 1, FaultKind::WrongTotal),
                fault(
                    On::Export,
                    5,
                    1,
                    FaultKind::JobFailed("INPROGRESS".to_owned()),
                ),
            ],
            ..config()
        };
        let emulator = Emulator::start(faulty).await.unwrap();
        assert_eq!(export(&emulator, DAY).await.status, 503);
        let limited = export(&emulator, DAY).await;
        assert_eq!(
            (limited.status, limited.header("retry-after")),
            (429, Some("7"))
        );
        let limited = export(&emulator, DAY).await;
        assert_eq!(limited.status, 200);
        assert!(
            limited.json()["errors"][0]["msg"]
                .as_str()
                .unwrap()
                .contains("rate limit")
        );
        assert!(
            export(&emulator, DAY)
                .await
                .body
                .starts_with(b"<!DOCTYPE html>")
        );
        assert_eq!(emulator.jobs_started(), 0);

        let id = export(&emulator, DAY).await.json()["_id"].clone();
        let id = id.as_str().unwrap();
        let wrong = look(&emulator, id).await.json();
        assert_eq!(wrong["store"]["totalRecords"], 301);
        assert_eq!(wrong["analyticsFragments"][0]["recordCount"], 150);
        assert_eq!(wrong["analyticsFragments"][1]["recordCount"], 151);
        assert_eq!(look(&emulator, id).await.json()["status"], "FAILED");
        assert_eq!(look(&emulator, id).await.json()["timedOut"], true);
        assert_eq!(look(&emulator, id).await.json()["store"]["totalFiles"], 3);
        let wrong = look(&emulator, id).await.json();
        assert_eq!(wrong["store"]["totalRecords"], 301);
        assert_eq!(wrong["analyticsFragments"][1]["recordCount"], 150);
        assert_eq!(look(&emulator, id).await.json()["status"], "SUCCESS");
        let stuck = job(&emulator, DAY).await;
        assert_eq!(
            (&stuck["status"], &stuck["percentageDone"]),
            (&"INPROGRESS".into(), &0.into())
        );
    }

    #[tokio::test]
    async fn faults_of_fragments_fire_as_scripted() {
        let faulty = EmulatorConfig {
            faults: vec![
                fault(On::Fragment, 0, 1, FaultKind::CutBody { after: 1_000 }),
                fault(On::Fragment, 1, 1, FaultKind::ExpiredLink),
                fault(On::Fragment, 2, 1, FaultKind::WrongRecordCount),
                fault(On::Fragment, 3, 1, FaultKind::CutBody { after: 0 }),
                fault(On::Fragment, 4, 1, FaultKind::CutText { after: 900 }),
            ],
            ..config()
        };
        let emulator = Emulator::start(faulty).await.unwrap();
        let target = targets(&emulator, &job(&emulator, DAY).await).remove(0);
        let cut = fetch(&emulator, &target).await;
        assert_eq!((cut.status, cut.body.len()), (200, 1_000));
        let promised: usize = cut.header("content-length").unwrap().parse().unwrap();
        assert_eq!(fetch(&emulator, &target).await.status, 403);
        let short = fetch(&emulator, &target).await.json();
        assert_eq!(short.as_array().unwrap().len(), 149);
        assert_eq!(fetch(&emulator, &target).await.body.len(), 0);
        let cut = fetch(&emulator, &target).await;
        assert_eq!(
            (cut.header("content-length"), cut.body.len()),
            (Some("900"), 900)
        );
        let whole = fetch(&emulator, &target).await;
        assert_eq!(whole.body.len(), promised);
        assert_eq!(whole.json().as_array().unwrap().len(), 150);
    }

    #[tokio::test]
    async fn a_job_can_repeat_a_record_and_skip_the_next() {
        let faulty = EmulatorConfig {
            faults: vec![fault(On::Export, 0, 1, FaultKind::RepeatRecord)],
            ..config()
        };
        let emulator = Emulator::start(faulty).await.unwrap();
        let torn = records(&emulator, DAY).await;
        let whole = records(&emulator, DAY).await;
        assert_eq!((torn.len(), whole.len()), (300, 300));
        assert_eq!(torn[150], whole[149]);
        let places: Vec<usize> = (0..300).filter(|&i| torn[i] != whole[i]).collect();
        assert_eq!(places, [150]);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_wait_and_bodies_flow_at_their_pace() {
        let slow = EmulatorConfig {
            latency: Duration::from_secs(2),
            bytes_per_second: Some(100_000),
            ..config()
        };
        let emulator = Emulator::start(slow).await.unwrap();
        let start = Instant::now();
        let job = job(&emulator, DAY).await;
        assert!(start.elapsed() >= Duration::from_secs(4));
        let target = &targets(&emulator, &job)[0];
        let start = Instant::now();
        let got = fetch(&emulator, target).await;
        let least = Duration::from_secs_f64(got.body.len() as f64 / 100_000.0 - 0.1);
        assert!(start.elapsed() >= least + Duration::from_secs(2));
        let seen = emulator.requests();
        assert!(seen[1].at - seen[0].at >= TimeDelta::seconds(2));
    }

    #[tokio::test]
    async fn the_server_ends_with_the_emulator() {
        let emulator = Emulator::start(config()).await.unwrap();
        let address = emulator.api.address;
        drop(emulator);
        // The listener goes as soon as the server has had its turns.
        for _ in 0..1_000 {
            if TcpStream::connect(address).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the server still listens");
    }
}
