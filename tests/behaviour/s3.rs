//! A lake on S3.

use serde_json::json;

use crate::support::{
    Bucket, Certificate, Fate, NOTHING_LISTED, Place, Program, Relay, S3Proxy, closed_port,
    error_body, repository, setup, truth,
};

fn restored(program: &Program) -> Vec<serde_json::Value> {
    let outcome = program.ends(0);
    let lines = outcome.stdout.lines();
    let mut records: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    records.sort_by_key(ToString::to_string);
    records
}

#[test]
fn a_lake_on_s3_is_the_one_on_disk() {
    let setup = setup("s3", |_| {});
    let place = &setup.place;
    setup.run().result();
    let bucket = Bucket::new();
    let command = |name: &str| bucket.of(place.program(name));

    let result = bucket.of(setup.run()).result();
    assert_eq!(result["status"], "ok", "{result}");
    let lake = bucket.copy(place, "after-run");
    lake.assert_whole();
    truth::assert_holds(&lake, &setup.source.records());
    assert_eq!(lake.data_files(), setup.lake().data_files());

    // Again: nothing is read, nothing is written; by force: it is the same.
    assert_eq!(bucket.of(setup.run()).result()["status"], "nothing_to_do");
    let forced = bucket.of(setup.run().arguments(&["--force"])).result();
    for partition in forced["partitions"].as_array().unwrap() {
        assert_eq!(partition["state"], "unchanged", "{forced}");
    }
    assert_eq!(bucket.copy(place, "after-force").files(), lake.files());

    // What lies before is skipped by the store.
    let relay = Relay::proxy(&bucket.endpoint());
    command("plan --output json --lookback 0s --from 2025-06-25 --to 2025-06-26")
        .with("--app-id", &setup.source.config().app_id)
        .environment("AWS_ENDPOINT_URL", &format!("http://{}", relay.address()))
        .ends(0);
    assert!(relay.seen().contains("&start-after="), "{}", relay.seen());

    let shown = command("status --output json").ends(0).json();
    let committed = &shown["apps"][0]["counts"]["committed"];
    assert_eq!(*committed, setup.source.days().len(), "{shown}");
    let mut records = setup.source.records();
    records.sort_by_key(ToString::to_string);
    assert_eq!(restored(&command("restore")), records);
    let verified = command("verify --deep --output json").ends(0).json();
    assert_eq!(verified["status"], "ok", "{verified}");
    let recovered = command("recover --output json").ends(0).json();
    assert_eq!(recovered["rolled_forward"], json!([]), "{recovered}");

    let object = format!("{}/restored.ndjson", bucket.url());
    let written = command("restore --output json").with("--out", &object);
    assert_eq!(written.ends(0).json()["records"], records.len());
    let copy = bucket.copy(place, "after-restore");
    let text = std::fs::read_to_string(copy.path("restored.ndjson")).unwrap();
    assert_eq!(text.lines().count(), records.len());
    place.assert_scratch_is_empty();
}

#[test]
fn fragments_at_hand_come_to_s3() {
    let place = Place::new("s3-ingest");
    let bucket = Bucket::new();
    let text = std::fs::read_to_string(repository("tests/fixtures/export.json")).unwrap();
    let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let file = place.write("export.json", &text);
    bucket.of(place.ingest(&[&file])).result();
    let again = bucket.of(place.ingest(&[&file])).result();
    for partition in again["partitions"].as_array().unwrap() {
        assert_eq!(partition["state"], "unchanged", "{again}");
    }
    let lake = bucket.copy(&place, "copy");
    lake.assert_whole();
    truth::assert_holds(&lake, &records);
}

#[test]
fn what_the_environment_says_of_s3_reaches_it() {
    let place = Place::new("s3-settings");
    let bucket = Bucket::new();
    let relay = Relay::proxy(&bucket.endpoint());
    let text = std::fs::read_to_string(repository("tests/fixtures/export.json")).unwrap();
    let file = place.write("export.json", &text);
    let key = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    bucket
        .of(place.ingest(&[&file]))
        .environment("AWS_ENDPOINT_URL", &format!("http://{}", relay.address()))
        .environment("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms")
        .environment("AWS_SSE_KMS_KEY_ID", key)
        .environment("AWS_SSE_BUCKET_KEY_ENABLED", "true")
        .environment("AWS_SESSION_TOKEN", "a-token")
        .result();
    let seen = relay.seen().to_lowercase();
    for part in [
        "x-amz-server-side-encryption: aws:kms",
        &format!("x-amz-server-side-encryption-aws-kms-key-id: {key}"),
        "x-amz-server-side-encryption-bucket-key-enabled: true",
        "x-amz-checksum-sha256: ",
        "x-amz-security-token: a-token",
        "if-none-match: *",
        "x-amz-copy-source: ",
    ] {
        assert!(seen.contains(part), "`{part}` was not sent");
    }

    // A lake away from this machine is reached as the source is, through the proxy.
    let proxy = Relay::proxy(&bucket.endpoint());
    let result = bucket
        .of(place.ingest(&[&file]))
        .with("--proxy", &format!("http://{}", proxy.address()))
        .environment("AWS_ENDPOINT_URL", "http://127.0.0.1.invalid")
        .environment("AWS_ALLOW_HTTP", "true")
        .result();
    assert_eq!(result["status"], "ok", "{result}");
    assert!(
        proxy
            .seen()
            .contains("GET http://127.0.0.1.invalid/bucket-")
    );
    // This machine is not.
    let dead = format!("http://127.0.0.1:{}", closed_port());
    let result = bucket
        .of(place.ingest(&[&file]))
        .with("--proxy", &dead)
        .environment("HTTP_PROXY", &dead)
        .result();
    assert_eq!(result["status"], "ok", "{result}");
}

/// What the server says beside the code and the sentence: a secret among it.
const REQUEST_QUOTED: &str =
    "<CanonicalRequest>x-amz-security-token:a-secret-token</CanonicalRequest>";

#[test]
fn each_refusal_is_told_once_with_what_to_do() {
    let place = Place::new("s3-refusals");
    let bucket = Bucket::new();
    for (status, code, hint) in [
        (403, "InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "s3:PutObject"),
        (400, "ExpiredToken", "have expired"),
        (
            403,
            "RequestTimeTooSkewed",
            "the clock of this machine is wrong: set it; the time of the store is: Tue, 24 Nov 2026",
        ),
        (
            301,
            "PermanentRedirect",
            "set that to the one of the bucket",
        ),
        (404, "NoSuchBucket", "make the bucket"),
    ] {
        let body = error_body(code, "It was said so.");
        let body = body.replace("</Error>", &format!("{REQUEST_QUOTED}</Error>"));
        let server = S3Proxy::answering(move |_| (status, body.clone()));
        let program = bucket
            .of(place.program("status --output json"))
            .environment("AWS_ENDPOINT_URL", &server.url())
            .environment("AWS_SESSION_TOKEN", "a-secret-token")
            .with("--log", "trace");
        let outcome = program.ends(6);
        let failure = outcome.failure();
        failure.assert_says(&[&format!("answered {status} `{code}`: It was said so"), hint]);
        assert!(
            failure.error.starts_with("cannot list `_answerlake/"),
            "{failure:?}"
        );
        assert!(!failure.retryable, "{failure:?}");
        assert_eq!(server.seen().len(), 1, "asking again does not help");
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains("a-secret-token"), "{text}");
            assert!(!text.contains("secret-of-the-tests"), "{text}");
        }
    }
}

#[test]
fn what_is_out_of_order_is_asked_again_and_then_told() {
    let place = Place::new("s3-unavailable");
    let bucket = Bucket::new();
    for (status, code) in [(503, "SlowDown"), (500, "InternalError")] {
        let server = S3Proxy::answering(move |_| (status, error_body(code, "Please wait.")));
        let failure = bucket
            .of(place.program("status --output json"))
            .environment("AWS_ENDPOINT_URL", &server.url())
            .environment("AWS_MAX_ATTEMPTS", "3")
            .fails(6);
        failure.assert_says(&[code, "after 2 retries", "run again later"]);
        assert!(failure.retryable, "{failure:?}");
        assert_eq!(server.seen().len(), 3);
    }
    let nowhere = format!("http://127.0.0.1:{}", closed_port());
    let failure = bucket
        .of(place.program("status --output json"))
        .environment("AWS_ENDPOINT_URL", &nowhere)
        .environment("AWS_MAX_ATTEMPTS", "2")
        .fails(6);
    assert_eq!(
        failure.error.matches("no connection").count(),
        1,
        "{failure:?}"
    );
    failure.assert_says(&[
        "no connection to `127.0.0.1`: Connection refused",
        "after 1 retries",
        "AWS_ENDPOINT_URL",
    ]);
    assert!(failure.retryable, "{failure:?}");
}

#[test]
fn a_machine_without_certificates_is_told_so() {
    let place = Place::new("s3-certificates");
    let failure = place
        .program("status --output json")
        .with("--lake", "s3://bucket/lake")
        .environment("AWS_ACCESS_KEY_ID", "AKIA")
        .environment("AWS_SECRET_ACCESS_KEY", "hush")
        .environment("SSL_CERT_FILE", "/nonexistent/certificates.pem")
        .environment("SSL_CERT_DIR", "/nonexistent")
        .fails(6);
    failure.assert_says(&["cannot be opened", "--ca-file or AWS_CA_BUNDLE"]);
}

#[test]
fn what_cannot_work_is_said_before_the_store_is_asked() {
    let place = Place::new("s3-settings-refused");
    let program = place
        .program("status --output json")
        .with("--lake", "s3://bucket/lake");
    let refused = |variables: &[(&str, &str)], says: &[&str]| {
        let program = variables
            .iter()
            .fold(program.clone(), |program, (name, value)| {
                program.environment(name, value)
            });
        let failure = program.fails(2);
        failure.assert_says(says);
        assert!(!failure.retryable, "{failure:?}");
        assert!(!failure.error.contains("hush"), "{failure:?}");
    };
    let key = [
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
    ];
    refused(
        &[("AWS_PROFILE", "work")],
        &[
            "`AWS_PROFILE`",
            "aws configure export-credentials --format env",
        ],
    );
    refused(&key[..1], &["`AWS_SECRET_ACCESS_KEY`", "the other half"]);
    refused(&key[1..], &["`AWS_ACCESS_KEY_ID`", "the other half"]);
    refused(
        &[("AWS_EC2_METADATA_DISABLED", "true")],
        &["`AWS_ACCESS_KEY_ID`"],
    );
    refused(
        &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")],
        &["`AWS_ROLE_ARN`"],
    );
    let with_key = |name, value, says: &[&str]| refused(&[key[0], key[1], (name, value)], says);
    with_key(
        "AWS_ENDPOINT_URL",
        "http://store.invalid",
        &["AWS_ALLOW_HTTP"],
    );
    with_key(
        "AWS_ENDPOINT_URL",
        "https://me:hush@store.invalid",
        &["without a user"],
    );
    with_key("AWS_ENDPOINT_URL", "store.invalid", &["`AWS_ENDPOINT_URL`"]);
    with_key("AWS_SERVER_SIDE_ENCRYPTION", "kms", &["`aws:kms`"]);
    with_key(
        "AWS_SSE_KMS_KEY_ID",
        "arn",
        &["AWS_SERVER_SIDE_ENCRYPTION of `aws:kms`"],
    );
    with_key("AWS_MAX_ATTEMPTS", "0", &["`AWS_MAX_ATTEMPTS`"]);
    with_key(
        "AWS_CA_BUNDLE",
        "/nowhere.pem",
        &["`ca_file`", "/nowhere.pem"],
    );
    let failure = program.with("--lake", "s3:///lake").fails(2);
    failure.assert_says(&["a bucket after `s3://`"]);
}

#[test]
fn a_store_that_creates_twice_is_refused_before_anything_is_in_it() {
    let place = Place::new("s3-unconditional");
    let bucket = Bucket::new();
    let text = std::fs::read_to_string(repository("tests/fixtures/export.json")).unwrap();
    let file = place.write("export.json", &text);
    let forgetful = S3Proxy::start(&bucket.endpoint(), |_| Fate::WithoutCondition);
    let ignorant = S3Proxy::answering(|request| match request.method() {
        "PUT" => (
            501,
            error_body("NotImplemented", "A header is not implemented."),
        ),
        _ => (200, NOTHING_LISTED.to_owned()),
    });
    for server in [forgetful.url(), ignorant.url()] {
        let failure = bucket
            .of(place.ingest(&[&file]))
            .environment("AWS_ENDPOINT_URL", &server)
            .fails(6);
        failure.assert_says(&["does not honour create-if-absent", "MinIO"]);
        assert!(!failure.retryable, "{failure:?}");
    }
    assert_eq!(bucket.copy(&place, "copy").files(), [""; 0]);

    // Once a lake: where it is made, it is not tried again.
    let watching = S3Proxy::start(&bucket.endpoint(), |_| Fate::Pass);
    let program = bucket
        .of(place.ingest(&[&file]))
        .environment("AWS_ENDPOINT_URL", &watching.url());
    let probes = || {
        let seen = watching.seen();
        let probes = seen
            .iter()
            .filter(|request| request.target().contains("/probe-"));
        probes.count()
    };
    program.result();
    assert_eq!(probes(), 3, "created, refused, deleted");
    program.result();
    assert_eq!(probes(), 3);
}

#[test]
fn every_command_of_a_lake_is_told_how_s3_is_reached() {
    let place = Place::new("s3-commands");
    let listed = place.program("--help").ends(0).stdout;
    let (_, commands) = listed.split_once("Commands:\n").unwrap();
    let names = commands
        .lines()
        .take_while(|line| line.starts_with("  "))
        // What is wrapped stands further in.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    let mut asked = Vec::new();
    for name in names {
        let help = place.program(name).arguments(&["--help"]).ends(0).stdout;
        if !help.contains("--lake <") {
            continue;
        }
        let with_arguments = match name {
            "ingest" => place
                .program(name)
                .arguments(&[&place.write("a.json", "[]")]),
            "run" | "plan" => place
                .program(name)
                .with("--host", "http://127.0.0.1:9")
                .with("--app-id", "st-1")
                .with("--date", "2025-06-28")
                .environment("ANSWERLAKE_TOKEN", "t"),
            "changes" => place.program(name).with("--consumer", "warehouse"),
            "init" | "demo" => continue,
            _ => place.program(name),
        };
        let outcome = with_arguments
            .with("--lake", "s3://bucket/lake")
            .environment("AWS_EC2_METADATA_DISABLED", "true")
            .outcome();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let has_looked = said.contains("setting `AWS_ACCESS_KEY_ID`");
        // Commands that are not known here may ask for more first; but none goes to S3 without the variables.
        assert!(!said.contains("got none"), "{name}: {said}");
        if has_looked {
            assert_eq!(outcome.code, Some(2), "{name}: {said}");
            asked.push(name.to_owned());
        }
    }
    for name in [
        "run", "plan", "ingest", "status", "verify", "recover", "vacuum", "restore", "files",
        "changes",
    ] {
        assert!(
            asked.iter().any(|asked| asked == name),
            "{name} is not among {asked:?}"
        );
    }
}

/// The program, with credentials from elsewhere than its keys: each request must be signed with those of the role.
#[track_caller]
fn assert_signed_by_role(bucket: &Bucket, place: &Place, variables: &[(&str, &str)]) {
    let store = S3Proxy::start(&bucket.endpoint(), |_| Fate::Pass);
    let program = without_keys(bucket.of(place.program("status --output json")))
        .environment("AWS_ENDPOINT_URL", &store.url())
        .with("--log", "trace");
    let outcome = variables
        .iter()
        .fold(program, |program, (name, value)| {
            program.environment(name, value)
        })
        .ends(0);
    assert_eq!(outcome.json()["exists"], false, "{outcome:?}");
    let seen = store.seen();
    assert!(!seen.is_empty());
    for request in seen {
        let head = request.head;
        assert!(head.contains("Credential=AKIAROLE/"), "{head}");
        assert!(head.contains("x-amz-security-token: hush-token"), "{head}");
    }
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("hush"), "{text}");
    }
}

fn without_keys(program: Program) -> Program {
    program
        .without_environment("AWS_ACCESS_KEY_ID")
        .without_environment("AWS_SECRET_ACCESS_KEY")
}

/// What machines and containers answer.
const ROLE_KEYS: &str = r#"{"AccessKeyId": "AKIAROLE", "SecretAccessKey": "hush-key", "Token": "hush-token",
    "Expiration": "2099-01-01T00:00:00Z"}"#;

#[test]
fn credentials_come_from_the_machine() {
    let (place, bucket) = (Place::new("s3-machine"), Bucket::new());
    let machine = S3Proxy::answering(|request| match request.target() {
        "/latest/api/token" => (200, "a-token".to_owned()),
        "/latest/meta-data/iam/security-credentials/" => (200, "a-role".to_owned()),
        _ => (200, ROLE_KEYS.to_owned()),
    });
    assert_signed_by_role(
        &bucket,
        &place,
        &[("AWS_METADATA_ENDPOINT", &machine.url())],
    );

    // Where no role is, and where nobody is.
    let nobody = S3Proxy::answering(|_| (404, String::new()));
    let closed = format!("http://127.0.0.1:{}", closed_port());
    for machine in [nobody.url(), closed] {
        let failure = without_keys(bucket.of(place.program("status --output json")))
            .environment("AWS_METADATA_ENDPOINT", &machine)
            .fails(6);
        failure.assert_says(&["no credentials for S3", "aws configure export-credentials"]);
        assert!(!failure.retryable, "{failure:?}");
    }
    assert_eq!(nobody.seen().len(), 1);
}

#[test]
fn credentials_come_from_the_container() {
    let (place, bucket) = (Place::new("s3-container"), Bucket::new());
    let container = S3Proxy::answering(|_| (200, ROLE_KEYS.to_owned()));
    let token = place.write("token", "a-container-token");
    let uri = format!("{}/v1/credentials", container.url());
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
    ];
    assert_signed_by_role(&bucket, &place, &variables);
    let head = &container.seen()[0].head;
    assert!(head.contains("a-container-token"), "{head}");
}

#[test]
fn credentials_come_for_a_web_identity() {
    let (place, bucket) = (Place::new("s3-identity"), Bucket::new());
    let answer = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <AccessKeyId>AKIAROLE</AccessKeyId><SecretAccessKey>hush-key</SecretAccessKey>\
         <SessionToken>hush-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
    let tokens = S3Proxy::answering(move |_| (200, answer.to_owned()));
    let certificate = Certificate::new(&["localhost"]);
    let tls = Relay::tls(&certificate, &tokens.url());
    let endpoint = format!(
        "https://{}",
        tls.address().replace("127.0.0.1", "localhost")
    );
    let authority = place.write("authority.pem", certificate.pem());
    let token = place.write("token", "hush-web-token");
    let variables = [
        ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
        ("AWS_CA_BUNDLE", &authority),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
        ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/lake"),
    ];
    assert_signed_by_role(&bucket, &place, &variables);
    assert!(
        tls.seen().contains("hush-web-token"),
        "the identity is shown"
    );
}
