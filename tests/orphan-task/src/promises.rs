//! The proofs of the promises.

use std::{convert::Infallible, pin::Pin, task::Poll, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Method, StatusCode},
    response::Response,
};
use futures_util::poll;
use http_body_util::BodyExt;
use lab::{Asked, Broken, Lab, Leaving, Proof, Protocol, Received, Scene, control};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tracing::Level;

use crate::{
    A_MOMENT, App, Desk, EVERYDAY, HEADS, LAST_READER_ENDS_IT, Manner, NEXT_READER_IS_SERVED,
    NOTHING_OUTLIVES_THE_ROUTER, ONE_SUBSCRIPTION_A_BOARD, PANIC_COSTS_ONE_MESSAGE, Reader, Reading,
    SLOW_DIAL_HOLDS_UP_ITS_BOARD, STATUSES, THOUSAND_LEAVE_NO_TRACE, TOLD_OF_THE_END, UPSTREAMS_END_IS_TOLD, asking,
    at, events,
    station::{Dial, render},
};

/// The board of most scenes, and another.
const BOARD: &str = "trains";
const OTHER: &str = "planes";

pub(crate) async fn last_reader_ends_it(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for manner in Manner::BOTH {
            let desk = Desk::open(&lab, &app, format_args!("{protocol}, {manner}"));
            let mut ada = desk.comes("ada", protocol, BOARD).await.leaving_by(manner);
            desk.listen(&mut [&mut ada]).await?;
            desk.works(BOARD, &ada).await?;
            let left_ms = ada.leaves(&desk.scene);
            desk.is_over(LAST_READER_ENDS_IT, BOARD, left_ms).await?;

            let desk = Desk::open(&lab, &app, format_args!("{protocol}, {manner}, and the board has said nothing"));
            let mut ada = desk.comes("ada", protocol, BOARD).await.leaving_by(manner);
            desk.listen(&mut [&mut ada]).await?;
            control(desk.station.open(BOARD) == 1, "ada reads a board, and nobody has subscribed to it")?;
            let left_ms = ada.leaves(&desk.scene);
            desk.is_over(LAST_READER_ENDS_IT, BOARD, left_ms).await?;

            let desk = Desk::open(&lab, &app, format_args!("{protocol}, {manner} while its board is dialled"));
            desk.station.plan(BOARD, Dial::Held);
            let ada = desk.comes("ada", protocol, BOARD).await.leaving_by(manner);
            desk.scene.settle().await;
            control(desk.station.dials(BOARD) == 1, "ada asked for a board, and nobody dialled it")?;
            let left_ms = ada.leaves(&desk.scene);
            desk.is_over(LAST_READER_ENDS_IT, BOARD, left_ms).await?;

            for first in ["the dial is answered", "the client goes"] {
                let title = format!("{protocol}, {manner} in the instant in which its dial is answered: first {first}");
                let desk = Desk::open(&lab, &app, title);
                desk.station.plan(BOARD, Dial::Held);
                let ada = desk.comes("ada", protocol, BOARD).await.leaving_by(manner);
                desk.scene.settle().await;
                control(desk.station.dials(BOARD) == 1, "ada asked for a board, and nobody dialled it")?;
                if first == "the client goes" {
                    let left_ms = ada.leaves(&desk.scene);
                    desk.station.lets_through(BOARD);
                    desk.is_over(LAST_READER_ENDS_IT, BOARD, left_ms).await?;
                } else {
                    desk.station.lets_through(BOARD);
                    let left_ms = ada.leaves(&desk.scene);
                    desk.is_over(LAST_READER_ENDS_IT, BOARD, left_ms).await?;
                }
            }

            let desk = Desk::open(&lab, &app, format_args!("{protocol}, two read, and for both {manner}"));
            let mut ada = desk.comes("ada", protocol, BOARD).await.leaving_by(manner);
            let mut ben = desk.comes("ben", protocol, BOARD).await.leaving_by(manner);
            desk.listen(&mut [&mut ada, &mut ben]).await?;
            desk.works(BOARD, &ada).await?;
            ada.leaves(&desk.scene);
            let left_ms = ben.leaves(&desk.scene);
            desk.is_over(LAST_READER_ENDS_IT, BOARD, left_ms).await?;
        }
        let desk = Desk::open(&lab, &app, format_args!("{protocol}, one leaves while the dial of another board hangs"));
        desk.station.plan(OTHER, Dial::Held);
        let mut ada = desk.comes("ada", protocol, BOARD).await;
        let ben = desk.comes("ben", protocol, OTHER).await;
        desk.listen(&mut [&mut ada]).await?;
        desk.works(BOARD, &ada).await?;
        let left_ms = ada.leaves(&desk.scene);
        desk.is_over(LAST_READER_ENDS_IT, BOARD, left_ms).await?;
        let left_ms = ben.leaves(&desk.scene);
        desk.is_over(LAST_READER_ENDS_IT, OTHER, left_ms).await?;

        let desk = Desk::open(&lab, &app, format_args!("{protocol}, a HEAD"));
        let client = desk.server().connect("client", protocol).await;
        let pending = client.begin(asking(Method::HEAD, BOARD));
        sleep(A_MOMENT).await;
        let living = desk.station.living();
        HEADS.require(living == 0, format!("after a HEAD {living} subscriptions are there"))?;
        drop(pending);

        let (_, moments) = one_leaves(&lab, &app, protocol, None).await?;
        for moment in moments {
            let (desk, _) = one_leaves(&lab, &app, protocol, Some(&moment)).await?;
            let living = desk.station.living();
            let observed = format!("ada left, and {living} subscriptions or dials are still there");
            LAST_READER_ENDS_IT.require(living == 0, observed)?;
        }
    }
    for polled in ["its body is never polled", "it was polled once, and its body too", "it was never polled"] {
        let desk = Desk::open(&lab, &app, format_args!("without a wire, a request is dropped: {polled}"));
        let mut ada = desk.by_hand(BOARD);
        if polled == "its body is never polled"
            && let ByHand::Asks(asked) = &mut ada
            && let Poll::Ready(Ok(answer)) = poll!(asked)
        {
            ada = ByHand::Reads(answer);
            desk.scene.settle().await;
        }
        if polled == "it was polled once, and its body too" {
            ada.is_polled().await;
            desk.scene.settle().await;
            control(desk.station.dials(BOARD) == 1, "ada asked for a board, and nobody dialled it")?;
        }
        let left_ms = desk.scene.now_ms();
        desk.scene.note("ada", "drops what she has");
        drop(ada);
        desk.is_over(LAST_READER_ENDS_IT, BOARD, left_ms).await?;
    }
    Ok(())
}

/// Ada reads a board whose dial takes a moment, and leaves at that moment, if there is one. Nothing is said once she has left.
async fn one_leaves(
    lab: &Lab,
    app: &App,
    protocol: Protocol,
    moment: Option<&Leaving>,
) -> Result<(Desk, Vec<Leaving>), Broken> {
    let title = moment.map_or_else(|| format!("{protocol}, ada stays"), |moment| format!("{protocol}, {moment}"));
    let desk = Desk::open(lab, app, title);
    desk.station.plan(BOARD, Dial::Held);
    let connection = desk.server().connect("ada", protocol).await;
    if let Some(moment) = moment {
        connection.leaves_at(moment);
    }
    let mut ada = desk.comes_on("ada", &connection, BOARD);
    sleep(A_MOMENT).await;
    let has_left = || connection.watch().ended.is_some();
    if !has_left() {
        desk.station.lets_through(BOARD);
        sleep(A_MOMENT).await;
    }
    if moment.is_none() {
        ada.listens().await?;
        desk.works(BOARD, &ada).await?;
    } else {
        // Who leaves may do so before the head.
        ada.told().await;
        if !has_left() {
            desk.station.sends(BOARD, "one");
            desk.scene.settle().await;
        }
    }
    sleep(A_MOMENT).await;
    if !has_left() {
        desk.station.sends(BOARD, "two");
        sleep(A_MOMENT).await;
    }
    let moments = desk.scene.moments_to_leave();
    if !has_left() {
        ada.leaves(&desk.scene);
    }
    desk.scene.settle().await;
    Ok((desk, moments))
}

pub(crate) async fn thousand_leave_no_trace(lab: Lab, app: App) -> Proof {
    let desk = Desk::open(&lab, &app, "1,000 readers in process");
    let boards: Vec<String> = (0..1000).map(|number| format!("board-{number}")).collect();
    let (first, rest) = boards.split_at(1);
    come_and_go(&desk, first).await?;
    let after_one = desk.scene.app_tasks();
    for some in rest.chunks(111) {
        come_and_go(&desk, some).await?;
    }
    no_trace(&desk, after_one, 1000)?;
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab, &app, format_args!("{protocol}, 50 readers"));
        let mut after_one = None;
        for boards in [&boards[..1], &boards[1..50]] {
            let shared = desk.server().connect("client", protocol).await;
            let mut readers = Vec::new();
            for board in boards {
                readers.push(match protocol {
                    Protocol::Http1 => desk.comes("client", protocol, board).await,
                    Protocol::Http2 => desk.comes_on("client", &shared, board),
                });
            }
            desk.scene.settle().await;
            for (reader, board) in readers.iter_mut().zip(boards) {
                reader.listens().await?;
                desk.works(board, reader).await?;
            }
            for reader in readers {
                reader.leaves(&desk.scene);
            }
            desk.scene.settle().await;
            match after_one {
                None => after_one = Some(desk.scene.app_tasks()),
                Some(after_one) => no_trace(&desk, after_one, 50)?,
            }
        }
    }
    Ok(())
}

/// One reader of each of these boards hears one message; then all go.
async fn come_and_go(desk: &Desk, boards: &[String]) -> Proof {
    let mut bodies = Vec::new();
    for board in boards {
        bodies.push(desk.in_process(board).await?);
    }
    desk.scene.settle().await;
    for (body, board) in bodies.iter_mut().zip(boards) {
        desk.station.sends(board, "one");
        hears(&desk.scene, body, "one").await?;
    }
    drop(bodies);
    desk.scene.settle().await;
    Ok(())
}

fn no_trace(desk: &Desk, after_one: usize, readers: usize) -> Proof {
    let (tasks, living) = (desk.scene.app_tasks(), desk.station.living());
    let observed = format!(
        "{readers} readers of as many boards have come and gone; after the first {after_one} tasks were left, and now there \
         are {tasks}, and {living} subscriptions",
    );
    THOUSAND_LEAVE_NO_TRACE.require(tasks == after_one && living == 0, observed)
}

pub(crate) async fn one_subscription_a_board(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for manner in Manner::BOTH {
            for who in 0..3 {
                let title = format!("{protocol}, the {} of three goes: {manner}", ["first", "second", "last"][who]);
                let desk = Desk::open(&lab, &app, title);
                let mut readers = Vec::new();
                for name in ["ada", "ben", "cem"] {
                    readers.push(desk.comes(name, protocol, BOARD).await.leaving_by(manner));
                }
                let mut dora = desk.comes("dora", protocol, OTHER).await;
                let [ada, ben, cem] = &mut readers[..] else { unreachable!("three have come") };
                desk.listen(&mut [ada, ben, cem, &mut dora]).await?;
                let all: Vec<&Reader> = readers.iter().collect();
                desk.all_hear(ONE_SUBSCRIPTION_A_BOARD, BOARD, &["one"], &all).await?;
                desk.all_hear(ONE_SUBSCRIPTION_A_BOARD, BOARD, &["two", "three", "two"], &all).await?;
                shared(&desk, ONE_SUBSCRIPTION_A_BOARD, BOARD)?;
                let stray = dora.heard().len();
                let observed = format!("{BOARD} said four things, and dora, who reads {OTHER}, heard {stray}");
                ONE_SUBSCRIPTION_A_BOARD.require(stray == 0, observed)?;
                readers.remove(who).leaves(&desk.scene);
                desk.scene.settle().await;
                let others: Vec<&Reader> = readers.iter().collect();
                desk.all_hear(ONE_SUBSCRIPTION_A_BOARD, BOARD, &["four"], &others).await?;
                desk.all_hear(ONE_SUBSCRIPTION_A_BOARD, OTHER, &["five"], &[&dora]).await?;
                shared(&desk, ONE_SUBSCRIPTION_A_BOARD, BOARD)?;
            }
        }
        let desk = Desk::open(&lab, &app, format_args!("{protocol}, another comes while the board is dialled"));
        desk.station.plan(BOARD, Dial::Held);
        let mut ada = desk.comes("ada", protocol, BOARD).await;
        sleep(A_MOMENT).await;
        let mut ben = desk.comes("ben", protocol, BOARD).await;
        sleep(A_MOMENT).await;
        desk.station.lets_through(BOARD);
        desk.listen(&mut [&mut ada, &mut ben]).await?;
        desk.all_hear(ONE_SUBSCRIPTION_A_BOARD, BOARD, &["one", "two"], &[&ada, &ben]).await?;
        shared(&desk, ONE_SUBSCRIPTION_A_BOARD, BOARD)?;

        let desk = Desk::open(&lab, &app, format_args!("{protocol}, one of two doesn't read"));
        let router = desk.router.clone().expect("it is there");
        // The answer is there, and nobody polls its body.
        let _ada = router.oneshot(asking(Method::GET, BOARD)).await;
        let mut ben = desk.comes("ben", protocol, BOARD).await;
        desk.listen(&mut [&mut ben]).await?;
        for _ in 0..50 {
            desk.all_hear(ONE_SUBSCRIPTION_A_BOARD, BOARD, &["one", "two", "three"], &[&ben]).await?;
        }
    }
    for unread in [MAY_BE_UNREAD, 100] {
        let desk = Desk::open(&lab, &app, format_args!("a reader doesn't read for {unread} messages"));
        let mut ada = desk.in_process(BOARD).await?;
        desk.scene.settle().await;
        let said: Vec<String> = (1..=unread).map(|number| format!("train {number}")).collect();
        for message in &said {
            desk.station.sends(BOARD, message);
            desk.scene.settle().await;
        }
        let (heard, is_over) = catches_up(&desk, &mut ada).await;
        let mut due = said.iter().map(|message| render(message));
        let in_order = heard.iter().all(|message| due.any(|said| said == *message));
        let observed = format!("{unread} messages came while a reader didn't read, and then she heard {heard:?}");
        let may_miss = unread > MAY_BE_UNREAD;
        ONE_SUBSCRIPTION_A_BOARD.require(in_order && (may_miss || heard.len() == unread), observed)?;
        let observed = format!("{unread} messages came while a reader didn't read, and her stream ended");
        ONE_SUBSCRIPTION_A_BOARD.require(!is_over, observed)?;
        desk.station.sends(BOARD, "the last train");
        let (heard, _) = catches_up(&desk, &mut ada).await;
        let observed = format!("after {unread} messages that she didn't read at once, a reader heard {heard:?} of one");
        ONE_SUBSCRIPTION_A_BOARD.require(heard == [render("the last train")], observed)?;
    }
    Ok(())
}

/// How many messages may come before a reader reads, and she misses none.
const MAY_BE_UNREAD: usize = 15;

/// Reads whatever has come, and tells whether that was the end.
async fn catches_up(desk: &Desk, body: &mut Body) -> (Vec<String>, bool) {
    let mut received = Received::default();
    let is_over = loop {
        match timeout(A_MOMENT, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                received.data.extend(frame.into_data().ok().map(|data| (desk.scene.now_ms(), data)));
            }
            Ok(_) => break true,
            Err(_) => break false,
        }
    };
    (events(&received).into_iter().map(|(_, text)| text).collect(), is_over)
}

/// At rest, a board has one subscription.
fn shared(desk: &Desk, asked: Asked, board: &str) -> Proof {
    let open = desk.station.open(board);
    asked.require(open == 1, format!("{board} is read, and has {open} subscriptions"))
}

pub(crate) async fn next_reader_is_served(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for manner in Manner::BOTH {
            for later in [true, false] {
                let when = if later { "later" } else { "in the same instant" };
                let desk = Desk::open(&lab, &app, format_args!("{protocol}, {manner}, the next one comes {when}"));
                let mut ada = desk.comes("ada", protocol, BOARD).await.leaving_by(manner);
                let bens = desk.server().connect("ben", protocol).await;
                desk.listen(&mut [&mut ada]).await?;
                desk.works(BOARD, &ada).await?;
                ada.leaves(&desk.scene);
                if later {
                    sleep(A_MOMENT).await;
                }
                let mut ben = desk.comes_on("ben", &bens, BOARD);
                desk.listen(&mut [&mut ben]).await?;
                desk.all_hear(NEXT_READER_IS_SERVED, BOARD, &["two"], &[&ben]).await?;
                shared(&desk, NEXT_READER_IS_SERVED, BOARD)?;
                let mut cem = desk.comes("cem", protocol, BOARD).await;
                desk.listen(&mut [&mut cem]).await?;
                desk.all_hear(NEXT_READER_IS_SERVED, BOARD, &["three"], &[&ben, &cem]).await?;
                shared(&desk, NEXT_READER_IS_SERVED, BOARD)?;
            }
        }
    }
    for dial in [Dial::Quick, Dial::Held] {
        for goes_first in [true, false] {
            let title = format!(
                "one {}, the next is asked for by the same thread {}",
                if matches!(dial, Dial::Held) { "leaves while the board is dialled" } else { "leaves" },
                if goes_first { "before anything else runs" } else { "just before that" },
            );
            let desk = Desk::open(&lab, &app, title);
            // On the way there, a board that is dialled at once.
            let mut other = desk.in_process(OTHER).await?;
            desk.scene.settle().await;
            desk.station.sends(OTHER, "one");
            hears(&desk.scene, &mut other, "one").await?;

            desk.station.plan(BOARD, dial.clone());
            let (mut ada, mut ben) = (desk.by_hand(BOARD), desk.by_hand(BOARD));
            ada.is_polled().await;
            desk.scene.settle().await;
            ada.is_polled().await;
            control(desk.station.dials(BOARD) == 1, "ada asked for a board, and nobody dialled it")?;
            if !goes_first {
                ben.is_polled().await;
            }
            desk.scene.note("ada", "drops what she has");
            drop(ada);
            if goes_first {
                ben.is_polled().await;
            }
            desk.scene.settle().await;
            desk.station.lets_through(BOARD);
            desk.scene.settle().await;
            let mut ben = ben.body(&desk.scene, "ben", Some(NEXT_READER_IS_SERVED)).await?;
            desk.scene.settle().await;
            shared(&desk, NEXT_READER_IS_SERVED, BOARD)?;
            desk.station.sends(BOARD, "two");
            hears(&desk.scene, &mut ben, "two").await?;
            let mut cem = desk.in_process(BOARD).await?;
            desk.scene.settle().await;
            shared(&desk, NEXT_READER_IS_SERVED, BOARD)?;
            desk.station.sends(BOARD, "three");
            hears(&desk.scene, &mut ben, "three").await?;
            hears(&desk.scene, &mut cem, "three").await?;
        }
    }
    Ok(())
}

pub(crate) async fn upstreams_end_is_told(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (how, dial) in [
            ("fails", Dial::Fails(0)),
            ("fails after a second", Dial::Fails(1000)),
            ("cannot begin: upstream is not ready", Dial::Unready),
        ] {
            let desk = Desk::open(&lab, &app, format_args!("{protocol}, the dial {how}"));
            let before = desk.scene.app_tasks();
            desk.station.plan(BOARD, dial);
            let mut readers = Vec::new();
            for name in ["ada", "ben"] {
                readers.push(desk.comes(name, protocol, BOARD).await);
            }
            sleep(Duration::from_millis(999)).await;
            for reader in &mut readers {
                reader.told().await;
            }
            desk.scene.settle().await;
            let at_ms = desk.scene.now_ms();
            desk.scene.settle().await;
            for reader in &mut readers {
                has_ended(reader, at_ms, "the dial failed").await?;
            }
            drop(readers);
            goes_on(&desk, before, protocol, "the dial failed").await?;
        }
        for with_a_last_word in [false, true] {
            let how = if with_a_last_word { "says something and ends" } else { "ends" };
            let desk = Desk::open(&lab, &app, format_args!("{protocol}, upstream {how}"));
            let before = desk.scene.app_tasks();
            let mut ada = desk.comes("ada", protocol, BOARD).await;
            let mut ben = desk.comes("ben", protocol, BOARD).await;
            desk.listen(&mut [&mut ada, &mut ben]).await?;
            desk.works(BOARD, &ada).await?;
            let at_ms = desk.scene.now_ms();
            if with_a_last_word {
                desk.station.sends(BOARD, "two");
            }
            desk.station.ends(BOARD);
            desk.scene.settle().await;
            for reader in [&mut ada, &mut ben] {
                has_ended(reader, at_ms, "upstream ended").await?;
                let heard: Vec<_> = reader.heard().into_iter().map(|(_, text)| text).collect();
                let due: &[&str] = if with_a_last_word { &["<one>", "<two>"] } else { &["<one>"] };
                let observed = format!("upstream ended after {due:?}, and {} heard {heard:?}", reader.name);
                UPSTREAMS_END_IS_TOLD.require(heard == due, observed)?;
            }
            drop((ada, ben));
            goes_on(&desk, before, protocol, "upstream ended").await?;
        }
    }

    // Ada has heard all that was said, and does not read on.
    let desk = Desk::open(&lab, &app, "upstream ends, ada does not read on, and ben comes");
    let mut ada = desk.in_process(BOARD).await?;
    desk.scene.settle().await;
    desk.station.sends(BOARD, "one");
    hears(&desk.scene, &mut ada, "one").await?;
    desk.station.ends(BOARD);
    desk.scene.settle().await;
    let mut ben = desk.in_process(BOARD).await?;
    desk.scene.settle().await;
    let dials = desk.station.dials(BOARD);
    let observed = format!("upstream ended, ben came, and {BOARD} was dialled {dials} times in all, expected 2");
    UPSTREAMS_END_IS_TOLD.require(dials == 2, observed)?;
    desk.station.sends(BOARD, "two");
    hears(&desk.scene, &mut ben, "two").await
}

/// The reader was told by this time that there is nothing to come.
async fn has_ended(reader: &mut Reader, by_ms: u64, why: &str) -> Proof {
    let name = reader.name.clone();
    let status = reader.told().await;
    if let Some(status) = status.or(reader.status).filter(|status| *status != StatusCode::OK) {
        let observed = format!("{why}, and {name} was told {}", status.as_u16());
        return TOLD_OF_THE_END.require(status.is_server_error(), observed);
    }
    let ended = match (&reader.state, reader.ended_ms()) {
        (Reading::Asked(_), _) => Err("has no answer".to_owned()),
        (Reading::Over, _) => Ok(()),
        (Reading::Listens(_), None) => Err("waits for more".to_owned()),
        (Reading::Listens(_), Some(at_ms)) if at_ms > by_ms => Err(format!("was told so at {at_ms} ms")),
        (Reading::Listens(_), Some(_)) => Ok(()),
    };
    match ended {
        Ok(()) => Ok(()),
        Err(what) => UPSTREAMS_END_IS_TOLD.require(false, format!("{why} by {by_ms} ms, and {name} {what}")),
    }
}

/// No more tasks than before, and the next reader is served by a dial of their own.
async fn goes_on(desk: &Desk, tasks_before: usize, protocol: Protocol, why: &str) -> Proof {
    desk.scene.settle().await;
    let tasks = desk.scene.app_tasks();
    let observed = format!("{why}, and there are {tasks} tasks; before its readers came there were {tasks_before}");
    UPSTREAMS_END_IS_TOLD.require(tasks <= tasks_before, observed)?;
    desk.station.plan(BOARD, Dial::Quick);
    let mut cem = desk.comes("cem", protocol, BOARD).await;
    desk.listen(&mut [&mut cem]).await?;
    desk.all_hear(UPSTREAMS_END_IS_TOLD, BOARD, &["three"], &[&cem]).await?;
    shared(desk, UPSTREAMS_END_IS_TOLD, BOARD)
}

pub(crate) async fn slow_dial_holds_up_its_board(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for manner in Manner::BOTH {
            for who in [0, 1] {
                let who_leaves = ["first", "second"][who];
                let desk = Desk::open(&lab, &app, format_args!("{protocol}, the {who_leaves} of two goes: {manner}"));
                desk.station.plan(BOARD, Dial::Held);
                let mut waiting = Vec::new();
                for name in ["ada", "ben"] {
                    waiting.push(desk.comes(name, protocol, BOARD).await.leaving_by(manner));
                    desk.scene.settle().await;
                }
                let mut cem = desk.comes("cem", protocol, OTHER).await;
                desk.scene.settle().await;
                let observed = format!("a dial of {BOARD} hangs, and cem has no answer, who reads {OTHER}");
                SLOW_DIAL_HOLDS_UP_ITS_BOARD.require(cem.is_answered(), observed)?;
                cem.listens().await?;
                desk.all_hear(SLOW_DIAL_HOLDS_UP_ITS_BOARD, OTHER, &["one"], &[&cem]).await?;
                sleep(Duration::from_secs(30)).await;
                waiting.remove(who).leaves(&desk.scene);
                desk.scene.settle().await;
                desk.station.lets_through(BOARD);
                desk.scene.settle().await;
                let other = &mut waiting[0];
                let observed = format!(
                    "the {who_leaves} of two who waited for a dial left, it was answered, and {} has no answer",
                    other.name
                );
                SLOW_DIAL_HOLDS_UP_ITS_BOARD.require(other.is_answered(), observed)?;
                other.listens().await?;
                desk.all_hear(SLOW_DIAL_HOLDS_UP_ITS_BOARD, BOARD, &["two"], &[&waiting[0]]).await?;
                shared(&desk, SLOW_DIAL_HOLDS_UP_ITS_BOARD, BOARD)?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn panic_costs_one_message(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab, &app, protocol);
        let mut ada = desk.comes("ada", protocol, BOARD).await;
        let mut ben = desk.comes("ben", protocol, OTHER).await;
        let mut cleo = desk.comes("cleo", protocol, BOARD).await;
        desk.listen(&mut [&mut ada, &mut ben, &mut cleo]).await?;
        desk.works(BOARD, &ada).await?;
        for (message, text) in [("boo", "no colour for it"), ("crash", "5 has no colour")] {
            desk.station.sends(BOARD, message);
            desk.scene.settle().await;
            let lines = desk.scene.logs().into_iter().filter(|line| line.level == Level::ERROR);
            let telling: Vec<_> = lines.filter(|line| line.mentions(text)).collect();
            let observed = format!("`render` panicked with {text:?}, and {} ERROR events have it", telling.len());
            PANIC_COSTS_ONE_MESSAGE.require(telling.len() == 1, observed)?;
            let observed = format!("the event does not name {BOARD}: {}", telling[0]);
            PANIC_COSTS_ONE_MESSAGE.require(telling[0].mentions(BOARD), observed)?;
            desk.all_hear(PANIC_COSTS_ONE_MESSAGE, BOARD, &["two"], &[&ada, &cleo]).await?;
            desk.all_hear(PANIC_COSTS_ONE_MESSAGE, OTHER, &["three"], &[&ben]).await?;
        }
        cleo.leaves(&desk.scene);
        desk.station.sends(BOARD, "boo");
        desk.scene.settle().await;
        let left_ms = ada.leaves(&desk.scene);
        desk.is_over(PANIC_COSTS_ONE_MESSAGE, BOARD, left_ms).await?;
        desk.all_hear(PANIC_COSTS_ONE_MESSAGE, OTHER, &["four"], &[&ben]).await?;
    }
    Ok(())
}

pub(crate) async fn nothing_outlives_the_router(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        for (held, what) in [(false, "one is read"), (true, "one is dialled")] {
            for router_first in [true, false] {
                let first = if router_first { "the router" } else { "the readers" };
                let title = format!("{protocol}, {what}, another was read, and {first} went first");
                let mut desk = Desk::open(&lab, &app, title);
                let mut ada = desk.comes("ada", protocol, OTHER).await;
                desk.listen(&mut [&mut ada]).await?;
                desk.works(OTHER, &ada).await?;
                ada.leaves(&desk.scene);
                desk.station.plan(BOARD, if held { Dial::Held } else { Dial::Quick });
                let ben = desk.comes("ben", protocol, BOARD).await;
                let body = if held { None } else { Some(desk.in_process(BOARD).await?) };
                desk.scene.settle().await;
                control(desk.station.dials(BOARD) > 0, "two asked for a board, and nobody dialled it")?;
                if router_first {
                    desk.close();
                    desk.scene.settle().await;
                }
                ben.leaves(&desk.scene);
                drop(body);
                desk.scene.settle().await;
                desk.close();
                desk.scene.settle().await;
                let (tasks, living) = (desk.scene.app_tasks(), desk.station.living());
                let observed = format!(
                    "router, connections and bodies are gone, and {tasks} tasks and {living} subscriptions are left"
                );
                NOTHING_OUTLIVES_THE_ROUTER.require(tasks == 0 && living == 0, observed)?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn everyday(lab: Lab, app: App) -> Proof {
    for protocol in Protocol::BOTH {
        let desk = Desk::open(&lab, &app, protocol);
        let client = desk.server().connect("client", protocol).await;
        desk.scene.settle().await;
        EVERYDAY.require(desk.station.living() == 0, "nobody has come, and a board was dialled")?;
        for (method, path, due) in [
            (Method::GET, "/nowhere", 404),
            (Method::GET, "/boards", 404),
            (Method::GET, "/boards/trains", 404),
            (Method::GET, "/boards/trains/events/more", 404),
            (Method::POST, "/boards/trains/events", 405),
        ] {
            let answer = client.send(at(method.clone(), path)).await?;
            let status = answer.status().as_u16();
            STATUSES.require(status == due, format!("{method} {path} was told {status}, expected {due}"))?;
            answer.read().await;
            EVERYDAY.require(desk.station.living() == 0, format!("{method} {path} led to a dial"))?;
        }
        for board in ["trains", "gate-7", "A1"] {
            let mut reader = desk.comes(board, protocol, board).await;
            desk.listen(&mut [&mut reader]).await?;
            let open = desk.station.open(board);
            EVERYDAY
                .require(open == 1, format!("{board} was asked for, and upstream has {open} subscriptions to it"))?;
            desk.all_hear(EVERYDAY, board, &["one"], &[&reader]).await?;
        }
    }
    Ok(())
}

// ===== In process =====

impl Desk {
    fn router(&self) -> Router {
        self.router.clone().expect("it is there until it is closed")
    }

    /// Drops the router, and what would serve it.
    fn close(&mut self) {
        if self.router.take().is_some() {
            self.scene.note("router", "is dropped");
        }
        self.server = None;
    }

    /// Asks for a board without a wire.
    async fn in_process(&self, board: &str) -> Result<Body, Broken> {
        self.by_hand(board).body(&self.scene, "a reader in process", None).await
    }

    /// The same, polled when the specification says so.
    fn by_hand(&self, board: &str) -> ByHand {
        ByHand::Asks(Box::pin(self.router().oneshot(asking(Method::GET, board))))
    }
}

/// A request in process. No task runs while it is polled.
enum ByHand {
    Asks(Pin<Box<dyn Future<Output = Result<Response, Infallible>>>>),
    Reads(Response),
}

impl ByHand {
    /// Polls the request, and its body as soon as there is one, as a connection does.
    async fn is_polled(&mut self) {
        if let Self::Asks(asked) = self
            && let Poll::Ready(Ok(answer)) = poll!(asked)
        {
            *self = Self::Reads(answer);
        }
        if let Self::Reads(answer) = self {
            // The board has said nothing: what comes, if anything does, is a comment.
            let _ = poll!(answer.body_mut().frame());
        }
    }

    async fn body(mut self, scene: &Scene, who: &str, asked_for: Option<Asked>) -> Result<Body, Broken> {
        if let Self::Asks(asked) = self {
            let _waits = scene.waits(who, "the head");
            let Ok(answer) = asked.await;
            self = Self::Reads(answer);
        }
        self.is_polled().await;
        let Self::Reads(answer) = self else { unreachable!("it was answered") };
        let status = answer.status().as_u16();
        let observed = format!("{who} asked for a board and was told {status}");
        match asked_for {
            Some(asked_for) => asked_for.require(status == 200, observed)?,
            None => control(status == 200, observed)?,
        }
        Ok(answer.into_body())
    }
}

/// Reads a body until this message has come, which must be the next.
async fn hears(scene: &Scene, body: &mut Body, message: &str) -> Proof {
    let _waits = scene.waits("a reader in process", format_args!("the message {message}"));
    let at_ms = scene.now_ms();
    let mut received = Received::default();
    while events(&received).is_empty() {
        let Some(Ok(frame)) = body.frame().await else {
            return Err(Broken::because(format!("the body of a reader ended before {message} came")));
        };
        if let Ok(data) = frame.into_data() {
            received.data.push((scene.now_ms(), data));
        }
    }
    let (heard, due) = (events(&received), vec![(at_ms, render(message))]);
    let observed = format!("{message} was said at {at_ms} ms, and a reader heard {}", crate::told(&heard));
    ONE_SUBSCRIPTION_A_BOARD.require(heard == due, observed)
}
