//! The model of `no-bulkhead`: orders and reports that come at once, and places that come back meanwhile.
//!
//! It is generic over the core, so that broken, fixed and anybody's `shared.rs` are explored alike: `make` makes a core of two
//! places with a share of one, and `step` takes one step of a request in it.

use std::sync::Arc;

use model::{
    Bounds, Exploration, explore, note, require,
    thread::{self, JoinHandle},
};

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An order.
    Order,
    /// A report.
    Report,
}

/// One step of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It asks for a place. Whether it has one is what the step returns; of the others nobody asks.
    Admit,
    /// It gives its place back.
    Leave,
    /// It begins to wait.
    Wait,
    /// It stops waiting.
    StopWaiting,
}

use Class::{Order, Report};
use Step::{Admit, Leave, StopWaiting, Wait};

/// All of it: each pair of steps meets. The first that fails, or all interleavings that were explored.
pub fn at_once<S: Send + Sync + 'static>(
    make: impl Fn() -> S + Copy + Send + Sync + 'static,
    step: impl Fn(&S, Step, Class) -> bool + Copy + Send + Sync + 'static,
) -> Exploration {
    let mut explored = 0;
    for scene in [come, come_back, go_away, begin_to_wait] {
        match explore(Bounds::Exhaustive, move || scene(&Core::of(make, step))) {
            Exploration::Holds { interleavings } => explored += interleavings,
            failing => return failing,
        }
    }
    Exploration::Holds { interleavings: explored }
}

/// The control: so many reports come one after the other, and then an order.
pub fn in_turn<S: Send + Sync + 'static>(
    make: impl Fn() -> S + Copy + Send + Sync + 'static,
    step: impl Fn(&S, Step, Class) -> bool + Copy + Send + Sync + 'static,
    reports: usize,
) -> Exploration {
    explore(Bounds::Exhaustive, move || {
        let core = Core::of(make, step);
        let came = (0..reports).filter(|_| core.step(Admit, Report)).count();
        judge(came, core.step(Admit, Order));
    })
}

/// Two reports and an order come at once, and nobody is in.
fn come(core: &Core) {
    let reports = [core.spawn("a report", Admit, Report), core.spawn("another report", Admit, Report)];
    let order = core.spawn("an order", Admit, Order);
    let came = reports.map(joined).into_iter().filter(|came| *came).count();
    judge(came, joined(order));
}

fn judge(reports: usize, order: bool) {
    require(reports <= 1, "two reports are in, and their share is one");
    require(order, "an order was refused, and a place was free for it");
}

/// Two orders are in and one waits. A place comes back while a report comes.
fn come_back(core: &Core) {
    core.takes(Order);
    core.takes(Order);
    core.step(Wait, Order);
    note("two orders are in, and one waits");
    let leaves = core.spawn("an order", Leave, Order);
    let comes = core.spawn("a report", Admit, Report);
    let waits = core.spawn("the order that waits", Admit, Order);
    joined(leaves);
    let (report, order) = (joined(comes), joined(waits));
    require(!report, "a report is in, and an order waited for the place");
    require(order || core.step(Admit, Order), "a place came back, and the order that waits does not get it");
    core.step(StopWaiting, Order);
    core.step(Leave, Order);
    core.step(Leave, Order);
    is_empty(core);
}

/// An order and a report are in, and an order waits. All three go away at once.
fn go_away(core: &Core) {
    core.takes(Report);
    core.takes(Order);
    core.step(Wait, Order);
    note("a report and an order are in, and an order waits");
    let threads = [
        core.spawn("the report", Leave, Report),
        core.spawn("the order", Leave, Order),
        core.spawn("the order that waits", StopWaiting, Order),
    ];
    threads.into_iter().for_each(|thread| _ = joined(thread));
    is_empty(core);
}

/// A report is in, and an order waits, which stops waiting as another one begins to.
fn begin_to_wait(core: &Core) {
    core.takes(Report);
    core.step(Wait, Order);
    note("a report is in, and an order waits");
    let threads = [
        core.spawn("the report", Leave, Report),
        core.spawn("the order that waits", StopWaiting, Order),
        core.spawn("another order", Wait, Order),
    ];
    threads.into_iter().for_each(|thread| _ = joined(thread));
    require(!core.step(Admit, Report), "a report is in, and an order waits");
    core.step(StopWaiting, Order);
    is_empty(core);
}

/// Everybody is gone: one report has the share, one order the rest.
fn is_empty(core: &Core) {
    note("nobody is in, and nobody waits");
    require(core.step(Admit, Report), "a report was refused, and nobody was in");
    require(core.step(Admit, Order), "an order was refused, and one place was free");
    require(!core.step(Admit, Order), "three are in, and there are two places");
}

/// A core, and the steps in it.
#[derive(Clone)]
struct Core(Arc<dyn Fn(Step, Class) -> bool + Send + Sync>);

impl Core {
    fn of<S: Send + Sync + 'static>(
        make: impl Fn() -> S,
        step: impl Fn(&S, Step, Class) -> bool + Send + Sync + 'static,
    ) -> Self {
        let places = make();
        Self(Arc::new(move |what, class| step(&places, what, class)))
    }

    fn step(&self, step: Step, class: Class) -> bool {
        (self.0)(step, class)
    }

    /// What goes before the threads.
    fn takes(&self, class: Class) {
        require(self.step(Admit, class), "a place was free, and nobody could have it");
    }

    fn spawn(&self, name: &str, step: Step, class: Class) -> JoinHandle<bool> {
        let core = self.clone();
        thread::spawn(name, move || core.step(step, class))
    }
}

fn joined(thread: JoinHandle<bool>) -> bool {
    thread.join().expect("a failing thread ends the model")
}
