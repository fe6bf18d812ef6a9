//! As much of WebDriver as the browser's suite needs: six calls in JSON over HTTP. A client library for it would add 76
//! packages to the lock file.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

/// Chromium without a window, until it is dropped.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: PathBuf,
}

impl Browser {
    pub(crate) fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{}-{number}", std::process::id()));
        let mut driver = Command::new(program("chromedriver", "chromium-driver"))
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let said = BufReader::new(driver.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let port = said
            .filter_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok())
            .next()
            .expect("chromedriver says its port");
        let mut browser = Self { driver, port, session: String::new(), profile };
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            // A test turns more slides in ten seconds than people do, and Chromium would slow it down and say so.
            "--disable-ipc-flooding-protection",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", browser.profile.display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": program("chromium", "chromium"), "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let session = browser.ask("POST", "/session", &wanted).expect("Chromium starts");
        session["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        // The page with which Chromium starts asks for its own parts.
        browser.open("about:blank");
        browser.requests();
        browser
    }

    /// Loads a page, and waits until it is loaded.
    pub(crate) fn open(&self, address: &str) {
        self.call("/url", &json!({"url": address})).expect("the page loads");
        // On a busy machine the driver may be back before the page is whole.
        let whole = format!(
            "document.readyState == 'complete' && location.pathname == new URL({}).pathname",
            Value::String(address.to_owned())
        );
        assert!(self.becomes(&whole), "{address} does not load");
    }

    /// What a script returns that runs in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        self.call("/execute/sync", &body).unwrap_or_else(|error| panic!("{error}\n{script}"))
    }

    /// What a script gives to its last argument, a function, sooner or later.
    pub(crate) fn run_to_its_end(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        self.call("/execute/async", &body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Whether an expression of the page becomes true within ten seconds.
    pub(crate) fn becomes(&self, expression: &str) -> bool {
        let wait = "setTimeout(arguments[0], 20)";
        (0..500).any(|_| {
            let body = json!({"script": format!("return Boolean({expression})"), "args": []});
            let is = self.call("/execute/sync", &body);
            // While one page makes place for the next, a script fails.
            is == Ok(Value::Bool(true)) || {
                let _ = self.call("/execute/async", &json!({"script": wait, "args": []}));
                false
            }
        })
    }

    /// Presses keys, one after the other.
    pub(crate) fn press(&self, keys: &str) {
        let strokes: Vec<Value> =
            keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key}))).collect();
        let body = json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]});
        self.call("/actions", &body).expect("keys are pressed");
    }

    /// Makes the page as wide as a telephone, or as wide as one likes.
    pub(crate) fn width(&self, width: u32) {
        let params = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        let body = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": params});
        self.call("/goog/cdp/execute", &body).expect("the page is resized");
    }

    /// Lays the pages out for `screen` or for `print`.
    pub(crate) fn medium(&self, medium: &str) {
        let body = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"media": medium}});
        self.call("/goog/cdp/execute", &body).expect("the medium is changed");
    }

    /// What has come to one of the browser's logs since the last call: `browser` is its console.
    pub(crate) fn log(&self, kind: &str) -> Vec<Value> {
        let lines = self.call("/se/log", &json!({"type": kind})).expect("a log");
        lines.as_array().cloned().unwrap_or_default()
    }

    /// The address of each request since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        let messages = self.log("performance").into_iter().filter_map(|line| {
            let message: Value = serde_json::from_str(line["message"].as_str()?).ok()?;
            let message = &message["message"];
            let sent = message["method"] == "Network.requestWillBeSent";
            sent.then(|| message["params"]["request"]["url"].as_str().unwrap_or_default().to_owned())
        });
        messages.collect()
    }

    /// Asks the driver for something of this session.
    pub(crate) fn call(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n");
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).map_err(|error| error.to_string())?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).map_err(|error| error.to_string())?;
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut bytes = vec![0; length];
        answer.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium first, or it outlives its driver.
        let _ = self.ask("DELETE", &format!("/session/{}", self.session), &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// A program of the search path.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: it is in Debian's package `{package}`"))
}
