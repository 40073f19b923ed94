//! What it costs the server to know who is calling: processor time of a signed-in request beside an anonymous one.

use crate::fleet::Conn;
use crate::line;
use crate::server::{Server, post, temporary_dir};
use serde_json::Value;

/// Requests of each kind.
const REQUESTS: usize = 20_000;
/// Parts that each kind is measured in, by turns: what else the machine does meets all of them.
const TURNS: usize = 5;

pub fn signed_in() {
    let server = Server::start(&temporary_dir("signed-in"), &[]);
    let session = server.sign_in();
    let mut conn = Conn::open(server.address);
    let (status, answer) = conn.raw(&post("/auth/api-tokens", &session, r#"{"name":"bench"}"#));
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    let token: Value = serde_json::from_slice(&answer).unwrap();
    let token = token["token"].as_str().unwrap();
    // Each answers with a few words from memory.
    let kinds = [
        b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        server.get_with("/auth/me", &session),
        server.get_with("/auth/me", token),
    ];
    let mut used = [0.0; 3];
    for _ in 0..TURNS {
        for (request, used) in kinds.iter().zip(&mut used) {
            let before = server.cpu_seconds();
            (0..REQUESTS / TURNS).for_each(|_| assert_eq!(conn.raw(request).0, 200));
            *used += server.cpu_seconds() - before;
        }
    }
    let [anonymous, session, token] = used.map(|seconds| seconds / REQUESTS as f64 * 1e6);
    for (what, figure) in [("a session", session), ("an API token", token)] {
        line(
            &format!("server CPU of a GET with {what}"),
            format!("{figure:.1} us"),
            format!("{anonymous:.1} us anonymous"),
            "at most 1.3 of it",
            figure <= 1.3 * anonymous,
        );
        println!("    ratio {:.2}", figure / anonymous);
    }
}
