//! Recovery against a model disk: what a crash or rot leaves must be given back, cut or reported, and nothing else.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod crash;
mod files;
mod model;
mod rot;
mod torn;
