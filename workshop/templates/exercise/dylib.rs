//! The laboratory and all that it needs, axum and tokio among it, linked into one dynamic library beforehand.
//!
//! The tests of an exercise name it, and so take all of this from it. A linker that has to put it into each test anew takes
//! longer than the compiler does for what was edited.

use lab as _;
