//! A drill from its beginning to its end.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use ghosts::{Refusal, checkout::Checkout};

use crate::{
    answer::{self, Answer, Grade},
    draw::Draw,
    field::{Field, Plot, Stand},
    locked,
    looks::{self, Look, Shown},
    services::Which,
};

/// How a drill is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// What decides the haunted service, its neighbours, the load and the herrings.
    pub seed: u64,
    /// The ghost, where it is not to be drawn.
    pub slug: Option<String>,
    /// Whether there is a second symptom, which has nothing to do with the first.
    pub hard: bool,
    /// How much faster than a clock the drill runs: 1 for people, more for tests.
    pub speed: f64,
    /// The program that drives the load when it is called with `load`.
    pub program: PathBuf,
}

/// A drill that runs: its services, what was looked at, and what came of it.
pub struct Drill {
    /// What the seed has drawn.
    pub draw: Draw,
    field: Arc<Field>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was looked at.
    bought: Vec<Shown>,
    grade: Option<Grade>,
}

impl Deref for Drill {
    type Target = Field;

    fn deref(&self) -> &Field {
        &self.field
    }
}

impl Drill {
    /// Starts the services, the edge and the load.
    ///
    /// # Errors
    /// If the ghost cannot be drilled, or something cannot be started; whatever was started has ended then.
    pub fn begin(checkout: &Checkout, options: &Options) -> Result<Arc<Self>, Refusal> {
        let draw = Draw::of(checkout, options.seed, options.slug.as_deref(), options.hard)?;
        let stands = draw.services.iter().enumerate().map(|(place, drawn)| Stand {
            slug: drawn.slug,
            which: if place == draw.haunted { Which::Broken } else { Which::Fixed },
            drill: drawn.drill.clone(),
            slowed: draw.second == Some(place),
        });
        let field = Field::begin(Plot {
            stands: stands.collect(),
            said: draw.herrings.clone(),
            seed: options.seed,
            speed: options.speed,
            program: &options.program,
        })?;
        Ok(Arc::new(Self { draw, field, state: Mutex::default() }))
    }

    /// The second of the drill's clock, on which looks cost time.
    pub fn clock(&self) -> f64 {
        let state = locked(&self.state);
        if let Some(grade) = &state.grade {
            return grade.took_s;
        }
        let minutes: u32 = state.bought.iter().map(|shown| shown.minutes).sum();
        self.second() + f64::from(60 * minutes)
    }

    /// The second at which the time is over.
    pub fn limit(&self) -> f64 {
        f64::from(60 * self.draw.haunted().drill.minutes)
    }

    /// Whether the time is over.
    pub fn late(&self) -> bool {
        self.clock() > self.limit()
    }

    /// What was looked at, in order.
    pub fn bought(&self) -> Vec<Shown> {
        locked(&self.state).bought.clone()
    }

    /// Looks at something, which costs time on the drill's clock.
    ///
    /// # Errors
    /// If there is no such service, or the drill is over.
    pub async fn look(&self, look: &Look) -> Result<Shown, Refusal> {
        if self.grade().is_some() {
            return Err(Refusal::new("the drill is over"));
        }
        if matches!(look, Look::Ask { path, .. } if path.trim().is_empty()) {
            let service = look.service().escape_debug();
            return Err(Refusal::new(format!("a request needs a path: `ask {service} /PATH`; nothing was asked")));
        }
        let names = self.names();
        let place = names.iter().position(|name| *name == look.service()).ok_or_else(|| {
            let (asked, names) = (look.service().escape_debug(), names.join(", "));
            Refusal::new(format!("there is no service `{asked}`; there are {names}"))
        })?;
        look.can_be_asked().map_err(|why| Refusal::new(format!("{why}; nothing was asked")))?;
        let at_s = self.clock();
        let text = looks::text(look, &self.field, place).await;
        let shown = Shown { at_s, minutes: look.minutes(), title: look.title(), text };
        locked(&self.state).bought.push(shown.clone());
        Ok(shown)
    }

    /// Grades an answer and ends the drill: the load stops, and what was seen can still be looked at.
    pub fn answer(&self, given: Answer) -> Grade {
        let took_s = self.clock();
        let mut state = locked(&self.state);
        if let Some(grade) = &state.grade {
            return grade.clone();
        }
        let grade = answer::grade(&self.draw, given, took_s, took_s > self.limit());
        state.grade = Some(grade.clone());
        drop(state);
        self.end_load();
        grade
    }

    /// What came of it, once it was answered.
    pub fn grade(&self) -> Option<Grade> {
        locked(&self.state).grade.clone()
    }
}
