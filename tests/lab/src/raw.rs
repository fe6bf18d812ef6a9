//! A connection on which the specification writes and reads the bytes itself.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, WriteHalf},
    sync::watch,
};

use super::{
    locked,
    scene::Scene,
    transcript::escaped,
    wire::{ConnectionWatch, Line, Tap},
};

/// The client's end of a connection, as bytes, which are read as they come. Dropping it leaves.
#[must_use = "dropping it leaves"]
pub struct RawConnection {
    scene: Scene,
    client: String,
    line: Line,
    write: WriteHalf<Tap>,
    received: watch::Receiver<(Vec<u8>, bool)>,
    watch: Arc<Mutex<ConnectionWatch>>,
}

impl RawConnection {
    pub(super) fn new(scene: Scene, client: &str, io: Tap, watch: Arc<Mutex<ConnectionWatch>>) -> Self {
        let line = io.0.clone();
        let (mut read, write) = tokio::io::split(io);
        let (news, received) = watch::channel((Vec::new(), false));
        let (lane, noting, open) = (client.to_owned(), scene.clone(), line.clone());
        scene.spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(length @ 1..) = read.read(&mut buffer).await {
                noting.note(&lane, format!("gets {}", escaped(&buffer[..length])));
                news.send_modify(|(bytes, _)| bytes.extend_from_slice(&buffer[..length]));
            }
            if !open.is_cut() {
                noting.note(&lane, "sees the connection closed");
            }
            news.send_modify(|(_, closed)| *closed = true);
        });
        Self { scene, client: client.to_owned(), line, write, received, watch }
    }

    /// Writes bytes; waits while the connection is full. Bytes to a closed connection are lost, as on a socket.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.scene.note(&self.client, format!("sends {}", escaped(bytes)));
        let _ = self.write.write_all(bytes).await;
    }

    /// Sends no more, and goes on reading. hyper takes that for a client that has left.
    pub async fn finish(&mut self) {
        self.scene.note(&self.client, "sends no more");
        // A connection that is closed already has nothing to finish.
        let _ = self.write.shutdown().await;
    }

    /// What the server knows of this connection.
    pub fn watch(&self) -> ConnectionWatch {
        locked(&self.watch).clone()
    }

    /// What has been received so far.
    pub fn received(&self) -> Vec<u8> {
        self.received.borrow().0.clone()
    }

    /// What has been received so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received()).into_owned()
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.received.borrow().1
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(&mut self) {
        let _waits = self.scene.waits(&self.client, "the end of the connection");
        // The sender lives as long as the reader, and the reader as long as the connection.
        let _ = self.received.wait_for(|(_, closed)| *closed).await;
    }

    /// Waits until what was received contains `text`, or the connection is closed.
    pub async fn hears(&mut self, text: &str) -> bool {
        let _waits = self.scene.waits(&self.client, escaped(text.as_bytes()));
        let heard = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
        let received = self.received.wait_for(|(bytes, closed)| *closed || heard(bytes)).await;
        received.is_ok_and(|received| heard(&received.0))
    }

    /// Waits until more than `length` bytes have been received; `false` if the connection is closed before.
    pub async fn hears_beyond(&mut self, length: usize) -> bool {
        let _waits = self.scene.waits(&self.client, "more bytes");
        let received = self.received.wait_for(|(bytes, closed)| *closed || bytes.len() > length).await;
        received.is_ok_and(|received| received.0.len() > length)
    }

    /// The client is gone, at once and without a word.
    pub fn leave(self) {
        self.scene.note(&self.client, "leaves");
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        self.line.cut();
    }
}

impl fmt::Debug for RawConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawConnection").field("client", &self.client).finish_non_exhaustive()
    }
}
