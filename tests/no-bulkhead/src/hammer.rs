//! The shop on real threads: two come for the last place, and a place is given back as others come for it, or go.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
};
use lab::{
    Proof,
    hammer::{Aim, ByHand, Force, Hammer, Hammered, strike},
    locked, require,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::yield_now,
    time::sleep,
};
use tower::ServiceExt;

use crate::{App, Class};

/// The longest wait of an order: nobody is refused for being slow.
const WAIT: Duration = Duration::from_secs(3600);
/// The share of the reports.
const SHARE: usize = 1;
/// In how many turns a shop comes to rest, and for how many steps it is waited for that does not: half a second in all, of a
/// runtime that does nothing.
const TURNS: u32 = 20;
const STEPS: u32 = 50;
const STEP: Duration = Duration::from_millis(10);
/// How many shops are tried in one go.
const SHOPS: usize = 16;

/// What two callers do at once.
struct Meeting {
    title: &'static str,
    places: usize,
    /// The orders that are in before, and those that wait.
    before: (usize, usize),
    at_once: [Deed; 2],
    /// How many are in at rest, at least.
    inside: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Comes(Class),
    /// An order that is in has been answered.
    IsDone,
    /// So it has, and one that waits is looked at.
    HandsOver,
    /// An order that waits leaves.
    GivesUp,
}

const MEETINGS: [Meeting; 7] = [
    Meeting {
        title: "of two places one was taken, and two orders came at once",
        places: 2,
        before: (1, 0),
        at_once: [Deed::Comes(Class::Order), Deed::Comes(Class::Order)],
        inside: 2,
    },
    Meeting {
        title: "of two places one was taken, and an order and a report came at once",
        places: 2,
        before: (1, 0),
        at_once: [Deed::Comes(Class::Order), Deed::Comes(Class::Report)],
        inside: 2,
    },
    Meeting {
        title: "two reports came at once",
        places: 3,
        before: (1, 0),
        at_once: [Deed::Comes(Class::Report), Deed::Comes(Class::Report)],
        inside: 1,
    },
    Meeting {
        title: "of two orders one was done as a third came",
        places: 2,
        before: (2, 0),
        at_once: [Deed::Comes(Class::Order), Deed::IsDone],
        inside: 2,
    },
    Meeting {
        title: "two orders were done at once, and two waited",
        places: 2,
        before: (2, 2),
        at_once: [Deed::IsDone, Deed::IsDone],
        inside: 2,
    },
    Meeting {
        title: "an order was done as one of the two that waited gave up",
        places: 2,
        before: (2, 2),
        at_once: [Deed::GivesUp, Deed::IsDone],
        inside: 2,
    },
    Meeting {
        title: "an order was done, and another waited, as a report came",
        places: 2,
        before: (2, 1),
        at_once: [Deed::Comes(Class::Report), Deed::HandsOver],
        inside: 2,
    },
];

/// Tries whether too many can be in at once, and whether a place can get lost.
pub fn hammer(app: App, force: Force) -> Hammered {
    let (mut round, mut aim) = (0_usize, Aim::default());
    strike(force, move |hammer| {
        round += 1;
        meet(&app, &MEETINGS[round % MEETINGS.len()], &mut aim, hammer)
    })
}

fn meet(app: &App, meeting: &Meeting, aim: &mut Aim, hammer: &mut Hammer) -> Proof {
    let tries = hammer.tries_at_once(SHOPS);
    let [here, there] = meeting.at_once;
    // It takes a newcomer long to come to the places.
    let is_newcomer_awaited = matches!(here, Deed::Comes(_)) && !matches!(there, Deed::Comes(_));
    let later = if is_newcomer_awaited { aim.turns() } else { 0 };
    let mut shops = Vec::new();
    let mut pairs = Vec::new();
    for _ in 0..tries {
        let shop = Shop::open(app, meeting.places);
        let (inside, waiting) = meeting.before;
        let mut inside: Vec<_> = (0..inside).map(|_| shop.order()).collect();
        let mut waiting: Vec<_> = (0..waiting).map(|_| shop.order()).collect();
        let mut caller = |deed| match deed {
            Deed::Comes(class) => (None, Some(shop.asked(class))),
            Deed::IsDone => (inside.pop(), None),
            Deed::GivesUp => (waiting.pop(), None),
            Deed::HandsOver => (inside.pop(), waiting.pop()),
        };
        let [here, there] = meeting.at_once.map(|deed| {
            let (leaves, mut stays) = caller(deed);
            move |later| {
                Aim::wait(later);
                leaves.into_iter().for_each(Caller::leaves);
                stays.iter_mut().for_each(Caller::poll);
                stays
            }
        });
        shops.push((shop, inside, waiting));
        pairs.push((move || here(0), move || there(later)));
    }
    for ((shop, inside, waiting), (one, other)) in shops.into_iter().zip(hammer.each_at_once(pairs)) {
        if is_newcomer_awaited && there == Deed::IsDone {
            aim.was_first(shop.seen(|seen| seen.ever) > inside.len() + 1);
        }
        let callers = inside.into_iter().chain(waiting).chain(one).chain(other).collect();
        shop.is_well(callers, meeting)?;
    }
    Ok(())
}

/// The app in a runtime of its own, which moves only while somebody waits in it. Whoever is in stays until it leaves.
struct Shop {
    runtime: Runtime,
    app: Router,
    seen: Arc<Mutex<Seen>>,
}

/// What both routers have seen.
#[derive(Default)]
struct Seen {
    orders: usize,
    reports: usize,
    /// The most that ever were in together, and the most reports.
    most: usize,
    most_reports: usize,
    /// How many ever came in.
    ever: usize,
}

impl Seen {
    fn count(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Order => &mut self.orders,
            Class::Report => &mut self.reports,
        }
    }
}

impl Shop {
    fn open(app: &App, places: usize) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let seen = Arc::<Mutex<Seen>>::default();
        let [orders, reports] = Class::BOTH.map(|class| {
            let seen = seen.clone();
            Router::new().fallback(async move || {
                let _inside = Inside::new(class, seen);
                pending::<()>().await;
            })
        });
        let entered = runtime.enter();
        let app = app(orders, reports, places, SHARE, WAIT);
        drop(entered);
        Self { runtime, app, seen }
    }

    /// Somebody who asks; nobody has looked at the request yet.
    fn asked(&self, class: Class) -> Caller {
        let request = Request::get(format!("{}/1", class.prefix())).body(Body::empty()).expect("a path");
        let answer = self.app.clone().oneshot(request);
        let asking = async {
            let Ok(answer) = answer.await;
            let _ = to_bytes(answer.into_body(), 1024).await;
        };
        Caller { runtime: self.runtime.handle().clone(), asking: ByHand::new(asking) }
    }

    /// An order that is in, or waits if there is no place.
    fn order(&self) -> Caller {
        let before = self.seen(|seen| seen.ever);
        let mut order = self.asked(Class::Order);
        order.poll();
        if self.seen(|seen| seen.ever) == before {
            self.moves();
            order.poll();
            self.moves();
        }
        order
    }

    fn seen<T>(&self, what: impl FnOnce(&Seen) -> T) -> T {
        what(&locked(&self.seen))
    }

    /// There were never too many in, at rest there are not too few, and when all have gone there are as many places as ever.
    fn is_well(&self, mut callers: Vec<Caller>, meeting: &Meeting) -> Proof {
        let Meeting { title, places, .. } = *meeting;
        let at_rest = |callers: &mut [Caller], due: usize| {
            let enough = self.in_time(|| {
                callers.iter_mut().for_each(Caller::poll);
                self.seen(|seen| seen.orders + seen.reports >= due)
            });
            let (inside, most, most_reports) =
                self.seen(|seen| (seen.orders + seen.reports, seen.most, seen.most_reports));
            if !enough {
                return Err(format!("{inside} of {} are in, with {places} places", callers.len()));
            }
            let few = most <= places && most_reports <= SHARE;
            few.then_some(()).ok_or_else(|| {
                format!("{most} were in at once, {most_reports} of them reports, with {places} places and a share of {SHARE}")
            })
        };
        if !meeting.at_once.iter().all(|deed| matches!(deed, Deed::Comes(_))) {
            // Whether the router or the place is told first that a request is done is left open.
            locked(&self.seen).most = 0;
        }
        let rested = at_rest(&mut callers, meeting.inside);
        let told = rested.err().unwrap_or_default();
        require(told.is_empty(), format!("{title}: all is at rest, and {told}"))?;
        callers.into_iter().for_each(Caller::leaves);
        self.moves();
        locked(&self.seen).most = 0;
        let mut again: Vec<_> = (0..=places).map(|_| self.asked(Class::Order)).collect();
        let rested = at_rest(&mut again, places);
        let told = rested.err().unwrap_or_default();
        require(told.is_empty(), format!("{title}; then all left, {} orders came, and {told}", places + 1))
    }

    fn moves(&self) {
        self.runtime.block_on(async {
            for _ in 0..TURNS {
                yield_now().await;
            }
        });
    }

    /// Whether it becomes true while the shop does what is left to do.
    fn in_time(&self, mut done: impl FnMut() -> bool) -> bool {
        done()
            || (0..STEPS).any(|_| {
                self.moves();
                done() || {
                    self.moves();
                    done() || {
                        self.runtime.block_on(sleep(STEP));
                        false
                    }
                }
            })
    }
}

/// A request that is polled by hand, in the runtime of the shop.
struct Caller {
    runtime: Handle,
    asking: ByHand<()>,
}

impl Caller {
    fn poll(&mut self) {
        let _entered = self.runtime.enter();
        self.asking.poll_while_woken();
    }

    fn leaves(self) {
        let Self { runtime, asking } = self;
        let _entered = runtime.enter();
        drop(asking);
    }
}

/// A request that a router has.
struct Inside {
    class: Class,
    seen: Arc<Mutex<Seen>>,
}

impl Inside {
    fn new(class: Class, seen: Arc<Mutex<Seen>>) -> Self {
        let mut counted = locked(&seen);
        *counted.count(class) += 1;
        counted.ever += 1;
        counted.most = counted.most.max(counted.orders + counted.reports);
        counted.most_reports = counted.most_reports.max(counted.reports);
        drop(counted);
        Self { class, seen }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        *locked(&self.seen).count(self.class) -= 1;
    }
}
