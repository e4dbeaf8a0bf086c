//! What a user or a source does wrong: each mistake has its exit code, says what is wrong, where, and what to do, says
//! whether trying again may help, and leaves the lake as it was.
//!
//! `cargo test --test tests behaviour::bad_input -- --nocapture` prints them as a table.

use answerlake_emulator::{Fault, FaultKind, On};

use crate::support::{Certificate, Place, Program, Relay, Setup, closed_port, repository, setup};

/// A command line that fails, and how it must tell.
struct Mistake {
    what: &'static str,
    program: Program,
    code: i32,
    retryable: bool,
    /// What the error or the hint says, among other things.
    says: Vec<String>,
}

fn mistake(
    what: &'static str,
    program: Program,
    (code, retryable): (i32, bool),
    says: &[&str],
) -> Mistake {
    Mistake {
        what,
        program,
        code,
        retryable,
        says: says.iter().map(|&part| part.to_owned()).collect(),
    }
}

/// Fails for good until somebody does something about it, with this code.
fn for_good(code: i32) -> (i32, bool) {
    (code, false)
}

/// May pass by itself; this code.
fn for_now(code: i32) -> (i32, bool) {
    (code, true)
}

impl Mistake {
    /// Runs it, checks what it tells, and prints it as a row of a table.
    #[expect(clippy::print_stdout, reason = "for whoever wants to see the table")]
    #[track_caller]
    fn check(&self) {
        let failure = self.program.fails(self.code);
        for part in &self.says {
            failure.assert_says(&[part]);
        }
        assert_eq!(
            failure.retryable, self.retryable,
            "{}: {failure:?}",
            self.what
        );
        let hint = match failure.hint.as_str() {
            "" => String::new(),
            hint => format!(" — {hint}"),
        };
        println!(
            "| {} | {}{hint} | {} | {} |",
            self.what, failure.error, self.code, self.retryable
        );
    }
}

/// A source at which this goes wrong each time.
fn with_fault(on: On, kind: FaultKind) -> Setup {
    setup("fault", |config| {
        config.faults = vec![Fault {
            times: u32::MAX,
            ..Fault::new(on, kind)
        }];
    })
}

/// One day, one try.
fn run_once(setup: &Setup) -> Program {
    setup
        .run()
        .without("--from")
        .without("--to")
        .with("--date", "2025-06-24")
        .with("--retries", "0")
}

#[track_caller]
fn assert_nothing_came(setup: &Setup) {
    assert!(setup.lake().newest().is_empty());
    assert!(setup.lake().data_files().is_empty());
    let staged = setup.lake().files_below("_answerlake/staging/");
    assert!(staged.is_empty(), "{staged:?}");
    setup.place.assert_scratch_is_empty();
}

#[test]
fn a_source_that_refuses() {
    let setup = setup("refused", |_| {});
    let scopes = ["`Answer Insights`", "`Answer Generation`"];
    for mistake in [
        mistake(
            "bad token",
            setup.run().with_token("no.such.token"),
            for_good(4),
            &scopes,
        ),
        mistake(
            "wrong client secret",
            setup
                .run()
                .environment("ANSWERLAKE_CLIENT_SECRET", "another"),
            for_good(4),
            &scopes,
        ),
        mistake(
            "wrong client id",
            setup
                .run()
                .environment("ANSWERLAKE_CLIENT_ID", "cs-another"),
            for_good(4),
            &scopes,
        ),
        mistake(
            "unknown app",
            setup.run().with("--app-id", "st-another"),
            for_good(4),
            &["app id `st-another`"],
        ),
    ] {
        mistake.check();
    }
    assert_nothing_came(&setup);
    assert_eq!(setup.source.emulator().jobs_started(), 0);

    // The token is good for the export, and not for asking after it.
    let refusal = r#"{"errors":[{"msg":"Permission denied. Scope is incorrect!","code":4002}]}"#;
    for on in [On::Export, On::Job] {
        let setup = with_fault(on, FaultKind::Status(401, refusal.to_owned()));
        let what = if on == On::Export {
            "wrong scope, on the export"
        } else {
            "wrong scope, on the job"
        };
        let says = [
            "status 401: Permission denied. Scope is incorrect!",
            scopes[0],
            scopes[1],
        ];
        mistake(what, run_once(&setup), for_good(4), &says).check();
        assert_nothing_came(&setup);
    }
}

#[test]
fn a_source_that_is_not_there() {
    let setup = setup("not-there", |_| {});
    let source = setup.source.emulator().url();
    let run = |host: &str| run_once(&setup).with("--host", host);
    let closed = format!("http://127.0.0.1:{}", closed_port());
    let certificate = Certificate::new(&["localhost"]);
    let server = Relay::tls(&certificate, &source);
    let untrusted = server.address().replace("127.0.0.1", "https://localhost");
    let proxy = format!("http://user:hush@127.0.0.1:{}", closed_port());
    for mistake in [
        mistake(
            "no server",
            run(&closed),
            for_now(5),
            &["no connection to", &closed, "Connection refused"],
        ),
        mistake(
            "no such name",
            run("https://nowhere.invalid"),
            for_now(5),
            &["no connection to `https://nowhere.invalid`", "dns error"],
        ),
        mistake(
            "https:// of a server without TLS",
            run(&source.replace("http:", "https:")),
            for_good(5),
            &["speaks no TLS", "`http://`"],
        ),
        mistake(
            "a certificate that is not trusted",
            run(&untrusted),
            for_good(5),
            &[&untrusted, "not trusted", "`http.ca_file`", "`--ca-file`"],
        ),
        mistake(
            "no proxy",
            run("https://source.invalid").with("--proxy", &proxy),
            for_now(5),
            &[
                "the proxy `http://127.0.0.1:",
                "failed, before `https://source.invalid` was asked",
            ],
        ),
    ] {
        mistake.check();
    }
    assert_nothing_came(&setup);
}

#[test]
fn a_source_that_fails() {
    let broken = || {
        FaultKind::Status(
            500,
            r#"{"errors":[{"msg":"no luck","code":500}]}"#.to_owned(),
        )
    };
    let busy = || FaultKind::Status(503, String::new());
    let failed = |status: &str| FaultKind::JobFailed(status.to_owned());
    let cases: [(&str, On, FaultKind, &[&str]); 14] = [
        (
            "503 on each export",
            On::Export,
            busy(),
            &["gave up after 1 attempts", "status 503"],
        ),
        (
            "500 on each download",
            On::Fragment,
            broken(),
            &["fetching fragment 1", "status 500: no luck"],
        ),
        (
            "a job that fails",
            On::Export,
            failed("FAILED"),
            &["failed with status `FAILED`"],
        ),
        (
            "a job that is cancelled",
            On::Export,
            failed("CANCELLED"),
            &["failed with status `CANCELLED`"],
        ),
        (
            "a job that stalls",
            On::Export,
            failed("INPROGRESS"),
            &["stalled: still `INPROGRESS` at 0%"],
        ),
        (
            "a job that timed out",
            On::Export,
            FaultKind::JobTimedOut,
            &["`INPROGRESS, timed out`"],
        ),
        (
            "a web page for a job",
            On::Job,
            FaultKind::Html,
            &["the answer cannot be read", "got a web page"],
        ),
        (
            "a web page for a fragment",
            On::Fragment,
            FaultKind::Html,
            &["fragment 1 of job `", "HTML page"],
        ),
        (
            "a link that has expired",
            On::Fragment,
            FaultKind::ExpiredLink,
            &["the link is not honoured", "expired"],
        ),
        (
            "a download cut short",
            On::Fragment,
            FaultKind::CutBody { after: 1_000 },
            &["fetching fragment 1", "broke off"],
        ),
        (
            "cut JSON",
            On::Fragment,
            FaultKind::CutText { after: 1_000 },
            &["fragment 1 of job `", "cut short", "run again"],
        ),
        (
            "wrong recordCount",
            On::Job,
            FaultKind::WrongRecordCount,
            &["fragment 2 of job `", "expected 13 records, got 12"],
        ),
        (
            "wrong totalFiles",
            On::Job,
            FaultKind::WrongFileCount,
            &["promises 3 fragments and lists 2"],
        ),
        (
            "wrong totalRecords",
            On::Job,
            FaultKind::WrongTotal,
            &["promises 33 records", "hold 32"],
        ),
    ];
    for (what, on, kind, says) in cases {
        let setup = with_fault(on, kind);
        let program = run_once(&setup).with("--stall", "200ms");
        mistake(what, program, for_now(5), says).check();
        assert_nothing_came(&setup);
    }
}

#[test]
fn settings_that_cannot_work() {
    let setup = setup("settings", |_| {});
    let run = || setup.run();
    let file =
        |name: &str, content: &str| setup.run().arguments(&[&setup.place.write(name, content)]);
    let variable = |name: &str, value: &str| setup.run().environment(name, value);
    let zone = "2025-06-24T00:00:00Z";
    let token = setup.source.emulator().token();
    let pem = setup.place.write(
        "bad.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let no_pem = setup.place.write("no.pem", "a certificate");
    let credentials = "https://user:hush@:99999";
    for mistake in [
        mistake(
            "unknown key",
            file("key.toml", "[lake]\nulr = \"./lake\"\n"),
            for_good(2),
            &["key.toml`, line 2: unknown field `ulr`"],
        ),
        mistake(
            "unknown table",
            file("table.toml", "[lakes]\n"),
            for_good(2),
            &["table.toml`, line 1: unknown field `lakes`"],
        ),
        mistake(
            "no TOML",
            file("broken.toml", "\n[lake\n"),
            for_good(2),
            &["broken.toml`, line 2"],
        ),
        mistake(
            "a duration that is none, in the file",
            file("duration.toml", "[window]\nlag = \"soon\"\n"),
            for_good(2),
            &["duration.toml`, line 2: expected a duration", "got `soon`"],
        ),
        mistake(
            "a duration that is none, as a flag",
            run().with("--poll-min", "soon"),
            for_good(2),
            &["--poll-min: expected a duration"],
        ),
        mistake(
            "a duration that is none, as a variable",
            variable("ANSWERLAKE_STALL", "soon"),
            for_good(2),
            &["ANSWERLAKE_STALL: expected a duration"],
        ),
        mistake(
            "a word that is none, as a variable",
            variable("ANSWERLAKE_GRAIN", "week"),
            for_good(2),
            &["ANSWERLAKE_GRAIN: expected `day` or `hour`, got `week`"],
        ),
        mistake(
            "no pipeline file",
            run().arguments(&["/no/such/file.toml"]),
            for_good(2),
            &["cannot read `/no/such/file.toml`"],
        ),
        mistake(
            "a folder for a pipeline file",
            run().arguments(&["/"]),
            for_good(2),
            &["cannot read `/`"],
        ),
        mistake(
            "a host without scheme",
            run().with("--host", "platform.kore.ai"),
            for_good(2),
            &["`source.host`, given as --host", "https://platform.kore.ai"],
        ),
        mistake(
            "a host of another scheme",
            run().with("--host", "ftp://platform.kore.ai"),
            for_good(2),
            &["`source.host`, given as --host", "`http` or `https`"],
        ),
        mistake(
            "a host with a password",
            run().with("--host", credentials),
            for_good(2),
            &["`source.host`, given as --host", "…@:99999"],
        ),
        mistake(
            "a proxy of another scheme",
            run().with("--proxy", "socks5://proxy"),
            for_good(2),
            &["`http.proxy`, given as --proxy", "got `socks5:`"],
        ),
        mistake(
            "a proxy that is none",
            run().with("--proxy", credentials),
            for_good(2),
            &["--proxy: expected a URL", "…@:99999"],
        ),
        mistake(
            "two ways to authenticate",
            run().environment("ANSWERLAKE_TOKEN", &token),
            for_good(2),
            &[
                "two ways to authenticate",
                "ANSWERLAKE_TOKEN and ANSWERLAKE_CLIENT_SECRET",
                "keep one",
            ],
        ),
        mistake(
            "two ways to authenticate, in the file",
            file(
                "auth.toml",
                "[auth]\ntoken_file = \"a\"\nclient_secret_env = \"B\"\n",
            ),
            for_good(2),
            &["auth.token_file and auth.client_secret_env"],
        ),
        mistake(
            "no way to authenticate",
            run().without_environment("ANSWERLAKE_CLIENT_SECRET"),
            for_good(2),
            &["no way to authenticate: set ANSWERLAKE_TOKEN"],
        ),
        mistake(
            "no token file",
            run().with("--token-file", "/no/such/token"),
            for_good(2),
            &["/no/such/token"],
        ),
        mistake(
            "no file of certificates",
            run().with("--ca-file", "/no/such.pem"),
            for_good(2),
            &["`http.ca_file` (`/no/such.pem`)", "No such file"],
        ),
        mistake(
            "a file of no certificates",
            run().with("--ca-file", &no_pem),
            for_good(2),
            &["no.pem", "holds no certificate"],
        ),
        mistake(
            "a certificate that is none",
            run().with("--ca-file", &pem),
            for_good(2),
            &["bad.pem"],
        ),
        mistake(
            "`from` after `to`",
            run().with("--from", zone).with("--to", "2025-06-23"),
            for_good(2),
            &["2025-06-24"],
        ),
        mistake(
            "equal ends",
            run().with("--from", zone).with("--to", zone),
            for_good(2),
            &["@daily", "--date"],
        ),
        mistake(
            "windows over the limit",
            run().with("--window", "7d"),
            for_good(2),
            &["`window.size`, given as --window: expected 1h to 6d"],
        ),
        mistake(
            "windows over the limit, as a variable",
            variable("ANSWERLAKE_WINDOW", "7d"),
            for_good(2),
            &["`window.size`, given as ANSWERLAKE_WINDOW"],
        ),
        mistake(
            "no app",
            run().without("--app-id"),
            for_good(2),
            &["`source.app_id` is missing", "`--app-id`"],
        ),
        mistake(
            "an app that is none",
            run().with("--app-id", "../../etc"),
            for_good(2),
            &["--app-id: `../../etc` is no app id"],
        ),
        mistake(
            "no host",
            run().without("--host"),
            for_good(2),
            &["`source.host` is missing"],
        ),
        mistake(
            "no lake",
            run().without("--lake"),
            for_good(2),
            &["`lake.url` is missing"],
        ),
        mistake(
            "an empty lake",
            run().with("--lake", ""),
            for_good(2),
            &["`lake.url` is missing"],
        ),
        mistake(
            "a lake of another kind",
            run().with("--lake", "gs://bucket"),
            for_good(2),
            &["lake `gs://bucket`: expected a path, `file://`, `s3://`"],
        ),
        mistake(
            "no start",
            run().without("--from").without("--to"),
            for_good(2),
            &["window.start"],
        ),
        mistake(
            "too little memory",
            variable("ANSWERLAKE_MEMORY", "1MiB"),
            for_good(2),
            &["`run.memory`, given as ANSWERLAKE_MEMORY: expected at least 192MiB"],
        ),
        mistake(
            "no threads",
            run().with("--threads", "0"),
            for_good(2),
            &["`run.threads`, given as --threads: expected 1 to 1024"],
        ),
        mistake(
            "a billion threads",
            run().with("--threads", "999999999"),
            for_good(2),
            &["expected 1 to 1024"],
        ),
        mistake(
            "no jobs at once",
            run().with("--jobs-concurrency", "0"),
            for_good(2),
            &["`jobs.concurrency`, given as --jobs-concurrency: expected at least 1, got 0"],
        ),
        mistake(
            "too many jobs at once",
            run().with("--jobs-concurrency", "9999999999999999999"),
            for_good(2),
            &["expected at most 1000"],
        ),
        mistake(
            "an unknown codec",
            run().with("--compression", "brotli"),
            for_good(2),
            &["--compression: expected `zstd` or `snappy`, got `brotli`"],
        ),
    ] {
        mistake.check();
    }
    for shown in [
        run().with("--host", credentials),
        run().with("--proxy", credentials),
    ] {
        let outcome = shown.with("--log", "trace").ends(2);
        assert!(!format!("{outcome:?}").contains("hush"), "{outcome:?}");
    }
    // Arguments that are none at all.
    for arguments in [
        "run --no-such-flag",
        "run --from yesterday",
        "run --date 2025-06-24 --from 2025-06-24",
        "no-such-command",
        "",
    ] {
        let outcome = setup.place.program(arguments).ends(2);
        assert!(!outcome.stderr.is_empty());
    }
    assert!(setup.lake().files().is_empty());
    assert!(setup.source.emulator().requests().is_empty());
}

#[test]
fn a_lake_or_scratch_that_cannot_be() {
    let setup = setup("folders", |_| {});
    let in_place = setup.place.write("file", "a file in the folder's place");
    let below = format!("{in_place}/lake");
    for mistake in [
        mistake(
            "a file in the lake's place",
            setup.run().with("--lake", &in_place),
            for_good(6),
            &[&in_place, "--lake"],
        ),
        mistake(
            "a file in the place of the lake's parent",
            setup.run().with("--lake", &below),
            for_good(6),
            &[&below, "Not a directory"],
        ),
        mistake(
            "a lake where nothing can be made",
            setup.run().with("--lake", "/proc/lake"),
            for_good(6),
            &["lake `/proc/lake` cannot be opened", "--lake"],
        ),
        mistake(
            "no scratch",
            setup.run().with("--scratch", "/no/such/folder"),
            for_good(2),
            &["scratch `/no/such/folder`", "--scratch"],
        ),
        mistake(
            "a file in the place of scratch",
            setup.run().with("--scratch", &in_place),
            for_good(2),
            &["scratch", &in_place, "Not a directory"],
        ),
        mistake(
            "TMPDIR that is not there",
            setup
                .run()
                .without("--scratch")
                .environment("TMPDIR", "/no/such/folder"),
            for_good(2),
            &["scratch `/no/such/folder`", "TMPDIR"],
        ),
    ] {
        mistake.check();
    }
    assert_eq!(setup.source.emulator().jobs_started(), 0);
    assert_nothing_came(&setup);
}

#[test]
fn a_lake_pinned_otherwise() {
    let setup = setup("pinned", |_| {});
    setup.run().result();
    let before = setup.lake().stamps();
    let jobs = setup.source.emulator().jobs_started();
    for mistake in [
        mistake(
            "a lake of another grain",
            setup.run().with("--grain", "hour"),
            for_good(2),
            &[
                "`grain`: lake has `day`, run asks `hour`",
                "use the lake's settings",
            ],
        ),
        mistake(
            "a lake of other prompts",
            setup.run().with("--prompt", "text"),
            for_good(2),
            &["`prompt`: lake has `parts`, run asks `text`"],
        ),
        mistake(
            "a lake of all events",
            setup.run().with("--event", "thumbsUp"),
            for_good(2),
            &["`event`: lake has nothing, run asks `thumbsUp`"],
        ),
    ] {
        mistake.check();
    }
    assert_eq!(setup.lake().stamps(), before);
    assert_eq!(setup.source.emulator().jobs_started(), jobs);
    // What does not change what a lake means may change.
    setup.run().with("--compression", "snappy").result();
}

#[test]
fn files_that_are_no_fragments() {
    let place = Place::new("no-fragments");
    let whole = std::fs::read_to_string(repository("tests/fixtures/export.json")).unwrap();
    let half = whole.len() / 2;
    let cut = (0..=half)
        .rev()
        .find(|&at| whole.is_char_boundary(at))
        .unwrap();
    let gzipped = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let ingest = |name: &str, content: &[u8]| place.ingest(&[&place.write(name, content)]);
    let open = whole.trim_end().strip_suffix(']').unwrap();
    std::fs::create_dir(place.path("folder.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path("link.json")).unwrap();
    let pattern = |pattern: &str| place.ingest(&[place.path(pattern).to_str().unwrap()]);
    for mistake in [
        mistake(
            "a web page",
            ingest(
                "page.json",
                b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
            ),
            for_good(5),
            &["page.json", "no export"],
        ),
        mistake(
            "cut JSON",
            ingest("cut.json", &whole.as_bytes()[..cut]),
            for_good(5),
            &["cut.json", "cut short"],
        ),
        mistake(
            "JSON without its bracket",
            ingest("open.json", open.as_bytes()),
            for_good(5),
            &["open.json", "cut short"],
        ),
        mistake(
            "cut gzip",
            ingest("cut.json.gz", &gzipped(&whole)[..900]),
            for_good(5),
            &["cut.json.gz", "cut short or damaged"],
        ),
        mistake(
            "two arrays",
            ingest("twice.json", format!("{whole}{whole}").as_bytes()),
            for_good(5),
            &["twice.json", "goes on after"],
        ),
        mistake(
            "an empty file",
            ingest("empty.json", b""),
            for_good(5),
            &["empty.json", "expected a JSON array"],
        ),
        mistake(
            "blanks",
            ingest("blank.json", b" \n "),
            for_good(5),
            &["blank.json", "expected a JSON array"],
        ),
        mistake(
            "no records",
            ingest("numbers.json", b"[1, 2, 3]"),
            for_good(5),
            &["none of 3 records can be loaded", "dead letters"],
        ),
        mistake(
            "nothing that matches",
            pattern("nothing-*.json"),
            for_good(2),
            &["nothing-*.json`: expected a fragment"],
        ),
        mistake(
            "a pattern that is none",
            pattern("[a-.json"),
            for_good(2),
            &["[a-.json` is no pattern"],
        ),
        mistake(
            "a folder without fragments",
            pattern("folder.json"),
            for_good(2),
            &["folder.json`: expected a fragment"],
        ),
        mistake(
            "a pattern that matches a link to nowhere",
            pattern("l*.json"),
            for_good(2),
            &["cannot read", "link.json", "No such file"],
        ),
        mistake(
            "a file that cannot be read",
            place.ingest(&["/proc/self/mem"]),
            for_good(2),
            &["cannot read `/proc/self/mem`"],
        ),
    ] {
        mistake.check();
    }
    // A good fragment beside a bad one is not committed either.
    let good = place.write("good.json", &whole);
    place
        .ingest(&[&good, place.path("cut.json").to_str().unwrap()])
        .fails(5);
    assert!(place.lake().newest().is_empty());
    assert!(place.lake().data_files().is_empty());
    place.lake().assert_whole();
    place.assert_scratch_is_empty();

    // These are fragments, whatever they look like.
    let dressed = gzipped(&format!("\u{feff}{whole}"));
    let twice = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &dressed).unwrap();
        encoder.finish().unwrap()
    };
    let lake = place.lake_named("dressed");
    ingest("twice.json.gz", &twice).into_lake(&lake).result();
    ingest("nothing.json", b"[]").into_lake(&lake).result();
    let plain = place.lake_named("plain");
    place.ingest(&[&good]).into_lake(&plain).result();
    assert_eq!(lake.data_files(), plain.data_files());
}

#[test]
fn a_ready_token_is_as_good() {
    let setup = setup("ready", |_| {});
    let token = setup.source.emulator().token();
    let file = setup.place.write("token", format!("{token}\n"));
    assert_eq!(setup.run().with_token(&token).result()["status"], "ok");
    let by_file = setup
        .run()
        .without_environment("ANSWERLAKE_CLIENT_ID")
        .without_environment("ANSWERLAKE_CLIENT_SECRET")
        .with("--token-file", &file)
        .into_lake(&setup.place.lake_named("by-file"))
        .result();
    assert_eq!(by_file["status"], "ok");
}

#[test]
fn a_failure_at_night_is_told_in_full_to_people_too() {
    let setup = setup("human", |config| {
        config.faults = vec![Fault {
            day: Some("2025-06-23".parse().unwrap()),
            times: u32::MAX,
            ..Fault::new(On::Export, FaultKind::JobFailed("FAILED".to_owned()))
        }];
    });
    let outcome = setup
        .run()
        .with("--output", "human")
        .with("--jobs-concurrency", "1")
        .ends(3);
    assert!(
        outcome.stdout.contains("some partitions failed"),
        "{}",
        outcome.stdout
    );
    assert!(outcome.stdout.contains("2025-06-23"), "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("failed with status `FAILED`"),
        "{}",
        outcome.stdout
    );
}
