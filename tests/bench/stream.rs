//! Five hundred readers of the event stream, a hundred events a second.

use crate::fleet::Conn;
use crate::line;
use crate::server::{Server, post, temporary_dir};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const READERS: usize = 500;
const PER_SECOND: usize = 100;
const SECONDS: usize = 8;

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

fn p99(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

/// Writes events at an even pace, and meanwhile measures what a small read takes; the 99th percentile in ms.
fn load(server: &Server, session: &str) -> f64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| {
            let mut conn = Conn::open(server.address);
            let request = server.get("/cluster-settings/etcd_status");
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(conn.raw(&request).0, 200);
                times.push(began.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(Duration::from_millis(5));
            }
            p99(&mut times)
        });
        let mut conn = Conn::open(server.address);
        let began = Instant::now();
        for i in 0..PER_SECOND * SECONDS {
            let body = format!(r#"{{"category":"bench","name":"n","level":"info","fields":{{"at":{}}}}}"#, micros());
            assert_eq!(conn.raw(&post("/events", session, &body)).0, 201);
            let next = Duration::from_secs(1) * (i as u32 + 1) / PER_SECOND as u32;
            std::thread::sleep(next.saturating_sub(began.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
        probe.join().unwrap()
    })
}

/// Reads to the last event; the delays of all, in ms.
fn read(mut stream: TcpStream, ready: &AtomicUsize) -> Vec<f64> {
    let mut buffer = vec![0; 64 << 10];
    let mut text = String::new();
    let mut delays = Vec::with_capacity(PER_SECOND * SECONDS);
    while delays.len() < PER_SECOND * SECONDS {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "a reader was dropped");
        let now = micros();
        if text.is_empty() && delays.is_empty() {
            ready.fetch_add(1, Ordering::Relaxed);
        }
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        while let Some(end) = text.find("\n\n") {
            if let Some(at) = text[..end].split("\"at\":").nth(1) {
                let sent: u64 = at.split('}').next().unwrap().parse().unwrap();
                delays.push(now.saturating_sub(sent) as f64 / 1e3);
            }
            text.drain(..end + 2);
        }
    }
    delays
}

pub fn stream() {
    let server = Server::start(&temporary_dir("stream"), &[]);
    let session = server.sign_in();
    let alone = load(&server, &session);
    let ready = AtomicUsize::new(0);
    let cpu = server.cpu_seconds();
    let (mut delays, crowded) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let mut stream = TcpStream::connect(server.address).unwrap();
                stream.write_all(&server.get_with("/events/stream", &session)).unwrap();
                std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, || read(stream, &ready)).unwrap()
            })
            .collect();
        while ready.load(Ordering::Relaxed) < READERS {
            std::thread::sleep(Duration::from_millis(20));
        }
        let crowded = load(&server, &session);
        (readers.into_iter().flat_map(|r| r.join().unwrap()).collect::<Vec<f64>>(), crowded)
    });
    let cpu = server.cpu_seconds() - cpu;
    let count = delays.len();
    assert_eq!(count, READERS * PER_SECOND * SECONDS, "every reader got every event");
    let delay = p99(&mut delays);
    line(
        "100 events/s to 500 readers, p99 delay",
        format!("{delay:.1} ms"),
        format!("{count} deliveries, median {:.1} ms", delays[count / 2]),
        "below 100 ms",
        delay < 100.0,
    );
    line(
        "a small read meanwhile, p99",
        format!("{crowded:.1} ms"),
        format!("{alone:.1} ms without readers"),
        "not doubled from 1 ms",
        crowded <= 2.0 * alone.max(1.0),
    );
    println!(
        "    server CPU {:.2} of a core; memory with 500 readers {:.1} MiB",
        cpu / SECONDS as f64,
        server.resident_mib()
    );
}
