//! Whose request it is, in every word that proxies use for it, and what becomes of requests of which none says it.

use crate::program::{Running, command};
use crate::support::{Answer, Client, Dir, Served, USER_PASSWORD, until};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// A try to sign in that a proxy passed on with these headers.
fn sign_in(client: &Client, headers: &[(&str, &str)], password: &str) -> Answer {
    let body = json!({"username": "alice", "password": password}).to_string();
    client.send("POST", "/auth/token", headers, body.as_bytes())
}

#[test]
fn a_lock_is_for_the_client_however_the_proxy_writes_its_address() {
    let served = Served::proxied(|_| ());
    served.user("alice", "admin");
    let anonymous = served.anonymous();
    let lines =
        |name: &'static str, text: &str| text.split('|').map(|line| (name, line.to_string())).collect::<Vec<_>>();
    let mut clients = 0;
    // `C` is the client's address; of each form the first line is of the one who fails, the others are other ways to
    // say the same.
    for (name, forms) in [
        (
            "X-Forwarded-For",
            ["198.51.100.C:567", "\"198.51.100.C\"", "6.6.6.6, 198.51.100.C:1 , 127.0.0.1:80", "junk|198.51.100.C"],
        ),
        (
            "X-Forwarded-For",
            [
                "[2001:db8:0:C::1]:80",
                "2001:db8:0:C::2",
                "6.6.6.6, unknown, [2001:db8:0:C::3]",
                "[2001:db8:0:C::4%eth0]",
            ],
        ),
        ("X-Forwarded-For", ["::ffff:203.0.113.C", "203.0.113.C", "[::ffff:203.0.113.C]:99", ", ,203.0.113.C,,"]),
        (
            "Forwarded",
            [
                "for=\"198.51.99.C:4711\"",
                "For=198.51.99.C;proto=http;by=_x",
                "for=6.6.6.6, for=198.51.99.C, for=127.0.0.1",
                "for=_a|FOR=198.51.99.C",
            ],
        ),
        (
            "Forwarded",
            [
                "for=\"[2001:db8:1:C::1]:80\"",
                "for=\"[2001:db8:1:C::2]\"",
                "for=unknown,for=\"[2001:db8:1:C::3]:_p\"",
                "by=\"_;,\";for=\"[2001:db8:1:C::4]\"",
            ],
        ),
    ] {
        clients += 2;
        let said = |form: &str, client: u32| lines(name, &form.replace('C', &client.to_string()));
        let try_it = |form: &str, client: u32, password: &str| {
            let said = said(form, client);
            let headers: Vec<(&str, &str)> = said.iter().map(|(name, line)| (*name, line.as_str())).collect();
            sign_in(&anonymous, &headers, password).status
        };
        for i in 0..5 {
            assert_eq!(try_it(forms[i % 4], clients, "wrong"), 401, "{forms:?}");
        }
        for form in forms {
            assert_eq!(try_it(form, clients, USER_PASSWORD), 429, "{form}: it is the same client");
            assert_eq!(try_it(form, clients + 1, USER_PASSWORD), 200, "{form}: it is another one");
        }
    }
    assert_eq!(sign_in(&anonymous, &[], USER_PASSWORD).status, 200, "this machine itself has done nothing");
}

#[test]
fn strangers_whom_no_proxy_names_lock_nobody_out() {
    for words in ["unknown", "_hidden", "", " , ,", "127.0.0.1, -", "1.2.3", "0.0.0.0", "[::1", "\u{fc}"]
        .map(|word| [("X-Forwarded-For", word)])
    {
        let served = Served::proxied(|_| ());
        served.user("alice", "admin");
        let anonymous = served.anonymous();
        for _ in 0..12 {
            assert_eq!(sign_in(&anonymous, &words, "wrong").status, 401, "{words:?}");
        }
        assert_eq!(sign_in(&anonymous, &words, USER_PASSWORD).status, 200, "{words:?}");
        assert_eq!(sign_in(&anonymous, &[], USER_PASSWORD).status, 200, "{words:?}: nor the proxy's own machine");
        assert_eq!(anonymous.send("GET", "/metrics", &words, b"").status, 401, "{words:?}: it is not this machine");
        // The first password works for this machine only.
        let first = json!({"username": "admin", "password": "uptime"}).to_string();
        let held = anonymous.send("POST", "/auth/token", &words, first.as_bytes()).json();
        assert_eq!(held["needs_setup_code"], true, "{words:?}");
        let counted = format!("uptimemesh_unnamed_requests_total {}\n", 15);
        assert!(anonymous.get("/metrics").text().contains(&counted), "{words:?}: {}", anonymous.get("/metrics").text());
    }
}

#[test]
fn whoever_is_not_named_may_guess_no_faster_than_one() {
    let served = Served::proxied(|config| config.requests_per_second_max = 100_000);
    served.user("alice", "admin");
    let anonymous = served.anonymous();
    // Several at once, because one more is allowed each second, and a check takes long on a busy machine.
    let (asked, began) = (AtomicUsize::new(0), Instant::now());
    let guess = || {
        loop {
            let count = asked.fetch_add(1, SeqCst);
            assert!(count < 500, "it may guess without end");
            match sign_in(&anonymous, &[("X-Forwarded-For", &format!("_client{count}"))], "x").status {
                401 => {}
                status => return assert_eq!(status, 429),
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(guess))));
    let (checked, most) = (asked.into_inner() - 4, 61.0 + began.elapsed().as_secs_f64());
    assert!(checked >= 60 && checked as f64 <= most, "{checked} were checked, and {most} may be at most");
    until("one more may try", || (sign_in(&anonymous, &[("Via", "1.1 p")], USER_PASSWORD).status == 200).then_some(()));
}

#[test]
fn a_proxy_that_names_nobody_is_told_of() {
    let dir = Dir::new();
    let (server, client) =
        Running::serve(dir.path(), &["serve", "--server-port", "0", "--trusted-proxies", "127.0.0.1"]);
    let finding = || {
        let said = command(dir.path(), &["doctor", "--json", "--trusted-proxies", "127.0.0.1"]).output().unwrap();
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        said["findings"].as_array().unwrap().iter().find(|f| f["check"] == "proxies").unwrap().clone()
    };
    assert_eq!(finding()["level"], "ok");
    client.send("GET", "/health", &[("Forwarded", "for=\"1.2.3.4\";proto=https")], b"");
    for _ in 0..50 {
        client.send("GET", "/health", &[("Forwarded", "for=1.2.3.4, for=\"_strange word\"")], b"");
    }
    let line =
        until("it is logged", || server.logged().lines().find(|l| l.contains("proxy.unnamed")).map(str::to_string));
    assert!(line.contains("proxy: 127.0.0.1") && line.contains("word: _strange word"), "{line}");
    let found = finding();
    assert_eq!(found["level"], "warn");
    assert!(
        found["seen"].as_str().unwrap().contains("127.0.0.1")
            && found["seen"].as_str().unwrap().contains("_strange word"),
        "{found}"
    );
    assert!(found["do"].as_str().unwrap().contains("X-Forwarded-For"), "{found}");
    assert_eq!(server.logged().matches("proxy.unnamed").count(), 1, "fifty requests are one line");
}
