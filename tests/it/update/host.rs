//! A host of releases whose answers can have faults.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Fault in the answers for a file.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Announces the whole length and ends after this number of bytes, each time.
    CutAt(usize),
    /// The same, once.
    CutOnceAt(usize),
    /// Sends the first half, and the rest only after the test lets it.
    Stall,
}

/// The host of the releases.
pub(super) struct Host {
    pub(super) address: SocketAddr,
    faults: Arc<Mutex<BTreeMap<String, Fault>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Host {
    pub(super) fn new(root: &Path) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Host { address: listener.local_addr().unwrap(), faults: Arc::default(), asked: Arc::default() };
        let (faults, asked, root) = (Arc::clone(&host.faults), Arc::clone(&host.asked), root.to_path_buf());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (faults, asked, root) = (Arc::clone(&faults), Arc::clone(&asked), root.clone());
                // The client may be killed meanwhile.
                std::thread::spawn(move || stream.is_ok_and(|s| serve(s, &root, &faults, &asked).is_ok()));
            }
        });
        host
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/version.json", self.address)
    }

    pub(super) fn fault(&self, name: &str, fault: Fault) {
        self.faults.lock().unwrap().insert(name.to_string(), fault);
    }

    pub(super) fn repair(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Number of requests for a file.
    pub(super) fn requests(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|n| *n == name).count()
    }
}

fn serve(
    mut stream: TcpStream,
    root: &Path,
    faults: &Mutex<BTreeMap<String, Fault>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let name = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_string();
    asked.lock().unwrap().push(name.clone());
    let Ok(body) = fs::read(root.join(&name)) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    let fault = faults.lock().unwrap().get(&name).cloned();
    match fault {
        None => stream.write_all(&body),
        Some(Fault::CutAt(at)) => stream.write_all(&body[..at]),
        Some(Fault::CutOnceAt(at)) => {
            faults.lock().unwrap().remove(&name);
            stream.write_all(&body[..at])
        }
        Some(Fault::Stall) => {
            stream.write_all(&body[..body.len() / 2])?;
            while matches!(faults.lock().unwrap().get(&name), Some(Fault::Stall)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            stream.write_all(&body[body.len() / 2..])
        }
    }
}
