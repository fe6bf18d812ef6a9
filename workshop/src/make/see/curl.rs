//! As much of curl as the commands of `case.toml` need, on a connection of the laboratory: it prints what curl prints.

use std::{io::Write, mem, time::Duration};

use lab::{Protocol, RawConnection, Scene, Server};
use tokio::time::{sleep, timeout};

use super::shell::{Feed, whole};

/// The lane of what a command prints.
pub(super) const PRINTS: &str = "prints";
/// How the commands of `case.toml` name the server.
const BASE: &str = "{base}";
/// What a server that has switched to another answer first says.
const CONTINUE: &str = "HTTP/1.1 100";

/// One transfer: what is asked, and what is printed of the answer.
#[derive(Debug, Default)]
struct Transfer {
    method: Option<String>,
    path: String,
    headers: Vec<String>,
    data: Option<String>,
    upload: bool,
    compressed: bool,
    with_head: bool,
    without_body: bool,
    tells_errors: bool,
    at_most: Option<u64>,
    tell: String,
}

/// Runs a command `curl …` to its end.
///
/// # Errors
/// What of it is not understood.
pub(super) async fn run(scene: Scene, server: &Server, words: &[String], piped: &[Feed]) -> Result<(), String> {
    let mut connection = None;
    for transfer in transfers(words)? {
        let began = scene.now_ms();
        let mut open = connection.take().unwrap_or_else(|| server.connect_raw("curl", Protocol::Http1));
        let mut status = "000".to_owned();
        let transferring = transfer.carried_out(&scene, &mut open, piped, &mut status);
        let outcome = match transfer.at_most {
            None => transferring.await,
            Some(seconds) => timeout(Duration::from_secs(seconds), transferring).await.unwrap_or_else(|_| {
                let waited = seconds * 1000;
                Err(format!("(28) Operation timed out after {waited} milliseconds with 0 bytes received"))
            }),
        };
        let took = (scene.now_ms() - began) as f64 / 1000.0;
        match outcome {
            Ok(()) if open.is_closed() => {}
            Ok(()) => connection = Some(open),
            Err(why) if transfer.tells_errors => scene.note(PRINTS, format!("curl: {why}\n")),
            Err(_) => {}
        }
        let told = transfer.tell.replace("%{http_code}", &status).replace("%{time_total}", &format!("{took:.6}"));
        if !told.is_empty() {
            scene.note(PRINTS, told);
        }
    }
    Ok(())
}

/// The transfers of a command, which `--next` parts.
fn transfers(words: &[String]) -> Result<Vec<Transfer>, String> {
    let mut all = vec![Transfer::default()];
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let now = all.last_mut().ok_or("has no transfer")?;
        let mut value = || words.next().cloned().ok_or_else(|| format!("has `{word}` without its value"));
        match word.as_str() {
            "--next" => all.push(Transfer::default()),
            "--compressed" => now.compressed = true,
            "-" => {}
            _ if word.starts_with(BASE) => now.path = word[BASE.len()..].to_owned(),
            "-X" => now.method = Some(value()?),
            "-d" => now.data = Some(value()?),
            "-T" => now.upload = value()? == "-",
            "-o" => now.without_body = value()? == "/dev/null",
            "-w" => now.tell = value()?.replace("\\n", "\n"),
            "-m" => now.at_most = Some(whole(&value()?)?),
            short if short.starts_with('-') && !short.starts_with("--") => {
                for letter in short.chars().skip(1) {
                    match letter {
                        's' | 'N' => {}
                        'i' => now.with_head = true,
                        'S' => now.tells_errors = true,
                        'o' => now.without_body = value()? == "/dev/null",
                        'H' => now.headers.push(value()?),
                        _ => return Err(format!("has curl's option `-{letter}`, which is not played")),
                    }
                }
            }
            other => return Err(format!("has `{other}`, which is not played")),
        }
    }
    Ok(all)
}

impl Transfer {
    fn head(&self) -> String {
        let by_data = if self.data.is_some() { "POST" } else { "GET" };
        let method = self.method.as_deref().unwrap_or(by_data);
        let mut head = format!("{method} {} HTTP/1.1\r\nhost: 127.0.0.1:3000\r\naccept: */*\r\n", self.path);
        let chunked = self.headers.iter().any(|header| header.starts_with("transfer-encoding: chunked"));
        if self.compressed {
            head.push_str("accept-encoding: gzip\r\n");
        }
        if self.upload {
            head.push_str("transfer-encoding: chunked\r\n");
        }
        for header in &self.headers {
            head.push_str(&format!("{header}\r\n"));
        }
        if let Some(data) = self.data.as_ref().filter(|_| !chunked) {
            head.push_str(&format!("content-length: {}\r\n", data.len()));
        }
        head.push_str("\r\n");
        match &self.data {
            Some(data) if chunked => head.push_str(&format!("{}0\r\n\r\n", chunk(data))),
            Some(data) => head.push_str(data),
            None => {}
        }
        head
    }

    /// Asks and prints the answer.
    async fn carried_out(
        &self,
        scene: &Scene,
        open: &mut RawConnection,
        piped: &[Feed],
        status: &mut String,
    ) -> Result<(), String> {
        let mut read = open.received().len();
        open.write(self.head().as_bytes()).await;
        if self.upload {
            for feed in piped {
                match feed {
                    Feed::Echo(text) => open.write(chunk(text).as_bytes()).await,
                    Feed::Sleep(seconds) => sleep(Duration::from_secs(*seconds)).await,
                }
            }
            open.write(b"0\r\n\r\n").await;
        }
        let head = loop {
            let received = open.received();
            let text = String::from_utf8_lossy(&received[read..]).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                read += head.len() + 4;
                if !head.starts_with(CONTINUE) {
                    break head.to_owned();
                }
            } else if !open.hears_beyond(received.len()).await {
                return Err("(52) Empty reply from server".to_owned());
            }
        };
        *status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if self.with_head && !self.without_body {
            scene.note(PRINTS, format!("{}\n\n", head.replace("\r\n", "\n")));
        }
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
        };
        let mut body = Body::of(header("content-length"), header("transfer-encoding").is_some());
        let mut decoder =
            (header("content-encoding") == Some("gzip")).then(|| flate2::write::GzDecoder::new(Vec::new()));
        loop {
            let received = open.received();
            let mut data = body.take(&received[read..]);
            read = received.len();
            if let Some(decoder) = &mut decoder {
                decoder
                    .write_all(&data)
                    .and_then(|()| decoder.flush())
                    .map_err(|_| "(61) that is no gzip".to_owned())?;
                data = mem::take(decoder.get_mut());
            }
            if !data.is_empty() && !self.without_body {
                scene.note(PRINTS, String::from_utf8_lossy(&data));
            }
            if body.has_ended() {
                return Ok(());
            }
            if !open.hears_beyond(received.len()).await {
                return match body {
                    Body::UntilClosed => Ok(()),
                    Body::Known(left) => Err(format!("(18) transfer closed with {left} bytes remaining to read")),
                    Body::Chunked { .. } => Err("(18) transfer closed with outstanding read data remaining".to_owned()),
                };
            }
        }
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// How much of a body is still to come.
enum Body {
    UntilClosed,
    Known(usize),
    Chunked { waiting: Vec<u8>, ended: bool },
}

impl Body {
    fn of(length: Option<&str>, chunked: bool) -> Self {
        match length.and_then(|length| length.parse().ok()) {
            _ if chunked => Self::Chunked { waiting: Vec::new(), ended: false },
            Some(length) => Self::Known(length),
            None => Self::UntilClosed,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Self::Known(0) | Self::Chunked { ended: true, .. })
    }

    /// What the next bytes of the connection say.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::UntilClosed => bytes.to_vec(),
            Self::Known(left) => {
                let bytes = &bytes[..bytes.len().min(*left)];
                *left -= bytes.len();
                bytes.to_vec()
            }
            Self::Chunked { waiting, ended } => {
                waiting.extend_from_slice(bytes);
                let mut data = Vec::new();
                while let Some(line) = waiting.windows(2).position(|pair| pair == b"\r\n") {
                    let size = std::str::from_utf8(&waiting[..line]).unwrap_or_default();
                    let size = usize::from_str_radix(size, 16).unwrap_or(0);
                    let end = line + 2 + size + 2;
                    if waiting.len() < end {
                        break;
                    }
                    data.extend_from_slice(&waiting[line + 2..line + 2 + size]);
                    waiting.drain(..end);
                    *ended |= size == 0;
                }
                data
            }
        }
    }
}
