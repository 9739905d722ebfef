//! Whole sources and loaders, on files the tests write and, where present, on the shared real images.

mod batches;
mod inspection;
mod odd;
mod real;
mod shapes;
mod sources;
mod streaming;
