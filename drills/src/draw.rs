//! What a seed draws: the haunted service, its three neighbours, their order, and what others say meanwhile.

use std::collections::BTreeSet;

use ghosts::{
    Refusal,
    catalogue::{
        case::{self, Case, Drill},
        ghosts::{self as catalogue, ALL},
    },
    checkout::Checkout,
};

/// How many services stand behind the edge.
pub const SERVICES: usize = 4;
/// How many herrings are told.
const HERRINGS: usize = 3;

/// A service that takes part in a drill.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The ghost that haunts it, or would.
    pub slug: &'static str,
    /// What its case says.
    pub title: String,
    /// Its drill.
    pub drill: Drill,
}

/// What a seed has drawn.
#[derive(Clone, Debug)]
pub struct Draw {
    /// The seed.
    pub seed: u64,
    /// The services, in the order in which they are shown.
    pub services: Vec<Drawn>,
    /// Which of them is haunted.
    pub haunted: usize,
    /// What others say, with the second in which they say it.
    pub herrings: Vec<(u64, String)>,
    /// Which service has a symptom that has nothing to do with it, in a hard drill.
    pub second: Option<usize>,
    /// All that an answer can be made of.
    pub choices: Choices,
}

/// What an answer can be made of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Choices {
    /// Every ghost there is, with its title.
    pub ghosts: Vec<(String, String)>,
    /// The layers in which a fault can be.
    pub layers: BTreeSet<String>,
    /// What may be done first.
    pub firsts: Vec<String>,
    /// The fixes.
    pub fixes: BTreeSet<String>,
}

impl Draw {
    /// What this seed draws.
    ///
    /// # Errors
    /// If a `case.toml` is wrong, or `slug` is no ghost that can be drilled.
    pub fn of(checkout: &Checkout, seed: u64, slug: Option<&str>, hard: bool) -> Result<Self, Refusal> {
        Self::among(cases(checkout)?, seed, slug, hard)
    }

    fn among(cases: Vec<(&'static str, Case)>, seed: u64, slug: Option<&str>, hard: bool) -> Result<Self, Refusal> {
        let drills = || cases.iter().filter_map(|(_, case)| case.drill.as_ref());
        let choices = Choices {
            ghosts: cases.iter().map(|(slug, case)| ((*slug).to_owned(), case.title.clone())).collect(),
            layers: drills().map(|drill| drill.layer.clone()).collect(),
            firsts: case::MITIGATIONS.map(str::to_owned).to_vec(),
            fixes: drills().map(|drill| drill.fix.clone()).collect(),
        };
        let mut pool: Vec<Drawn> = cases
            .into_iter()
            .filter_map(|(slug, case)| Some(Drawn { slug, title: case.title, drill: case.drill? }))
            .collect();
        let mut dice = Dice::new(seed);
        let first = match slug {
            None => dice.below(pool.len()),
            Some(slug) => {
                pool.iter().position(|drawn| drawn.slug == slug).ok_or_else(|| match catalogue::find(slug) {
                    Ok(_) => {
                        Refusal::new(format!("{slug} cannot be drilled yet: its case.toml has no section [drill]"))
                    }
                    Err(refusal) => refusal,
                })?
            }
        };
        let mut services = vec![pool.remove(first)];
        while services.len() < SERVICES {
            services.push(pool.remove(dice.below(pool.len())));
        }
        let mut said: Vec<String> = services.iter().flat_map(|drawn| drawn.drill.herrings.clone()).collect();
        let mut herrings = Vec::new();
        while herrings.len() < HERRINGS && !said.is_empty() {
            let told = said.remove(dice.below(said.len()));
            herrings.push((15 + 40 * herrings.len() as u64 + dice.below(20) as u64, told));
        }
        let haunted = dice.below(SERVICES);
        services.swap(0, haunted);
        let second = hard.then(|| (haunted + 1 + dice.below(SERVICES - 1)) % SERVICES);
        Ok(Self { seed, services, haunted, herrings, second, choices })
    }

    /// The haunted service.
    pub fn haunted(&self) -> &Drawn {
        &self.services[self.haunted]
    }
}

fn cases(checkout: &Checkout) -> Result<Vec<(&'static str, Case)>, Refusal> {
    ALL.iter().map(|ghost| Ok((ghost.slug, case::read(checkout, ghost.slug)?))).collect()
}

/// Numbers that a seed decides: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seed: u64) -> String {
        let draw = Draw::of(&Checkout::here(), seed, None, false).unwrap();
        let services: Vec<&str> = draw.services.iter().map(|drawn| drawn.slug).collect();
        format!("{} {services:?} {:?}", draw.haunted, draw.herrings)
    }

    #[test]
    fn a_seed_draws_the_same_again_and_another_seed_another() {
        assert_eq!(told(1), told(1));
        assert!((2..9).any(|seed| told(seed) != told(1)));
    }

    #[test]
    fn every_ghost_with_a_drill_is_drawn_sooner_or_later() {
        let cases = cases(&Checkout::here()).unwrap();
        let drawn: BTreeSet<&str> =
            (0..500).map(|seed| Draw::among(cases.clone(), seed, None, false).unwrap().haunted().slug).collect();
        let known: BTreeSet<&str> = crate::services::ALL.iter().map(|(slug, _)| *slug).collect();
        assert_eq!(drawn, known);
    }

    #[test]
    fn four_different_services_take_part_and_the_second_symptom_is_elsewhere() {
        let cases = cases(&Checkout::here()).unwrap();
        for seed in 0..50 {
            let [hard, easy] = [true, false].map(|hard| Draw::among(cases.clone(), seed, None, hard).unwrap());
            let names: BTreeSet<&str> = hard.services.iter().map(|drawn| drawn.drill.service.as_str()).collect();
            assert_eq!(names.len(), SERVICES);
            assert!(hard.second.is_some_and(|second| second != hard.haunted && second < SERVICES));
            assert_eq!((hard.haunted, hard.herrings), (easy.haunted, easy.herrings));
        }
    }

    #[test]
    fn a_ghost_that_is_none_is_refused() {
        let said = Draw::of(&Checkout::here(), 1, Some("leaked-permits"), false).unwrap_err().to_string();
        assert_eq!(said, "there is no ghost `leaked-permits`; did you mean `leaked-permit`?");
    }
}
