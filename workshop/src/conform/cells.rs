//! A row of the matrix, as it is read: what it is called, what it breaks, and the counts.

use conform::Outcome;
use matrix::Judged;

use crate::catalogue::ghosts;

/// The library with its version, and the layer.
pub(super) fn title(row: &Judged) -> String {
    if is_ours(row) {
        format!("{} {}", row.library, row.name)
    } else {
        format!("{} {} {}", row.library, row.version, row.name)
    }
}

pub(super) fn is_ours(row: &Judged) -> bool {
    ghosts::ALL.iter().any(|ghost| ghost.slug == row.library)
}

/// The keys of what a row breaks and follows from nothing else.
pub(super) fn findings(row: &Judged) -> Vec<&str> {
    let found = row.cells.iter().filter(|cell| cell.outcome == Outcome::Broken && cell.cause.is_none());
    found.map(|cell| cell.key.as_str()).collect()
}

pub(super) fn keys(row: &Judged, outcome: Outcome) -> Vec<&str> {
    row.cells.iter().filter(|cell| cell.outcome == outcome).map(|cell| cell.key.as_str()).collect()
}

/// How many cells of these rows have which verdict.
pub(super) fn counts(rows: &[Judged]) -> String {
    let count = |outcome| rows.iter().map(|row| keys(row, outcome).len()).sum::<usize>();
    let kept: usize = rows.iter().map(|row| row.kept).sum();
    let cells = kept + rows.iter().map(|row| row.cells.len()).sum::<usize>();
    format!(
        "{} rows, {cells} cells: {kept} kept, {} broken, {} changed as declared, {} not applicable",
        rows.len(),
        count(Outcome::Broken),
        count(Outcome::Changed),
        count(Outcome::NotApplicable),
    )
}
