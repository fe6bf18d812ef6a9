//! Upstream, as the specification plays it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::BoxError;
use futures_util::future::BoxFuture;
use lab::{Scene, locked};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::sleep,
};
use tower::{Service, service_fn, util::BoxCloneSyncService};

use crate::{Render, Upstream};

/// How a board is dialled.
#[derive(Clone, Debug)]
pub(crate) enum Dial {
    /// It is there at once.
    Quick,
    /// When the specification says so.
    Held,
    /// It fails after so many milliseconds; at once after none.
    Fails(u64),
    /// Upstream is not even ready.
    Unready,
}

/// Every subscription of a scene.
#[derive(Clone)]
pub(crate) struct Station {
    scene: Scene,
    rails: Arc<Mutex<Rails>>,
}

#[derive(Default)]
struct Rails {
    plans: HashMap<String, Dial>,
    gates: HashMap<String, Arc<Semaphore>>,
    lines: Vec<Line>,
    unready: bool,
}

struct Line {
    board: String,
    state: State,
}

enum State {
    Dialled,
    Open {
        sender: mpsc::Sender<String>,
        /// Ends the watch over it.
        end: oneshot::Sender<()>,
    },
    Dropped(u64),
    /// By upstream.
    Ended,
}

/// What has become of what a board had last.
pub(crate) enum Last {
    Lives(&'static str),
    DroppedAt(u64),
    Ended,
}

impl Station {
    pub(crate) fn new(scene: &Scene) -> Self {
        Self { scene: scene.clone(), rails: Arc::default() }
    }

    pub(crate) fn upstream(&self) -> Upstream {
        BoxCloneSyncService::new(self.clone())
    }

    /// How this board is dialled from now on.
    pub(crate) fn plan(&self, board: &str, dial: Dial) {
        let mut rails = locked(&self.rails);
        rails.unready = matches!(dial, Dial::Unready);
        rails.plans.insert(board.to_owned(), dial);
    }

    /// Those who dial this board are through.
    pub(crate) fn lets_through(&self, board: &str) {
        self.scene.note("upstream", format!("answers the dial of {board}"));
        self.gate(board).add_permits(Semaphore::MAX_PERMITS / 2);
    }

    fn gate(&self, board: &str) -> Arc<Semaphore> {
        let mut rails = locked(&self.rails);
        rails.gates.entry(board.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
    }

    /// Says something to each who has subscribed to this board.
    pub(crate) fn sends(&self, board: &str, message: &str) {
        self.scene.note("upstream", format!("says {message} on {board}"));
        for line in locked(&self.rails).lines.iter().filter(|line| line.board == board) {
            if let State::Open { sender, .. } = &line.state {
                // An app that does not read is seen by what its readers hear.
                let _ = sender.try_send(message.to_owned());
            }
        }
    }

    /// Ends each subscription to this board.
    pub(crate) fn ends(&self, board: &str) {
        self.scene.note("upstream", format!("ends {board}"));
        for line in locked(&self.rails).lines.iter_mut().filter(|line| line.board == board) {
            if let State::Open { sender, end } = std::mem::replace(&mut line.state, State::Ended) {
                drop(sender);
                // Its watch may be over.
                let _ = end.send(());
            }
        }
    }

    /// How often this board was dialled.
    pub(crate) fn dials(&self, board: &str) -> usize {
        locked(&self.rails).lines.iter().filter(|line| line.board == board).count()
    }

    /// How many subscriptions, to whatever board, live now, with those that are being dialled.
    pub(crate) fn living(&self) -> usize {
        locked(&self.rails).lines.iter().filter(|line| line.state.lives().is_some()).count()
    }

    /// How many subscriptions to this board live now.
    pub(crate) fn open(&self, board: &str) -> usize {
        let rails = locked(&self.rails);
        let of_board = rails.lines.iter().filter(|line| line.board == board);
        of_board.filter(|line| line.state.lives() == Some("the subscription to")).count()
    }

    /// Of several the one that lives, if any does, and else the last to go.
    pub(crate) fn last(&self, board: &str) -> Option<Last> {
        let rails = locked(&self.rails);
        let states = || rails.lines.iter().filter(|line| line.board == board).map(|line| &line.state);
        if let Some(what) = states().find_map(State::lives) {
            return Some(Last::Lives(what));
        }
        let dropped = |state: &State| if let State::Dropped(at_ms) = state { Some(*at_ms) } else { None };
        match states().filter_map(dropped).max() {
            Some(at_ms) => Some(Last::DroppedAt(at_ms)),
            None => states().next().map(|_| Last::Ended),
        }
    }

    fn set(&self, number: usize, state: State) {
        locked(&self.rails).lines[number].state = state;
    }

    /// The dial is over: there is a subscription.
    fn opened(&self, number: usize, board: &str) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel(16);
        let (end, mut ended) = oneshot::channel();
        self.scene.note("upstream", format!("subscribes to {board}"));
        self.set(number, State::Open { sender: sender.clone(), end });
        let (station, board) = (self.clone(), board.to_owned());
        drop(self.scene.spawn(async move {
            tokio::select! {
                biased;
                _ = &mut ended => {}
                () = sender.closed() => {
                    station.set(number, State::Dropped(station.scene.now_ms()));
                    station.scene.note("upstream", format!("loses the subscription to {board}"));
                }
            }
        }));
        receiver
    }
}

impl State {
    /// What lives, in words.
    fn lives(&self) -> Option<&'static str> {
        match self {
            Self::Dialled => Some("the dial of"),
            Self::Open { sender, .. } if !sender.is_closed() => Some("the subscription to"),
            _ => None,
        }
    }
}

/// A dial that is not over.
struct Dialling {
    station: Station,
    number: usize,
    board: String,
    over: bool,
}

impl Dialling {
    fn is_over(&mut self) {
        self.over = true;
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if !self.over {
            self.station.set(self.number, State::Dropped(self.station.scene.now_ms()));
            self.station.scene.note("upstream", format!("loses the dial of {}", self.board));
        }
    }
}

impl Service<String> for Station {
    type Response = mpsc::Receiver<String>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if locked(&self.rails).unready {
            self.scene.note("upstream", "is not ready");
            return Poll::Ready(Err("not ready".into()));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, board: String) -> Self::Future {
        let station = self.clone();
        station.scene.note("upstream", format!("is dialled for {board}"));
        let (number, plan) = {
            let mut rails = locked(&station.rails);
            rails.lines.push(Line { board: board.clone(), state: State::Dialled });
            (rails.lines.len() - 1, rails.plans.get(&board).cloned().unwrap_or(Dial::Quick))
        };
        let mut dialling = Dialling { station: station.clone(), number, board: board.clone(), over: false };
        Box::pin(async move {
            match plan {
                Dial::Quick | Dial::Unready => {}
                Dial::Held => station.gate(&board).acquire().await.expect("never closed").forget(),
                Dial::Fails(ms) => {
                    if ms > 0 {
                        sleep(Duration::from_millis(ms)).await;
                    }
                    dialling.is_over();
                    station.set(number, State::Ended);
                    station.scene.note("upstream", format!("refuses {board}"));
                    return Err("no such board".into());
                }
            }
            dialling.is_over();
            Ok(station.opened(number, &board))
        })
    }
}

/// How the specification renders a message: `boo` and `crash` cannot be.
pub(crate) fn render(message: &str) -> String {
    match message {
        "boo" => panic!("no colour for it"),
        "crash" => panic!("{} has no colour", message.len()),
        _ => format!("<{message}>"),
    }
}

// ===== Stand-ins =====

/// What the specification's `stand_ins` are.
pub(crate) fn stand_ins() -> (Upstream, Render) {
    let open = Arc::new(Mutex::new(0_usize));
    let upstream = service_fn(move |board: String| {
        let open = open.clone();
        async move {
            if board == "nowhere" {
                return Err(BoxError::from("no such board"));
            }
            let (sender, receiver) = mpsc::channel(16);
            say(&open, 1, "subscribed to", &board);
            drop(tokio::spawn(async move {
                let talk = async {
                    for second in 0.. {
                        if sender.send(format!("{board}, {second} s")).await.is_err() || board == "quiet" {
                            break;
                        }
                        sleep(Duration::from_secs(1)).await;
                    }
                    sender.closed().await;
                };
                tokio::select! {
                    () = talk => {}
                    () = sender.closed() => {}
                }
                say(&open, -1, "unsubscribed from", &board);
            }));
            Ok(receiver)
        }
    });
    (BoxCloneSyncService::new(upstream), Arc::new(|message: &str| message.to_uppercase()))
}

fn say(open: &Mutex<usize>, change: isize, what: &str, board: &str) {
    let mut open = locked(open);
    *open = open.saturating_add_signed(change);
    lab::say(format_args!("upstream: {what} {board}, {} open", *open));
}
