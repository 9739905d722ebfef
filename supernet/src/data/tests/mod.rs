//! Whole sources and loaders, on files the tests write and, where present, on the shared real images.

mod batches;
mod real;
mod sources;
