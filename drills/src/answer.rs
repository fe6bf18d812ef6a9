//! What on-call says it was, and how right that is.

use serde::{Deserialize, Serialize};

use crate::{draw::Draw, served::HARD};

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Answer {
    /// The service that is haunted.
    #[serde(default)]
    pub service: String,
    /// The slug of the ghost.
    #[serde(default)]
    pub ghost: String,
    /// Where the fault is.
    #[serde(default)]
    pub layer: String,
    /// What to do first.
    #[serde(default)]
    pub first: String,
    /// What lays it to rest.
    #[serde(default)]
    pub fix: String,
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Grade {
    /// The answer.
    pub given: Answer,
    /// Whether the service was named right.
    pub place: bool,
    /// Whether the ghost was.
    pub ghost: bool,
    /// Whether the layer was.
    pub layer: bool,
    /// Whether what was to be done first helps.
    pub first: bool,
    /// Whether the fix is one.
    pub fix: bool,
    /// What it was: the slug.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// The service that it haunted.
    pub service: String,
    /// The right answers, where several are right the best first.
    pub right: Right,
    /// The evidence that would have told it.
    pub told: Vec<String>,
    /// What was said or refused elsewhere and had nothing to do with it.
    pub herrings: Vec<String>,
    /// The seconds of the drill's clock that it took.
    pub took_s: f64,
    /// Whether the time was over by then.
    pub late: bool,
    /// The seed, to play it again.
    pub seed: u64,
}

/// The right answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Right {
    /// Where the fault is.
    pub layer: String,
    /// What helps first.
    pub first: Vec<String>,
    /// Why that helps now.
    pub helps: String,
    /// What lays it to rest.
    pub fix: String,
}

impl Grade {
    /// How many of the five were right.
    pub fn points(&self) -> usize {
        [self.place, self.ghost, self.layer, self.first, self.fix].into_iter().filter(|right| *right).count()
    }
}

/// Grades an answer.
pub fn grade(draw: &Draw, given: Answer, took_s: f64, late: bool) -> Grade {
    let haunted = draw.haunted();
    let drill = &haunted.drill;
    let second = draw.second.map(|place| {
        format!(
            "Each tenth request of `{}` waited {} ms for the network.",
            draw.services[place].drill.service,
            HARD.as_millis()
        )
    });
    let others = draw.services.iter().enumerate().filter(|(place, _)| *place != draw.haunted);
    let honest = others.filter_map(|(_, drawn)| drawn.drill.honest.clone());
    Grade {
        place: given.service == drill.service,
        ghost: given.ghost == haunted.slug,
        layer: given.layer == drill.layer,
        first: drill.first.contains(&given.first),
        fix: given.fix == drill.fix,
        given,
        slug: haunted.slug.to_owned(),
        title: haunted.title.clone(),
        service: drill.service.clone(),
        right: Right {
            layer: drill.layer.clone(),
            first: drill.first.clone(),
            helps: drill.helps.clone(),
            fix: drill.fix.clone(),
        },
        told: drill.told.clone(),
        herrings: draw.herrings.iter().map(|(_, text)| text.clone()).chain(honest).chain(second).collect(),
        took_s,
        late,
        seed: draw.seed,
    }
}

#[cfg(test)]
mod tests {
    use ghosts::checkout::Checkout;

    use super::*;

    fn right(draw: &Draw) -> Answer {
        let drill = &draw.haunted().drill;
        Answer {
            service: drill.service.clone(),
            ghost: draw.haunted().slug.to_owned(),
            layer: drill.layer.clone(),
            first: drill.first.last().unwrap().clone(),
            fix: drill.fix.clone(),
        }
    }

    #[test]
    fn each_part_of_an_answer_counts_by_itself() {
        let draw = Draw::of(&Checkout::here(), 3, None, false).unwrap();
        let points = |answer: Answer| grade(&draw, answer, 60.0, false).points();
        assert_eq!(points(right(&draw)), 5);
        assert_eq!(points(Answer { service: "lies".to_owned(), ..right(&draw) }), 4);
        assert_eq!(points(Answer { ghost: "lies".to_owned(), ..right(&draw) }), 4);
        assert_eq!(points(Answer { first: String::new(), fix: String::new(), ..right(&draw) }), 3);
        assert_eq!(points(Answer::default()), 0);
    }

    #[test]
    fn what_the_others_refuse_is_told_with_what_had_nothing_to_do_with_it() {
        for seed in 1..=17 {
            let draw = Draw::of(&Checkout::here(), seed, None, false).unwrap();
            let told = grade(&draw, Answer::default(), 60.0, false).herrings;
            for (place, drawn) in draw.services.iter().enumerate() {
                let Some(honest) = &drawn.drill.honest else { continue };
                assert_eq!(told.contains(honest), place != draw.haunted, "seed {seed}: {honest}");
            }
        }
    }

    #[test]
    fn a_grade_tells_what_would_have_told() {
        let draw = Draw::of(&Checkout::here(), 3, None, false).unwrap();
        let grade = grade(&draw, Answer::default(), 61.0, true);
        assert_eq!((grade.slug.as_str(), grade.late), (draw.haunted().slug, true));
        assert_eq!(grade.told, draw.haunted().drill.told);
    }
}
