//! A layer on real threads: two callers of its service at once, again and again.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use axum::body::{Body, to_bytes};
use http::{Request, Response, header::CONTENT_ENCODING};
use lab::{
    Proof,
    hammer::{ByHand, Force, Hammer, Hammered, strike},
    require,
};
use tower::ServiceExt;

use crate::{
    probe::Back,
    subject::{Subject, Wrapped},
};

/// How many stands are tried in one go.
const STANDS: usize = 16;
/// Nobody answers this one.
const STAYS: &str = "/stays";

/// What two callers do, each with a clone of the layer's service.
#[derive(Clone, Copy)]
struct Meeting {
    title: &'static str,
    places: usize,
    /// The first has been taken in, is not answered, and leaves as the second comes.
    one_leaves: bool,
}

const MEETINGS: [Meeting; 3] = [
    Meeting { title: "two requests came at once", places: 2, one_leaves: false },
    Meeting { title: "two requests came at once, and the inner service had one place", places: 1, one_leaves: false },
    Meeting { title: "a request left the one place as another came", places: 1, one_leaves: true },
];

/// Tries on real threads whether two callers of the same layer get into each other's way: whether one gets the other's answer, or
/// none, whether the inner service is called where it is not ready, and whether a place of it stays taken.
///
/// It can reject and never accept, and stands apart from [`check`](crate::check). What it looks for no slowness can bring about. A
/// meeting that doesn't go well even one caller after the other is left out; if none does, nothing is tried, and the verdict says
/// so: a layer that answers by itself, or that changes bodies without [`Subject::decoding`].
///
/// ```
/// use conform::{Subject, hammer, lab::hammer::Force};
/// use tower::limit::ConcurrencyLimitLayer;
///
/// let hammered = hammer(Subject::layer(|| ConcurrencyLimitLayer::new(1)), Force::default());
/// assert!(!hammered.is_rejected(), "{hammered}");
/// ```
pub fn hammer(subject: Subject, force: Force) -> Hammered {
    if !subject.clonable {
        return Hammered::NotTried { why: "two callers need two clones of the service, and it has none".to_owned() };
    }
    let none_fits = Arc::new(AtomicBool::new(false));
    let (found, mut fit, mut round) = (none_fits.clone(), None, 0);
    let hammered = strike(force, move |hammer| {
        let fit: &Vec<Meeting> = fit.get_or_insert_with(|| {
            let goes_well = |meeting: &Meeting| meet(&subject, meeting, false, hammer).is_ok();
            MEETINGS.into_iter().filter(goes_well).collect()
        });
        found.store(fit.is_empty(), SeqCst);
        require(!fit.is_empty(), "none of it goes well")?;
        round += 1;
        meet(&subject, &fit[round % fit.len()], true, hammer)
    });
    match hammered {
        Hammered::Rejected { .. } if none_fits.load(SeqCst) => Hammered::NotTried {
            why: "even one after the other, two callers do not get the answers that the inner service gave them"
                .to_owned(),
        },
        hammered => hammered,
    }
}

fn meet(subject: &Subject, meeting: &Meeting, at_once: bool, hammer: &mut Hammer) -> Proof {
    let tries = if at_once { hammer.tries_at_once(STANDS) } else { 1 };
    let mut stands = Vec::new();
    let mut pairs = Vec::new();
    for _ in 0..tries {
        let stand = Stand::open(subject, meeting);
        let mut one = stand.caller(subject, if meeting.one_leaves { STAYS } else { "/one" });
        let mut other = stand.caller(subject, "/other");
        if meeting.one_leaves {
            one.poll();
            hammer.at_rest_before(|| stand.back.state().running == 1);
            require(stand.back.state().running == 1, "the first one is not let in")?;
        }
        let stays = !meeting.one_leaves;
        stands.push(stand);
        pairs.push((
            move || {
                other.poll();
                other
            },
            move || {
                stays.then(|| {
                    one.poll();
                    one
                })
            },
        ));
    }
    let met = if at_once {
        hammer.each_at_once(pairs)
    } else {
        let in_turn = pairs.into_iter().map(|(other, one)| {
            let one = one();
            (other(), one)
        });
        in_turn.collect()
    };
    for (stand, (other, one)) in stands.into_iter().zip(met) {
        stand.ends_well(one.into_iter().chain([other]).collect(), meeting, hammer)?;
    }
    Ok(())
}

/// The layer round a service of its own.
struct Stand {
    back: Arc<Back>,
    outer: Wrapped,
}

impl Stand {
    fn open(subject: &Subject, meeting: &Meeting) -> Self {
        let answerer = Box::new(|request: Request<Body>| -> crate::probe::Answering {
            let path = request.uri().path().to_owned();
            Box::pin(async move {
                if path == STAYS {
                    pending::<()>().await;
                }
                Ok(Response::new(Body::from(path)))
            })
        });
        let back = Back::new(None, meeting.places, answerer, subject.answers.clone(), Arc::default());
        Self { outer: subject.make(back.clone()), back }
    }

    /// Somebody who asks for this path; nobody has looked at the request yet.
    fn caller(&self, subject: &Subject, path: &'static str) -> Caller {
        let mut request = Request::get(path).body(Body::empty()).expect("a path");
        subject.ask(&mut request);
        let service = self.outer.twin().expect("a clone");
        let decoding = subject.decoding.clone();
        let asking = async move {
            let answer = service.oneshot(request).await.map_err(|error| error.to_string())?;
            let coded = answer.headers().contains_key(CONTENT_ENCODING);
            let bytes = to_bytes(answer.into_body(), 1 << 20).await.map_err(|error| error.to_string())?.to_vec();
            let bytes = decoding.filter(|_| coded).map_or(bytes.clone(), |decoding| decoding(bytes));
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Caller { path, asking: ByHand::new(asking), got: None }
    }

    /// Each caller has its own answer at last, and all places are free.
    fn ends_well(self, mut callers: Vec<Caller>, meeting: &Meeting, hammer: &Hammer) -> Proof {
        let Meeting { title, places, .. } = *meeting;
        let answered = in_time(hammer, || {
            callers.iter_mut().for_each(Caller::poll);
            callers.iter().all(|caller| caller.got.is_some())
        });
        for Caller { path, got, .. } in &callers {
            match got {
                Some(Ok(text)) if text == path => {}
                Some(Ok(text)) => require(false, format!("{title}: the answer to {path} was the one to {text}"))?,
                Some(Err(error)) => require(false, format!("{title}: {path} got an error: {error}"))?,
                None => require(answered, format!("{title}: all is at rest, and {path} has no answer"))?,
            }
        }
        let unready = self.back.state().unready.clone();
        require(unready.is_none(), format!("{title}: {}", unready.unwrap_or_default()))?;
        let Self { back, outer } = self;
        drop((outer, callers));
        let free = in_time(hammer, || back.places.available_permits() == places);
        let taken = places.saturating_sub(back.places.available_permits());
        require(
            free,
            format!("{title}: nobody asks any more, all is at rest, and places still taken: {taken} of {places}"),
        )
    }
}

/// Whether it becomes true before all is at rest.
fn in_time(hammer: &Hammer, mut done: impl FnMut() -> bool) -> bool {
    done() || !hammer.at_rest_before(&mut done) || done()
}

/// A request that is polled by hand, and what came of it.
struct Caller {
    path: &'static str,
    asking: ByHand<Result<String, String>>,
    got: Option<Result<String, String>>,
}

impl Caller {
    fn poll(&mut self) {
        if self.got.is_none() {
            self.got = self.asking.poll_while_woken();
        }
    }
}
