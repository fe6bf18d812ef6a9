//! The runner: it shows the ghosts, serves them, compares their twins and regenerates what is made from them.
//!
//! The binary `ghosts` is a thin shell round this library. Exit codes: 0 as asked, 1 a verdict is not as it should be, 2 the
//! command could not do as asked and has written nothing.
//!
//! It has five rooms, by whom they serve: [`learn`], [`train`] and [`make`] use [`read`], all four use [`catalogue`], and nothing
//! goes back. Beside them stand what every room uses ([`checkout`], [`progress`], [`terminal`] and the like) and the command line,
//! which uses every room. Tidy holds the house to it.

use std::fmt;

mod cargo;
pub mod checkout;
pub mod cli;
mod completions;
mod html;
pub mod progress;
pub mod terminal;

pub mod catalogue {
    //! What there is: the ghosts, what each is, how its twins differ, what a learner's copy of it has, and what was generated.

    pub mod case;
    pub mod difference;
    pub mod exercise_files;
    pub mod generated;
    pub mod ghosts;
    pub mod log_file;
    #[cfg(feature = "sqlite")]
    pub mod sqlite;
    pub(crate) mod typed;
}

pub mod read {
    //! For whoever reads: the tour, the story of a ghost, its difference, its twins on a socket, and the book.

    pub mod book;
    pub mod classify;
    pub mod diff;
    pub mod drill;
    pub mod serve;
    pub mod show;
    pub mod tour;
}

pub mod learn {
    //! For whoever lays a ghost to rest: an exercise, what comes of it, and what helps.

    pub mod building;
    pub mod check;
    pub mod exercise;
    pub mod hints;
    pub mod judged;
    pub mod junit;
    pub mod list;
    mod lock;
    pub mod solution;
    pub mod start;
    pub mod watch;
}

pub mod train {
    //! For whoever runs a workshop: the run sheet, the pages to hand out, the board, and machines that are ready.

    pub mod agenda;
    mod aside;
    pub mod board;
    pub mod handout;
    pub mod kit;
    pub mod pack;
    pub mod preflight;
    pub mod slides;
    pub mod trainer;
    mod words;
}

pub mod make {
    //! For whoever makes a ghost: its skeleton, what is generated of it, and the order of the trees.

    mod marks;
    mod picture;
    mod poster;
    mod reading;
    pub mod regenerate;
    pub mod see;
    pub mod skeleton;
    mod storyboard;
    pub mod tidy;
}

pub mod conform {
    //! For whoever tests a layer: published layers, and those of this book, held against the conformance suite.

    mod cells;
    pub mod measured;
    mod ours;
    mod page;
    mod rows;
    mod verdicts;
}

/// Why a command could not do as asked, and what to do next, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// A refusal with this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
