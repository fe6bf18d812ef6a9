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
/// How many seconds are between a herring and whatever brings the fault out: nothing is to look as if it came of what was said.
const APART_S: u64 = 5;

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
    /// What the pager says.
    pub pager: String,
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
        let pool: Vec<Drawn> = cases
            .into_iter()
            .filter_map(|(slug, case)| Some(Drawn { slug, title: case.title, drill: case.drill? }))
            .collect();
        // As many seeds as there are drills are a round: each of them has another ghost, and neighbours at the same distances.
        let (round, place) = (seed.wrapping_sub(1) / pool.len() as u64, seed.wrapping_sub(1) % pool.len() as u64);
        let mut dice = Dice::new(round);
        let order = dice.shuffled((0..pool.len()).collect());
        let distances = dice.shuffled((1..pool.len()).collect());
        let mut dice = Dice::new(seed);
        let first = match slug {
            None => place as usize,
            Some(slug) => {
                order.iter().position(|drawn| pool[*drawn].slug == slug).ok_or_else(|| match catalogue::find(slug) {
                    Ok(_) => {
                        Refusal::new(format!("{slug} cannot be drilled yet: its case.toml has no section [drill]"))
                    }
                    Err(refusal) => refusal,
                })?
            }
        };
        let places = [0].into_iter().chain(distances).take(SERVICES);
        let mut services: Vec<Drawn> =
            places.map(|distance| pool[order[(first + distance) % pool.len()]].clone()).collect();
        let turns = services[0].drill.turns();
        let mut said: Vec<String> = services.iter().flat_map(|drawn| drawn.drill.herrings.clone()).collect();
        let mut herrings = Vec::new();
        while herrings.len() < HERRINGS && !said.is_empty() {
            let told = said.remove(dice.below(said.len()));
            let mut second = 15 + 40 * herrings.len() as u64 + dice.below(20) as u64;
            while turns.iter().any(|turn| turn.abs_diff(second) < APART_S) {
                second += 1;
            }
            herrings.push((second, told));
        }
        let haunted = dice.below(SERVICES);
        services.swap(0, haunted);
        // A seed of the next round haunts the same ghost again, and is paged by another.
        let pagers = &services[haunted].drill.pager;
        let pager = pagers.get(round as usize % pagers.len().max(1)).cloned().unwrap_or_default();
        let second = hard.then(|| (haunted + 1 + dice.below(SERVICES - 1)) % SERVICES);
        Ok(Self { seed, services, haunted, pager, herrings, second, choices })
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

    /// The same in another order.
    fn shuffled(&mut self, mut of: Vec<usize>) -> Vec<usize> {
        for place in (1..of.len()).rev() {
            of.swap(place, self.below(place + 1));
        }
        of
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
    fn a_round_of_seeds_haunts_every_ghost_once_and_has_it_as_a_neighbour_three_times() {
        let cases = cases(&Checkout::here()).unwrap();
        let mut known: Vec<&str> = crate::services::ALL.iter().map(|(slug, _)| *slug).collect();
        known.sort_unstable();
        let mut rounds = BTreeSet::new();
        for round in 0..3 {
            let seeds = (1..=known.len() as u64).map(|place| round * known.len() as u64 + place);
            let draws: Vec<Draw> = seeds.map(|seed| Draw::among(cases.clone(), seed, None, false).unwrap()).collect();
            let haunted: Vec<&str> = draws.iter().map(|draw| draw.haunted().slug).collect();
            let mut sorted = haunted.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, known);
            for slug in &known {
                let there = draws.iter().flat_map(|draw| &draw.services).filter(|drawn| drawn.slug == *slug).count();
                assert_eq!(there, SERVICES, "{slug}");
            }
            rounds.insert(haunted);
        }
        assert_eq!(rounds.len(), 3);
    }

    #[test]
    fn nobody_says_anything_within_five_seconds_of_the_fault() {
        let cases = cases(&Checkout::here()).unwrap();
        for seed in 1..=140 {
            let draw = Draw::among(cases.clone(), seed, None, false).unwrap();
            let turns = draw.haunted().drill.turns();
            for (second, _) in &draw.herrings {
                assert!(turns.iter().all(|turn| turn.abs_diff(*second) >= 5), "seed {seed}: {second} of {turns:?}");
            }
            assert!(draw.herrings.is_sorted_by_key(|(second, _)| *second), "seed {seed}");
        }
    }

    #[test]
    fn what_a_page_tells_of_begins_in_the_first_half_minute_and_it_does_not_repeat_the_symptom() {
        let long = |text: &str| -> BTreeSet<String> {
            let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.len() > 4);
            words.map(str::to_lowercase).collect()
        };
        for (slug, case) in cases(&Checkout::here()).unwrap() {
            let Some(drill) = case.drill else { continue };
            assert!(drill.begins() <= 30, "{slug}");
            for pager in &drill.pager {
                let both: Vec<String> = long(pager).intersection(&long(&case.symptom)).cloned().collect();
                assert!(both.len() <= 2, "{slug}: {both:?}");
            }
        }
    }

    #[test]
    fn whoever_meets_a_ghost_again_is_paged_by_another() {
        let cases = cases(&Checkout::here()).unwrap();
        for (slug, _) in &crate::services::ALL {
            let pagers: BTreeSet<String> = [1, 18]
                .map(|seed| {
                    let draw = Draw::among(cases.clone(), seed, Some(slug), false).unwrap();
                    assert!(draw.haunted().drill.pager.contains(&draw.pager), "{slug}");
                    draw.pager
                })
                .into();
            assert_eq!(pagers.len(), 2, "{slug}");
        }
    }

    #[test]
    fn whoever_sees_only_a_list_can_tell_its_choices_apart() {
        let choices = Draw::of(&Checkout::here(), 1, None, false).unwrap().choices;
        let words = |text: &str| -> BTreeSet<String> {
            let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.len() > 3);
            words.map(str::to_lowercase).collect()
        };
        let lists = [choices.layers.into_iter().collect(), choices.firsts, choices.fixes.into_iter().collect()];
        for list in lists as [Vec<String>; 3] {
            for choice in &list {
                let others: BTreeSet<String> =
                    list.iter().filter(|other| *other != choice).flat_map(|other| words(other)).collect();
                let own = words(choice).difference(&others).count();
                assert!(own > 0, "`{choice}` has no word of its own among {list:?}");
            }
        }
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
    fn a_ghost_without_a_drill_is_refused_and_never_drawn() {
        let mut cases = cases(&Checkout::here()).unwrap();
        for (slug, case) in &mut cases {
            if *slug == "layer-order" {
                case.drill = None;
            }
        }
        let said = Draw::among(cases.clone(), 1, Some("layer-order"), false).unwrap_err().to_string();
        assert_eq!(said, "layer-order cannot be drilled yet: its case.toml has no section [drill]");
        for seed in 1..40 {
            let draw = Draw::among(cases.clone(), seed, None, false).unwrap();
            assert!(draw.services.iter().all(|drawn| drawn.slug != "layer-order"));
        }
    }

    #[test]
    fn a_ghost_that_is_none_is_refused() {
        let said = Draw::of(&Checkout::here(), 1, Some("leaked-permits"), false).unwrap_err().to_string();
        assert_eq!(said, "there is no ghost `leaked-permits`; did you mean `leaked-permit`?");
    }
}
