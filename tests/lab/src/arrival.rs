//! The orders in which a body may come. A scene that lets things settle between two events judges one order only.

use std::{fmt, time::Duration};

use http::HeaderMap;
use tokio::time::sleep;

use super::{feed::Feed, scene::Scene};

/// How long a pause is.
const PAUSE: Duration = Duration::from_secs(1);

/// An order in which a body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// All frames and the end are there before the head is: the first poll finds everything.
    BeforeTheHead,
    /// All frames and the end come at the instant after the head: a first poll may find nothing.
    WithTheHead,
    /// Each frame, and then the end, comes when all that could run has run.
    FrameByFrame,
    /// A second passes before each frame, and before the end.
    WithPauses,
    /// Frame by frame, but the last one, be it data or trailers, comes together with the end.
    LastFrameWithTheEnd,
    /// Frame by frame, with a data frame of no bytes before the first, between two, and after the last.
    WithEmptyFrames,
    /// All data and the trailers come at once; the end comes later.
    DataWithTrailers,
    /// Trailers without any data, then the end.
    TrailersOnly,
}

impl Arrival {
    /// All of them, for a body that has trailers.
    pub const ALL: [Self; 8] = [
        Self::BeforeTheHead,
        Self::WithTheHead,
        Self::FrameByFrame,
        Self::WithPauses,
        Self::LastFrameWithTheEnd,
        Self::WithEmptyFrames,
        Self::DataWithTrailers,
        Self::TrailersOnly,
    ];

    /// Those of a body that has no trailers.
    pub const OF_DATA: [Self; 6] = [
        Self::BeforeTheHead,
        Self::WithTheHead,
        Self::FrameByFrame,
        Self::WithPauses,
        Self::LastFrameWithTheEnd,
        Self::WithEmptyFrames,
    ];

    /// What comes before the head, and what after it.
    fn steps(self, data: &[&'static str], trailers: Option<HeaderMap>) -> (Vec<Step>, Vec<Step>) {
        let data = data.iter().filter(|_| self != Self::TrailersOnly).map(|data| Step::Data(data));
        let frames: Vec<Step> = data.chain(trailers.map(Step::Trailers)).collect();
        let mut steps = Vec::new();
        match self {
            Self::BeforeTheHead => return (frames.into_iter().chain([Step::End]).collect(), Vec::new()),
            Self::WithTheHead => steps.extend(frames),
            Self::DataWithTrailers => {
                steps.push(Step::Settle);
                steps.extend(frames);
                steps.push(Step::Settle);
            }
            Self::FrameByFrame | Self::TrailersOnly | Self::WithPauses => {
                let before = if self == Self::WithPauses { Step::Pause } else { Step::Settle };
                steps.extend(frames.into_iter().flat_map(|frame| [before.clone(), frame]));
                steps.push(before);
            }
            Self::LastFrameWithTheEnd => steps.extend(frames.into_iter().flat_map(|frame| [Step::Settle, frame])),
            Self::WithEmptyFrames => {
                // Nothing but the end may follow trailers.
                let empty = [Step::Settle, Step::Data("")];
                for frame in frames {
                    steps.extend(empty.clone());
                    steps.extend([Step::Settle, frame]);
                }
                if !matches!(steps.last(), Some(Step::Trailers(_))) {
                    steps.extend(empty);
                }
                steps.push(Step::Settle);
            }
        }
        steps.push(Step::End);
        (Vec::new(), steps)
    }
}

/// What distinguishes a scene in which a body comes in this order.
impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeTheHead => "all of the body before its head",
            Self::WithTheHead => "all of the body with its head",
            Self::FrameByFrame => "frame by frame",
            Self::WithPauses => "a pause before each frame",
            Self::LastFrameWithTheEnd => "the last frame with the end",
            Self::WithEmptyFrames => "empty frames between the others",
            Self::DataWithTrailers => "data and trailers at once",
            Self::TrailersOnly => "nothing but trailers",
        })
    }
}

#[derive(Clone)]
enum Step {
    Data(&'static str),
    Trailers(HeaderMap),
    End,
    Settle,
    Pause,
}

/// A body that comes in some order, and the handle that makes it come.
///
/// ```
/// use axum::{Router, body::Body, http::Request, routing::post};
/// use lab::{Asked, Arrival, Course, Lab, Limits, Proof, Protocol, Specification, require};
///
/// async fn comes_back_whole(lab: Lab, app: fn() -> Router) -> Proof {
///     for protocol in Protocol::BOTH {
///         for arrival in Arrival::OF_DATA {
///             let scene = lab.scene(format!("{protocol}, {arrival}"));
///             let client = scene.serve(app()).connect("client", protocol).await;
///             let (feed, body) = scene.feed("upload");
///             let mut course = Course::new(&scene, feed, arrival, &["one\n", "two\n"], None);
///             let asked = client.begin(Request::post("/").body(body).expect("a path"));
///             course.run().await;
///             let text = asked.answer().await?.read().await.text();
///             require(text == course.text(), format!("{:?} was sent and {text:?} came back", course.text()))?;
///         }
///     }
///     Ok(())
/// }
///
/// let app = || Router::new().route("/", post(|text: String| async { text }));
/// let report = Specification::of("an-echo", app as fn() -> Router)
///     .promise(Asked::new("comes-back-whole", "What was sent comes back."), comes_back_whole)
///     .judge(Limits::default());
/// assert!(report.all_kept(), "{report}");
/// ```
#[must_use = "a body that does not come has no end"]
pub struct Course {
    scene: Scene,
    feed: Feed,
    rest: Vec<Step>,
    text: String,
    trailers: Option<HeaderMap>,
}

impl Course {
    /// A course of `feed`, whose body has these frames of `data`, and then the `trailers`, if any. What comes before the head
    /// is there when this returns: make it before the head is given.
    pub fn new(
        scene: &Scene,
        feed: Feed,
        arrival: Arrival,
        data: &[&'static str],
        trailers: Option<HeaderMap>,
    ) -> Self {
        let (before, rest) = arrival.steps(data, trailers.clone());
        let text = if arrival == Arrival::TrailersOnly { String::new() } else { data.concat() };
        let mut course = Self { scene: scene.clone(), feed, rest, text, trailers };
        before.into_iter().for_each(|step| course.take(step));
        course
    }

    /// Lets the rest of the body come; call it when the head was given.
    pub async fn run(&mut self) {
        for step in std::mem::take(&mut self.rest) {
            match step {
                Step::Settle => self.scene.settle().await,
                Step::Pause => sleep(PAUSE).await,
                frame => self.take(frame),
            }
        }
    }

    /// All data of the body, as one.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The trailers of the body.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// The source itself: how much of it was taken, and whether it was dropped.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Data(data) => self.feed.data(data),
            Step::Trailers(trailers) => self.feed.trailers(trailers),
            Step::End => self.feed.end(),
            Step::Settle | Step::Pause => {}
        }
    }
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Course").field("text", &self.text).finish_non_exhaustive()
    }
}
