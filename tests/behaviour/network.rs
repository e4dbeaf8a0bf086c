//! Proxies and certificates: what is between the program and its source.

use crate::support::{Certificate, Place, Program, Relay, Setup, closed_port, setup, truth};

/// Where nobody listens, under each name that programs look for.
fn behind_dead_proxy(program: Program) -> Program {
    let proxy = format!("http://127.0.0.1:{}", closed_port());
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_lowercase()])
        .fold(program, |program, name| program.environment(&name, &proxy))
}

/// Without certificates of the system.
fn without_certificates(program: Program) -> Program {
    program
        .environment("SSL_CERT_FILE", "/nonexistent/certificates.pem")
        .environment("SSL_CERT_DIR", "/nonexistent")
}

#[track_caller]
fn assert_complete(setup: &Setup) {
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

#[test]
fn loopback_is_asked_directly_behind_any_proxy() {
    for name in ["127.0.0.1", "localhost"] {
        let setup = setup("loopback", |_| {});
        let host = setup.source.emulator().url().replace("127.0.0.1", name);
        let program = setup.run().with("--host", &host);
        behind_dead_proxy(program.clone()).result();
        let by_setting = format!("http://127.0.0.1:{}", closed_port());
        let forced = program.with("--proxy", &by_setting).arguments(&["--force"]);
        assert_eq!(forced.result()["status"], "ok");
        assert_complete(&setup);
    }
}

#[test]
fn the_demo_needs_neither_proxy_nor_certificates() {
    let place = Place::new("demo-behind");
    let demo = place
        .program("demo lake")
        .with("--weeks", "1")
        .with("--records-per-day", "5");
    without_certificates(behind_dead_proxy(demo)).ends(0);
}

#[test]
fn a_proxy_passes_on_what_is_not_loopback() {
    let setup = setup("proxy", |_| {});
    let proxy = Relay::proxy(&setup.source.emulator().url());
    let with_password = format!("http://user:proxy-password@{}", proxy.address());
    let program = setup
        .run()
        .with("--host", "http://source.invalid")
        .with("--log", "trace");

    // By a setting, past the environment, which has none that works.
    let by_setting = behind_dead_proxy(program.clone()).with("--proxy", &with_password);
    let outcome = by_setting.ends(0);
    assert_complete(&setup);
    let seen = proxy.seen();
    assert!(
        seen.contains("POST http://source.invalid/api/public/bot/"),
        "{seen}"
    );
    // The proxy is told who asks.
    assert!(
        seen.to_lowercase().contains("proxy-authorization: basic "),
        "{seen}"
    );
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("proxy-password"), "{text}");
    }

    // By the environment.
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let before = proxy.seen().len();
        let by_environment = program
            .clone()
            .arguments(&["--force"])
            .environment(name, &with_password);
        assert_eq!(by_environment.result()["status"], "ok");
        assert!(proxy.seen().len() > before, "{name}");
        // Not for hosts that are to be asked directly: this one is not there.
        let before = proxy.seen().len();
        let direct = by_environment
            .environment("NO_PROXY", "other.invalid,source.invalid")
            .with("--retries", "0");
        let failure = direct.fails(5);
        assert!(
            failure
                .error
                .contains("no connection to `http://source.invalid`"),
            "{}",
            failure.error
        );
        assert_eq!(proxy.seen().len(), before, "{name}");
    }
}

#[test]
fn a_proxy_makes_a_tunnel_for_tls() {
    let setup = setup("tunnel", |_| {});
    let certificate = Certificate::new(&["source.invalid"]);
    let server = Relay::tls(&certificate, &setup.source.emulator().url());
    let proxy = Relay::proxy(&format!("https://{}", server.address()));
    let authority = setup.place.write("authority.pem", certificate.pem());
    let program = setup
        .run()
        .with("--host", "https://source.invalid")
        .environment("HTTPS_PROXY", &format!("http://{}", proxy.address()));
    // Through the proxy, no certificate is trusted that is not without it.
    let failure = program.fails(5);
    assert!(
        failure.error.contains("through the proxy") && failure.error.contains("--ca-file"),
        "{}",
        failure.error
    );
    program.with("--ca-file", &authority).result();
    assert_complete(&setup);
    let (tunnelled, served) = (proxy.seen(), server.seen());
    assert!(
        tunnelled.contains("CONNECT source.invalid:443 "),
        "{tunnelled}"
    );
    assert!(served.contains("POST /api/public/bot/"), "{served}");
    assert!(!tunnelled.contains("/api/public/bot/"), "{tunnelled}");
}

#[test]
fn a_proxy_that_fails_is_what_the_error_names() {
    let setup = setup("no-proxy", |_| {});
    let proxy = format!("127.0.0.1:{}", closed_port());
    for scheme in ["http", "https"] {
        let program = setup
            .run()
            .with("--host", &format!("{scheme}://source.invalid"))
            .with("--retries", "0");
        let with_password = format!("http://user:proxy-password@{proxy}");
        let by_environment = program
            .clone()
            .environment(&format!("{}_PROXY", scheme.to_uppercase()), &with_password);
        for program in [program.with("--proxy", &with_password), by_environment] {
            let failure = program.fails(5);
            let expected = format!(
                "the proxy `http://{proxy}` failed, before `{scheme}://source.invalid` was asked"
            );
            assert!(failure.error.contains(&expected), "{}", failure.error);
            assert!(failure.retryable);
            let outcome = program.with("--log", "trace").outcome();
            assert!(
                !format!("{outcome:?}").contains("proxy-password"),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn a_certificate_of_ones_own_is_trusted_when_it_is_named() {
    let setup = setup("own-certificate", |_| {});
    let certificate = Certificate::new(&["localhost"]);
    let server = Relay::tls(&certificate, &setup.source.emulator().url());
    let host = server.address().replace("127.0.0.1", "https://localhost");
    let authority = setup.place.write("authority.pem", certificate.pem());
    let program = setup.run().with("--host", &host);

    let failure = program.fails(5);
    for part in [&host, "not trusted", "`http.ca_file`", "`--ca-file`"] {
        assert!(failure.error.contains(part), "{}", failure.error);
    }
    assert!(!failure.retryable);

    let trusting = program.with("--ca-file", &authority);
    // Its name must be right all the same.
    let by_address = format!("https://{}", server.address());
    let failure = trusting.clone().with("--host", &by_address).fails(5);
    assert!(
        failure.error.contains("another host's"),
        "{}",
        failure.error
    );
    assert!(setup.lake().newest().is_empty());

    // On a machine that has no certificates it is all that is needed.
    without_certificates(trusting).result();
    assert_complete(&setup);
    assert!(server.seen().contains("POST /api/public/bot/"));
}

#[test]
fn a_machine_without_certificates_says_what_to_install() {
    let setup = setup("no-certificates", |_| {});
    let program = without_certificates(setup.run());
    let failure = program
        .clone()
        .with("--host", "https://source.invalid")
        .fails(2);
    for part in ["no system certificates", "ca-certificates", "`--ca-file`"] {
        assert!(failure.error.contains(part), "{}", failure.error);
    }
    assert!(!failure.retryable);
    // It can talk to itself.
    program.result();
    assert_complete(&setup);
}
