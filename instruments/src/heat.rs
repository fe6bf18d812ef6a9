//! The heat map: when, how slow, how many. A mean hides the two answers in a hundred that take a second; here they're a line of
//! their own.
//!
//! ```
//! use axum::{Router, routing::get};
//! use instruments::{Heat, Observe};
//!
//! let heat = Heat::new();
//! let app: Router = Router::new()
//!     .route("/parcels/{id}", get(async || "on its way"))
//!     .layer(Observe::new().then(heat.recorder()));
//! # let _ = app;
//! assert!(heat.to_svg().starts_with("<svg "));
//! ```
//!
//! A column is a stretch of time, by default a second, and the last [`COLUMNS`] of them are kept. A row is a fifth of a decade of
//! latency until the last byte, from 0.1 ms to 100 s. Each route has a map of its own; the picture shows the [`PANELS`] busiest, and
//! the others together.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    locked,
    observe::Seen,
    svg::{Anchor, Svg},
};

/// How many columns are kept.
pub const COLUMNS: usize = 60;
/// How many routes the picture shows apart.
pub const PANELS: usize = 12;
/// Five a decade, from 0.1 ms to 100 s.
const ROWS: usize = 30;
const LEAST: f64 = 1e-4;

type Map = [[u32; ROWS]; COLUMNS];

/// When answers ended and how long they took, by route. A clone is the same map. See the [module docs](self).
#[derive(Clone)]
pub struct Heat {
    shared: Arc<Shared>,
}

struct Shared {
    start: Instant,
    width: Duration,
    cells: Mutex<Cells>,
}

#[derive(Default)]
struct Cells {
    /// The number of the newest column.
    newest: u64,
    routes: HashMap<Arc<str>, Box<Map>>,
}

impl Heat {
    /// A map whose columns are a second wide.
    pub fn new() -> Self {
        Self::of_width(Duration::from_secs(1))
    }

    /// A map with columns of this width.
    ///
    /// # Panics
    ///
    /// When the width is nothing.
    pub fn of_width(width: Duration) -> Self {
        assert!(!width.is_zero(), "a column has to have a width");
        Self { shared: Arc::new(Shared { start: Instant::now(), width, cells: Mutex::default() }) }
    }

    /// What [`Observe::then`](crate::Observe::then) is given.
    pub fn recorder(&self) -> impl Fn(&Seen) + Send + Sync + 'static {
        let heat = self.clone();
        move |seen| heat.record(&seen.route, seen.start, seen.last)
    }

    /// Counts one answer of a route.
    pub fn record(&self, route: &Arc<str>, start: Instant, took: Duration) {
        let column = self.column(start + took);
        let mut cells = locked(&self.shared.cells);
        cells.advance(column);
        // What ended before the oldest column is not shown any more.
        if column + COLUMNS as u64 <= cells.newest {
            return;
        }
        if !cells.routes.contains_key(route) {
            cells.routes.insert(route.clone(), Box::new([[0; ROWS]; COLUMNS]));
        }
        let map = cells.routes.get_mut(route).expect("it was put there");
        let cell = &mut map[place(column)][row(took)];
        *cell = cell.saturating_add(1);
    }

    /// The picture.
    pub fn to_svg(&self) -> String {
        let mut cells = locked(&self.shared.cells);
        cells.advance(self.column(Instant::now()));
        let newest = cells.newest;
        let mut maps: Vec<(String, Box<Map>)> =
            cells.routes.iter().map(|(route, map)| (route.to_string(), map.clone())).collect();
        drop(cells);
        let total = |map: &Map| map.iter().flatten().map(|count| u64::from(*count)).sum::<u64>();
        maps.retain(|(_, map)| total(map) > 0);
        maps.sort_by(|(a, a_map), (b, b_map)| total(b_map).cmp(&total(a_map)).then(a.cmp(b)));
        if maps.len() > PANELS {
            let rest = maps.split_off(PANELS);
            let mut sum = Box::new([[0_u32; ROWS]; COLUMNS]);
            for (_, map) in &rest {
                for (to, from) in sum.iter_mut().flatten().zip(map.iter().flatten()) {
                    *to = to.saturating_add(*from);
                }
            }
            maps.push((format!("{} other routes", rest.len()), sum));
        }
        self.drawn(newest, &maps)
    }

    fn column(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.shared.start).as_nanos() / self.shared.width.as_nanos()) as u64
    }

    fn drawn(&self, newest: u64, maps: &[(String, Box<Map>)]) -> String {
        const LEFT: f64 = 60.0;
        const CELL: (f64, f64) = (10.0, 5.0);
        const PANEL: f64 = ROWS as f64 * CELL.1 + 40.0;
        let width = LEFT + COLUMNS as f64 * CELL.0 + 20.0;
        let height = 30.0 + PANEL * maps.len().max(1) as f64;
        let mut svg = Svg::new(width as u32, height as u32, "Latency until the last byte, by time and route");
        let oldest = (newest + 1).saturating_sub(COLUMNS as u64);
        let seconds = |column: u64| self.shared.width.as_secs_f64() * column as f64;
        if maps.is_empty() {
            svg.text((LEFT, 50.0), Anchor::Start, "no request has ended");
        }
        for (n, (route, map)) in maps.iter().enumerate() {
            let top = 30.0 + PANEL * n as f64;
            let most = map.iter().flatten().max().copied().unwrap_or(1).max(1);
            let total: u64 = map.iter().flatten().map(|count| u64::from(*count)).sum();
            svg.text((LEFT, top - 6.0), Anchor::Start, &format!("{route}: {total} answers, at most {most} in a cell"));
            svg.rect((LEFT, top), (COLUMNS as f64 * CELL.0, ROWS as f64 * CELL.1), "#f4f4f4", route);
            for (decade, words) in ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"].into_iter().enumerate()
            {
                let y = top + CELL.1 * (ROWS - 5 * decade) as f64;
                svg.text((LEFT - 4.0, y + 4.0), Anchor::End, words);
            }
            for column in oldest..=newest {
                for (row, count) in map[place(column)].iter().enumerate().filter(|(_, count)| **count > 0) {
                    let x = LEFT + CELL.0 * (column - oldest) as f64;
                    let y = top + CELL.1 * (ROWS - 1 - row) as f64;
                    let told = format!(
                        "{count} of {:.1} to {:.1} ms, {:.1} s after the start",
                        latency(row) * 1e3,
                        latency(row + 1) * 1e3,
                        seconds(column)
                    );
                    svg.rect((x, y), CELL, &colour(*count, most), &told);
                }
            }
            let y = top + CELL.1 * ROWS as f64 + 14.0;
            svg.text((LEFT, y), Anchor::Start, &format!("{:.1} s after the start", seconds(oldest)));
            svg.text(
                (LEFT + CELL.0 * COLUMNS as f64, y),
                Anchor::End,
                &format!("{:.1} s", seconds(oldest + COLUMNS as u64)),
            );
        }
        svg.finish()
    }
}

impl Cells {
    /// Empties the columns that a new one takes the place of.
    fn advance(&mut self, column: u64) {
        if column <= self.newest {
            return;
        }
        for newer in (self.newest + 1..=column).rev().take(COLUMNS) {
            for map in self.routes.values_mut() {
                map[place(newer)] = [0; ROWS];
            }
        }
        self.newest = column;
    }
}

impl Default for Heat {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Heat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heat").field("width", &self.shared.width).finish_non_exhaustive()
    }
}

/// Where a column is kept.
fn place(column: u64) -> usize {
    (column % COLUMNS as u64) as usize
}

fn row(took: Duration) -> usize {
    let above = (took.as_secs_f64().max(LEAST) / LEAST).log10() * 5.0;
    // A bound is in the row that begins with it, whatever the logarithm makes of it.
    ((above + 1e-9) as usize).min(ROWS - 1)
}

/// Where a row begins, in seconds.
fn latency(row: usize) -> f64 {
    LEAST * 10_f64.powf(row as f64 / 5.0)
}

/// From pale to dark red, by the logarithm: a single slow answer can be seen beside a thousand quick ones.
fn colour(count: u32, most: u32) -> String {
    let heat = (f64::from(count) + 1.0).ln() / (f64::from(most) + 1.0).ln();
    let mix = |pale: f64, dark: f64| (pale + (dark - pale) * heat).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(253.0, 127.0), mix(212.0, 0.0), mix(158.0, 0.0))
}
