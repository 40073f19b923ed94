//! A real browser, driven over WebDriver: chromedriver is an HTTP server like any other.

use crate::support::{Dir, PATIENCE, until};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The name under which WebDriver gives an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// How long the browser may take for one command: a start on a busy machine.
const COMMAND: Duration = Duration::from_secs(60);

/// A browser with a profile of its own, on one server's pages.
pub struct Browser {
    child: Child,
    driver: SocketAddr,
    session: String,
    base: String,
    _dir: Dir,
}

impl Browser {
    /// Starts one; the paths that it is sent to are under this address.
    pub fn start(server: SocketAddr) -> Browser {
        Browser::below(&format!("http://{server}"))
    }

    /// The same, where the paths are below this URL.
    pub fn below(base: &str) -> Browser {
        let dir = Dir::new();
        let said = dir.join("chromedriver.out");
        let child = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: .ci/run installs it (Debian: chromium, chromium-driver)");
        let port: u16 = until("chromedriver listens", || {
            let text = fs::read_to_string(&said).unwrap();
            text.split("successfully on port ").nth(1)?.split('.').next()?.parse().ok()
        });
        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        let mut browser = Browser { child, driver, session: String::new(), base: base.to_string(), _dir: dir };
        let profile = format!("--user-data-dir={}", browser._dir.join("profile").display());
        let flags = [
            "--headless",
            "--hide-scrollbars",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &profile,
        ];
        let wanted = json!({"goog:chromeOptions": {"args": flags}, "goog:loggingPrefs": {"browser": "ALL"}});
        let made = browser.call("POST", "", &json!({"capabilities": {"alwaysMatch": wanted}})).unwrap();
        browser.session = format!("/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!(
            "{method} /session{}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: \
                application/json\r\nContent-Length: {}\r\n\r\n",
            self.session,
            self.driver,
            body.len()
        );
        let sent = exchange(self.driver, &[head.as_bytes(), body.as_bytes()].concat());
        let (status, answer) = sent.map_err(|e| json!(e.to_string()))?;
        let value = answer["value"].clone();
        if status == 200 { Ok(value) } else { Err(value) }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, body).unwrap_or_else(|e| panic!("{path} {body}: {e}"))
    }

    /// Goes to a path of the server.
    pub fn goto(&self, path: &str) {
        self.post("/url", &json!({"url": format!("{}{path}", self.base)}));
    }

    /// The path and query where it is.
    pub fn path(&self) -> String {
        self.js("return location.pathname + location.search").as_str().unwrap().to_string()
    }

    /// Waits until it is there.
    pub fn is_at(&self, path: &str) {
        until(&format!("{path}, and not {}", self.path()), || (self.path() == path).then_some(()));
    }

    /// Runs a script in the page.
    pub fn js(&self, script: &str) -> Value {
        // A page that is just being left runs nothing any more.
        until(script, || self.call("POST", "/execute/sync", &json!({"script": script, "args": []})).ok())
    }

    /// The width of the window, and the theme that the system wishes for.
    pub fn looks(&self, width: u32, theme: &str) {
        let wish = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.post("/goog/cdp/execute", &json!({"cmd": "Emulation.setEmulatedMedia", "params": wish}));
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.post("/goog/cdp/execute", &json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size}));
    }

    /// Lets the pages run scripts, or not.
    pub fn scripts(&self, run: bool) {
        self.post(
            "/goog/cdp/execute",
            &json!({"cmd": "Emulation.setScriptExecutionDisabled", "params": {"value": !run}}),
        );
    }

    /// The serious and critical faults that axe finds on the page. It is run by the driver, whom the page's policy does
    /// not bind.
    pub fn axe(&self) -> Vec<String> {
        let file = Path::new(env!("CARGO_BIN_EXE_uptimemesh"))
            .ancestors()
            .nth(2)
            .unwrap()
            .join("axe/axe_playwright_python/axe.min.js");
        let axe = fs::read_to_string(&file)
            .unwrap_or_else(|e| panic!("{}: {e}: .ci/run puts axe-core there", file.display()));
        let script = format!(
            "{axe};const done = arguments[0];
            axe.run({{resultTypes: ['violations']}}).then((r) => done(r.violations.filter((v) => ['serious', 'critical'].includes(v.impact))
                .map((v) => v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + ' ' + n.failureSummary).join(' | '))),
                (e) => done(['axe failed: ' + e]))"
        );
        let faults = self.post("/execute/async", &json!({"script": script, "args": []}));
        faults.as_array().unwrap().iter().map(|fault| fault.as_str().unwrap().to_string()).collect()
    }

    /// Keeps a picture of the whole page in the directory that `SCREENSHOTS` names, where somebody wants to look.
    pub fn keep_picture(&self, name: &str) {
        let Some(dir) = std::env::var_os("SCREENSHOTS") else { return };
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.post("/goog/cdp/execute", &json!({"cmd": "Page.captureScreenshot", "params": whole}));
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(120).collect();
        fs::write(Path::new(&dir).join(format!("{name}.png")), bytes).unwrap();
    }

    /// What the page shows as text.
    pub fn text(&self) -> String {
        self.js("return document.body.innerText").as_str().unwrap_or_default().to_string()
    }

    fn find(&self, using: &str, value: &str) -> Option<String> {
        let found = self.call("POST", "/element", &json!({"using": using, "value": value})).ok()?;
        Some(found[ELEMENT].as_str()?.to_string())
    }

    /// Clicks the link or the button that says this.
    pub fn click(&self, label: &str) {
        let path = format!(
            "//main//*[(self::a or self::button) and normalize-space(.)='{label}'] | \
                //header//button[normalize-space(.)='{label}']"
        );
        // The region in which it stands may just be replaced by a newer one.
        until(&format!("{label} on {}", self.text()), || {
            let id = self.find("xpath", &path)?;
            self.call("POST", &format!("/element/{id}/click"), &json!({})).ok()
        });
    }

    /// Types into the field of this name.
    pub fn fill(&self, name: &str, text: &str) {
        let id = self
            .find("css selector", &format!("main [name='{name}']"))
            .unwrap_or_else(|| panic!("{name} on {}", self.text()));
        self.post(&format!("/element/{id}/clear"), &json!({}));
        self.post(&format!("/element/{id}/value"), &json!({"text": text}));
    }

    /// Ticks the box of this name.
    pub fn tick(&self, name: &str) {
        let id = self.find("css selector", &format!("main input[type=checkbox][name='{name}']")).unwrap();
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// Waits until the page says this; it is not loaded anew for that.
    pub fn sees(&self, text: &str) {
        self.sees_within(text, PATIENCE);
    }

    pub fn sees_within(&self, text: &str, patience: Duration) {
        let end = std::time::Instant::now() + patience;
        while !self.text().contains(text) {
            assert!(std::time::Instant::now() < end, "{text:?} never came on {}:\n{}", self.path(), self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the console said, of the kind that nobody wants to see there.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "browser"}));
        // The page that a browser opens with is its own affair.
        let ours = |line: &&Value| {
            line["level"] == "SEVERE" && !line["message"].as_str().unwrap_or_default().starts_with("chrome://")
        };
        log.as_array().unwrap().iter().filter(ours).map(Value::to_string).collect()
    }

    /// Fails where the console complained.
    pub fn is_quiet(&self) {
        assert_eq!(self.complaints(), Vec::<String>::new(), "{}", self.path());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.call("DELETE", "", &json!({}));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request and its answer. The driver keeps its connections open, whatever it is told.
fn exchange(driver: SocketAddr, request: &[u8]) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(driver)?;
    stream.set_read_timeout(Some(COMMAND))?;
    stream.write_all(request)?;
    let (mut answer, mut part) = (Vec::new(), [0; 65_536]);
    loop {
        if let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let length: usize =
                head.split("content-length:").nth(1).and_then(|l| l.lines().next()?.trim().parse().ok()).unwrap_or(0);
            if answer.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
                return Ok((status, serde_json::from_slice(&answer[end + 4..])?));
            }
        }
        match stream.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => answer.extend_from_slice(&part[..n]),
            // A read with a time-out ends so when the process was stopped and goes on (signal(7)).
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
