//! Results as pages and tables for people: [`html`] is one file that needs no network, [`text`] is for documents.

pub mod data;
pub mod html;
pub mod text;
