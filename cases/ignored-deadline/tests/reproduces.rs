//! The deadline is in the answer, and nowhere else.
